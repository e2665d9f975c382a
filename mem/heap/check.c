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

/* Of the slab's page number `i`: where the states lie, and the right magazine. */
static bool entry_is_sound(struct slab *slab, const struct segment_page *entry, unsigned i)
{
	const struct slab_cache *cache = slab->cache;
	struct segment *segment = slab->segment;
	const void *at = slab->base + i * PAGE_SIZE;
	size_t magazine = slab->drains ? HEAP_NO_MAGAZINE : heap_magazine_at(cache->number);
	return segment->window + entry->unit * UNIT_BYTES == (char *)slab &&
	       segment_state(segment->window, entry->states, entry->how, at) ==
		   slab_state(slab, at) &&
	       entry->how == magazine + cache->shift;
}

static bool segment_is_valid(struct heap *heap, struct segment *segment)
{
	unsigned free = 0, slabs = 0, in_slabs = 0, units = 0, slab_units = 0;
	EXPECT(segment->heap == heap);
	EXPECT(segment->npages <= SEGMENT_NPAGES);
	EXPECT(segment_window(segment) == segment->window);
	EXPECT(heap_find_map(heap, segment) == segment->map);
	for (unsigned page = 0; page < SEGMENT_NPAGES; page++) {
		bool used = (segment->used[page / 64] >> (page % 64)) & 1;
		const struct segment_page *entry = &segment->map[page];
		const char *at = segment->window + page * PAGE_SIZE;
		free += !used;
		in_slabs += entry->unit != 0;
		EXPECT(!entry->unit || used);
		EXPECT(entry->unit || (entry->how == HOW_NONE &&
				       segment_state(segment->window, entry->states, HOW_NONE,
						     at) == &segment->none[page / 8 % 2]));
		EXPECT(!used || !((segment->decommitted[page / 64] >> (page % 64)) & 1));
		if (!entry->unit || (page && segment->map[page - 1].unit == entry->unit))
			continue;
		struct slab *slab = heap_find_slab(heap, at);
		EXPECT(slab->base == at && slab->segment == segment);
		EXPECT(slab->cookie == slab_cookie(slab->cache, slab));
		for (unsigned i = 0; i < slab->npages; i++)
			EXPECT(entry_is_sound(slab, entry + i, i));
		slabs++;
		struct slab_shape shape = {.npages = slab->npages, .capacity = slab->capacity};
		slab_units += heap_descriptor_units(slab->cache, &shape);
	}
	EXPECT(free == segment->nfree);
	EXPECT(slabs == segment->nslabs);
	/* The map, pages of descriptors, the head one of them, slabs, and free ones. */
	EXPECT(segment->npages == 1 + segment->unit_pages + in_slabs + free);
	for (unsigned i = 0; i < segment->unit_pages; i++)
		units += bit_count(segment->unit_used[i]);
	units -= (unsigned)(align_up(sizeof(*segment), UNIT_BYTES) / UNIT_BYTES);
	EXPECT(units == slab_units);
	return true;
}

bool heap_segments_are_valid(struct heap *heap)
{
	struct list *lists[] = {&heap->segments, &heap->full_segments};
	uint64_t npages = 0, free = 0, decommitted = 0, empty = 0, segments = 0;
	struct segment *segment = NULL;
	for (unsigned i = 0; i < ARRAY_COUNT(lists); i++)
		list_for_each (node, lists[i]) {
			segment = list_entry(node, struct segment, node);
			if (!segment_is_valid(heap, segment))
				return false;
			EXPECT((segment->nfree == 0) == (i == 1));
			segments++;
			npages += segment->npages;
			free += segment->nfree;
			empty += segment->nslabs ? 0 : segment->npages;
			decommitted += heap_count_decommitted(segment);
		}
	EXPECT(segments == heap->nsegments);
	EXPECT(npages == heap->segment_npages);
	EXPECT(free == heap->free_npages);
	EXPECT(empty == heap->empty_npages);
	EXPECT(decommitted == heap->decommitted_npages);
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
				npages += segment->map[page].unit != 0;
		}
	return npages;
}
