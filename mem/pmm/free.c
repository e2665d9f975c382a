/* SPDX-License-Identifier: MIT */
/*
 * Giving frames back: pmm_free, pmm_free_range, pmm_split.
 *
 * What is freed goes onto this CPU's stacks or into its queue (cpu_cache.c). In a handler
 * that has interrupted its owner, or while the allocator is frozen, it goes straight to the
 * bitmap.
 *
 * A free is checked where it is cheap and certain. Checked at the call are the range, the
 * block's state, the bits of the newest word, and the frame's record. The record must be 0:
 * not referenced, not the first frame of a larger allocation, not in a zero pool. At the
 * flush of the queue: bitmap and the owner's private words (block.c).
 *
 * The fast path is counted in branches that are taken, then in branches, then in
 * instructions. Its time follows these, most of all where another thread of the same core
 * takes its half. So it asks for the newest word first, which answers what else would be
 * asked about the number, and everything rare lies behind it.
 */
#include "pmm/order.h"
#include "pmm/whole.h"

/* ---- freeing: the checks -------------------------------------------------------------------- */

/* The frame's dense number, below the initialised limit; else the caller is wrong. */
static uint64_t checked_dense(struct pmm *pmm, paddr_t pa)
{
	uint64_t d = pfn_to_dense(pmm, paddr_to_pfn(pa));
	if (unlikely(d == PFN_NONE || (pa & PAGE_MASK)))
		host_panic("pmm: freeing 0x%llx: it is not memory of this allocator",
			   (unsigned long long)pa);
	if (unlikely(d >= atomic_read_acquire(&pmm->ready)))
		pmm_free_panic(pmm, d, "it was never allocated");
	return d;
}

/* Why a frame that is not {NORMAL, record 0} may not be freed with this order. */
MEM_NORETURN static void bad_state(struct pmm *pmm, uint64_t d, uint32_t state)
{
	switch (state & STATE_KIND) {
	case STATE_ABSENT:
		pmm_free_panic(pmm, d, "it is reserved");
	case STATE_CACHED:
		pmm_free_panic(pmm, d, "it is already free (cached)");
	case STATE_HUGE:
		pmm_free_panic(pmm, d, "it was allocated with another order (2 MiB or a range)");
	default:
		if (!(atomic_read_relaxed(&pmm->lines[d / 64]) >> d % 64 & 1))
			pmm_free_panic(pmm, d, "it is already free");
		pmm_free_panic(pmm, d, "it was allocated with another order");
	}
}

MEM_NORETURN static void bad_record(struct pmm *pmm, uint64_t d, uint64_t record)
{
	if ((record >> RECORD_COUNT_SHIFT) & RECORD_COUNT_MAX)
		pmm_free_panic(pmm, d, "it is still referenced");
	if (record == RECORD_PAGE)
		pmm_free_panic(pmm, d, "it is reserved (frame records)");
	if (record == RECORD_POOL)
		pmm_free_panic(pmm, d, "it is already free (cached, cleared)");
	pmm_free_panic(pmm, d, "it was allocated with another order");
}

/* In a block where some frames are not usable, only the map knows which. */
static void check_usable(struct pmm *pmm, const struct pmm_cpu_cache *cache, uint64_t d)
{
	unsigned long irq = 0;
	if (!cache)
		irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	bool usable = pmm_frame_is_usable(pmm, dense_to_pfn(pmm, d));
	if (!cache)
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	if (!usable)
		pmm_free_panic(pmm, d, "it is reserved");
}

/* All that can be checked of one frame that is freed alone. */
static void check_single(struct pmm *pmm, const struct pmm_cpu_cache *cache, uint64_t d,
			 uint32_t state)
{
	if (unlikely((state & STATE_KIND) != STATE_NORMAL || state_order(state)))
		bad_state(pmm, d, state);
	if (state & STATE_REC) {
		uint64_t record = atomic_read_acquire(frame_record(dense_to_paddr(pmm, d), state));
		if (unlikely(record))
			bad_record(pmm, d, record);
	}
	if (unlikely(state & STATE_MIXED))
		check_usable(pmm, cache, d);
}

/* ---- freeing: out of line ----------------------------------------------------------------- */

/* Orders 1..8 in a block of single frames: the record of the first frame says the
 * order. */
