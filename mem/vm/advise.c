/* SPDX-License-Identifier: MIT */
/*
 * Advice about ranges: dropping pages, touching them ahead, what fork does with
 * them, locking.
 *
 * Dropping works leaf by leaf under the leaf's lock, as a zap does: promises
 * stay as they are, so there is nothing for a covering lock to protect.
 */
#include "vm/edit.h"
#include "vm/objects.h"
#include "vm/rewrite.h"

/* Drop what the pages of [first, end) hold, of private anonymous memory or of
 * everything. */
static void drop_pages(struct space *space, vpn_t first, vpn_t end)
{
	struct table *t;
	vpn_t vpn = first;
	while ((t = vm_next_leaf(space, &vpn, end)) != NULL) {
		vm_zap_leaf(space, t, NULL, vpn, end, true);
		vpn = table_end(t);
		table_unlock(t);
	}
}

/* May every area of the range be dropped? Locked ones may not; `anonymous`: only
 * private anonymous ones. *hole: a part is unmapped. */
static mem_status check_droppable(struct space *space, vpn_t first, vpn_t end, bool anonymous,
				  bool *hole)
{
	struct run run;
	vpn_t at = first;
	*hole = false;
	while (at < end && vm_find_run(space, at, &run) && run.first < end) {
		if (run.first > at)
			*hole = true;
		if (run.promise & PROMISE_LOCKED)
			return MEM_EINVAL;
		if (anonymous && (promise_backing(run.promise) || (run.promise & PROMISE_SHARED)))
			return MEM_EINVAL;
		at = run.end;
	}
	*hole |= at < end;
	return MEM_OK;
}

static bool is_hole_free(struct space *space, vpn_t first, vpn_t end)
{
	struct run run;
	while (first < end && vm_find_run(space, first, &run) && run.first <= first)
		first = run.end;
	return first >= end;
}

static mem_status drop(struct space *space, vpn_t first, vpn_t end, bool anonymous)
{
	bool hole;
	mem_rwlock_read(&space->lock);
	mem_status status = check_droppable(space, first, end, anonymous, &hole);
	if (status == MEM_OK)
		drop_pages(space, first, end);
	mem_rwlock_read_done(&space->lock);
	return status == MEM_OK && hole ? MEM_ENOMEM : status;
}

static mem_status populate(struct space *space, vpn_t first, vpn_t end, unsigned access)
{
	for (vpn_t vpn = first; vpn < end; vpn++) {
		mem_status status = vmm_fault(space, vpn_to_va(vpn), FAULT_USER | access, NULL);
		if (status == MEM_EFAULT)
			return MEM_ENOMEM;
		if (status == MEM_EBEYOND)
			return MEM_EFAULT;
		if (status != MEM_OK)
			return status == MEM_EACCES ? MEM_EINVAL : status;
	}
	return MEM_OK;
}

/* Touch what can be touched, as each area allows: mlock. */
static mem_status populate_areas(struct space *space, vpn_t first, vpn_t end)
{
	struct run run;
	for (vpn_t at = first; at < end && vm_find_run(space, at, &run) && run.first < end;
	     at = run.end) {
		unsigned prot = promise_prot(run.promise);
		bool write = (prot & VM_WRITE) && !(run.promise & PROMISE_SHARED);
		if (!prot)
			continue;
		mem_status status = populate(space, mem_max(at, run.first), mem_min(run.end, end),
					     write ? FAULT_WRITE : 0);
		if (status != MEM_OK)
			return status == MEM_EFAULT ? MEM_ENOMEM : status;
	}
	return MEM_OK;
}

static mem_status change(struct space *space, vpn_t first, vpn_t end, promise_t clear,
			 promise_t set)
{
	struct rewrite r = {.clear = clear, .set = set, .holes = true};
	mem_rwlock_read(&space->lock);
	mem_status status = vm_rewrite(space, first, end, &r);
	mem_rwlock_read_done(&space->lock);
	return status == MEM_OK && r.found_hole ? MEM_ENOMEM : status;
}

/* Punch the part of the object that each shared area of the range maps. */
static mem_status punch(struct space *space, vpn_t first, vpn_t end)
{
	for (vpn_t at = first; at < end;) {
		struct vm_area area;
		if (!vmm_next_area(space, vpn_to_va(at), &area) || vpn_of(area.start) > at) {
			if (at < end)
				return MEM_ENOMEM;
			break;
		}
		vpn_t until = mem_min(vpn_of(area.end), end);
		mem_status status = MEM_EINVAL;
		if (area.object && (area.flags & VM_SHARED) && (area.maxprot & VM_WRITE))
			status = vm_object_punch(
			    area.object, (area.offset >> PAGE_SHIFT) + at - vpn_of(area.start),
			    until - at);
		vm_area_done(&area);
		if (status != MEM_OK)
			return status;
		at = until;
	}
	return MEM_OK;
}

mem_status vmm_advise(struct space *space, vaddr_t va, uint64_t bytes, enum vm_advice advice)
{
	vpn_t first, end;
	mem_status status;
	if (!(va & PAGE_MASK) && !bytes)
		return MEM_OK;
	if (!vm_range(va, bytes, &first, &end))
		return (va & PAGE_MASK) ? MEM_EINVAL : MEM_ENOMEM;
	switch (advice) {
	case VM_ADVICE_NONE:
		return is_hole_free(space, first, end) ? MEM_OK : MEM_ENOMEM;
	case VM_ADVICE_DONTNEED:
		return drop(space, first, end, false);
	case VM_ADVICE_FREE:
		return drop(space, first, end, true);
	case VM_ADVICE_POPULATE_READ:
		return populate(space, first, end, 0);
	case VM_ADVICE_POPULATE_WRITE:
		return populate(space, first, end, FAULT_WRITE);
	case VM_ADVICE_DONTFORK:
		return change(space, first, end, 0, PROMISE_DONTFORK);
	case VM_ADVICE_DOFORK:
		return change(space, first, end, PROMISE_DONTFORK, 0);
	case VM_ADVICE_WIPEONFORK:
		return change(space, first, end, 0, PROMISE_WIPE);
	case VM_ADVICE_KEEPONFORK:
		return change(space, first, end, PROMISE_WIPE, 0);
	case VM_ADVICE_REMOVE:
		return punch(space, first, end);
	case VM_ADVICE_LOCK:
		status = change(space, first, end, 0, PROMISE_LOCKED);
		return status == MEM_OK ? populate_areas(space, first, end) : status;
	case VM_ADVICE_UNLOCK:
		return change(space, first, end, PROMISE_LOCKED, 0);
	}
	return MEM_EINVAL;
}
