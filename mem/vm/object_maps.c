/* SPDX-License-Identifier: MIT */
/*
 * The way back: from an object to everybody who maps it.
 *
 *      object --- mapper --- mapper --- mapper        object->maps_lock
 *                   |           |
 *      space -------+--- ...    +--- ...              space->maps_lock
 *                   |
 *                backing --- backing                  one for each distance
 *
 * A mapper is one space that maps one object. It is in the object's set from before the
 * first run names the object until the last run's translations are forgotten. It has a
 * bounding box: where its runs are, and at which distances. The box only grows, so it may
 * be too large; a zap looks at the tables inside it.
 *
 * A space lists its mappers with the one that was used last in front. Up to MAPPER_SEARCH
 * of them are searched: a second mapper for the same pair does no harm but that the zap
 * goes there twice.
 *
 * What a zap of an object costs depends on its mappers, and so on everybody who maps it.
 * Each mapper is on an owner's account, and an owner has a limit (vmm_space_set_owner()).
 *
 * The end of a backing. Entries of an object's pages hold no reference to them (I9). So a
 * backing, with its mapper and its reference on the object, may not go before every CPU has
 * forgotten what its runs had mapped. A change takes entries down, cuts their runs, lets go
 * of the backing, and flushes, in this order. If it lets go as the last, its own flush
 * comes before the end. But others may have let go before, and not have flushed yet. They
 * left the mark let_go, and the last one then flushes all of the space. No entry of theirs
 * is left that a CPU could still come to know.
 */
#include "vm/gather.h"
#include "vm/objects.h"

/* Looking further for an equal backing than this does not pay: equality only
 * lets neighbours merge. */
#define BACKING_SEARCH 64
#define MAPPER_SEARCH  4096

bool vm_get_unless_zero(uint64_t *refs)
{
	uint64_t n = atomic_read_acquire(refs);
	while (n)
		if (atomic_cas(refs, &n, n + 1))
			return true;
	return false;
}

void vm_backing_ref(struct backing *b, uint64_t n)
{
	uint64_t now = atomic_add(&b->refs, n);
	mem_assert(now > n);
}

/* ---- mappers: under the space's maps_lock --------------------------------------- */

static struct mapper *find_mapper(struct space *space, const struct vm_object *object)
{
	unsigned searched = 0;
	for (struct list *node = space->mappers.next;
	     node != &space->mappers && searched < MAPPER_SEARCH; node = node->next, searched++) {
		struct mapper *m = list_entry(node, struct mapper, of_space);
		if (m->object == object) {
			list_remove(node);
			list_push_front(&space->mappers, node);
			return m;
		}
	}
	return NULL;
}

/* The account of `owner` with one mapper more. NULL: no memory. */
static struct map_owner *join_owner(struct vm_object *object, uint64_t owner)
{
	list_for_each (node, &object->owners) {
		struct map_owner *o = list_entry(node, struct map_owner, link);
		if (o->owner == owner) {
			o->nmappers++;
			return o;
		}
	}
	struct map_owner *o =
	    object->own.nmappers ? slab_alloc_wait(object->vmm->owners) : &object->own;
	if (o) {
		*o = (struct map_owner){.owner = owner, .nmappers = 1};
		list_push_front(&object->owners, &o->link);
	}
	return o;
}

static void leave_owner(struct vm_object *object, struct map_owner *o)
{
	if (--o->nmappers)
		return;
	mem_assert(!o->nbackings);
	list_remove(&o->link);
	if (o != &object->own)
		slab_free(object->vmm->owners, o);
}

static struct mapper *make_mapper(struct space *space, struct vm_object *object)
{
	struct mapper *m = slab_alloc_wait(space->vmm->mappers);
	if (!m)
		return NULL;
	*m = (struct mapper){.space = space,
			     .object = object,
			     .low = UINT64_MAX,
			     .least = INT64_MAX,
			     .most = INT64_MIN};
	list_init(&m->backings);
	mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	m->owner = join_owner(object, space->maps_owner);
	if (m->owner) /* in front: a zap that is under way is past it (object_zap.c) */
		list_push_front(&object->mappers, &m->of_object);
	mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	if (!m->owner) {
		slab_free(space->vmm->mappers, m);
		return NULL;
	}
	list_push_front(&space->mappers, &m->of_space);
	return m;
}

