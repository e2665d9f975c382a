/* SPDX-License-Identifier: MIT */
/*
 * Making promises: vmm_map, and stacks that grow.
 *
 * A mapping is one run in each table that its range touches: normally one. The
 * place is chosen without locks that last, so it is checked again under the
 * covering lock; if somebody was faster, the choice is made again.
 */
#include "vm/ahead.h"
#include "vm/area_walk.h"
#include "vm/areas.h"
#include "vm/edit.h"
#include "vm/objects.h"
#include "vm/place.h"

static promise_t promise_of(struct vmm *vmm, const struct vm_map_args *args)
{
	unsigned flags = args->flags & VM_KEPT_FLAGS;
	if (!(flags & VM_LOCKED))
		flags &= ~(unsigned)VM_ONFAULT;
	return (promise_t){.bits = args->prot | (uint64_t)args->maxprot << PROMISE_MAX_SHIFT |
				   PROMISE_FLAG(flags) | vm_name_bits(vmm, args->name)};
}

mem_status vm_within_limits(struct space *space, promise_t p, uint64_t npages, uint64_t replaced)
{
	const struct vmm_space_limits *limit = &space->limits;
	const struct space_totals *now = &space->totals;
	uint64_t virt = atomic_read_relaxed(&now->virt);
	if (virt + npages - mem_min(replaced, virt) > limit->virt_npages)
		return MEM_ENOMEM;
	if ((p.bits & (VM_WRITE | PROMISE_SHARED | PROMISE_GROWSDOWN)) == VM_WRITE &&
	    atomic_read_relaxed(&now->data) + npages > limit->data_npages)
		return MEM_ENOMEM;
	if ((p.bits & PROMISE_LOCKED) &&
	    atomic_read_relaxed(&now->locked) + npages > limit->locked_npages)
		return MEM_EAGAIN;
	return MEM_OK;
}

/* May [first, end), which is what `was` says, be mapped as p? */
static mem_status check_place(struct space *space, const struct areas *was, uint64_t npages,
			      promise_t p, bool replace)
{
	if (was->npages && !replace)
		return MEM_EEXIST;
	if (atomic_read_relaxed(&space->areas) > space->limits.area_count ||
	    !areas_allowed(space, was->begin, areas_if_empty(was)))
		return MEM_ENOMEM;
	return vm_within_limits(space, p, npages, was->npages);
}

mem_status vm_place(struct space *space, vpn_t first, vpn_t end, promise_t p, bool replace)
{
	for (unsigned attempt = 0;;) {
		struct edit e;
		struct areas was;
		vm_edit_begin(&e, space, first, end, 1);
		if (unlikely(vm_edit_split_crowd(&e, first, end)))
			continue;
		vm_edit_lock_inner(&e, first, end);
		vm_areas_look(e.top, first, end, NULL, &was);
		mem_status status = check_place(space, &was, end - first, p, replace);
		if (status != MEM_OK) {
			vm_edit_cancel(&e);
			return status;
		}
		if (!vm_edit_reserve(&e, first, end, 1)) {
			vm_edit_cancel(&e);
			if (vm_relieve(space->vmm, attempt++))
				continue;
			return MEM_ENOMEM;
		}
		if (was.npages) {
			vm_edit_remove(&e, first, end);
			vm_edit_flush(&e);
		}
		vm_edit_insert(&e, first, end, p);
		areas_changed(space, was.begin, areas_if_filled(&was, p));
		vm_edit_end(&e);
		if (unlikely(p.bits & PROMISE_GROWSDOWN))
			vm_gap_forget(space);
		return MEM_OK;
	}
}

/* vm_place(), with the backing that fits the address. */
static mem_status place_object(struct space *space, vpn_t first, vpn_t end, promise_t p,
			       struct vm_object *object, uint64_t page, bool replace)
{
	if (!object)
		return vm_place(space, first, end, p, replace);
	struct backing *b;
	mem_status status = vm_backing_get(space, object, (int64_t)(page - first), &b);
	if (status != MEM_OK)
		return MEM_ENOMEM;
	p.backing = b;
	status = vm_place(space, first, end, p, replace);
	vm_backing_put(b);
	return status;
}

