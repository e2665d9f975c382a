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
 * (vm_edit_begin), so two edits that touch see each other, and the sum is exact.
 * Making a child table for a fault moves runs and begins nothing.
 */
#include "vm/areas.h"

#include "vm/rewrite.h"

#define VPN_NONE UINT64_MAX

struct look {
	struct areas *areas;
	const struct rewrite *rewrite; /* as if it had been done; or NULL */
	vpn_t first, end;
	vpn_t at; /* where what was seen last ends, and its promise */
	promise_t promise;
};

static void see_piece(struct look *l, vpn_t first, vpn_t end, promise_t promise)
{
	struct areas *a = l->areas;
	bool goes_on = first == l->at && promise == l->promise;
	if (first < l->first) {
		a->left = end >= l->first;
		a->left_promise = promise;
	} else if (!goes_on) {
		a->begin++;
	}
	if (end > l->end) {
		a->right = true;
		a->right_promise = promise;
	}
	l->at = end;
	l->promise = promise;
}

static void see(struct look *l, const struct run *run)
{
	vpn_t first = mem_max(run->first, l->first), end = mem_min(run->end, l->end);
	promise_t p = run->promise;
	if (!l->rewrite || first >= end) {
		see_piece(l, run->first, run->end, p);
		return;
	}
	if (run->first < first)
		see_piece(l, run->first, first, p);
	see_piece(l, first, end, vm_rewritten(l->rewrite, p));
	if (end < run->end)
		see_piece(l, end, run->end, p);
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
	struct look l = {
	    .areas = out, .rewrite = rewrite, .first = first, .end = end, .at = VPN_NONE};
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
