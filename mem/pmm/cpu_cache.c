/* SPDX-License-Identifier: MIT */
/*
 * Caches: what each CPU holds privately, and how others take it over.
 *
 *      cache of CPU n:  private words (one per kind)   frames to hand out
 *                      owned blocks (one per kind)    where words come from
 *                      freed word, queue              frames given back, by word
 *                      zero pool, clean bits          cleared frames (clear.c)
 *                      orders                         orders 1 to 8 (order.c)
 *                      whole blocks                   2 MiB each
 *
 * A CPU inside its cache has `busy` set and preemption off; nobody else touches
 * the cache then, so that nothing inside it is atomic. Three others may want it:
 *
 *  - An interrupt handler on the same CPU finds `busy` set and uses the shared
 *    cache (caches[ncpus], under the lock `shared`) instead; what it frees goes
 *    straight to the bitmap.
 *  - A CPU that runs short, or needs everything in the bitmap (drain, ranges),
 *    freezes the allocator: it sets CACHE_REVOKED in every cache, makes every CPU
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
 * A cache that was never used is marked CACHE_NEW. Its first entry takes the lock `shared`
 * once, so a freezer knows by an atomic operation whether to expect anybody in it.
 *
 * Supply, in order, from the own block: frames that this CPU itself has just freed, then
 * further words. Next come other blocks: one at least half full, one less than half full, a
 * wholly free one, one above the initialised limit. Last come blocks with hardly a free
 * frame, and blocks of the wrong kind. That order is what keeps whole blocks free: emptier
 * blocks drain while fuller ones fill up. All that is free in a block is taken when it is
 * claimed, by one exchange per word. The sweep through half-full blocks is cyclic, so a
 * block just passed collects frees until the sweep comes round again.
 *
 * Frees gather by word in `freed`; a free of another word moves that to the
 * queue, which goes to the bitmap all at once when it is full. One locked
 * operation after another costs less than one between the caller's own memory
 * accesses, each of which would have to wait for those to finish.
 *
 * cpu_cache.pml is a model of who may be inside a cache; ./test checks it.
 *
 * A search for used blocks that found none is not made again before one has got free frames
 * (pmm->arrivals). Else every block taken of an unused terabyte would cost a walk through
 * the summaries of all that is used.
 *
 * Private blocks and the queue have a lock, so that others can take them back when nothing
 * else is left (take_back.c). The mask, the freed word and the end of the queue do without.
 *
 * Invariants: S1 the bits of private words, freed word, queue and pool are set in
 * the bitmap, of cached order-n blocks all but the first, of cached blocks none. S2 what rests
 * of a private block lies in one that its cache owns; the mask too, unless the block was taken
 * back. S3 no frame is in two of these places.
 */
#include "pmm/whole.h"

static void start_cache(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	(void)atomic_and(&cache->revoked, ~CACHE_NEW);
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
}

struct pmm_cpu_cache *pmm_cache_enter(struct pmm *pmm, unsigned cpu)
{
	if (unlikely(cpu >= pmm->ncpus))
		host_panic("pmm: CPU %u, but host_cpu_count() said %u to pmm_init", cpu,
			   pmm->ncpus);
	struct pmm_cpu_cache *cache = &pmm->caches[cpu];
	if (unlikely(atomic_read_relaxed(&cache->revoked) & CACHE_NEW))
		start_cache(pmm, cache);
	return pmm_cache_try(cache) ? cache : NULL;
}

/* ---- blocks to take from -------------------------------------------------------- */

/* `arg` = owner id | what it wants << 8. */
static bool take(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	return pmm_block_claim(pmm, block, (unsigned)(arg & 0xff), (enum pmm_block_want)(arg >> 8));
}

static uint64_t want(const struct pmm *pmm, const struct pmm_cpu_cache *cache,
		     enum pmm_block_want what)
{
	return pmm_cache_id(pmm, cache) | (uint64_t)what << 8;
}

