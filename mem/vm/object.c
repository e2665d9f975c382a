/* SPDX-License-Identifier: MIT */
/*
 * Objects: their life, their size, their contents; see mem/object.h.
 *
 * Pages against faults: who takes pages back says so first (the size, object->zap),
 * then takes down their mappings (object_zap.c), then empties the index under
 * pages_lock. A fault asks under the lock of the leaf it installs into, and a page
 * enters the index only if it may, asked under pages_lock.
 *
 * Filling a page may sleep, so it is done on a frame that nobody sees yet. Two who fill the
 * same page find out when the second enters it, and that one frees its frame.
 */
#include "vm/objects.h"

#define OBJECT_BYTES_MAX ((uint64_t)INT64_MAX)

static const struct vm_object_ops no_ops;

mem_status vm_object_create(struct vmm *vmm, const struct vm_object_ops *ops, void *host_data,
			    uint64_t bytes, struct vm_object **out)
{
	mem_contract_thread();
	if (bytes > OBJECT_BYTES_MAX)
		return MEM_EINVAL;
	struct vm_object *object = slab_alloc_wait(vmm->objects);
	if (!object)
		return MEM_ENOMEM;
	memset(object, 0, sizeof(*object));
	object->refs = 1;
	object->vmm = vmm;
	object->ops = ops ? ops : &no_ops;
	object->host_data = host_data;
	object->id = atomic_add(&vmm->next_id, 1);
	object->bytes = bytes;
	list_init(&object->mappers);
	list_init(&object->owners);
	*out = object;
	return MEM_OK;
}

mem_status vm_object_create_shared(struct vmm *vmm, uint64_t bytes, bool charge,
				   struct vm_object **out)
{
	uint64_t npages = align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	if (charge && !vm_commit_charge(vmm, npages))
		return MEM_ENOMEM;
	mem_status status = vm_object_create(vmm, NULL, NULL, bytes, out);
	if (status == MEM_OK && charge) {
		(*out)->charged = npages;
		atomic_count(&vmm->object_charged, npages);
	} else if (charge) {
		vm_commit_uncharge(vmm, npages);
	}
	return status;
}

void vm_object_get(struct vm_object *object)
{
	mem_contract(atomic_add(&object->refs, 1) > 1, "the object has no reference any more");
}

void vm_object_page_done(struct vm_object *object, paddr_t pa)
{
	struct pmm *pmm = object->vmm->pmm;
	if (!object_is_device(object) && frame_put(pmm, pa))
		pmm_free(pmm, pa, 0);
}

/* Empty the index of [first, end). */
static void drop_pages(struct vm_object *object, uint64_t first, uint64_t end)
{
	for (;;) {
		uint64_t page;
		mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
		paddr_t pa = vm_pages_take(object, first, end, &page);
		mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
		if (pa == PADDR_NONE)
			return;
		vm_object_page_done(object, pa);
		first = page + 1;
	}
}

void vm_object_put(struct vm_object *object)
{
	mem_contract_thread();
	if (atomic_sub(&object->refs, 1) > 0)
		return;
	mem_assert(list_empty(&object->mappers));
	drop_pages(object, 0, UINT64_MAX);
	mem_assert(!object->npages && !object->height);
	if (object->charged) {
		atomic_count(&object->vmm->object_charged, -object->charged);
		vm_commit_uncharge(object->vmm, object->charged);
	}
	if (object->ops->release)
		object->ops->release(object);
	slab_free(object->vmm->objects, object);
}

void *vm_object_host_data(const struct vm_object *object)
{
	return object->host_data;
}

uint64_t vm_object_bytes(const struct vm_object *object)
{
	return atomic_read_acquire(&object->bytes);
}

uint64_t vm_object_npages(const struct vm_object *object)
{
	return atomic_read_relaxed(&object->npages);
}

/* Under pages_lock. */
static bool is_zapped(const struct vm_object *object, uint64_t page)
{
	return object->zapping && object->zap.first <= page && page < object->zap.end;
}

/* One count more for the caller; under pages_lock, which keeps the index's. */
static mem_status count(struct vm_object *object, paddr_t pa)
{
	return frame_get(object->vmm->pmm, pa) == MEM_OK ? MEM_OK : MEM_ENOMEM;
}

/* Enter a filled frame (count 1) for `page`: the count becomes the index's. If somebody
 * else's frame is there *pa is now that one, and the caller's was freed, as it was on
 * failure. With `counted` the caller gets a count of his own. */
