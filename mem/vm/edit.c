/* SPDX-License-Identifier: MIT */
/*
 * Edits: the locking and the primitive changes of a range; see edit.h.
 *
 * Taking entries down in two steps keeps references until the flush (I6) with no memory.
 * The first step clears PTE_PRESENT and leaves the address. After the flush, still under
 * the locks, the second drops the frames. Whole subtrees keep their entries and are emptied
 * after the locks are gone.
 */
#include "vm/edit.h"

#include "vm/objects.h"

static bool is_partial(const struct table *child, vpn_t first, vpn_t end)
{
	return first > child->first || end < table_end(child);
}

static void lock_one(struct edit *e, struct table *t)
{
	if (mem_lock_held(&t->lock))
		return; /* an edge of the other range of a move */
	mem_assert(e->count < EDIT_LOCKS);
	table_lock(t);
	e->locked[e->count++] = t;
}

/* Lock the tables below t that a border of [first, end) cuts. t is locked. */
static void lock_edges(struct edit *e, struct table *t, vpn_t first, vpn_t end)
{
	if (t->level == 1)
		return;
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	unsigned left = vpn_index(first, t->level), right = vpn_index(end - 1, t->level);
	for (unsigned i = left;; i = right) {
		if (table_bit(t, i)) {
			struct table *child = vm_table_child(t, i);
			if (is_partial(child, first, end)) {
				lock_one(e, child);
				lock_edges(e, child, first, end);
			}
		}
		if (i == right)
			break;
	}
}

/* The pages beside [first, end) too, where another table may hold them. */
static void add_neighbours(vpn_t *first, vpn_t *end)
{
	if (*first && *first % PT_ENTRIES == 0)
		--*first;
	if (*end < vpn_of(USER_TOP) && *end % PT_ENTRIES == 0)
		++*end;
}

void vm_edit_cover(struct edit *e, struct space *space, vpn_t first, vpn_t end, unsigned min_level)
{
	e->space = space;
	e->held = NULL;
	e->cut_first = e->cut_end = 0;
	vm_gather_init(&e->gather, space);
	add_neighbours(&first, &end);
	e->top = vm_lock_covering(space, first, end, min_level);
	e->locked[0] = e->top;
	e->count = 1;
}

void vm_edit_also(struct edit *e, vpn_t first, vpn_t end)
{
	add_neighbours(&first, &end);
	lock_edges(e, e->top, first, end);
}

void vm_edit_begin(struct edit *e, struct space *space, vpn_t first, vpn_t end, unsigned min_level)
{
	vm_edit_cover(e, space, first, end, min_level);
	vm_edit_also(e, first, end);
}

void vm_edit_hold(struct edit *e, struct table *t, bool locked)
{
	if (!locked && mem_lock_held(&t->lock))
		return;
	if (!locked)
		table_lock(t);
	t->held = e->held;
	e->held = t;
}

