/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of kernel ranges.
 *
 * They come from pages of their own, not from an object cache: which descriptor
 * outlives a merge of free neighbours is a matter of timing, so after the same
 * work the survivors may lie in one slab page or in two, and the number of free
 * frames would not come back exactly (I7). Here pages are taken when there was
 * never a need for so many before, and kept: a page per 46 ranges that were in
 * use at once, two from the start.
 *
 * Any context; the pool's lock is taken with interrupts off and holds nothing
 * else but the push or pop of a list.
 */
#include "vm/kernel_area.h"

struct range_page {
	struct range_page *next;
	struct kernel_range range[];
};

#define RANGES_PER_PAGE ((PAGE_SIZE - sizeof(struct range_page)) / sizeof(struct kernel_range))
#define PAGES_AT_FIRST  2

static struct kernel_range *pop(struct range_pool *pool)
{
	unsigned long irq = mem_lock_irq(&pool->lock, MEM_RANK_KERNEL_AREA);
	struct kernel_range *range = pool->free;
	if (range)
		pool->free = range->next;
	mem_unlock_irq(&pool->lock, MEM_RANK_KERNEL_AREA, irq);
	return range;
}

void vm_range_free(struct vmm *vmm, struct kernel_range *range)
{
	struct range_pool *pool = &vmm->ranges;
	unsigned long irq = mem_lock_irq(&pool->lock, MEM_RANK_KERNEL_AREA);
	range->next = pool->free;
	pool->free = range;
	mem_unlock_irq(&pool->lock, MEM_RANK_KERNEL_AREA, irq);
}

static bool grow(struct vmm *vmm)
{
	struct range_pool *pool = &vmm->ranges;
	paddr_t pa = pmm_alloc(vmm->pmm, 0, PMM_KERNEL);
	if (pa == PADDR_NONE)
		return false;
	struct range_page *page = paddr_to_ptr(pa);
	for (size_t i = 0; i < RANGES_PER_PAGE; i++)
		page->range[i].next = i + 1 < RANGES_PER_PAGE ? &page->range[i + 1] : NULL;
	unsigned long irq = mem_lock_irq(&pool->lock, MEM_RANK_KERNEL_AREA);
	page->range[RANGES_PER_PAGE - 1].next = pool->free;
	pool->free = page->range;
	page->next = pool->pages;
	pool->pages = page;
	pool->npages++;
	mem_unlock_irq(&pool->lock, MEM_RANK_KERNEL_AREA, irq);
	return true;
}

struct kernel_range *vm_range_alloc(struct vmm *vmm)
{
	struct kernel_range *range;
	/* Others may empty a page that was just added: look again. */
	while (!(range = pop(&vmm->ranges)))
		if (!grow(vmm))
			return NULL;
	return range;
}

mem_status vm_range_pool_init(struct vmm *vmm)
{
	for (unsigned i = 0; i < PAGES_AT_FIRST; i++)
		if (!grow(vmm))
			return MEM_ENOMEM;
	return MEM_OK;
}

void vm_range_pool_end(struct vmm *vmm)
{
	while (vmm->ranges.pages) {
		struct range_page *page = vmm->ranges.pages;
		vmm->ranges.pages = page->next;
		pmm_free(vmm->pmm, ptr_to_paddr(page), 0);
	}
	vmm->ranges = (struct range_pool){0};
}
