/* SPDX-License-Identifier: MIT */
/*
 * The slab engine: allocation and free.
 *
 * The problem. Allocate blocks of one size on any CPU and in any context, and free them on
 * any other. Where the block stays on its CPU that costs a few plain instructions. Never
 * let the caller corrupt the allocator by a double free, a pointer that is no block, or a
 * stray write into free memory. And be able to give back *every* empty page, whatever the
 * CPUs hold, without their help.
 *
 * A slab is a stretch of pages cut into equal blocks. Everything known about it lies in its
 * descriptor, outside the blocks. For where a block begins, a byte says that it is
 * allocated, one bit that it is free, and another bit that another CPU freed it. Nothing is
 * written into a free block, so there is no list link to corrupt, constructed objects stay
 * constructed, and allocation touches no memory that it does not return.
 *
 *      struct slab                                  pages of the slab
 *     +---------------------------+                +-------+-------+-------+--
 *     | cache, owner, lists ...   |                | block | block | block |
 *     | base                      |---- base ----->+-------+-------+-------+--
 *     | free 1 0 0 0  remote 0 1  |                  bit 0   1       2
 *     | states 0 . X . 0 .        |  the owner stores to `free`, anyone else ors into
 *     +---------------------------+  `remote`; a state who allocates and frees the block
 *
 * States (engine.h) are found by a shift and say in one byte whether an address is where a
 * block begins, and that it is in use. So the fast path of the heap's free needs nothing
 * else of the slab; how to find the states is in a table by pages (heap/segment.c).
 *
 * Fast paths. In front of its slabs each CPU has a magazine: free blocks of any slab
 * of the cache, with the addresses of their states (magazine.c). An allocation pops one
 * and sets its state; a free looks whether the state is set, clears it and pushes the
 * block, whoever owns its slab. So a second free is seen at once on any CPU, and yet
 * nothing is locked: neighbours' states are different bytes. (Two CPUs that free the same
 * block in the very same moment both see it set. Such a block is found when the second
 * copy reaches its slab, or, handed out twice before, when it is freed for the second time.)
 *
 * Ownership. A slab belongs to one CPU or to the cache (owner 0, under the cache's lock).
 * Only the owner changes `free` and moves the slab between lists. A CPU fills its magazine
 * from its `current` slab, words of bits at a time. When all words are used up it takes
 * over what others freed. Next it takes its fullest other slab, then the cache's fullest,
 * and only then new pages; so sparse slabs drain. A CPU keeps the slabs it used up: what
 * comes back from its magazine finds owner == me and sets bits.
 *
 *     place of a slab:   CURRENT --all used--> FULL --1/32 free--> list 0..3
 *                           ^                                       |   by how
 *                           +----------- taken up, fullest first ---+   free
 *                                   EMPTY <--- the last block came back
 *
 * Given back by another CPU: *announce*, then set the remote bits.
 *     1. announced was 0: set it (atomic), push the slab on the owner's notify
 *        stack. Usually it is 1 already and this is a read.
 *     2. atomic or of the blocks' bits into `remote`: the last access.
 * The owner takes its notify stack in one exchange when its current slab is used up, and
 * looks at some of what it took. Of each slab it clears `announced`, then swaps the remote
 * words with zero. If a freer announces, the owner takes over, and only then the freer sets
 * its bits, they wait for the next announcement, for a sweep, or for the reaper. The order is
 * chosen so that:
 *
 *   S1  While a freer may still touch a slab, its block is not free. So a slab
 *       whose blocks are all free has no freer in it, and if `announced` is
 *       clear it is on no notify stack: it may be released at once.
 *   S2  `announced` set means: on exactly one notify stack, or popped from one
 *       by a CPU that will fold it or forward it, or about to be pushed by a
 *       freer (whose block is not free).
 *   S3  A slab changes owner under the cache's lock, between a CPU inside its
 *       own guard and the cache; never from CPU to CPU. A notify stack may hold
 *       slabs that have since changed owner: whoever pops one forwards it.
 *   S4  Of a block's state, `free` and `remote` one at most is set. All clear: it is in a
 *       magazine, or on its way there (or in a debug build's quarantine, with its state
 *       set). To its slab such a block is in use.
 *
 * Keeping others out. A CPU's caches (struct slab_cpu, one for each object cache; those of
 * a heap's classes stand side by side) are behind a busy guard. That is a byte, changed by
 * one instruction without a lock on the way in (slab_try), and set to 0 by a store on the
 * way out. An interrupt handler that finds it set has interrupted a use: it allocates from
 * the cache's own slabs under the lock, and frees as another CPU would.
 *
 * Fast paths (fast.h) look at nothing but `busy` and the magazine that the CPU's magazine
 * header leads to. Slow paths also look at `revoked`. The reaper closes a guard in two
 * steps, each with a barrier on every CPU (host_barrier_all) and a wait for `busy` to go.
 * First it sets `revoked`: after that step no slow path is inside. Then it sets the limits
 * in every header so that its magazine is both empty and full, which only slow paths undo.
 * After this step no fast path is inside either. So the fast paths pay nothing for the
 * reaper. (guard.pml is the model of this, remote.pml of frees by other CPUs; ./test checks
 * both.)
 *
 * Lock order: reap lock (MEM_RANK_REAP) < heap (MEM_RANK_HEAP) < cache->lock
 * (MEM_RANK_SLAB). Pages are taken and given with none of these held; frees never
 * call a page source.
 *
 * Rejected: lists threaded through free blocks (a use after free corrupts them,
 * constructors need a second word, allocation misses the cache on the link). Fast paths
 * that take and set bits of a slab of the CPU's own: as fast where blocks come and go in
 * order. But random frees leave each slab a few free blocks, so that every few allocations
 * walk lists, and frees of other CPUs' blocks are locked instructions. A locked instruction
 * in `busy` (three times the cost of the whole path). Queues of freed blocks per CPU (need
 * links in the blocks). A guard for each cache: its address depends on the block, so each
 * free waits for the one before it.
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

static inline bool pop(const struct slab_cache *cache, struct slab_guard *guard, struct slab_cpu *c,
		       void **block)
{
	return cache->careful ? slab_pop_random(c, block)
			      : slab_pop(guard, slab_magazine_at(guard, c), block);
}

/* One try without new pages. */
static void *take_block(struct slab_cache *cache)
{
	void *block;
	bool taken = false;
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	struct slab_cpu *c = slab_cpu_of(cache, cpu);
	if (likely(slab_enter(guard))) {
		taken =
		    (slab_load(cache, c) || slab_borrow(cache, c)) && pop(cache, guard, c, &block);
		slab_leave(guard);
	}
	if (unlikely(!taken))
		block = slab_take_shared(cache);
	host_preempt_enable();
	return block;
}

