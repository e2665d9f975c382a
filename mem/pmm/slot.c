/* SPDX-License-Identifier: MIT */
/*
 * Slots: what each CPU holds privately, and how others take it over.
 *
 *      slot of CPU n:  private words (one per kind)   frames to hand out
 *                      owned blocks (one per kind)    where words come from
 *                      freed word, queue              frames given back, by word
 *                      zero pool                      cleared frames
 *                      whole blocks                   2 MiB each
 *
 * A CPU inside its slot has `busy` set and preemption off; nobody else touches
 * the slot then, so that nothing inside it is atomic. Three others may want it:
 *
 *  - An interrupt handler on the same CPU finds `busy` set and uses the shared
 *    slot (slots[ncpus], under the lock `shared`) instead; what it frees goes
 *    straight to the bitmap.
 *  - A CPU that runs short, or needs everything in the bitmap (drain, ranges),
 *    freezes the allocator: it sets SLOT_REVOKED in every slot, makes every CPU
 *    pass a barrier, and waits for each `busy` to go. Entering is
 *
 *          busy = 1;  if (revoked) busy = 0, shared path;
 *
 *    with no barrier in between: host_barrier_all on the freezer's side makes up
 *    for it (Dekker's algorithm with one heavy side). After the barrier either
 *    the freezer sees busy, or the other will see revoked. While frozen, all
 *    others go the shared path and wait for its lock if they want frames;
 *    freeing needs no lock and goes on.
 *  - A freer on another CPU only reads the private words, to find frees of
 *    frames that are free.
 *
 * A slot that was never used is marked SLOT_NEW; its first entry takes the lock
 * `shared` once, so that a freezer knows by an atomic operation whether to
 * expect anybody in it.
 *
 * Supply, in order: frames of the own block that this CPU itself has just freed;
 * further words of the own block; the next block at least half full; one less
 * than half full; a wholly free one; the frontier; then blocks with hardly a free
 * frame; and last a block of the wrong kind. That order is what keeps whole
 * blocks free: emptier blocks drain while fuller ones fill up. All that is free
 * in a block is taken when it is claimed, by one exchange per word; the sweep
 * through half-full blocks is cyclic, so that a block just passed gathers frees
 * until the sweep comes round again.
 *
 * Frees gather by word in `freed`; a free of another word moves that to the
 * queue, which goes to the bitmap all at once when it is full. One locked
 * operation after another costs less than one between the caller's own memory
 * accesses, each of which would have to wait for those to finish.
 *
 * slot.pml is a model of who may be inside a slot; ./test checks it.
 *
 * Invariants: S1 the bits of private words, freed word, queue, pool and cached
 * blocks are set in the bitmap. S2 a private word lies in a block that its slot owns. S3 no
 * frame is in two of these places.
 */
#include "pmm/internal.h"

static void slot_start(struct pmm *pmm, struct pmm_slot *slot)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	(void)atomic_and(&slot->revoked, (uint8_t)~SLOT_NEW);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
}

struct pmm_slot *slot_enter(struct pmm *pmm, unsigned cpu)
{
	mem_assert(cpu < pmm->ncpus);
	struct pmm_slot *slot = &pmm->slots[cpu];
	if (unlikely(atomic_read_relaxed(&slot->revoked) & SLOT_NEW))
		slot_start(pmm, slot);
	return slot_try(slot) ? slot : NULL;
}

/* ---- blocks to take from -------------------------------------------------------- */

static bool has_records(uint32_t state)
{
	return state & STATE_REC;
}

static bool has_no_records(uint32_t state)
{
	return !(state & STATE_REC);
}

/* Records there, or room for them and one more. */
static bool can_have_records(uint32_t state)
{
	return (state & STATE_REC) || state_count(state) >= 2;
}

static bool take_with_records(struct pmm *pmm, uint32_t block, uint64_t id)
{
	return block_claim(pmm, block, (unsigned)id, has_records);
}

