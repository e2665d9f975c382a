/* SPDX-License-Identifier: MIT */
/*
 * How many areas a space has, as /proc/PID/maps shows them: neighbours of equal
 * promise are one, whichever tables their runs lie in.
 *
 * An area begins at each promised page whose lower neighbour has no promise or
 * another one. The count of a space is kept, not taken: an edit of [first, end)
 * changes what begins in [first, end] and nothing else, so it looks at that range
 * and at the two pages beside it, before and after or in one look, and adds the
 * difference. The neighbours may lie in other tables; edits lock those too
 * (vm_edit_begin), and from the look to the change they hold every table between
 * (vm_edit_lock_inner): another edit may need no more than one of those. So two edits
 * that touch see each other, and the sum is exact.
 * Making a child table for a fault moves runs and begins nothing.
 */
#include "vm/areas.h"

#include "vm/rewrite.h"

#define VPN_NONE UINT64_MAX

/* What was seen last: where it ends, and its promise. */
struct last {
	vpn_t at;
	promise_t promise;
};

struct look {
	struct areas *areas;
	const struct rewrite *rewrite; /* or NULL */
	vpn_t first, end;
	struct last is, would; /* as it is; as it would be after `rewrite` */
};

/* Does an area begin with this piece? */
static inline bool begins(struct last *last, vpn_t first, vpn_t end, promise_t promise)
{
	bool goes_on = first == last->at && promise == last->promise;
	*last = (struct last){end, promise};
	return !goes_on;
}

static void see_rewritten(struct look *l, const struct run *run)
{
	vpn_t first = mem_max(run->first, l->first), end = mem_min(run->end, l->end);
	promise_t p = run->promise, now = first < end ? vm_rewritten(l->rewrite, p) : p;
	uint64_t begin = 0;
	if (run->first < l->first)
		(void)begins(&l->would, run->first, mem_min(run->end, l->first), p);
	if (first < end)
		begin += begins(&l->would, first, end, now);
	if (run->end > l->end)
		begin += begins(&l->would, mem_max(run->first, l->end), run->end, p);
	l->areas->would_begin += begin;
}

static void see(struct look *l, const struct run *run)
{
	struct areas *a = l->areas;
	bool new = begins(&l->is, run->first, run->end, run->promise);
	if (run->first < l->first) {
		a->left = run->end >= l->first;
		a->left_promise = run->promise;
	} else {
		a->begin += new;
	}
	if (run->end > l->end) {
		a->right = true;
		a->right_promise = run->promise;
	}
	vpn_t first = mem_max(run->first, l->first), end = mem_min(run->end, l->end);
	if (first < end)
		a->npages += end - first;
	if (l->rewrite)
		see_rewritten(l, run);
}

/* Runs of t in address order, with those of its children between them. */
static void look_below(struct look *l, struct table *t)
{
	vpn_t from = mem_max(l->first ? l->first - 1 : 0, t->first);
	vpn_t until = mem_min(l->end + 1, table_end(t));
	unsigned i = vm_runs_lower(t, from);
	if (t->level > 1) {
		table_for_each(k, t, vpn_index(from, t->level), vpn_index(until - 1, t->level) + 1)
		{
			struct table *child = vm_table_child(t, k);
			for (; i < t->run_count && t->runs[i].first < child->first; i++)
				see(l, &t->runs[i]);
			bool borrowed = table_borrow(child);
			look_below(l, child);
			if (borrowed)
				table_unlock(child);
		}
	}
	for (; i < t->run_count && t->runs[i].first < until; i++)
		see(l, &t->runs[i]);
}

void vm_areas_look(struct table *top, vpn_t first, vpn_t end, const struct rewrite *rewrite,
		   struct areas *out)
{
	struct look l = {.areas = out,
			 .rewrite = rewrite,
			 .first = first,
			 .end = end,
			 {VPN_NONE, 0},
			 {VPN_NONE, 0}};
	*out = (struct areas){0};
	look_below(&l, top);
}

uint64_t vm_areas_begin(struct table *top, vpn_t first, vpn_t end)
{
	struct areas a;
	vm_areas_look(top, first, end, NULL, &a);
	return a.begin;
}

uint64_t vm_areas_of(struct space *space)
{
	table_lock(space->root);
	uint64_t count = vm_areas_begin(space->root, 0, vpn_of(USER_TOP));
	table_unlock(space->root);
	return count;
}
