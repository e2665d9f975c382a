/* SPDX-License-Identifier: MIT */
/*
 * Where slabs stand: lists by fullness, taking up the next one, taking over
 * what other CPUs freed, and how many empty ones to keep.
 *
 * A full slab is put on a list again only when a thirty-second of it is free. So random
 * frees and allocations over full slabs do not move a slab per block. What that leaves
 * behind slab_sweep finds when pages run out.
 *
 * Cold CPUs. A CPU that asks only now and then shares. Its first SLAB_WARM blocks come
 * singly from the cache's own slabs, under the lock. Only then does it take up slabs for
 * itself. A reap makes all CPUs cold again and all slabs the cache's. So after a reap the
 * memory held depends on what is live, not on which CPUs asked for it.
 *
 * Draining. Blocks that go round in magazines never come back to their slabs; after a
 * program has shrunk they would keep all of its slabs from becoming empty. So some blocks
 * stay out of magazines: those of sparse slabs of the cache's own, and of slabs with holes
 * of which a CPU has too many. Who frees one sets its bit, and allocations come from the
 * fullest slab. Caches that have whole pages of their own (backends that are not eager)
 * always do so, which keeps their few objects in as few pages as can be.
 *
 * Empty slabs. A CPU keeps as many slabs as it had in use at its recent peak. The peak
 * follows `in use` upwards at once, and falls by a thirty-second of a slab each time one
 * becomes empty. So a program that fills and empties the same memory again and again makes
 * few new slabs. One that has shrunk for good gives the rest up. What is above the peak
 * goes back to the heap's segment at once (eager backends) or to the cache, where any CPU
 * finds it and the reaper collects it.
 */
#include "base/assert.h"
#include "slab/fast.h"
#include "slab/paths.h"

/* ---- lists --------------------------------------------------------------- */

void slab_lists_init(struct slab_lists *lists)
{
	for (unsigned i = 0; i < SLAB_LISTS; i++) {
		list_init(&lists->list[i]);
		lists->count[i] = 0;
	}
}

void slab_list(struct slab_lists *lists, struct slab *slab, enum slab_place place)
{
	list_push_front(&lists->list[place], &slab->node);
	count_add(&lists->count[place], 1);
}

void slab_unlist(struct slab_lists *lists, struct slab *slab)
{
	if (slab->place >= SLAB_LISTS)
		return;
	list_remove(&slab->node);
	count_add(&lists->count[slab->place], -1);
}

static uint32_t full_until(const struct slab *slab)
{
	return mem_max((uint32_t)slab->capacity / 32, 1u);
}

enum slab_place slab_place_for(const struct slab *slab)
{
	uint32_t nfree = slab_nfree(slab);
	if (nfree == slab->capacity)
		return SLAB_EMPTY;
	if (nfree < full_until(slab))
		return SLAB_FULL;
	nfree *= 4; /* no division: this is on the way of many frees */
	return (enum slab_place)((nfree >= slab->capacity) + (nfree >= 2 * slab->capacity) +
				 (nfree >= 3 * slab->capacity));
}

/* Which way its blocks are freed: by magazines, or, if it drains, back into it at once. */
static void steer(struct slab *slab, bool drains)
{
	struct slab_cache *cache = slab->cache;
	drains = drains || !cache->backend->eager;
	if (slab->drains == drains)
		return;
	atomic_write_relaxed(&slab->drains, drains);
	if (cache->backend->steer)
		cache->backend->steer(cache, slab);
}

/* Sparse slabs of the cache's own drain. */
static void steer_by_place(struct slab *slab)
{
	steer(slab, !slab->owner && (slab->place == SLAB_SPARSE || slab->place == SLAB_EMPTY));
}

