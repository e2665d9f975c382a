/* SPDX-License-Identifier: MIT */
/*
 * Advice about ranges: discarding pages, touching them ahead, what fork does with them,
 * locking, what the program says of how it uses them.
 *
 * Discarding works leaf by leaf under the leaf's lock, as a zap does: promises stay as they
 * are, so there is nothing for a covering lock to protect. But what allows it is asked
 * under the same lock. Else a page that moves away between question and act would keep its
 * contents, although the answer was that it lost them.
 */
#include "vm/ahead.h"
#include "vm/edit.h"
#include "vm/objects.h"
#include "vm/rewrite.h"

/* What may be dropped. */
enum drop {
	DROP_ALL,
	DROP_UNLOCKED,
	DROP_ANONYMOUS, /* only private anonymous memory, unlocked */
};

/* May the part [first, end), of which t is the deepest table, be dropped? *hole: a part
 * is unmapped. */
static mem_status check_part(const struct table *t, vpn_t first, vpn_t end, enum drop what,
			     bool *hole)
{
	vpn_t at = first;
	for (unsigned i = vm_runs_lower(t, first); i < t->run_count; i++) {
		const struct run *run = &t->runs[i];
		if (run->first >= end)
			break;
		*hole |= run->first > at;
		if (what != DROP_ALL && (run->promise.bits & PROMISE_LOCKED))
			return MEM_EINVAL;
		if (what == DROP_ANONYMOUS && !promise_is_anonymous(run->promise))
			return MEM_EINVAL;
		at = run->end;
	}
	*hole |= at < end;
	return MEM_OK;
}

static const struct zap everything = {.copies = true};

/* One part after the other is looked at and, if `change`, dropped under the same lock:
 * what is moved away or unmapped meanwhile was dropped before, or is found missing. */
static mem_status drop_parts(struct space *space, vpn_t first, vpn_t end, enum drop what,
			     bool change, bool *hole)
{
	mem_status status = MEM_OK;
	for (vpn_t vpn = first, next; vpn < end && status == MEM_OK; vpn = next) {
		struct table *t = vm_lock_deepest(space, vpn);
		next = mem_min(vm_table_part_end(t, vpn), end);
		status = check_part(t, vpn, next, what, hole);
		if (status == MEM_OK && change && t->level == 1)
			vm_zap_leaf(space, t, &everything, vpn, next);
		table_unlock(t);
	}
	return status;
}

static bool is_hole_free(struct space *space, vpn_t first, vpn_t end)
{
	struct run run;
	while (first < end && vm_find_run(space, first, &run) && run.first <= first)
		first = run.end;
	return first >= end;
}

static mem_status drop(struct space *space, vpn_t first, vpn_t end, enum drop what)
{
	bool hole = false;
	mem_rwlock_read(&space->lock);
	/* All of it before any of it, for the answer that nothing has changed. */
	mem_status status = drop_parts(space, first, end, what, false, &hole);
	if (status == MEM_OK)
		status = drop_parts(space, first, end, what, true, &hole);
	mem_rwlock_read_done(&space->lock);
	return status == MEM_OK && hole ? MEM_ENOMEM : status;
}

static mem_status populate(struct space *space, vpn_t first, vpn_t end, unsigned access)
{
	switch (vm_populate(space, first, end, access)) {
	case MEM_OK:
		return MEM_OK;
	case MEM_EBEYOND:
		return MEM_EFAULT;
	case MEM_EACCES:
		return MEM_EINVAL;
	case MEM_EIO:
		return MEM_EIO;
	default:
		return MEM_ENOMEM; /* also for a hole */
	}
}

/* Touch what can be touched, as each area allows: mlock. */
static mem_status populate_areas(struct space *space, vpn_t first, vpn_t end)
{
	struct run run;
	for (vpn_t at = first; at < end && vm_find_run(space, at, &run) && run.first < end;
	     at = run.end) {
		unsigned prot = promise_prot(run.promise);
		bool write = (prot & VM_WRITE) && !(run.promise.bits & PROMISE_SHARED);
		if (!prot || (run.promise.bits & PROMISE_ONFAULT))
			continue;
		mem_status status = populate(space, mem_max(at, run.first), mem_min(run.end, end),
					     write ? FAULT_WRITE : 0);
		if (status != MEM_OK)
			return status == MEM_EFAULT ? MEM_ENOMEM : status;
	}
	return MEM_OK;
}

