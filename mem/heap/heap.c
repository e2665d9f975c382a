/* SPDX-License-Identifier: MIT */
/*
 * The kernel heap.
 *
 * The problem. Serve any size from any context, fast where it is small. Find what a pointer
 * is without asking the caller, and find out when it is nothing of ours. Give memory back
 * without ever unmapping in kfree, which may run in an interrupt handler with locks held,
 * where no flush can be waited for.
 *
 *     bytes  <= 16 KiB: a cache of the slab engine per size class (81 of them;
 *               classes.c); slabs lie in segments, by windows of 2 MiB (segment.c)
 *     larger, or aligned to more than a page: pages of their own (large.c)
 *
 *     kfree(p):  p & ~(2 MiB - 1) -- known segment? --no--> large block? --no--> panic
 *                        | yes
 *                the map's entry for p's page -> the state of what begins at p; magazine; slab
 *
 * A pointer is believed only as far as it can be checked. The segment is looked up among
 * ours before it is read. The page must lie in a slab, a block must begin there, and its
 * state must say in use: these three are one comparison (fast.h).
 *
 * Two profiles, one structure (heap.h). In the fast one a block that stays on its CPU
 * takes the fast path (fast.h). In the hardened one every block goes by hardened.c: in
 * random order, cleared when freed, with a canary behind its end that is checked on free
 * (canary.h). Behind a large block stand a canary and an unmapped page in both (large.c).
 * A few blocks, by lot, get a page of their own between unmapped ones (sample.c).
 *
 * Memory goes back in three steps, each possible in fewer contexts than the one before. An
 * empty slab's pages go back to its segment, in any context; other classes use them. In
 * thread context, the reaper empties the per-CPU caches so that every empty slab is found.
 * Then it gives empty segments and queued large blocks back to the area. An allocation
 * takes the reserve pages of segments, or what the area can map without waiting, or returns
 * NULL; only heap_alloc_wait() has the area wait.
 *
 * A reap is done in steps, each short, however much there is to be given back. A step is
 * under a lock of one reaper at a time (heap->reap_lock, the slab registry's), with
 * preemption off. Nothing is on its way between two steps: what one takes out it gives back
 * before it ends. So what was free when heap_reap() was called has been given back when it
 * returns, by this reaper or another one.
 *
 * Locks: heap->lock (MEM_RANK_HEAP, interrupts off) for segments and large
 * blocks; never held together with a cache's; the area is called with none.
 *
 * Rejected: a header in front of each block (overflows corrupt it, sizes that are powers of
 * two waste half). Buddy splitting (coalescing on every free). Unmapping from kfree through
 * deferred work, which may never run: then memory is lost without anybody being told.
 */
#include "heap/canary.h"
#include "heap/fast.h"
#include "slab/paths.h"

/* ---- making and ending ----------------------------------------------------------- */

/* The slab for blocks of `stride`: the fewest pages that hold `enough` blocks and lose
 * less than one part in `part` at the end; if none does, the ones that lose
 * least. */
static struct slab_shape shape_for(size_t stride, size_t enough, unsigned most, unsigned part)
{
	unsigned best = 1;
	size_t best_loss = SIZE_MAX;
	for (unsigned n = 1; n <= most; n++) {
		size_t bytes = n * PAGE_SIZE;
		size_t count = mem_min(bytes / stride, (size_t)SLAB_MAX_BLOCKS);
		if (!count || (count < enough && n < most))
			continue;
		size_t loss = (bytes - count * stride) / n; /* per page */
		if (loss < best_loss) {
			best = n;
			best_loss = loss;
		}
		if (loss <= PAGE_SIZE / part)
			break;
	}
	size_t count = mem_min(best * PAGE_SIZE / stride, (uint64_t)SLAB_MAX_BLOCKS);
	mem_assert(count);
	return (struct slab_shape){.npages = (uint16_t)best, .capacity = (uint16_t)count};
}

static void nothing_to_construct(MEM_UNUSED void *object)
{
}

