/* SPDX-License-Identifier: MIT */
/*
 * Zaps: pages of an object are taken back from everybody who maps them.
 *
 * An entry of an object's page holds no reference to it. The object keeps its page, and
 * lets it go only when a zap has found every entry, and every CPU has forgotten them (I9).
 * So nothing can be missed, and nothing may come after:
 *
 *  1. The zap publishes which pages go (object->zapping). From here on nobody finds
 *     them in the index, or they lie beyond the size; both are asked under the lock of
 *     the leaf that the answer is installed into.
 *  2. It goes through the mappers that are there, from the newest to the oldest, and
 *     in each through the leaves in its box, one leaf's lock at a time. What a fault
 *     had found before step 1 it has installed before it lets go of that lock.
 *  3. Who moves or copies entries (mremap, fork) looks at object->zapping with the leaves
 *     of both places locked, and the new place in a mapper's box. Either it sees the zap
 *     and leaves behind what that is after, or the zap sees the new place and waits for its
 *     locks.
 *  4. A range that was cut but not flushed yet keeps its covering lock (I5), and its
 *     mapper until the flush (object_maps.c): the zap waits for the one or finds the
 *     other.
 *
 * A space without references is passed over: no CPU runs it, and none will.
 *
 * The work is bounded whatever others do. Mappers that join the set come in front of what
 * the zap has left to do, so nothing is gone through twice. Each mapper costs what the
 * tables and runs in its box do. Zaps of one object come one after the other (its size lock
 * is held); the cursor zap_next is kept right by mappers that end.
 */
#include "vm/gather.h"
#include "vm/objects.h"

bool vm_object_zapping(struct vm_object *object, struct zap *out)
{
	if (likely(!atomic_read_seq(&object->zapping)))
		return false;
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	*out = object->zap;
	bool zapping = object->zapping;
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	return zapping;
}

/* Narrow [*first, *end), a part of `run`, down to what the zap is after. */
static bool is_after(const struct zap *zap, const struct run *run, vpn_t *first, vpn_t *end)
{
	if (!zap->object)
		return true;
	const struct backing *b = run->promise.backing;
	if (!b || b->object != zap->object)
		return false;
	uint64_t delta = (uint64_t)b->delta;
	uint64_t low = mem_max(zap->first, *first + delta), high = mem_min(zap->end, *end + delta);
	*first = low - delta;
	*end = high - delta;
	return low < high;
}

/* Take down what the zap is after in [first, end), or, when that is `flushed`, drop it. */
static void zap_entries(const struct zap *zap, struct gather *g, struct table *t, vpn_t first,
			vpn_t end, bool flushed)
{
	struct drops drops = {0};
	for (unsigned i = vm_runs_lower(t, first); i < t->run_count && t->runs[i].first < end;
	     i++) {
		vpn_t low = mem_max(t->runs[i].first, first), high = mem_min(t->runs[i].end, end);
		if (!is_after(zap, &t->runs[i], &low, &high))
			continue;
		table_for_each(k, t, (unsigned)(low - t->first), (unsigned)(high - t->first))
		{
			pte_t pte = atomic_read_relaxed(&t->entries[k]);
			if (!zap->copies && !(pte & (PTE_OBJECT | PTE_UNCOUNTED)))
				continue;
			if (flushed) {
				table_entry_empty(t, k);
				vm_entry_drop(g->space->vmm->pmm, pte, &drops);
			} else if (atomic_and(&t->entries[k], ~PTE_PRESENT) & PTE_PRESENT) {
				vm_gather_page(g, t->first + k);
			}
		}
	}
	vm_resident_drop(g->space, &drops);
}

void vm_zap_leaf(struct space *space, struct table *t, const struct zap *zap, vpn_t first,
		 vpn_t end)
{
	struct gather g;
	vm_gather_init(&g, space);
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	zap_entries(zap, &g, t, first, end, false);
	vm_gather_flush(&g);
	zap_entries(zap, &g, t, first, end, true);
}

/* Where in its space a mapper may map pages of the zap. The distances of a box are set
 * before its borders. */
static bool reach(const struct mapper *m, const struct zap *zap, vpn_t *first, vpn_t *end)
{
	const int64_t most = (int64_t)1 << 52;
	*first = atomic_read_seq(&m->low);
	*end = atomic_read_seq(&m->high);
	if (*first >= *end)
		return false; /* no run yet */
	int64_t from = (int64_t)mem_min(zap->first, (uint64_t)most) - atomic_read_seq(&m->most);
	int64_t until = (int64_t)mem_min(zap->end, (uint64_t)most) - atomic_read_seq(&m->least);
	if (from > (int64_t)*first)
		*first = (vpn_t)from;
	if (until < (int64_t)*end)
		*end = (vpn_t)mem_max(until, (int64_t)0);
	return *first < *end;
}

static void zap_space(struct space *space, const struct zap *zap, vpn_t first, vpn_t end)
{
	while (first < end) {
		struct table *t = vm_lock_deepest(space, first);
		if (t->level == 1)
			vm_zap_leaf(space, t, zap, first, end);
		first = vm_table_part_end(t, first);
		table_unlock(t);
	}
}

static void zap_mappers(struct vm_object *object, const struct zap *zap)
{
	mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	object->zap_next = object->mappers.next;
	while (object->zap_next != &object->mappers) {
		struct mapper *m = list_entry(object->zap_next, struct mapper, of_object);
		struct space *space = m->space;
		vpn_t first, end;
		bool visit = reach(m, zap, &first, &end) && vm_get_unless_zero(&space->refs);
		object->zap_next = m->of_object.next;
		mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
		if (visit) {
			zap_space(space, zap, first, end);
			vmm_space_put(space);
		}
		mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	}
	object->zap_next = NULL;
	mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
}

void vm_object_zap_begin(struct vm_object *object, uint64_t first, uint64_t end, bool copies)
{
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	object->zap = (struct zap){object, first, end, copies};
	atomic_write_seq(&object->zapping, 1);
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	zap_mappers(object, &object->zap);
}

void vm_object_zap_end(struct vm_object *object)
{
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	atomic_write_seq(&object->zapping, 0);
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	host_wake(&object->zapping);
}
