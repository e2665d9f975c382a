/* SPDX-License-Identifier: MIT */
/*
 * mremap: one mapping shrinks, grows, or goes elsewhere with its pages.
 *
 * A move is one edit over the lowest table that spans both ranges, with every table of
 * either locked. First comes what can fail: the tables that the target will need are made,
 * and all tables get room for the new runs. Then the target is cleared and flushed, the
 * pages go over, and the target gets its promise. The source is cut, and everything is
 * flushed. Only then is any lock let go of (pitfall 14).
 *
 *      source   .....|aaaaaaaaaaa|bbbbbbbbbbb|ccc..     leaf tables
 *      target   ..|..aaa|aaaaaaaabbb|bbbbbbbbccc|       entry by entry, or, where both
 *      target   .....|aaaaaaaaaaa|bbbbbbbbbbb|ccc..     are alike modulo 2 MiB,
 *                    table a     table b      entries   whole tables
 *
 * A table that lies wholly in the source is moved as it is: taken out of its parent, told
 * where it is now, and hung up at the target. It has one run, of the mapping that moves,
 * which is cut before and promised again after. Who walks to it without locks meanwhile
 * finds out under its lock that it is elsewhere (walk.c). So a place that the kernel
 * chooses for 2 MiB or more is alike.
 *
 * What a zap of the object is after stays behind: it may have been at the target already
 * (object_zap.c). Then no table is moved, but the entries one by one.
 */
#include "vm/area_walk.h"
#include "vm/areas.h"
#include "vm/edit.h"
#include "vm/objects.h"
#include "vm/place.h"

struct move {
	struct space *space;
	vpn_t from, from_end; /* what is there */
	vpn_t to, to_end;     /* where it goes; may be longer */
	promise_t was, now;   /* now: with the backing for the new place */
	bool replace;         /* what is at the target goes */
	bool keep;            /* MREMAP_DONTUNMAP: the old promise stays, without pages */
	bool one_by_one;      /* no table goes as a whole */
	vpn_t whole_end;      /* where the last table ends that does, and ... */
	unsigned pieces;      /* ... how many stretches without a gap they make */
	bool zapping;         /* `zap` is under way */
	struct zap zap;
};

/* Is [first, end) one mapping, of promise p? */
static bool is_one(struct edit *e, vpn_t first, vpn_t end, promise_t p)
{
	while (first < end) {
		struct run run;
		if (!vm_edit_first_run(e, first, &run) || run.first > first ||
		    !promise_equal(run.promise, p))
			return false;
		first = run.end;
	}
	return true;
}

/* ---- the tables of the target ------------------------------------------------------- */

/* The locked table of `level` for vpn below t, made if it is missing. NULL: no memory. */
static struct table *table_below(struct edit *e, struct table *t, vpn_t vpn, unsigned level)
{
	while (t->level > level) {
		unsigned index = vpn_index(vpn, t->level);
		struct table *child;
		if (table_bit(t, index)) {
			child = vm_table_child(t, index);
			vm_edit_hold(e, child, false);
		} else {
			child = vm_table_make_child(t, vpn);
			if (!child)
				return NULL;
			vm_edit_hold(e, child, true);
		}
		t = child;
	}
	return t;
}

/* Does leaf t go to the target as it is? */
static bool goes_whole(const struct move *m, const struct table *t)
{
	return !m->one_by_one && !((m->to - m->from) % PT_ENTRIES) && t->first >= m->from &&
	       table_end(t) <= mem_min(m->from_end, m->from + (m->to_end - m->to));
}

/* The part [*first, *end) of leaf t that goes over: what is above is cut with the source. */
static void stretch_of(const struct move *m, const struct table *t, vpn_t *first, vpn_t *end)
{
	vpn_t last = mem_min(m->from_end, m->from + (m->to_end - m->to));
	*first = mem_max(m->from, t->first);
	*end = mem_max(mem_min(last, table_end(t)), *first);
}

typedef bool (*leaf_visitor)(struct edit *e, struct move *m, struct table *t);