static void init_cache(struct heap *heap, struct slab_cache *cache, unsigned number)
{
	static const char *const others[] = {"heap-large", "heap-magazines", "heap-grown"};
	bool store = number >= HEAP_STORE_CACHE, small = number < HEAP_CLASSES;
	size_t bytes =
	    store ? heap_magazine_bytes(number - HEAP_STORE_CACHE) : sizeof(struct large);
	if (small)
		bytes = heap_class_bytes(number);
	/* What the size is a multiple of, for who asks for alignment. */
	size_t align = mem_min(bytes & -bytes, (size_t)PAGE_SIZE);
	align = mem_max(align, (size_t)16);
	memset(cache, 0, sizeof(*cache));
	cache->name = small ? heap_class_name(number) : others[number - HEAP_CLASSES];
	cache->backend = &heap_slab_backend;
	cache->backend_data = heap;
	cache->number = (uint8_t)number;
	cache->careful = heap_is_hardened(heap) && small;
	cache->has_canary = cache->careful && !SLAB_DEBUG;
	cache->object_bytes = bytes;
	cache->align = align;
	cache->stride = (uint32_t)slab_stride(bytes, align);
	unsigned most = cache->stride > 8192 ? 32 : 64; /* slab_find_index */
	bool few = store || cache->stride > 2048;
	bool two = store && cache->stride > 8192;
	cache->shape[0] = shape_for(cache->stride, 1, most, 1);
	cache->shape[1] = shape_for(cache->stride, two ? 2 : few ? 8 : 16, most, 64);
	cache->shape[2] = shape_for(cache->stride, 32, most, 64);
	cache->shape[3] = shape_for(cache->stride, 64, most, 128);
	cache->guards = (char *)heap->guards[0];
	cache->cpus = cache->guards + heap_cpu_at(number);
	cache->cpu_stride = HEAP_CPU_BYTES;
	if (store) /* is not filled by debug builds: the storage is used as it is */
		cache->construct = nothing_to_construct;
	for (unsigned kind = 0; kind < SLAB_CAPACITIES && !store; kind++) {
		cache->entries[kind] = heap_magazine_entries(bytes, kind, heap_is_hardened(heap));
		cache->store[kind] = heap->classes[HEAP_STORE_CACHE + kind];
	}
	/* The fast profile's sizes may be served by larger blocks, but for powers of two, whose
	 * blocks are to be as aligned as their class says (take_aligned). */
	if (number + 1 < HEAP_CLASSES && !cache->careful) {
		cache->above = heap->classes[number + 1];
		cache->borrows = !is_pow2(bytes);
	}
	slab_cache_init(cache, host_cpu_count());
}

static void init_heap(struct heap *heap, struct heap_area *area, uint64_t npages,
		      enum heap_profile profile)
{
	heap->area = area;
	heap->own_npages = npages;
	heap->profile = profile;
	heap->loose = area->loose_npages != 0;
	mem_assert(area->loose_npages <= SEGMENT_NPAGES);
	list_init(&heap->segments);
	list_init(&heap->full_segments);
	for (unsigned i = 0; i < SEGMENT_HASH; i++)
		list_init(&heap->segment_hash[i]);
	for (unsigned i = 0; i < LARGE_HASH; i++)
		list_init(&heap->large_hash[i]);
	for (unsigned i = 0; i < LARGE_QUEUES; i++)
		list_init(&heap->large_queue[i]);
	for (unsigned i = 0; i < KNOWN_SEGMENTS; i++)
		heap->known[i] = heap_known_none(i);
}

mem_status heap_create_as(struct heap **out, struct heap_area *area, enum heap_profile profile)
{
	size_t heap_bytes = align_up(sizeof(struct heap), 64);
	size_t cache_bytes = align_up(sizeof(struct slab_cache), 64);
	unsigned ncpus = mem_cpu_count("heap_create");
	if (!ncpus)
		return MEM_EINVAL;
	size_t cpus_bytes = ncpus * HEAP_CPU_BYTES;
	size_t bytes = heap_bytes + HEAP_CACHES * cache_bytes + cpus_bytes;
	uint64_t npages = align_up(bytes, PAGE_SIZE) / PAGE_SIZE;
	char *at = area->map(area, npages, 1, false);
	if (!at)
		return MEM_ENOMEM;
	struct heap *heap = (struct heap *)(void *)at;
	memset(heap, 0, sizeof(*heap));
	init_heap(heap, area, npages, profile);
	for (unsigned cpu = 0; cpu < ncpus; cpu++) {
		struct slab_guard *guard = (void *)(at + heap_bytes + cpu * HEAP_CPU_BYTES);
		heap->guards[cpu] = guard;
		slab_guard_init(guard);
	}
	at += heap_bytes + cpus_bytes;
	for (unsigned i = 0; i < HEAP_CACHES; i++, at += cache_bytes)
		heap->classes[i] = (struct slab_cache *)(void *)at;
	for (unsigned i = 0; i < HEAP_CACHES; i++)
		init_cache(heap, heap->classes[i], i);
	heap_init_classes(heap);
	heap->secret = heap->classes[HEAP_LARGE_CACHE]->secret;
	*out = heap;
	return MEM_OK;
}

