/* SPDX-License-Identifier: MIT */
#ifndef MEM_HEAP_FAST_H
#define MEM_HEAP_FAST_H
/*
 * The heap's fast paths, to be inlined into the public calls. What they cannot serve they
 * pass on as their last act, so that they need no stack frame. No large block, nothing of
 * another CPU's, no refill, no misuse is decided here. A hardened heap's blocks all go the
 * other way: its magazine_at leads to a magazine header that is always closed, and its
 * maps are not known by their addresses. So does a free whose map does not lie where its
 * window starts, as may be over loose pages (heap_free_otherwise).
 */
#include "heap/internal.h"
#include "slab/fast.h"

#define HEAP_INLINE static inline __attribute__((always_inline))

/* False: nothing was taken. */
HEAP_INLINE bool heap_take_fast(struct heap *heap, size_t bytes, void **block)
{
	size_t last = bytes - 1;
	if (unlikely(last >= HEAP_MAX_SMALL))
		return false;
	host_preempt_disable();
	struct slab_guard *guard = heap->guards[host_cpu()];
	bool taken = slab_take_fast(guard, fast_read(&heap->magazine_at[last / 16]), block);
	host_preempt_enable();
	return likely(taken);
}

HEAP_INLINE void *heap_alloc_fast(size_t bytes, struct heap *heap)
{
	void *block;
	return likely(heap_take_fast(heap, bytes, &block)) ? block
							   : heap_alloc_elsewhere(bytes, heap);
}

/*
 * A free. One byte says what there is to say: whether this is where a block begins that is
 * in use (engine.h, slab_states). An address that is not aligned as blocks are is in no
 * segment that is known; a page without a slab has states that say no.
 */

/* What `known` has of a block's segment in the fast profile, if the map lies where the window
 * starts. */
HEAP_INLINE uintptr_t heap_base(const void *block)
{
	return (uintptr_t)block & (~(uintptr_t)(HUGE_SIZE - 1) | (HEAP_ALIGN - 1));
}

/* Where the state of a block in this window lies, and how its page is freed to. */
HEAP_INLINE uint8_t *heap_state(const struct segment_page *map, char *window, const void *block,
				size_t *how)
{
	size_t page = segment_page_of(block);
	*how = fast_read(&map[page].how);
	/* In the register where a shift takes it, it need not be copied; and an address of the
	 * entry, which compilers would make, is an instruction more. */
	__asm__("" : "+c"(*how), "+r"(page));
	size_t at = segment_state_at(fast_read(&map[page].states), (unsigned)*how, block);
	__asm__("" : "+r"(at));
	return (uint8_t *)window + at;
}

/* The same of a block that is in use, wherever the map lies. False: not by this way. */
HEAP_INLINE bool heap_find_state(struct heap *heap, const void *block, uint8_t **state, size_t *how)
{
	uintptr_t known = fast_read(&heap->known[segment_slot((uintptr_t)block)]);
	const uintptr_t decide = ~(uintptr_t)(HUGE_SIZE - 1) | (HEAP_ALIGN - 1);
	if (unlikely((known ^ (uintptr_t)block) & decide))
		return false;
	*state = heap_state(heap_known_map(known), segment_window(block), block, how);
	return likely(slab_is_allocated(block, *state));
}

/* An allocated block comes into this CPU's magazine; false: not by this way. */
HEAP_INLINE bool heap_push(struct heap *heap, void *block, uint8_t *state, size_t how)
{
	bool given = false;
	host_preempt_disable();
	struct slab_guard *guard = heap->guards[host_cpu()];
	if (likely(slab_try(guard))) {
		given = slab_push(guard, how & ~(size_t)HOW_SHIFT, block, state, true);
		slab_leave(guard);
	}
	host_preempt_enable();
	return given;
}

/* False: it was not freed, and may be anything. */
HEAP_INLINE bool heap_give_fast(struct heap *heap, void *block)
{
	uintptr_t base = heap_base(block);
	size_t how;
	if (unlikely(fast_read(&heap->known[segment_slot((uintptr_t)block)]) != base))
		return false;
	void *window = (void *)base; // NOLINT(performance-no-int-to-ptr): and its map
	uint8_t *state = heap_state(window, window, block, &how);
	return likely(fast_read(state) == slab_allocated_state(block)) &&
	       likely(heap_push(heap, block, state, how));
}

HEAP_INLINE void heap_free_fast(void *block, struct heap *heap)
{
	if (unlikely(!heap_give_fast(heap, block)))
		heap_free_elsewhere(block, heap);
}

/* The public calls. Debug builds know the call site of every block; the others only of
 * large ones, and take it where the fast path ends. */
HEAP_INLINE void *heap_alloc_inline(struct heap *heap, size_t bytes, const void *site)
{
	return SLAB_DEBUG ? heap_alloc_beyond(heap, bytes, HEAP_GROW, site)
			  : heap_alloc_fast(bytes, heap);
}

HEAP_INLINE void heap_free_inline(struct heap *heap, void *block, const void *site)
{
	if (SLAB_DEBUG)
		heap_free_slowly(heap, block, site);
	else
		heap_free_fast(block, heap);
}

#endif
