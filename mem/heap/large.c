/* SPDX-License-Identifier: MIT */
/*
 * Large blocks: whole pages from the area, an unmapped guard page after them.
 *
 * What is known about one lies outside it, in a struct large, found by a hash of the
 * address under the heap's lock. A freed block stays mapped and known, so that a second
 * free is found, and waits in a queue. It is used again for a request of nearly its size,
 * or given back by the reaper: unmapping needs a flush, which needs thread context.
 *
 *     LIVE --free--> FREEING --poisoned--> QUEUED --alloc--> LIVE
 *                                             \--reap, oldest first--> gone
 *
 * Nothing that takes time by the block's size is done under the lock. A block that is being
 * filled or checked is on no queue, and belongs to who does that. How far a request looks
 * through the queues is bounded, and they are emptied a few blocks at a time.
 *
 * The request seldom fills the last page: behind its end lie up to 16 bytes of canary,
 * checked when the block is freed; beyond the last page is the guard. Loose pages have none
 * behind them: blocks of a hardened heap that do fill it get another page. Those that were
 * asked for by the page (aligned to it) do not.
 */
#include "heap/internal.h"

#define CANARY_BYTES 16
#define SEARCH_MOST  16 /* blocks of one queue */
#define STEP_NPAGES  32 /* given back with preemption off */

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

/* Were n pages of a queued block, from its page `first` on, written since it was freed? */
static void check_poison(const struct large *large, uint64_t first, uint64_t n)
{
	uintptr_t at = large->address + first * PAGE_SIZE;
	uint64_t bytes = SLAB_DEBUG ? n * PAGE_SIZE : 0;
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	uint64_t good = bytes_equal((const void *)at, bytes, FREE_BYTE);
	if (good != bytes)
		host_panic("heap: use after free: %p (%lu bytes) written at offset %lu after "
			   "it was freed at %p",
			   (void *)large->address, (unsigned long)large->bytes,
			   (unsigned long)(first * PAGE_SIZE + good), large->site);
}

/* ---- queues -------------------------------------------------------------------- */

/* Four from each power of two to the next, so that a request finds its size at once. */
static struct list *queue_for(struct heap *heap, uint64_t npages)
{
	unsigned k = bit_highest(npages);
	unsigned i = 4 * k + (unsigned)((npages << 2 >> k) & 3);
	return &heap->large_queue[mem_min(i, LARGE_QUEUES - 1)];
}

/* The smallest of npages .. most among those of a queue that were freed last. Locks:
 * heap->lock. */
static struct large *best_of(struct list *queue, uint64_t npages, uint64_t most, size_t align)
{
	struct large *best = NULL;
	unsigned left = SEARCH_MOST;
	list_for_each (node, queue) {
		struct large *large = list_entry(node, struct large, queue);
		if (large->state == LARGE_QUEUED && large->npages >= npages &&
		    large->npages <= most && !(large->address & (align - 1)) &&
		    (!best || large->npages < best->npages))
			best = large;
		if ((best && best->npages == npages) || !--left)
			break;
	}
	return best;
}

