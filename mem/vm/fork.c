/* SPDX-License-Identifier: MIT */
/*
 * Fork: a second space that is equal to the first, page by page.
 *
 * The parent's tables are walked once, in order, with the path to the table being copied
 * locked. The child's tables are made as they are met, and linked at once. So a zap of an
 * object that comes by finds in the child what it no longer finds in the parent. What a zap
 * under way is after is not copied. Every private page becomes read-only in both. The
 * parent is flushed once at the end, not under each lock (the stated exception to I5).
 * Until then other CPUs may still write to pages that look read-only, which is as if they
 * had written before the fork. Meanwhile the parent must not get a copy of such a page,
 * because those writes would go to the old one. So a fault that would copy sleeps on
 * space->forking.
 *
 * An object's pages are not copied: the child has the promise and finds them again, many
 * with each fault. So fork costs nothing for a page of a file that nobody wrote to.
 *
 * Promises are transformed on the way: locked is dropped, don't-fork skipped, wipe-on-fork
 * taken without its pages. Backings belong to a space, so the child needs its own. They are
 * made before any table lock is taken: the set of runs cannot change under the exclusive
 * space lock.
 *
 * If memory runs out, the child is destroyed after that flush; what became
 * read-only in the parent is harmless.
 */
#include "vm/areas.h"
#include "vm/edit.h"
#include "vm/objects.h"

struct fork {
	struct space *parent, *child;
	struct gather gather;       /* of the parent */
	struct gather child_gather; /* tables that turned out empty */
	struct backing *backings;   /* the parent's, through fork_next; each has its twin */
};

/* ---- backings ------------------------------------------------------------------------- */

static void collect_backings(struct fork *f, struct table *t)
{
	table_lock(t);
	for (unsigned i = 0; i < t->run_count; i++) {
		struct backing *b = t->runs[i].promise.backing;
		if (!b || b->forking || (t->runs[i].promise.bits & PROMISE_DONTFORK))
			continue;
		vm_backing_ref(b, 1);
		b->forking = true;
		b->twin = NULL;
		b->fork_next = f->backings;
		f->backings = b;
	}
	if (t->level > 1)
		table_for_each(k, t, 0, PT_ENTRIES) collect_backings(f, vm_table_child(t, k));
	table_unlock(t);
}

static mem_status make_twins(struct fork *f)
{
	for (struct backing *b = f->backings; b; b = b->fork_next) {
		mem_status status = vm_backing_get(f->child, b->object, b->delta, &b->twin);
		if (status != MEM_OK)
			return status;
		vm_mapper_extend(b->twin->mapper, atomic_read_seq(&b->mapper->low),
				 atomic_read_seq(&b->mapper->high));
	}
	return MEM_OK;
}

static void drop_twins(struct fork *f)
{
	while (f->backings) {
		struct backing *b = f->backings;
		f->backings = b->fork_next;
		if (b->twin)
			vm_backing_put(b->twin);
		b->twin = NULL;
		b->forking = false;
		vm_backing_put(b);
	}
}

/* ---- tables ------------------------------------------------------------------------------ */

static promise_t inherited(promise_t p)
{
	p.bits &= ~(PROMISE_LOCKED | PROMISE_ONFAULT);
	if (p.backing)
		p.backing = p.backing->twin;
	return p;
}

static bool copy_runs(struct fork *f, const struct table *from, struct table *to)
{
	if (!vm_runs_reserve(to, from->run_count))
		return false;
	for (unsigned i = 0; i < from->run_count; i++) {
		const struct run *run = &from->runs[i];
		if (run->promise.bits & PROMISE_DONTFORK)
			continue;
		promise_t p = inherited(run->promise);
		if (p.backing)
			vm_backing_ref(p.backing, 1);
		vm_runs_insert(to, run->first, run->end, p);
		vm_account_add(f->child, p, run->end - run->first);
	}
	return true;
}

/* The child gets a frame of its own at once. */
static bool copy_now(struct fork *f, struct table *to, unsigned index, pte_t pte)
{
	struct pmm *pmm = f->parent->vmm->pmm;
	paddr_t pa = pmm_alloc(pmm, 0, PMM_WAIT);
	if (pa == PADDR_NONE)
		return false;
	arch_copy_page(paddr_to_ptr(pa), paddr_to_ptr(pte & PTE_ADDR));
	frame_init(pmm, pa, FRAME_ANON, NULL);
	pte = (pte & ~(PTE_ADDR | PTE_OBJECT)) | pa;
	table_entry_fill(to, index, pte);
	vm_resident_add(f->child, pte, 1);
	return true;
}

