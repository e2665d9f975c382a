/* SPDX-License-Identifier: MIT */
/* A page source over physical frames, reached through the direct map. */
#include <mem/pmm.h>
#include <mem/slab.h>

static void *frames_alloc(struct page_source *source, unsigned order, bool atomic)
{
	struct frame_source *frames = (struct frame_source *)source;
	paddr_t pa = pmm_alloc(frames->pmm, order, PMM_KERNEL | (atomic ? PMM_ANY : PMM_WAIT));
	return pa == PADDR_NONE ? NULL : paddr_to_ptr(pa);
}

static void frames_free(struct page_source *source, void *pages, unsigned order)
{
	struct frame_source *frames = (struct frame_source *)source;
	pmm_free(frames->pmm, ptr_to_paddr(pages), order);
}

void frame_source_init(struct frame_source *source, struct pmm *pmm)
{
	source->source = (struct page_source){frames_alloc, frames_free};
	source->pmm = pmm;
}
