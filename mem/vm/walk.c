/* SPDX-License-Identifier: MIT */
/*
 * Walks: from a root down to the table that matters, without locks.
 *
 * Reading entries top-down inside a walk epoch gives a table that was the deepest at some
 * moment. Locking it and asking again (not stale, still there, no deeper child now) makes
 * it the deepest for as long as the lock is held. A child is made under this lock,
 * unlinking marks stale under it, and mremap moves it under it.
 */
#include "vm/epoch.h"
#include "vm/space.h"

/* The deepest table of at least `min_level` on the path of [first, end) whose
 * span holds it all. Inside a walk epoch. */
static struct table *descend(struct space *space, vpn_t first, vpn_t last, unsigned min_level)
{
	paddr_t page = PADDR_NONE;
	const pte_t *entries = space->root->entries;
	for (unsigned level = PT_LEVELS; level > min_level; level--) {
		unsigned index = vpn_index(first, level);
		if (index != vpn_index(last, level))
			break;
		pte_t pte = atomic_read_acquire(&entries[index]);
		if (!pte)
			break;
		page = pte & PTE_ADDR;
		entries = paddr_to_ptr(page);
	}
	return page == PADDR_NONE ? space->root : frame_reference(space->vmm->pmm, page);
}

static bool is_deepest(const struct table *t, vpn_t first, vpn_t last, unsigned min_level)
{
	if (t->state == TABLE_STALE)
		return false;
	/* Since it was found it may have been moved elsewhere (move.c). */
	if (first - t->first >= table_span(t))
		return false;
	if (t->level <= min_level)
		return true;
	unsigned index = vpn_index(first, t->level);
	return index != vpn_index(last, t->level) || !table_bit(t, index);
}

static struct table *lock_lowest(struct space *space, vpn_t first, vpn_t last, unsigned min_level)
{
	for (;;) {
		vm_walk_enter(space->vmm);
		struct table *t = descend(space, first, last, min_level);
		table_lock(t);
		bool found = is_deepest(t, first, last, min_level);
		/* Only a live table holds still for its lock: a stale one may be freed as
		 * soon as the walk is over, locked or not. */
		if (unlikely(!found))
			table_unlock(t);
		vm_walk_leave(space->vmm);
		if (likely(found))
			return t;
	}
}

struct table *vm_lock_deepest(struct space *space, vpn_t vpn)
{
	return lock_lowest(space, vpn, vpn, 1);
}

struct table *vm_lock_covering(struct space *space, vpn_t first, vpn_t end, unsigned min_level)
{
	return lock_lowest(space, first, end - 1, min_level);
}