uint32_t pmm_cache_find_free(struct pmm *pmm, struct pmm_cpu_cache *cache, pmm_block_take *takes,
			     uint64_t arg)
{
	do {
		uint32_t block = pmm_block_search(
		    pmm, CLASS_FREE, atomic_read_relaxed(&pmm->free_hint), ~0u, takes, arg);
		if (block != BLOCK_NONE) {
			atomic_write_relaxed(&pmm->free_hint, block);
			return block;
		}
	} while (pmm_extend_limit(pmm, cache == pmm_shared_cache(pmm)));
	return BLOCK_NONE;
}

#define PATIENCE 64u

/* Own a block with free frames for `kind`. */
static uint32_t find_block(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned kind)
{
	struct pmm_private_word *p = &cache->word[kind];
	uint64_t fits = want(pmm, cache, kind == KIND_KERNEL ? WANT_NO_RECORDS : WANT_RECORDS);
	uint64_t last = want(pmm, cache, kind == KIND_KERNEL ? WANT_ANY : WANT_RECORDABLE);
	uint32_t from = p->hint, block = BLOCK_NONE;
	uint32_t arrivals = atomic_read_relaxed(&pmm->arrivals);
	if (p->seen != arrivals) {
		block = pmm_block_search(pmm, CLASS_HALF, from, PATIENCE, take, fits);
		if (block == BLOCK_NONE)
			block = pmm_block_search(pmm, CLASS_SPARSE, from, PATIENCE, take, fits);
		if (block == BLOCK_NONE)
			p->seen = arrivals;
	}
	if (block == BLOCK_NONE)
		block = pmm_cache_find_free(pmm, cache, take, last);
	if (block == BLOCK_NONE)
		block = pmm_block_search(pmm, CLASS_FULL, from, 4 * PATIENCE, take,
					 fits); /* FREE_MIN */
	if (block == BLOCK_NONE)
		block = pmm_block_search(pmm, CLASS_HALF, from, ~0u, take, last);
	if (block == BLOCK_NONE)
		block = pmm_block_search(pmm, CLASS_SPARSE, from, ~0u, take, last);
	if (block == BLOCK_NONE)
		block = pmm_block_search(pmm, CLASS_FULL, from, ~0u, take, last);
	return block;
}

static void drop_block(struct pmm *pmm, struct pmm_private_word *p)
{
	uint32_t block = p->block;
	atomic_write_relaxed(&p->block, BLOCK_NONE);
	pmm_block_release(pmm, block);
}

/* ---- single frames --------------------------------------------------------------- */

/* Take all that is free in the own block. A word without a single frame in use is
 * nobody else's to change, so it needs no atomic operation. */
static void take_all(struct pmm *pmm, struct pmm_private_word *p)
{
	uint64_t *line = pmm_block_line(pmm, p->block);
	uint32_t more = 0;
	bool plain = false;
	pmm_word_change_begin(p);
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
	pmm_word_change_end(p);
	pmm_block_emptied(pmm, p->block, plain);
}

static uint64_t word_key(const struct pmm *pmm, uint64_t w)
{
	return w * 64 < atomic_read_relaxed(&pmm->low_ready) ? w : w | WORD_FAR;
}

/* The word before comes forth, if there is one; what it holds. */
static uint64_t unqueue(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	if (!cache->nqueue)
		return 0;
	pmm_cache_lock(cache);
	unsigned n = cache->nqueue - 1;
	cache->freed.key = word_key(pmm, cache->queue_w[n]);
	uint64_t mask = atomic_read_relaxed(&cache->queue_mask[n]);
	atomic_write_relaxed(&cache->nqueue, n);
	pmm_cache_unlock(cache);
	return mask;
}

/* Frames of the own block that this CPU has freed last, with no atomic operation.
 * They are checked here as the flush would have: in use in the bitmap, and not
 * freed a second time in the queue. */
static bool reuse_freed(struct pmm *pmm, struct pmm_cpu_cache *cache, struct pmm_private_word *p)
{
	struct pmm_free_word *f = &cache->freed;
	uint64_t w = freed_word(cache), mask = f->mask;
	if (!mask)
		return false;
	uint64_t wrong = ~atomic_read_relaxed(&pmm->lines[w]) & mask;
	for (unsigned i = 0; i < cache->nqueue; i++)
		if (cache->queue_w[i] == w)
			wrong |= atomic_read_relaxed(&cache->queue_mask[i]) & mask;
	if (unlikely(wrong))
		pmm_free_panic(pmm, w * 64 + bit_lowest(wrong), "it is already free");
	uint64_t later = mask & ~pmm_next_of(mask);
	mask ^= later;
	pmm_word_change_begin(p);
	pmm_word_set(p, w, mask);
	pmm_word_change_end(p);
	if (p == &cache->word[KIND_USER])
		cache->clean[w % BLOCK_WORDS] &= ~mask;
	atomic_write_relaxed(&f->mask, later ? later : unqueue(pmm, cache));
	return true;
}

