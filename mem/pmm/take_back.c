/* SPDX-License-Identifier: MIT */
/*
 * Taking back what other CPUs keep ahead of need, without their help.
 *
 * The problem. A CPU keeps hundreds of frames to itself: what is left of the blocks that it
 * owns, and what it freed last. Who may not wait, and finds nothing else, cannot make it
 * give them back: it may spin with interrupts off, on the very lock that the caller holds.
 *
 * So these frames have a lock, a byte in each cache, which is not on the fast paths:
 *
 *     mask of a private word      32 frames at most     the CPU's alone, plain stores
 *     the newest freed word       64 frames at most     the CPU's alone, plain stores
 *     the rest of a private block                       by the lock
 *     the queue                                         appended to by the CPU alone, the
 *                                                       entry before `nqueue`; else by the lock
 *
 * Who takes back empties the entries of the queue, but leaves their number, which is the
 * CPU's. Of a private block it takes the frames that wait, and lets go of the block: the
 * CPU finds that it has none. It hands out the frames of the mask all the same; they are
 * in use in the bitmap, so the block stays what it is.
 *
 * Who takes back is inside its own cache, or holds `shared`: so it is not there while the
 * allocator is frozen. It does not wait for a lock that is held: then that CPU is at work
 * there just now. It holds the lock with interrupts off, so its CPU waits for no handler.
 *
 * Blocks of orders 1 to 9 in the CPUs' stacks stay out of reach: their fast paths would have
 * to lock.
 */
#include "pmm/internal.h"

static bool empty_queue(struct pmm *pmm, struct pmm_cpu_cache *cache, struct pmm_cpu_cache *mine)
{
	unsigned n = atomic_read_acquire(&cache->nqueue);
	bool any = false;
	for (unsigned i = 0; i < n; i++) {
		uint64_t mask = atomic_swap(&cache->queue_mask[i], (uint64_t)0);
		if (!mask)
			continue;
		pmm_block_free_bits(pmm, mine, atomic_read_relaxed(&cache->queue_w[i]), mask);
		any = true;
	}
	return any;
}

static bool take_back_from(struct pmm *pmm, struct pmm_cpu_cache *cache, struct pmm_cpu_cache *mine)
{
	bool any = false;
	unsigned long irq = host_irq_save();
	if (pmm_cache_trylock(cache)) {
		any = empty_queue(pmm, cache, mine);
		for (unsigned k = 0; k < KIND_COUNT; k++) {
			if (cache->word[k].block == BLOCK_NONE)
				continue;
			pmm_word_drop(pmm, &cache->word[k]);
			any = true;
		}
		pmm_cache_unlock(cache);
	}
	host_irq_restore(irq);
	return any;
}

bool pmm_take_back(struct pmm *pmm, struct pmm_cpu_cache *mine)
{
	bool any = false;
	for (unsigned i = 0; i < pmm->ncpus; i++)
		if (&pmm->caches[i] != mine)
			any |= take_back_from(pmm, &pmm->caches[i], mine);
	if (mine) {
		unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
		any |= pmm_cache_npages(pmm_shared_cache(pmm)) != 0;
		pmm_cache_flush(pmm, pmm_shared_cache(pmm));
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	}
	return any;
}
