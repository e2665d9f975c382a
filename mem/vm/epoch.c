/* SPDX-License-Identifier: MIT */
/* Limbo: tables that are unlinked and flushed but may still be under a walk.
 * The argument is in epoch.h. Nobody waits for limbo but vmm_drain. */
#include "vm/epoch.h"

/* The oldest epoch that some CPU's walk began at; UINT64_MAX: no walk. */
static uint64_t oldest_walk(struct vmm *vmm)
{
	uint64_t oldest = UINT64_MAX;
	unsigned count = host_cpu_count();
	for (unsigned cpu = 0; cpu < count; cpu++) {
		uint64_t active = atomic_read_seq(&vmm->walks[cpu].active);
		if (active)
			oldest = mem_min(oldest, active);
	}
	return oldest;
}

void vm_free_tables(struct vmm *vmm, struct table *list)
{
	while (list) {
		struct table *t = list;
		list = t->next;
		vm_table_free(vmm, t);
	}
}

void vm_retire(struct vmm *vmm, struct table *list)
{
	if (!list)
		return;
	if (atomic_read_relaxed(&vmm->limbo))
		(void)vm_limbo_reap(vmm);
	uint64_t stamp = atomic_add(&vmm->epoch, 1);
	if (oldest_walk(vmm) >= stamp) {
		vm_free_tables(vmm, list);
		return;
	}
	uint64_t n = 1;
	struct table *last = list;
	for (;; last = last->next, n++) {
		last->retired = stamp;
		if (!last->next)
			break;
	}
	mem_lock(&vmm->limbo_lock, MEM_RANK_EPOCH);
	last->next = vmm->limbo;
	atomic_write_relaxed(&vmm->limbo, list); /* read without the lock: is there any? */
	atomic_count(&vmm->limbo_npages, n);
	mem_unlock(&vmm->limbo_lock, MEM_RANK_EPOCH);
}

bool vm_limbo_reap(struct vmm *vmm)
{
	mem_lock(&vmm->limbo_lock, MEM_RANK_EPOCH);
	struct table *list = vmm->limbo, *keep = NULL, *gone = NULL;
	if (list) {
		uint64_t oldest = oldest_walk(vmm);
		while (list) {
			struct table *t = list;
			list = t->next;
			bool free = oldest >= t->retired;
			t->next = free ? gone : keep;
			*(free ? &gone : &keep) = t;
			atomic_count(&vmm->limbo_npages, -(uint64_t)free);
		}
	}
	atomic_write_relaxed(&vmm->limbo, keep);
	mem_unlock(&vmm->limbo_lock, MEM_RANK_EPOCH);
	vm_free_tables(vmm, gone);
	return !keep;
}
