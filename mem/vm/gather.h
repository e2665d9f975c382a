/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_GATHER_H
#define MEM_VM_GATHER_H
/*
 * A gather collects what one change to a space has to undo: translations to
 * invalidate, tables that were unlinked, backings that nobody names any more.
 * One flush serves them all; only then do references go (I6).
 *
 * It needs no memory for the pages. An entry that was taken down keeps its frame's address
 * with PTE_PRESENT clear until the flush is done. A whole subtree that was unlinked keeps
 * its entries. So there is nothing that could run out half way.
 */
#include <mem/cpumask.h>
#include <mem/pmm.h>

#include "vm/table.h"

/* Past this many pages flushing everything is cheaper. */
#define GATHER_PAGES MEM_FLUSH_PAGES

struct gather {
	struct space *space;
	unsigned count; /* pages in `pages`; GATHER_PAGES + 1: everything */
	vpn_t pages[GATHER_PAGES];
	struct table *detached; /* unlinked and stale, one list through `next` */
	struct backing *dead;
};

static inline void vm_gather_init(struct gather *g, struct space *space)
{
	g->space = space;
	g->count = 0;
	g->detached = NULL;
	g->dead = NULL;
}

/* The translation of vpn may be cached and has to go. */
static inline void vm_gather_page(struct gather *g, vpn_t vpn)
{
	if (g->count < GATHER_PAGES)
		g->pages[g->count++] = vpn;
	else
		g->count = GATHER_PAGES + 1;
}

static inline void vm_gather_all(struct gather *g)
{
	g->count = GATHER_PAGES + 1;
}

static inline bool vm_gather_is_all(const struct gather *g)
{
	return g->count > GATHER_PAGES;
}

/* One reference on a run's backing less; the last one goes when the gather ends. */
void vm_gather_backing(struct gather *g, struct backing *b);

/* Invalidate what was gathered on every CPU that may hold it and wait; nothing
 * to do if nothing was gathered. Context: thread or fault, interrupts on,
 * preemption off (a table lock is held). */
void vm_gather_flush(struct gather *g);

/* After the flush and with no lock: free detached tables and what they map, drop
 * dead backings. */
void vm_gather_finish(struct gather *g);

/* Leaf entries that went, to be taken out of a space's totals together. */
struct drops {
	uint64_t npages, nfile;
};

/* Drop the reference that a leaf entry held. `pte` is not zero. An object keeps its page
 * (I9). */
static inline void vm_entry_drop(struct pmm *pmm, pte_t pte, struct drops *drops)
{
	if (pte & PTE_UNCOUNTED)
		return;
	drops->npages++;
	if (pte & PTE_OBJECT)
		drops->nfile++;
	else if (frame_put(pmm, pte & PTE_ADDR))
		pmm_free(pmm, pte & PTE_ADDR, 0);
}

void vm_resident_drop(struct space *space, const struct drops *drops);

/* Unlink `child` (entry `index` of parent) and everything below it: mark all of
 * it stale, take the runs' pages out of the totals, gather. Locks: parent's; the
 * child's may be held (and stays so). */
void vm_detach(struct gather *g, struct table *parent, unsigned index);

/* ---- flushing (vm/flush.c) --------------------------------------------------- */

/* Every CPU that has `space` loaded lazily lets go of it. Context: thread. */
void vm_flush_forget(struct space *space);
#endif