mem_status heap_create(struct heap **out, struct heap_area *area)
{
	return heap_create_as(out, area, HEAP_HARDENED);
}

void heap_destroy(struct heap *heap)
{
	mem_contract_thread();
	heap_reap(heap, true);
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	if (stats.live_blocks) {
		heap_report_live(heap, 16);
		host_panic("heap destroyed with %lu live blocks", (unsigned long)stats.live_blocks);
	}
	heap_sample_end(heap);
	mem_assert(!heap->segment_npages);
	for (unsigned i = 0; i < HEAP_CACHES; i++)
		slab_cache_done(heap->classes[i]);
	struct heap_area *area = heap->area;
	area->unmap(area, heap, heap->own_npages);
}

/* ---- alloc and free ---------------------------------------------------------------- */

static void *failed(struct heap *heap)
{
	atomic_count(&heap->failures, 1);
	return NULL;
}

MEM_NORETURN void heap_canary_bad(const void *block, size_t class_bytes)
{
	host_panic("heap: overflow: the end of %p (up to %lu bytes) is overwritten", block,
		   (unsigned long)class_bytes);
}

/* A block of the class. */
static void *take(struct heap *heap, unsigned number, size_t bytes, enum heap_effort effort,
		  const void *site)
{
	struct slab_cache *cache = heap->classes[number];
	void *block = effort == HEAP_READY ? slab_take_ready(cache)
					   : slab_take_slowly(cache, effort == HEAP_WAIT);
	if (SLAB_DEBUG && block)
		slab_debug_alloc(slab_of(cache, block), block, bytes, site);
	if (block && cache->has_canary)
		heap_canary_set(heap, block, cache->object_bytes, bytes);
	return block;
}

/* The same for sizes of a finest class, by the one that serves them. */
static void *take_small(struct heap *heap, unsigned finest, size_t bytes, enum heap_effort effort,
			const void *site)
{
	void *block = take(heap, heap_serves(heap, finest), bytes, HEAP_READY, site);
	if (!block)
		block = take(heap, heap_open_classes(heap, finest), bytes, effort, site);
	/* No pages for a class that has just been opened: it has served so far. */
	return block ? block : take(heap, heap_coarse_class(heap, finest), bytes, HEAP_READY, site);
}

/* Aligned to no more than a page, by a class whose size is a multiple; 16 KiB is one of all. */
static void *take_aligned(struct heap *heap, size_t bytes, size_t align, const void *site)
{
	unsigned number = heap_finest_class(heap, bytes);
	while (heap_class_bytes(number) & (align - 1))
		number++;
	/* Without space for canaries coarse classes are powers of two, and as good. */
	void *block = heap_leaves_space(heap) ? take(heap, number, bytes, HEAP_GROW, site)
					      : take_small(heap, number, bytes, HEAP_GROW, site);
	if (likely(!((uintptr_t)block & (align - 1))))
		return block;
	/* It was borrowed of a larger class, which powers of two do not do. */
	heap_free_slowly(heap, block, site);
	while (!is_pow2(heap_class_bytes(number)))
		number++;
	return take(heap, number, bytes, HEAP_GROW, site);
}

static void *alloc_slowly(struct heap *heap, size_t bytes, enum heap_effort effort,
			  const void *site)
{
	unsigned finest = heap_finest_class(heap, bytes);
	void *block = finest < HEAP_CLASSES
			  ? take_small(heap, finest, bytes, effort, site)
			  : heap_alloc_large(heap, bytes, HEAP_ALIGN, effort, site);
	return likely(block != NULL) ? block : failed(heap);
}

void heap_free_slowly(struct heap *heap, void *block, const void *site)
{
	if (unlikely(!block))
		return;
	struct slab *slab = heap_find_slab(heap, block);
	if (unlikely(!slab)) {
		if (heap_is_sample(heap, block))
			heap_sample_free(heap, block, site);
		else
			heap_free_large(heap, block, site);
	} else if (SLAB_DEBUG) {
		slab_give(slab, block, site);
	} else if (heap_is_hardened(heap)) {
		heap_free_hardened_slowly(heap, slab, block);
	} else {
		slab_give_slowly(slab, block);
	}
}

