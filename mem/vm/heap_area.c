/* SPDX-License-Identifier: MIT */
/*
 * The heap's pages: ranges of the heap's kernel area (kernel_area.c), and parts of
 * such ranges that the heap has no use for just now.
 *
 * A range comes and goes as a whole, its addresses by way of the quarantine. Dropping
 * pages inside one keeps the addresses, which the heap leaves alone until it has
 * restored them: so their frames may go as soon as a flush has made sure that nobody
 * reaches them any more (I6), and that flush is waited for on the spot.
 */
#include "pt/raw.h"
#include "vm/kernel_area.h"

static struct kernel_area *area_of(struct heap_area *heap)
{
	return container_of(heap, struct kernel_area, heap);
}

static void *heap_map(struct heap_area *heap, uint64_t npages, uint64_t align_pages, bool atomic)
{
	struct kernel_area *area = area_of(heap);
	mem_assert(npages && is_pow2(align_pages));
	struct kernel_range *range = vm_area_take(area, npages, align_pages, 0);
	if (!range)
		return NULL;
	range->owns_frames = true;
	void *pages = (void *)range->va;
	if (vm_area_fill(area, range->va, npages, atomic)) {
		vm_area_let_go(range);
		return pages;
	}
	/* What was mapped may have been walked ahead of need. The heap may hold locks
	 * here: the flush is for the next one who settles. */
	vm_area_quarantine(area, range);
	return NULL;
}

static void heap_unmap(struct heap_area *heap, void *pages, uint64_t npages)
{
	struct kernel_area *area = area_of(heap);
	struct kernel_range *range = vm_area_find(area, (vaddr_t)pages);
	mem_assert(range && range->mapped == npages);
	vm_area_quarantine(area, range);
	vm_area_settle(area, false);
}

static bool heap_drop(struct heap_area *heap, void *pages, uint64_t npages)
{
	struct kernel_area *area = area_of(heap);
	vaddr_t va = (vaddr_t)pages, end = va + (npages << PAGE_SHIFT);
	for (vaddr_t at = va; at < end; at += PAGE_SIZE) {
		unsigned level;
		(void)pt_entry(area->vmm->kernel_root, at, &level);
		if (level != 1)
			return false; /* part of a 2 MiB leaf */
	}
	vm_area_take_down(area, va, npages);
	vmm_flush_kernel(area->vmm, va, end - va);
	vm_area_empty(area, va, npages, true);
	return true;
}

static bool heap_restore(struct heap_area *heap, void *pages, uint64_t npages, bool atomic)
{
	return vm_area_fill(area_of(heap), (vaddr_t)pages, npages, atomic);
}

struct heap_area *vmm_heap_area(struct vmm *vmm)
{
	struct heap_area *heap = &vmm->areas[AREA_HEAP].heap;
	heap->map = heap_map;
	heap->unmap = heap_unmap;
	heap->drop = heap_drop;
	heap->restore = heap_restore;
	return heap;
}
