/* SPDX-License-Identifier: MIT */
/*
 * How many areas a space has, as /proc/PID/maps shows them: neighbours of equal
 * promise are one, whichever tables their runs lie in.
 *
 * An area begins at each promised page whose lower neighbour has no promise or another one.
 * The count of a space is kept, not taken. An edit of [first, end) changes what begins in
 * [first, end] and nothing else. So it looks at that range and at the two pages beside it,
 * before and after or in one look, and adds the difference. The neighbours may lie in other
 * tables; edits lock those too (vm_edit_begin). From the look to the change they hold every
 * table between (vm_edit_lock_inner): another edit may need no more than one of those. So
 * two edits that touch see each other, and the sum is exact. Making a child table for a
 * fault moves runs and begins nothing.
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
	struct rewrite *rewrite; /* or NULL */
	vpn_t first, end;
	struct last is, would; /* as it is; as it would be after `rewrite` */
};

/* Does an area begin with this piece? */
static inline bool begins(struct last *last, vpn_t first, vpn_t end, promise_t promise)
{
	bool goes_on = first == last->at && promise_equal(promise, last->promise);
	*last = (struct last){end, promise};
	return !goes_on;
}

/* A run of which [first, end) is rewritten, and what is below and above that is not. */
static void see_rewritten(struct look *l, const struct run *run, vpn_t first, vpn_t end)
{
	promise_t p = run->promise;
	if (run->first < l->first)
		(void)begins(&l->would, run->first, mem_min(run->end, l->first), p);
	if (first < end)
		l->areas->would_begin +=
		    begins(&l->would, first, end, vm_rewrite_note(l->rewrite, p, end - first));
	if (run->end > l->end)
		l->areas->would_begin +=
		    begins(&l->would, mem_max(run->first, l->end), run->end, p);
}

static inline void see(struct look *l, const struct run *run)
{
	struct areas *a = l->areas;
	bool new = begins(&l->is, run->first, run->end, run->promise);
	vpn_t first = run->first, end = run->end;
	if (first < l->first) {
		first = l->first;
		a->left = end >= first;
		a->left_promise = run->promise;
	} else {
		a->begin += new;
	}
	if (end > l->end) {
		end = l->end;
		a->right = true;
		a->right_promise = run->promise;
	}
	if (first < end)
		a->npages += end - first;
	if (l->rewrite)
		see_rewritten(l, run, first, end);
}

/* Runs of t in address order, with those of its children between them. */
static void look_below(struct look *l, struct table *t)
{
	vpn_t from = mem_max(l->first - (l->first != 0), t->first);
	vpn_t until = mem_min(l->end + 1, table_end(t));
	unsigned i = vm_runs_lower(t, from), k = PT_ENTRIES, last = PT_ENTRIES;
	if (t->level > 1) {
		last = vpn_index(until - 1, t->level) + 1;
		k = vm_table_next(t, vpn_index(from, t->level), last);
	}
	for (;;) {
		const struct run *run = i < t->run_count ? &t->runs[i] : NULL;
		if (k < last) {
			struct table *child = vm_table_child(t, k);
			if (!run || child->first < run->first) {
				bool borrowed = table_borrow(child);
				look_below(l, child);
				if (borrowed)
					table_unlock(child);
				k = vm_table_next(t, k + 1, last);
				continue;
			}
		}
		if (!run || run->first >= until)
			return;
		see(l, run);
		i++;
	}
}

void vm_areas_look(struct table *top, vpn_t first, vpn_t end, struct rewrite *rewrite,
		   struct areas *out)
{
	struct look l = {.areas = out,
			 .rewrite = rewrite,
			 .first = first,
			 .end = end,
			 .is.at = VPN_NONE,
			 .would.at = VPN_NONE};
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
