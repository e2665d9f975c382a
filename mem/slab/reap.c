/* SPDX-License-Identifier: MIT */
/*
 * The reaper: finds every empty slab of a cache, whoever owns it, while the
 * other CPUs go on.
 *
 *   1. close every CPU's guard: revoked = 1; barrier; wait until each was seen not busy:
 *      now no slow path is inside, and none will be
 *   2. take away what fast paths use, the magazines; barrier; wait again: now nobody is
 *      inside
 *   3. some of the work, cache by cache, and its CPUs first: give what is in a magazine to its
 *      slabs, empty the notify stack; then, under the cache's lock: fold a slab's remote
 *      bits, count, put it on the cache's proper list, take it out if it is empty
 *   4. open the guards again: revoked = 0
 *   5. release what was taken out, with no lock but the reapers' own held
 *
 * These are one step. Preemption is off in it, so it ends after some work, however many
 * slabs and CPUs there are; the next goes on where it stopped (cache->reaped). What is in
 * order when a step ends stays so: a magazine that was taken away and is still full is
 * opened again by its CPU's next slow path.
 *
 * Between 1 and 4 the other CPUs allocate from the cache's own slabs under its
 * lock and free by the remote bitmap. Such a freer may announce a slab after
 * its stack was emptied: then `announced` is set and the slab is left for the
 * next time (S1 in slab.c). All other slabs become the cache's own, on its lists
 * if anything in them is free: whichever CPU asks next fills the fullest first.
 *
 * One step at a time (the registry's lock), so `revoked` needs no count. The lock is held
 * across the barrier: with interrupts on, as lock ranks say. Who begins to reap a cache that
 * another reaper is in has both begin anew there. Nothing that was taken out of a cache waits
 * between steps. So what was empty before a reap was called, and stays so, is released when
 * it returns, by whomever.
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

/* ---- one CPU ------------------------------------------------------------------- */

/* What a step may do yet; in the work that an entry of a magazine is. */
#define STEP_WORK  64u
#define SLAB_WORK  8u
#define PAGES_WORK 2u /* pages of a slab that are as much */

static void work(unsigned *left, size_t n)
{
	*left -= (unsigned)mem_min(n, (size_t)*left);
}

/* The slabs on a CPU's notify stack are announced no longer. False: there are more, but for
 * what has been pushed since this began. */
static bool clear_notify(struct slab_cache *cache, struct slab_cpu *c, unsigned *left)
{
	for (; *left; work(left, 1)) {
		if (!c->taken && cache->reaped.swapped)
			return true;
		if (!c->taken) {
			c->taken = atomic_swap(&c->notify, (struct slab *)NULL);
			cache->reaped.swapped = true;
			continue;
		}
		struct slab *slab = c->taken;
		c->taken = slab->notify_next;
		atomic_write_seq(&slab->announced, 0);
	}
	return false;
}

/* A CPU becomes cold, and keeps no block. */
static bool collect_cpu(struct slab_cache *cache, struct slab_cpu *c, unsigned *left)
{
	size_t n = slab_loaded(c);
	bool all = slab_unload_closed(cache, c, *left);
	work(left, 1 + n);
	if (!all || !clear_notify(cache, c, left))
		return false;
	c->peak = 0;
	c->warmth = 0;
	cache->reaped.swapped = false;
	return true;
}

/* ---- one slab ------------------------------------------------------------------ */

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

/* Locks: cache->lock. */
static void collect_slab(struct slab_cache *cache, struct slab *slab)
{
	disown(cache, slab);
	if (slab_nfree(slab) < slab->capacity || atomic_read_acquire(&slab->announced)) {
		list_shared(cache, slab);
		return;
	}
	slab_forget(cache, slab);
	list_push_back(&cache->reaped.slabs, &slab->node);
}