static void *take_with_pages(struct slab_cache *cache, bool wait)
{
	bool atomic = !wait || !host_irq_enabled() || host_in_interrupt();
	for (;;) {
		struct slab *slab = cache->backend->make(cache, atomic);
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

/* What the fast path takes. */
static void *take_cached(struct slab_cache *cache)
{
	host_preempt_disable();
	void *block;
	bool taken = false;
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	if (slab_try(guard)) {
		taken = pop(cache, guard, slab_cpu_of(cache, cpu), &block);
		slab_leave(guard);
	}
	host_preempt_enable();
	return taken ? block : NULL;
}

void *slab_take_ready(struct slab_cache *cache)
{
	/* In other builds the fast path has been tried. */
	void *block = SLAB_DEBUG ? take_cached(cache) : NULL;
	if (!block)
		block = take_block(cache);
	if (unlikely(atomic_read_relaxed(&cache->wants_storage)))
		slab_make_store(cache);
	return block;
}

void *slab_take_slowly(struct slab_cache *cache, bool wait)
{
	void *block = slab_take_ready(cache);
	return block ? block : take_with_pages(cache, wait);
}

void *slab_take(struct slab_cache *cache, size_t bytes, bool wait, const void *site)
{
	void *block = take_cached(cache);
	if (unlikely(!block))
		block = slab_take_slowly(cache, wait);
	if (SLAB_DEBUG && block)
		slab_debug_alloc(slab_of(cache, block), block, bytes, site);
	return block;
}

void *slab_alloc(struct slab_cache *cache)
{
	return slab_take(cache, cache->object_bytes, false, __builtin_return_address(0));
}

void *slab_alloc_wait(struct slab_cache *cache)
{
	return slab_take(cache, cache->object_bytes, true, __builtin_return_address(0));
}

/* ---- free ---------------------------------------------------------------- */

static MEM_NORETURN void double_free(const struct slab *slab, unsigned word, uint64_t bits)
{
	slab_bad_block(slab, slab_block(slab, word * 64 + bit_lowest(bits)), "double free");
}

static void give_remote(struct slab *slab, unsigned word, uint64_t bits)
{
	uint64_t both = atomic_read_relaxed(&slab->word[word].free) & bits;
	if (unlikely(both))
		double_free(slab, word, both);
	if (!atomic_read_acquire(&slab->announced) && !atomic_swap(&slab->announced, 1))
		slab_notify(slab);
	both = atomic_or(&slab->word[word].remote, bits) & bits;
	/* The slab may be gone now, unless this was no legitimate free. */
	if (unlikely(both))
		double_free(slab, word, both);
}

unsigned slab_index(const struct slab *slab, const void *block)
{
	uint64_t index;
	if (unlikely(!slab_find_index(slab, block, &index)))
		slab_bad_block(slab, block, "invalid free: not the start of an object");
	return (unsigned)index;
}

void slab_set_bits(struct slab *slab, unsigned word, uint64_t bits)
{
	struct slab_word *w = &slab->word[word];
	uint64_t both = (w->free | atomic_read_relaxed(&w->remote)) & bits;
	if (unlikely(both))
		double_free(slab, word, both);
	atomic_write_relaxed(&w->free, w->free | bits);
	slab->left = (uint16_t)(slab->left - bit_count(bits));
}

/* A slab of the cache's own: true if it still is, and the blocks were freed. */
static bool give_shared(struct slab *slab, unsigned word, uint64_t bits)
{
	struct slab_cache *cache = slab->cache;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	bool ours = !atomic_read_relaxed(&slab->owner);
	struct slab *empty = NULL;
	if (ours) {
		slab_set_bits(slab, word, bits);
		if (slab_nfree(slab) >= slab->threshold)
			empty = slab_settle_shared(cache, slab);
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (empty)
		cache->backend->release(cache, empty);
	return ours;
}

void slab_give_bits(struct slab *slab, unsigned word, uint64_t bits)
{
	if (atomic_read_acquire(&slab->owner) || !give_shared(slab, word, bits))
		give_remote(slab, word, bits);
}

void slab_give_bits_inside(struct slab_cpu *c, struct slab *slab, unsigned word, uint64_t bits)
{
	/* Asked inside: a handler on this CPU may give slabs away. */
	if (atomic_read_relaxed(&slab->owner) != host_cpu() + 1) {
		slab_give_bits(slab, word, bits);
		return;
	}
	slab_set_bits(slab, word, bits);
	if (unlikely(slab_nfree(slab) >= slab->threshold))
		slab_settle(slab->cache, c, slab);
}

/* A block that is free from now on: into the magazine, or to its slab. */
static void put(struct slab *slab, unsigned index)
{
	struct slab_cache *cache = slab->cache;
	uint64_t bit = (uint64_t)1 << (index % 64);
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	struct slab_cpu *c = slab_cpu_of(cache, cpu);
	if (!slab_enter(guard)) {
		slab_give_bits(slab, index / 64, bit);
	} else {
		if (atomic_read_relaxed(&slab->drains) || !slab_is_warm(c) ||
		    !slab_make_space(cache, c)) {
			slab_give_bits_inside(c, slab, index / 64, bit);
		} else {
			void *block = slab_block(slab, index);
			(void)slab_push(guard, slab_magazine_at(guard, c), block,
					slab_state(slab, block), false);
		}
		slab_leave(guard);
	}
	host_preempt_enable();
}

void slab_give_index(struct slab *slab, unsigned index)
{
	slab_assert_in_use(slab, index, "double free");
	slab_mark_free(slab_state(slab, slab_block(slab, index)));
	put(slab, index);
}

void slab_give_slowly(struct slab *slab, void *block)
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
	unsigned index = slab_index(slab, block);
	slab_assert_in_use(slab, index, "double free");
	if (!slab_give_fast(slab, block, slab_state(slab, block)))
		slab_give_index(slab, index);
}

void slab_free(struct slab_cache *cache, void *object)
{
	slab_give(slab_of_checked(cache, object), object, __builtin_return_address(0));
}

void slab_assert_in_use(struct slab *slab, unsigned index, const char *what)
{
	void *block = slab_block(slab, index);
	if (unlikely(!slab_is_allocated(block, slab_state(slab, block))))
		slab_bad_block(slab, block, what);
}
