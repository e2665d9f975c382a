/* SPDX-License-Identifier: MIT */
/*
 * The front of the frame allocator: pmm_alloc; pmm_free is in free.c.
 *
 * It tries this CPU's cache, then what works without it:
 *
 *      own cache ── or, interrupted or revoked ── shared cache (lock)
 *         │ nothing left
 *      frozen: everything flushed to the bitmap, lowest fit       (may wait)
 *
 * so a caller that may wait gets a frame as long as one is free anywhere.
 */
#include "arch/x86_64/ops.h"
#include "pmm/order.h"

/* ---- allocation: out of line --------------------------------------------------------- */

static paddr_t take_from(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order,
			 unsigned flags)
{
	if (order == 0)
		return pmm_cache_take(pmm, cache, flags & PMM_KERNEL ? KIND_KERNEL : KIND_USER);
	if (order < PMM_ORDER_HUGE) {
		paddr_t pa = pmm_order_take(pmm, cache, order);
		if (unlikely(pa == PADDR_NONE)) {
			pmm_cache_flush_lists(pmm, cache);
			pa = pmm_order_take(pmm, cache, order);
		}
		return pa != PADDR_NONE ? pa : pmm_order_take_odd(pmm, cache, order);
	}
	uint32_t block = pmm_cache_take_huge(pmm, cache);
	return block == BLOCK_NONE ? PADDR_NONE
				   : dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
}

/* One more try, with what is kept ahead of need: for other uses, or by other CPUs. */
static paddr_t alloc_taken_back(struct pmm *pmm, unsigned order, unsigned flags)
{
	paddr_t pa = PADDR_NONE;
	struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, host_cpu());
	if (cache) {
		bool any = pmm_take_in_inside(pmm, cache);
		if (any)
			pa = take_from(pmm, cache, order, flags);
		pmm_cache_end(cache);
		return pa;
	}
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	if (pmm_take_back(pmm, NULL))
		pa = take_from(pmm, pmm_shared_cache(pmm), order, flags);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	return pa;
}

/* Everything else is used up or reserved for somebody: stop the others and look
 * at the whole bitmap. Also the way of PMM_FIRST, which wants just that. */
static paddr_t alloc_frozen(struct pmm *pmm, unsigned order, unsigned flags)
{
	unsigned long irq;
	bool records = !(flags & PMM_KERNEL);
	if (pmm_freeze(pmm, may_wait(flags), &irq)) {
		paddr_t pa = pmm_range_take_first(pmm, order, records);
		pmm_thaw(pmm, irq);
		return pa;
	}
	if (!(flags & PMM_FIRST))
		return alloc_taken_back(pmm, order, flags);
	/* The lowest within reach. */
	(void)pmm_take_in(pmm);
	irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	paddr_t pa = pmm_range_take_first(pmm, order, records);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	return pa;
}

/* Whatever the fast path does not do; nothing is cleared here. */
static __attribute__((noinline)) paddr_t alloc_slow(struct pmm *pmm, unsigned cpu, unsigned order,
						    unsigned flags)
{
	if (unlikely(order > PMM_ORDER_GIGA))
		host_panic("pmm_alloc: order %u: there are 0 to %u", order, PMM_ORDER_GIGA);
	paddr_t pa = PADDR_NONE;
	if (order > PMM_ORDER_HUGE) {
		uint64_t npages = (uint64_t)1 << order;
		mem_status status = pmm_alloc_range(pmm, npages, npages, PADDR_NONE,
						    flags & ~(unsigned)PMM_ZERO, &pa);
		return status == MEM_OK ? pa : PADDR_NONE;
	}
	if (!(flags & PMM_FIRST)) {
		struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, cpu);
		if (cache) {
			pa = take_from(pmm, cache, order, flags);
			pmm_cache_end(cache);
		} else {
			unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
			pa = take_from(pmm, pmm_shared_cache(pmm), order, flags);
			mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
		}
	}
	return pa != PADDR_NONE ? pa : alloc_frozen(pmm, order, flags);
}

