/* SPDX-License-Identifier: MIT */
/*
 * The hardened profile's way for small blocks.
 *
 * What it does more than the fast one, and where:
 *
 *     alloc   any free block in the magazine, not the next one: what lies behind a
 *             block cannot be arranged for
 *             a canary behind what was asked for (canary.h)
 *     free    the block is in use, is the start of one, and its canary is whole: before
 *             anything of it is touched
 *             cleared, so that what it held is gone when it is handed out again
 *
 * The structures and the rules are the fast profile's. But what a hardened heap knows of
 * its maps is marked, so that the fast path of a free does not find them. Its magazine_at
 * leads to a magazine header that is always closed. So every call comes here. Magazines are
 * small and do not grow: the more blocks there are to choose from, the more of them drop out
 * of the processor's caches. Rejected: deferring reuse by a quarantine, which costs a cache
 * miss a block (debug builds have one). And encoding the bitmaps, to which overflows do not
 * come as it is.
 */
#include "heap/canary.h"
#include "heap/fast.h"

void *heap_alloc_hardened(struct heap *heap, size_t bytes)
{
	if (unlikely(bytes > HEAP_MAX_SMALL))
		return NULL;
	unsigned number = heap_class_of(heap, bytes);
	void *block = NULL;
	host_preempt_disable();
	struct slab_guard *guard = heap->guards[host_cpu()];
	if (likely(slab_try(guard))) {
		struct slab_cpu *c = (void *)((char *)guard + heap_cpu_at(number));
		if (unlikely(!slab_pop_random(c, &block)))
			block = NULL;
		slab_leave(guard);
	}
	host_preempt_enable();
	if (likely(block != NULL))
		heap_canary_set(heap, block, heap->classes[number]->object_bytes, bytes);
	return block;
}

/* A block in use, whose canary has to be whole. */
static void clear(struct heap *heap, const struct slab_cache *cache, void *block)
{
	size_t bytes = cache->stride;
	if (cache->has_canary)
		bytes = heap_canary_check(heap, block, bytes);
	memset(block, 0, bytes);
}

/* The magazine has no space. Out of line, so that the other way keeps its registers. */
static __attribute__((noinline)) void give_to_slab(struct heap *heap, void *block)
{
	slab_give_slowly(heap_find_slab(heap, block), block);
}

bool heap_free_hardened(struct heap *heap, void *block)
{
	size_t how;
	uint8_t *state;
	if (unlikely(!heap_find_state(heap, block, &state, &how)))
		return false;
	size_t magazine_at = how & ~(size_t)HOW_SHIFT;
	if (magazine_at == HEAP_NO_MAGAZINE)
		return false;
	clear(heap, heap->classes[heap_class_of_magazine(magazine_at)], block);
	if (unlikely(!heap_push(heap, block, state, how)))
		give_to_slab(heap, block);
	return true;
}

/* Everything that can be wrong with a free of this block ends the machine here. */
void heap_free_hardened_slowly(struct heap *heap, struct slab *slab, void *block)
{
	unsigned index = slab_index(slab, block);
	slab_assert_in_use(slab, index, "double free");
	clear(heap, slab->cache, block);
	slab_give_index(slab, index);
}
