/* SPDX-License-Identifier: MIT */
/* Running short: giving back what is held for later; and the totals. */
#include "vm/epoch.h"
#include "vm/kernel_area.h"

void vmm_drain(struct vmm *vmm)
{
	mem_contract_thread();
	/* Walks end by themselves, and no lock is held here that one could want. */
	while (!vm_limbo_reap(vmm))
		host_relax();
	for (unsigned i = 0; i < KERNEL_AREAS; i++) {
		vm_area_settle(&vmm->areas[i], true);
		vm_area_trim(&vmm->areas[i]);
	}
	vm_range_pool_trim(vmm);
	struct slab_cache **caches[] = VM_CACHES(vmm);
	for (size_t i = 0; i < ARRAY_COUNT(caches); i++)
		(void)slab_reap(*caches[i]);
	pmm_drain(vmm->pmm);
}

void vmm_get_stats(struct vmm *vmm, struct vmm_stats *stats)
{
	uint64_t anon = 0;
	mem_lock(&vmm->spaces_lock, MEM_RANK_COMMIT);
	list_for_each (node, &vmm->spaces) {
		struct space *space = list_entry(node, struct space, link);
		anon += atomic_read_relaxed(&space->resident) -
			atomic_read_relaxed(&space->resident_file);
	}
	mem_unlock(&vmm->spaces_lock, MEM_RANK_COMMIT);
	*stats = (struct vmm_stats){
	    .commit_npages = atomic_read_relaxed(&vmm->commit),
	    .commit_limit_npages = vmm->commit_limit,
	    .table_npages = atomic_read_relaxed(&vmm->user_tables),
	    .kernel_table_npages = atomic_read_relaxed(&vmm->kernel_tables),
	    .range_npages = atomic_read_relaxed(&vmm->ranges.npages),
	    .object_npages = atomic_read_relaxed(&vmm->object_npages),
	    .anon_npages = anon,
	    .limbo_npages = atomic_read_relaxed(&vmm->limbo_npages),
	    .stack_npages = atomic_read_relaxed(&vmm->areas[AREA_STACK].used_npages),
	    .device_npages = atomic_read_relaxed(&vmm->areas[AREA_DEVICE].used_npages),
	    .heap_npages = atomic_read_relaxed(&vmm->areas[AREA_HEAP].used_npages),
	    .flushes = atomic_read_relaxed(&vmm->flushes),
	    .flush_cpus = atomic_read_relaxed(&vmm->flush_cpus),
	    .flush_full = atomic_read_relaxed(&vmm->flush_full),
	};
}
