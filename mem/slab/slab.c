/* SPDX-License-Identifier: MIT */
/*
 * The slab engine: allocation and free.
 *
 * The problem. Hand out blocks of one size from any CPU and any context, take
 * them back on any other, at the cost of a few plain instructions where the
 * block stays on its CPU; never let a mistake of the caller (double free, a
 * pointer that is no block) or a stray write into free memory corrupt the
 * allocator; and be able to give back *every* empty page, whatever the CPUs
 * hold, without their help.
 *
 * A slab is a stretch of pages cut into equal blocks. Everything known about
 * it lies in its descriptor, outside the blocks: one bit per block says free,
 * a second bitmap collects what other CPUs freed. Nothing is written into a
 * free block, so there is no list link to corrupt, constructed objects stay
 * constructed, and allocation touches no memory that it does not return.
 *
 *      struct slab                                  pages of the slab
 *     +---------------------------+                +-------+-------+-------+--
 *     | base, 1/stride, cache ... |---- base ----->| block | block | block |
 *     | fast: the owner's gate    |                +-------+-------+-------+--
 *     | free 1 0 0 1  remote 0 1  |                  bit 0   bit 1   bit 2
 *     +---------------------------+  64 blocks a pair of words: the owner stores to
 *                                    `free`, anyone else ors into `remote`
 *
 * Ownership. A slab belongs to one CPU or to the cache (owner 0, under the
 * cache's lock). Only the owner changes `free` and moves the slab between
 * lists. A CPU allocates from its `current` slab: lowest set bit of one word;
 * when all words are used up it takes over what others freed, then takes its
 * fullest other slab, then the cache's fullest, and only then new pages; so
 * sparse slabs drain. A CPU keeps the slabs it filled: frees by it find
 * owner == me and set a bit.
 *
 *     place of a slab:   CURRENT --all used--> FULL --1/16 free--> list 0..3
 *                           ^                                       |   by how
 *                           +----------- taken up, fullest first ---+   free
 *                                   EMPTY <--- the last block came back
 *
 * Free by another CPU: *announce*, then set the remote bit.
 *     1. announced was 0: set it (atomic), push the slab on the owner's notify
 *        stack. Usually it is 1 already and this is a read.
 *     2. atomic or of the block's bit into `remote`: the last access.
 * The owner takes its notify stack in one exchange when its current slab is
 * used up; of each slab it clears `announced`, then swaps the remote words
 * with zero. If a freer announces, the owner takes over, and only then the
 * freer sets its bit, the bit waits for the next announcement, for a sweep, or
 * for the reaper. The order is chosen so that:
 *
 *   S1  While a freer may still touch a slab, its block is not free. So a slab
 *       whose blocks are all free has no freer in it, and if `announced` is
 *       clear it is on no notify stack: it may be released at once.
 *   S2  `announced` set means: on exactly one notify stack, or popped from one
 *       by a CPU that will fold it or forward it, or about to be pushed by a
 *       freer (whose block is not free).
 *   S3  A slab changes owner under the cache's lock, between a CPU inside its
 *       own part and the cache; never from CPU to CPU. A notify stack may hold
 *       slabs that have since changed owner: whoever pops one forwards it.
 *   S4  free & remote == 0 for every block; both zero: the block is in use (or
 *       in a debug build's quarantine).
 *   S5  slab->fast is the owner's gate, or NULL: nobody's (the cache's own slabs, those
 *       of careful caches, all while a reaper is at work).
 *
 * Keeping others out. A CPU's parts (struct slab_cpu, one a cache; a heap's classes
 * have theirs side by side) stand behind a gate: a byte `busy`, set by plain stores
 * around every use. An interrupt handler that finds it set has interrupted a use: it
 * allocates from the cache's own slabs under the lock, and frees as another CPU would.
 *
 * Short paths (fast.h) look at nothing but `busy`, one word of bits, and slab->fast; they
 * serve what needs no list. The long ones also look at `revoked`. The reaper closes a
 * gate in two steps, each with a barrier on every CPU (host_barrier_all) and a wait for
 * `busy` to go: after `revoked` no long path is inside; then it takes away the words at
 * hand and every slab's `fast`, which only long paths give back, and after the second
 * step no short path is inside either. So the short paths pay nothing for the reaper.
 * (gate.pml is the model of this, remote.pml of frees by other CPUs; ./test checks both.)
 *
 * Lock order: reap lock (MEM_RANK_REAP) < heap (MEM_RANK_HEAP) < cache->lock
 * (MEM_RANK_SLAB). Pages are taken and given with none of these held; frees never
 * call a page source.
 *
 * Rejected: lists threaded through free blocks (a use after free corrupts
 * them, constructors need a second word, allocation misses the cache on the
 * link); per-CPU arrays of pointers (a double free is then invisible, blocks
 * in arrays keep slabs from becoming empty); a locked instruction in `busy`
 * (three times the cost of the whole path); queues of freed blocks per CPU
 * (need links in the blocks); a gate for each cache (its address depends on the block,
 * and each free then waits for the one before it).
 */
