/* SPDX-License-Identifier: MIT */
/*
 * Rewriting promises in place.
 *
 * All tables of the range are locked, then looked at (holes, maxprot, charges),
 * then given room for the two splits at the borders; from there on nothing can
 * fail. Runs get their new promise; present entries that allow more than it are
 * cut down to it, and flushed before any lock goes (I5). Entries that could now
 * allow more are left to the fault: it alone knows when a page may be written.
 */
#include "vm/rewrite.h"

#include "vm/areas.h"
#include "vm/edit.h"
#include "vm/objects.h"

struct summary {
	uint64_t described;    /* pages */
	uint64_t charge;       /* pages to be charged */
	uint64_t data, locked; /* pages that join these totals */
	bool forbidden;        /* above maxprot */
	bool unfit;            /* not of the kind that is asked for */
};

promise_t vm_rewritten(const struct rewrite *r, promise_t p)
{
	promise_t now = (p & ~r->clear) | r->set;
	const struct backing *b = promise_backing(p);
	if (promise_wants_charge(now) && !(b && object_is_device(b->object)))
		now |= PROMISE_CHARGED;
	return now;
}

static bool is_data(promise_t p)
{
	return (p & (VM_WRITE | PROMISE_SHARED | PROMISE_GROWSDOWN)) == VM_WRITE;
}

static void look(const struct rewrite *r, const struct table *t, vpn_t first, vpn_t end,
		 struct summary *s)
{
	for (unsigned i = vm_runs_lower(t, first); i < t->run_count; i++) {
		const struct run *run = &t->runs[i];
		if (run->first >= end)
			break;
		uint64_t n = mem_min(run->end, end) - mem_max(run->first, first);
		promise_t p = run->promise, now = vm_rewritten(r, p);
		s->described += n;
		if (promise_prot(now) & ~promise_maxprot(now))
			s->forbidden = true;
		s->unfit |= r->anonymous && !promise_is_anonymous(p);
		s->charge += (now & ~p & PROMISE_CHARGED) ? n : 0;
		s->data += is_data(now) && !is_data(p) ? n : 0;
		s->locked += (now & ~p & PROMISE_LOCKED) ? n : 0;
	}
}

static void look_at_all(const struct rewrite *r, struct table *t, vpn_t first, vpn_t end,
			struct summary *s)
{
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	look(r, t, first, end, s);
	if (t->level > 1)
		table_for_each(k, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
		    look_at_all(r, vm_table_child(t, k), first, end, s);
}

/* Cut a leaf entry down to what p allows, keeping what the MMU notes in it. */
static void cut_down(struct edit *e, struct table *t, unsigned index, promise_t p)
{
	pte_t allowed = vm_entry_bits(e->space->vmm, p);
	pte_t pte = atomic_read_relaxed(&t->entries[index]), now;
	do {
		now = pte;
		if (!(p & VM_WRITE))
			now &= ~PTE_WRITE;
		if (!(allowed & PTE_PRESENT))
			now &= ~PTE_PRESENT;
		if (!(p & VM_EXEC))
			now |= e->space->vmm->nx; /* parked ones too: they come back as they are */
		if (now == pte)
			return;
	} while (!atomic_cas(&t->entries[index], &pte, now));
	if (pte & PTE_PRESENT)
		vm_gather_page(&e->gather, t->first + index);
}

static void rewrite_table(struct edit *e, const struct rewrite *r, struct table *t, vpn_t first,
			  vpn_t end)
{
	vm_runs_split(t, first);
	vm_runs_split(t, end);
	for (unsigned i = vm_runs_lower(t, first); i < t->run_count && t->runs[i].first < end;
	     i++) {
		struct run *run = &t->runs[i];
		promise_t was = run->promise, now = vm_rewritten(r, was);
		if (now == was)
			continue;
		vm_account_change(e->space, was, now, run->end - run->first);
		run->promise = now;
		if (t->level == 1 && promise_prot(was) & ~promise_prot(now))
			table_for_each(k, t, (unsigned)(run->first - t->first),
				       (unsigned)(run->end - t->first)) cut_down(e, t, k, now);
	}
	vm_runs_merge(t, first, end);
}

static void rewrite_all(struct edit *e, const struct rewrite *r, struct table *t, vpn_t first,
			vpn_t end)
{
	first = mem_max(first, t->first);
	end = mem_min(end, table_end(t));
	rewrite_table(e, r, t, first, end);
	if (t->level > 1)
		table_for_each(k, t, vpn_index(first, t->level), vpn_index(end - 1, t->level) + 1)
		    rewrite_all(e, r, vm_table_child(t, k), first, end);
}

static mem_status check(const struct rewrite *r, struct space *space, const struct summary *s,
			uint64_t npages)
{
	const struct vmm_space_limits *limit = &space->limits;
	if (s->described != npages && !r->holes)
		return MEM_ENOMEM;
	if (s->unfit)
		return MEM_EINVAL;
	if (s->forbidden)
		return MEM_EACCES;
	if (s->locked &&
	    atomic_read_relaxed(&space->totals.locked) + s->locked > limit->locked_npages)
		return MEM_EAGAIN;
	if (s->data && atomic_read_relaxed(&space->totals.data) + s->data > limit->data_npages)
		return MEM_ENOMEM;
	return MEM_OK;
}

mem_status vm_rewrite(struct space *space, vpn_t first, vpn_t end, struct rewrite *r)
{
	for (unsigned attempt = 0;;) {
		struct edit e;
		struct summary s = {0};
		struct areas areas;
		vm_edit_begin(&e, space, first, end, 1);
		if (unlikely(vm_edit_split_crowd(&e, first, end)))
			continue;
		vm_edit_lock_inner(&e, first, end);
		look_at_all(r, e.top, first, end, &s);
		r->found_hole = s.described != end - first;
		mem_status status = check(r, space, &s, end - first);
		vm_areas_look(e.top, first, end, r, &areas);
		if (status == MEM_OK && !areas_allowed(space, areas.begin, areas.would_begin))
			status = MEM_ENOMEM;
		if (status == MEM_OK && s.charge && !vm_commit_charge(space->vmm, s.charge))
			status = MEM_ENOMEM;
		if (status != MEM_OK) {
			vm_edit_cancel(&e);
			return status;
		}
		if (vm_edit_reserve(&e, first, end, 2)) {
			rewrite_all(&e, r, e.top, first, end);
			areas_changed(space, areas.begin, areas.would_begin);
			vm_edit_end(&e);
			return MEM_OK;
		}
		if (s.charge)
			vm_commit_uncharge(space->vmm, s.charge);
		vm_edit_cancel(&e);
		if (!vm_relieve(space->vmm, attempt++))
			return MEM_ENOMEM;
	}
}

mem_status vmm_protect(struct space *space, vaddr_t va, uint64_t bytes, unsigned prot)
{
	mem_contract_thread();
	vpn_t first, end;
	if (prot & ~7u)
		return MEM_EINVAL;
	if (!vm_range(va, bytes, &first, &end))
		return (va & PAGE_MASK) || !bytes ? MEM_EINVAL : MEM_ENOMEM;
	struct rewrite r = {.clear = PROMISE_PROT, .set = prot};
	mem_rwlock_read(&space->lock);
	mem_status status = vm_rewrite(space, first, end, &r);
	mem_rwlock_read_done(&space->lock);
	return status;
}