static void lock_inner(struct edit *e, struct table *t, vpn_t first, vpn_t end)
{
	if (t->level == 1)
		return;
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	table_for_each(k, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
	{
		struct table *child = vm_table_child(t, k);
		vm_edit_hold(e, child, false);
		lock_inner(e, child, first, end);
	}
}

void vm_edit_lock_inner(struct edit *e, vpn_t first, vpn_t end)
{
	const struct table *t = e->top;
	if (t->level == 1)
		return;
	unsigned until = vpn_index(end - 1, t->level) + 1;
	if (unlikely(vm_table_next(t, vpn_index(first, t->level), until) < until))
		lock_inner(e, e->top, first, end);
}

/* Runs of one table from which on it is worth looking, and those of one slot from
 * which on a page for a child is well spent. */
#define CROWD_TABLE 128
#define CROWD_SLOT  24

bool vm_edit_split_crowd(struct edit *e, vpn_t first, vpn_t end)
{
	struct table *t = e->top;
	if (likely(t->run_count < CROWD_TABLE) || t->level == 1)
		return false;
	unsigned index = vpn_index(first, t->level);
	if (index != vpn_index(end - 1, t->level) || table_bit(t, index))
		return false;
	uint64_t span = vpn_entry_span(t->level);
	vpn_t slot = align_down(first, span);
	if (vm_runs_lower(t, slot + span - 1) - vm_runs_lower(t, slot) < CROWD_SLOT)
		return false;
	struct table *child = vm_table_make_child(t, first);
	if (!child)
		return false; /* an array that grows will do as well */
	table_unlock(child);
	vm_edit_cancel(e);
	return true;
}

static bool reserve_in(struct table *t, vpn_t first, vpn_t end, unsigned inserts)
{
	if (likely(t->run_count + inserts + 1 <= t->run_capacity))
		return true; /* a cut adds one at most */
	if (first >= table_end(t) || end <= t->first)
		return true;
	unsigned most = mem_max(vm_runs_after_cut(t, first, end), t->run_count);
	return vm_runs_reserve(t, most + inserts);
}

bool vm_edit_reserve(struct edit *e, vpn_t first, vpn_t end, unsigned inserts)
{
	for (unsigned i = 0; i < e->count; i++)
		if (!reserve_in(e->locked[i], first, end, inserts))
			return false;
	/* Of a table that is whole in it no run is split. */
	for (struct table *t = e->held; t; t = t->held)
		if (is_partial(t, first, end) && !reserve_in(t, first, end, inserts))
			return false;
	return true;
}

static bool would_empty(const struct table *t, vpn_t first, vpn_t end)
{
	if (t->run_count && (t->runs[0].first < first || t->runs[t->run_count - 1].end > end))
		return false;
	if (t->level == 1)
		return true; /* entries lie inside runs */
	table_for_each(i, t, 0, PT_ENTRIES)
	{
		const struct table *child = vm_table_child(t, i);
		if (child->first >= end || table_end(child) <= first)
			return false;
		if (is_partial(child, first, end) && !would_empty(child, first, end))
			return false;
	}
	return true;
}

bool vm_edit_empties(const struct edit *e, vpn_t first, vpn_t end)
{
	return e->top->level < PT_LEVELS && would_empty(e->top, first, end);
}

static uint64_t count_pages(struct table *t, vpn_t first, vpn_t end, bool any)
{
	uint64_t count = 0;
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	for (unsigned i = vm_runs_lower(t, first); i < t->run_count; i++) {
		const struct run *run = &t->runs[i];
		if (run->first >= end)
			break;
		count += mem_min(run->end, end) - mem_max(run->first, first);
		if (any)
			return count;
	}
	if (t->level == 1)
		return count;
	table_for_each(k, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
	{
		struct table *child = vm_table_child(t, k);
		bool borrowed = table_borrow(child);
		count += count_pages(child, first, end, any);
		if (borrowed)
			table_unlock(child);
		if (any && count)
			break;
	}
	return count;
}

uint64_t vm_edit_pages(struct edit *e, vpn_t first, vpn_t end, bool any)
{
	return first < end ? count_pages(e->top, first, end, any) : 0;
}

static bool first_run(struct table *t, vpn_t vpn, struct run *out)
{
	unsigned i = vm_runs_lower(t, vpn);
	const struct run *run = i < t->run_count ? &t->runs[i] : NULL;
	if (t->level > 1) {
		unsigned from = vpn > t->first ? vpn_index(vpn, t->level) : 0;
		table_for_each(k, t, from, PT_ENTRIES)
		{
			struct table *child = vm_table_child(t, k);
			if (run && run->first < child->first)
				break;
			bool borrowed = table_borrow(child);
			bool found = first_run(child, vpn, out);
			if (borrowed)
				table_unlock(child);
			if (found)
				return true;
		}
	}
	if (run)
		*out = *run;
	return run != NULL;
}

bool vm_edit_first_run(struct edit *e, vpn_t vpn, struct run *out)
{
	return vpn < table_end(e->top) && first_run(e->top, vpn, out);
}

/* Leaf entries of [first, end): not present from now on, frames kept. */
static void take_down(struct edit *e, struct table *t, vpn_t first, vpn_t end)
{
	table_for_each(i, t, (unsigned)(first - t->first), (unsigned)(end - t->first))
	{
		pte_t was = atomic_and(&t->entries[i], ~PTE_PRESENT);
		if (was & PTE_PRESENT)
			vm_gather_page(&e->gather, t->first + i);
	}
}

static void remove_from(struct edit *e, struct table *t, vpn_t first, vpn_t end, bool keep)
{
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	/* Entries before runs: who lets go of a backing has none left (object_maps.c). */
	if (t->level == 1)
		take_down(e, t, first, end);
	vm_runs_cut(&e->gather, t, first, end);
	if (t->level == 1)
		return;
	table_for_each(i, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
	{
		struct table *child = vm_table_child(t, i);
		if (keep || (is_partial(child, first, end) && !would_empty(child, first, end)))
			remove_from(e, child, first, end, keep);
		else
			vm_detach(&e->gather, t, i);
	}
}

void vm_edit_remove(struct edit *e, vpn_t first, vpn_t end)
{
	mem_assert(e->cut_first == e->cut_end);
	e->cut_first = first;
	e->cut_end = end;
	remove_from(e, e->top, first, end, false);
}

void vm_edit_clear(struct edit *e, vpn_t first, vpn_t end)
{
	mem_assert(e->cut_first == e->cut_end);
	e->cut_first = first;
	e->cut_end = end;
	remove_from(e, e->top, first, end, true);
}

void vm_edit_prune(struct edit *e)
{
	/* Held last is lowest: a parent is looked at after its children. */
	for (struct table *t = e->held; t; t = t->held)
		if (t->state == TABLE_LIVE && t->parent && table_is_empty(t))
			vm_detach(&e->gather, t->parent, vpn_index(t->first, t->level + 1u));
}

/* Drop what take_down left: the entries of the cut that are still in use. */
static void settle(struct edit *e, struct table *t)
{
	vpn_t first = mem_max(e->cut_first, t->first), end = mem_min(e->cut_end, table_end(t));
	if (first >= end || t->level > 1 || t->state == TABLE_STALE)
		return;
	struct pmm *pmm = e->space->vmm->pmm;
	struct drops drops = {0};
	table_for_each(i, t, (unsigned)(first - t->first), (unsigned)(end - t->first))
	{
		pte_t pte = atomic_read_relaxed(&t->entries[i]);
		mem_debug_assert(!(pte & PTE_PRESENT));
		table_entry_empty(t, i);
		vm_entry_drop(pmm, pte, &drops);
	}
	vm_resident_drop(e->space, &drops);
}

void vm_edit_flush(struct edit *e)
{
	vm_gather_flush(&e->gather);
	if (e->cut_first != e->cut_end) {
		for (unsigned i = 0; i < e->count; i++)
			settle(e, e->locked[i]);
		for (struct table *t = e->held; t; t = t->held)
			settle(e, t);
	}
	e->cut_first = e->cut_end;
}

static void add_run(struct edit *e, struct table *t, vpn_t first, vpn_t end, promise_t promise)
{
	if (first >= end)
		return;
	if (promise.backing)
		vm_backing_ref(promise.backing, 1);
	vm_runs_insert(t, first, end, promise);
	vm_account_add(e->space, promise, end - first);
}

static void insert_into(struct edit *e, struct table *t, vpn_t first, vpn_t end, promise_t promise)
{
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	if (t->level > 1) {
		table_for_each(k, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
		{
			struct table *child = vm_table_child(t, k);
			add_run(e, t, first, child->first, promise);
			insert_into(e, child, first, end, promise);
			first = table_end(child);
		}
	}
	add_run(e, t, first, end, promise);
}

void vm_edit_insert(struct edit *e, vpn_t first, vpn_t end, promise_t promise)
{
	if (promise.backing)
		vm_mapper_extend(promise.backing->mapper, first, end);
	insert_into(e, e->top, first, end, promise);
}

static void unlock_all(struct edit *e)
{
	while (e->held) {
		struct table *t = e->held;
		e->held = t->held;
		table_unlock(t);
	}
	while (e->count)
		table_unlock(e->locked[--e->count]);
}

void vm_edit_end(struct edit *e)
{
	vm_edit_flush(e);
	unlock_all(e);
	vm_gather_finish(&e->gather);
}

void vm_edit_cancel(struct edit *e)
{
	mem_debug_assert(!e->gather.count && !e->gather.detached && !e->gather.dead);
	unlock_all(e);
}
