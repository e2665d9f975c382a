/* SPDX-License-Identifier: MIT */
/*
 * Kernel areas: address ranges for the heap, for stacks, for devices.
 *
 * An area is cut into ranges, kept in address order; free neighbours are merged.
 * The lowest free range that fits is taken, so that the same tables are used
 * again and again. Each range ends with a page that is never mapped: its guard.
 *
 *     |guard| stack A |guard| free ...       | stack C |guard|
 *
 * Giving a range back:
 *
 *     USED --clear entries--> QUARANTINED --flush, wait--> FREE
 *
 * While it is quarantined a stale translation can do no harm: its address is not used
 * again, and its frames are still its own. A cleared entry keeps the frame's address with
 * PTE_PRESENT clear, so remembering them costs nothing (I5, I6). The flush is made with no
 * lock held, for many ranges at once. When to make it is up to the kind of area: the heap's
 * reaper waits for it, stacks collect up to a bound.
 *
 * Stacks come and go with threads, so up to STACKS_CACHED freed ones stay
 * mapped and are handed out again with no change to any table.
 *
 * Descriptors move (range_pool.c): one that is used outside of the area's lock is busy, or
 * quarantined. What is mapped is counted in used_npages, as the heap decommits and
 * recommits parts of its ranges (heap_area.c).
 *
 * The area lock is taken with interrupts off, because the heap may take memory
 * in a handler; nothing is mapped or allocated under it but descriptors.
 */
#include "vm/kernel_area.h"

#include "pt/raw.h"

#define STACKS_CACHED     32
#define QUARANTINE_NPAGES 512

static struct list *hash_chain(struct kernel_area *area, vaddr_t va)
{
	uint64_t page = va >> PAGE_SHIFT;
	return &area->used[(page ^ (page >> 9)) % AREA_HASH];
}

mem_status vm_area_init(struct vmm *vmm, struct kernel_area *area, enum kernel_area_kind kind,
			vaddr_t base, uint64_t bytes)
{
	memset(area, 0, sizeof(*area));
	area->kind = kind;
	area->base = base;
	area->end = base + bytes;
	list_init(&area->all);
	list_init(&area->free);
	list_init(&area->cached);
	list_init(&area->quarantine);
	for (unsigned i = 0; i < AREA_HASH; i++)
		list_init(&area->used[i]);
	struct kernel_range *whole = vm_range_alloc(vmm);
	if (!whole)
		return MEM_ENOMEM;
	area->vmm = vmm; /* from here on it is an area */
	/* The first page stays free: the guard below the first range. */
	*whole = (struct kernel_range){.area = area,
				       .first = area_vpn(base) + 1,
				       .npages = (bytes >> PAGE_SHIFT) - 1,
				       .state = RANGE_FREE};
	list_push_back(&area->all, &whole->all);
	list_push_back(&area->free, &whole->link);
	return MEM_OK;
}

void vm_area_end(struct kernel_area *area)
{
	struct kernel_range *whole = list_entry(area->all.next, struct kernel_range, all);
	mem_assert(whole->state == RANGE_FREE && whole->all.next == &area->all);
	whole->area = NULL;
	vm_range_free(area->vmm, whole);
}

/* ---- addresses ---------------------------------------------------------------------- */

/* Where npages at a multiple of `align`, plus `offset` pages, begin in a free range. */
static bool fit(const struct kernel_range *range, uint64_t npages, uint64_t align, vpn_t *at)
{
	*at = align_up(range->first, align);
	return *at + npages <= range->first + range->npages && *at >= range->first;
}

/* A new free range of an area, between two neighbours. */
static void add_free(struct kernel_area *area, struct kernel_range *range, vpn_t first, vpn_t end,
		     struct list *last, struct list *next)
{
	*range = (struct kernel_range){
	    .area = area, .first = first, .npages = end - first, .state = RANGE_FREE};
	list_insert(&range->all, last, next);
	list_push_front(&area->free, &range->link);
}

/* Cut [first, first + npages) out of a free range with up to two new descriptors. */
static void carve(struct kernel_area *area, struct kernel_range *range, vpn_t first,
		  uint64_t npages, struct kernel_range *spare[2])
{
	vpn_t end = first + npages, range_end = range->first + range->npages;
	if (first > range->first) {
		add_free(area, spare[0], range->first, first, range->all.prev, &range->all);
		spare[0] = NULL;
	}
	if (end < range_end) {
		add_free(area, spare[1], end, range_end, &range->all, range->all.next);
		spare[1] = NULL;
	}
	range->first = first;
	range->npages = npages;
}