/* The block is used up, or something else is to be taken first. */
static __attribute__((noinline)) paddr_t
alloc_refill_far(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned flags)
{
	paddr_t pa = pmm_cache_take(pmm, cache, flags & PMM_KERNEL ? KIND_KERNEL : KIND_USER);
	pmm_cache_end(cache);
	if (likely(pa != PADDR_NONE))
		return pa;
	return alloc_frozen(pmm, 0, flags);
}

/* The private word is used up; the caller is inside the cache, and out of it when
 * this returns. Mostly the next word of the block is there. */
static __attribute__((noinline)) paddr_t alloc_refill(struct pmm *pmm, struct pmm_cpu_cache *cache,
						      unsigned flags, struct pmm_private_word *p)
{
	bool filled = false;
	if (likely(!pmm_cache_may_reuse(cache, p))) {
		pmm_cache_lock(cache);
		filled = pmm_word_next(p);
		pmm_cache_unlock(cache);
	}
	if (unlikely(!filled))
		return alloc_refill_far(pmm, cache, flags);
	uint64_t mask = p->mask, at = bit_take_lowest(&mask);
	atomic_write_relaxed(&p->mask, mask);
	paddr_t pa = p->base + (at << PAGE_SHIFT);
	pmm_cache_end(cache);
	return pa;
}

static paddr_t cleared(paddr_t pa, unsigned order)
{
	for (uint64_t at = 0; pa != PADDR_NONE && at < PAGE_SIZE << order; at += PAGE_SIZE)
		arch_clear_page(paddr_to_ptr(pa + at));
	return pa;
}

/* Cleared: from this CPU's pool, or now. */
static __attribute__((noinline)) paddr_t alloc_zero(struct pmm *pmm, unsigned cpu, unsigned order,
						    unsigned flags)
{
	paddr_t pa = PADDR_NONE;
	if (!(order | (flags & (PMM_KERNEL | PMM_FIRST))))
		pa = pmm_cache_take_clear(pmm, &pmm->caches[cpu]);
	if (pa != PADDR_NONE)
		return pa;
	return cleared(alloc_slow(pmm, cpu, order, flags & ~(unsigned)PMM_ZERO), order);
}

/* Without the cache, or not on the fast path. */
static __attribute__((noinline)) paddr_t alloc_out(struct pmm *pmm, struct pmm_cpu_cache *cache,
						   unsigned order, unsigned flags)
{
	unsigned cpu = (unsigned)(cache - pmm->caches);
	return flags & PMM_ZERO ? alloc_zero(pmm, cpu, order, flags)
				: alloc_slow(pmm, cpu, order, flags);
}

/* The caller is inside the cache, and out of it when this returns. `odd`: the order, unless
 * there is more that the fast paths do not know. From this CPU's stacks: a 2 MiB block, a
 * block of order 1 to 8; else the slow path. */
static inline __attribute__((always_inline)) paddr_t alloc_other(struct pmm *pmm,
								 struct pmm_cpu_cache *cache,
								 unsigned order, unsigned flags,
								 unsigned odd)
{
	if (likely(odd == PMM_ORDER_HUGE) && likely(cache->nhuge)) {
		unsigned n = cache->nhuge - 1u;
		uint64_t block = cache->huge[n];
		cache->nhuge = (uint8_t)n;
		atomic_write_release(&pmm->states[block], STATE_HUGE);
		pmm_cache_end(cache);
		return near_paddr(pmm, block * BLOCK_PAGES);
	}
	if (odd - 1 < SMALL_ORDERS && likely(cache->norder[odd - 1])) {
		paddr_t pa = pmm_order_pop(pmm, cache, odd);
		pmm_cache_end(cache);
		return pa;
	}
	pmm_cache_end(cache);
	return alloc_out(pmm, cache, order, flags);
}

/* ---- allocation: the fast path ------------------------------------------------------------ */

