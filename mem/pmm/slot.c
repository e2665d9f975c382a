/* SPDX-License-Identifier: MIT */
/*
 * Slots: what each CPU holds privately, and how others take it over.
 *
 *      slot of CPU n:  private words (one per kind)   frames to hand out
 *                      owned blocks (one per kind)    where words come from
 *                      freed word, queue              frames given back, by word
 *                      zero pool, clean bits          cleared frames (clear.c)
 *                      units                          orders 1 to 8 (unit.c)
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
 *          if (busy-- != 0) busy++, shared path;
 *          if (revoked) busy = 0, shared path;
 *
 *    where `busy--` is one instruction that tells what was there: no handler comes
 *    in between. There is no barrier after it: host_barrier_all on the freezer's
 *    side makes up for it (Dekker's algorithm with one heavy side). After the
 *    barrier either the freezer sees busy, or the other will see revoked. While
 *    frozen, all others go the shared path and wait for its lock if they want
 *    frames; freeing needs no lock and goes on.
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
 * A search for used blocks that found none is not made again before one has got room
 * (pmm->arrivals): else every block taken of an unused terabyte would cost a walk
 * through the summaries of all that is used.
 *
 * Invariants: S1 the bits of private words, freed word, queue and pool are set in
 * the bitmap, of cached units all but the first, of cached blocks none. S2 a private word lies in a
 * block that its slot owns. S3 no frame is in two of these places.
 */
#include "pmm/whole.h"

static void slot_start(struct pmm *pmm, struct pmm_slot *slot)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_SLOT);
	(void)atomic_and(&slot->revoked, ~SLOT_NEW);
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

/* `arg` = owner id | what it wants << 8. */
static bool take(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	return block_claim(pmm, block, (unsigned)(arg & 0xff), (enum block_want)(arg >> 8));
}

static uint64_t want(const struct pmm *pmm, const struct pmm_slot *slot, enum block_want what)
{
	return slot_id(pmm, slot) | (uint64_t)what << 8;
}

uint32_t slot_find_free(struct pmm *pmm, struct pmm_slot *slot, block_take *takes, uint64_t arg)
{
	do {
		uint32_t block = block_search(pmm, CLASS_FREE, atomic_read_relaxed(&pmm->free_hint),
					      ~0u, takes, arg);
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
	struct private_word *p = &slot->word[kind];
	uint64_t fits = want(pmm, slot, kind == KIND_KERNEL ? WANT_NO_RECORDS : WANT_RECORDS);
	uint64_t last = want(pmm, slot, kind == KIND_KERNEL ? WANT_ANY : WANT_RECORDABLE);
	uint32_t from = p->hint, block = BLOCK_NONE;
	uint32_t arrivals = atomic_read_relaxed(&pmm->arrivals);
	if (p->seen != arrivals) {
		block = block_search(pmm, CLASS_HALF, from, PATIENCE, take, fits);
		if (block == BLOCK_NONE)
			block = block_search(pmm, CLASS_SPARSE, from, PATIENCE, take, fits);
		if (block == BLOCK_NONE)
			p->seen = arrivals;
	}
	if (block == BLOCK_NONE)
		block = slot_find_free(pmm, slot, take, last);
	if (block == BLOCK_NONE)
		block =
		    block_search(pmm, CLASS_FULL, from, 4 * PATIENCE, take, fits); /* ROOM_MIN */
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_HALF, from, ~0u, take, last);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_SPARSE, from, ~0u, take, last);
	if (block == BLOCK_NONE)
		block = block_search(pmm, CLASS_FULL, from, ~0u, take, last);
	return block;
}

static void drop_block(struct pmm *pmm, struct private_word *p)
{
	uint32_t block = p->block;
	atomic_write_relaxed(&p->block, BLOCK_NONE);
	block_release(pmm, block);
}

/* ---- single frames --------------------------------------------------------------- */

/* Take all that is free in the own block. A word without a single frame in use is
 * nobody else's to change, so it needs no atomic operation. */
static void take_all(struct pmm *pmm, struct private_word *p)
{
	uint64_t *line = block_line(pmm, p->block);
	uint32_t more = 0;
	bool plain = false;
	word_change_begin(p);
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t used = atomic_read_relaxed(&line[i]), got = 0;
		if (used != ALL_ONES) { /* B1: and stays so */
			more |= 1u << i;
			if (used)
				got = ~atomic_swap(&line[i], ALL_ONES);
			else
				atomic_write_relaxed(&line[i], got = ALL_ONES);
			plain |= !used;
		}
		atomic_write_release(&p->rest[i], got);
	}
	p->more = more;
	word_change_end(p);
	block_emptied(pmm, p->block, plain);
}