/* The lowest free range that holds `wanted` pages at a multiple of `align`, or at
 * exactly `at` if that is not 0. *at: where. */
static struct kernel_range *choose(struct kernel_area *area, uint64_t wanted, uint64_t align,
				   vpn_t *at)
{
	struct kernel_range *best = NULL;
	vpn_t exactly = *at, candidate;
	list_for_each (node, &area->free) {
		struct kernel_range *range = list_entry(node, struct kernel_range, link);
		if (exactly) {
			if (range->first <= exactly &&
			    exactly + wanted <= range->first + range->npages)
				return range;
		} else if ((!best || range->first < best->first) &&
			   fit(range, wanted, align, &candidate)) {
			best = range;
			*at = candidate;
		}
	}
	return best;
}

/* Take `wanted` pages: aligned, or at exactly `at` if that is not 0; `npages` of them
 * will be mapped from `offset` pages on. NULL: no addresses or no descriptor. */
static struct kernel_range *take_range(struct kernel_area *area, uint64_t wanted, uint64_t align,
				       uint64_t offset, uint64_t npages, vpn_t at)
{
	struct vmm *vmm = area->vmm;
	struct kernel_range *spare[2] = {vm_range_alloc(vmm), vm_range_alloc(vmm)}, *best = NULL;
	if (spare[0] && spare[1] && wanted < (area->end - area->base) >> PAGE_SHIFT) {
		unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
		best = choose(area, wanted, align, &at);
		if (best) {
			carve(area, best, at, wanted, spare);
			best->state = RANGE_USED;
			best->busy = true;
			best->va = area_address(at + offset);
			best->mapped = npages;
			best->owns_frames = false;
			list_remove(&best->link);
			list_push_front(hash_chain(area, best->va), &best->link);
			uint64_t high = at + wanted - area_vpn(area->base);
			if (high > area->highest_npages)
				atomic_write_relaxed(&area->highest_npages, high);
		}
		mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	}
	for (unsigned i = 0; i < 2; i++)
		if (spare[i])
			vm_range_free(vmm, spare[i]);
	return best;
}

struct kernel_range *vm_area_take(struct kernel_area *area, uint64_t npages, uint64_t align,
				  uint64_t offset)
{
	uint64_t wanted;
	if (__builtin_add_overflow(npages, offset + 1, &wanted))
		return NULL;
	return take_range(area, wanted, align, offset, npages, 0);
}

struct kernel_range *vm_area_take_at(struct kernel_area *area, vaddr_t va, uint64_t npages)
{
	return take_range(area, npages, 1, 0, 0, area_vpn(va));
}

struct kernel_range *vm_area_find(struct kernel_area *area, vaddr_t va)
{
	struct kernel_range *found = NULL;
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	list_for_each (node, hash_chain(area, va)) {
		struct kernel_range *range = list_entry(node, struct kernel_range, link);
		if (range->va == va) {
			found = range;
			found->busy = true;
			break;
		}
	}
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	return found;
}

void vm_area_let_go(struct kernel_range *range)
{
	atomic_write_release(&range->busy, false);
}

static void replace(struct list *from, struct list *to)
{
	to->prev->next = to;
	to->next->prev = to;
	list_init(from);
}

bool vm_range_move(struct kernel_range *from, struct kernel_range *to)
{
	struct kernel_area *area = atomic_read_acquire(&from->area);
	if (!area)
		return false;
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	bool movable = from->area == area && from->state != RANGE_QUARANTINED &&
		       !atomic_read_acquire(&from->busy);
	if (movable) {
		*to = *from;
		replace(&from->all, &to->all);
		replace(&from->link, &to->link);
		atomic_write_release(&from->area, NULL);
	}
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	return movable;
}

/* A flushed range becomes free and merges with its neighbours. */
static void release(struct kernel_area *area, struct kernel_range *range)
{
	struct kernel_range *gone[2] = {NULL, NULL};
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	struct kernel_range *last = range->all.prev == &area->all
					? NULL
					: list_entry(range->all.prev, struct kernel_range, all);
	struct kernel_range *next = range->all.next == &area->all
					? NULL
					: list_entry(range->all.next, struct kernel_range, all);
	range->state = RANGE_FREE;
	range->busy = false;
	list_push_front(&area->free, &range->link);
	if (last && last->state == RANGE_FREE) {
		last->npages += range->npages;
		gone[0] = range;
		range = last;
	}
	if (next && next->state == RANGE_FREE) {
		if (gone[0]) {
			range->npages += next->npages;
			gone[1] = next;
		} else {
			next->first = range->first;
			next->npages += range->npages;
			gone[1] = range;
		}
	}
	for (unsigned i = 0; i < 2; i++) {
		if (!gone[i])
			continue;
		list_remove(&gone[i]->all);
		list_remove(&gone[i]->link);
		atomic_write_release(&gone[i]->area, NULL);
	}
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	for (unsigned i = 0; i < 2; i++)
		if (gone[i])
			vm_range_free(area->vmm, gone[i]);
}

