/* SPDX-License-Identifier: MIT */
/*
 * The front of the frame allocator: pmm_alloc and pmm_free.
 *
 * Both try this CPU's slot, then what works without it. An allocation goes
 *
 *      own slot ── or, interrupted or revoked ── shared slot (lock)
 *         │ nothing left
 *      frozen: everything flushed to the bitmap, lowest fit       (may wait)
 *
 * so a caller that may wait gets a frame as long as one is free anywhere.
 *
 * A free is checked where it is cheap and certain. At the call: range, block
 * state, the frame's record (must be 0: not referenced, not the first frame of
 * a larger allocation, not in a zero pool), the bits of the newest word. At
 * the flush of the queue: bitmap and the owner's private words (block.c).
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

/* A cleared frame with records from this CPU's pool, or PADDR_NONE. */
static paddr_t take_from_pool(struct pmm *pmm, struct pmm_slot *slot)
{
	paddr_t pa = PADDR_NONE;
	if (!slot_try(slot))
		return pa;
	if (slot->npool) {
		pa = slot->pool[--slot->npool];
		uint64_t d = pfn_to_dense(pmm, paddr_to_pfn(pa));
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		atomic_write_relaxed(frame_record(pa, state), 0);
	}
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
		pa = take_from_pool(pmm, &pmm->slots[cpu]);
	if (pa != PADDR_NONE)
		return pa;
	return cleared(alloc_slow(pmm, cpu, order, flags & ~(unsigned)PMM_ZERO), order);
}

/* From this CPU's stacks: a 2 MiB block, a unit of order 1 to 8; else the slow way. */
static __attribute__((noinline)) paddr_t alloc_other(struct pmm *pmm, unsigned cpu, unsigned order,
						     unsigned flags)
{
	struct pmm_slot *slot = &pmm->slots[cpu];
	if (unlikely(flags & PMM_ZERO))
		return alloc_zero(pmm, cpu, order, flags);
	if (order - 1 < PMM_ORDER_HUGE && !(flags & PMM_FIRST) && likely(slot_try(slot))) {
		if (order == PMM_ORDER_HUGE && likely(slot->nhuge)) {
			uint32_t block = slot->huge[--slot->nhuge];
			atomic_write_release(&pmm->states[block], STATE_HUGE);
			slot_out(slot);
			return near_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
		}
		if (order < PMM_ORDER_HUGE && likely(slot->nunit[order - 1])) {
			paddr_t pa = unit_pop(pmm, slot, order);
			slot_out(slot);
			return pa;
		}
		slot_out(slot);
	}
	return alloc_slow(pmm, cpu, order, flags);
}

/* ---- allocation: the fast path ------------------------------------------------------------ */

static inline __attribute__((always_inline)) paddr_t alloc_fast(struct pmm *pmm, unsigned cpu,
								unsigned order, unsigned flags)
{
	mem_debug_assert(cpu < pmm->ncpus);
	struct pmm_slot *slot = &pmm->slots[cpu];
	if (unlikely(order | (flags & (PMM_FIRST | PMM_ZERO))) || unlikely(!slot_try(slot)))
		return alloc_other(pmm, cpu, order, flags);
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

paddr_t pmm_alloc_on(struct pmm *pmm, unsigned cpu, unsigned order, unsigned flags)
{
	return alloc_fast(pmm, cpu, order, flags);
}

paddr_t pmm_alloc(struct pmm *pmm, unsigned order, unsigned flags)
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
		pa = take_from_pool(pmm, &pmm->slots[cpu]);
	bool clear = pa == PADDR_NONE;
	if (clear)
		pa = alloc_fast(pmm, cpu, order, flags & ~(unsigned)PMM_ZERO);
	host_preempt_enable();
	return clear ? cleared(pa, order) : pa;
}

/* ---- freeing: the checks -------------------------------------------------------------------- */

/* The frame's dense number, below the frontier; else the caller is wrong. */
static uint64_t checked_dense(struct pmm *pmm, paddr_t pa)
{
	uint64_t d = pfn_to_dense(pmm, paddr_to_pfn(pa));
	if (unlikely(d == PFN_NONE || (pa & PAGE_MASK)))
		host_panic("pmm: freeing 0x%llx: it is not memory of this allocator",
			   (unsigned long long)pa);
	if (unlikely(d >= atomic_read_acquire(&pmm->ready)))
		free_panic(pmm, d, "it was never allocated");
	return d;
}

