/* SPDX-License-Identifier: MIT */
/*
 * The way back: from a page of an object to everybody who maps it.
 *
 * The set of an object's backings is conservative: a backing stands in it from
 * before the first run names it until after the last is gone. A zap goes through
 * the set and, in each space, through the leaves that exist in the one range
 * where the pages can be. It holds one leaf's lock at a time, never together
 * with maps_lock; to keep its place it holds a reference on the backing.
 *
 * Backings that enter the set behind its back need no visit, because whoever
 * faults on them sees the new size or the emptied index. But entries can go
 * from one backing to another (mremap, fork), possibly from one not yet visited
 * to one that was: such a change counts itself in object->moves while it still
 * holds the table locks, and the zap goes round again when the count changed.
 */
#include "vm/gather.h"
#include "vm/objects.h"

/* Looking further for an equal backing than this does not pay: equality only
 * lets neighbours merge. */
#define BACKING_SEARCH 64

static bool get_unless_zero(uint32_t *refs)
{
	uint32_t n = atomic_read_acquire(refs);
	while (n)
		if (atomic_cas(refs, &n, n + 1))
			return true;
	return false;
}

void vm_backing_ref(struct backing *b, uint32_t n)
{
	uint32_t now = atomic_add(&b->refs, n);
	mem_assert(now > n);
}

struct backing *vm_backing_get(struct space *space, struct vm_object *object, int64_t delta)
{
	unsigned searched = 0;
	mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	for (struct list *node = object->maps.prev;
	     node != &object->maps && searched < BACKING_SEARCH; node = node->prev, searched++) {
		struct backing *b = list_entry(node, struct backing, link);
		if (b->space == space && b->delta == delta && get_unless_zero(&b->refs)) {
			mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
			return b;
		}
	}
	struct backing *b = slab_alloc(space->vmm->backings);
	if (b) {
		*b = (struct backing){.refs = 1, .delta = delta, .object = object, .space = space};
		vm_object_get(object);
		list_push_back(&object->maps, &b->link);
	}
	mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	return b;
}

void vm_backing_free(struct backing *b)
{
	struct vm_object *object = b->object;
	mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	list_remove(&b->link);
	mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	slab_free(object->vmm->backings, b);
	vm_object_put(object);
}

void vm_backing_put(struct backing *b)
{
	if (atomic_sub(&b->refs, 1) == 0)
		vm_backing_free(b);
}

/* Is this entry to go when pages of b are taken back? */
static bool entry_goes(const struct table *t, unsigned index, pte_t pte, const struct backing *b,
		       bool copies)
{
	const struct run *run = vm_runs_find(t, t->first + index);
	return run && (!b || promise_backing(run->promise) == b) &&
	       (copies || (pte & (PTE_OBJECT | PTE_UNCOUNTED)));
}

void vm_zap_leaf(struct space *space, struct table *t, const struct backing *b, vpn_t first,
		 vpn_t end, bool copies)
{
	unsigned from = (unsigned)(mem_max(first, t->first) - t->first);
	unsigned until = (unsigned)(mem_min(end, table_end(t)) - t->first);
	struct gather g;
	vm_gather_init(&g, space);
	table_for_each(i, t, from, until)
	{
		if (!entry_goes(t, i, atomic_read_relaxed(&t->entries[i]), b, copies))
			continue;
		pte_t was = atomic_and(&t->entries[i], ~PTE_PRESENT);
		if (was & PTE_PRESENT)
			vm_gather_page(&g, t->first + i);
	}
	vm_gather_flush(&g);
	table_for_each(k, t, from, until)
	{
		pte_t pte = atomic_read_relaxed(&t->entries[k]);
		if ((pte & PTE_PRESENT) || !entry_goes(t, k, pte, b, copies))
			continue;
		table_entry_empty(t, k);
		vm_entry_drop(space, pte);
	}
}

struct table *vm_next_leaf(struct space *space, vpn_t *vpn, vpn_t end)
{
	while (*vpn < end) {
		struct table *t = vm_lock_deepest(space, *vpn);
		if (t->level == 1)
			return t;
		*vpn = vm_table_part_end(t, *vpn);
		table_unlock(t);
	}
	return NULL;
}

static void zap_backing(struct space *space, const struct backing *b, uint64_t first, uint64_t end,
			bool copies)
{
	const int64_t most = (int64_t)1 << 52, top = (int64_t)vpn_of(USER_TOP);
	int64_t from = (int64_t)mem_min(first, (uint64_t)most) - b->delta;
	int64_t until = (int64_t)mem_min(end, (uint64_t)most) - b->delta;
	if (until <= 0 || from >= top)
		return;
	vpn_t vpn = (vpn_t)mem_max(from, (int64_t)0), last = (vpn_t)mem_min(until, top);
	struct table *t;
	while ((t = vm_next_leaf(space, &vpn, last)) != NULL) {
		vm_zap_leaf(space, t, b, vpn, last, copies);
		vpn = table_end(t);
		table_unlock(t);
	}
}

/* The first backing after `b` (NULL: at all) that is alive, with a reference, and
 * its space with one if it is alive too. */
static struct backing *next_backing(struct vm_object *object, struct backing *b,
				    struct space **space)
{
	struct backing *found = NULL;
	*space = NULL;
	mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	struct list *node = b ? b->link.next : object->maps.next;
	for (; node != &object->maps; node = node->next) {
		struct backing *next = list_entry(node, struct backing, link);
		if (!get_unless_zero(&next->refs))
			continue; /* its runs are gone, its entries being flushed */
		found = next;
		/* A space outlives its backings' stay in this list. */
		if (get_unless_zero(&next->space->refs))
			*space = next->space;
		break;
	}
	mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	return found;
}

void vm_object_zap(struct vm_object *object, uint64_t first, uint64_t end, bool copies)
{
	uint64_t moves;
	do {
		moves = atomic_read_seq(&object->moves);
		struct space *space;
		struct backing *b = next_backing(object, NULL, &space);
		while (b) {
			if (space)
				zap_backing(space, b, first, end, copies);
			struct backing *last = b;
			struct space *last_space = space;
			b = next_backing(object, last, &space);
			vm_backing_put(last);
			if (last_space)
				vmm_space_put(last_space);
		}
	} while (atomic_read_seq(&object->moves) != moves);
}