void slab_set_place(struct slab *slab, enum slab_place place)
{
	uint32_t nfree = slab_nfree(slab);
	slab->place = (uint8_t)place;
	switch (place) {
	case SLAB_FULL:
		slab->threshold = (uint16_t)full_until(slab);
		break;
	case SLAB_EMPTY:
	case SLAB_CURRENT:
		slab->threshold = UINT16_MAX;
		break;
	default:
		slab->threshold = (uint16_t)(((place + 1u) * slab->capacity + 3) / 4);
	}
	slab_set_nfree(slab, nfree);
	steer_by_place(slab);
}

/* Put a slab that is not current on the list that its nfree says. */
static void place_by_count(struct slab_lists *lists, struct slab *slab)
{
	slab_unlist(lists, slab);
	enum slab_place place = slab_place_for(slab);
	slab_set_place(slab, place);
	if (place < SLAB_LISTS)
		slab_list(lists, slab, place);
}

/* The fullest slab of the lists: of the first list that has any, the best of the
 * first `most`, so that two slabs with little in them become one. */
static struct slab *fullest(const struct slab_lists *lists, unsigned most)
{
	struct slab *best = NULL;
	for (unsigned i = 0; i < SLAB_LISTS && !best; i++) {
		unsigned looked = 0;
		list_for_each (node, &lists->list[i]) {
			struct slab *slab = list_entry(node, struct slab, node);
			if (!best || slab_nfree(slab) < slab_nfree(best))
				best = slab;
			if (++looked == most)
				break;
		}
	}
	return best;
}

/* ---- the current slab ------------------------------------------------------ */

static struct slab none; /* without a word of bitmap */

struct slab *slab_none(void)
{
	return &none;
}

static bool has_free(const struct slab *slab)
{
	for (unsigned i = 0; i < slab->words; i++)
		if (slab->word[i].free)
			return true;
	return false;
}

void slab_set_owner(struct slab *slab, unsigned owner)
{
	atomic_write_release(&slab->owner, (uint16_t)owner);
	steer_by_place(slab);
}

/* ---- counting -------------------------------------------------------------- */

unsigned slab_count_free(const struct slab *slab)
{
	unsigned n = 0;
	for (unsigned i = 0; i < slab->words; i++)
		n += bit_count(atomic_read_relaxed(&slab->word[i].free));
	return n;
}

unsigned slab_fold(struct slab *slab)
{
	unsigned n = 0;
	for (unsigned i = 0; i < slab->words; i++) {
		if (!atomic_read_relaxed(&slab->word[i].remote))
			continue;
		uint64_t bits = atomic_swap(&slab->word[i].remote, 0);
		uint64_t both = bits & slab->word[i].free;
		if (unlikely(both))
			slab_bad_block(slab, slab_block(slab, i * 64 + bit_lowest(both)),
				       "double free");
		__atomic_store_n(&slab->word[i].free, slab->word[i].free | bits, __ATOMIC_RELAXED);
		n += bit_count(bits);
	}
	slab_set_nfree(slab, slab_nfree(slab) + n);
	return n;
}

/* In eighths of a slab, by the middle of what each list is for. */
static size_t count_eighths(const struct slab_lists *lists)
{
	size_t n = 8 * (size_t)atomic_read_relaxed(&lists->count[SLAB_EMPTY]);
	for (unsigned i = 0; i <= SLAB_SPARSE; i++)
		n += (2 * i + 1) * (size_t)atomic_read_relaxed(&lists->count[i]);
	return n;
}

size_t slab_idle(const struct slab_cache *cache)
{
	const struct slab_cpu *c = slab_cpu_of(cache, host_cpu());
	uint64_t nslabs = atomic_read_relaxed(&cache->nslabs);
	if (!nslabs)
		return 0;
	size_t capacity = atomic_read_relaxed(&cache->nblocks) / nslabs;
	size_t eighths = count_eighths(&c->lists) + count_eighths(&cache->shared);
	return eighths * capacity / 8 + slab_loaded(c);
}

/* ---- handing over ---------------------------------------------------------- */