#include "slab/fast.h"
#include "slab/paths.h"

#include "base/assert.h"

MEM_NORETURN void slab_bad_block(const struct slab *slab, const void *block, const char *what)
{
	host_panic("slab '%s': %s: %p (%lu-byte objects)", slab->cache->name, what, block,
		   (unsigned long)slab->cache->object_bytes);
}

/* ---- alloc --------------------------------------------------------------- */

static inline bool take_own(const struct slab_cache *cache, struct slab_cpu *c, void **block)
{
	return cache->careful ? slab_take_random(c, block) : slab_take_bit(c, block);
}

/* One try without new pages. */
static void *take_block(struct slab_cache *cache)
{
	void *block;
	bool taken = false;
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_gate *gate = slab_gate(cache, cpu);
	struct slab_cpu *c = slab_part(cache, cpu);
	if (likely(slab_enter(gate))) {
		taken = take_own(cache, c, &block) ||
			(slab_refill(cache, c) && take_own(cache, c, &block));
		slab_leave(gate);
	}
	if (unlikely(!taken))
		block = slab_take_shared(cache);
	host_preempt_enable();
	return block;
}

static void *take_with_pages(struct slab_cache *cache)
{
	bool atomic = !host_irq_enabled() || host_in_interrupt();
	for (;;) {
		struct slab *slab = cache->home->make(cache, atomic);
		if (!slab)
			break;
		slab_install(cache, slab);
		void *block = take_block(cache);
		if (block)
			return block;
		/* Somebody else was given what we brought. */
	}
	if (SLAB_DEBUG)
		for (void *old; (old = slab_debug_drain(cache));)
			slab_give_now(slab_of(cache, old), old);
	/* No pages: then every last free block counts, those too that full slabs
	 * have before they are put on a list. */
	slab_sweep(cache);
	return take_block(cache);
}

void *slab_take_slowly(struct slab_cache *cache)
{
	void *block = take_block(cache);
	return block ? block : take_with_pages(cache);
}

void *slab_take(struct slab_cache *cache, size_t bytes, const void *site)
{
	host_preempt_disable();
	void *block;
	unsigned cpu = host_cpu();
	bool taken = slab_take_fast(slab_gate(cache, cpu), slab_part(cache, cpu), &block);
	host_preempt_enable();
	if (unlikely(!taken))
		block = slab_take_slowly(cache);
	if (SLAB_DEBUG && block)
		slab_debug_alloc(slab_of(cache, block), block, bytes, site);
	return block;
}

void *slab_alloc(struct slab_cache *cache)
{
	return slab_take(cache, cache->object_bytes, __builtin_return_address(0));
}

/* ---- free ---------------------------------------------------------------- */

static void give_remote(struct slab *slab, unsigned index)
{
	uint64_t bit = (uint64_t)1 << (index % 64);
	if (__atomic_load_n(&slab->word[index / 64].free, __ATOMIC_RELAXED) & bit)
		slab_bad_block(slab, slab_block(slab, index), "double free");
	if (!atomic_read_acquire(&slab->announced) && !atomic_swap(&slab->announced, 1))
		slab_notify(slab);
	uint64_t before = atomic_or(&slab->word[index / 64].remote, bit);
	/* The slab may be gone now, unless this was no legitimate free. */
	if (unlikely(before & bit))
		slab_bad_block(slab, slab_block(slab, index), "double free");
}

