/* SPDX-License-Identifier: MIT */
/*
 * The validator of segments: pages, descriptors, map and counts against each other.
 * Nobody else may use the heap meanwhile; it changes nothing.
 */
#include "heap/internal.h"

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			host_log(HOST_LOG_ERROR, "heap segment %p: not so: %s", (void *)segment,   \
				 #condition);                                                      \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static bool segment_is_valid(struct heap *heap, struct segment *segment)
{
	unsigned free = 0, slabs = 0, units = 0, slab_units = 0;
	EXPECT(segment->heap == heap);
	EXPECT(segment->npages <= SEGMENT_NPAGES);
	EXPECT(heap_find_segment(heap, segment) == segment);
	for (unsigned page = 0; page < SEGMENT_NPAGES; page++) {
		bool used = (segment->used[page / 64] >> (page % 64)) & 1;
		uint32_t at = segment->map[page];
		EXPECT(used || (page && page < segment->npages));
		free += !used;
		EXPECT(!at || used);
		EXPECT(!used || !((segment->dropped[page / 64] >> (page % 64)) & 1));
		if (!at || (page && segment->map[page - 1] == at))
			continue;
		struct slab *slab = (struct slab *)(void *)((char *)segment + at);
		EXPECT(slab->base == (char *)segment + page * PAGE_SIZE);
		EXPECT(slab->cookie == slab_cookie(slab->cache, slab));
		for (unsigned i = 0; i < slab->npages; i++)
			EXPECT(segment->map[page + i] == at);
		slabs++;
		slab_units += heap_descriptor_units(slab->capacity);
	}
	EXPECT(free == segment->nfree);
	EXPECT(slabs == segment->nslabs);
	for (unsigned i = 0; i < segment->unit_pages; i++)
		units += bits_set(segment->unit_used[i]);
	units -= (unsigned)((sizeof(*segment) + UNIT_BYTES - 1) / UNIT_BYTES);
	EXPECT(units == slab_units);
	return true;
}

bool heap_segments_are_valid(struct heap *heap)
{
	struct list *lists[] = {&heap->segments, &heap->full_segments};
	uint64_t npages = 0, free = 0, dropped = 0, empty = 0;
	struct segment *segment = NULL;
	for (unsigned i = 0; i < ARRAY_COUNT(lists); i++)
		list_for_each (node, lists[i]) {
			segment = list_entry(node, struct segment, node);
			if (!segment_is_valid(heap, segment))
				return false;
			EXPECT((segment->nfree == 0) == (i == 1));
			npages += segment->npages;
			free += segment->nfree;
			empty += segment->nslabs ? 0 : segment->npages;
			dropped += heap_count_dropped(segment);
		}
	EXPECT(npages == heap->segment_npages);
	EXPECT(free == heap->free_npages);
	EXPECT(empty == heap->empty_npages);
	EXPECT(dropped == heap->dropped_npages);
	return true;
}

uint64_t heap_slab_npages(struct heap *heap)
{
	struct list *lists[] = {&heap->segments, &heap->full_segments};
	uint64_t npages = 0;
	for (unsigned i = 0; i < ARRAY_COUNT(lists); i++)
		list_for_each (node, lists[i]) {
			struct segment *segment = list_entry(node, struct segment, node);
			for (unsigned page = 0; page < SEGMENT_NPAGES; page++)
				npages += segment->map[page] != 0;
		}
	return npages;
}