/* Some slabs; true: those were the last of the walk. */
static bool collect_slabs(struct slab_cache *cache, unsigned *left)
{
	struct slab *slab = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	struct slab_reaped *r = &cache->reaped;
	if (!r->walks)
		slab_walk_begin(cache, &r->cursor);
	r->walks = true;
	for (unsigned n = 0; n < SLAB_STEP && *left; n++) {
		slab = slab_walk_next(cache, &r->cursor);
		if (!slab)
			break;
		collect_slab(cache, slab);
		work(left, SLAB_WORK + slab->npages / PAGES_WORK);
	}
	if (!slab) {
		slab_walk_end(&r->cursor);
		r->walks = false;
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	return !slab;
}

/* ---- steps ---------------------------------------------------------------------- */

/* Neither slabs nor room for blocks of others. */
static bool has_nothing(struct slab_cache *cache)
{
	bool nothing = !atomic_read_relaxed(&cache->nslabs);
	for (unsigned cpu = 0; nothing && cpu < cache->ncpus; cpu++)
		nothing = !cache->store[0] || !slab_cpu_of(cache, cpu)->storage;
	return nothing;
}

/* The reap of a cache begins, or begins anew. Locks: the registry's. */
static void begin(struct slab_cache *cache)
{
	struct slab_reaped *r = &cache->reaped;
	if (r->walks) {
		unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
		slab_walk_end(&r->cursor);
		mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	}
	r->walks = r->swapped = false;
	r->done = has_nothing(cache);
	r->cpu = r->drained = 0;
}

/* Debug builds: what is in quarantine comes out before the guards close. */
static void drain(struct slab_cache *cache, unsigned *left)
{
	struct slab_reaped *r = &cache->reaped;
	for (; SLAB_DEBUG && *left && !r->done && r->drained < SLAB_QUARANTINE; r->drained++) {
		void *block = slab_debug_drain(cache);
		if (!block)
			break;
		slab_give_now(slab_of(cache, block), block);
		work(left, 2 * SLAB_WORK + cache->object_bytes / 256); /* it may empty a slab */
	}
	if (*left)
		r->drained = SLAB_QUARANTINE;
}

/* With the guards closed. */
static void collect_cache(struct slab_cache *cache, unsigned *left)
{
	struct slab_reaped *r = &cache->reaped;
	if (r->drained < SLAB_QUARANTINE || r->done)
		return;
	for (; *left && r->cpu < cache->ncpus; r->cpu++)
		if (!collect_cpu(cache, slab_cpu_of(cache, r->cpu), left))
			return;
	/* Who was warm is cold from now on: what is held then depends on what is live. */
	atomic_write_relaxed(&cache->wants_storage, 0);
	while (*left && !r->done)
		r->done = collect_slabs(cache, left);
}

static uint64_t release(struct slab_cache *cache)
{
	uint64_t npages = 0;
	list_for_each_safe (node, &cache->reaped.slabs) {
		struct slab *slab = list_entry(node, struct slab, node);
		list_remove(node);
		npages += slab->npages;
		cache->backend->release(cache, slab);
	}
	return npages;
}

/* Some of the work on these caches, in their order. Returns pages released. Locks: the
 * registry's. */
static uint64_t step(struct slab_cache *const *caches, size_t count)
{
	unsigned left = STEP_WORK;
	uint64_t npages = 0;
	for (size_t i = 0; i < count; i++)
		drain(caches[i], &left);
	if (!left)
		return 0;
	for (size_t i = 0; i < count; i++)
		close_guards(caches[i]);
	host_barrier_all();
	for (size_t i = 0; i < count; i++) {
		await_guards(caches[i]);
		hide(caches[i]);
	}
	host_barrier_all();
	for (size_t i = 0; i < count; i++)
		await_guards(caches[i]);
	/* In this order: the last have given the storage of the magazines of others. */
	for (size_t i = 0; i < count && left; i++)
		collect_cache(caches[i], &left);
	for (size_t i = 0; i < count; i++)
		open_guards(caches[i]); /* at last: caches may share guards */
	for (size_t i = 0; i < count; i++)
		npages += release(caches[i]);
	return npages;
}

/* As many caches as one step is likely to get done: guards and magazines of all CPUs are to
 * be looked at. */
static size_t together(struct slab_cache *const *caches, size_t count)
{
	unsigned most = 1 + STEP_WORK / (8 * caches[0]->ncpus);
	size_t n = 0;
	while (n < count && most)
		most -= !caches[n++]->reaped.done;
	return n;
}

uint64_t slab_reap_caches(struct slab_cache *const *caches, size_t count)
{
	uint64_t npages = 0;
	slab_registry_lock();
	for (size_t i = 0; i < count; i++)
		begin(caches[i]);
	for (;;) {
		for (; count && caches[0]->reaped.done; caches++)
			count--;
		if (!count)
			break;
		npages += step(caches, together(caches, count));
		slab_registry_unlock();
		slab_registry_lock();
	}
	slab_registry_unlock();
	return npages;
}

uint64_t slab_reap(struct slab_cache *cache)
{
	mem_contract_thread();
	return slab_reap_caches(&cache, 1);
}

uint64_t slab_reap_all(void)
{
	mem_contract_thread();
	const struct slab_cache *before = NULL;
	struct slab_cache *cache = NULL;
	uint64_t npages = 0;
	size_t number = 0;
	do {
		/* Caches come and go only under this lock. */
		slab_registry_lock();
		cache = slab_registry_at(number);
		if (cache && cache != before)
			begin(cache);
		if (cache && !cache->reaped.done)
			npages += step(&cache, 1);
		else
			number++;
		before = cache;
		slab_registry_unlock();
	} while (cache);
	return npages;
}

/* ---- a CPU goes -------------------------------------------------------------------- */

static void leave_slab(struct slab *slab, void *of)
{
	struct slab_cache *cache = slab->cache;
	unsigned owner = atomic_read_relaxed(&slab->owner);
	if (!owner || slab_cpu_of(cache, owner - 1) != of)
		return;
	disown(cache, slab);
	list_shared(cache, slab);
}

void slab_cpu_leave(struct slab_cache *cache)
{
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	struct slab_cpu *c = slab_cpu_of(cache, cpu);
	if (slab_enter(guard)) { /* else a reaper does the same just now */
		slab_close_magazine(cache, c);
		while (slab_take_notified(cache, c, cpu + 1))
			;
		slab_walk(cache, leave_slab, c);
		c->peak = 0;
		c->warmth = 0;
		slab_leave(guard);
	}
	host_preempt_enable();
}