/* Why a frame that is not {NORMAL, record 0} may not be freed with this order. */
MEM_NORETURN static void bad_state(struct pmm *pmm, uint64_t d, uint32_t state)
{
	switch (state & STATE_KIND) {
	case STATE_ABSENT:
		free_panic(pmm, d, "it is reserved");
	case STATE_CACHED:
		free_panic(pmm, d, "it is already free (cached)");
	case STATE_HUGE:
		free_panic(pmm, d, "it was allocated with another order (2 MiB or a range)");
	default:
		if (!(atomic_read_relaxed(&pmm->lines[d / 64]) >> d % 64 & 1))
			free_panic(pmm, d, "it is already free");
		free_panic(pmm, d, "it was allocated with another order");
	}
}

MEM_NORETURN static void bad_record(struct pmm *pmm, uint64_t d, uint64_t record)
{
	if ((record >> RECORD_COUNT_SHIFT) & RECORD_COUNT_MAX)
		free_panic(pmm, d, "it is still referenced");
	if (record == RECORD_PAGE)
		free_panic(pmm, d, "it is reserved (frame records)");
	if (record == RECORD_POOL)
		free_panic(pmm, d, "it is already free (cached, cleared)");
	free_panic(pmm, d, "it was allocated with another order");
}

/* In a block where some frames are not usable, only the map knows which. */
static void check_usable(struct pmm *pmm, const struct pmm_slot *slot, uint64_t d)
{
	unsigned long irq = 0;
	if (!slot)
		irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	bool usable = frame_is_usable(pmm, dense_to_pfn(pmm, d));
	if (!slot)
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
	if (!usable)
		free_panic(pmm, d, "it is reserved");
}

/* All that can be checked of one frame that is freed alone. */
static void check_single(struct pmm *pmm, const struct pmm_slot *slot, uint64_t d, uint32_t state)
{
	if (unlikely((state & STATE_KIND) != STATE_NORMAL || state_order(state)))
		bad_state(pmm, d, state);
	if (state & STATE_REC) {
		uint64_t record = atomic_read_acquire(frame_record(dense_to_paddr(pmm, d), state));
		if (unlikely(record))
			bad_record(pmm, d, record);
	}
	if (unlikely(state & STATE_MIXED))
		check_usable(pmm, slot, d);
}

/* ---- freeing: out of line ----------------------------------------------------------------- */

/* Orders 1..8 in a block of single frames: the record of the first frame says the
 * order. */
static void free_odd(struct pmm *pmm, struct pmm_slot *slot, uint64_t d, uint32_t state,
		     unsigned order)
{
	uint64_t was = RECORD_ORDER(order);
	unsigned n = 1u << order;
	if (!(state & STATE_REC))
		bad_state(pmm, d, state);
	if (!atomic_cas(frame_record(dense_to_paddr(pmm, d), state), &was, 0)) {
		if (was == 0 && !(atomic_read_relaxed(&pmm->lines[d / 64]) >> d % 64 & 1))
			free_panic(pmm, d, "it is already free");
		bad_record(pmm, d, was);
	}
	if (slot && n < 64)
		slot_buffer(pmm, slot, d / 64, bit_run(d % 64, n));
	else
		for (unsigned i = 0; i < n; i += 64)
			block_free_bits(pmm, slot, (d + i) / 64, bit_run(d % 64, mem_min(n, 64u)));
}

/* Without a slot it takes the lock, because a block of an order may only change its
 * format while nobody is here. */
static void free_order(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order)
{
	uint64_t d = checked_dense(pmm, pa);
	struct pmm_slot *slot = slot_enter(pmm, cpu);
	unsigned long irq = 0;
	if (!slot)
		irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
	if ((d & ((1u << order) - 1)) || (state & STATE_KIND) != STATE_NORMAL)
		bad_state(pmm, d, state);
	if (likely(state_order(state) == order))
		units_free(pmm, slot, d, order);
	else
		free_odd(pmm, slot, d, state, order);
	if (slot)
		slot_out(slot);
	else
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
}

/* A block that is STATE_HUGE becomes free in the bitmap. */
static void free_whole(struct pmm *pmm, uint32_t block)
{
	if (!block_free_whole(pmm, block, STATE_HUGE))
		free_panic(pmm, (uint64_t)block * BLOCK_PAGES, "it is already free");
	block_update_group(pmm, block / GROUP_BLOCKS, (uint64_t)1 << block % GROUP_BLOCKS, true);
}