/* Fill the private word of `kind` from another block. */
static bool refill_far(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned kind)
{
	struct pmm_private_word *p = &cache->word[kind];
	if (p->block != BLOCK_NONE)
		drop_block(pmm, p);
	for (;;) {
		uint32_t block = find_block(pmm, cache, kind);
		if (block == BLOCK_NONE)
			return false;
		p->block_base = dense_to_paddr(pmm, (uint64_t)block * BLOCK_PAGES);
		p->hint = block + 1;
		atomic_write_relaxed(&p->block, block);
		/* Who is asked for records claims a block that has them or room for them. */
		if (kind != KIND_KERNEL && !(atomic_read_relaxed(&pmm->states[block]) & STATE_REC))
			mem_assert(pmm_block_make_records(pmm, block, BLOCK_PAGES, 0));
		take_all(pmm, p);
		for (unsigned i = 0; kind == KIND_USER && i < BLOCK_WORDS; i++)
			cache->clean[i] = 0;
		if (pmm_word_next(p))
			return true;
		drop_block(pmm, p); /* somebody took the last frame just before */
	}
}

/* Fill the private word of `kind`. */
static bool refill(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned kind)
{
	struct pmm_private_word *p = &cache->word[kind];
	if (pmm_cache_may_reuse(cache, p) && reuse_freed(pmm, cache, p))
		return true;
	pmm_cache_lock(cache);
	bool filled = pmm_word_next(p) || refill_far(pmm, cache, kind);
	pmm_cache_unlock(cache);
	return filled;
}