static mem_status choose_and_place(struct space *space, const struct vm_map_args *args,
				   uint64_t npages, promise_t p, struct vm_object *object,
				   vaddr_t *out)
{
	const uint64_t page = args->offset >> PAGE_SHIFT;
	vpn_t first, end;
	if (args->flags & (VM_FIXED | VM_FIXED_NOREPLACE)) {
		if (!vm_range(args->hint, npages << PAGE_SHIFT, &first, &end))
			return (args->hint & PAGE_MASK) ? MEM_EINVAL : MEM_ENOMEM;
		*out = args->hint;
		return place_object(space, first, end, p, object, page,
				    !(args->flags & VM_FIXED_NOREPLACE));
	}
	vaddr_t limit = args->limit && args->limit < USER_TOP ? args->limit : USER_TOP;
	if (args->flags & VM_BELOW_4G)
		limit = mem_min(limit, (vaddr_t)1 << 31);
	vaddr_t hint = align_down(args->hint, PAGE_SIZE);
	if (hint >= vpn_to_va(MMAP_MIN_VPN) && vm_range(hint, npages << PAGE_SHIFT, &first, &end) &&
	    (!(args->flags & VM_BELOW_4G) || end <= vpn_of(limit)) && !vm_near_stack(space, end)) {
		*out = hint;
		mem_status status = place_object(space, first, end, p, object, page, false);
		if (status != MEM_EEXIST)
			return status;
	}
	bool guess = vm_guess_gap(space, npages, vpn_of(limit), &first);
	for (;; guess = false) {
		if (!guess && !vm_find_gap(space, npages, vpn_of(limit), &first))
			return MEM_ENOMEM;
		*out = vpn_to_va(first);
		end = first + npages;
		mem_status status = place_object(space, first, end, p, object, page, false);
		if (likely(status == MEM_OK))
			return status;
		vm_gap_opened(space, end);
		if (status != MEM_EEXIST)
			return status;
		/* A wrong guess, or somebody was faster: look (again), from the top. */
	}
}

static mem_status check_args(const struct vm_map_args *args, uint64_t *npages)
{
	uint64_t bytes, last;
	if (!args->bytes || (args->prot & ~7u) || (args->maxprot & ~7u) ||
	    (args->prot & ~args->maxprot) || (args->offset & PAGE_MASK))
		return MEM_EINVAL;
	if (!align_up_checked(args->bytes, PAGE_SIZE, &bytes) || bytes > USER_TOP)
		return MEM_ENOMEM;
	if (__builtin_add_overflow(args->offset, bytes, &last) || last > (uint64_t)INT64_MAX)
		return MEM_EINVAL;
	*npages = bytes >> PAGE_SHIFT;
	return MEM_OK;
}

mem_status vmm_map(struct space *space, const struct vm_map_args *args, vaddr_t *out)
{
	mem_contract_thread();
	uint64_t npages;
	mem_status status = check_args(args, &npages);
	if (status != MEM_OK)
		return status;

	struct vmm *vmm = space->vmm;
	struct vm_object *object = args->object, *made = NULL;
	promise_t p = promise_of(vmm, args);
	if (!object && (p.bits & PROMISE_SHARED)) {
		status = vm_object_create_shared(vmm, npages << PAGE_SHIFT,
						 !(p.bits & PROMISE_NORESERVE), &made);
		if (status != MEM_OK)
			return status;
		object = made;
	}
	bool charge = promise_wants_charge(p) && !(object && object_is_device(object));
	if (charge) {
		if (!vm_commit_charge(vmm, npages))
			return MEM_ENOMEM;
		p.bits |= PROMISE_CHARGED;
	}
	mem_rwlock_read(&space->lock);
	status = choose_and_place(space, args, npages, p, object, out);
	mem_rwlock_read_done(&space->lock);
	if (status != MEM_OK && charge)
		vm_commit_uncharge(vmm, npages);
	if (made)
		vm_object_put(made);
	bool touch = (args->flags & VM_POPULATE) ||
		     ((args->flags & VM_LOCKED) && !(args->flags & VM_ONFAULT));
	if (status == MEM_OK && touch && args->prot) /* as promised: failures are ignored */
		(void)vm_populate(space, vpn_of(*out), vpn_of(*out) + npages,
				  (args->prot & VM_WRITE) ? FAULT_WRITE : 0);
	return status;
}