static void free_huge(struct pmm *pmm, unsigned cpu, paddr_t pa)
{
	uint64_t d = checked_dense(pmm, pa);
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	if (d % BLOCK_PAGES)
		free_panic(pmm, d, "it was allocated with another order");
	struct pmm_slot *slot = slot_enter(pmm, cpu);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if ((state & STATE_KIND) != STATE_HUGE) {
		if (block_is_whole(pmm, block))
			free_panic(pmm, d, "it is already free");
		bad_state(pmm, d, state);
	}
	if (slot) {
		if (slot->nhuge == 2 * pmm->huge_batch)
			slot_flush_huge(pmm, slot, pmm->huge_batch);
		atomic_write_release(&pmm->states[block], STATE_CACHED | slot_id(pmm, slot));
		slot->huge[slot->nhuge++] = block;
	} else {
		free_whole(pmm, block);
	}
	slot_leave(slot);
}

static void free_giant(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order)
{
	uint64_t d = checked_dense(pmm, pa), npages = (uint64_t)1 << order;
	if (paddr_to_pfn(pa) & (npages - 1))
		free_panic(pmm, d, "it was allocated with another order");
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
	mem_assert(order <= PMM_ORDER_GIGA);
	if (order > PMM_ORDER_HUGE) {
		free_giant(pmm, cpu, pa, order);
	} else if (order == PMM_ORDER_HUGE) {
		free_huge(pmm, cpu, pa);
	} else if (order) {
		free_order(pmm, cpu, pa, order);
	} else {
		uint64_t d = checked_dense(pmm, pa), bit = (uint64_t)1 << d % 64;
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		struct pmm_slot *slot = slot_enter(pmm, cpu);
		check_single(pmm, slot, d, state);
		if (slot)
			slot_buffer(pmm, slot, d / 64, bit);
		else
			block_free_bits(pmm, NULL, d / 64, bit);
		slot_leave(slot);
	}
}

/* The queue is full, or the frame waits in `freed` already; the caller is inside
 * the slot, and out of it when this returns. */
static __attribute__((noinline)) void free_full(struct pmm *pmm, struct pmm_slot *slot, uint64_t d)
{
	slot_buffer(pmm, slot, d / 64, (uint64_t)1 << d % 64);
	slot_out(slot);
}

/* A free that the fast path does not do to the end, but may be good all the
 * same: `d` is its number, below the frontier. */
static __attribute__((noinline)) void free_other(struct pmm *pmm, unsigned cpu, paddr_t pa,
						 unsigned order)
{
	uint64_t d = (pa >> PAGE_SHIFT | pa << (64 - PAGE_SHIFT)) - pmm->low_first;
	struct pmm_slot *slot = &pmm->slots[cpu];
	if (order - 1 < PMM_ORDER_HUGE && d < atomic_read_relaxed(&pmm->low_ready) &&
	    !(d & ((1u << order) - 1)) && likely(slot_try(slot))) {
		uint32_t block = (uint32_t)(d / BLOCK_PAGES);
		uint32_t state = atomic_read_relaxed(&pmm->states[block]) & ~STATE_HINT;
		if (order == PMM_ORDER_HUGE && likely(state == STATE_HUGE) &&
		    likely(slot->nhuge < 2 * pmm->huge_batch)) {
			atomic_write_release(&pmm->states[block], STATE_CACHED | (cpu + 1));
			slot->huge[slot->nhuge++] = block;
			slot_out(slot);
			__builtin_prefetch(block_line(pmm, block)); /* for the flush */
			return;
		}
		if (likely(state == STATE_ORDER(order)) &&
		    likely(slot->nunit[order - 1] < 2u * pmm->unit_batch[order - 1])) {
			unit_mark(pmm, d, order);
			unit_push(slot, d, order);
			slot_out(slot);
			return;
		}
		slot_out(slot);
	}
	free_slow(pmm, cpu, pa, order);
}

/* ---- freeing: the fast path ------------------------------------------------------------------ */

/* One frame of segment 0: an address that is not a multiple of a page rotates to
 * a number far above any. All else, and all that looks wrong, goes the slow way. */
