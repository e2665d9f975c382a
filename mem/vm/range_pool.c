/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of kernel ranges.
 *
 * They come from pages of their own, not from an object cache. Which descriptor outlives a
 * merge of free neighbours is a matter of timing. So after the same work the survivors may
 * lie in one page or in two, and the number of free frames would not come back exactly
 * (I7). Here a drain moves them together: descriptors are few, and whoever works on one
 * outside of its area's lock says so (`busy`).
 *
 *     pages, oldest first   |u u . u|  |u . . u|  |. u . .|   u: in use
 *     after a drain         |u u u u|  |u . . u|
 *
 * Descriptors are taken from the oldest page with room. The page that a drain empties
 * is `closing`: nothing is taken from it meanwhile. PAGES_AT_FIRST pages stay.
 *
 * Any context but for trimming; the pool's lock is taken with interrupts off and
 * holds nothing else.
 */
#include "vm/kernel_area.h"

struct range_page {
	struct range_page *next;   /* younger */
	struct kernel_range *free; /* unused descriptors here, linked by `next` */
	unsigned used;
	bool closing;
	struct kernel_range range[];
};

#define RANGES_PER_PAGE ((PAGE_SIZE - sizeof(struct range_page)) / sizeof(struct kernel_range))
#define PAGES_AT_FIRST  2

static unsigned long lock(struct range_pool *pool)
{
	return mem_lock_irq(&pool->lock, MEM_RANK_KERNEL_AREA);
}

static void unlock(struct range_pool *pool, unsigned long irq)
{
	mem_unlock_irq(&pool->lock, MEM_RANK_KERNEL_AREA, irq);
}

static struct kernel_range *pop(struct range_pool *pool)
{
	struct kernel_range *range = NULL;
	unsigned long irq = lock(pool);
	struct range_page *page = pool->pages;
	while (page && (!page->free || page->closing))
		page = page->next;
	if (page) {
		range = page->free;
		page->free = range->next;
		page->used++;
	}
	unlock(pool, irq);
	return range;
}

void vm_range_free(struct vmm *vmm, struct kernel_range *range)
{
	struct range_pool *pool = &vmm->ranges;
	struct range_page *page = (void *)align_down((uintptr_t)range, PAGE_SIZE);
	unsigned long irq = lock(pool);
	mem_assert(!range->area);
	range->next = page->free;
	page->free = range;
	page->used--;
	unlock(pool, irq);
}

static bool grow(struct vmm *vmm)
{
	struct range_pool *pool = &vmm->ranges;
	paddr_t pa = pmm_alloc(vmm->pmm, 0, PMM_KERNEL);
	if (pa == PADDR_NONE)
		return false;
	struct range_page *page = paddr_to_ptr(pa), **last = &pool->pages;
	*page = (struct range_page){.free = page->range};
	for (size_t i = 0; i < RANGES_PER_PAGE; i++) {
		page->range[i].area = NULL;
		page->range[i].next = i + 1 < RANGES_PER_PAGE ? &page->range[i + 1] : NULL;
	}
	unsigned long irq = lock(pool);
	while (*last)
		last = &(*last)->next;
	*last = page;
	pool->npages++;
	unlock(pool, irq);
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

/* ---- trimming --------------------------------------------------------------------- */

/* Close the youngest page if the others have room for what is used in it. One at a
 * time; NULL: nothing to do. */
static struct range_page *close_last(struct range_pool *pool)
{
	uint64_t room = 0;
	unsigned long irq = lock(pool);
	struct range_page *page = pool->pages;
	for (; page->next; page = page->next)
		room += RANGES_PER_PAGE - page->used;
	if (pool->npages <= PAGES_AT_FIRST || page->closing || room < page->used)
		page = NULL;
	else
		page->closing = true;
	unlock(pool, irq);
	return page;
}

/* Take a closed page out if it is empty, else open it again. */
static bool take_out(struct range_pool *pool, struct range_page *page)
{
	unsigned long irq = lock(pool);
	bool empty = page->used == 0;
	if (empty) {
		struct range_page **at = &pool->pages;
		while (*at != page)
			at = &(*at)->next;
		*at = page->next;
		pool->npages--;
	}
	page->closing = false;
	unlock(pool, irq);
	return empty;
}

static void move_all(struct vmm *vmm, struct range_page *page)
{
	for (size_t i = 0; i < RANGES_PER_PAGE; i++) {
		struct kernel_range *from = &page->range[i], *to;
		if (!atomic_read_relaxed(&from->area))
			continue;
		to = pop(&vmm->ranges);
		if (!to)
			return;
		vm_range_free(vmm, vm_range_move(from, to) ? from : to);
	}
}

void vm_range_pool_trim(struct vmm *vmm)
{
	struct range_page *page;
	while ((page = close_last(&vmm->ranges)) != NULL) {
		move_all(vmm, page);
		if (!take_out(&vmm->ranges, page))
			return;
		pmm_free(vmm->pmm, ptr_to_paddr(page), 0);
	}
}

/* ---- beginning and end ------------------------------------------------------------------ */

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