static bool take_without_records(struct pmm *pmm, uint32_t block, uint64_t id)
{
	return block_claim(pmm, block, (unsigned)id, has_no_records);
}

static bool take_any(struct pmm *pmm, uint32_t block, uint64_t id)
{
	return block_claim(pmm, block, (unsigned)id, NULL);
}

static bool take_for_records(struct pmm *pmm, uint32_t block, uint64_t id)
{
	return block_claim(pmm, block, (unsigned)id, can_have_records);
}

/* A wholly free block below the frontier, else move that. */
static uint32_t search_free(struct pmm *pmm, struct pmm_slot *slot, block_take *take, uint64_t arg)
{
	do {
		uint32_t block = block_search(pmm, CLASS_FREE, atomic_read_relaxed(&pmm->free_hint),
					      ~0u, take, arg);
		if (block != BLOCK_NONE) {
			atomic_write_relaxed(&pmm->free_hint, block);
			return block;
		}
	} while (frontier_extend(pmm, slot == shared_slot(pmm)));
	return BLOCK_NONE;
}

#define PATIENCE 64u

/* Own a block with room for `kind`. */
static uint32_t find_block(struct pmm *pmm, struct pmm_slot *slot, unsigned kind)
{
	unsigned id = slot_id(pmm, slot);
	uint32_t from = slot->word[kind].hint;
	block_take *fits = kind == KIND_KERNEL ? take_without_records : take_with_records;
	block_take *last = kind == KIND_KERNEL ? take_any : take_for_records;
	uint32_t block = block_search(pmm, CLASS_HALF, from, PATIENCE, fits, id);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_SPARSE, from, PATIENCE, fits, id);
	if (block == BLOCK_NONE)
		block = search_free(pmm, slot, take_any, id);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_FULL, from, 4 * PATIENCE, fits, id); /* ROOM_MIN */
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_HALF, from, ~0u, last, id);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_SPARSE, from, ~0u, last, id);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_FULL, from, ~0u, last, id);
	return block;
}

static void drop_block(struct pmm *pmm, struct private_word *p)
{
	uint32_t block = p->block, taken = p->taken;
	atomic_write_relaxed(&p->block, BLOCK_NONE);
	atomic_write_relaxed(&p->taken, 0);
	block_release(pmm, block, taken);
}

/* ---- single frames --------------------------------------------------------------- */

/* Others read word, mask and rest: whoever changes what they mean brackets it, and
 * writes them with release order, so that none is seen before the bracket. */
static void change_begin(struct private_word *p)
{
	atomic_write_relaxed(&p->seq, p->seq + 1);
}

static void change_end(struct private_word *p)
{
	atomic_write_release(&p->seq, p->seq + 1);
}

static void set_word(struct private_word *p, unsigned i, uint64_t mask)
{
	atomic_write_release(&p->w, (uint64_t)p->block * BLOCK_WORDS + i);
	p->base = p->block_base + ((paddr_t)i * 64 << PAGE_SHIFT);
	atomic_write_release(&p->mask, mask);
}

/* Take all that is free in the own block. A word without a single frame in use is
 * nobody else's to change, so it needs no atomic operation. */
static void take_all(struct pmm *pmm, struct private_word *p)
{
	uint64_t *line = block_line(pmm, p->block);
	unsigned taken = p->taken;
	change_begin(p);
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t used = atomic_read_relaxed(&line[i]), got = 0;
		if (used == 0) {
			atomic_write_relaxed(&line[i], ALL_ONES);
			got = ALL_ONES;
			taken += 64;
		} else if (used != ALL_ONES) {
			got = ~atomic_swap(&line[i], ALL_ONES);
			taken += bit_count(got);
		}
		atomic_write_release(&p->rest[i], got);
	}
	change_end(p);
	atomic_write_relaxed(&p->taken, taken);
}

static bool next_word(struct private_word *p)
{
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t mask = p->rest[i];
		if (!mask)
			continue;
		change_begin(p);
		set_word(p, i, mask);
		atomic_write_release(&p->rest[i], 0);
		change_end(p);
		return true;
	}
	return false;
}