void vm_area_give_back(struct kernel_area *area, struct kernel_range *range)
{
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	list_remove(&range->link);
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	release(area, range);
}

/* ---- entries ------------------------------------------------------------------------ */

static struct pt_root root_of(struct vmm *vmm, bool atomic)
{
	return (struct pt_root){.pmm = vmm->pmm,
				.root = vmm->kernel_root,
				.max_level = vmm->giga_pages ? 3 : 2,
				.pmm_flags = atomic ? 0 : PMM_WAIT,
				.tables = &vmm->kernel_tables};
}

static pte_t kernel_bits(const struct vmm *vmm, unsigned prot)
{
	return PTE_USED | PTE_PRESENT | PTE_GLOBAL | PTE_ACCESSED | PTE_DIRTY |
	       ((prot & VM_WRITE) ? PTE_WRITE : 0) | ((prot & VM_EXEC) ? 0 : vmm->nx);
}

void vm_area_take_down(struct kernel_area *area, vaddr_t va, uint64_t npages)
{
	vaddr_t end = va + (npages << PAGE_SHIFT);
	uint64_t taken = 0;
	while (va < end) {
		unsigned level;
		pte_t *entry = pt_entry(area->vmm->kernel_root, va, &level);
		if (atomic_read_relaxed(entry)) {
			(void)atomic_and(entry, ~PTE_PRESENT);
			taken += pt_entry_span(level) >> PAGE_SHIFT;
		}
		va = align_down(va, pt_entry_span(level)) + pt_entry_span(level);
	}
	atomic_count(&area->used_npages, -taken);
}

void vm_area_empty(struct kernel_area *area, vaddr_t va, uint64_t npages, bool free_frames)
{
	struct pmm *pmm = area->vmm->pmm;
	vaddr_t end = va + (npages << PAGE_SHIFT);
	while (va < end) {
		unsigned level;
		pte_t *entry = pt_entry(area->vmm->kernel_root, va, &level);
		pte_t pte = atomic_swap(entry, (pte_t)0);
		mem_assert(!(pte & PTE_PRESENT));
		if (pte && free_frames)
			pmm_free(pmm, pte & PTE_ADDR & ~(pt_entry_span(level) - 1),
				 9 * (level - 1));
		va = align_down(va, pt_entry_span(level)) + pt_entry_span(level);
	}
}

/* Map one 2 MiB block to va, if there is one and no table is in the way. */
static bool map_block(struct kernel_area *area, vaddr_t va, const struct pt_root *root)
{
	struct pmm *pmm = area->vmm->pmm;
	pte_t leaf = pt_leaf_bits(kernel_bits(area->vmm, VM_READ | VM_WRITE), 2), expected = 0;
	paddr_t block = pmm_alloc(pmm, PMM_ORDER_HUGE, PMM_KERNEL);
	if (block == PADDR_NONE)
		return false;
	pte_t *entry = pt_make_entry(root, va, 2);
	if (entry && atomic_cas(entry, &expected, block | leaf))
		return true;
	pmm_free(pmm, block, PMM_ORDER_HUGE);
	return false;
}

bool vm_area_fill(struct kernel_area *area, vaddr_t va, uint64_t npages, bool atomic)
{
	struct vmm *vmm = area->vmm;
	struct pt_root root = root_of(vmm, atomic);
	pte_t bits = kernel_bits(vmm, VM_READ | VM_WRITE);
	uint64_t mapped = 0, i = 0;
	for (uint64_t step; i < npages; i += step, va += step << PAGE_SHIFT) {
		step = PT_ENTRIES;
		if (!(va & (HUGE_SIZE - 1)) && npages - i >= step && map_block(area, va, &root)) {
			mapped += step;
			continue;
		}
		step = 1;
		pte_t *entry = pt_make_entry(&root, va, 1);
		if (entry && atomic_read_relaxed(entry))
			continue; /* came back before */
		paddr_t pa = PADDR_NONE;
		if (entry)
			pa = pmm_alloc(vmm->pmm, 0, PMM_KERNEL | (atomic ? 0 : PMM_WAIT));
		if (pa == PADDR_NONE)
			break;
		atomic_write_release(entry, pa | bits);
		mapped++;
	}
	atomic_count(&area->used_npages, mapped);
	return i == npages;
}