void *heap_alloc_beyond(struct heap *heap, size_t bytes, enum heap_effort effort, const void *site)
{
	void *block = NULL;
	if (unlikely(atomic_read_relaxed(&heap->sample_interval)))
		block = heap_sample_alloc(heap, bytes, site);
	if (!block && heap_is_hardened(heap) && !SLAB_DEBUG)
		block = heap_alloc_hardened(heap, bytes);
	return likely(block != NULL) ? block : alloc_slowly(heap, bytes, effort, site);
}

void *heap_alloc_elsewhere(size_t bytes, struct heap *heap)
{
	return heap_alloc_beyond(heap, bytes, HEAP_GROW, __builtin_return_address(0));
}

/* Over loose pages, in the fast profile. */
static __attribute__((noinline)) void free_loose(struct heap *heap, void *block, const void *site)
{
	size_t how;
	uint8_t *state;
	if (unlikely(!heap_find_state(heap, block, &state, &how)) ||
	    unlikely(!heap_push(heap, block, state, how)))
		heap_free_slowly(heap, block, site);
}

void heap_free_otherwise(struct heap *heap, void *block, const void *site)
{
	if (!SLAB_DEBUG && heap_is_hardened(heap)) {
		if (unlikely(!heap_free_hardened(heap, block)))
			heap_free_slowly(heap, block, site);
	} else if (!SLAB_DEBUG && heap->loose) {
		free_loose(heap, block, site);
	} else {
		heap_free_slowly(heap, block, site);
	}
}

void heap_free_elsewhere(void *block, struct heap *heap)
{
	heap_free_otherwise(heap, block, __builtin_return_address(0));
}

/* Aligned to more than 16. Where there is space for a canary a whole page is not had by
 * classes: pages of its own cost less, and have a guard behind them. */
void *heap_alloc_aligned_slowly(struct heap *heap, size_t bytes, size_t align, const void *site)
{
	size_t most = heap_leaves_space(heap) ? PAGE_SIZE / 2 : PAGE_SIZE;
	void *block;
	if (align <= most && bytes <= HEAP_MAX_SMALL - 2)
		block = take_aligned(heap, bytes, align, site);
	else
		block = heap_alloc_large(heap, bytes, align, HEAP_GROW, site);
	return block ? block : failed(heap);
}

/* ---- size and realloc ----------------------------------------------------------------- */

size_t heap_usable(struct heap *heap, const void *block)
{
	struct slab *slab = heap_find_slab(heap, block);
	if (!slab)
		return heap_is_sample(heap, block) ? heap_sample_bytes(heap, block)
						   : heap_large_bytes(heap, block);
	slab_assert_in_use(slab, slab_index(slab, block), "use after free");
	if (slab->cache->has_canary)
		return heap_canary_check(heap, block, slab->cache->stride);
	return slab_debug_bytes(slab, block);
}

/* The block can hold `bytes` where it is, without much waste. */
bool heap_resize_in_place(struct heap *heap, void *block, size_t bytes, const void *site)
{
	struct slab *slab = heap_find_slab(heap, block);
	if (!slab)
		return bytes > HEAP_MAX_SMALL && !heap_is_sample(heap, block) &&
		       heap_resize_large(heap, block, bytes);
	size_t most = slab->cache->object_bytes, least = most / 2;
	if (bytes > most || bytes < least)
		return false;
	if (heap_leaves_space(heap) && heap_with_canary(bytes) > most)
		return false;
	if (SLAB_DEBUG)
		slab_debug_resize(slab, block, bytes, site);
	else if (slab->cache->has_canary)
		heap_canary_set(heap, block, most, bytes);
	return true;
}

/* ---- giving back ------------------------------------------------------------------------- */

uint64_t heap_reap(struct heap *heap, bool all)
{
	mem_contract_thread();
	uint64_t npages = heap_reap_large(heap);
	(void)slab_reap_caches(heap->classes, HEAP_CACHES);
	heap_close_classes(heap);
	npages += heap_reap_segments(heap, all);
	atomic_write_relaxed(&heap->patience, 0);
	heap_sample_reap(heap);
	return npages;
}

void heap_cpu_leave(struct heap *heap)
{
	for (unsigned i = 0; i < HEAP_CACHES; i++)
		slab_cpu_leave(heap->classes[i]);
}

