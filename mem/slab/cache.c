/* SPDX-License-Identifier: MIT */
/*
 * Object caches over a page source: making and ending them, where their slabs
 * lie, statistics, the list of all caches.
 *
 * A slab is 2^order pages aligned to their size, so that the slab of an object
 * is found by masking its address:
 *
 *     | struct slab, free and remote bits, states | pad | object | object | ...
 *
 * The cache's own structure, its per-CPU caches included, takes pages from the
 * same source: caches exist before any heap does.
 */
#include "base/assert.h"
#include "slab/paths.h"
#include "slab/registry.h"

#define LARGEST_ORDER 4  /* 64 KiB slabs */
#define ENTRIES       16 /* of a magazine */
#define CPU_BYTES                                                                                  \
	(sizeof(struct slab_guard) + sizeof(struct slab_cpu) + ENTRIES * sizeof(struct slab_entry))

/* ---- the registry ----------------------------------------------------------- */

static struct mem_lock registry_lock;
static struct list registry = {&registry, &registry};

void slab_registry_lock(void)
{
	/* With interrupts off only while the machine is being set up, on one CPU:
	 * nobody reaps then. */
	if (host_irq_enabled())
		mem_lock_flushable(&registry_lock, MEM_RANK_REAP);
	else
		mem_lock(&registry_lock, MEM_RANK_REAP);
}

void slab_registry_unlock(void)
{
	mem_unlock(&registry_lock, MEM_RANK_REAP);
}

struct slab_cache *slab_registry_at(size_t number)
{
	list_for_each (node, &registry)
		if (!number--)
			return list_entry(node, struct slab_cache, registry);
	return NULL;
}

void slab_for_each(void (*visit)(struct slab_cache *cache, void *arg), void *arg)
{
	mem_contract(!host_in_interrupt(), "not from an interrupt handler");
	struct slab_cache *cache = NULL;
	size_t number = 0;
	do { /* a visit with preemption off, not all */
		slab_registry_lock();
		cache = slab_registry_at(number++);
		if (cache)
			visit(cache, arg);
		slab_registry_unlock();
	} while (cache);
}

/* ---- geometry ---------------------------------------------------------------- */

size_t slab_stride(size_t object_bytes, size_t align)
{
	size_t bytes = object_bytes + (SLAB_DEBUG ? slab_debug_extra() : 0);
	return align_up(bytes, align);
}

unsigned slab_shift(size_t stride)
{
	return mem_min(bit_highest(stride), (unsigned)SLAB_MAX_SHIFT);
}

/* Objects that fit behind their own descriptor in `bytes`. */
static unsigned fit(size_t bytes, size_t stride, size_t align, size_t *first_at)
{
	size_t capacity = mem_min(bytes / stride, (size_t)SLAB_MAX_BLOCKS);
	unsigned shift = slab_shift(stride);
	for (; capacity; capacity--) {
		size_t head = slab_descriptor_bytes((unsigned)capacity, shift, capacity * stride);
		*first_at = align_up(head, align);
		if (*first_at + capacity * stride <= bytes)
			break;
	}
	return (unsigned)capacity;
}

/* The smallest slab that holds at least 16 objects and wastes little; else the
 * one that wastes least. 0: not even the largest holds three. */
static unsigned choose_order(size_t stride, size_t align)
{
	unsigned best = LARGEST_ORDER;
	size_t best_used = 0, first_at;
	for (unsigned order = 0; order <= LARGEST_ORDER; order++) {
		size_t bytes = PAGE_SIZE << order;
		size_t used = fit(bytes, stride, align, &first_at) * stride;
		/* Per page, to compare slabs of different sizes. */
		if ((used >> order) > best_used + best_used / 16) {
			best = order;
			best_used = used >> order;
		}
		if (used >= 16 * stride && used >= bytes - bytes / 8)
			return best;
	}
	return best;
}

/* A number that differs from boot to boot as far as addresses and time do. */
static uintptr_t make_secret(const struct slab_cache *cache)
{
#ifdef __x86_64__
	uint64_t x = __builtin_ia32_rdtsc() ^ (uintptr_t)cache;
#else
	uint64_t x = (uintptr_t)cache;
#endif
	x *= 0x9e3779b97f4a7c15;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9;
	return x ^ (x >> 32);
}

void slab_guard_init(struct slab_guard *guard)
{
	memset(guard, 0, sizeof(*guard));
	slab_magazine_close(&guard->closed);
}

