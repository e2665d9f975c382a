/* SPDX-License-Identifier: MIT */
/*
 * A heap area over physical frames, reached through the direct map.
 *
 * A heap gives back by pieces whatever it takes. So nothing here is a block of an order,
 * which goes back as it came, but a range, a single frame, or a 2 MiB block that is split.
 */
#include <mem/heap.h>
#include <mem/pmm.h>

#include "base/util.h"

/* Of all frames, what a heap takes at a time. */
#define PIECE_PART  64
#define PIECE_LEAST 8
#define PIECE_MOST  ((uint64_t)1 << PMM_ORDER_HUGE)

static struct pmm *pmm_of(struct heap_area *area)
{
	return ((struct frame_area *)area)->pmm;
}

static void *frames_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	struct pmm *pmm = pmm_of(area);
	unsigned flags = PMM_KERNEL | (atomic ? PMM_ANY : PMM_WAIT);
	paddr_t pa = PADDR_NONE;
	if (npages == 1 && align_pages == 1) {
		pa = pmm_alloc(pmm, 0, flags);
	} else if (npages == PIECE_MOST && align_pages <= npages) {
		pa = pmm_alloc(pmm, PMM_ORDER_HUGE, flags);
		if (pa != PADDR_NONE)
			pmm_split(pmm, pa);
	} else if (pmm_alloc_range(pmm, npages, align_pages, PADDR_NONE, flags, &pa) != MEM_OK) {
		return NULL;
	}
	return pa == PADDR_NONE ? NULL : paddr_to_ptr(pa);
}

static void frames_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	struct pmm *pmm = pmm_of(area);
	if (npages == 1)
		pmm_free(pmm, ptr_to_paddr(pages), 0);
	else
		pmm_free_range(pmm, ptr_to_paddr(pages), npages);
}

void frame_area_init(struct frame_area *frames, struct pmm *pmm)
{
	struct pmm_stats stats;
	pmm_get_stats(pmm, &stats);
	uint64_t piece = mem_max(stats.total / PIECE_PART, (uint64_t)PIECE_LEAST);
	frames->area = (struct heap_area){
	    .map = frames_map,
	    .unmap = frames_unmap,
	    .loose_npages = mem_min(piece, PIECE_MOST),
	};
	frames->pmm = pmm;
}