bool heap_wants_reap(struct heap *heap)
{
	uint64_t idle =
	    atomic_read_relaxed(&heap->queued_npages) + atomic_read_relaxed(&heap->empty_npages);
	uint64_t held =
	    atomic_read_relaxed(&heap->segment_npages) + atomic_read_relaxed(&heap->large_npages);
	return idle > 2 * SEGMENT_NPAGES && idle > held / 16;
}

/* ---- statistics ---------------------------------------------------------------------------- */

void heap_get_stats(struct heap *heap, struct heap_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	uint64_t borrowed = 0;
	for (unsigned i = 0; i < HEAP_CLASSES; i++) {
		struct slab_stats s;
		slab_get_stats_borrowed(heap->classes[i], &s, &borrowed);
		stats->live_blocks += s.live;
		stats->live_bytes += s.live * s.object_bytes;
		stats->allocs += s.allocs;
		stats->frees += s.frees;
	}
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	stats->live_blocks += heap->large_blocks;
	stats->live_bytes += heap->large_bytes;
	stats->allocs += heap->large_allocs;
	stats->frees += heap->large_frees;
	stats->large_npages = heap->large_npages;
	stats->held_npages = heap->own_npages + heap->segment_npages - heap->decommitted_npages +
			     heap->large_npages + heap->queued_npages;
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	stats->live_blocks += heap->sample_live;
	stats->live_bytes += heap->sample_live_bytes;
	stats->sampled = heap->sample_allocs;
	stats->allocs += heap->sample_allocs;
	stats->frees += heap->sample_allocs - heap->sample_live;
	stats->held_npages += heap_sample_npages(heap);
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
	stats->failures = atomic_read_relaxed(&heap->failures);
}

void heap_for_each_class(struct heap *heap, void (*visit)(const struct slab_stats *, void *),
			 void *arg)
{
	uint64_t borrowed = 0;
	for (unsigned i = 0; i < HEAP_CLASSES; i++) {
		struct slab_stats stats;
		slab_get_stats_borrowed(heap->classes[i], &stats, &borrowed);
		visit(&stats, arg);
	}
}

void heap_report_live(struct heap *heap, unsigned limit)
{
	for (unsigned i = 0; i < HEAP_CLASSES; i++)
		slab_report_live(heap->classes[i], limit);
	heap_report_large(heap, limit);
	heap_report_samples(heap, limit);
}

/* Every canary of a block in use. */
static bool canaries_are_intact(struct heap *heap, struct slab_cache *cache)
{
	list_for_each (node, &cache->slabs) {
		struct slab *slab = list_entry(node, struct slab, all);
		for (unsigned i = 0; i < slab->capacity; i++) {
			size_t bytes;
			const void *block = slab_block(slab, i);
			if (!slab_is_allocated(block, slab_state(slab, block)) ||
			    heap_canary_read(heap, block, cache->stride, &bytes))
				continue;
			host_log(HOST_LOG_ERROR, "heap: the canary of %p is broken", block);
			return false;
		}
	}
	return true;
}

bool heap_is_valid(struct heap *heap)
{
	struct slab_sums sums = {0};
	uint64_t borrowed = 0;
	for (unsigned i = 0; i < HEAP_CACHES; i++) {
		if (!slab_is_valid_but(heap->classes[i], &sums, &borrowed) ||
		    (heap->classes[i]->has_canary && !canaries_are_intact(heap, heap->classes[i])))
			return false;
		if (!heap->classes[i]->above && !slab_sums_are_valid(&sums))
			return false;
	}
	if (!heap_classes_are_valid(heap))
		return false;
	if (!heap_segments_are_valid(heap) || !heap_large_is_valid(heap) ||
	    !heap_samples_are_valid(heap))
		return false;
	/* The caches' pages are what the segments have given. */
	uint64_t npages = 0, in_caches = 0;
	struct slab_stats stats;
	for (unsigned i = 0; i < HEAP_CACHES; i++) {
		slab_get_stats(heap->classes[i], &stats);
		in_caches += stats.npages;
	}
	npages = heap_slab_npages(heap);
	if (npages == in_caches)
		return true;
	host_log(HOST_LOG_ERROR, "heap: caches hold %lu pages, segments gave %lu",
		 (unsigned long)in_caches, (unsigned long)npages);
	return false;
}