/* Frames of the own block that this CPU has freed last, with no atomic operation.
 * They are checked here as the flush would have: in use in the bitmap, and not
 * freed a second time in the queue. */
static bool reuse_freed(struct pmm *pmm, struct pmm_slot *slot, struct private_word *p)
{
	struct free_word *f = &slot->freed;
	uint64_t w = f->w, mask = f->mask;
	if (!mask || w / BLOCK_WORDS != p->block)
		return false;
	uint64_t wrong = ~atomic_read_relaxed(&pmm->lines[w]) & mask;
	for (unsigned i = 0; i < slot->nqueue; i++)
		if (slot->queue[i].w == w)
			wrong |= slot->queue[i].mask & mask;
	if (unlikely(wrong))
		free_panic(pmm, w * 64 + bit_lowest(wrong), "it is already free");
	change_begin(p);
	set_word(p, w % BLOCK_WORDS, mask);
	change_end(p);
	atomic_write_relaxed(&f->mask, 0);
	return true;
}

/* Fill the private word of `kind`. */
static bool refill(struct pmm *pmm, struct pmm_slot *slot, unsigned kind)
{
	struct private_word *p = &slot->word[kind];
	if (p->block != BLOCK_NONE) {
		if (reuse_freed(pmm, slot, p) || next_word(p))
			return true;
		drop_block(pmm, p);
	}
	uint32_t block = find_block(pmm, slot, kind);
	if (block == BLOCK_NONE)
		return false;
	p->block_base = dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
	p->hint = block + 1;
	atomic_write_relaxed(&p->block, block);
	/* Who is asked for records claims a block that has them or room for them. */
	if (kind != KIND_KERNEL && !has_records(atomic_read_relaxed(&pmm->states[block])))
		mem_assert(block_make_records(pmm, block, BLOCK_PAGES, 0));
	take_all(pmm, p);
	return next_word(p);
}

paddr_t slot_take(struct pmm *pmm, struct pmm_slot *slot, unsigned kind)
{
	struct private_word *p = &slot->word[kind];
	uint64_t mask = p->mask;
	if (unlikely(!mask)) {
		if (!refill(pmm, slot, kind)) {
			slot_flush_caches(pmm, slot);
			if (!refill(pmm, slot, kind))
				return PADDR_NONE;
		}
		mask = p->mask;
	}
	atomic_write_relaxed(&p->mask, mask & (mask - 1));
	return p->base + ((paddr_t)bit_lowest(mask) << PAGE_SHIFT);
}

/* ---- orders 1..8 -------------------------------------------------------------------- */

/* Take an aligned run out of an owned block's line. B1: what is clear stays so,
 * and in a word that is all clear there is nobody who could free anything. */
static paddr_t take_run(struct pmm *pmm, struct private_word *p, unsigned order)
{
	uint64_t *line = block_line(pmm, p->block);
	unsigned at = line_find(line, order), n = 1u << order;
	if (at >= BLOCK_PAGES)
		return PADDR_NONE;
	if (n < 64)
		atomic_or(&line[at / 64], bit_run(at % 64, n));
	else
		for (unsigned i = at / 64; i < (at + n) / 64; i++)
			atomic_write_relaxed(&line[i], ALL_ONES);
	atomic_write_relaxed(&p->taken, p->taken + n);
	paddr_t pa = p->block_base + ((paddr_t)at << PAGE_SHIFT);
	uint32_t state = atomic_read_relaxed(&pmm->states[p->block]);
	atomic_write_relaxed(frame_record(pa, state), RECORD_ORDER(order));
	return pa;
}

/* `arg` = owner id | order << 8: claim only where the run is. */
static bool take_with_run(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	if (line_find(block_line(pmm, block), (unsigned)(arg >> 8)) >= BLOCK_PAGES)
		return false;
	return block_claim(pmm, block, (unsigned)(arg & 0xff), has_records);
}

