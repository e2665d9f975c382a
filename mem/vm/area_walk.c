/* SPDX-License-Identifier: MIT */
/*
 * Looking at a space in address order: the next run, the next merged area, the
 * highest gap.
 *
 * Runs and children of a table do not overlap. So walking a space is walking each table's
 * two sorted sequences as one, and going down into children with the path locked (at most
 * four locks). What is found may be outdated when the locks are dropped: who builds on it
 * checks again under the covering lock.
 */
#include "vm/area_walk.h"
#include "vm/edit.h"
#include "vm/objects.h"

/* ---- upwards ------------------------------------------------------------------ */

/* The first run below t that ends above vpn. t is locked. */
static bool scan_up(struct table *t, vpn_t vpn, bool reference, struct run *out)
{
	unsigned i = vm_runs_lower(t, vpn), k = PT_ENTRIES;
	const struct run *run = i < t->run_count ? &t->runs[i] : NULL;
	if (t->level > 1 && t->used) {
		unsigned from = vpn > t->first ? vpn_index(vpn, t->level) : 0;
		for (k = vm_table_next(t, from, PT_ENTRIES); k < PT_ENTRIES;
		     k = vm_table_next(t, k + 1, PT_ENTRIES)) {
			struct table *child = vm_table_child(t, k);
			if (run && run->first < child->first)
				break;
			table_lock(child);
			bool found = scan_up(child, vpn, reference, out);
			table_unlock(child);
			if (found)
				return true;
		}
	}
	if (!run)
		return false;
	*out = *run;
	if (reference && run->promise.backing)
		vm_backing_ref(run->promise.backing, 1);
	return true;
}

static bool find_up(struct space *space, vpn_t vpn, bool reference, struct run *out)
{
	if (vpn >= vpn_of(USER_TOP))
		return false;
	table_lock(space->root);
	bool found = scan_up(space->root, vpn, reference, out);
	table_unlock(space->root);
	return found;
}

bool vm_find_run(struct space *space, vpn_t vpn, struct run *out)
{
	return find_up(space, vpn, false, out);
}

/* The last run below t that begins below vpn. t is locked. */
static bool scan_before(struct table *t, vpn_t vpn, struct run *out)
{
	unsigned i = 0;
	while (i < t->run_count && t->runs[i].first < vpn)
		i++;
	const struct run *run = i ? &t->runs[i - 1] : NULL;
	if (t->level > 1) {
		unsigned until = vpn < table_end(t) ? vpn_index(vpn, t->level) + 1 : PT_ENTRIES;
		for (int k = vm_table_last(t, 0, until); k >= 0;
		     k = vm_table_last(t, 0, (unsigned)k)) {
			struct table *child = vm_table_child(t, (unsigned)k);
			if (run && run->first > child->first)
				break;
			table_lock(child);
			bool found = scan_before(child, vpn, out);
			table_unlock(child);
			if (found)
				return true;
		}
	}
	if (run)
		*out = *run;
	return run != NULL;
}

bool vm_find_before(struct space *space, vpn_t vpn, struct run *out)
{
	table_lock(space->root);
	bool found = scan_before(space->root, vpn, out);
	table_unlock(space->root);
	return found;
}

/* Equal runs of one table are merged already, so an area goes on in another
 * table only at a border between tables: a multiple of 512 pages. */
bool vm_find_area(struct space *space, vpn_t vpn, struct run *out)
{
	if (!find_up(space, vpn, true, out))
		return false;
	struct run next;
	while (out->first % PT_ENTRIES == 0 && vm_find_before(space, out->first, &next) &&
	       next.end == out->first && promise_equal(next.promise, out->promise))
		out->first = next.first;
	while (out->end % PT_ENTRIES == 0 && find_up(space, out->end, false, &next) &&
	       next.first == out->end && promise_equal(next.promise, out->promise))
		out->end = next.end;
	return true;
}

bool vmm_next_area(struct space *space, vaddr_t va, struct vm_area *out)
{
	mem_contract_thread();
	struct run run;
	if (!vm_find_area(space, vpn_of(va), &run))
		return false;
	struct backing *b = run.promise.backing;
	*out = (struct vm_area){
	    .start = vpn_to_va(run.first),
	    .end = vpn_to_va(run.end),
	    .prot = promise_prot(run.promise),
	    .maxprot = promise_maxprot(run.promise),
	    .flags = promise_flags(run.promise),
	    .name = vm_name_of(space->vmm, run.promise),
	};
	if (b) {
		vm_object_get(b->object);
		out->object = b->object;
		out->offset = (uint64_t)((int64_t)run.first + b->delta) << PAGE_SHIFT;
		vm_backing_put(b);
	}
	return true;
}

void vm_area_done(struct vm_area *area)
{
	if (area->object)
		vm_object_put(area->object);
	area->object = NULL;
}

/* ---- downwards: the highest gap ------------------------------------------------- */