paddr_t pmm_cache_take(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned kind)
{
	struct pmm_private_word *p = &cache->word[kind];
	uint64_t mask = p->mask;
	if (unlikely(!mask)) {
		if (!refill(pmm, cache, kind)) {
			pmm_cache_flush_lists(pmm, cache);
			if (!refill(pmm, cache, kind))
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

/* Takes a block and, while at it, some of its neighbours into the cache's stack. All are
 * claimed before the first line is looked at: that may have to come from afar. */
static bool take_whole(struct pmm *pmm, uint32_t block, uint64_t arg)
{
	struct pmm_cpu_cache *cache = &pmm->caches[arg];
	unsigned id = pmm_cache_id(pmm, cache), n = 0;
	if (!pmm_block_claim_free(pmm, block, id))
		return false;
	uint32_t group = block / GROUP_BLOCKS, more[HUGE_BATCH];
	uint64_t taken = (uint64_t)1 << block % GROUP_BLOCKS;
	uint64_t near = atomic_read_relaxed(&pmm->summary_a[group]) &
			~atomic_read_relaxed(&pmm->summary_b[group]) & ~taken & ~(taken - 1);
	if (cache == pmm_shared_cache(pmm) || !is_plenty(pmm, group, near))
		near = 0;
	for (; near && n + 1 < pmm->huge_batch; near &= near - 1) {
		more[n] = group * GROUP_BLOCKS + bit_lowest(near);
		n += pmm_block_claim_free(pmm, more[n], id);
	}
	bool ok = pmm_block_take_whole(pmm, block, STATE_HUGE);
	while (n--) { /* the lowest is the first to go */
		if (!pmm_block_take_whole(pmm, more[n], cache->cached))
			continue;
		taken |= (uint64_t)1 << more[n] % GROUP_BLOCKS;
		cache->huge[cache->nhuge++] = more[n];
	}
	pmm_block_update_group(pmm, group, taken, false);
	return ok;
}

uint32_t pmm_cache_take_huge(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	if (cache->nhuge) {
		uint32_t block = cache->huge[--cache->nhuge];
		atomic_write_release(&pmm->states[block], STATE_HUGE);
		return block;
	}
	return pmm_cache_find_free(pmm, cache, take_whole, (uint64_t)(cache - pmm->caches));
}

/* Give back the n blocks that were cached first. */
void pmm_cache_flush_huge(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned n)
{
	uint32_t group = 0;
	uint64_t bits = 0;
	for (unsigned i = 0; i < n; i++) {
		uint32_t block = cache->huge[i];
		if (bits && block / GROUP_BLOCKS != group) {
			pmm_block_update_group(pmm, group, bits, true);
			bits = 0;
		}
		if (!pmm_block_free_whole(pmm, block, STATE_CACHED)) /* only we change it */
			host_panic("pmm: a cached 2 MiB block changed its state");
		group = block / GROUP_BLOCKS;
		bits |= (uint64_t)1 << block % GROUP_BLOCKS;
	}
	if (bits)
		pmm_block_update_group(pmm, group, bits, true);
	cache->nhuge = (uint8_t)(cache->nhuge - n);
	for (unsigned i = 0; i < cache->nhuge; i++)
		cache->huge[i] = cache->huge[i + n];
}

/* ---- giving back ------------------------------------------------------------------------ */

void pmm_cache_buffer(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t w, uint64_t mask)
{
	struct pmm_free_word *f = &cache->freed;
	if (freed_word(cache) == w) {
		if (unlikely(f->mask & mask))
			pmm_free_panic(pmm, w * 64 + bit_lowest(f->mask & mask),
				       "it is already free (cached)");
		atomic_write_relaxed(&f->mask, f->mask | mask);
		return;
	}
	if (f->mask) {
		if (cache->nqueue == QUEUE_WORDS)
			pmm_cache_flush_queue(pmm, cache);
		unsigned n = cache->nqueue;
		atomic_write_relaxed(&cache->queue_w[n], (uint32_t)f->key);
		atomic_write_relaxed(&cache->queue_mask[n], f->mask);
		atomic_write_release(&cache->nqueue, n + 1);
	}
	f->key = word_key(pmm, w);
	atomic_write_relaxed(&f->mask, mask);
}

void pmm_cache_flush_frees(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	pmm_cache_flush_queue(pmm, cache);
	struct pmm_free_word f = cache->freed;
	atomic_write_relaxed(&cache->freed.mask, 0);
	if (f.mask)
		pmm_block_free_bits(pmm, cache, (uint32_t)f.key, f.mask);
}

void pmm_cache_flush_lists(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	pmm_cache_flush_frees(pmm, cache);
	while (cache->npool) {
		uint64_t d = cache->pool[--cache->npool];
		uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
		atomic_write_relaxed(frame_record(near_paddr(pmm, d), state), 0);
		pmm_block_free_bits(pmm, cache, d / 64, (uint64_t)1 << d % 64);
	}
	pmm_order_flush(pmm, cache);
	pmm_cache_flush_huge(pmm, cache, cache->nhuge);
}

void pmm_word_drop(struct pmm *pmm, struct pmm_private_word *p)
{
	uint64_t *line = pmm_block_line(pmm, p->block);
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t mask = p->rest[i];
		if (!mask)
			continue;
		atomic_write_release(&p->rest[i], 0);
		(void)atomic_and(&line[i], ~mask);
	}
	p->more = 0;
	pmm_block_recount(pmm, p->block);
	drop_block(pmm, p);
}

void pmm_cache_flush(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	pmm_cache_flush_lists(pmm, cache);
	pmm_cache_lock(cache);
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		struct pmm_private_word *p = &cache->word[k];
		uint64_t mask = p->mask;
		atomic_write_relaxed(&p->mask, 0);
		if (mask) /* its block may have been taken back */
			pmm_block_give_back(pmm, p->w, mask);
		if (p->block != BLOCK_NONE)
			pmm_word_drop(pmm, p);
	}
	pmm_cache_unlock(cache);
}

bool pmm_take_in_inside(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	bool any = pmm_cache_npages(cache) != 0;
	for (unsigned k = 0; k < KIND_COUNT; k++)
		any |= atomic_read_relaxed(&cache->word[k].block) != BLOCK_NONE;
	if (any)
		pmm_cache_flush(pmm, cache);
	return pmm_take_back(pmm, cache) || any;
}

bool pmm_take_in(struct pmm *pmm)
{
	host_preempt_disable();
	struct pmm_cpu_cache *cache = pmm_cache_enter(pmm, host_cpu());
	bool any = cache && pmm_take_in_inside(pmm, cache);
	pmm_cache_leave(cache);
	host_preempt_enable();
	return any;
}

/* Frames held; a hint while its CPU is at work. */
uint64_t pmm_cache_npages(const struct pmm_cpu_cache *cache)
{
	uint64_t n = bit_count(atomic_read_relaxed(&cache->freed.mask));
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		n += bit_count(atomic_read_relaxed(&cache->word[k].mask));
		for (unsigned i = 0; i < BLOCK_WORDS; i++)
			n += bit_count(atomic_read_relaxed(&cache->word[k].rest[i]));
	}
	for (unsigned order = 1; order <= SMALL_ORDERS; order++) /* their first bits are clear */
		n += (uint64_t)atomic_read_relaxed(&cache->norder[order - 1]) * ((1u << order) - 1);
	for (unsigned i = 0; i < atomic_read_relaxed(&cache->nqueue); i++)
		n += bit_count(atomic_read_relaxed(&cache->queue_mask[i]));
	return n + atomic_read_relaxed(&cache->npool) +
	       (uint64_t)atomic_read_relaxed(&cache->nhuge) * BLOCK_PAGES;
}

