/* SPDX-License-Identifier: MIT */
/*
 * What a change undoes, in order: take down under the locks, flush, and only
 * then let references go (I6); see gather.h.
 */
#include "vm/gather.h"

#include "vm/epoch.h"
#include "vm/space.h"

void vm_gather_backing(struct gather *g, struct backing *b)
{
	uint64_t refs = atomic_read_acquire(&b->refs);
	do {
		if (refs > 1)
			atomic_write_release(&b->let_go, true);
	} while (!atomic_cas(&b->refs, &refs, refs - 1));
	if (refs > 1)
		return;
	if (atomic_read_acquire(&b->let_go))
		vm_gather_all(g); /* theirs as well as ours (object_maps.c) */
	b->dead = g->dead;
	g->dead = b;
}

void vm_entry_drop(struct space *space, pte_t pte)
{
	if (pte & PTE_UNCOUNTED)
		return;
	struct pmm *pmm = space->vmm->pmm;
	atomic_count(&space->resident, -1);
	if (pte & PTE_OBJECT)
		atomic_count(&space->resident_file, -1); /* the object keeps it (I9) */
	else if (frame_put(pmm, pte & PTE_ADDR))
		pmm_free(pmm, pte & PTE_ADDR, 0);
}

/* Nobody can reach t any more but those who wait for its lock. */
static void make_stale(struct gather *g, struct table *t)
{
	bool held = mem_lock_held(&t->lock);
	if (!held)
		table_lock(t);
	t->state = TABLE_STALE;
	vm_runs_cut(g, t, t->first, table_end(t));
	/* Also when no page is present: the table itself may be cached. */
	vm_gather_page(g, t->first);
	if (t->level == 1)
		table_for_each(i, t, 0, PT_ENTRIES) if (i && (atomic_read_relaxed(&t->entries[i]) &
							      PTE_PRESENT))
		    vm_gather_page(g, t->first + i);
	t->next = g->detached;
	g->detached = t;
	if (!held)
		table_unlock(t);
	if (t->level > 1)
		table_for_each(i, t, 0, PT_ENTRIES) make_stale(g, vm_table_child(t, i));
}

void vm_detach(struct gather *g, struct table *parent, unsigned index)
{
	struct table *child = vm_table_child(parent, index);
	table_entry_empty(parent, index);
	make_stale(g, child);
}

void vm_gather_finish(struct gather *g)
{
	uint64_t tables = 0;
	for (struct table *t = g->detached; t; t = t->next) {
		tables++;
		if (t->level == 1)
			table_for_each(i, t, 0, PT_ENTRIES)
			    vm_entry_drop(g->space, atomic_read_relaxed(&t->entries[i]));
	}
	if (tables) {
		atomic_count(&g->space->tables, -tables);
		if (atomic_read_acquire(&g->space->refs))
			vm_retire(g->space->vmm, g->detached);
		else /* its end: whoever walks a space holds a reference */
			vm_free_tables(g->space->vmm, g->detached);
		g->detached = NULL;
	}
	while (g->dead) {
		struct backing *b = g->dead;
		g->dead = b->dead;
		vm_backing_free(b);
	}
}
