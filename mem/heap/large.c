/* SPDX-License-Identifier: MIT */
/*
 * Large blocks: whole pages from the area, an unmapped guard page after them.
 *
 * What is known about one lies outside it, in a struct large, found by a hash of the
 * address under the heap's lock. A freed block stays mapped and known, so that a second
 * free is found, and waits in a queue. It is used again for a request of nearly its size,
 * or given back by the reaper: unmapping needs a flush, which needs thread context.
 *
 * The request seldom fills the last page: behind its end lie up to 16 bytes of
 * canary, checked when the block is freed; beyond the last page is the guard. Loose pages have
 * none behind them: so blocks of a hardened heap that do fill it get another page, but not
 * those that were asked for by the page (aligned to it).
 */
#include "heap/internal.h"

#define CANARY_BYTES 16
#define SEARCH_MOST  64

static struct list *chain(struct heap *heap, uintptr_t address)
{
	uint64_t hash = ((uint64_t)address >> PAGE_SHIFT) * 0x9e3779b97f4a7c15;
	return &heap->large_hash[hash >> 56];
}

static struct large *find(struct heap *heap, uintptr_t address)
{
	list_for_each (node, chain(heap, address)) {
		struct large *large = list_entry(node, struct large, hash);
		if (large->address == address)
			return large;
	}
	return NULL;
}

/* ---- canary ------------------------------------------------------------------- */

static uint8_t canary_byte(const struct heap *heap, uintptr_t at)
{
	return (uint8_t)(((at ^ heap->secret) * 0x9e3779b97f4a7c15) >> 56);
}

/* Bytes of canary that a block is to have at least. */
static size_t least_canary(const struct heap *heap, size_t align)
{
	return heap->loose && heap_is_hardened(heap) && align < PAGE_SIZE;
}

static uint64_t canary_bytes(const struct large *large)
{
	return mem_min(large->npages * PAGE_SIZE - large->bytes, (uint64_t)CANARY_BYTES);
}

static void set_canary(const struct heap *heap, const struct large *large)
{
	for (uint64_t i = 0; i < canary_bytes(large); i++) {
		uintptr_t at = large->address + large->bytes + i;
		*(uint8_t *)at = canary_byte(heap, at); // NOLINT(performance-no-int-to-ptr)
	}
}

static void check_canary(const struct heap *heap, const struct large *large)
{
	for (uint64_t i = 0; i < canary_bytes(large); i++) {
		uintptr_t at = large->address + large->bytes + i;
		// NOLINTNEXTLINE(performance-no-int-to-ptr)
		if (*(const uint8_t *)at != canary_byte(heap, at))
			host_panic("heap: overflow: written behind the %lu bytes at %p, "
				   "allocated at %p",
				   (unsigned long)large->bytes, (void *)large->address,
				   large->site);
	}
}

/* ---- debug builds: poison, as slab/debug.c does it for small blocks ------------------- */

#define ALLOC_BYTE 0xcb
#define FREE_BYTE  0xdb

static void poison(const struct large *large, uint8_t byte)
{
	if (SLAB_DEBUG)
		memset((void *)large->address, byte, large->npages * PAGE_SIZE); // NOLINT
}

/* Was a queued block written since it was freed? */
static void check_poison(const struct large *large)
{
	const uint8_t *p = (const uint8_t *)large->address; // NOLINT(performance-no-int-to-ptr)
	for (uint64_t i = 0; SLAB_DEBUG && i < large->npages * PAGE_SIZE; i++)
		if (p[i] != FREE_BYTE)
			host_panic(
			    "heap: use after free: %p (%lu bytes) written at offset %lu after "
			    "it was freed at %p",
			    (const void *)p, (unsigned long)large->bytes, (unsigned long)i,
			    large->site);
}

/* ---- alloc ---------------------------------------------------------------------- */

static void account(struct heap *heap, struct large *large, size_t bytes, const void *site)
{
	large->bytes = bytes;
	large->site = site;
	large->state = LARGE_LIVE;
	count_add(&heap->large_npages, large->npages);
	heap->large_blocks++;
	heap->large_bytes += bytes;
	heap->large_allocs++;
}

/* The smallest of npages .. most among the blocks queued last. Locks: heap->lock. */
static struct large *best_queued(struct heap *heap, uint64_t npages, uint64_t most, size_t align)
{
	struct large *best = NULL;
	uint64_t left = most == UINT64_MAX ? UINT64_MAX : SEARCH_MOST; /* the last resort */
	list_for_each (node, &heap->large_queue) {
		if (!left--)
			break;
		struct large *large = list_entry(node, struct large, queue);
		if (large->npages >= npages && large->npages <= most &&
		    !(large->address & (align - 1)) && (!best || large->npages < best->npages))
			best = large;
		if (best && best->npages == npages)
			break;
	}
	return best;
}

static void *take_queued(struct heap *heap, uint64_t npages, uint64_t most, size_t bytes,
			 size_t align, const void *site)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct large *large = best_queued(heap, npages, most, align);
	if (large) {
		check_poison(large);
		list_remove(&large->queue);
		count_add(&heap->queued_npages, -large->npages);
		account(heap, large, bytes, site);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	if (!large)
		return NULL;
	poison(large, ALLOC_BYTE);
	set_canary(heap, large);
	return (void *)large->address; // NOLINT(performance-no-int-to-ptr)
}

