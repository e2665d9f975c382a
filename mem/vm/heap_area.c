/* SPDX-License-Identifier: MIT */
/*
 * The heap's pages: ranges of the heap's kernel area (kernel_area.c), and parts of
 * such ranges that the heap has no use for just now.
 *
 * A range comes and goes as a whole, its addresses by way of the quarantine. Decommitting
 * pages inside one keeps the addresses, which the heap leaves alone until it has
 * recommitted them. So their frames may go as soon as a flush has made sure that no CPU has
 * a stale translation (I6). That flush is waited for on the spot. A 2 MiB entry of which a
 * part goes is split first, and stays so until the range goes.
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

/* Of a 2 MiB leaf that [va, end) holds only a part of, make 4 KiB ones. The table lies in
 * the first page that is to go: memory is given back when there is none. */
static void split_leaf(struct kernel_area *area, vaddr_t va, vaddr_t end)
{
	struct vmm *vmm = area->vmm;
	unsigned level;
	pte_t *entry = pt_entry(vmm->kernel_root, va, &level);
	vaddr_t first = align_down(va, HUGE_SIZE);
	pte_t leaf = atomic_read_relaxed(entry);
	if (level != 2 || !(leaf & PTE_PRESENT) || (first == va && end - va >= HUGE_SIZE))
		return;
	paddr_t pa = leaf & PTE_ADDR & ~(HUGE_SIZE - 1);
	pmm_split(vmm->pmm, pa);
	pt_split(entry, pa + (va - first));
	atomic_count(&vmm->kernel_tables, 1);
	atomic_count(&area->used_npages, -1);
}

static bool heap_decommit(struct heap_area *heap, void *pages, uint64_t npages)
{
	struct kernel_area *area = area_of(heap);
	vaddr_t va = (vaddr_t)pages, end = va + (npages << PAGE_SHIFT);
	for (vaddr_t at = va; at < end; at = align_down(at, HUGE_SIZE) + HUGE_SIZE)
		split_leaf(area, at, end);
	vm_area_take_down(area, va, npages);
	vmm_flush_kernel(area->vmm, va, end - va);
	vm_area_empty(area, va, npages, true);
	return true;
}

static bool heap_recommit(struct heap_area *heap, void *pages, uint64_t npages, bool atomic)
{
	return vm_area_fill(area_of(heap), (vaddr_t)pages, npages, atomic);
}

struct heap_area *vmm_heap_area(struct vmm *vmm)
{
	struct heap_area *heap = &vmm->areas[AREA_HEAP].heap;
	heap->map = heap_map;
	heap->unmap = heap_unmap;
	heap->decommit = heap_decommit;
	heap->recommit = heap_recommit;
	return heap;
}
