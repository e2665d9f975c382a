/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_TABLE_H
#define MEM_VM_TABLE_H
/*
 * The one structure: a page-table page and its descriptor.
 *
 *            struct table (level 3)                 page-table page
 *        +---------------------------+            +-----------------+
 *        | lock  level  state  used  |  entries   | 0               |
 *        | first (span start)        |----------->| 1 --> child page|---> ...
 *        | runs: [a, b) promise      |            | 2               |
 *        |       [c, d) promise      |            |   ...           |
 *        | bits: entries in use      |            +-----------------+
 *        +---------------------------+
 *              ^   the frame record of the page refers to the descriptor
 *
 * A run says what the pages [first, end) are, as far as no child table exists
 * on their path (I1): runs and children of one table never overlap. In a leaf
 * (level 1) the runs describe every promised page, present or not, and an entry
 * that is not zero lies inside a run:
 *
 *     zero                        not touched
 *     PTE_PRESENT                 present; allows no more than the run (I2)
 *     other, PTE_PRESENT clear    parked: the page is there and its promise
 *                                 allows no access, or its flush is under way
 *
 * Locks: everything is changed under `lock`; `level`, `space` and `entries` are constant,
 * and so are `parent` and `first`, but for a leaf that mremap moves: under its lock and
 * those of both parents. Entries of tables above level 1 are also read by lock-free walks
 * (vm/walk.c), so they are written atomically. The MMU sets accessed and dirty bits in leaf
 * entries at any time.
 *
 * A table is live until it is unlinked and marked stale, both under the lock of
 * the table that covers it, and then only waits for its end (I3).
 */
#include <mem/types.h>

#include "arch/x86_64/pte.h"
#include "base/lock.h"
#include "vm/promise.h"

struct space;
struct vmm;
struct gather;

struct run {
	vpn_t first, end; /* [first, end), not empty */
	promise_t promise;
};

enum table_state { TABLE_LIVE, TABLE_STALE };

#define TABLE_WORDS (PT_ENTRIES / 64)

struct table {
	struct mem_lock lock;
	uint8_t level; /* 1: its entries map pages, 2..4: they refer to tables */
	uint8_t state; /* enum table_state */
	uint16_t used; /* entries that are not zero */
	pte_t *entries;
	struct run *runs; /* run_count in address order, no two equal neighbours touch */
	uint32_t run_count;
	uint32_t run_capacity;
	vpn_t first; /* of the span */
	struct space *space;
	struct table *parent;
	struct run own;             /* the place of one run */
	uint64_t bits[TABLE_WORDS]; /* entries that are not zero */
	struct table *next;         /* in a gather, or in limbo */
	struct table *held;         /* locked by an edit: its list */
	uint64_t retired;           /* in limbo: the epoch after which no walk can see it */
};

/* Software bits of leaf entries. */
#define PTE_UNCOUNTED ((pte_t)1 << 9)  /* no reference: the zero frame, device memory */
#define PTE_OBJECT    ((pte_t)1 << 10) /* an object's page */
#define PTE_USED      ((pte_t)1 << 11) /* always: also frame 0, parked, is not zero */

static inline vpn_t vpn_of(vaddr_t va)
{
	return va >> PAGE_SHIFT;
}

static inline vaddr_t vpn_to_va(vpn_t vpn)
{
	return vpn << PAGE_SHIFT;
}

/* Pages that one entry of a table at `level` spans; those of the whole table. */
static inline uint64_t vpn_entry_span(unsigned level)
{
	return (uint64_t)1 << (9 * (level - 1));
}

static inline uint64_t table_span(const struct table *t)
{
	return (uint64_t)1 << (9 * t->level);
}

static inline vpn_t table_end(const struct table *t)
{
	return t->first + table_span(t);
}

static inline unsigned vpn_index(vpn_t vpn, unsigned level)
{
	return (vpn >> (9 * (level - 1))) & (PT_ENTRIES - 1);
}

static inline bool table_bit(const struct table *t, unsigned index)
{
	return (t->bits[index / 64] >> (index % 64)) & 1;
}

