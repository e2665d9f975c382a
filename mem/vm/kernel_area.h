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

/* Descriptors move when nobody is looking (range_pool.c): a pointer to one is good
 * under the area's lock, while it is quarantined, or while it is busy. */
struct kernel_range {
	struct kernel_area *area; /* that it is part of; NULL: of none (now) */
	vpn_t first;              /* sign-extended address >> 12, without the extension */
	uint64_t npages;          /* with the guard page at its end */
	vaddr_t va;               /* what the user got: how it is found again */
	uint64_t mapped;          /* pages from va on */
	enum range_state state;
	bool busy;                 /* used by who took or found it: it stays where it is */
	bool owns_frames;          /* its frames go when it does */
	paddr_t table;             /* area_trim.c: the table that was unlinked here, */
	struct kernel_range *next; /* and the next range with one; or the next unused descriptor */
	struct list all;           /* area->all, in address order */
	struct list link;          /* area->free, ->cached, a hash chain, or a quarantine */
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
	uint64_t used_npages;    /* mapped now; atomic */
	uint64_t highest_npages; /* nothing above was ever taken; written under the lock */
};

/* Range numbers are addresses >> 12 without their sign extension. */
static inline vpn_t area_vpn(vaddr_t va)
{
	return (va & (((vaddr_t)1 << 48) - 1)) >> PAGE_SHIFT;
}

static inline vaddr_t area_address(vpn_t vpn)
{
	return (vaddr_t)((int64_t)(vpn << (16 + PAGE_SHIFT)) >> 16);
}

/* Descriptors (range_pool.c); any context. */
mem_status vm_range_pool_init(struct vmm *vmm);
void vm_range_pool_end(struct vmm *vmm);
struct kernel_range *vm_range_alloc(struct vmm *vmm); /* NULL: no memory */
void vm_range_free(struct vmm *vmm, struct kernel_range *range);
/* Put `to`, a new descriptor, in the place of `from`. False: `from` is in use or
 * part of no area; nothing has changed. Any context. */
bool vm_range_move(struct kernel_range *from, struct kernel_range *to);
/* Move descriptors together and give the pages that this empties back. Context:
 * thread, interrupts on, no lock. */
void vm_range_pool_trim(struct vmm *vmm);

/* Make the areas at [base, base + bytes) each. Errors: MEM_ENOMEM. */
mem_status vm_area_init(struct vmm *vmm, struct kernel_area *area, enum kernel_area_kind kind,
			vaddr_t base, uint64_t bytes);

/* End an area that nothing was ever taken from. */
void vm_area_end(struct kernel_area *area);

/* A range of npages at a multiple of `align` pages, `offset` pages further on, and a
 * guard page; nothing is mapped yet, and it is busy. NULL: no addresses or no
 * descriptor. Any context. */
struct kernel_range *vm_area_take(struct kernel_area *area, uint64_t npages, uint64_t align,
				  uint64_t offset);
/* The range in use that was handed out as va, busy from now on; or NULL. Any context. */
struct kernel_range *vm_area_find(struct kernel_area *area, vaddr_t va);
/* Who took or found a range is done with its descriptor. Any context. */
void vm_area_let_go(struct kernel_range *range);
/* USED (or CACHED) -> QUARANTINED, its entries cleared. Any context. */
void vm_area_quarantine(struct kernel_area *area, struct kernel_range *range);

/* Entries of [va, va + npages), which the caller alone may change:
 * fill: map fresh frames where there are none yet; false: no memory, what was mapped
 *   stays. With `atomic` nothing waits. Any context.
 * take down: clear PTE_PRESENT, keeping what else is there. Any context.
 * empty: after take down and a flush, clear the rest and free the frames if they are
 *   the range's. Any context. */
bool vm_area_fill(struct kernel_area *area, vaddr_t va, uint64_t npages, bool atomic);
void vm_area_take_down(struct kernel_area *area, vaddr_t va, uint64_t npages);
void vm_area_empty(struct kernel_area *area, vaddr_t va, uint64_t npages, bool free_frames);

/* Flush what is quarantined, release its frames and addresses; also give up
 * cached stacks if `all`. When it returns, what the caller put into quarantine has
 * been flushed, whoever did it. Context: thread, interrupts on, no lock. */
void vm_area_settle(struct kernel_area *area, bool all);

/* The bits of a 4 KiB entry that give memory this cache type. */
pte_t vm_cache_bits(enum vm_cache cache);

/* Give the tables back that map nothing (area_trim.c). Context: as settle. */
void vm_area_trim(struct kernel_area *area);
/* Take npages at va if they are free as a whole: a used range that maps nothing; and
 * give it back. */
struct kernel_range *vm_area_take_at(struct kernel_area *area, vaddr_t va, uint64_t npages);
void vm_area_give_back(struct kernel_area *area, struct kernel_range *range);

bool vm_area_is_valid(struct kernel_area *area);
#endif