static inline __attribute__((always_inline)) paddr_t alloc_fast(struct pmm *pmm, unsigned cpu,
								unsigned order, unsigned flags)
{
	mem_debug_assert(cpu < pmm->ncpus);
	struct pmm_cpu_cache *cache = pmm_cache_of(pmm, cpu);
	if (unlikely(!pmm_cache_begin(cache)))
		return alloc_out(pmm, cache, order, flags);
	unsigned odd = order | (flags & (PMM_FIRST | PMM_ZERO));
	if (unlikely(pmm_cache_revoked(cache, &odd)))
		return alloc_other(pmm, cache, order, flags, odd);
	/* The flag picks the word without a branch. */
	_Static_assert(KIND_USER == 0 && KIND_KERNEL == 1, "word[] starts with these");
	_Static_assert(sizeof(struct pmm_private_word) % PMM_KERNEL == 0, "a shift will do");
	size_t offset = (flags & PMM_KERNEL) * (sizeof(struct pmm_private_word) / PMM_KERNEL);
	struct pmm_private_word *p = (void *)((char *)&cache->word[KIND_USER] + offset);
	uint64_t mask = p->mask;
	if (unlikely(!mask))
		return alloc_refill(pmm, cache, flags, p);
	uint64_t at = bit_take_lowest(&mask);
	atomic_write_relaxed(&p->mask, mask);
	paddr_t pa = p->base + (at << PAGE_SHIFT);
	pmm_cache_end(cache);
	return pa;
}

MEM_CACHE_ALIGNED paddr_t pmm_alloc_on(struct pmm *pmm, unsigned cpu, unsigned order,
				       unsigned flags)
{
	return alloc_fast(pmm, cpu, order, flags);
}

MEM_CACHE_ALIGNED paddr_t pmm_alloc(struct pmm *pmm, unsigned order, unsigned flags)
{
	host_preempt_disable();
	unsigned cpu = host_cpu();
	if (!(flags & PMM_ZERO)) {
		paddr_t pa = alloc_fast(pmm, cpu, order, flags);
		host_preempt_enable();
		return pa;
	}
	/* Clear with preemption on. */
	paddr_t pa = PADDR_NONE;
	if (!(order | (flags & (PMM_KERNEL | PMM_FIRST))))
		pa = pmm_cache_take_clear(pmm, &pmm->caches[cpu]);
	bool clear = pa == PADDR_NONE;
	if (clear)
		pa = alloc_fast(pmm, cpu, order, flags & ~(unsigned)PMM_ZERO);
	host_preempt_enable();
	return clear ? cleared(pa, order) : pa;
}

unsigned pmm_alloc_many(struct pmm *pmm, unsigned n, unsigned flags, paddr_t *out)
{
	unsigned got = 0;
	uint64_t dirty = 0; /* bit i: out[i] is not known to be zero */
	mem_assert(n <= 64);
	host_preempt_disable();
	struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, host_cpu());
	struct pmm_private_word *p = cache ? &cache->word[KIND_USER] : NULL;
	while (p && got < n && (p->mask || pmm_word_next(p))) {
		uint64_t mask = p->mask, clean = cache->clean[p->w % BLOCK_WORDS];
		do {
			uint64_t at = bit_take_lowest(&mask);
			dirty |= (~clean >> at & 1) << got;
			out[got++] = p->base + (at << PAGE_SHIFT);
		} while (mask && got < n);
		atomic_write_relaxed(&p->mask, mask);
	}
	pmm_cache_leave(cache);
	host_preempt_enable();
	for (; (flags & PMM_ZERO) && dirty; dirty &= dirty - 1)
		arch_clear_page(paddr_to_ptr(out[bit_lowest(dirty)]));
	return got;
}

void pmm_drain(struct pmm *pmm)
{
	mem_contract_thread();
	unsigned long irq;
	if (pmm_freeze(pmm, may_wait(PMM_WAIT), &irq))
		pmm_thaw(pmm, irq);
}
