/* SPDX-License-Identifier: MIT */
/*
 * Spaces: making, emptying, ending, and their statistics.
 *
 * The root of a space is an ordinary table whose upper half is a copy of the
 * kernel root's: filled once, before the first space, and never changed (I8).
 */
#include "vm/area_walk.h"
#include "vm/edit.h"
#include "vm/epoch.h"

#define USER_PAGES ((vpn_t)1 << 35)

mem_status vmm_space_create(struct vmm *vmm, struct space **out)
{
	mem_contract_thread();
	struct space *space = slab_alloc_wait(vmm->space_cache);
	if (!space)
		return MEM_ENOMEM;
	memset(space, 0, sizeof(*space));
	space->vmm = vmm;
	space->root = vm_table_create(space, NULL, PT_LEVELS, 0);
	if (!space->root) {
		slab_free(vmm->space_cache, space);
		return MEM_ENOMEM;
	}
	space->root_pa = ptr_to_paddr(space->root->entries);
	const pte_t *kernel = paddr_to_ptr(vmm->kernel_root);
	memcpy(space->root->entries + PT_ENTRIES / 2, kernel + PT_ENTRIES / 2,
	       PT_ENTRIES / 2 * sizeof(pte_t));
	space->refs = 1;
	list_init(&space->mappers);
	space->maps_owner = space->maps_most = UINT64_MAX;
	space->id = atomic_add(&vmm->next_id, 1);
	space->limits =
	    (struct vmm_space_limits){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
	mem_lock(&vmm->spaces_lock, MEM_RANK_COMMIT);
	list_push_back(&vmm->spaces, &space->link);
	mem_unlock(&vmm->spaces_lock, MEM_RANK_COMMIT);
	*out = space;
	return MEM_OK;
}

void vmm_space_get(struct space *space)
{
	mem_contract(atomic_add(&space->refs, 1) > 1, "the space has no reference any more");
}

static void remove_all(struct space *space)
{
	struct edit e;
	vm_edit_begin(&e, space, 0, USER_PAGES, PT_LEVELS);
	vm_edit_remove(&e, 0, USER_PAGES);
	atomic_write_relaxed(&space->areas, (uint64_t)0);
	vm_edit_end(&e);
	vm_gap_forget(space);
}

void vmm_space_put(struct space *space)
{
	mem_contract_thread();
	if (atomic_sub(&space->refs, 1) > 0)
		return;
	struct vmm *vmm = space->vmm;
	vm_flush_forget(space);
	remove_all(space);
	mem_assert(table_is_empty(space->root));
	mem_lock(&vmm->spaces_lock, MEM_RANK_COMMIT);
	list_remove(&space->link);
	mem_unlock(&vmm->spaces_lock, MEM_RANK_COMMIT);
	vm_table_free(vmm, space->root);
	slab_free(vmm->space_cache, space);
}

void vmm_space_clear(struct space *space)
{
	mem_contract_thread();
	mem_rwlock_write(&space->lock);
	remove_all(space);
	mem_rwlock_write_done(&space->lock);
}

void vmm_space_set_limits(struct space *space, const struct vmm_space_limits *limits)
{
	mem_contract_thread();
	mem_rwlock_write(&space->lock);
	space->limits = *limits;
	mem_rwlock_write_done(&space->lock);
}

void vmm_space_set_owner(struct space *space, uint64_t owner, uint64_t most)
{
	mem_lock(&space->maps_lock, MEM_RANK_SPACE_MAPS);
	space->maps_owner = owner;
	space->maps_most = most;
	mem_unlock(&space->maps_lock, MEM_RANK_SPACE_MAPS);
}

void vmm_space_stats(struct space *space, struct vmm_space_stats *stats)
{
	const struct space_totals *t = &space->totals;
	*stats = (struct vmm_space_stats){
	    .virt_npages = atomic_read_relaxed(&t->virt),
	    .resident_npages = atomic_read_relaxed(&space->resident),
	    .resident_file = atomic_read_relaxed(&space->resident_file),
	    .table_npages = atomic_read_relaxed(&space->tables),
	    .peak_resident = atomic_read_relaxed(&space->peak_resident),
	    .peak_virt = atomic_read_relaxed(&space->peak_virt),
	    .commit_npages = atomic_read_relaxed(&t->charged),
	    .locked_npages = atomic_read_relaxed(&t->locked),
	    .data_npages = atomic_read_relaxed(&t->data),
	    .stack_npages = atomic_read_relaxed(&t->stack),
	    .exec_npages = atomic_read_relaxed(&t->exec),
	    .area_count = atomic_read_relaxed(&space->areas),
	    .faults_minor = atomic_read_relaxed(&space->faults_minor),
	    .faults_major = atomic_read_relaxed(&space->faults_major),
	};
}