/* ---- stacks ------------------------------------------------------------------------ */

/* Under the covering lock of [floor, above.end): is it still so that `above` begins
 * where it did and nothing is in the way? */
static bool still_grows(struct edit *e, const struct run *above, vpn_t floor)
{
	struct run run;
	return !vm_edit_pages(e, floor, above->first, true) &&
	       vm_edit_first_run(e, above->first, &run) && run.first == above->first &&
	       promise_equal(run.promise, above->promise);
}

/* Is the nearest neighbour in [floor, vpn) one that a stack keeps its distance from? Not
 * if nobody can reach it (a guard that the program has put there), nor if it is a stack
 * too; as on Linux. */
static bool needs_gap(struct edit *e, vpn_t floor, vpn_t vpn)
{
	struct run run;
	bool needs = false;
	for (vpn_t at = floor; vm_edit_first_run(e, at, &run) && run.first < vpn; at = run.end)
		needs = promise_prot(run.promise) && !(run.promise.bits & PROMISE_GROWSDOWN);
	return needs;
}

mem_status vm_grow_stack(struct space *space, vpn_t vpn)
{
	struct run above, area;
	struct vmm *vmm = space->vmm;
	for (unsigned attempt = 0;; attempt++) {
		if (!vm_find_run(space, vpn, &above) || !(above.promise.bits & PROMISE_GROWSDOWN))
			return MEM_EFAULT;
		if (above.first <= vpn)
			return MEM_OK; /* somebody grew it meanwhile */
		/* The length of the whole stack decides, whatever its parts are. */
		vpn_t top = above.end;
		for (vpn_t at = above.end; vm_find_run(space, at, &area) && area.first == at &&
					   (area.promise.bits & PROMISE_GROWSDOWN);
		     at = area.end)
			top = area.end;
		uint64_t npages = above.first - vpn;
		promise_t p = above.promise;
		if (top - vpn > space->limits.stack_npages || vpn < MMAP_MIN_VPN)
			return MEM_EACCES;
		if (vm_within_limits(space, p, npages, 0) != MEM_OK)
			return MEM_EACCES;
		if ((p.bits & PROMISE_CHARGED) && !vm_commit_charge(vmm, npages))
			return MEM_ENOMEM;

		struct edit e;
		mem_status status = MEM_OK;
		vpn_t floor = vpn > STACK_GUARD_NPAGES ? vpn - STACK_GUARD_NPAGES : 0;
		mem_rwlock_read(&space->lock);
		vm_edit_begin(&e, space, floor, above.first + 1, 1);
		vm_edit_lock_inner(&e, floor, above.first + 1);
		if (!still_grows(&e, &above, vpn))
			status = MEM_EAGAIN;
		else if (needs_gap(&e, floor, vpn))
			status = MEM_EACCES;
		else if (!vm_edit_reserve(&e, vpn, above.first, 1))
			status = MEM_ENOMEM;
		if (status == MEM_OK) {
			struct areas was;
			vm_areas_look(e.top, vpn, above.first, NULL, &was);
			vm_edit_insert(&e, vpn, above.first, p);
			areas_changed(space, was.begin, areas_if_filled(&was, p));
			vm_edit_end(&e);
		} else {
			vm_edit_cancel(&e);
		}
		mem_rwlock_read_done(&space->lock);
		if (status != MEM_OK && (p.bits & PROMISE_CHARGED))
			vm_commit_uncharge(vmm, npages);
		if (status == MEM_OK)
			vm_gap_forget(space);
		if (status == MEM_OK || status == MEM_EACCES)
			return status;
		if (status == MEM_ENOMEM && !vm_relieve(vmm, attempt))
			return status;
	}
}