unsigned slab_index(const struct slab *slab, const void *block)
{
	uint64_t index;
	if (unlikely(!slab_find_index(slab, block, &index)))
		slab_bad_block(slab, block, "invalid free: not the start of an object");
	return (unsigned)index;
}

/* Set the block's bit: by the slab's owner. */
static void give_bit(struct slab *slab, unsigned index)
{
	struct slab_word *word = &slab->word[index / 64];
	uint64_t bit = (uint64_t)1 << (index % 64);
	if (unlikely((word->free | atomic_read_relaxed(&word->remote)) & bit))
		slab_bad_block(slab, slab_block(slab, index), "double free");
	__atomic_store_n(&word->free, word->free | bit, __ATOMIC_RELAXED);
	slab->left--;
}

/* A slab of the cache's own: true if it still is, and the block was freed. */
static bool give_shared(struct slab *slab, unsigned index)
{
	struct slab_cache *cache = slab->cache;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	bool ours = !atomic_read_relaxed(&slab->owner);
	struct slab *empty = NULL;
	if (ours) {
		give_bit(slab, index);
		if (slab_nfree(slab) >= slab->threshold)
			empty = slab_settle_shared(cache, slab);
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (empty)
		cache->home->release(cache, empty);
	return ours;
}

/* A slab of this CPU's: true if it is, and the block was freed. */
static bool give_own(struct slab *slab, unsigned index)
{
	struct slab_cache *cache = slab->cache;
	unsigned cpu = host_cpu();
	struct slab_gate *gate = slab_gate(cache, cpu);
	if (!slab_enter(gate))
		return false;
	/* Asked inside: a handler on this CPU may give slabs away. */
	bool own = atomic_read_relaxed(&slab->owner) == cpu + 1;
	if (own) {
		give_bit(slab, index);
		if (unlikely(slab_nfree(slab) >= slab->threshold))
			slab_settle(cache, slab_part(cache, cpu), slab);
	}
	slab_leave(gate);
	return own;
}

void slab_give_index(struct slab *slab, unsigned index)
{
	host_preempt_disable();
	if (!give_own(slab, index) &&
	    (atomic_read_acquire(&slab->owner) || !give_shared(slab, index)))
		give_remote(slab, index);
	host_preempt_enable();
}

void slab_give_slowly(struct slab *slab, const void *block)
{
	slab_give_index(slab, slab_index(slab, block));
}

void slab_give(struct slab *slab, void *block, const void *site)
{
	if (SLAB_DEBUG) {
		struct slab_cache *cache = slab->cache;
		(void)slab_index(slab, block);
		block = slab_debug_free(slab, block, site);
		if (!block)
			return;
		slab = slab_of(cache, block);
	}
	slab_give_now(slab, block);
}

void slab_give_now(struct slab *slab, void *block)
{
	host_preempt_disable();
	struct slab_gate *gate = slab_gate(slab->cache, host_cpu());
	enum slab_given given = slab_give_fast(slab, gate, block);
	if (unlikely(given == SLAB_SETTLE)) {
		slab_settle_and_leave(slab, gate);
		return;
	}
	host_preempt_enable();
	if (unlikely(given == SLAB_NOT_GIVEN))
		slab_give_slowly(slab, block);
}

void slab_free(struct slab_cache *cache, void *object)
{
	slab_give(slab_of_checked(cache, object), object, __builtin_return_address(0));
}

void slab_assert_in_use(struct slab *slab, unsigned index, const char *what)
{
	const struct slab_word *word = &slab->word[index / 64];
	uint64_t bits = atomic_read_relaxed(&word->free) | atomic_read_relaxed(&word->remote);
	if (unlikely((bits >> (index % 64)) & 1))
		slab_bad_block(slab, slab_block(slab, index), what);
}