static mem_status enter(struct vm_object *object, uint64_t page, bool counted, paddr_t *pa)
{
	mem_status status = MEM_OK;
	paddr_t mine = *pa;
	bool entered = false;
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	paddr_t there = vm_pages_lookup(object, page);
	if (page >= object_size_npages(object)) {
		status = MEM_EBEYOND;
	} else if (is_zapped(object, page)) {
		status = MEM_EBUSY;
	} else if (there != PADDR_NONE) {
		*pa = there;
	} else {
		status = vm_pages_insert(object, page, mine);
		entered = status == MEM_OK;
	}
	if (status == MEM_OK && counted)
		status = count(object, *pa);
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	if (!entered)
		vm_object_page_done(object, mine);
	return status;
}

/* MEM_ENOENT: not in the index; MEM_EBUSY: being taken back. */
static mem_status find(struct vm_object *object, uint64_t page, bool counted, paddr_t *out)
{
	mem_status status = MEM_ENOENT;
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	if (page >= object_size_npages(object)) {
		status = MEM_EBEYOND;
	} else if (is_zapped(object, page)) {
		status = MEM_EBUSY;
	} else {
		*out = vm_pages_lookup(object, page);
		if (*out != PADDR_NONE)
			status = counted ? count(object, *out) : MEM_OK;
	}
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	return status;
}

static mem_status device_page(struct vm_object *object, uint64_t page, paddr_t *out)
{
	if (page >= object_size_npages(object))
		return MEM_EBEYOND;
	*out = object->ops->device_page(object, page);
	return *out == PADDR_NONE ? MEM_EBEYOND : MEM_OK;
}

/* A new zeroed frame for the object, count 1. */
static paddr_t new_frame(struct vm_object *object)
{
	struct pmm *pmm = object->vmm->pmm;
	paddr_t pa = pmm_alloc(pmm, 0, PMM_ZERO | PMM_WAIT);
	if (pa != PADDR_NONE)
		frame_init(pmm, pa, FRAME_OBJECT, NULL);
	return pa;
}

mem_status vm_object_frame(struct vm_object *object, uint64_t page, paddr_t *out)
{
	if (object_is_device(object))
		return device_page(object, page, out);
	mem_status status = find(object, page, false, out);
	if (status != MEM_ENOENT)
		return status == MEM_EBUSY ? MEM_EAGAIN : status;
	if (object->ops->fill)
		return MEM_EAGAIN;
	*out = new_frame(object);
	if (*out == PADDR_NONE)
		return MEM_ENOMEM;
	status = enter(object, page, false, out);
	return status == MEM_EBUSY ? MEM_EAGAIN : status;
}

uint64_t vm_object_run(struct vm_object *object, uint64_t page, bool *data)
{
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	uint64_t npages = vm_pages_run(object, page, data);
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	return npages;
}

uint64_t vm_object_frames(struct vm_object *object, uint64_t page, unsigned n, paddr_t *out)
{
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	/* Beyond the size there are none, but for those that a zap is after. */
	uint64_t found = vm_pages_lookup_many(object, page, n, out);
	if (unlikely(object->zapping))
		for (unsigned i = 0; i < n; i++)
			if (is_zapped(object, page + i))
				found &= ~((uint64_t)1 << i);
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	return found;
}

mem_status vm_object_page(struct vm_object *object, uint64_t page, bool create, paddr_t *out)
{
	mem_contract_thread();
	if (object_is_device(object))
		return device_page(object, page, out);
	for (unsigned attempt = 0;;) {
		mem_status status = find(object, page, true, out);
		if (status == MEM_ENOENT) {
			if (!create)
				return MEM_ENOENT;
			paddr_t pa = new_frame(object);
			if (pa != PADDR_NONE && object->ops->fill) {
				status = object->ops->fill(object, page, pa);
				if (status != MEM_OK) {
					vm_object_page_done(object, pa);
					return status == MEM_ENOMEM ? MEM_ENOMEM : MEM_EIO;
				}
			}
			status = pa == PADDR_NONE ? MEM_ENOMEM : enter(object, page, true, &pa);
			*out = pa;
		}
		if (status == MEM_EBUSY) {
			host_wait(&object->zapping, 1);
			continue;
		}
		if (status != MEM_ENOMEM || !vm_relieve(object->vmm, attempt++))
			return status;
	}
}

/* Zero what lies behind the new end in its page, so that growing shows zeroes. */
static void clear_tail(struct vm_object *object, uint64_t bytes)
{
	paddr_t pa;
	uint64_t rest = bytes & PAGE_MASK;
	if (!rest || object_is_device(object) ||
	    find(object, bytes >> PAGE_SHIFT, true, &pa) != MEM_OK)
		return;
	memset((char *)paddr_to_ptr(pa) + rest, 0, PAGE_SIZE - rest);
	vm_object_page_done(object, pa);
}

/* Pages [first, end) become holes, and their mappings go. Under size_lock, exclusive. */
static void take_back(struct vm_object *object, uint64_t first, uint64_t end, bool copies)
{
	vm_object_zap_begin(object, first, end, copies);
	drop_pages(object, first, end);
	vm_object_zap_end(object);
}