void slab_notify(struct slab *slab)
{
	struct slab_cache *cache = slab->cache;
	unsigned owner = atomic_read_acquire(&slab->owner);
	/* The cache's own slabs (the owner changed after the caller looked) go by
	 * any CPU's stack: who pops them looks again. */
	struct slab_cpu *c = slab_cpu_of(cache, owner ? owner - 1 : host_cpu());
	struct slab *head = atomic_read_relaxed(&c->notify);
	do {
		slab->notify_next = head;
	} while (!atomic_cas(&c->notify, &head, slab));
}

void slab_forget(struct slab_cache *cache, struct slab *slab)
{
	slab_walk_leaves(cache, slab);
	list_remove(&slab->all);
	count_add(&cache->nslabs, -(uint64_t)1);
	count_add(&cache->nblocks, -(uint64_t)slab->capacity);
	count_add(&cache->npages, -(uint64_t)slab->npages);
}

static void donate(struct slab_cache *cache, struct slab_cpu *c, struct slab *slab)
{
	slab_unlist(&c->lists, slab);
	c->nslabs--;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	slab_list(&cache->shared, slab, slab->place);
	slab_set_owner(slab, 0);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
}

static void release(struct slab_cache *cache, struct slab_cpu *c, struct slab *slab)
{
	slab_unlist(&c->lists, slab);
	c->nslabs--;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	slab_forget(cache, slab);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	cache->backend->release(cache, slab);
}

/* c->peak counts in these cpus of a slab. */
#define PEAK_UNIT 32u

static void note_peak(struct slab_cpu *c)
{
	uint32_t used = c->nslabs - c->lists.count[SLAB_EMPTY];
	if (PEAK_UNIT * used > c->peak)
		c->peak = PEAK_UNIT * used;
}

/* Slabs with holes, beyond the few that come and go. */
static bool has_too_many(const struct slab_cpu *c)
{
	const uint32_t *count = c->lists.count;
	return count[1] + count[2] + count[SLAB_SPARSE] > 4 + c->nslabs / 16;
}

void slab_settle(struct slab_cache *cache, struct slab_cpu *c, struct slab *slab)
{
	if (slab->place == SLAB_CURRENT) {
		slab_set_nfree(slab, 0); /* counted anew when it is used up */
		return;
	}
	place_by_count(&c->lists, slab);
	if (slab->place == SLAB_EMPTY) {
		if (c->peak)
			c->peak--;
		if (PEAK_UNIT * c->nslabs <= c->peak + PEAK_UNIT)
			return;
		if (!cache->backend->eager)
			donate(cache, c, slab);
		else if (!atomic_read_acquire(&slab->announced)) /* S1 */
			release(cache, c, slab);
	} else if (slab->place == SLAB_SPARSE && cache->ncpus > 1 &&
		   c->lists.count[SLAB_SPARSE] > 4 + c->nslabs / 4) {
		donate(cache, c, slab);
	} else if (slab->place != SLAB_FULL && has_too_many(c)) {
		steer(slab, true);
	}
}

struct slab *slab_settle_shared(struct slab_cache *cache, struct slab *slab)
{
	place_by_count(&cache->shared, slab);
	if (slab->place != SLAB_EMPTY || !cache->backend->eager ||
	    cache->shared.count[SLAB_EMPTY] <= 1 || atomic_read_acquire(&slab->announced))
		return NULL;
	slab_unlist(&cache->shared, slab);
	slab_forget(cache, slab);
	return slab;
}