/* Not many are asked: a run is a matter of luck in a block that is used. */
#define RUN_PATIENCE 4u

static uint32_t find_block_order(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	struct private_word *p = &slot->word[KIND_MULTI];
	unsigned id = slot_id(pmm, slot);
	uint64_t arg = id | (uint64_t)order << 8;
	uint32_t block = BLOCK_NONE;
	if (order < 6)
		block = block_search(pmm, CLASS_HALF, p->hint, RUN_PATIENCE, take_with_run, arg);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_SPARSE, p->hint, RUN_PATIENCE, take_with_run, arg);
	p->hint = block == BLOCK_NONE ? p->hint + RUN_PATIENCE : block;
	if (block == BLOCK_NONE)
		block = search_free(pmm, slot, take_any, id);
	return block;
}

static paddr_t try_order(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	struct private_word *p = &slot->word[KIND_MULTI];
	for (;;) {
		if (p->block != BLOCK_NONE) {
			paddr_t pa = take_run(pmm, p, order);
			if (pa != PADDR_NONE)
				return pa;
			drop_block(pmm, p);
		}
		uint32_t block = find_block_order(pmm, slot, order);
		if (block == BLOCK_NONE)
			return PADDR_NONE;
		atomic_write_relaxed(&p->block, block);
		p->block_base = dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
		if (!has_records(atomic_read_relaxed(&pmm->states[block])) &&
		    !block_make_records(pmm, block, BLOCK_PAGES, 0))
			drop_block(pmm, p);
	}
}

paddr_t slot_take_order(struct pmm *pmm, struct pmm_slot *slot, unsigned order)
{
	paddr_t pa = try_order(pmm, slot, order);
	if (pa == PADDR_NONE) {
		slot_flush_caches(pmm, slot);
		pa = try_order(pmm, slot, order);
	}
	return pa;
}

/* ---- whole blocks --------------------------------------------------------------------- */

/* Takes a block and, while at it, some of its neighbours into the slot's stack. */
static bool take_whole(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	struct pmm_slot *slot = &pmm->slots[arg];
	if (!block_take_whole(pmm, block))
		return false;
	uint32_t group = block / GROUP_BLOCKS;
	uint64_t taken = (uint64_t)1 << block % GROUP_BLOCKS;
	uint64_t near = atomic_read_relaxed(&pmm->summary_a[group]) &
			~atomic_read_relaxed(&pmm->summary_b[group]) & ~taken & ~(taken - 1);
	unsigned n = 0;
	uint32_t more[HUGE_BATCH];
	if (slot == shared_slot(pmm) || bit_count(near) < GROUP_BLOCKS / 4)
		near = 0; /* little is left: leave it to all */
	for (; near && n < HUGE_BATCH - 1; near &= near - 1) {
		more[n] = group * GROUP_BLOCKS + bit_lowest(near);
		if (block_take_whole(pmm, more[n]))
			taken |= (uint64_t)1 << more[n++] % GROUP_BLOCKS;
	}
	block_update_group(pmm, group, taken, false);
	while (n--) { /* the lowest is the first to go */
		paddr_t pa = dense_to_paddr(pmm, (uint64_t)more[n] * BLOCK_PAGES);
		atomic_write_release(&pmm->states[more[n]], STATE_CACHED | slot_id(pmm, slot));
		slot->huge[slot->nhuge++] =
		    (struct huge_entry){more[n], (uint32_t)(pa >> HUGE_SHIFT)};
	}
	return true;
}

uint32_t slot_take_huge(struct pmm *pmm, struct pmm_slot *slot)
{
	if (slot->nhuge) {
		uint32_t block = slot->huge[--slot->nhuge].block;
		atomic_write_release(&pmm->states[block], STATE_HUGE);
		return block;
	}
	return search_free(pmm, slot, take_whole, (uint64_t)(slot - pmm->slots));
}

