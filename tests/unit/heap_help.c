/* SPDX-License-Identifier: MIT */
/* See heap_help.h. */
/* Its parameters are called heap, as is a variable of the header after it. */
#include "heap/internal.h"

#include "tests/machine/plain.h"
#include "tests/unit/heap_help.h"

struct test_pages heap_pages;
struct heap *heap;
enum heap_profile heap_profile = HEAP_HARDENED;

bool heap_loose;

void heap_start_pages(void)
{
	test_pages_init(&heap_pages);
	if (heap_loose)
		test_pages_loosen(&heap_pages);
}

void heap_start(unsigned ncpus)
{
	plain_init(1 << 20, ncpus);
	heap_start_pages();
	CHECK_OK(heap_create_as(&heap, &heap_pages.area, heap_profile));
	heap_set_default(heap);
}

void heap_finish(void)
{
	CHECK(heap_is_valid(heap));
	heap_destroy(heap);
	CHECK_EQ(heap_pages.held_npages, 0);
}

uint64_t heap_live_blocks(void)
{
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	CHECK_EQ(stats.held_npages, heap_pages.held_npages);
	return stats.live_blocks;
}

bool heap_own(const void *at)
{
	const struct slab *slab = heap_find_slab(heap, at);
	return slab && slab->cache->number >= HEAP_CLASSES;
}
