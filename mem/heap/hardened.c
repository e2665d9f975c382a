/* SPDX-License-Identifier: MIT */
/*
 * The hardened profile's way for small blocks.
 *
 * What it does more than the fast one, and where:
 *
 *     alloc   any free block of the slab at hand, not the next one: what lies behind a
 *             block cannot be arranged for
 *             a seal behind what was asked for (seal.h)
 *     free    the block is in use, is the start of one, and its seal is whole: before
 *             anything of it is touched
 *             cleared, so that what it held is gone when it is handed out again
 *
 * The structures and the rules are the fast profile's; but the segments of a hardened heap
 * are marked, so that the shortest way does not know them, and its hand_at leads to the
 * hand that is always closed: that brings every call here. Magazines are small and do not
 * grow: the more blocks there are to choose from, the more of them drop out of the
 * processor's caches.
 * Rejected: deferring reuse by a quarantine (the debug profile has one: it costs a cache
 * miss a block), encoding the bitmaps (they lie out of reach of overflows as it is).
 */
#include "heap/internal.h"
#include "heap/seal.h"
#include "slab/fast.h"

void *heap_alloc_hardened(struct heap *heap, size_t bytes)
{
	unsigned number = heap_class_of(heap, bytes);
	if (unlikely(number >= HEAP_CLASSES))
		return NULL;
	void *block = NULL;
	struct slab_cache *cache = heap->classes[number];
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_gate *gate = heap->gates[cpu];
	if (likely(slab_try(gate))) {
		if (unlikely(!slab_pop_random(slab_part(cache, cpu), &block)))
			block = NULL;
		slab_leave(gate);
	}
	host_preempt_enable();
	if (likely(block != NULL) && cache->sealed)
		heap_seal(heap, block, cache->object_bytes, bytes);
	return block;
}

/* Everything that can be wrong with a free of this block ends the machine here. */
void heap_free_hardened(struct heap *heap, struct slab *slab, void *block)
{
	unsigned index = slab_index(slab, block);
	slab_assert_in_use(slab, index, "double free");
	size_t bytes = slab->cache->stride;
	if (slab->cache->sealed)
		bytes = heap_check_seal(heap, block, bytes);
	memset(block, 0, bytes);
	if (unlikely(!slab_give_fast(slab, block, slab_state(slab, block))))
		slab_give_index(slab, index);
}