void slab_cache_init(struct slab_cache *cache, unsigned ncpus)
{
	cache->ncpus = ncpus;
	cache->secret = make_secret(cache);
	cache->lock = (struct mem_lock){0};
	cache->reciprocal = (uint32_t)((((uint64_t)1 << 32) + cache->stride - 1) / cache->stride);
	cache->shift = (uint8_t)slab_shift(cache->stride);
	list_init(&cache->slabs);
	list_init(&cache->cursors);
	list_init(&cache->reaped.slabs);
	slab_lists_init(&cache->shared);
	for (unsigned cpu = 0; cpu < ncpus; cpu++) {
		struct slab_cpu *c = slab_cpu_of(cache, cpu);
		memset(c, 0, sizeof(*c));
		c->random = cache->secret + cpu * 0x9e3779b97f4a7c15;
		slab_lists_init(&c->lists);
		c->current = slab_none();
		slab_init_magazine(cache, c);
	}
	slab_registry_lock();
	list_push_back(&registry, &cache->registry);
	slab_registry_unlock();
}

void slab_cache_done(struct slab_cache *cache)
{
	slab_registry_lock();
	list_remove(&cache->registry);
	slab_registry_unlock();
}

/* Nothing is in use; nowhere does a block begin but where one does. */
static void init_states(struct slab *slab, size_t bytes)
{
	const struct slab_cache *cache = slab->cache;
	uint8_t *states = slab_states(slab);
	size_t stride = cache->stride;
	memset(states, SLAB_NOT_ALLOCATED, slab_state_bytes(cache->shift, bytes));
	for (size_t at = 0; at < slab->capacity * stride; at += stride)
		states[at >> cache->shift] =
		    slab_allocated_state(slab->base + at) | SLAB_NOT_ALLOCATED;
}

void slab_init(struct slab_cache *cache, const struct slab_shape *shape, struct slab *slab,
	       void *base)
{
	mem_assert((shape->npages * PAGE_SIZE * cache->stride) >> 32 == 0); /* slab_find_index */
	slab->base = base;
	slab->cache = cache;
	slab->capacity = shape->capacity;
	slab->npages = shape->npages;
	slab->owner = 0;
	slab->announced = 0;
	slab->words = (uint8_t)slab_words(shape->capacity);
	slab->drains = !cache->backend->eager;
	slab->notify_next = NULL;
	list_init(&slab->all);
	list_init(&slab->node);
	slab->threshold = 0;
	slab_set_nfree(slab, shape->capacity);
	slab_set_place(slab, SLAB_EMPTY);
	for (unsigned i = 0; i < slab->words; i++) {
		unsigned left = shape->capacity - i * 64;
		slab->word[i].free = left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
		slab->word[i].remote = 0;
	}
	init_states(slab, slab_bytes(cache, shape));
	for (unsigned i = 0; i < shape->capacity; i++) {
		if (cache->construct)
			cache->construct(slab_block(slab, i));
		if (SLAB_DEBUG)
			slab_debug_init(slab, slab_block(slab, i));
	}
	slab->cookie = slab_cookie(cache, slab);
}

/* ---- slabs in their own pages -------------------------------------------------- */

static struct slab *paged_make(struct slab_cache *cache, bool atomic)
{
	void *pages = cache->source->alloc(cache->source, cache->order, atomic);
	if (!pages)
		return NULL;
	mem_assert(!((uintptr_t)pages & ((PAGE_SIZE << cache->order) - 1)));
	struct slab *slab = pages;
	slab_init(cache, &cache->shape[0], slab, (char *)pages + cache->first_at);
	return slab;
}

static void paged_release(struct slab_cache *cache, struct slab *slab)
{
	slab->cookie = 0;
	cache->source->free(cache->source, slab, cache->order);
}

static struct slab *paged_find(struct slab_cache *cache, const void *block)
{
	uintptr_t mask = (PAGE_SIZE << cache->order) - 1;
	return (struct slab *)((uintptr_t)block & ~mask); // NOLINT(performance-no-int-to-ptr)
}

static const struct slab_backend paged_backend = {paged_make, paged_release, paged_find, NULL,
						  false};

struct slab *slab_of(struct slab_cache *cache, const void *block)
{
	return cache->backend->find(cache, block);
}

struct slab *slab_of_checked(struct slab_cache *cache, const void *block)
{
	struct slab *slab = block ? cache->backend->find(cache, block) : NULL;
	if (unlikely(!slab || slab->cookie != slab_cookie(cache, slab)))
		host_panic("slab '%s': invalid free: %p is no object of this cache", cache->name,
			   block);
	return slab;
}

/* ---- making and ending ----------------------------------------------------------- */

static unsigned order_for(size_t bytes)
{
	unsigned order = 0;
	while ((PAGE_SIZE << order) < bytes)
		order++;
	return order;
}

static size_t natural_align(size_t bytes)
{
	size_t lowest = bytes & -bytes;
	lowest = mem_min(lowest, (size_t)64);
	return mem_max(lowest, sizeof(void *));
}