unsigned vm_table_next_far(const struct table *t, unsigned from, unsigned end);

/* The first entry in use in [from, end), or `end`. */
static inline unsigned vm_table_next(const struct table *t, unsigned from, unsigned end)
{
	if (from >= end)
		return end;
	uint64_t word = t->bits[from / 64] >> (from % 64);
	if (word)
		from += bit_lowest(word);
	else if ((from | 63) < end - 1)
		return vm_table_next_far(t, from, end);
	else
		return end;
	return from < end ? from : end;
}

/* The last entry in use in [from, end), or -1. */
int vm_table_last(const struct table *t, unsigned from, unsigned end);

/* Where the stretch from vpn on ends of which t is the deepest table. */
vpn_t vm_table_part_end(const struct table *t, vpn_t vpn);

#define table_for_each(index, t, from, until)                                                      \
	for (unsigned index##_end = (until), index = vm_table_next((t), (from), index##_end);      \
	     index < index##_end; index = vm_table_next((t), index + 1, index##_end))

/* A leaf entry that was zero becomes `pte`, or one that was in use becomes zero. */
static inline void table_entry_fill(struct table *t, unsigned index, pte_t pte)
{
	t->bits[index / 64] |= (uint64_t)1 << (index % 64);
	t->used++;
	atomic_write_release(&t->entries[index], pte);
}

static inline void table_entry_empty(struct table *t, unsigned index)
{
	t->bits[index / 64] &= ~((uint64_t)1 << (index % 64));
	t->used--;
	atomic_write_release(&t->entries[index], (pte_t)0);
}

static inline bool table_is_empty(const struct table *t)
{
	return !t->used && !t->run_count;
}

/* The descriptor of the child that entry `index` of t refers to (in use, level > 1). */
struct table *vm_table_child(const struct table *t, unsigned index);

/* A new table for `space`, unlinked, no runs. NULL: no memory. */
struct table *vm_table_create(struct space *space, struct table *parent, unsigned level,
			      vpn_t first);
/* Free an unlinked table that no walk can see, with its runs' places (the runs'
 * references are gone already) and its page. */
void vm_table_free(struct vmm *vmm, struct table *t);

/* Make the missing child of `parent` that holds vpn: it takes over all runs in
 * its span, is locked by the caller of this and linked filled (I1). NULL: no
 * memory, nothing has changed. Locks: parent's. */
struct table *vm_table_make_child(struct table *parent, vpn_t vpn);

/* Link a filled child into its parent. Locks: parent's, or nobody sees it. */
void vm_table_link(struct table *parent, struct table *child);

/* ---- runs (vm/runs.c); all under the table's lock --------------------------- */

/* The run that holds vpn, or NULL. */
struct run *vm_runs_find(const struct table *t, vpn_t vpn);
/* Index of the first run that ends above vpn (run_count: none). */
unsigned vm_runs_lower(const struct table *t, vpn_t vpn);
/* Runs that t will have when [first, end) was cut out. */
unsigned vm_runs_after_cut(const struct table *t, vpn_t first, vpn_t end);
/* Have room for `capacity` runs. False: no memory, nothing has changed. */
bool vm_runs_reserve(struct table *t, unsigned capacity);
/* Take [first, end) out; room for vm_runs_after_cut() was reserved. Backings
 * whose last reference goes are added to the gather; the totals of the space
 * follow. */
void vm_runs_cut(struct gather *g, struct table *t, vpn_t first, vpn_t end);
/* Add a run where none is, merging with equal neighbours; room for one more was
 * reserved. Takes over one reference on the promise's backing. Does not account. */
void vm_runs_insert(struct table *t, vpn_t first, vpn_t end, promise_t promise);
/* Make `vpn`, which is inside run `at`, the border of two; room for one more. */
void vm_runs_split(struct table *t, unsigned at, vpn_t vpn);
/* Merge equal neighbours that touch [first, end]. */
void vm_runs_merge(struct table *t, vpn_t first, vpn_t end);
/* Give the array back (before the table is freed; it has no runs any more, and its
 * space may be gone). */
void vm_runs_free(struct vmm *vmm, struct table *t);
#endif