static uint64_t word_key(const struct pmm *pmm, uint64_t w)
{
	return w * 64 < atomic_read_relaxed(&pmm->low_ready) ? w : w | WORD_FAR;
}

/* Frames of the own block that this CPU has freed last, with no atomic operation.
 * They are checked here as the flush would have: in use in the bitmap, and not
 * freed a second time in the queue. */
static bool reuse_freed(struct pmm *pmm, struct pmm_slot *slot, struct private_word *p)
{
	struct free_word *f = &slot->freed;
	uint64_t w = freed_word(slot), mask = f->mask;
	if (!mask)
		return false;
	uint64_t wrong = ~atomic_read_relaxed(&pmm->lines[w]) & mask;
	for (unsigned i = 0; i < slot->nqueue; i++)
		if (slot->queue_w[i] == w)
			wrong |= slot->queue_mask[i] & mask;
	if (unlikely(wrong))
		free_panic(pmm, w * 64 + bit_lowest(wrong), "it is already free");
	word_change_begin(p);
	word_set(p, w % BLOCK_WORDS, mask);
	word_change_end(p);
	if (p == &slot->word[KIND_USER])
		slot->clean[w % BLOCK_WORDS] &= ~mask;
	mask = 0;
	if (slot->nqueue) { /* the word before comes forth */
		f->key = word_key(pmm, slot->queue_w[--slot->nqueue]);
		mask = slot->queue_mask[slot->nqueue];
	}
	atomic_write_relaxed(&f->mask, mask);
	return true;
}

/* Fill the private word of `kind` from another block. */
static bool refill_far(struct pmm *pmm, struct pmm_slot *slot, unsigned kind)
{
	struct private_word *p = &slot->word[kind];
	if (p->block != BLOCK_NONE)
		drop_block(pmm, p);
	for (;;) {
		uint32_t block = find_block(pmm, slot, kind);
		if (block == BLOCK_NONE)
			return false;
		p->block_base = dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
		p->hint = block + 1;
		atomic_write_relaxed(&p->block, block);
		/* Who is asked for records claims a block that has them or room for them. */
		if (kind != KIND_KERNEL && !(atomic_read_relaxed(&pmm->states[block]) & STATE_REC))
			mem_assert(block_make_records(pmm, block, BLOCK_PAGES, 0));
		take_all(pmm, p);
		for (unsigned i = 0; kind == KIND_USER && i < BLOCK_WORDS; i++)
			slot->clean[i] = 0;
		if (word_next(p))
			return true;
		drop_block(pmm, p); /* somebody took the last frame just before */
	}
}