/* Visit every leaf of the source. */
static bool each_leaf(struct edit *e, struct move *m, struct table *t, leaf_visitor visit)
{
	if (t->level == 1)
		return visit(e, m, t);
	vpn_t first = mem_max(m->from, t->first), end = mem_min(m->from_end, table_end(t));
	table_for_each(k, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
	{
		if (!each_leaf(e, m, vm_table_child(t, k), visit))
			return false;
	}
	return true;
}

static bool make_tables(struct edit *e, struct move *m, struct table *t)
{
	if (goes_whole(m, t)) {
		m->pieces += t->first != m->whole_end;
		m->whole_end = table_end(t);
		return table_below(e, e->top, t->first - m->from + m->to, 2) != NULL;
	}
	vpn_t first, end, next;
	for (stretch_of(m, t, &first, &end); first < end; first = next) {
		vpn_t target = first - m->from + m->to;
		next = mem_min(end, first + PT_ENTRIES - target % PT_ENTRIES);
		unsigned until = (unsigned)(next - t->first);
		if (vm_table_next(t, (unsigned)(first - t->first), until) < until &&
		    !table_below(e, e->top, target, 1))
			return false;
	}
	return true;
}

/* ---- what goes over -------------------------------------------------------------------- */

static void move_whole(struct edit *e, struct move *m, struct table *t)
{
	vpn_t target = t->first - m->from + m->to;
	struct table *parent = table_below(e, e->top, target, 2); /* exists: cannot fail */
	unsigned index = vpn_index(target, 2);
	if (table_bit(parent, index))
		vm_detach(&e->gather, parent, index); /* it was cleared */
	vm_runs_cut(&e->gather, t, t->first, table_end(t));
	table_entry_empty(t->parent, vpn_index(t->first, 2));
	vm_gather_all(&e->gather);
	t->first = target;
	t->parent = parent;
	vm_table_link(parent, t);
}

/* Those of the entries `used` of t, 64 from `base` on, that a zap is not after. */
static uint64_t spared(const struct move *m, const struct table *t, unsigned base, uint64_t used)
{
	for (uint64_t left = used; left; left &= left - 1) {
		unsigned i = base + bit_lowest(left);
		if (vm_zap_takes(&m->zap, m->was.backing, t->first + i,
				 atomic_read_relaxed(&t->entries[i])))
			used &= ~((uint64_t)1 << i % 64);
	}
	return used;
}

/* The entries `used` of t, 64 from `base` on, go to `leaf`, `shift` entries further on. */
static void move_word(struct edit *e, struct table *t, unsigned base, uint64_t used,
		      struct table *leaf, unsigned shift)
{
	pte_t *from = t->entries + base, *to = leaf->entries + (int)(base + shift);
	bool all = vm_gather_is_all(&e->gather);
	for (uint64_t left = used; left; left &= left - 1) {
		unsigned i = bit_lowest(left);
		pte_t pte = atomic_swap(&from[i], (pte_t)0);
		if (!all && (pte & PTE_PRESENT))
			vm_gather_page(&e->gather, t->first + base + i);
		atomic_write_release(&to[i], pte);
	}
	t->bits[base / 64] &= ~used;
	t->used = (uint16_t)(t->used - bit_count(used));
	leaf->used = (uint16_t)(leaf->used + bit_count(used));
	unsigned lowest = bit_lowest(used), at = base + lowest + shift, bit = at % 64;
	used >>= lowest;
	leaf->bits[at / 64] |= used << bit;
	if (bit && used >> (64 - bit))
		leaf->bits[at / 64 + 1] |= used >> (64 - bit);
}

/* The entries of [first, end) of t go to `leaf`, in which all of them have their place. */
static void move_entries(struct edit *e, const struct move *m, struct table *t, vpn_t first,
			 vpn_t end, struct table *leaf)
{
	unsigned from = (unsigned)(first - t->first), until = (unsigned)(end - t->first);
	unsigned shift = (unsigned)(first - m->from + m->to - leaf->first) - from;
	if (t->used > GATHER_PAGES && until - from > GATHER_PAGES)
		vm_gather_all(&e->gather); /* which many of them would come to */
	for (unsigned base = from & ~63u; base < until; base += 64) {
		uint64_t used = t->bits[base / 64];
		if (from > base)
			used &= ~(uint64_t)0 << (from - base);
		if (until - base < 64)
			used &= ((uint64_t)1 << (until - base)) - 1;
		if (unlikely(m->zapping))
			used = spared(m, t, base, used);
		if (used)
			move_word(e, t, base, used, leaf, shift);
	}
}

static bool move_leaf(struct edit *e, struct move *m, struct table *t)
{
	if (goes_whole(m, t)) {
		move_whole(e, m, t);
		return true;
	}
	vpn_t first, end, next;
	for (stretch_of(m, t, &first, &end); first < end; first = next) {
		vpn_t target = first - m->from + m->to;
		next = mem_min(end, first + PT_ENTRIES - target % PT_ENTRIES);
		unsigned until = (unsigned)(next - t->first);
		if (vm_table_next(t, (unsigned)(first - t->first), until) < until)
			move_entries(e, m, t, first, next, table_below(e, e->top, target, 1));
	}
	return true;
}

/* ---- one move -------------------------------------------------------------------------- */

/* Room to clear and promise the target and to cut the source, in one table: each
 * border may split a run, and the target is promised in the gaps between child
 * tables, those that come included. */
static bool reserve_in(const struct move *m, struct table *t)
{
	unsigned gaps = t->level > 1 ? t->used + m->pieces : 0;
	return vm_runs_reserve(t, t->run_count + 4u + gaps);
}

static bool reserve(struct edit *e, const struct move *m)
{
	for (unsigned i = 0; i < e->count; i++)
		if (!reserve_in(m, e->locked[i]))
			return false;
	for (struct table *t = e->held; t; t = t->held)
		if (!reserve_in(m, t))
			return false;
	return true;
}

/* What stays of the source, without pages, is not locked any more. */
static void unlock_source(struct edit *e, const struct move *m)
{
	promise_t p = m->was;
	p.bits &= ~(PROMISE_LOCKED | PROMISE_ONFAULT);
	if (promise_equal(p, m->was))
		return;
	vm_edit_clear(e, m->from, m->from_end);
	/* Cutting gave the charge back, which goes on. */
	if (p.bits & PROMISE_CHARGED)
		(void)atomic_add(&m->space->vmm->commit, m->from_end - m->from);
	vm_edit_insert(e, m->from, m->from_end, p);
}

/* Areas that begin where either range is; a border between them counts once. */
static uint64_t areas_begin(struct edit *e, const struct move *m)
{
	if (m->from_end == m->to || m->to_end == m->from)
		return vm_areas_begin(e->top, mem_min(m->from, m->to),
				      mem_max(m->from_end, m->to_end));
	return vm_areas_begin(e->top, m->from, m->from_end) +
	       vm_areas_begin(e->top, m->to, m->to_end);
}

/* Is a zap of the object under way? From here on it will look at the target, too. */
static bool is_zapped(struct move *m)
{
	const struct backing *b = m->was.backing;
	if (b)
		vm_mapper_extend(m->now.backing->mapper, m->to, m->to_end);
	m->zapping = b && vm_object_zapping(b->object, &m->zap);
	return m->zapping;
}

/* As try_move. MEM_EBUSY: a zap is under way, for which tables do not go as a whole. */
static mem_status try_way(struct move *m)
{
	struct edit e;
	vpn_t low = mem_min(m->from, m->to), high = mem_max(m->from_end, m->to_end);
	mem_status status = MEM_OK;
	vm_edit_cover(&e, m->space, low, high, 1);
	vm_edit_also(&e, m->from, m->from_end);
	vm_edit_also(&e, m->to, m->to_end);
	vm_edit_lock_inner(&e, m->from, m->from_end);
	vm_edit_lock_inner(&e, m->to, m->to_end);
	m->whole_end = m->pieces = 0;
	if (!is_one(&e, m->from, m->from_end, m->was))
		status = MEM_EAGAIN;
	else if (!m->replace && vm_edit_pages(&e, m->to, m->to_end, true))
		status = MEM_EEXIST;
	else if (!each_leaf(&e, m, e.top, make_tables) || !reserve(&e, m))
		status = MEM_ENOMEM;
	else if (is_zapped(m) && !m->one_by_one)
		status = MEM_EBUSY;
	if (status != MEM_OK) {
		vm_edit_prune(&e);
		vm_edit_end(&e);
		return status;
	}
	uint64_t areas = areas_begin(&e, m);
	vm_edit_clear(&e, m->to, m->to_end);
	vm_edit_flush(&e);
	(void)each_leaf(&e, m, e.top, move_leaf);
	vm_edit_insert(&e, m->to, m->to_end, m->now);
	if (m->keep)
		unlock_source(&e, m);
	else
		vm_edit_remove(&e, m->from, m->from_end);
	areas_changed(m->space, areas, areas_begin(&e, m));
	vm_edit_end(&e);
	return MEM_OK;
}

/* MEM_EAGAIN: things changed before the locks were taken; look again. MEM_EEXIST:
 * the target is taken. */
static mem_status try_move(struct move *m)
{
	m->one_by_one = m->keep; /* a table that is moved leaves no promise behind */
	mem_status status = try_way(m);
	if (status == MEM_EBUSY) {
		m->one_by_one = true;
		status = try_way(m);
	}
	return status;
}

/* ---- the call ------------------------------------------------------------------------------ */

/* The promise of the area that holds [first, end); its backing with a reference.
 * MEM_EFAULT: not one mapping. */
static mem_status find_mapping(struct space *space, vpn_t first, vpn_t end, struct run *out)
{
	if (!vm_find_area(space, first, out))
		return MEM_EFAULT;
	if (out->first <= first && end <= out->end)
		return MEM_OK;
	if (out->promise.backing)
		vm_backing_put(out->promise.backing);
	return MEM_EFAULT;
}

/* Limits for `more` pages of promise p, and the charge for `npages`. */
static mem_status charge(struct space *space, promise_t p, uint64_t more, uint64_t npages)
{
	mem_status status = more ? vm_within_limits(space, p, more, 0) : MEM_OK;
	if (status != MEM_OK)
		return status;
	if ((p.bits & PROMISE_CHARGED) && !vm_commit_charge(space->vmm, npages))
		return MEM_ENOMEM;
	return MEM_OK;
}

static void uncharge(struct space *space, promise_t p, uint64_t more)
{
	if (p.bits & PROMISE_CHARGED)
		vm_commit_uncharge(space->vmm, more);
}

/* Extend [.., end) to [.., new_end) where it is, if nothing is in the way. */
static mem_status grow_in_place(struct space *space, promise_t p, vpn_t end, vpn_t new_end)
{
	if (new_end < end || new_end > vpn_of(USER_TOP))
		return MEM_ENOMEM;
	mem_status status = charge(space, p, new_end - end, new_end - end);
	if (status != MEM_OK)
		return status;
	status = vm_place(space, end, new_end, p, false);
	if (status != MEM_OK)
		uncharge(space, p, new_end - end);
	return status;
}

/* Room for npages: below `limit` if there is, else anywhere. */
static bool find_room(struct space *space, uint64_t npages, vpn_t limit, vpn_t *out)
{
	return vm_find_gap(space, npages, limit, out) ||
	       vm_find_gap(space, npages, vpn_of(USER_TOP), out);
}

/* The same; for 2 MiB or more where it is like `from` modulo 2 MiB, if there is such room. */
static bool find_place(struct space *space, uint64_t npages, vpn_t from, vpn_t limit, vpn_t *out)
{
	if (npages >= PT_ENTRIES && find_room(space, npages + PT_ENTRIES - 1, limit, out)) {
		*out += (from - *out) % PT_ENTRIES;
		return true;
	}
	return find_room(space, npages, limit, out);
}

/* Move to m->to, or with `limit` to wherever there is room. */
static mem_status move_to(struct space *space, struct move *m, vpn_t limit)
{
	uint64_t npages = m->to_end - m->to;
	bool anywhere = limit;
	struct backing *b = m->was.backing;
	for (unsigned attempt = 0;;) {
		if (anywhere) {
			if (!find_place(space, npages, m->from, limit, &m->to))
				return MEM_ENOMEM;
			m->to_end = m->to + npages;
		}
		struct backing *moved = NULL;
		mem_status status = MEM_OK;
		m->now = m->was;
		if (b) {
			status = vm_backing_get(space, b->object,
						b->delta + (int64_t)(m->from - m->to), &moved);
			if (status == MEM_EBUSY)
				return MEM_ENOMEM; /* which no memory can help */
			m->now.backing = moved;
		}
		if (status == MEM_OK)
			status = try_move(m);
		if (moved)
			vm_backing_put(moved);
		if (status == MEM_EEXIST && anywhere)
			continue;
		if (status != MEM_ENOMEM || !vm_relieve(space->vmm, attempt++))
			return status;
	}
}

/* A move cuts the source's area and what is at the target in up to three each: there
 * has to be room, as on Linux. */
static bool room_for_a_move(const struct space *space)
{
	const uint64_t most = space->limits.area_count;
	return most > 3 && atomic_read_relaxed(&space->areas) < most - 3;
}

static mem_status move_elsewhere(struct space *space, const struct run *area, vpn_t from,
				 uint64_t old_npages, uint64_t new_npages, unsigned flags, vpn_t to,
				 vpn_t *out)
{
	struct move m = {.space = space,
			 .from = from,
			 .from_end = from + old_npages,
			 .to = to,
			 .to_end = to + new_npages,
			 .was = area->promise,
			 .replace = flags & VM_MOVE_FIXED,
			 .keep = flags & VM_MOVE_DONTUNMAP};
	if (!room_for_a_move(space))
		return MEM_ENOMEM;
	/* The target is charged whole, and cutting the source gives its part back. */
	uint64_t more = m.keep ? new_npages : new_npages - mem_min(old_npages, new_npages);
	mem_status status = charge(space, m.was, more, new_npages);
	if (status != MEM_OK)
		return status;
	status = move_to(space, &m, (flags & VM_MOVE_FIXED) ? 0 : to);
	if (status != MEM_OK)
		uncharge(space, m.was, new_npages);
	*out = m.to;
	return status;
}

/* A second mapping of the same object pages: old_bytes 0. */
static mem_status duplicate(struct space *space, const struct run *area, vpn_t from,
			    uint64_t npages, unsigned flags, vaddr_t new_va, vaddr_t *out)
{
	struct backing *b = area->promise.backing;
	if (!b || !(area->promise.bits & PROMISE_SHARED))
		return MEM_EINVAL;
	if (!(flags & VM_MOVE_MAY))
		return MEM_ENOMEM;
	struct vm_map_args args = {
	    .hint = (flags & VM_MOVE_FIXED) ? new_va : 0,
	    .bytes = npages << PAGE_SHIFT,
	    .prot = promise_prot(area->promise),
	    .maxprot = promise_maxprot(area->promise),
	    .flags = VM_SHARED | ((flags & VM_MOVE_FIXED) ? VM_FIXED : 0),
	    .limit = (flags & VM_MOVE_FIXED) ? 0 : new_va,
	    .object = b->object,
	    .offset = (uint64_t)((int64_t)from + b->delta) << PAGE_SHIFT,
	};
	return vmm_map(space, &args, out);
}

static mem_status remap(struct space *space, const struct run *area, vpn_t from,
			uint64_t old_npages, uint64_t new_npages, unsigned flags, vpn_t to,
			vpn_t *out)
{
	*out = from;
	if (!(flags & (VM_MOVE_FIXED | VM_MOVE_DONTUNMAP))) {
		if (new_npages == old_npages)
			return MEM_OK;
		if (from + old_npages == area->end) {
			mem_status status =
			    grow_in_place(space, area->promise, area->end, from + new_npages);
			if (status != MEM_EEXIST && status != MEM_ENOMEM)
				return status;
		}
		if (!(flags & VM_MOVE_MAY))
			return MEM_ENOMEM;
	}
	return move_elsewhere(space, area, from, old_npages, new_npages, flags, to, out);
}

mem_status vmm_move(struct space *space, vaddr_t va, uint64_t old_bytes, uint64_t new_bytes,
		    unsigned flags, vaddr_t new_va, vaddr_t *out)
{
	mem_contract_thread();
	vpn_t from, end, to_end = 0;
	vpn_t to = vpn_of(new_va && new_va < USER_TOP ? new_va : USER_TOP);
	struct run area;
	bool fixed = flags & VM_MOVE_FIXED;
	if (!new_bytes || (va & PAGE_MASK) ||
	    !vm_range(va, old_bytes ? old_bytes : PAGE_SIZE, &from, &end))
		return (va & PAGE_MASK) || !new_bytes ? MEM_EINVAL : MEM_EFAULT;
	uint64_t bytes;
	if (!align_up_checked(new_bytes, PAGE_SIZE, &bytes) || bytes > USER_TOP)
		return fixed ? MEM_EINVAL : MEM_ENOMEM;
	uint64_t old_npages = old_bytes ? end - from : 0, new_npages = bytes >> PAGE_SHIFT;
	if (fixed) {
		if (!vm_range(new_va, new_bytes, &to, &to_end))
			return MEM_EINVAL;
		if (to < from + old_npages && from < to_end)
			return MEM_EINVAL;
	}
	if ((flags & VM_MOVE_DONTUNMAP) && old_npages != new_npages)
		return MEM_EINVAL;
	if (find_mapping(space, from, from + mem_max(old_npages, (uint64_t)1), &area) != MEM_OK)
		return MEM_EFAULT;
	struct backing *b = area.promise.backing;
	mem_status status = MEM_OK;
	vpn_t at = from;
	if (!old_npages) {
		status = duplicate(space, &area, from, new_npages, flags, new_va, out);
	} else {
		if (!fixed && new_npages < old_npages) {
			status = vmm_unmap(space, vpn_to_va(from + new_npages),
					   (old_npages - new_npages) << PAGE_SHIFT);
			old_npages = new_npages;
			if (area.end == end)
				area.end = from + new_npages;
		}
		if (status == MEM_OK) {
			mem_rwlock_read(&space->lock);
			status = remap(space, &area, from, old_npages, new_npages, flags, to, &at);
			mem_rwlock_read_done(&space->lock);
			*out = vpn_to_va(at);
			/* Somebody changed the source meanwhile: it is not what it was. */
			if (status == MEM_EAGAIN && !(area.promise.bits & PROMISE_LOCKED))
				status = MEM_EFAULT;
			vm_gap_forget(space);
		}
	}
	if (b)
		vm_backing_put(b);
	return status;
}