/* Map fresh frames to the whole range. False: no memory; what was mapped stays for
 * the quarantine. */
static bool map_frames(struct kernel_area *area, struct kernel_range *range, bool atomic)
{
	range->owns_frames = true;
	return vm_area_fill(area, range->va, range->mapped, atomic);
}

/* ---- giving back ----------------------------------------------------------------------- */

void vm_area_quarantine(struct kernel_area *area, struct kernel_range *range)
{
	vm_area_take_down(area, range->va, range->mapped);
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	range->state = RANGE_QUARANTINED;
	list_remove(&range->link);
	list_push_back(&area->quarantine, &range->link);
	area->quarantined_npages += range->mapped;
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
}

static struct kernel_range *pop_cached(struct kernel_area *area, uint64_t npages)
{
	struct kernel_range *found = NULL;
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	list_for_each (node, &area->cached) {
		struct kernel_range *range = list_entry(node, struct kernel_range, link);
		if (npages && range->mapped != npages)
			continue;
		found = range;
		area->cached_count--;
		list_remove(node);
		range->state = RANGE_USED;
		range->busy = true;
		list_push_front(hash_chain(area, range->va), &range->link);
		break;
	}
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	return found;
}

static void settle(struct kernel_area *area)
{
	struct kernel_range *range;
	struct list waiting;
	list_init(&waiting);
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	while (!list_empty(&area->quarantine)) {
		struct list *node = area->quarantine.next;
		list_remove(node);
		list_push_back(&waiting, node);
	}
	area->quarantined_npages = 0;
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	if (list_empty(&waiting))
		return;

	vaddr_t low = UINT64_MAX, high = 0;
	list_for_each (node, &waiting) {
		range = list_entry(node, struct kernel_range, link);
		low = mem_min(low, range->va);
		high = mem_max(high, range->va + (range->mapped << PAGE_SHIFT));
	}
	vmm_flush_kernel(area->vmm, low, high - low);
	list_for_each_safe (node, &waiting) {
		range = list_entry(node, struct kernel_range, link);
		list_remove(node);
		vm_area_empty(area, range->va, range->mapped, range->owns_frames);
		release(area, range);
	}
}

void vm_area_settle(struct kernel_area *area, bool all)
{
	struct kernel_range *range;
	while (all && (range = pop_cached(area, 0)) != NULL)
		vm_area_quarantine(area, range);
	/* Another CPU may have taken our range into its flush: wait for it. */
	mem_lock_flushable(&area->settle_lock, MEM_RANK_KERNEL_SETTLE);
	settle(area);
	mem_unlock(&area->settle_lock, MEM_RANK_KERNEL_SETTLE);
}

/* ---- stacks -------------------------------------------------------------------------- */

mem_status vmm_alloc_stack(struct vmm *vmm, uint64_t npages, void **out)
{
	struct kernel_area *area = &vmm->areas[AREA_STACK];
	mem_contract(npages, "a stack of 0 pages");
	struct kernel_range *range = pop_cached(area, npages);
	if (!range) {
		range = vm_area_take(area, npages, 1, 0);
		if (!range)
			return MEM_ENOMEM;
		if (!map_frames(area, range, !host_irq_enabled())) {
			vm_area_quarantine(area, range);
			return MEM_ENOMEM;
		}
	}
	*out = (void *)range->va;
	vm_area_let_go(range);
	return MEM_OK;
}

void vmm_free_stack(struct vmm *vmm, void *stack, uint64_t npages)
{
	struct kernel_area *area = &vmm->areas[AREA_STACK];
	struct kernel_range *range = vm_area_find(area, (vaddr_t)stack);
	mem_contract(range && range->mapped == npages, "no stack of that size begins there");
	bool cached = false;
	unsigned long irq = mem_lock_irq(&area->lock, MEM_RANK_KERNEL_AREA);
	if (area->cached_count < STACKS_CACHED) {
		cached = true;
		area->cached_count++;
		range->state = RANGE_CACHED;
		range->busy = false;
		list_remove(&range->link);
		list_push_front(&area->cached, &range->link);
	}
	bool full = area->quarantined_npages >= QUARANTINE_NPAGES;
	mem_unlock_irq(&area->lock, MEM_RANK_KERNEL_AREA, irq);
	if (!cached)
		vm_area_quarantine(area, range);
	if (full && host_irq_enabled())
		vm_area_settle(area, false);
}

/* ---- devices ------------------------------------------------------------------------- */

