/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_H
#define MEM_SLAB_H
/*
 * Object caches: many blocks of one size, from whole pages of a page source.
 *
 * The component keeps its own structures (page-table descriptors and what belongs to
 * them) in caches over direct-map frames. The kernel heap keeps its size classes in caches
 * over its virtual area. Hosted, the pages are the host's. One engine.
 */
#include <mem/types.h>

MEM_BEGIN_DECLS

struct slab_cache;

/* Where pages come from. Both calls: the contexts in which the cache is used. */
struct page_source {
	/* 2^order pages, aligned to their size, mapped and writable; NULL if there
	 * are none. `atomic`: do not wait. */
	void *(*alloc)(struct page_source *source, unsigned order, bool atomic);
	void (*free)(struct page_source *source, void *pages, unsigned order);
};

struct pmm;

/* A page source that hands out direct-map addresses of a pmm's frames. */
struct frame_source {
	struct page_source source; /* first: the two convert by cast */
	struct pmm *pmm;
};
/* Context: initialisation. */
void frame_source_init(struct frame_source *source, struct pmm *pmm);

struct slab_cache_spec {
	const char *name; /* a string that outlives the cache */
	size_t object_bytes;
	size_t align; /* power of two; 0: natural */
	/* Called once per object when its slab is made; what the user frees must
	 * be in this state again. NULL: contents are undefined. */
	void (*construct)(void *object);
	struct page_source *source;
};

/* Make a cache. Errors: MEM_ENOMEM; MEM_EINVAL object larger than a quarter of
 * the largest slab, or too many CPUs (host_log says so). Context: thread, or initialisation; waits
 * only when memory is short. */
MEM_CHECKED mem_status slab_cache_create(struct slab_cache **out,
					 const struct slab_cache_spec *spec);

/* Free an empty cache. Live objects are the caller's mistake: host_panic with
 * the cache's name and their number. Context: thread; waits for every CPU. */
void slab_cache_destroy(struct slab_cache *cache);

/* One object, or NULL. Context: any, interrupt handlers included; does not wait for other
 * CPUs (what waiting is: mem/pmm.h). Locks: any of lower rank than MEM_RANK_SLAB. */
void *slab_alloc(struct slab_cache *cache);
/* The same; may wait for pages that other CPUs keep free. Context: thread or fault,
 * interrupts on; elsewhere as slab_alloc. */
void *slab_alloc_wait(struct slab_cache *cache);

/* Give an object back, from any CPU. Double free and a pointer that is no
 * object of this cache are found in release builds: host_panic. Never gives
 * pages back to the source: slab_reap does. Context: as slab_alloc; does not wait. */
void slab_free(struct slab_cache *cache, void *object);

/* Give the pages of empty slabs back to the source, all CPUs' caches first.
 * Returns pages given back. Context: thread, no lock; waits for every CPU. */
uint64_t slab_reap(struct slab_cache *cache);

struct slab_stats {
	const char *name;
	size_t object_bytes;
	uint64_t live;   /* objects in use */
	uint64_t total;  /* objects that the cache's pages hold */
	uint64_t npages; /* pages held from the source */
	uint64_t allocs; /* calls since creation */
	uint64_t frees;
};
/* Context: any. */
void slab_get_stats(struct slab_cache *cache, struct slab_stats *stats);

/* Call visit for every cache there is; one that another thread makes or ends meanwhile may hide
 * one. Context: thread. Locks: visit runs with
 * the registry's lock held: it may read statistics, but not create, destroy or
 * reap a cache. Waits while somebody reaps. */
void slab_for_each(void (*visit)(struct slab_cache *cache, void *arg), void *arg);

/* Give the pages of all caches' empty slabs back, heap classes included (those
 * to the heap: heap_reap gives them on). Costs the CPUs two interruptions for some dozen
 * slabs, and for each cache that has any. Returns pages given back. Context: thread, no lock; waits
 * for every CPU. */
uint64_t slab_reap_all(void);

/* Objects in use, as the bitmaps say (debug builds: with size and call site
 * each, visited under the cache's lock; visit must not call the allocator).
 * Other builds only count. Context: any. */
uint64_t slab_for_each_live(struct slab_cache *cache,
			    void (*visit)(void *object, size_t bytes, const void *site, void *arg),
			    void *arg);
/* Log at most `limit` of them: the leak list. Context: any. */
void slab_report_live(struct slab_cache *cache, unsigned limit);

/* For tests: check every list, bitmap and count. Context: nobody else uses the cache. */
bool slab_is_valid(struct slab_cache *cache);

MEM_END_DECLS
#endif
