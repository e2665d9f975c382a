/* SPDX-License-Identifier: MIT */
/* The public calls on a heap. Each has the call site of its caller, or is given it: a shim
 * passes its own caller's on, so that leak lists and traps name that. */
#include "heap/fast.h"

#define SITE __builtin_return_address(0)

void *heap_alloc(struct heap *heap, size_t bytes)
{
	return heap_alloc_inline(heap, bytes, SITE);
}

void *heap_alloc_wait(struct heap *heap, size_t bytes)
{
	void *block;
	if (!SLAB_DEBUG && likely(heap_take_fast(heap, bytes, &block)))
		return block;
	return heap_alloc_beyond(heap, bytes, HEAP_WAIT, SITE);
}

void heap_free(struct heap *heap, void *block)
{
	heap_free_inline(heap, block, SITE);
}

/* Apart, so that the fast path saves no registers for it. */
MEM_NORETURN static __attribute__((noinline, cold)) void bad_align(size_t align, const void *site)
{
	host_panic("heap: alignment to %lu, which is no power of two; called from %p",
		   (unsigned long)align, site);
}

void *heap_alloc_at(struct heap *heap, size_t bytes, size_t align, const void *site)
{
	void *block;
	if (unlikely(!is_pow2(align)))
		bad_align(align, site);
	/* Powers of two are aligned to themselves if they fill their class. */
	if (unlikely(align > HEAP_ALIGN) && (heap_leaves_space(heap) || !is_pow2(bytes) ||
					     align > mem_min(bytes, (size_t)PAGE_SIZE)))
		return heap_alloc_aligned_slowly(heap, bytes, align, site);
	if (!SLAB_DEBUG && likely(heap_take_fast(heap, bytes, &block)))
		return block;
	return heap_alloc_beyond(heap, bytes, HEAP_GROW, site);
}

void heap_free_at(struct heap *heap, void *block, const void *site)
{
	if (!SLAB_DEBUG && likely(heap_give_fast(heap, block)))
		return;
	heap_free_otherwise(heap, block, site);
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align)
{
	return heap_alloc_at(heap, bytes, align, SITE);
}

void *heap_realloc_at(struct heap *heap, void *block, size_t bytes, const void *site)
{
	if (!block)
		return heap_alloc_at(heap, bytes, HEAP_ALIGN, site);
	if (!bytes) {
		heap_free_at(heap, block, site);
		return NULL;
	}
	size_t old = heap_usable(heap, block);
	if (heap_resize_in_place(heap, block, bytes, site))
		return block;
	void *new = heap_alloc_at(heap, bytes, HEAP_ALIGN, site);
	if (!new)
		return NULL;
	memcpy(new, block, mem_min(old, bytes));
	heap_free_at(heap, block, site);
	return new;
}

void *heap_realloc(struct heap *heap, void *block, size_t bytes)
{
	return heap_realloc_at(heap, block, bytes, SITE);
}