/* Give back the n blocks that were cached first. */
void slot_flush_huge(struct pmm *pmm, struct pmm_slot *slot, unsigned n)
{
	uint32_t group = 0;
	uint64_t bits = 0;
	for (unsigned i = 0; i < n; i++) {
		uint32_t block = slot->huge[i].block;
		if (bits && block / GROUP_BLOCKS != group) {
			block_update_group(pmm, group, bits, true);
			bits = 0;
		}
		if (!block_free_whole(pmm, block, STATE_CACHED)) /* only we change it */
			host_panic("pmm: a cached 2 MiB block changed its state");
		group = block / GROUP_BLOCKS;
		bits |= (uint64_t)1 << block % GROUP_BLOCKS;
	}
	if (bits)
		block_update_group(pmm, group, bits, true);
	slot->nhuge = (uint8_t)(slot->nhuge - n);
	for (unsigned i = 0; i < slot->nhuge; i++)
		slot->huge[i] = slot->huge[i + n];
}

/* ---- giving back ------------------------------------------------------------------------ */

void slot_flush_queue(struct pmm *pmm, struct pmm_slot *slot)
{
	unsigned n = slot->nqueue;
	for (unsigned i = 0; i < n; i++) {
		struct free_word f = slot->queue[i];
		if (i + 4 < n)
			__builtin_prefetch(&pmm->lines[slot->queue[i + 4].w], 1);
		atomic_write_relaxed(&slot->queue[i].mask, 0);
		block_free_bits(pmm, slot, f.w, f.mask);
	}
	slot->nqueue = 0;
}

void slot_buffer(struct pmm *pmm, struct pmm_slot *slot, uint64_t w, uint64_t mask)
{
	struct free_word *f = &slot->freed;
	if (f->w == w) {
		if (unlikely(f->mask & mask))
			free_panic(pmm, w * 64 + bit_lowest(f->mask & mask),
				   "it is already free (cached)");
		atomic_write_relaxed(&f->mask, f->mask | mask);
		return;
	}
	if (f->mask) {
		if (slot->nqueue == QUEUE_WORDS)
			slot_flush_queue(pmm, slot);
		slot->queue[slot->nqueue++] = *f;
	}
	f->w = w;
	atomic_write_relaxed(&f->mask, mask);
}

void slot_flush_caches(struct pmm *pmm, struct pmm_slot *slot)
{
	slot_flush_queue(pmm, slot);
	struct free_word f = slot->freed;
	atomic_write_relaxed(&slot->freed.mask, 0);
	if (f.mask)
		block_free_bits(pmm, slot, f.w, f.mask);
	while (slot->npool) {
		paddr_t pa = slot->pool[--slot->npool];
		uint64_t d = pfn_to_dense(pmm, paddr_to_pfn(pa));
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		atomic_write_relaxed(frame_record(pa, state), 0);
		block_free_bits(pmm, slot, d / 64, (uint64_t)1 << d % 64);
	}
	slot_flush_huge(pmm, slot, slot->nhuge);
}

void slot_flush(struct pmm *pmm, struct pmm_slot *slot)
{
	slot_flush_caches(pmm, slot);
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		struct private_word *p = &slot->word[k];
		if (p->block == BLOCK_NONE)
			continue;
		uint64_t *line = block_line(pmm, p->block);
		uint32_t taken = p->taken;
		for (unsigned i = 0; i < BLOCK_WORDS; i++) {
			uint64_t mask = p->rest[i];
			if (p->mask && p->w % BLOCK_WORDS == i)
				mask |= p->mask;
			if (!mask)
				continue;
			atomic_write_relaxed(&p->rest[i], 0);
			(void)atomic_and(&line[i], ~mask);
			taken -= bit_count(mask); /* modulo 2^32: some came from `freed` */
		}
		atomic_write_relaxed(&p->mask, 0);
		atomic_write_relaxed(&p->taken, taken);
		drop_block(pmm, p);
	}
}

