/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_FAST_H
#define MEM_SLAB_FAST_H
/* The paths on which a block stays on its CPU, to be inlined into the calls
 * that users make. The theory is at the head of slab/slab.c. */
#include "slab/engine.h"

/* ---- a CPU's part -------------------------------------------------------- */

/*
 * Enter this CPU's part. False: an interrupted use is inside, or the reaper has
 * closed it. Preemption is off.
 *
 * The store to `busy` and the load of `revoked` may pass each other in the
 * CPU's store buffer; host_barrier_all, between the reaper's store to `revoked`
 * and its load of `busy`, closes exactly that gap.
 */
static inline bool slab_enter(struct slab_cpu *c)
{
	if (unlikely(atomic_read_relaxed(&c->busy)))
		return false;
	atomic_write_relaxed(&c->busy, 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(atomic_read_acquire(&c->revoked))) {
		atomic_write_release(&c->busy, 0);
		return false;
	}
	return true;
}

static inline void slab_leave(struct slab_cpu *c)
{
	atomic_write_release(&c->busy, 0);
}

/* ---- finding ------------------------------------------------------------- */

/* The index of `block` in its slab; panics if it is not the start of one. */
static inline unsigned slab_index(const struct slab *slab, const void *block)
{
	uint64_t offset = (uint64_t)((uintptr_t)block - (uintptr_t)slab->base);
	/* Exact for every multiple of stride within the slab; anything else fails
	 * the multiplication back. */
	uint64_t index = (offset * slab->reciprocal) >> 32;
	if (unlikely(index >= slab->capacity || index * slab->stride != offset))
		slab_bad_block(slab, block, "invalid free: not the start of an object");
	return (unsigned)index;
}

/* ---- alloc --------------------------------------------------------------- */

/* The next block of the word at hand, NULL: used up. Inside the CPU's part. */
static inline void *slab_take_bit(struct slab_cpu *c)
{
	uint64_t word = *c->word;
	if (unlikely(!word))
		return NULL;
	__atomic_store_n(c->word, word & (word - 1), __ATOMIC_RELAXED);
	count_add(&c->allocs, 1);
	return c->word_base + (size_t)bit_lowest(word) * c->stride;
}

static inline void *slab_take_fast(struct slab_cache *cache)
{
	void *block = NULL;
	host_preempt_disable();
	struct slab_cpu *c = &cache->cpu[host_cpu()];
	if (likely(slab_enter(c))) {
		block = slab_take_bit(c);
		slab_leave(c);
	}
	host_preempt_enable();
	return block;
}

/* When slab_take_fast found nothing: the whole way, pages included. */
void *slab_take_slowly(struct slab_cache *cache);

/* ---- free ---------------------------------------------------------------- */

/* Set the block's bit: by the slab's owner. */
static inline void slab_give_bit(struct slab *slab, unsigned index)
{
	uint64_t *word = &slab->free[index / 64];
	uint64_t bit = (uint64_t)1 << (index % 64);
	uint64_t remote = atomic_read_relaxed(&slab_remote(slab)[index / 64]);
	if (unlikely((*word | remote) & bit))
		slab_bad_block(slab, slab_block(slab, index), "double free");
	__atomic_store_n(word, *word | bit, __ATOMIC_RELAXED);
	slab->nfree++;
}

/* nfree reached the threshold: put the slab where it belongs now; it may be
 * gone afterwards. Inside the CPU's part. */
void slab_settle(struct slab_cache *cache, struct slab_cpu *c, struct slab *slab);
/* The block's slab is not this CPU's, or this CPU's part is closed. */
void slab_give_elsewhere(struct slab *slab, unsigned index);

static inline void slab_give_index(struct slab *slab, unsigned index)
{
	struct slab_cache *cache = slab->cache;
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_cpu *c = &cache->cpu[cpu];
	bool given = false;
	if (likely(slab_enter(c))) {
		/* Asked inside: a handler on this CPU may give slabs away. */
		if (likely(atomic_read_relaxed(&slab->owner) == cpu + 1)) {
			slab_give_bit(slab, index);
			if (unlikely(slab->nfree >= slab->threshold))
				slab_settle(cache, c, slab);
			given = true;
		}
		slab_leave(c);
	}
	if (unlikely(!given))
		slab_give_elsewhere(slab, index);
	host_preempt_enable();
}

#endif