static struct large *best_queued(struct heap *heap, uint64_t npages, uint64_t most, size_t align)
{
	struct list *at = queue_for(heap, npages), *last = queue_for(heap, most);
	struct large *best = NULL;
	for (; at <= last && !best; at++)
		best = best_of(at, npages, most, align);
	return best;
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

static void *take_queued(struct heap *heap, uint64_t npages, uint64_t most, size_t bytes,
			 size_t align, const void *site)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct large *large = best_queued(heap, npages, most, align), was = {0};
	if (large) {
		was = *large; /* with who freed it */
		list_remove(&large->queue);
		count_add(&heap->queued_npages, -large->npages);
		account(heap, large, bytes, site);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	if (!large)
		return NULL;
	check_poison(&was, 0, was.npages);
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
	large->site = site;
	if (SLAB_DEBUG) {
		large->state = LARGE_FREEING;
		mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
		poison(large, FREE_BYTE);
		irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	}
	large->state = LARGE_QUEUED;
	count_add(&heap->large_npages, -large->npages);
	heap->large_blocks--;
	heap->large_bytes -= large->bytes;
	count_add(&heap->large_frees, 1);
	large->freed = heap->large_frees;
	large->gone = 0;
	count_add(&heap->queued_npages, large->npages);
	list_push_front(queue_for(heap, large->npages), &large->queue);
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

/* Of the blocks freed by then, one that waits longest in its queue; it is the reaper's from
 * now on. NULL: there is none. Locks: heap->reap_lock. */
static struct large *claim_oldest(struct heap *heap, uint64_t until)
{
	struct large *found = NULL;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned i = 0; i < LARGE_QUEUES && !found; i++) {
		struct large *large = list_entry(heap->large_queue[i].prev, struct large, queue);
		if (!list_empty(&heap->large_queue[i]) && large->freed <= until)
			found = large;
	}
	if (found)
		found->state = LARGE_GOING;
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return found;
}

/* Pages of a block's end have been given back; with the last of them it is forgotten. */
static void note_gone(struct heap *heap, struct large *large, uint64_t n)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	large->gone += n;
	count_add(&heap->queued_npages, -n);
	if (large->gone == large->npages) {
		list_remove(&large->hash);
		list_remove(&large->queue);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

/* Give back a block that was freed by then, or so many pages of its end that it does not take
 * long. Returns pages; 0: there is none. Locks: heap->reap_lock. */
static uint64_t give_back(struct heap *heap, uint64_t until)
{
	struct large *large = claim_oldest(heap, until);
	if (!large)
		return 0;
	struct heap_area *area = heap->area;
	uint64_t left = large->npages - large->gone, n = mem_min(left, (uint64_t)STEP_NPAGES);
	char *pages = (char *)large->address; // NOLINT(performance-no-int-to-ptr)
	check_poison(large, left - n, n);
	if (n < left && area->decommit && area->decommit(area, pages + (left - n) * PAGE_SIZE, n)) {
		note_gone(heap, large, n);
		return n;
	}
	check_poison(large, 0, left - n);
	note_gone(heap, large, left);
	area->unmap(area, pages, large->npages);
	slab_give(heap_find_slab(heap, large), large, large->site);
	return left;
}

uint64_t heap_reap_large(struct heap *heap)
{
	uint64_t until = atomic_read_relaxed(&heap->large_frees), npages = 0, n;
	do {
		mem_lock_flushable(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		n = give_back(heap, until);
		mem_unlock(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		npages += n;
	} while (n);
	return npages;
}

/* A queued block that is no reaper's; it is forgotten. NULL: there is none. */
static struct large *take_any(struct heap *heap)
{
	struct large *found = NULL;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned i = 0; i < LARGE_QUEUES && !found; i++)
		found = best_of(&heap->large_queue[i], 0, UINT64_MAX, 1);
	if (found) {
		list_remove(&found->hash);
		list_remove(&found->queue);
		count_add(&heap->queued_npages, -found->npages);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return found;
}

uint64_t heap_drop_large(struct heap *heap)
{
	uint64_t npages = 0;
	for (struct large *large; (large = take_any(heap));) {
		npages += large->npages;
		check_poison(large, 0, large->npages);
		// NOLINTNEXTLINE(performance-no-int-to-ptr)
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
				queued += large->npages - large->gone;
			}
			if (find(heap, large->address) != large ||
			    large->bytes > large->npages * PAGE_SIZE) {
				host_log(HOST_LOG_ERROR, "heap: bad large block %p",
					 (void *)large->address);
				return false;
			}
		}
	for (unsigned i = 0; i < LARGE_QUEUES; i++)
		list_for_each (node, &heap->large_queue[i]) {
			const struct large *large = list_entry(node, struct large, queue);
			in_queue += large->npages - large->gone;
			if (queue_for(heap, large->npages) != &heap->large_queue[i])
				in_queue = UINT64_MAX / 2;
		}
	if (live == heap->large_npages && queued == heap->queued_npages && queued == in_queue &&
	    blocks == heap->large_blocks && bytes == heap->large_bytes)
		return true;
	host_log(HOST_LOG_ERROR, "heap: counts of large blocks do not add up");
	return false;
}