static void free_odd(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t d, uint32_t state,
		     unsigned order)
{
	uint64_t was = RECORD_ORDER(order);
	unsigned n = 1u << order;
	if (!(state & STATE_REC))
		bad_state(pmm, d, state);
	if (!atomic_cas(frame_record(dense_to_paddr(pmm, d), state), &was, 0)) {
		if (was == 0 && !(atomic_read_relaxed(&pmm->lines[d / 64]) >> d % 64 & 1))
			pmm_free_panic(pmm, d, "it is already free");
		bad_record(pmm, d, was);
	}
	if (cache && n < 64)
		pmm_cache_buffer(pmm, cache, d / 64, bit_run(d % 64, n));
	else
		for (unsigned i = 0; i < n; i += 64)
			pmm_block_free_bits(pmm, cache, (d + i) / 64,
					    bit_run(d % 64, mem_min(n, 64u)));
}

/* Without a cache it takes the lock, because a block of an order may only change its
 * format while nobody is here. */
static void free_order(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order)
{
	uint64_t d = checked_dense(pmm, pa);
	struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, cpu);
	unsigned long irq = 0;
	if (!cache)
		irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
	if ((d & ((1u << order) - 1)) || (state & STATE_KIND) != STATE_NORMAL)
		bad_state(pmm, d, state);
	if (likely(state_order(state) == order))
		pmm_order_free(pmm, cache, d, order);
	else
		free_odd(pmm, cache, d, state, order);
	if (cache)
		pmm_cache_end(cache);
	else
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
}

/* A block that is STATE_HUGE becomes free in the bitmap. */
static void free_whole(struct pmm *pmm, uint32_t block)
{
	if (!pmm_block_free_whole(pmm, block, STATE_HUGE))
		pmm_free_panic(pmm, (uint64_t)block * BLOCK_PAGES, "it is already free");
	pmm_block_update_group(pmm, block / GROUP_BLOCKS, (uint64_t)1 << block % GROUP_BLOCKS,
			       true);
}

static void free_huge(struct pmm *pmm, unsigned cpu, paddr_t pa)
{
	uint64_t d = checked_dense(pmm, pa);
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	if (d % BLOCK_PAGES)
		pmm_free_panic(pmm, d, "it was allocated with another order");
	struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, cpu);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if ((state & STATE_KIND) != STATE_HUGE) {
		if (pmm_block_is_whole(pmm, block))
			pmm_free_panic(pmm, d, "it is already free");
		bad_state(pmm, d, state);
	}
	if (cache) {
		if (cache->nhuge == pmm->huge_limit)
			pmm_cache_flush_huge(pmm, cache, pmm->huge_batch);
		atomic_write_release(&pmm->states[block], STATE_CACHED | pmm_cache_id(pmm, cache));
		cache->huge[cache->nhuge++] = block;
	} else {
		free_whole(pmm, block);
	}
	pmm_cache_leave(cache);
}

static void free_giant(struct pmm *pmm, paddr_t pa, unsigned order)
{
	uint64_t d = checked_dense(pmm, pa), npages = (uint64_t)1 << order;
	if (paddr_to_pfn(pa) & (npages - 1))
		pmm_free_panic(pmm, d, "it was allocated with another order");
	for (uint64_t i = 0; i < npages; i += BLOCK_PAGES) {
		uint64_t e = checked_dense(pmm, pa + (i << PAGE_SHIFT));
		uint32_t state = atomic_read_relaxed(&pmm->states[e / BLOCK_PAGES]);
		if ((state & STATE_KIND) != STATE_HUGE)
			bad_state(pmm, e, state);
	}
	pmm_free_range(pmm, pa, npages);
}

static __attribute__((noinline)) void free_slow(struct pmm *pmm, unsigned cpu, paddr_t pa,
						unsigned order)
{
	if (unlikely(order > PMM_ORDER_GIGA))
		host_panic("pmm_free: order %u: there are 0 to %u", order, PMM_ORDER_GIGA);
	if (order > PMM_ORDER_HUGE) {
		free_giant(pmm, pa, order);
	} else if (order == PMM_ORDER_HUGE) {
		free_huge(pmm, cpu, pa);
	} else if (order) {
		free_order(pmm, cpu, pa, order);
	} else {
		uint64_t d = checked_dense(pmm, pa), bit = (uint64_t)1 << d % 64;
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, cpu);
		check_single(pmm, cache, d, state);
		if (cache)
			pmm_cache_buffer(pmm, cache, d / 64, bit);
		else
			pmm_block_free_bits(pmm, NULL, d / 64, bit);
		pmm_cache_leave(cache);
	}
}

