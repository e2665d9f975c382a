/* SPDX-License-Identifier: MIT */
/*
 * The reaper: finds every empty slab of a cache, whoever owns it, while the
 * other CPUs go on.
 *
 *   1. close every CPU's guard: revoked = 1; barrier; wait until each was seen not busy:
 *      now no slow path is inside, and none will be
 *   2. take away what fast paths use, the magazines; barrier; wait again: now nobody is
 *      inside
 *   3. give what is in the magazines to its slabs; then, under the cache's lock: empty the
 *      notify stacks, fold every slab's
 *      remote bits, count, put each slab on the cache's proper list, take the
 *      empty ones out
 *   4. open the guards again: revoked = 0
 *   5. release what was taken out, with no lock but the reapers' own held
 *
 * Between 1 and 4 the other CPUs allocate from the cache's own slabs under its
 * lock and free by the remote bitmap. Such a freer may announce a slab after
 * its stack was emptied: then `announced` is set and the slab is left for the
 * next time (S1 in slab.c). All other slabs become the cache's own, on its lists
 * if anything in them is free: whichever CPU asks next fills the fullest first.
 *
 * One reaper at a time (the registry's lock), so `revoked` needs no count. The
 * lock is held across the barrier: with interrupts on, as lock ranks say.
 */
#include "base/assert.h"
#include "slab/fast.h"
#include "slab/paths.h"
#include "slab/registry.h"

static void close_guards(struct slab_cache *cache)
{
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		atomic_write_seq(&slab_guard(cache, cpu)->revoked, 1);
}

static void await_guards(struct slab_cache *cache)
{
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		while (atomic_read_acquire(&slab_guard(cache, cpu)->busy))
			host_relax();
}

static void open_guards(struct slab_cache *cache)
{
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		atomic_write_release(&slab_guard(cache, cpu)->revoked, 0);
}

/* Take away what the fast paths lead to. Nobody puts it back while the guards are
 * closed. */
static void hide(struct slab_cache *cache)
{
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		slab_magazine_close(&slab_cpu_of(cache, cpu)->magazine);
}

static void clear_notify(struct slab_cpu *c)
{
	struct slab *next = atomic_swap(&c->notify, (struct slab *)NULL);
	while (next) {
		struct slab *slab = next;
		next = slab->notify_next;
		atomic_write_seq(&slab->announced, 0);
	}
}

/* Make a slab the cache's own, with all that others freed; it is on no list then. Its
 * owner's per-CPU cache is the caller's. Locks: cache->lock. */
static void disown(struct slab_cache *cache, struct slab *slab)
{
	unsigned owner = atomic_read_relaxed(&slab->owner);
	struct slab_cpu *c = owner ? slab_cpu_of(cache, owner - 1) : NULL;
	slab_fold(slab);
	slab_set_nfree(slab, slab_count_free(slab));
	if (slab->place == SLAB_CURRENT)
		c->current = slab_none();
	slab_unlist(c ? &c->lists : &cache->shared, slab);
	if (c)
		c->nslabs--;
	slab_set_owner(slab, 0);
}

static void list_shared(struct slab_cache *cache, struct slab *slab)
{
	slab_set_place(slab, slab_place_for(slab));
	if (slab->place == SLAB_FULL && slab_nfree(slab))
		slab_set_place(slab, SLAB_FULLEST); /* every free block counts */
	if (slab->place < SLAB_LISTS)
		slab_list(&cache->shared, slab, slab->place);
}

static void collect_slab(struct slab_cache *cache, struct slab *slab)
{
	disown(cache, slab);
	if (slab_nfree(slab) < slab->capacity || atomic_read_acquire(&slab->announced)) {
		list_shared(cache, slab);
		return;
	}
	slab_forget(cache, slab);
	list_push_back(&cache->reaped, &slab->node);
}

void slab_cpu_leave(struct slab_cache *cache)
{
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	struct slab_cpu *c = slab_cpu_of(cache, cpu);
	if (slab_enter(guard)) { /* else a reaper does the same just now */
		slab_close_magazine(cache, c);
		slab_take_notified(cache, c, cpu + 1);
		unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
		list_for_each (node, &cache->slabs) {
			struct slab *slab = list_entry(node, struct slab, all);
			if (atomic_read_relaxed(&slab->owner) != cpu + 1)
				continue;
			disown(cache, slab);
			list_shared(cache, slab);
		}
		c->peak = 0;
		c->warmth = 0;
		mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
		slab_leave(guard);
	}
	host_preempt_enable();
}

static void unload_cache(struct slab_cache *cache)
{
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		slab_unload_closed(cache, slab_cpu_of(cache, cpu));
	/* Who was warm is cold from now on: what is held then depends on what is live. */
	atomic_write_relaxed(&cache->wants_storage, 0);
}

static void collect_cache(struct slab_cache *cache)
{
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++) {
		struct slab_cpu *c = slab_cpu_of(cache, cpu);
		clear_notify(c);
		c->peak = 0;
		c->warmth = 0;
	}
	list_for_each_safe (node, &cache->slabs)
		collect_slab(cache, list_entry(node, struct slab, all));
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
}

void slab_collect(struct slab_cache *const *caches, size_t count)
{
	if (SLAB_DEBUG)
		for (size_t i = 0; i < count; i++)
			for (void *block; (block = slab_debug_drain(caches[i]));)
				slab_give_now(slab_of(caches[i], block), block);
	for (size_t i = 0; i < count; i++)
		close_guards(caches[i]);
	host_barrier_all();
	for (size_t i = 0; i < count; i++) {
		await_guards(caches[i]);
		hide(caches[i]);
	}
	host_barrier_all();
	for (size_t i = 0; i < count; i++) {
		await_guards(caches[i]);
		unload_cache(caches[i]);
	}
	for (size_t i = 0; i < count; i++)
		collect_cache(caches[i]); /* last: some have given the storage of magazines */
	for (size_t i = 0; i < count; i++)
		open_guards(caches[i]); /* at last: caches may share guards */
}

uint64_t slab_release_reaped(struct slab_cache *cache)
{
	uint64_t npages = 0;
	list_for_each_safe (node, &cache->reaped) {
		struct slab *slab = list_entry(node, struct slab, node);
		list_remove(node);
		npages += slab->npages;
		cache->backend->release(cache, slab);
	}
	return npages;
}

uint64_t slab_reap_caches(struct slab_cache *const *caches, size_t count)
{
	uint64_t n = 0;
	slab_registry_lock();
	slab_collect(caches, count);
	for (size_t i = 0; i < count; i++)
		n += slab_release_reaped(caches[i]);
	slab_registry_unlock();
	return n;
}

uint64_t slab_reap(struct slab_cache *cache)
{
	mem_contract_thread();
	return slab_reap_caches(&cache, 1);
}

uint64_t slab_reap_all(void)
{
	mem_contract_thread();
	struct slab_cache *batch[32];
	uint64_t npages = 0;
	size_t skip = 0, n;
	do {
		/* A batch at a time; caches come and go only under this lock. */
		n = 0;
		size_t at = 0;
		slab_registry_lock();
		list_for_each (node, slab_registry())
			if (at++ >= skip && n < ARRAY_COUNT(batch))
				batch[n++] = list_entry(node, struct slab_cache, registry);
		slab_collect(batch, n);
		for (size_t i = 0; i < n; i++)
			npages += slab_release_reaped(batch[i]);
		slab_registry_unlock();
		skip += n;
	} while (n == ARRAY_COUNT(batch));
	return npages;
}
