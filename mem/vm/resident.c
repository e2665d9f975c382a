/* SPDX-License-Identifier: MIT */
/*
 * What is there of a range: for smaps and mincore.
 *
 * Both go from table to table, not from page to page. Where the deepest table on the path
 * is not a leaf, nothing is present up to its next child, however far that is. One call
 * looks at one such part, under its lock, and says where the next begins; so who asks about
 * a large range can look up in between.
 */
#include "vm/objects.h"

/* Lock the deepest table of vpn; *next: where what it says ends, in [.., end). */
static struct table *lock_part(struct space *space, vpn_t vpn, vpn_t end, vpn_t *next)
{
	struct table *t = vm_lock_deepest(space, vpn);
	*next = mem_min(vm_table_part_end(t, vpn), end);
	return t;
}

vaddr_t vmm_count_pages(struct space *space, vaddr_t va, vaddr_t end, struct vmm_pages *pages)
{
	mem_contract_thread();
	vpn_t vpn = vpn_of(va), next;
	struct table *t = lock_part(space, vpn, vpn_of(end), &next);
	if (t->level == 1) {
		table_for_each(i, t, (unsigned)(vpn - t->first), (unsigned)(next - t->first))
		{
			pte_t pte = atomic_read_relaxed(&t->entries[i]);
			if ((pte & PTE_ADDR) == space->vmm->zero_frame)
				continue;
			pages->resident++;
			pages->dirty += (pte & PTE_DIRTY) != 0;
			pages->object += (pte & PTE_OBJECT) != 0;
		}
	}
	table_unlock(t);
	return vpn_to_va(next);
}

/* Mark what the object of a run has of [first, end). */
static void mark_object(const struct backing *b, vpn_t first, vpn_t end, uint8_t *out)
{
	struct vm_object *object = b->object;
	mem_lock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
	for (vpn_t vpn = first; vpn < end; vpn++) {
		uint64_t page = (uint64_t)((int64_t)vpn + b->delta);
		out[vpn - first] = vm_pages_lookup(object, page) != PADDR_NONE;
	}
	mem_unlock(&object->pages_lock, MEM_RANK_OBJECT_PAGES);
}

/* Mark [first, end), of which t is the deepest table. */
static void mark_part(const struct table *t, vpn_t first, vpn_t end, uint8_t *out)
{
	memset(out, 0, end - first);
	for (unsigned i = vm_runs_lower(t, first); i < t->run_count; i++) {
		const struct run *run = &t->runs[i];
		if (run->first >= end)
			break;
		const struct backing *b = run->promise.backing;
		vpn_t from = mem_max(run->first, first);
		if (b)
			mark_object(b, from, mem_min(run->end, end), out + (from - first));
	}
	if (t->level == 1)
		table_for_each(i, t, (unsigned)(first - t->first), (unsigned)(end - t->first))
		    out[t->first + i - first] = 1;
}

void vmm_mark_pages(struct space *space, vaddr_t va, uint64_t npages, uint8_t *out)
{
	mem_contract_thread();
	vpn_t first = vpn_of(va), end = first + npages, next;
	mem_contract(va < USER_TOP && npages <= vpn_of(USER_TOP) - first,
		     "the range leaves the user half");
	for (vpn_t vpn = first; vpn < end; vpn = next) {
		struct table *t = lock_part(space, vpn, end, &next);
		mark_part(t, vpn, next, out + (vpn - first));
		table_unlock(t);
	}
}