mem_status slab_cache_create(struct slab_cache **out, const struct slab_cache_spec *spec)
{
	mem_contract(!host_in_interrupt(), "not from an interrupt handler");
	mem_contract(spec->object_bytes && spec->source && spec->name,
		     "object_bytes, source and name have to be given");
	mem_contract(!spec->align || is_pow2(spec->align), "align is no power of two");
	if (spec->object_bytes > (PAGE_SIZE << LARGEST_ORDER) / 4 ||
	    spec->align > (PAGE_SIZE << LARGEST_ORDER) / 4)
		return MEM_EINVAL;
	size_t align = mem_max(spec->align, natural_align(spec->object_bytes));
	size_t stride = slab_stride(spec->object_bytes, align);
	unsigned ncpus = mem_cpu_count("slab_cache_create");
	if (!ncpus)
		return MEM_EINVAL;
	size_t guards_at = align_up(sizeof(struct slab_cache), 64);
	unsigned own_order = order_for(guards_at + ncpus * CPU_BYTES);
	struct slab_cache *cache = spec->source->alloc(spec->source, own_order, false);
	if (!cache)
		return MEM_ENOMEM;
	memset(cache, 0, sizeof(*cache));
	cache->name = spec->name;
	cache->backend = &paged_backend;
	cache->source = spec->source;
	cache->construct = spec->construct;
	cache->object_bytes = spec->object_bytes;
	cache->align = align;
	cache->stride = (uint32_t)stride;
	cache->order = (uint8_t)choose_order(stride, align);
	size_t first_at = 0;
	cache->shape[0].npages = (uint16_t)(1u << cache->order);
	cache->shape[0].capacity =
	    (uint16_t)fit(PAGE_SIZE << cache->order, stride, align, &first_at);
	cache->guards = (char *)cache + guards_at;
	cache->cpus = cache->guards + sizeof(struct slab_guard);
	cache->cpu_stride = (uint32_t)CPU_BYTES;
	cache->entries[0] = ENTRIES;
	for (unsigned cpu = 0; cpu < ncpus; cpu++)
		slab_guard_init(slab_guard(cache, cpu));
	cache->first_at = (uint32_t)first_at;
	cache->own_order = own_order;
	mem_assert(cache->shape[0].capacity);
	slab_cache_init(cache, ncpus);
	*out = cache;
	return MEM_OK;
}

void slab_cache_destroy(struct slab_cache *cache)
{
	mem_contract(!host_in_interrupt(), "not from an interrupt handler");
	if (cache->nslabs) /* at boot, with interrupts off, there may be none yet */
		slab_reap(cache);
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	if (stats.live) {
		slab_report_live(cache, 8);
		host_panic("slab '%s' destroyed with %lu live objects", cache->name,
			   (unsigned long)stats.live);
	}
	/* No live object; yet a slab may still be announced if a free is under way
	 * on another CPU: then the caller destroys a cache that is in use. */
	mem_assert(!cache->nslabs);
	slab_cache_done(cache);
	cache->source->free(cache->source, cache, cache->own_order);
}

/* ---- statistics --------------------------------------------------------------------- */

static void count_in_use(struct slab *slab, void *in_use)
{
	unsigned free = slab_count_free(slab), capacity = slab->capacity;
	for (unsigned i = 0; i < slab->words; i++)
		free += bit_count(atomic_read_relaxed(&slab->word[i].remote));
	*(uint64_t *)in_use += capacity - mem_min(free, capacity);
}

/* Only allocations are counted; what is in use the bitmaps know, and what was
 * freed is the difference. */
void slab_get_stats_borrowed(struct slab_cache *cache, struct slab_stats *stats, uint64_t *borrowed)
{
	uint64_t allocs = atomic_read_relaxed(&cache->allocs), live = 0, loaded = 0;
	uint64_t total = atomic_read_relaxed(&cache->nblocks);
	uint64_t npages = atomic_read_relaxed(&cache->npages);
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++) {
		const struct slab_cpu *c = slab_cpu_of(cache, cpu);
		allocs += atomic_read_relaxed(&c->magazine.allocs);
		size_t n = slab_loaded(c);
		loaded += n <= atomic_read_relaxed(&c->entries) ? n : 0;
	}
	slab_walk(cache, count_in_use, &live);
	/* A magazine that is on its way to the slabs may be counted twice. */
	uint64_t kept = loaded + slab_debug_quarantined(cache) + *borrowed;
	*borrowed = kept > live && cache->above ? kept - live : 0;
	live -= mem_min(live, kept);
	stats->name = cache->name;
	stats->object_bytes = cache->object_bytes;
	stats->live = live;
	stats->total = total;
	stats->npages = npages;
	stats->allocs = allocs;
	stats->frees = allocs > live ? allocs - live : 0;
}

void slab_get_stats(struct slab_cache *cache, struct slab_stats *stats)
{
	uint64_t borrowed = 0;
	slab_get_stats_borrowed(cache, stats, &borrowed);
}
