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

void vm_resident_drop(struct space *space, const struct drops *drops)
{
	if (drops->npages)
		atomic_count(&space->resident, -drops->npages);
	if (drops->nfile)
		atomic_count(&space->resident_file, -drops->nfile);
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
	for (unsigned i = 1; t->level == 1 && !vm_gather_is_all(g); i++) {
		i = vm_table_next(t, i, PT_ENTRIES);
		if (i == PT_ENTRIES)
			break;
		if (atomic_read_relaxed(&t->entries[i]) & PTE_PRESENT)
			vm_gather_page(g, t->first + i);
	}
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
	struct pmm *pmm = g->space->vmm->pmm;
	struct drops drops = {0};
	uint64_t tables = 0;
	for (struct table *t = g->detached; t; t = t->next) {
		tables++;
		if (t->level == 1)
			table_for_each(i, t, 0, PT_ENTRIES)
			    vm_entry_drop(pmm, atomic_read_relaxed(&t->entries[i]), &drops);
	}
	vm_resident_drop(g->space, &drops);
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