/* Under size_lock, exclusive. */
static void set_size(struct vm_object *object, uint64_t bytes)
{
	uint64_t was = atomic_read_acquire(&object->bytes);
	atomic_write_seq(&object->bytes, bytes);
	if (bytes < was) {
		take_back(object, align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT, UINT64_MAX, true);
		clear_tail(object, bytes);
	}
}

mem_status vm_object_resize(struct vm_object *object, uint64_t bytes)
{
	mem_contract_thread();
	if (bytes > OBJECT_BYTES_MAX)
		return MEM_EINVAL;
	mem_rwlock_write(&object->size_lock);
	set_size(object, bytes);
	mem_rwlock_write_done(&object->size_lock);
	return MEM_OK;
}

mem_status vm_object_punch(struct vm_object *object, uint64_t first, uint64_t npages)
{
	mem_contract_thread();
	uint64_t end;
	if (!npages || __builtin_add_overflow(first, npages, &end))
		return MEM_EINVAL;
	mem_rwlock_write(&object->size_lock);
	take_back(object, first, end, false);
	mem_rwlock_write_done(&object->size_lock);
	return MEM_OK;
}

mem_status vm_object_read(struct vm_object *object, uint64_t offset, void *buffer, uint64_t bytes,
			  uint64_t *done)
{
	mem_contract_thread();
	*done = 0;
	while (*done < bytes) {
		uint64_t at, size = atomic_read_acquire(&object->bytes);
		if (__builtin_add_overflow(offset, *done, &at) || at >= size)
			return MEM_OK;
		uint64_t in_page = at & PAGE_MASK;
		uint64_t n = mem_min(bytes - *done, PAGE_SIZE - in_page);
		n = mem_min(n, size - at);
		paddr_t pa;
		mem_status status =
		    vm_object_page(object, at >> PAGE_SHIFT, object->ops->fill != NULL, &pa);
		if (status == MEM_OK) {
			memcpy((char *)buffer + *done, (char *)paddr_to_ptr(pa) + in_page, n);
			vm_object_page_done(object, pa);
		} else if (status == MEM_ENOENT) {
			memset((char *)buffer + *done, 0, n);
		} else if (status == MEM_EBEYOND) {
			return MEM_OK; /* truncated meanwhile */
		} else {
			return status;
		}
		*done += n;
	}
	return MEM_OK;
}

/* Copy page by page; with `grows` the size goes ahead of each page, which has to be
 * inside it before it can be in the index. */
static mem_status write_pages(struct vm_object *object, uint64_t offset, const char *buffer,
			      uint64_t bytes, bool grows, uint64_t *done)
{
	while (*done < bytes) {
		uint64_t at = offset + *done, in_page = at & PAGE_MASK;
		uint64_t n = mem_min(bytes - *done, PAGE_SIZE - in_page);
		paddr_t pa;
		if (grows && at + n > atomic_read_acquire(&object->bytes))
			atomic_write_seq(&object->bytes, at + n);
		mem_status status = vm_object_page(object, at >> PAGE_SHIFT, true, &pa);
		if (status != MEM_OK)
			return status;
		memcpy((char *)paddr_to_ptr(pa) + in_page, buffer + *done, n);
		vm_object_page_done(object, pa);
		*done += n;
	}
	return MEM_OK;
}

mem_status vm_object_write(struct vm_object *object, uint64_t offset, const void *buffer,
			   uint64_t bytes, uint64_t *done)
{
	mem_contract_thread();
	*done = 0;
	uint64_t last;
	if (__builtin_add_overflow(offset, bytes, &last) || last > OBJECT_BYTES_MAX)
		return MEM_EINVAL;
	/* Under the shared lock the size cannot fall. */
	mem_rwlock_read(&object->size_lock);
	bool grows = last > atomic_read_acquire(&object->bytes);
	if (!grows) {
		mem_status status = write_pages(object, offset, buffer, bytes, false, done);
		mem_rwlock_read_done(&object->size_lock);
		return status;
	}
	mem_rwlock_read_done(&object->size_lock);
	/* Who grows the object is alone: if no page is to be had the size goes back, and
	 * what others wrote up to it meanwhile would be lost. */
	mem_rwlock_write(&object->size_lock);
	uint64_t was = atomic_read_acquire(&object->bytes);
	mem_status status = write_pages(object, offset, buffer, bytes, true, done);
	uint64_t end = *done ? mem_max(was, offset + *done) : was;
	if (atomic_read_acquire(&object->bytes) > end)
		set_size(object, end);
	mem_rwlock_write_done(&object->size_lock);
	return status;
}