/* ---- freezing --------------------------------------------------------------------------- */

static bool others_started(const struct pmm *pmm, unsigned cpu)
{
	for (unsigned i = 0; i < pmm->ncpus; i++)
		if (i != cpu && !(atomic_read_seq(&pmm->caches[i].revoked) & CACHE_NEW))
			return true;
	return false;
}

/* Blocks whose last frame was freed by who had no cache to do it keep their record
 * page until here. */
static void sweep_records(struct pmm *pmm)
{
	unsigned id = pmm_cache_id(pmm, pmm_shared_cache(pmm));
	uint32_t nblocks = ready_blocks(pmm);
	for (uint32_t block = 0; block < nblocks; block++)
		if (atomic_read_relaxed(&pmm->states[block]) & STATE_FORMAT)
			pmm_block_try_dismantle(pmm, block, id);
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
	 * cache that he has interrupted. */
	bool others = others_started(pmm, cpu);
	if (!wait && (others || atomic_read_relaxed(&pmm->caches[cpu].busy))) {
		mem_unlock(&pmm->rare, MEM_RANK_PMM);
		return false;
	}
	for (unsigned i = 0; i < pmm->ncpus; i++)
		if (!(atomic_or(&pmm->caches[i].revoked, CACHE_REVOKED) & CACHE_NEW) && i != cpu)
			others = true;
	if (others) {
		if (!wait) { /* one started just now */
			for (unsigned i = 0; i < pmm->ncpus; i++)
				(void)atomic_and(&pmm->caches[i].revoked, ~CACHE_REVOKED);
			mem_unlock(&pmm->rare, MEM_RANK_PMM);
			return false;
		}
		host_barrier_all();
	}
	for (unsigned i = 0; i < pmm->ncpus; i++)
		while (atomic_read_acquire(&pmm->caches[i].busy))
			host_relax();
	*irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	return true;
}

void pmm_release(struct pmm *pmm, unsigned long irq)
{
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	for (unsigned i = 0; i < pmm->ncpus; i++)
		(void)atomic_and(&pmm->caches[i].revoked, ~CACHE_REVOKED);
	mem_unlock(&pmm->rare, MEM_RANK_PMM);
}

bool pmm_freeze(struct pmm *pmm, bool wait, unsigned long *irq)
{
	if (!pmm_hold(pmm, wait, irq))
		return false;
	for (unsigned i = 0; i <= pmm->ncpus; i++)
		pmm_cache_flush(pmm, &pmm->caches[i]);
	sweep_records(pmm);
	pmm->frozen = true;
	return true;
}

void pmm_thaw(struct pmm *pmm, unsigned long irq)
{
	pmm->frozen = false;
	pmm_cache_flush(pmm, pmm_shared_cache(pmm));
	pmm_release(pmm, irq);
}
