/* SPDX-License-Identifier: MIT */
/*
 * The front of the frame allocator: pmm_alloc; pmm_free is in free.c.
 *
 * It tries this CPU's slot, then what works without it:
 *
 *      own slot ── or, interrupted or revoked ── shared slot (lock)
 *         │ nothing left
 *      frozen: everything flushed to the bitmap, lowest fit       (may wait)
 *
 * so a caller that may wait gets a frame as long as one is free anywhere.
 */
#include "arch/x86_64/ops.h"
#include "pmm/unit.h"

/* ---- allocation: out of line --------------------------------------------------------- */

static paddr_t take_from(struct pmm *pmm, struct pmm_slot *slot, unsigned order, unsigned flags)
{
	if (order == 0)
		return slot_take(pmm, slot, flags & PMM_KERNEL ? KIND_KERNEL : KIND_USER);
	if (order < PMM_ORDER_HUGE) {
		paddr_t pa = units_take(pmm, slot, order);
		if (unlikely(pa == PADDR_NONE)) {
			slot_flush_caches(pmm, slot);
			pa = units_take(pmm, slot, order);
		}
		return pa != PADDR_NONE ? pa : units_take_odd(pmm, slot, order);
	}
	uint32_t block = slot_take_huge(pmm, slot);
	return block == BLOCK_NONE ? PADDR_NONE
				   : dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
}

/* Everything else is used up or reserved for somebody: stop the others and look
 * at the whole bitmap. Also the way of PMM_FIRST, which wants just that. */
static paddr_t alloc_frozen(struct pmm *pmm, unsigned cpu, unsigned order, unsigned flags)
{
	unsigned long irq;
	bool records = !(flags & PMM_KERNEL);
	if (pmm_freeze(pmm, may_wait(flags), &irq)) {
		paddr_t pa = range_take_first(pmm, order, records);
		pmm_thaw(pmm, irq);
		return pa;
	}
	if (!(flags & PMM_FIRST))
		return PADDR_NONE;
	/* The lowest of what others do not hold. */
	struct pmm_slot *slot = slot_enter(pmm, cpu);
	if (slot)
		slot_flush(pmm, slot);
	slot_leave(slot);
	irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	paddr_t pa = range_take_first(pmm, order, records);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
	return pa;
}

/* Whatever the fast path does not do; nothing is cleared here. */
static __attribute__((noinline)) paddr_t alloc_slow(struct pmm *pmm, unsigned cpu, unsigned order,
						    unsigned flags)
{
	mem_assert(order <= PMM_ORDER_GIGA);
	paddr_t pa = PADDR_NONE;
	if (order > PMM_ORDER_HUGE) {
		uint64_t npages = (uint64_t)1 << order;
		mem_status status = pmm_alloc_range(pmm, npages, npages, PADDR_NONE,
						    flags & ~(unsigned)PMM_ZERO, &pa);
		return status == MEM_OK ? pa : PADDR_NONE;
	}
	if (!(flags & PMM_FIRST)) {
		struct pmm_slot *slot = slot_enter(pmm, cpu);
		if (slot) {
			pa = take_from(pmm, slot, order, flags);
			slot_out(slot);
		} else {
			unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
			pa = take_from(pmm, shared_slot(pmm), order, flags);
			mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
		}
	}
	return pa != PADDR_NONE ? pa : alloc_frozen(pmm, cpu, order, flags);
}

/* The block is used up, or something else is to be taken first. */
static __attribute__((noinline)) paddr_t alloc_refill_far(struct pmm *pmm, struct pmm_slot *slot,
							  unsigned flags)
{
	paddr_t pa = slot_take(pmm, slot, flags & PMM_KERNEL ? KIND_KERNEL : KIND_USER);
	slot_out(slot);
	if (likely(pa != PADDR_NONE))
		return pa;
	return alloc_frozen(pmm, (unsigned)(slot - pmm->slots), 0, flags);
}

/* The private word is used up; the caller is inside the slot, and out of it when
 * this returns. Mostly the next word of the block is there. */
