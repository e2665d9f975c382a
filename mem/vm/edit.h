/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_EDIT_H
#define MEM_VM_EDIT_H
/*
 * An edit: a change to a range of one space, from locking to flush.
 *
 *                     top (covering table)          locked first, until the end
 *              +----+----+----+----+----+
 *              | L  | in | in | in | R  |
 *              +-|--+----+----+----+-|--+
 *                |    whole subtrees |              `in`: locked one after another, or all
 *          +----+|                   |+----+        until the end
 *          |  L ||                   || R  |
 *          +----+                     +----+        edge tables, cut by a border of the range:
 *                                                   locked top-down, until the end
 *
 * The covering table is the lowest one whose span holds the whole range. With it locked, no
 * other edit can be in the range except those whose covering table lies below it. They ask
 * for no lock above theirs, and may come at any time until that table is locked. Who looks
 * at the range and then changes it holds the inner tables too, from before the look
 * (vm_edit_lock_inner). Every lock of a lower table is taken while its parent's is held, or
 * was just taken away from everybody (stale). So locks cannot wait for each other in a
 * circle: the waiter lower down always came through the table above.
 *
 * Order: begin (lock) - reserve - change - end (flush, drop entries, unlock, let
 * references go). Reserving is the only step that can fail.
 */
#include "vm/gather.h"
#include "vm/space.h"

#define EDIT_LOCKS 16

struct edit {
	struct space *space;
	struct table *top;
	unsigned count;
	struct table *locked[EDIT_LOCKS]; /* top first */
	struct table *held;               /* inner tables locked until the end, through `held` */
	vpn_t cut_first, cut_end;         /* removed, and not settled yet */
	struct gather gather;
};

/* Lock the covering table of [first, end) and of the pages beside it, of `min_level` or
 * above, and the edge tables of all that: what the neighbours are decides how many
 * areas there are (areas.c). Preemption is off from here to vm_edit_end. */
void vm_edit_begin(struct edit *e, struct space *space, vpn_t first, vpn_t end, unsigned min_level);
/* Lock only that covering table. */
void vm_edit_cover(struct edit *e, struct space *space, vpn_t first, vpn_t end, unsigned min_level);
/* Keep t locked until the end; `locked`: it is locked already, else it is now if it
 * was not. */
void vm_edit_hold(struct edit *e, struct table *t, bool locked);
/* A second range inside the covering table (mremap): lock its edge tables too. */
void vm_edit_also(struct edit *e, vpn_t first, vpn_t end);

/* Lock every existing table of [first, end) that is not locked yet. */
void vm_edit_lock_inner(struct edit *e, vpn_t first, vpn_t end);

/* The covering table has many runs, many of them where [first, end) is, and no child
 * there: give it one, so that arrays stay short and locks apart. True: done, begin
 * again (the edit was cancelled). */
bool vm_edit_split_crowd(struct edit *e, vpn_t first, vpn_t end);

/* Room to cut [first, end) out and to insert `inserts` runs, in every table that
 * is locked. False: no memory; nothing has changed. */
bool vm_edit_reserve(struct edit *e, vpn_t first, vpn_t end, unsigned inserts);

/* Would cutting [first, end) leave the covering table empty? It then has to be
 * unlinked: begin again one level higher. False for the root. */
bool vm_edit_empties(const struct edit *e, vpn_t first, vpn_t end);

/* How many pages of [first, end) are described by runs; with `any`, stop at the
 * first run (0 or not 0 is the answer). */
uint64_t vm_edit_pages(struct edit *e, vpn_t first, vpn_t end, bool any);
/* Copy the first run that ends above vpn, as far as the edit's locks reach. */
bool vm_edit_first_run(struct edit *e, vpn_t vpn, struct run *out);

/* Cut [first, end) out but leave its tables (all locked) where they are, even empty:
 * runs are inserted next. */
void vm_edit_clear(struct edit *e, vpn_t first, vpn_t end);
/* Unlink the tables held since vm_edit_hold that are empty. */
void vm_edit_prune(struct edit *e);

/* Cut [first, end) out: runs, entries, whole subtrees, tables left empty. */
void vm_edit_remove(struct edit *e, vpn_t first, vpn_t end);

/* Insert runs for [first, end), of which nothing is described: each page into the
 * deepest existing table. Takes references on the backing as it needs them;
 * accounts. */
void vm_edit_insert(struct edit *e, vpn_t first, vpn_t end, promise_t promise);

/* Flush, then drop what removed entries held. Between removing a range and
 * inserting into it, or removing another one. */
void vm_edit_flush(struct edit *e);
/* Flush, unlock, free. */
void vm_edit_end(struct edit *e);
/* As end, when nothing was changed. */
void vm_edit_cancel(struct edit *e);
#endif
