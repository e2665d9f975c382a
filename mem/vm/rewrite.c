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

static promise_t rewritten(const struct rewrite *r, promise_t p)
{
	p.bits = (p.bits & ~r->clear) | r->set;
	if (promise_wants_charge(p) && !(p.backing && object_is_device(p.backing->object)))
		p.bits |= PROMISE_CHARGED;
	return p;
}

static bool is_data(promise_t p)
{
	return (p.bits & (VM_WRITE | PROMISE_SHARED | PROMISE_GROWSDOWN)) == VM_WRITE;
}

promise_t vm_rewrite_note(struct rewrite *r, promise_t p, uint64_t npages)
{
	promise_t now = rewritten(r, p);
	r->would.forbidden |= (promise_prot(now) & ~promise_maxprot(now)) != 0;
	r->would.unfit |= r->anonymous && !promise_is_anonymous(p);
	if (now.bits & ~p.bits & PROMISE_CHARGED)
		r->would.charge += npages;
	if (is_data(now) && !is_data(p))
		r->would.data += npages;
	if (now.bits & ~p.bits & PROMISE_LOCKED)
		r->would.locked += npages;
	return now;
}

/* Cut the leaf entries of a run down to what it allows now, keeping what the MMU notes in
 * them. */
static void cut_down(struct edit *e, struct table *t, const struct run *run)
{
	const struct vmm *vmm = e->space->vmm;
	pte_t clear = 0, set = 0;
	if (!(run->promise.bits & VM_WRITE))
		clear |= PTE_WRITE;
	if (!promise_prot(run->promise))
		clear |= PTE_PRESENT;
	if (!(run->promise.bits & VM_EXEC))
		set = vmm->nx; /* parked ones too: they come back as they are */
	table_for_each(k, t, (unsigned)(run->first - t->first), (unsigned)(run->end - t->first))
	{
		pte_t pte = atomic_read_relaxed(&t->entries[k]), now;
		do
			now = (pte & ~clear) | set;
		while (now != pte && !atomic_cas(&t->entries[k], &pte, now));
		if (now != pte && (pte & PTE_PRESENT))
			vm_gather_page(&e->gather, t->first + k);
	}
}

static void rewrite_table(struct edit *e, const struct rewrite *r, struct table *t, vpn_t first,
			  vpn_t end)
{
	unsigned i = vm_runs_lower(t, first);
	if (i < t->run_count && t->runs[i].first < first)
		vm_runs_split(t, i++, first);
	for (; i < t->run_count && t->runs[i].first < end; i++) {
		struct run *run = &t->runs[i];
		promise_t was = run->promise, now = rewritten(r, was);
		if (run->end > end)
			vm_runs_split(t, i, end);
		if (promise_equal(now, was))
			continue;
		vm_account_change(e->space, was, now, run->end - run->first);
		run->promise = now;
		if (t->level == 1 && promise_prot(was) & ~promise_prot(now))
			cut_down(e, t, run);
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

/* `areas`: what [first, end), of npages pages, is and would be. */
static mem_status check(const struct rewrite *r, struct space *space, const struct areas *areas,
			uint64_t npages)
{
	const struct vmm_space_limits *limit = &space->limits;
	if (areas->npages != npages && !r->holes)
		return MEM_ENOMEM;
	if (r->would.unfit)
		return MEM_EINVAL;
	if (r->would.forbidden)
		return MEM_EACCES;
	if (r->would.locked &&
	    atomic_read_relaxed(&space->totals.locked) + r->would.locked > limit->locked_npages)
		return MEM_EAGAIN;
	if (r->would.data &&
	    atomic_read_relaxed(&space->totals.data) + r->would.data > limit->data_npages)
		return MEM_ENOMEM;
	if (!areas_allowed(space, areas->begin, areas->would_begin))
		return MEM_ENOMEM;
	if (r->would.charge && !vm_commit_charge(space->vmm, r->would.charge))
		return MEM_ENOMEM;
	return MEM_OK;
}

mem_status vm_rewrite(struct space *space, vpn_t first, vpn_t end, struct rewrite *r)
{
	for (unsigned attempt = 0;;) {
		struct edit e;
		struct areas areas;
		vm_edit_begin(&e, space, first, end, 1);
		if (unlikely(vm_edit_split_crowd(&e, first, end)))
			continue;
		vm_edit_lock_inner(&e, first, end);
		r->would = (struct rewrite_sums){0};
		vm_areas_look(e.top, first, end, r, &areas);
		r->found_hole = areas.npages != end - first;
		mem_status status = check(r, space, &areas, end - first);
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
		if (r->would.charge)
			vm_commit_uncharge(space->vmm, r->would.charge);
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