static void end_mapper(struct mapper *m)
{
	struct vm_object *object = m->object;
	list_remove(&m->of_space);
	mem_lock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	if (object->zap_next == &m->of_object)
		object->zap_next = m->of_object.next;
	list_remove(&m->of_object);
	leave_owner(object, m->owner);
	mem_unlock(&object->maps_lock, MEM_RANK_OBJECT_MAPS);
	slab_free(object->vmm->mappers, m);
}

void vm_mapper_extend(struct mapper *m, vpn_t first, vpn_t end)
{
	vpn_t low = atomic_read_seq(&m->low), high = atomic_read_seq(&m->high);
	while (first < low && !atomic_cas(&m->low, &low, first))
		;
	while (end > high && !atomic_cas(&m->high, &high, end))
		;
}

/* ---- backings --------------------------------------------------------------------- */

static struct backing *find_backing(struct mapper *m, int64_t delta)
{
	unsigned searched = 0;
	for (struct list *node = m->backings.next;
	     node != &m->backings && searched < BACKING_SEARCH; node = node->next, searched++) {
		struct backing *b = list_entry(node, struct backing, link);
		if (b->delta == delta && vm_get_unless_zero(&b->refs))
			return b;
	}
	return NULL;
}

static mem_status make_backing(struct mapper *m, int64_t delta, struct backing **out)
{
	if (atomic_add(&m->owner->nbackings, (uint64_t)1) > m->space->maps_most) {
		atomic_sub(&m->owner->nbackings, (uint64_t)1);
		return MEM_EBUSY;
	}
	struct backing *b = slab_alloc_wait(m->object->vmm->backings);
	if (!b) {
		atomic_sub(&m->owner->nbackings, (uint64_t)1);
		return MEM_ENOMEM;
	}
	*b = (struct backing){.refs = 1, .delta = delta, .object = m->object, .mapper = m};
	vm_object_get(m->object);
	list_push_front(&m->backings, &b->link);
	atomic_write_seq(&m->least, mem_min(m->least, delta));
	atomic_write_seq(&m->most, mem_max(m->most, delta));
	*out = b;
	return MEM_OK;
}

mem_status vm_backing_get(struct space *space, struct vm_object *object, int64_t delta,
			  struct backing **out)
{
	mem_status status = MEM_ENOMEM;
	mem_lock(&space->maps_lock, MEM_RANK_SPACE_MAPS);
	struct mapper *m = find_mapper(space, object);
	if (!m)
		m = make_mapper(space, object);
	if (m) {
		*out = find_backing(m, delta);
		status = *out ? MEM_OK : make_backing(m, delta, out);
		if (list_empty(&m->backings))
			end_mapper(m);
	}
	mem_unlock(&space->maps_lock, MEM_RANK_SPACE_MAPS);
	return status;
}

void vm_backing_free(struct backing *b)
{
	struct mapper *m = b->mapper;
	struct vm_object *object = b->object;
	struct space *space = m->space;
	mem_lock(&space->maps_lock, MEM_RANK_SPACE_MAPS);
	list_remove(&b->link);
	atomic_sub(&m->owner->nbackings, (uint64_t)1);
	if (list_empty(&m->backings))
		end_mapper(m);
	mem_unlock(&space->maps_lock, MEM_RANK_SPACE_MAPS);
	slab_free(object->vmm->backings, b);
	vm_object_put(object);
}

void vm_backing_put(struct backing *b)
{
	if (atomic_sub(&b->refs, 1) > 0)
		return;
	if (atomic_read_acquire(&b->let_go)) {
		struct gather g;
		vm_gather_init(&g, b->mapper->space);
		vm_gather_all(&g);
		vm_gather_flush(&g);
	}
	vm_backing_free(b);
}