/* Fill the private word of `kind`. */
static bool refill(struct pmm *pmm, struct pmm_slot *slot, unsigned kind)
{
	struct private_word *p = &slot->word[kind];
	if (slot_may_reuse(slot, p) && reuse_freed(pmm, slot, p))
		return true;
	return word_next(p) || refill_far(pmm, slot, kind);
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

/* ---- whole blocks --------------------------------------------------------------------- */

/* Are there many more wholly free blocks than `near`, those in this group? Where little is
 * left it is left to all. */
static bool is_plenty(const struct pmm *pmm, uint32_t group, uint64_t near)
{
	uint32_t next = group + 1, ready = ready_blocks(pmm);
	unsigned n = bit_count(near);
	if (n >= GROUP_BLOCKS / 4)
		return true;
	if (next * GROUP_BLOCKS >= ready)
		return false;
	n += bit_count(atomic_read_relaxed(&pmm->summary_a[next]) &
		       ~atomic_read_relaxed(&pmm->summary_b[next]));
	return n >= GROUP_BLOCKS / 4;
}

/* Takes a block and, while at it, some of its neighbours into the slot's stack. All are
 * claimed before the first line is looked at: that may have to come from afar. */
static bool take_whole(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	struct pmm_slot *slot = &pmm->slots[arg];
	unsigned id = slot_id(pmm, slot), n = 0;
	if (!block_claim_free(pmm, block, id))
		return false;
	uint32_t group = block / GROUP_BLOCKS, more[HUGE_BATCH];
	uint64_t taken = (uint64_t)1 << block % GROUP_BLOCKS;
	uint64_t near = atomic_read_relaxed(&pmm->summary_a[group]) &
			~atomic_read_relaxed(&pmm->summary_b[group]) & ~taken & ~(taken - 1);
	if (slot == shared_slot(pmm) || !is_plenty(pmm, group, near))
		near = 0;
	for (; near && n + 1 < pmm->huge_batch; near &= near - 1) {
		more[n] = group * GROUP_BLOCKS + bit_lowest(near);
		n += block_claim_free(pmm, more[n], id);
	}
	bool ok = block_take_whole(pmm, block, STATE_HUGE);
	while (n--) { /* the lowest is the first to go */
		if (!block_take_whole(pmm, more[n], slot->cached))
			continue;
		taken |= (uint64_t)1 << more[n] % GROUP_BLOCKS;
		slot->huge[slot->nhuge++] = more[n];
	}
	block_update_group(pmm, group, taken, false);
	return ok;
}

uint32_t slot_take_huge(struct pmm *pmm, struct pmm_slot *slot)
{
	if (slot->nhuge) {
		uint32_t block = slot->huge[--slot->nhuge];
		atomic_write_release(&pmm->states[block], STATE_HUGE);
		return block;
	}
	return slot_find_free(pmm, slot, take_whole, (uint64_t)(slot - pmm->slots));
}

/* Give back the n blocks that were cached first. */
void slot_flush_huge(struct pmm *pmm, struct pmm_slot *slot, unsigned n)
{
	uint32_t group = 0;
	uint64_t bits = 0;
	for (unsigned i = 0; i < n; i++) {
		uint32_t block = slot->huge[i];
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

void slot_buffer(struct pmm *pmm, struct pmm_slot *slot, uint64_t w, uint64_t mask)
{
	struct free_word *f = &slot->freed;
	if (freed_word(slot) == w) {
		if (unlikely(f->mask & mask))
			free_panic(pmm, w * 64 + bit_lowest(f->mask & mask),
				   "it is already free (cached)");
		atomic_write_relaxed(&f->mask, f->mask | mask);
		return;
	}
	if (f->mask) {
		if (slot->nqueue == QUEUE_WORDS)
			slot_flush_queue(pmm, slot);
		slot->queue_w[slot->nqueue] = (uint32_t)f->key;
		slot->queue_mask[slot->nqueue++] = f->mask;
	}
	f->key = word_key(pmm, w);
	atomic_write_relaxed(&f->mask, mask);
}

void slot_flush_frees(struct pmm *pmm, struct pmm_slot *slot)
{
	slot_flush_queue(pmm, slot);
	struct free_word f = slot->freed;
	atomic_write_relaxed(&slot->freed.mask, 0);
	if (f.mask)
		block_free_bits(pmm, slot, (uint32_t)f.key, f.mask);
}

void slot_flush_caches(struct pmm *pmm, struct pmm_slot *slot)
{
	slot_flush_frees(pmm, slot);
	while (slot->npool) {
		uint64_t d = slot->pool[--slot->npool];
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		atomic_write_relaxed(frame_record(near_paddr(pmm, d), state), 0);
		block_free_bits(pmm, slot, d / 64, (uint64_t)1 << d % 64);
	}
	units_flush(pmm, slot);
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
		for (unsigned i = 0; i < BLOCK_WORDS; i++) {
			uint64_t mask = p->rest[i];
			if (p->mask && p->w % BLOCK_WORDS == i)
				mask |= p->mask;
			if (!mask)
				continue;
			atomic_write_relaxed(&p->rest[i], 0);
			(void)atomic_and(&line[i], ~mask);
		}
		p->more = 0;
		atomic_write_relaxed(&p->mask, 0);
		block_recount(pmm, p->block);
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
	for (unsigned order = 1; order <= UNIT_ORDERS; order++) /* their first bits are clear */
		n += (uint64_t)atomic_read_relaxed(&slot->nunit[order - 1]) * ((1u << order) - 1);
	for (unsigned i = 0; i < atomic_read_relaxed(&slot->nqueue); i++)
		n += bit_count(atomic_read_relaxed(&slot->queue_mask[i]));
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
		if (atomic_read_relaxed(&pmm->states[block]) & STATE_FORMAT)
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
				(void)atomic_and(&pmm->slots[i].revoked, ~SLOT_REVOKED);
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
		(void)atomic_and(&pmm->slots[i].revoked, ~SLOT_REVOKED);
	mem_unlock(&pmm->rare, MEM_RANK_PMM);
}

bool pmm_freeze(struct pmm *pmm, bool wait, unsigned long *irq)
{
	if (!pmm_hold(pmm, wait, irq))
		return false;
	for (unsigned i = 0; i <= pmm->ncpus; i++)
		slot_flush(pmm, &pmm->slots[i]);
	sweep_records(pmm);
	pmm->frozen = true;
	return true;
}

void pmm_thaw(struct pmm *pmm, unsigned long irq)
{
	pmm->frozen = false;
	slot_flush(pmm, shared_slot(pmm));
	pmm_release(pmm, irq);
}