/* PAT as vmm_cpu_online wants it: WB WT UC- UC WP WC. */
pte_t vm_cache_bits(enum vm_cache cache)
{
	static const pte_t bits[] = {
	    [VM_WB] = 0,
	    [VM_WT] = PTE_PWT,
	    [VM_UC_MINUS] = PTE_PCD,
	    [VM_UC] = PTE_PCD | PTE_PWT,
	    [VM_WP] = PTE_PAT_4K,
	    [VM_WC] = PTE_PAT_4K | PTE_PWT,
	};
	return bits[cache];
}

static mem_status map_physical(struct vmm *vmm, paddr_t pa, uint64_t npages, unsigned prot,
			       enum vm_cache cache, void **out)
{
	struct kernel_area *area = &vmm->areas[AREA_DEVICE];
	/* The same offset in a large page lets large entries be used. */
	uint64_t align = 1;
	if (npages >= PT_ENTRIES)
		align = PT_ENTRIES;
	if (npages >= PT_ENTRIES * PT_ENTRIES && vmm->giga_pages)
		align = PT_ENTRIES * PT_ENTRIES;
	uint64_t offset = (pa >> PAGE_SHIFT) & (align - 1);
	struct kernel_range *range = vm_area_take(area, npages, align, offset);
	if (!range)
		return MEM_ENOMEM;
	struct pt_root root = root_of(vmm, false);
	mem_status status = pt_map_range(&root, range->va, pa, npages << PAGE_SHIFT,
					 kernel_bits(vmm, prot) | vm_cache_bits(cache));
	if (status != MEM_OK) {
		vm_area_quarantine(area, range);
		return status;
	}
	atomic_count(&area->used_npages, npages);
	*out = (void *)range->va;
	vm_area_let_go(range);
	return MEM_OK;
}

mem_status vmm_map_device(struct vmm *vmm, paddr_t pa, uint64_t bytes, enum vm_prot prot,
			  enum vm_cache cache, void **out)
{
	mem_contract_thread();
	uint64_t offset = pa & PAGE_MASK, rounded, last;
	void *pages;
	if (!bytes || (unsigned)prot > (VM_READ | VM_WRITE) || (unsigned)cache > VM_WC ||
	    __builtin_add_overflow(bytes, offset, &rounded) ||
	    !align_up_checked(rounded, PAGE_SIZE, &rounded) ||
	    __builtin_add_overflow(pa - offset, rounded, &last) || last > PTE_ADDR)
		return MEM_EINVAL;
	mem_status status =
	    map_physical(vmm, pa - offset, rounded >> PAGE_SHIFT, prot, cache, &pages);
	if (status == MEM_OK)
		*out = (char *)pages + offset;
	return status;
}

void vmm_unmap_device(struct vmm *vmm, void *va, uint64_t bytes)
{
	mem_contract_thread();
	struct kernel_area *area = &vmm->areas[AREA_DEVICE];
	vaddr_t at = (vaddr_t)va, offset = at & PAGE_MASK;
	struct kernel_range *range = vm_area_find(area, at - offset);
	mem_contract(range && range->mapped == align_up(bytes + offset, PAGE_SIZE) >> PAGE_SHIFT,
		     "no mapping of that size begins there");
	vm_area_quarantine(area, range);
	vm_area_settle(area, false);
}

mem_status vmm_alloc_dma(struct vmm *vmm, uint64_t bytes, paddr_t below, enum vm_cache cache,
			 void **va, paddr_t *pa)
{
	mem_contract_thread();
	uint64_t rounded;
	if (!bytes || (unsigned)cache > VM_WC || !align_up_checked(bytes, PAGE_SIZE, &rounded))
		return MEM_EINVAL;
	uint64_t npages = rounded >> PAGE_SHIFT;
	mem_status status =
	    pmm_alloc_range(vmm->pmm, npages, 1, below, PMM_KERNEL | PMM_ZERO | PMM_WAIT, pa);
	if (status != MEM_OK)
		return status;
	status = map_physical(vmm, *pa, npages, VM_READ | VM_WRITE, cache, va);
	if (status != MEM_OK)
		pmm_free_range(vmm->pmm, *pa, npages);
	return status;
}

void vmm_free_dma(struct vmm *vmm, void *va, uint64_t bytes)
{
	mem_contract_thread();
	paddr_t pa;
	bool mapped = pt_translate(vmm->kernel_root, (vaddr_t)va, &pa, NULL, NULL);
	mem_contract(mapped, "no DMA memory is there");
	vmm_unmap_device(vmm, va, bytes);
	pmm_free_range(vmm->pmm, pa, align_up(bytes, PAGE_SIZE) >> PAGE_SHIFT);
}
