/* SPDX-License-Identifier: MIT */
/*
 * Giving page tables of kernel areas back.
 *
 * Mapping makes level-1 tables and unmapping leaves them, because CPUs that map
 * neighbouring ranges share them without a lock. So that free memory can be what it was
 * once everything is drained, vmm_drain takes out those that map nothing. It needs no lock
 * against mapping either: it takes the addresses themselves. Two megabytes that are free as
 * a whole become a range of its own, so nobody maps there. Then the table is unlinked,
 * every CPU forgets it, the page is freed, and the addresses are given back.
 *
 * Tables above level 1 stay, so what is equal in all spaces is not touched (I8). A look
 * from outside (pt_translate, for a report) may read a page that was just freed. Nothing
 * that the kernel uses is decided by such a look at an address that belongs to nobody.
 */
#include "pt/raw.h"
#include "vm/kernel_area.h"

/* Unlink the level-1 table for va if there is one and it is nobody's. */
static struct kernel_range *unlink_table(struct kernel_area *area, vaddr_t va)
{
	struct vmm *vmm = area->vmm;
	unsigned level;
	(void)pt_entry(vmm->kernel_root, va, &level);
	if (level != 1)
		return NULL;
	struct kernel_range *range = vm_area_take_at(area, va, PT_ENTRIES);
	if (!range)
		return NULL;
	/* The addresses are ours now; but somebody else's drain may have been faster. */
	(void)pt_entry(vmm->kernel_root, va, &level);
	if (level != 1) {
		vm_area_give_back(area, range);
		return NULL;
	}
	struct pt_root root = {.pmm = vmm->pmm, .root = vmm->kernel_root, .max_level = 2};
	pte_t *entry = pt_make_entry(&root, va, 2); /* exists: a table hangs on it */
	pte_t table = atomic_swap(entry, (pte_t)0);
	mem_assert((table & PTE_PRESENT) && !(table & PTE_HUGE));
	range->table = table & PTE_ADDR;
	return range;
}

void vm_area_trim(struct kernel_area *area)
{
	struct vmm *vmm = area->vmm;
	struct kernel_range *ranges = NULL, *range;
	vaddr_t end = area->base + (atomic_read_relaxed(&area->highest_npages) << PAGE_SHIFT);
	for (vaddr_t va = area->base; va < end; va += HUGE_SIZE) {
		range = unlink_table(area, va);
		if (range) {
			range->next = ranges;
			ranges = range;
		}
	}
	if (!ranges)
		return;
	vmm_flush_kernel(vmm, area->base, end - area->base);
	while ((range = ranges) != NULL) {
		ranges = range->next;
		const pte_t *entries = paddr_to_ptr(range->table);
		for (unsigned i = 0; i < PT_ENTRIES; i++)
			mem_assert(!atomic_read_relaxed(&entries[i]));
		pmm_free(vmm->pmm, range->table, 0);
		atomic_count(&vmm->kernel_tables, -1);
		vm_area_give_back(area, range);
	}
}