/* The queue is full, or the frame waits in `freed` already; the caller is inside
 * the cache, and out of it when this returns. */
static __attribute__((noinline)) void free_full(struct pmm *pmm, struct pmm_cpu_cache *cache,
						uint64_t d)
{
	pmm_cache_buffer(pmm, cache, d / 64, (uint64_t)1 << d % 64);
	pmm_cache_end(cache);
}

/* Without the cache, or not on the fast path: with the address again. */
static __attribute__((noinline)) void free_out(struct pmm *pmm, struct pmm_cpu_cache *cache,
					       uint64_t d, unsigned order)
{
	free_slow(pmm, (unsigned)(cache - pmm->caches), near_address(pmm, d), order);
}

/* The two that follow put onto this CPU's stacks what is in segment 0, if there is room and it
 * is in order. */
static inline bool free_block(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t d)
{
	uint64_t block = d / BLOCK_PAGES;
	if (unlikely(d >= fast_read(&pmm->low_ready)) || unlikely(d % BLOCK_PAGES))
		return false;
	uint32_t *state = &pmm->states[block];
	unsigned n = cache->nhuge;
	if (unlikely((fast_read(state) & ~STATE_HINT) != STATE_HUGE) ||
	    unlikely(n >= pmm->huge_limit))
		return false;
	atomic_write_release(state, cache->cached);
	cache->huge[n] = (uint32_t)block;
	cache->nhuge = (uint8_t)(n + 1);
	return true;
}

static inline bool free_small_order(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t d,
				    unsigned order)
{
	if (unlikely(d >= fast_read(&pmm->low_ready)) || unlikely(d & ((1u << order) - 1)))
		return false;
	uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]) & ~STATE_HINT;
	if (unlikely(state != STATE_ORDER(order)) ||
	    unlikely(cache->norder[order - 1] >= 2u * pmm->order_batch[order - 1]))
		return false;
	pmm_order_mark(pmm, d, order);
	pmm_order_push(cache, d, order);
	return true;
}

/* What the fast path sends on; the caller is inside the cache, and out of it when this
 * returns. `odd`: the order, unless the cache is revoked. */
static __attribute__((noinline)) void free_other(struct pmm *pmm, struct pmm_cpu_cache *cache,
						 uint64_t d, unsigned order, unsigned odd)
{
	bool done = odd - 1 < SMALL_ORDERS && free_small_order(pmm, cache, d, odd);
	pmm_cache_end(cache);
	if (unlikely(!done))
		free_out(pmm, cache, d, order);
}

/* ---- freeing: the fast path ------------------------------------------------------------------ */

/* May the frame, of segment 0 and below the initialised limit, be freed alone? Not if it is to be
 * looked at more closely, either. */
static inline __attribute__((always_inline)) bool may_free(const struct pmm *pmm, uint64_t d)
{
	const uint32_t *at = &pmm->states[d / BLOCK_PAGES];
	if (likely(!(fast_read(at) & (STATE_KIND | STATE_MIXED | STATE_FORMAT))))
		return true;
	uint32_t state = atomic_read_relaxed(at);
	return (state & (STATE_KIND | STATE_MIXED | STATE_REC)) == STATE_REC &&
	       likely(!atomic_read_relaxed(near_record(pmm, d, state)));
}

/* One frame of segment 0. It joins the others of its word that wait, else the word before
 * goes into the queue. All else, and all that looks wrong, goes the slow way. */
