/* SPDX-License-Identifier: MIT */
/*
 * Giving frames back: pmm_free, pmm_free_range, pmm_split.
 *
 * What is freed goes onto this CPU's stacks or into its queue (slot.c); without a slot,
 * in a handler that has interrupted or while the allocator is frozen, straight to the
 * bitmap.
 *
 * A free is checked where it is cheap and certain. At the call: range, block
 * state, the frame's record (must be 0: not referenced, not the first frame of
 * a larger allocation, not in a zero pool), the bits of the newest word. At
 * the flush of the queue: bitmap and the owner's private words (block.c).
 *
 * The fast path is counted in branches that are taken, then in branches, then in
 * instructions: that is what its time follows, most of all where another thread of the
 * same core takes its half. So it asks for the newest word first, which answers what else
 * would be asked about the number, and everything rare lies behind it.
 */
#include "pmm/unit.h"
#include "pmm/whole.h"

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
		if (slot->nhuge == pmm->huge_limit)
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

/* Without the slot, or not on the short way: with the address again. */
static __attribute__((noinline)) void free_out(struct pmm *pmm, struct pmm_slot *slot, uint64_t d,
					       unsigned order)
{
	free_slow(pmm, (unsigned)(slot - pmm->slots), near_address(pmm, d), order);
}

/* The two that follow put onto this CPU's stacks what is in segment 0, if there is room and it
 * is in order. */
static inline bool free_block(struct pmm *pmm, struct pmm_slot *slot, uint64_t d)
{
	uint64_t block = d / BLOCK_PAGES;
	if (unlikely(d >= fast_read(&pmm->low_ready)) || unlikely(d % BLOCK_PAGES))
		return false;
	uint32_t *state = &pmm->states[block];
	unsigned n = slot->nhuge;
	if (unlikely((fast_read(state) & ~STATE_HINT) != STATE_HUGE) ||
	    unlikely(n >= pmm->huge_limit))
		return false;
	atomic_write_release(state, slot->cached);
	slot->huge[n] = (uint32_t)block;
	slot->nhuge = (uint8_t)(n + 1);
	return true;
}

static inline bool free_unit(struct pmm *pmm, struct pmm_slot *slot, uint64_t d, unsigned order)
{
	if (unlikely(d >= fast_read(&pmm->low_ready)) || unlikely(d & ((1u << order) - 1)))
		return false;
	uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]) & ~STATE_HINT;
	if (unlikely(state != STATE_ORDER(order)) ||
	    unlikely(slot->nunit[order - 1] >= 2u * pmm->unit_batch[order - 1]))
		return false;
	unit_mark(pmm, d, order);
	unit_push(slot, d, order);
	return true;
}

/* What the fast path sends on; the caller is inside the slot, and out of it when this
 * returns. `odd`: the order, unless the slot is revoked. */
static __attribute__((noinline)) void free_other(struct pmm *pmm, struct pmm_slot *slot, uint64_t d,
						 unsigned order, unsigned odd)
{
	bool done = odd - 1 < UNIT_ORDERS && free_unit(pmm, slot, d, odd);
	slot_out(slot);
	if (unlikely(!done))
		free_out(pmm, slot, d, order);
}

/* ---- freeing: the fast path ------------------------------------------------------------------ */

/* May the frame, of segment 0 and below the frontier, be freed alone? Not if it is to be looked
 * at more closely, either. */
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
	struct pmm_slot *slot = slot_of(pmm, cpu);
	mem_debug_assert(cpu < pmm->ncpus);
	if (unlikely(!slot_in(slot)))
		return free_out(pmm, slot, d, order);
	unsigned odd = order;
	if (unlikely(slot_revoked(slot, &odd))) {
		if (odd != PMM_ORDER_HUGE || unlikely(!free_block(pmm, slot, d)))
			return free_other(pmm, slot, d, order, odd);
		slot_out(slot);
		return;
	}
	if (likely(slot->freed.key == d / 64)) { /* so it is of segment 0 */
		if (unlikely(!may_free(pmm, d)))
			return free_other(pmm, slot, d, 0, 0);
		mask = slot->freed.mask;
		if (unlikely(bit_test_set(&mask, d)))
			return free_full(pmm, slot, d);
		atomic_write_relaxed(&slot->freed.mask, mask);
		slot_out(slot);
		return;
	}
	if (unlikely(d >= fast_read(&pmm->low_ready)) || unlikely(!may_free(pmm, d)))
		return free_other(pmm, slot, d, 0, 0);
	unsigned n = slot->nqueue;
	if (unlikely(n == QUEUE_WORDS))
		return free_full(pmm, slot, d);
	__builtin_prefetch(&pmm->lines[d / 64], 1); /* for the flush */
	slot->nqueue = n + 1;
	uint32_t *queue_w = slot->queue_w + n;
	uint64_t *queue_mask = slot->queue_mask + n;
	atomic_write_relaxed(queue_w, (uint32_t)atomic_read_relaxed(&slot->freed.key));
	atomic_write_relaxed(queue_mask, atomic_read_relaxed(&slot->freed.mask)); /* may be 0 */
	(void)bit_test_set(&mask, d);
	atomic_write_relaxed(&slot->freed.mask, mask);
	atomic_write_relaxed(&slot->freed.key, d / 64);
	slot_out(slot);
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