static void *take_new(struct heap *heap, uint64_t npages, size_t bytes, size_t align,
		      enum heap_effort effort, const void *site)
{
	bool wait = effort == HEAP_WAIT && host_irq_enabled() && !host_in_interrupt();
	struct large *large =
	    slab_take(heap->classes[HEAP_LARGE_CACHE], sizeof(*large), wait, site);
	if (!large)
		return NULL;
	uint64_t align_pages = align > PAGE_SIZE ? align / PAGE_SIZE : 1;
	void *pages = heap->area->map(heap->area, npages, align_pages, !wait);
	if (!pages && heap_give_loose(heap))
		pages = heap->area->map(heap->area, npages, align_pages, !wait);
	if (!pages) {
		slab_give(heap_find_slab(heap, large), large, site);
		return NULL;
	}
	large->address = (uintptr_t)pages;
	large->npages = npages;
	list_init(&large->queue);
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	list_push_front(chain(heap, large->address), &large->hash);
	account(heap, large, bytes, site);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	poison(large, ALLOC_BYTE);
	set_canary(heap, large);
	return pages;
}

void *heap_alloc_large(struct heap *heap, size_t bytes, size_t align, enum heap_effort effort,
		       const void *site)
{
	uint64_t rounded;
	if (__builtin_add_overflow(bytes, least_canary(heap, align), &rounded) ||
	    !align_up_checked(rounded, PAGE_SIZE, &rounded))
		return NULL;
	uint64_t npages = rounded / PAGE_SIZE;
	if (!npages)
		npages = 1;
	void *block = take_queued(heap, npages, npages + npages / 8, bytes, align, site);
	if (!block)
		block = take_new(heap, npages, bytes, align, effort, site);
	/* Out of memory: then whatever is large enough. */
	return block ? block : take_queued(heap, npages, UINT64_MAX, bytes, align, site);
}

/* ---- free ----------------------------------------------------------------------- */

MEM_NORETURN static void bad_block(const void *block, const struct large *large)
{
	if (large)
		host_panic("heap: double free or use after free: %p (%lu bytes, last used at %p)",
			   block, (unsigned long)large->bytes, large->site);
	host_panic("heap: invalid free: %p is no block of this heap", block);
}

void heap_free_large(struct heap *heap, void *block, const void *site)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct large *large = find(heap, (uintptr_t)block);
	if (unlikely(!large || large->state != LARGE_LIVE))
		bad_block(block, large);
	check_canary(heap, large);
	count_add(&heap->large_npages, -large->npages);
	heap->large_blocks--;
	heap->large_bytes -= large->bytes;
	heap->large_frees++;
	count_add(&heap->queued_npages, large->npages);
	large->state = LARGE_QUEUED;
	large->site = site;
	poison(large, FREE_BYTE);
	list_push_front(&heap->large_queue, &large->queue);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

size_t heap_large_bytes(struct heap *heap, const void *block)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	const struct large *large = find(heap, (uintptr_t)block);
	if (unlikely(!large || large->state != LARGE_LIVE))
		bad_block(block, large);
	size_t bytes = large->bytes;
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return bytes;
}

bool heap_resize_large(struct heap *heap, void *block, size_t bytes)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct large *large = find(heap, (uintptr_t)block);
	if (unlikely(!large || large->state != LARGE_LIVE))
		bad_block(block, large);
	check_canary(heap, large);
	size_t most = large->npages * PAGE_SIZE;
	bool fits = bytes > most - PAGE_SIZE && bytes <= most - least_canary(heap, HEAP_ALIGN);
	if (fits) {
		heap->large_bytes += bytes - large->bytes;
		large->bytes = bytes;
		set_canary(heap, large);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return fits;
}

/* ---- giving back ------------------------------------------------------------------ */

uint64_t heap_reap_large(struct heap *heap)
{
	struct list out;
	uint64_t npages = 0;
	list_init(&out);
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	list_for_each_safe (node, &heap->large_queue) {
		struct large *large = list_entry(node, struct large, queue);
		list_remove(&large->hash);
		list_remove(&large->queue);
		list_push_back(&out, &large->queue);
		npages += large->npages;
	}
	atomic_write_relaxed(&heap->queued_npages, 0);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	list_for_each_safe (node, &out) {
		struct large *large = list_entry(node, struct large, queue);
		check_poison(large);
		/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
		heap->area->unmap(heap->area, (void *)large->address, large->npages);
		slab_give(heap_find_slab(heap, large), large, large->site);
	}
	return npages;
}

void heap_report_large(struct heap *heap, unsigned limit)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned i = 0; i < LARGE_HASH; i++)
		list_for_each (node, &heap->large_hash[i]) {
			const struct large *large = list_entry(node, struct large, hash);
			if (large->state != LARGE_LIVE || !limit)
				continue;
			limit--;
			host_log(HOST_LOG_WARN, "heap: live: %p, %lu bytes, allocated at %p",
				 (void *)large->address, (unsigned long)large->bytes, large->site);
		}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

bool heap_large_is_valid(struct heap *heap)
{
	uint64_t live = 0, queued = 0, blocks = 0, bytes = 0, in_queue = 0;
	for (unsigned i = 0; i < LARGE_HASH; i++)
		list_for_each (node, &heap->large_hash[i]) {
			struct large *large = list_entry(node, struct large, hash);
			if (large->state == LARGE_LIVE) {
				check_canary(heap, large);
				live += large->npages;
				bytes += large->bytes;
				blocks++;
			} else {
				queued += large->npages;
			}
			if (find(heap, large->address) != large ||
			    large->bytes > large->npages * PAGE_SIZE) {
				host_log(HOST_LOG_ERROR, "heap: bad large block %p",
					 (void *)large->address);
				return false;
			}
		}
	list_for_each (node, &heap->large_queue) {
		in_queue += list_entry(node, struct large, queue)->npages;
	}
	if (live == heap->large_npages && queued == heap->queued_npages && queued == in_queue &&
	    blocks == heap->large_blocks && bytes == heap->large_bytes)
		return true;
	host_log(HOST_LOG_ERROR, "heap: counts of large blocks do not add up");
	return false;
}
