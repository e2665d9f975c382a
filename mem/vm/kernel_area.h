/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_KERNEL_AREA_H
#define MEM_VM_KERNEL_AREA_H
/* Kernel virtual address ranges; see kernel_area.c. */
#include <mem/heap.h>

#include "vm/space.h"

enum kernel_area_kind { AREA_HEAP, AREA_STACK, AREA_DEVICE, KERNEL_AREAS };

enum range_state {
	RANGE_FREE,
	RANGE_USED,
	RANGE_CACHED,      /* a stack, still mapped, waiting for its next user */
	RANGE_QUARANTINED, /* entries cleared, not flushed yet */
};

struct kernel_range {
	vpn_t first;     /* sign-extended address >> 12, without the extension */
	uint64_t npages; /* with the guard page at its end */
	vaddr_t va;      /* what the user got: how it is found again */
	uint64_t mapped; /* pages from va on */
	enum range_state state;
	bool owns_frames; /* its frames go when it does */
	struct list all;  /* area->all, in address order */
	struct list link; /* area->free, ->cached, a hash chain, or a quarantine */
};

#define AREA_HASH 64

struct kernel_area {
	struct heap_area heap; /* of AREA_HEAP: what the heap is given */
	struct vmm *vmm;
	enum kernel_area_kind kind;
	vaddr_t base, end;
	struct mem_lock settle_lock; /* held across the flush; interrupts on */
	struct mem_lock lock;        /* irq; everything below */
	struct list all, free, cached, quarantine;
	struct list used[AREA_HASH];
	uint64_t cached_count, quarantined_npages;
	uint64_t used_npages; /* atomic */
};

/* Make the areas at [base, base + bytes) each. Errors: MEM_ENOMEM. */
mem_status vm_area_init(struct vmm *vmm, struct kernel_area *area, enum kernel_area_kind kind,
			vaddr_t base, uint64_t bytes);

/* Flush what is quarantined, release its frames and addresses; also give up
 * cached stacks if `all`. When it returns, what the caller put into quarantine has
 * been flushed, whoever did it. Context: thread, interrupts on, no lock. */
void vm_area_settle(struct kernel_area *area, bool all);

bool vm_area_is_valid(struct kernel_area *area);
#endif