static __attribute__((noinline)) paddr_t alloc_refill(struct pmm *pmm, struct pmm_slot *slot,
						      unsigned flags, struct private_word *p)
{
	if (unlikely(slot_may_reuse(slot, p)) || unlikely(!word_next(p)))
		return alloc_refill_far(pmm, slot, flags);
	uint64_t mask = p->mask, at = bit_take_lowest(&mask);
	atomic_write_relaxed(&p->mask, mask);
	paddr_t pa = p->base + (at << PAGE_SHIFT);
	slot_out(slot);
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
		pa = slot_take_clear(pmm, &pmm->slots[cpu]);
	if (pa != PADDR_NONE)
		return pa;
	return cleared(alloc_slow(pmm, cpu, order, flags & ~(unsigned)PMM_ZERO), order);
}

/* Without the slot, or not on the short way. */
static __attribute__((noinline)) paddr_t alloc_out(struct pmm *pmm, struct pmm_slot *slot,
						   unsigned order, unsigned flags)
{
	unsigned cpu = (unsigned)(slot - pmm->slots);
	return flags & PMM_ZERO ? alloc_zero(pmm, cpu, order, flags)
				: alloc_slow(pmm, cpu, order, flags);
}

/* The caller is inside the slot, and out of it when this returns. `odd`: the order, unless
 * there is more that the short ways do not know. From this CPU's stacks: a 2 MiB block, a unit
 * of order 1 to 8; else the slow way. */
static inline __attribute__((always_inline)) paddr_t
alloc_other(struct pmm *pmm, struct pmm_slot *slot, unsigned order, unsigned flags, unsigned odd)
{
	if (likely(odd == PMM_ORDER_HUGE) && likely(slot->nhuge)) {
		unsigned n = slot->nhuge - 1u;
		uint64_t block = slot->huge[n];
		slot->nhuge = (uint8_t)n;
		atomic_write_release(&pmm->states[block], STATE_HUGE);
		slot_out(slot);
		return near_paddr(pmm, block * BLOCK_PAGES);
	}
	if (odd - 1 < UNIT_ORDERS && likely(slot->nunit[odd - 1])) {
		paddr_t pa = unit_pop(pmm, slot, odd);
		slot_out(slot);
		return pa;
	}
	slot_out(slot);
	return alloc_out(pmm, slot, order, flags);
}

/* ---- allocation: the fast path ------------------------------------------------------------ */

static inline __attribute__((always_inline)) paddr_t alloc_fast(struct pmm *pmm, unsigned cpu,
								unsigned order, unsigned flags)
{
	mem_debug_assert(cpu < pmm->ncpus);
	struct pmm_slot *slot = slot_of(pmm, cpu);
	if (unlikely(!slot_in(slot)))
		return alloc_out(pmm, slot, order, flags);
	unsigned odd = order | (flags & (PMM_FIRST | PMM_ZERO));
	if (unlikely(slot_revoked(slot, &odd)))
		return alloc_other(pmm, slot, order, flags, odd);
	/* The flag picks the word without a branch. */
	_Static_assert(KIND_USER == 0 && KIND_KERNEL == 1, "word[] starts with these");
	_Static_assert(sizeof(struct private_word) % PMM_KERNEL == 0, "a shift will do");
	size_t offset = (flags & PMM_KERNEL) * (sizeof(struct private_word) / PMM_KERNEL);
	struct private_word *p = (void *)((char *)&slot->word[KIND_USER] + offset);
	uint64_t mask = p->mask;
	if (unlikely(!mask))
		return alloc_refill(pmm, slot, flags, p);
	uint64_t at = bit_take_lowest(&mask);
	atomic_write_relaxed(&p->mask, mask);
	paddr_t pa = p->base + (at << PAGE_SHIFT);
	slot_out(slot);
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
		pa = slot_take_clear(pmm, &pmm->slots[cpu]);
	bool clear = pa == PADDR_NONE;
	if (clear)
		pa = alloc_fast(pmm, cpu, order, flags & ~(unsigned)PMM_ZERO);
	host_preempt_enable();
	return clear ? cleared(pa, order) : pa;
}

void pmm_drain(struct pmm *pmm)
{
	unsigned long irq;
	if (pmm_freeze(pmm, may_wait(0), &irq))
		pmm_thaw(pmm, irq);
}