struct gap_scan {
	uint64_t npages;
	vpn_t limit;
	vpn_t top; /* below here it is free, down to the next run that is seen */
};

/* A grows-down run keeps the guard gap below it free. */
static vpn_t start_with_guard(const struct run *run)
{
	if (!(run->promise.bits & PROMISE_GROWSDOWN))
		return run->first;
	return run->first > STACK_GUARD_NPAGES ? run->first - STACK_GUARD_NPAGES : 0;
}

/* Is there a gap of npages ending at or below s->top and inside or above t? */
static bool scan_down(struct gap_scan *s, struct table *t)
{
	/* A stack above the limit keeps its guard gap free, too. */
	vpn_t from = mem_min(s->limit + STACK_GUARD_NPAGES, table_end(t));
	unsigned i = t->run_count;
	int k = t->level > 1 ? vm_table_last(t, 0, vpn_index(from - 1, t->level) + 1) : -1;
	while (i > 0 || k >= 0) {
		const struct run *run = i ? &t->runs[i - 1] : NULL;
		struct table *child = k >= 0 ? vm_table_child(t, (unsigned)k) : NULL;
		if (child && (!run || child->first > run->first)) {
			table_lock(child);
			bool found = scan_down(s, child);
			table_unlock(child);
			if (found)
				return true;
			k = vm_table_last(t, 0, (unsigned)k);
			continue;
		}
		if (run->end <= s->top && s->top - run->end >= s->npages)
			return true;
		s->top = mem_min(s->limit, start_with_guard(run));
		i--;
	}
	return false;
}

bool vm_near_stack(struct space *space, vpn_t end)
{
	struct run above;
	return vm_find_run(space, end, &above) && above.first >= end &&
	       start_with_guard(&above) < end;
}

/* The hint: no gap of more than gap_npages lies above gap_from, but those that somebody
 * is about to fill, and no stack begins between gap_from and gap_top, or so near above
 * gap_top that a mapping up to there would be in its guard gap. What is found is taken
 * at once: it lowers gap_from; what is unmapped above, or was not mapped after all,
 * raises it. Who looked at the space to write the hint does so only if nobody forgot it
 * meanwhile (gap_turn): a new stack must not be overlooked. */
bool vm_guess_gap(struct space *space, uint64_t npages, vpn_t limit, vpn_t *out)
{
	bool known = false;
	mem_lock(&space->gap_lock, MEM_RANK_COMMIT);
	if (space->gap_limit == limit && npages > space->gap_npages &&
	    space->gap_from >= npages + MMAP_MIN_VPN) {
		*out = space->gap_from -= npages;
		known = true;
	}
	mem_unlock(&space->gap_lock, MEM_RANK_COMMIT);
	return known;
}

void vm_gap_opened(struct space *space, vpn_t end)
{
	mem_lock(&space->gap_lock, MEM_RANK_COMMIT);
	uint64_t turn = space->gap_turn;
	end = mem_min(end, space->gap_limit);
	bool beyond = end > space->gap_top;
	if (!beyond && end > space->gap_from)
		space->gap_from = end;
	mem_unlock(&space->gap_lock, MEM_RANK_COMMIT);
	if (likely(!beyond))
		return;
	if (vm_near_stack(space, end)) {
		vm_gap_forget(space);
		return;
	}
	mem_lock(&space->gap_lock, MEM_RANK_COMMIT);
	if (turn == space->gap_turn && end <= space->gap_limit)
		space->gap_from = space->gap_top = end;
	mem_unlock(&space->gap_lock, MEM_RANK_COMMIT);
}

void vm_gap_forget(struct space *space)
{
	mem_lock(&space->gap_lock, MEM_RANK_COMMIT);
	space->gap_limit = space->gap_from = space->gap_top = 0;
	space->gap_turn++;
	mem_unlock(&space->gap_lock, MEM_RANK_COMMIT);
}

bool vm_find_gap(struct space *space, uint64_t npages, vpn_t limit, vpn_t *out)
{
	struct gap_scan s = {npages, limit, limit};
	mem_lock(&space->gap_lock, MEM_RANK_COMMIT);
	uint64_t turn = space->gap_turn;
	mem_unlock(&space->gap_lock, MEM_RANK_COMMIT);
	table_lock(space->root);
	bool found = scan_down(&s, space->root);
	table_unlock(space->root);
	if (!found && (s.top < npages || s.top - npages < MMAP_MIN_VPN))
		return false;
	*out = s.top - npages;
	/* If somebody maps there before this is written, the hint is a bad one, and the
	 * next guess is found out. */
	mem_lock(&space->gap_lock, MEM_RANK_COMMIT);
	if (turn == space->gap_turn) {
		space->gap_limit = limit;
		space->gap_from = *out;
		space->gap_top = s.top;
		space->gap_npages = npages - 1;
	}
	mem_unlock(&space->gap_lock, MEM_RANK_COMMIT);
	return true;
}