/* A private page becomes both's. */
static bool copy_entry(struct fork *f, struct table *from, struct table *to, unsigned index)
{
	struct pmm *pmm = f->parent->vmm->pmm;
	pte_t pte = atomic_read_relaxed(&from->entries[index]);
	if (!(pte & PTE_UNCOUNTED) &&
	    (frame_is_pinned(pmm, pte & PTE_ADDR) || frame_get(pmm, pte & PTE_ADDR) != MEM_OK))
		return copy_now(f, to, index, pte);
	if (pte & PTE_WRITE) {
		pte = atomic_and(&from->entries[index], ~PTE_WRITE) & ~PTE_WRITE;
		if (pte & PTE_PRESENT)
			vm_gather_page(&f->gather, from->first + index);
	}
	table_entry_fill(to, index, pte);
	vm_resident_add(f->child, pte, 1);
	return true;
}

static bool copy_run(struct fork *f, struct table *from, struct table *to, const struct run *run)
{
	const struct backing *b = run->promise.backing;
	struct zap zap = {0};
	bool zapping = b && vm_object_zapping(b->object, &zap);
	table_for_each(k, from, (unsigned)(run->first - from->first),
		       (unsigned)(run->end - from->first))
	{
		pte_t pte = atomic_read_relaxed(&from->entries[k]);
		if (b && (pte & (PTE_OBJECT | PTE_UNCOUNTED)))
			continue;
		if (zapping && vm_zap_takes(&zap, b, from->first + k, pte))
			continue;
		if (!copy_entry(f, from, to, k))
			return false;
	}
	return true;
}

static bool copy_leaf(struct fork *f, struct table *from, struct table *to)
{
	/* Where only an object's pages can be, not even a look at each is needed. */
	const uint64_t without = PROMISE_DONTFORK | PROMISE_WIPE | PROMISE_SHARED;
	for (unsigned i = 0; i < from->run_count; i++)
		if (!(from->runs[i].promise.bits & without) &&
		    !copy_run(f, from, to, &from->runs[i]))
			return false;
	return true;
}

/* Copy what is below `from`, both locked. On false the child is to be destroyed. */
static bool copy_table(struct fork *f, struct table *from, struct table *to)
{
	if (!copy_runs(f, from, to))
		return false;
	if (from->level == 1)
		return copy_leaf(f, from, to);
	bool ok = true;
	table_for_each(k, from, 0, PT_ENTRIES)
	{
		struct table *source = vm_table_child(from, k);
		struct table *copy = vm_table_create(f->child, to, source->level, source->first);
		if (!copy)
			return false;
		table_lock(source);
		table_lock(copy);
		vm_table_link(to, copy);
		ok = copy_table(f, source, copy);
		if (ok && table_is_empty(copy))
			vm_detach(&f->child_gather, to, k);
		table_unlock(copy);
		table_unlock(source);
		if (!ok)
			break;
	}
	return ok;
}

static void end_forking(struct fork *f)
{
	vm_gather_flush(&f->gather);
	atomic_write_seq(&f->parent->forking, 0);
	host_wake(&f->parent->forking);
}

static mem_status copy_space(struct fork *f)
{
	struct space *parent = f->parent, *child = f->child;
	struct vmm *vmm = parent->vmm;
	mem_status status = MEM_EBUSY; /* a limit */
	/* All that the parent is charged for; what the child does not take is given
	 * back. */
	uint64_t charged = atomic_read_relaxed(&parent->totals.charged);
	collect_backings(f, parent->root);
	if (vm_commit_charge(vmm, charged)) {
		status = make_twins(f);
		if (status == MEM_OK) {
			atomic_write_seq(&parent->forking, 1);
			table_lock(parent->root);
			table_lock(child->root);
			if (!copy_table(f, parent->root, child->root))
				status = MEM_ENOMEM;
			table_unlock(child->root);
			table_unlock(parent->root);
			end_forking(f);
			/* What tells two areas apart may not be inherited. */
			atomic_write_relaxed(&child->areas, vm_areas_of(child));
		}
		vm_commit_uncharge(vmm, charged - atomic_read_relaxed(&child->totals.charged));
	}
	vm_gather_flush(&f->child_gather);
	vm_gather_finish(&f->child_gather);
	drop_twins(f);
	return status;
}

mem_status vmm_space_fork(struct space *parent, struct space **out)
{
	mem_contract_thread();
	struct space *child;
	for (unsigned attempt = 0;; attempt++) {
		mem_status status = vmm_space_create(parent->vmm, &child);
		if (status == MEM_OK) {
			struct fork f = {.parent = parent, .child = child};
			vm_gather_init(&f.gather, parent);
			vm_gather_init(&f.child_gather, child);
			mem_rwlock_write(&parent->lock);
			child->limits = parent->limits;
			vmm_space_set_owner(child, parent->maps_owner, parent->maps_most);
			status = copy_space(&f);
			mem_rwlock_write_done(&parent->lock);
			if (status == MEM_OK) {
				*out = child;
				return MEM_OK;
			}
			vmm_space_put(child);
		}
		/* Against a limit, of the owner's or of all, no memory helps: who forks without
		 * end would have everything drained each time. */
		if (status == MEM_EBUSY || !vm_relieve(parent->vmm, attempt))
			return MEM_ENOMEM;
	}
}