/* A popped slab whose owner is not this CPU. */
static void forward(struct slab_cache *cache, struct slab *slab)
{
	struct slab *empty = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	bool ours = !atomic_read_relaxed(&slab->owner);
	if (ours) {
		atomic_write_seq(&slab->announced, 0);
		slab_fold(slab);
		empty = slab_settle_shared(cache, slab);
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (empty)
		cache->backend->release(cache, empty);
	if (!ours)
		slab_notify(slab); /* still announced: nobody else does */
}

/* Those that others announced: first what was left of the last time. */
static struct slab *next_notified(struct slab_cpu *c)
{
	if (!c->taken)
		c->taken = atomic_swap(&c->notify, (struct slab *)NULL);
	struct slab *slab = c->taken;
	if (slab)
		c->taken = slab->notify_next;
	return slab;
}

bool slab_take_notified(struct slab_cache *cache, struct slab_cpu *c, unsigned me)
{
	struct slab *slab = NULL;
	for (unsigned n = 0; n < 4 * SLAB_STEP && (slab = next_notified(c)); n++) {
		if (atomic_read_acquire(&slab->owner) != me) {
			forward(cache, slab);
			continue;
		}
		atomic_write_seq(&slab->announced, 0);
		slab_fold(slab);
		if (slab_nfree(slab) >= slab->threshold || slab->place == SLAB_EMPTY)
			slab_settle(cache, c, slab);
	}
	return slab != NULL;
}

/* ---- taking up ------------------------------------------------------------- */

static struct slab *adopt(struct slab_cache *cache, struct slab_cpu *c, unsigned me)
{
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	struct slab *slab = fullest(&cache->shared, 8);
	if (slab) {
		slab_unlist(&cache->shared, slab);
		slab_set_place(slab, SLAB_CURRENT);
		slab_set_owner(slab, me);
		c->nslabs++;
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	return slab;
}

static void retire_current(struct slab_cpu *c)
{
	struct slab *slab = c->current;
	slab_set_nfree(slab, 0); /* every word was found empty */
	slab_set_place(slab, SLAB_FULL);
	c->current = &none;
}

bool slab_is_warm(struct slab_cpu *c)
{
	if (likely(c->warmth >= SLAB_WARM))
		return true;
	c->warmth++;
	return false;
}

/* Take up one of this CPU's slabs, else one of the cache's. */
static struct slab *next_slab(struct slab_cache *cache, struct slab_cpu *c, unsigned me)
{
	for (unsigned i = 0; i < SLAB_LISTS; i++) {
		if (list_empty(&c->lists.list[i]))
			continue;
		struct slab *slab = list_entry(c->lists.list[i].next, struct slab, node);
		slab_unlist(&c->lists, slab);
		slab_set_place(slab, SLAB_CURRENT);
		return slab;
	}
	return slab_is_warm(c) ? adopt(cache, c, me) : NULL;
}

bool slab_refill(struct slab_cache *cache, struct slab_cpu *c)
{
	unsigned me = host_cpu() + 1;
	if (has_free(c->current))
		return true;
	if (c->current != &none) {
		if (slab_fold(c->current) && has_free(c->current))
			return true;
		retire_current(c);
	}
	if (c->taken || atomic_read_relaxed(&c->notify))
		(void)slab_take_notified(cache, c, me);
	struct slab *slab = next_slab(cache, c, me);
	if (!slab)
		return false;
	c->current = slab;
	note_peak(c);
	return has_free(slab);
}

void *slab_take_shared(struct slab_cache *cache)
{
	void *block = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	struct slab *slab = fullest(&cache->shared, 8);
	for (unsigned i = 0; slab && i < slab->words; i++) {
		uint64_t word = slab->word[i].free;
		if (!word)
			continue;
		__atomic_store_n(&slab->word[i].free, word & (word - 1), __ATOMIC_RELAXED);
		unsigned index = i * 64 + bit_lowest(word);
		block = slab_block(slab, index);
		slab_mark_allocated(block, slab_state(slab, block));
		slab_set_nfree(slab, slab_nfree(slab) - 1);
		place_by_count(&cache->shared, slab);
		/* A slab that is "full" on no list is lost to this path: keep it
		 * in reach while it has anything. */
		if (slab->place == SLAB_FULL && slab_nfree(slab)) {
			slab_set_place(slab, SLAB_FULLEST);
			slab_list(&cache->shared, slab, SLAB_FULLEST);
		}
		count_add(&cache->allocs, 1);
		break;
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	return block;
}

void slab_install(struct slab_cache *cache, struct slab *slab)
{
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	struct slab_cpu *c = slab_cpu_of(cache, cpu);
	bool inside = slab_enter(guard), own = inside && c->warmth >= SLAB_WARM && c->storage;
	struct slab_lists *lists = own ? &c->lists : &cache->shared;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	list_push_back(&cache->slabs, &slab->all);
	count_add(&cache->nslabs, 1);
	count_add(&cache->nblocks, slab->capacity);
	count_add(&cache->npages, slab->npages);
	slab_set_owner(slab, own ? cpu + 1 : 0);
	slab_set_place(slab, SLAB_EMPTY);
	slab_list(lists, slab, SLAB_EMPTY);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (own) /* else the reaper may be at it */
		c->nslabs++;
	if (inside)
		slab_leave(guard);
	host_preempt_enable();
}

/* ---- when pages run out ---------------------------------------------------- */

/* List a slab of this CPU (`mine`: it may) or of the cache that has anything free. Locks:
 * cache->lock. */
static void sweep_slab(struct slab_cache *cache, struct slab *slab, struct slab_cpu *mine,
		       unsigned me)
{
	unsigned owner = atomic_read_relaxed(&slab->owner);
	if ((owner && !(mine && owner == me)) || slab->place == SLAB_CURRENT)
		return;
	slab_fold(slab);
	if (slab->place != SLAB_FULL || !slab_nfree(slab))
		return;
	enum slab_place place = slab_place_for(slab);
	place = place == SLAB_FULL ? SLAB_FULLEST : place;
	slab_set_place(slab, place);
	slab_list(owner ? &mine->lists : &cache->shared, slab, place);
}

/* The next few of a walk; false: that was the last. */
static bool sweep_some(struct slab_cache *cache, struct slab_cursor *cursor)
{
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	bool inside = slab_enter(guard);
	struct slab_cpu *mine = inside ? slab_cpu_of(cache, cpu) : NULL;
	struct slab *slab = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	for (unsigned n = 0; n < SLAB_STEP && (slab = slab_walk_next(cache, cursor)); n++)
		sweep_slab(cache, slab, mine, cpu + 1);
	if (!slab)
		slab_walk_end(cursor);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (inside)
		slab_leave(guard);
	host_preempt_enable();
	return slab != NULL;
}

void slab_sweep(struct slab_cache *cache)
{
	struct slab_cursor cursor;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	slab_walk_begin(cache, &cursor);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	while (sweep_some(cache, &cursor))
		;
}

/* Unlink some empty slabs of `lists` into `out`, under cache->lock; how many. */
static uint32_t collect_empty(struct slab_cache *cache, struct slab_lists *lists, struct list *out)
{
	uint32_t n = 0, looked = 0;
	list_for_each_safe (node, &lists->list[SLAB_EMPTY]) {
		struct slab *slab = list_entry(node, struct slab, node);
		if (looked++ == SLAB_STEP)
			break;
		if (atomic_read_acquire(&slab->announced))
			continue; /* S1 */
		slab_unlist(lists, slab);
		slab_forget(cache, slab);
		list_push_back(out, &slab->node);
		n++;
	}
	return n;
}

/* Release a few; how many. */
static uint64_t shed_some(struct slab_cache *cache)
{
	struct list out;
	list_init(&out);
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(cache, cpu);
	struct slab_cpu *c = slab_cpu_of(cache, cpu);
	bool inside = slab_enter(guard);
	uint32_t before = inside ? c->nslabs : 0;
	if (inside)
		slab_unload(cache, c);
	uint64_t total = inside ? before - c->nslabs : 0;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	total += collect_empty(cache, &cache->shared, &out);
	if (inside) {
		uint32_t n = collect_empty(cache, &c->lists, &out);
		c->nslabs -= n;
		total += n;
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (inside)
		slab_leave(guard);
	host_preempt_enable();
	list_for_each_safe (node, &out)
		cache->backend->release(cache, list_entry(node, struct slab, node));
	return total;
}

uint64_t slab_shed(struct slab_cache *cache)
{
	uint64_t total = 0, n;
	while ((n = shed_some(cache)))
		total += n;
	return total;
}
