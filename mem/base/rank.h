/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_RANK_H
#define MEM_BASE_RANK_H
/*
 * Every lock class, in rank order. A CPU takes locks in rising rank only
 * (equal rank only where the class says how: tables lock in ascending span
 * start, then higher level first); debug builds panic otherwise.
 *
 * Ranks below MEM_RANK_FIRST belong to the host: its locks that may be held
 * when mem/ is called. Ranks above MEM_RANK_LAST: its locks that its host_*
 * functions take.
 */
enum mem_rank {
	MEM_RANK_FIRST = 100,
	MEM_RANK_SPACE = MEM_RANK_FIRST, /* sleeping: orders the calls on one space */
	MEM_RANK_OBJECT_SIZE,            /* sleeping: truncate against growth */
	MEM_RANK_SPACE_MAPS,             /* a space's mappers; never with a table lock */
	MEM_RANK_OBJECT_MAPS,            /* an object's mappers; never with a table lock */
	MEM_RANK_TABLE,                  /* page tables; many at once, in span order */
	MEM_RANK_OBJECT_PAGES,           /* an object's page index */
	MEM_RANK_HEAP_REAP,              /* one reaper of a heap at a time; held across flushes */
	MEM_RANK_KERNEL_SETTLE,          /* one flush of a kernel area at a time; held across it */
	MEM_RANK_KERNEL_AREA,            /* kernel virtual address ranges */
	MEM_RANK_COMMIT,                 /* memory accounting */
	MEM_RANK_REAP,      /* one slab reaper at a time; held across host_barrier_all */
	MEM_RANK_HEAP,      /* large blocks, segments */
	MEM_RANK_SLAB,      /* a cache's slab lists */
	MEM_RANK_EPOCH,     /* limbo lists */
	MEM_RANK_PMM,       /* the frame allocator's rare operations, one at a time */
	MEM_RANK_PMM_CACHE, /* the frame allocator's shared slot; interrupts off */
	MEM_RANK_FLUSH,     /* shootdown requests */
	MEM_RANK_LAST = 199,
	MEM_RANK_HOST_LAST = 255, /* no rank is above this */
};
#endif