static inline __attribute__((always_inline)) void free_fast(struct pmm *pmm, unsigned cpu,
							    paddr_t pa, unsigned order)
{
	uint64_t d = near_dense(pmm, pa), mask = 0;
	struct pmm_cpu_cache *cache = pmm_cache_of(pmm, cpu);
	mem_debug_assert(cpu < pmm->ncpus);
	if (unlikely(!pmm_cache_begin(cache)))
		return free_out(pmm, cache, d, order);
	unsigned odd = order;
	if (unlikely(pmm_cache_revoked(cache, &odd))) {
		if (odd != PMM_ORDER_HUGE || unlikely(!free_block(pmm, cache, d)))
			return free_other(pmm, cache, d, order, odd);
		pmm_cache_end(cache);
		return;
	}
	if (likely(cache->freed.key == d / 64)) { /* so it is of segment 0 */
		if (unlikely(!may_free(pmm, d)))
			return free_other(pmm, cache, d, 0, 0);
		mask = cache->freed.mask;
		if (unlikely(bit_test_set(&mask, d)))
			return free_full(pmm, cache, d);
		atomic_write_relaxed(&cache->freed.mask, mask);
		pmm_cache_end(cache);
		return;
	}
	if (unlikely(d >= fast_read(&pmm->low_ready)) || unlikely(!may_free(pmm, d)))
		return free_other(pmm, cache, d, 0, 0);
	unsigned n = cache->nqueue;
	if (unlikely(n == QUEUE_WORDS))
		return free_full(pmm, cache, d);
	__builtin_prefetch(&pmm->lines[d / 64], 1); /* for the flush */
	uint32_t *queue_w = cache->queue_w + n;
	uint64_t *queue_mask = cache->queue_mask + n;
	atomic_write_relaxed(queue_w, (uint32_t)atomic_read_relaxed(&cache->freed.key));
	atomic_write_relaxed(queue_mask, atomic_read_relaxed(&cache->freed.mask)); /* may be 0 */
	atomic_write_release(&cache->nqueue, n + 1); /* the entry is whole: take_back.c */
	(void)bit_test_set(&mask, d);
	atomic_write_relaxed(&cache->freed.mask, mask);
	atomic_write_relaxed(&cache->freed.key, d / 64);
	pmm_cache_end(cache);
}

MEM_CACHE_ALIGNED void pmm_free_on(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order)
{
	free_fast(pmm, cpu, pa, order);
}

MEM_CACHE_ALIGNED void pmm_free(struct pmm *pmm, paddr_t pa, unsigned order)
{
	host_preempt_disable();
	free_fast(pmm, host_cpu(), pa, order);
	host_preempt_enable();
}

/* ---- ranges -------------------------------------------------------------------------- */

/* A block that was taken whole gets single bits, so that parts can go: one at a time,
 * or the second would set bits that the first has cleared since. */
static void split_whole(struct pmm *pmm, uint32_t block)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if ((state & STATE_KIND) == STATE_HUGE) {
		pmm_line_fill(pmm_block_line(pmm, block));
		atomic_write_seq(&pmm->states[block], STATE_NORMAL);
	}
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
}

void pmm_split(struct pmm *pmm, paddr_t pa)
{
	uint64_t d = checked_dense(pmm, pa);
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if (d % BLOCK_PAGES || (state & STATE_KIND) != STATE_HUGE)
		bad_state(pmm, d, state);
	split_whole(pmm, block);
}

/* Give back [d, d + n), all in one block. */
static void free_part(struct pmm *pmm, uint64_t d, unsigned n)
{
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if (n == BLOCK_PAGES && (state & STATE_KIND) == STATE_HUGE) {
		free_whole(pmm, block);
		return;
	}
	if ((state & STATE_KIND) == STATE_HUGE) {
		split_whole(pmm, block);
		state = atomic_read_relaxed(&pmm->states[block]);
	}
	host_preempt_disable();
	struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, host_cpu());
	for (unsigned i = 0; i < n; i++)
		check_single(pmm, cache, d + i, state);
	while (n) {
		unsigned step = mem_min(n, 64 - (unsigned)(d % 64));
		pmm_block_free_bits(pmm, cache, d / 64, bit_run(d % 64, step));
		d += step;
		n -= step;
	}
	pmm_cache_leave(cache);
	host_preempt_enable();
}

void pmm_free_range(struct pmm *pmm, paddr_t pa, uint64_t npages)
{
	while (npages) {
		uint64_t d = checked_dense(pmm, pa);
		unsigned left = BLOCK_PAGES - (unsigned)(d % BLOCK_PAGES);
		unsigned n = npages < left ? (unsigned)npages : left;
		free_part(pmm, d, n);
		pa += (paddr_t)n << PAGE_SHIFT;
		npages -= n;
	}
}