/* Frames held; a hint while its CPU is at work. */
uint64_t slot_cached(const struct pmm_slot *slot)
{
	uint64_t n = bit_count(atomic_read_relaxed(&slot->freed.mask));
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		n += bit_count(atomic_read_relaxed(&slot->word[k].mask));
		for (unsigned i = 0; i < BLOCK_WORDS; i++)
			n += bit_count(atomic_read_relaxed(&slot->word[k].rest[i]));
	}
	for (unsigned i = 0; i < atomic_read_relaxed(&slot->nqueue); i++)
		n += bit_count(atomic_read_relaxed(&slot->queue[i].mask));
	return n + atomic_read_relaxed(&slot->npool) +
	       (uint64_t)atomic_read_relaxed(&slot->nhuge) * BLOCK_PAGES;
}

/* ---- freezing --------------------------------------------------------------------------- */

static bool others_started(const struct pmm *pmm, unsigned cpu)
{
	for (unsigned i = 0; i < pmm->ncpus; i++)
		if (i != cpu && !(atomic_read_seq(&pmm->slots[i].revoked) & SLOT_NEW))
			return true;
	return false;
}

/* Blocks whose last frame was freed by who had no slot to do it keep their record
 * page until here. */
static void sweep_records(struct pmm *pmm)
{
	unsigned id = slot_id(pmm, shared_slot(pmm));
	uint32_t nblocks = ready_blocks(pmm);
	for (uint32_t block = 0; block < nblocks; block++)
		if (atomic_read_relaxed(&pmm->states[block]) & STATE_REC)
			block_try_dismantle(pmm, block, id);
}

bool pmm_hold(struct pmm *pmm, bool wait, unsigned long *irq)
{
	if (wait) {
		mem_lock_flushable(&pmm->rare, MEM_RANK_PMM);
	} else if (host_in_interrupt() || !mem_trylock(&pmm->rare, MEM_RANK_PMM)) {
		return false; /* a handler may have interrupted who holds it */
	}
	unsigned cpu = host_cpu();
	/* Somebody who may not wait can still do it alone, unless it is his own
	 * slot that he has interrupted. */
	bool others = others_started(pmm, cpu);
	if (!wait && (others || atomic_read_relaxed(&pmm->slots[cpu].busy))) {
		mem_unlock(&pmm->rare, MEM_RANK_PMM);
		return false;
	}
	for (unsigned i = 0; i < pmm->ncpus; i++)
		if (!(atomic_or(&pmm->slots[i].revoked, SLOT_REVOKED) & SLOT_NEW) && i != cpu)
			others = true;
	if (others) {
		if (!wait) { /* one started just now */
			for (unsigned i = 0; i < pmm->ncpus; i++)
				(void)atomic_and(&pmm->slots[i].revoked, (uint8_t)~SLOT_REVOKED);
			mem_unlock(&pmm->rare, MEM_RANK_PMM);
			return false;
		}
		host_barrier_all();
	}
	for (unsigned i = 0; i < pmm->ncpus; i++)
		while (atomic_read_acquire(&pmm->slots[i].busy))
			host_relax();
	*irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	return true;
}

void pmm_release(struct pmm *pmm, unsigned long irq)
{
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_SLOT, irq);
	for (unsigned i = 0; i < pmm->ncpus; i++)
		(void)atomic_and(&pmm->slots[i].revoked, (uint8_t)~SLOT_REVOKED);
	mem_unlock(&pmm->rare, MEM_RANK_PMM);
}

bool pmm_freeze(struct pmm *pmm, bool wait, unsigned long *irq)
{
	if (!pmm_hold(pmm, wait, irq))
		return false;
	for (unsigned i = 0; i <= pmm->ncpus; i++)
		slot_flush(pmm, &pmm->slots[i]);
	sweep_records(pmm);
	return true;
}

void pmm_thaw(struct pmm *pmm, unsigned long irq)
{
	slot_flush(pmm, shared_slot(pmm));
	pmm_release(pmm, irq);
}