static inline __attribute__((always_inline)) void free_fast(struct pmm *pmm, unsigned cpu,
							    paddr_t pa, unsigned order)
{
	uint64_t d = (pa >> PAGE_SHIFT | pa << (64 - PAGE_SHIFT)) - pmm->low_first;
	struct pmm_slot *slot = &pmm->slots[cpu];
	mem_debug_assert(cpu < pmm->ncpus);
	if (unlikely(order) || unlikely(d >= fast_read(&pmm->low_ready)))
		return free_other(pmm, cpu, pa, order);
	uint32_t state = fast_read(&pmm->states[d / BLOCK_PAGES]);
	if (state & (STATE_KIND | STATE_MIXED | STATE_FORMAT))
		if ((state & (STATE_KIND | STATE_MIXED)) || !(state & STATE_REC) ||
		    unlikely(atomic_read_relaxed(frame_record(pa, state))))
			return free_other(pmm, cpu, pa, 0);
	if (unlikely(!slot_try(slot)))
		return free_other(pmm, cpu, pa, 0);
	struct free_word *f = &slot->freed;
	uint64_t mask = f->mask;
	if (likely(f->w == d / 64)) {
		if (unlikely(bit_test_set(&mask, d)))
			return free_full(pmm, slot, d);
		atomic_write_relaxed(&f->mask, mask);
	} else {
		unsigned n = slot->nqueue;
		if (unlikely(n == QUEUE_WORDS))
			return free_full(pmm, slot, d);
		atomic_write_relaxed(&slot->queue_w[n], f->w);
		atomic_write_relaxed(&slot->queue_mask[n], mask); /* the first may be empty */
		__builtin_prefetch(&pmm->lines[d / 64], 1);       /* for the flush */
		slot->nqueue = n + 1;
		f->w = d / 64;
		mask = 0;
		(void)bit_test_set(&mask, d);
		atomic_write_relaxed(&f->mask, mask);
	}
	slot_out(slot);
}

void pmm_free_on(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order)
{
	free_fast(pmm, cpu, pa, order);
}

void pmm_free(struct pmm *pmm, paddr_t pa, unsigned order)
{
	host_preempt_disable();
	free_fast(pmm, host_cpu(), pa, order);
	host_preempt_enable();
}

/* ---- ranges ------------------------------------------------------------------------------------
 */

/* A block that was taken whole gets single bits, so that parts can go: one at a time,
 * or the second would set bits that the first has cleared since. */
static void split_whole(struct pmm *pmm, uint32_t block)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if ((state & STATE_KIND) == STATE_HUGE) {
		line_fill(block_line(pmm, block));
		atomic_write_seq(&pmm->states[block], STATE_NORMAL);
	}
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
}

void pmm_split(struct pmm *pmm, paddr_t pa)
{
	uint64_t d = checked_dense(pmm, pa);
	uint32_t block = (uint32_t)(d / BLOCK_PAGES);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if (d % BLOCK_PAGES || (state & STATE_KIND) != STATE_HUGE)
		bad_state(pmm, d, state);
	split_whole(pmm, block, state);
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
	struct pmm_slot *slot = slot_enter(pmm, host_cpu());
	for (unsigned i = 0; i < n; i++)
		check_single(pmm, slot, d + i, state);
	while (n) {
		unsigned step = mem_min(n, 64 - (unsigned)(d % 64));
		block_free_bits(pmm, slot, d / 64, bit_run(d % 64, step));
		d += step;
		n -= step;
	}
	slot_leave(slot);
	host_preempt_enable();
}

void pmm_free_range(struct pmm *pmm, paddr_t pa, uint64_t npages)
{
	while (npages) {
		uint64_t d = checked_dense(pmm, pa);
		unsigned room = BLOCK_PAGES - (unsigned)(d % BLOCK_PAGES);
		unsigned n = npages < room ? (unsigned)npages : room;
		free_part(pmm, d, n);
		pa += (paddr_t)n << PAGE_SHIFT;
		npages -= n;
	}
}

/* ---- clearing ahead of need ------------------------------------------------------------- */

#define POOL_STEP 4u

bool pmm_idle(struct pmm *pmm)
{
	host_preempt_disable();
	struct pmm_slot *slot = slot_enter(pmm, host_cpu());
	bool more = false;
	for (unsigned i = 0; slot && i < POOL_STEP && slot->npool < POOL_FRAMES; i++) {
		paddr_t pa = slot_take(pmm, slot, KIND_USER);
		if (pa == PADDR_NONE)
			break;
		arch_clear_page(paddr_to_ptr(pa));
		uint64_t d = pfn_to_dense(pmm, paddr_to_pfn(pa));
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		atomic_write_relaxed(frame_record(pa, state), RECORD_POOL);
		slot->pool[slot->npool++] = pa;
		more = true;
	}
	slot_leave(slot);
	host_preempt_enable();
	return more;
}

void pmm_drain(struct pmm *pmm)
{
	unsigned long irq;
	if (pmm_freeze(pmm, may_wait(0), &irq))
		pmm_thaw(pmm, irq);
}
