/* SPDX-License-Identifier: MIT */
#ifndef MEM_HEAP_FAST_H
#define MEM_HEAP_FAST_H
/* The heap's shortest paths, to be inlined into the public calls. */
#include "heap/internal.h"
#include "heap/seal.h"
#include "slab/fast.h"

static inline void *heap_alloc_at(struct heap *heap, size_t bytes, const void *site)
{
	if (!SLAB_DEBUG && likely(bytes <= HEAP_MAX_SMALL / 2)) {
		unsigned number = heap_class_of(bytes);
		struct slab_cache *cache = heap->classes[number];
		void *block = slab_take_fast(cache);
		if (likely(block != NULL)) {
			if (number < HEAP_SEALED)
				heap_seal(heap, block, cache->object_bytes, bytes);
			return block;
		}
	}
	return heap_alloc_slowly(heap, bytes, site);
}

static inline void heap_free_at(struct heap *heap, void *block, const void *site)
{
	if (unlikely(!block))
		return;
	struct slab *slab = heap_find_slab(heap, block);
	if (unlikely(!slab)) {
		heap_free_large(heap, block, site);
	} else if (SLAB_DEBUG) {
		slab_give(slab, block, site);
	} else {
		unsigned index = slab_index(slab, block);
		if (slab->sealed)
			(void)heap_check_seal(heap, block, slab->stride);
		slab_give_index(slab, index);
	}
}

#endif