static mem_status change(struct space *space, vpn_t first, vpn_t end, uint64_t clear, uint64_t set)
{
	struct rewrite r = {
	    .clear = clear, .set = set, .holes = true, .anonymous = set & PROMISE_WIPE};
	mem_rwlock_read(&space->lock);
	mem_status status = vm_rewrite(space, first, end, &r);
	mem_rwlock_read_done(&space->lock);
	return status == MEM_OK && r.found_hole ? MEM_ENOMEM : status;
}

/* May what this area maps be taken out of its object, through it? */
static mem_status check_punch(const struct vm_area *area)
{
	if ((area->flags & VM_LOCKED) || !area->object)
		return MEM_EINVAL;
	return (area->flags & VM_SHARED) && (area->maxprot & VM_WRITE) ? MEM_OK : MEM_EACCES;
}

/* Punch the part of the object that each shared area of the range maps; holes are passed
 * over, and reported at the end. */
static mem_status punch(struct space *space, vpn_t first, vpn_t end)
{
	struct vm_area area;
	vpn_t at = first;
	bool hole = false;
	while (at < end && vmm_next_area(space, vpn_to_va(at), &area)) {
		vpn_t from = mem_max(vpn_of(area.start), at),
		      until = mem_min(vpn_of(area.end), end);
		hole |= from > at;
		at = mem_max(from, until);
		mem_status status = from < until ? check_punch(&area) : MEM_OK;
		if (from < until && status == MEM_OK)
			status = vm_object_punch(
			    area.object, (area.offset >> PAGE_SHIFT) + from - vpn_of(area.start),
			    until - from);
		vm_area_done(&area);
		if (status != MEM_OK)
			return status;
	}
	return hole || at < end ? MEM_ENOMEM : MEM_OK;
}

mem_status vmm_advise(struct space *space, vaddr_t va, uint64_t bytes, enum vm_advice advice)
{
	mem_contract_thread();
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
		return drop(space, first, end, DROP_UNLOCKED);
	case VM_ADVICE_DONTNEED_LOCKED:
		return drop(space, first, end, DROP_ALL);
	case VM_ADVICE_FREE:
		return drop(space, first, end, DROP_ANONYMOUS);
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
		status = change(space, first, end, PROMISE_ONFAULT, PROMISE_LOCKED);
		return status == MEM_OK ? populate_areas(space, first, end) : status;
	case VM_ADVICE_ONFAULT:
		return change(space, first, end, 0, PROMISE_LOCKED | PROMISE_ONFAULT);
	case VM_ADVICE_UNLOCK:
		return change(space, first, end, PROMISE_LOCKED | PROMISE_ONFAULT, 0);
	case VM_ADVICE_NORMAL:
		return change(space, first, end, PROMISE_RANDOM | PROMISE_SEQUENTIAL, 0);
	case VM_ADVICE_RANDOM:
		return change(space, first, end, PROMISE_SEQUENTIAL, PROMISE_RANDOM);
	case VM_ADVICE_SEQUENTIAL:
		return change(space, first, end, PROMISE_RANDOM, PROMISE_SEQUENTIAL);
	case VM_ADVICE_HUGE:
		return change(space, first, end, PROMISE_NOHUGE, PROMISE_HUGE);
	case VM_ADVICE_NOHUGE:
		return change(space, first, end, PROMISE_HUGE, PROMISE_NOHUGE);
	case VM_ADVICE_DONTDUMP:
		return change(space, first, end, 0, PROMISE_DONTDUMP);
	case VM_ADVICE_DODUMP:
		return change(space, first, end, PROMISE_DONTDUMP, 0);
	}
	return MEM_EINVAL;
}
