/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_ENGINE_H
#define MEM_SLAB_ENGINE_H
/*
 * Inside the slab engine: what slab/ and heap/ share. The theory is at the
 * head of slab/slab.c.
 */
#include <mem/host.h>
#include <mem/slab.h>
#include <mem/types.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "base/util.h"

MEM_BEGIN_DECLS

/* Blocks in one slab, and 64-bit words of bitmap for them. */
#define SLAB_MAX_BLOCKS 1024u
#define SLAB_MAX_WORDS  (SLAB_MAX_BLOCKS / 64)

/* Where a slab stands. Places below SLAB_LISTS are lists of its owner (a CPU's
 * or the cache's), by how much of it is free: SLAB_FULLEST first. */
enum slab_place {
	SLAB_FULLEST = 0, /* less than a quarter free */
	SLAB_SPARSE = 3,  /* three quarters free or more */
	SLAB_EMPTY = 4,   /* nothing in use */
	SLAB_LISTS = 5,   /* number of lists */
	SLAB_FULL = 5,    /* (almost) nothing free: on no list */
	SLAB_CURRENT = 6, /* its CPU allocates from it: on no list */
};

/* A block that may be handed out, and the byte that says whether it is. */
struct slab_entry {
	void *block;
	uint8_t *state;
};

/* What a CPU's fast paths look at: its magazine of a class. Closed, it is empty as well as
 * full, wherever `top` is. */
struct slab_magazine {
	struct slab_entry *top; /* the newest; the CPU's, inside its guard */
	uintptr_t bottom;       /* where `top` is when there is none: in front of the first */
	uintptr_t full;         /* where it is when there is no space */
	uint64_t allocs;
};

#define SLAB_CLOSED_BOTTOM UINTPTR_MAX
#define SLAB_CLOSED_FULL   ((uintptr_t)0)

/* Who is at work in a CPU's cpus. The classes of a heap share one: its address does not
 * depend on the block, so that one free need not wait for the one before. */
struct slab_guard {
	struct slab_magazine closed; /* always; first: "no magazine" is 0 bytes from the guard */
	uint8_t busy;          /* not 0: this CPU is inside (its own stores only); see slab_try */
	uint8_t revoked;       /* keep out (the reaper's stores only); see slab_enter */
	uint32_t until_sample; /* the heap's (heap/sample.c) */
} MEM_CACHE_ALIGNED;

/*
 * One slab: the descriptor of capacity blocks, cache->stride bytes each, from `base` on.
 * It lies at the head of the slab's own pages (caches over a page source) or
 * in its segment (heap); it is never inside a block. Behind it lie the states, see
 * slab_states().
 */
struct slab {
	/* Constant while the slab lives, except where said. */
	struct slab_cache *cache;
	uintptr_t cookie; /* slab_cookie(): this is a slab of that cache */
	char *base;
	void *segment; /* heap: what it lies in (heap/segment.c) */
	uint16_t capacity;
	uint16_t npages;
	uint16_t owner;    /* 0 the cache (its lock), else 1 + CPU; changes under cache->lock */
	uint8_t announced; /* atomic: it stands in (or is on its way to) a notify stack */
	uint8_t place;     /* enum slab_place; the owner's */
	uint8_t drains;    /* its blocks go by no magazine; the owner's, read by others (relaxed) */
	uint8_t words;     /* of bitmap */

	/* The owner's. */
	uint16_t left;            /* blocks to be freed until it changes its place */
	uint16_t threshold;       /* slab_nfree() at which that is */
	struct list node;         /* one of the owner's lists */
	struct list all;          /* cache->slabs; cache->lock */
	struct slab *notify_next; /* owned by whoever set `announced` or popped the slab */
	struct slab_word {
		uint64_t free;   /* bit 1: the block is free. Read by others (relaxed) */
		uint64_t remote; /* bit 1: freed by another CPU, not yet taken over. Atomic */
	} word[];
};

struct slab_lists {
	struct list list[SLAB_LISTS];
	uint32_t count[SLAB_LISTS];
};

/* A CPU takes or frees this many blocks singly before it takes up slabs for itself and
 * uses its magazine. */
#define SLAB_WARM 16

/* So often a magazine goes from full to empty before it grows. */
#define SLAB_SWINGS 4

/* With so many idle blocks a cache lends half of them. */
#define SLAB_BORROW_MIN 16

/* Capacities of a magazine: at first, and grown. */
#define SLAB_CAPACITIES 2

/* What one CPU has of one cache. */
struct slab_cpu {
	struct slab_lists lists;
	/* Slabs of this CPU in which others freed: pushed by anyone, taken whole; and what was
	 * taken and not yet looked at: the CPU's, inside its guard. */
	struct slab *notify, *taken;

	uint32_t warmth; /* blocks taken or freed singly since the last reap, up to SLAB_WARM */
	uint8_t swings;  /* of a magazine without `grown`: from full to empty, up to SLAB_SWINGS */
	bool was_full;   /* since it was empty */
	bool grown;      /* its storage is of the larger kind */

	struct slab *current; /* where the magazine is filled from */

	/* Closed: the CPU is cold, or the reaper has taken the magazine away. */
	struct slab_magazine magazine MEM_CACHE_ALIGNED;
	struct slab_entry *storage; /* the magazine's first entry; NULL: none */
	uint32_t entries;           /* capacity */
	uint32_t nslabs;            /* owned, current included */
	uint32_t peak;              /* recent most of them in use, in PEAK_UNITs */
	uint64_t random;            /* careful caches: where the next block is taken */
} MEM_CACHE_ALIGNED;

/* How a cache gets slabs and gives them up: over a page source, or in the heap. */
struct slab_backend {
	/* A slab with slab_init() done, or NULL. Context: as slab_alloc, outside any
	 * engine lock. */
	struct slab *(*make)(struct slab_cache *cache, bool atomic);
	/* An empty slab that nothing refers to any more. Context: any if `eager`,
	 * else thread. */
	void (*release)(struct slab_cache *cache, struct slab *slab);
	/* The slab that `block` would lie in: not checked, or NULL. */
	struct slab *(*find)(struct slab_cache *cache, const void *block);
	/* The slab's `drains` has changed; NULL: nobody need know. By its owner. */
	void (*steer)(struct slab_cache *cache, struct slab *slab);
	/* May empty slabs be released at once, from any context? (The heap's pages
	 * then serve another class; nothing is unmapped.) */
	bool eager;
};

/* Debug builds: freed blocks that may not be handed out yet, oldest first. */
#define SLAB_QUARANTINE 64u
struct slab_quarantine {
	void *block[SLAB_QUARANTINE];
	uint32_t head; /* the next one to fill */
	uint32_t count;
};

/* How large a slab is. */
struct slab_shape {
	uint16_t npages;
	uint16_t capacity;
};
#define SLAB_SHAPES 4

/* The place of a walk over all slabs of a cache (walk.c). The cache's lock. */
struct slab_cursor {
	struct list node;  /* cache->cursors */
	struct list *next; /* in cache->slabs */
	uint64_t left;     /* slabs to be seen, at most */
};

/* How far the reaper is in a cache (reap.c). The registry's lock. */
struct slab_reaped {
	struct list slabs;         /* empty, out of the cache, to be released */
	struct slab_cursor cursor; /* in use while `walks` */
	unsigned cpu;              /* the next whose magazine is emptied */
	uint8_t drained;           /* blocks that were taken out of quarantine */
	bool swapped;              /* of that CPU: everything on its notify stack was taken */
	bool walks;                /* over the slabs; after the CPUs */
	bool done;
};

struct slab_cache {
	const char *name;
	const struct slab_backend *backend;
	void *backend_data; /* the heap */
	struct page_source *source;
	void (*construct)(void *object);
	size_t object_bytes;
	size_t align;
	uint32_t stride;     /* bytes from block to block */
	uint32_t reciprocal; /* 2^32 / stride, rounded up */
	uint32_t first_at;   /* bytes from a slab's pages to its first block */
	/* The more blocks a cache has, the larger its slabs get; in a heap from the second on, the
	 * first is the least there can be, for when there are no pages side by side. */
	struct slab_shape shape[SLAB_SHAPES];
	uint8_t shift;   /* a state is for 2^shift bytes: at most stride */
	uint8_t order;   /* page source: order of a slab */
	uint8_t number;  /* heap: of the class */
	bool has_canary; /* heap: blocks end in a canary (heap/canary.h) */
	bool careful;    /* frees by no fast path; which block is next is not to be foreseen */
	unsigned ncpus;
	/* A guard and a struct slab_cpu for each CPU, cpu_stride bytes from one CPU's to the
	 * next. */
	char *guards, *cpus;
	uint32_t cpu_stride;
	uint32_t entries[SLAB_CAPACITIES]; /* of a magazine, and of one that has grown (0: none) */
	/* Where CPUs that have become warm get that storage; NULL: it lies behind their caches,
	 * for ever. */
	struct slab_cache *store[SLAB_CAPACITIES];
	uint8_t wants_storage; /* 1 + kind: the store had none (relaxed) */
	bool borrows;          /* heap: blocks of the caches above will do (slab_borrow) */
	uint32_t freed;        /* when it last tried that: what had come back (relaxed; a hint) */
	/* The cache of the next larger class, behind the same guards; NULL: nobody lends. */
	struct slab_cache *above;
	unsigned own_order; /* page source: order of the pages this structure lies in */
	uintptr_t secret;
	struct list registry; /* all caches; the reap lock */

	struct mem_lock lock MEM_CACHE_ALIGNED; /* MEM_RANK_SLAB, interrupts off */
	struct list slabs;                      /* every slab, by slab->all */
	struct list cursors;                    /* of walks over them */
	uint64_t nslabs, nblocks, npages;       /* of all of them */
	struct slab_lists shared;               /* slabs with owner 0 */
	uint64_t allocs;                        /* by those who found their CPU's cache closed */
	struct slab_reaped reaped;              /* the reaper's */
#ifdef MEM_DEBUG
	struct slab_quarantine quarantine;
#endif
};

/* ---- geometry ------------------------------------------------------------ */

static inline unsigned slab_words(unsigned capacity)
{
	return (capacity + 63) / 64;
}

/*
 * States: a byte for each 2^shift bytes of a slab, which are no more than a block has, and
 * no more than 256: that of a block is the byte for where it begins. While the block is
 * handed out the byte is slab_allocated_state(), the lowest of its address; else it is odd, as no
 * block's address is, and so are bytes for where no block begins. So in the heap, where slabs begin
 * with a page, one comparison tells that an address is the start of a block, and of one in
 * use (heap/fast.h). Changed by who allocates and frees the block.
 */
#define SLAB_NOT_ALLOCATED ((uint8_t)1)
#define SLAB_MAX_SHIFT     8 /* slab_allocated_state() knows where in 2^8 bytes */

static inline uint8_t slab_allocated_state(const void *block)
{
	return (uint8_t)(uintptr_t)block;
}

static inline size_t slab_state_bytes(unsigned shift, size_t bytes)
{
	return ((bytes - 1) >> shift) + 1;
}

/* A descriptor with bitmap and states, for so many bytes of blocks. */
static inline size_t slab_descriptor_bytes(unsigned capacity, unsigned shift, size_t bytes)
{
	return sizeof(struct slab) + slab_words(capacity) * sizeof(struct slab_word) +
	       slab_state_bytes(shift, bytes);
}

/* Bytes that the states of a slab are for. */
static inline size_t slab_bytes(const struct slab_cache *cache, const struct slab_shape *shape)
{
	return cache->source ? (size_t)shape->capacity * cache->stride : shape->npages * PAGE_SIZE;
}

static inline uint8_t *slab_states(struct slab *slab)
{
	return (uint8_t *)&slab->word[slab->words];
}

static inline uint8_t *slab_state(struct slab *slab, const void *block)
{
	size_t offset = (uintptr_t)block - (uintptr_t)slab->base;
	return slab_states(slab) + (offset >> slab->cache->shift);
}

/* Entries in use; by others than its CPU a guess. */
static inline size_t slab_loaded(const struct slab_cpu *c)
{
	const struct slab_entry *storage = atomic_read_relaxed(&c->storage);
	uintptr_t top = (uintptr_t)atomic_read_relaxed(&c->magazine.top);
	return storage ? (top + sizeof(*storage) - (uintptr_t)storage) / sizeof(*storage) : 0;
}

static inline uintptr_t slab_cookie(const struct slab_cache *cache, const struct slab *slab)
{
	return (uintptr_t)slab ^ cache->secret;
}

static inline struct slab_guard *slab_guard(const struct slab_cache *cache, unsigned cpu)
{
	return (struct slab_guard *)(void *)(cache->guards + (size_t)cpu * cache->cpu_stride);
}

static inline struct slab_cpu *slab_cpu_of(const struct slab_cache *cache, unsigned cpu)
{
	return (struct slab_cpu *)(void *)(cache->cpus + (size_t)cpu * cache->cpu_stride);
}

static inline void *slab_block(const struct slab *slab, unsigned index)
{
	return slab->base + (size_t)index * slab->cache->stride;
}

/* Blocks that the owner may hand out; stale while the slab is SLAB_CURRENT. */
static inline uint32_t slab_nfree(const struct slab *slab)
{
	return (uint16_t)(slab->threshold - slab->left);
}

static inline void slab_set_nfree(struct slab *slab, uint32_t nfree)
{
	slab->left = (uint16_t)(slab->threshold - nfree);
}

/* Add to a count that one CPU writes at a time (its own per-CPU cache, or a lock held)
 * and that others read without the lock, for statistics and as a hint. */
#define count_add(p, v) __atomic_store_n((p), *(p) + (v), __ATOMIC_RELAXED)

/* ---- engine -------------------------------------------------------------- */

/* Fill in the rest of a cache whose name, backend, object_bytes, align, construct, stride,
 * shapes, first_at, guards, cpus and their sizes are set, and register it. */
void slab_cache_init(struct slab_cache *cache, unsigned ncpus);
/* Unregister an empty cache. */
void slab_cache_done(struct slab_cache *cache);

/* log2 of the bytes that a state is for: as many as a block has, or less. */
unsigned slab_shift(size_t stride);

/* Bytes from block to block for objects like these, debug record included. */
size_t slab_stride(size_t object_bytes, size_t align);

/* Nobody is inside. */
void slab_guard_init(struct slab_guard *guard);

/* Make a descriptor over pages; every block is free. Calls the constructor. */
void slab_init(struct slab_cache *cache, const struct slab_shape *shape, struct slab *slab,
	       void *base);

/* slab_alloc / slab_free for callers that know the slab. `bytes`: what was
 * asked for (debug builds guard the rest); `site`: who asked. */
void *slab_take(struct slab_cache *cache, size_t bytes, bool wait, const void *site);
void slab_give(struct slab *slab, void *block, const void *site);

/* The index of `block` in its slab; panics if it is not the start of one. */
unsigned slab_index(const struct slab *slab, const void *block);
/* Panic unless the block is in use: `what` it is otherwise. */
void slab_assert_in_use(struct slab *slab, unsigned index, const char *what);

/* Reap many caches together, a few slabs at a time: fold what others freed, release every
 * empty slab. Returns pages released. Context: thread, no lock. */
uint64_t slab_reap_caches(struct slab_cache *const *caches, size_t count);

/* All slabs of the calling CPU become the cache's own. Any context but a handler's. */
void slab_cpu_leave(struct slab_cache *cache);

/* Release the empty slabs that this CPU and the cache keep in reserve (backends
 * that are eager). Returns how many. Context: any. */
uint64_t slab_shed(struct slab_cache *cache);

/* As slab_get_stats. *borrowed: blocks of this cache that others have in their
 * magazines, as far as that is known; set to what this one has of those above. Sums over a heap's
 * classes are right. */
void slab_get_stats_borrowed(struct slab_cache *cache, struct slab_stats *stats,
			     uint64_t *borrowed);
/* What slab_is_valid() has counted; caches that lend to each other must be seen together. */
struct slab_sums {
	uint64_t live;    /* by the statistics, with what is in quarantine */
	uint64_t in_use;  /* by the states */
	uint64_t missing; /* neither in use nor free */
	uint64_t loaded;  /* in magazines */
};
bool slab_is_valid_but(struct slab_cache *cache, struct slab_sums *sums, uint64_t *borrowed);
bool slab_sums_are_valid(const struct slab_sums *sums);

/* Panic because of `block`; `what` says what is wrong with it. */
MEM_NORETURN void slab_bad_block(const struct slab *slab, const void *block, const char *what);

/* ---- debug builds -------------------------------------------------------- */

#ifdef MEM_DEBUG
#define SLAB_DEBUG 1
#else
#define SLAB_DEBUG 0
#endif

/* debug.c; without MEM_DEBUG they do nothing. */
size_t slab_debug_extra(void);
void slab_debug_init(struct slab *slab, void *block);
/* Check and fill a block on its way out; on its way back check it and put it
 * into quarantine: returns what leaves quarantine for it (to be freed now) or
 * NULL. */
void slab_debug_alloc(struct slab *slab, void *block, size_t bytes, const void *site);
void *slab_debug_free(struct slab *slab, void *block, const void *site);
/* Take the oldest block out of quarantine, NULL: none left. */
void *slab_debug_drain(struct slab_cache *cache);
uint64_t slab_debug_quarantined(struct slab_cache *cache);
/* What was asked for, and a change of it in place. */
size_t slab_debug_bytes(const struct slab *slab, const void *block);
void slab_debug_resize(struct slab *slab, void *block, size_t bytes, const void *site);
bool slab_debug_is_valid(const struct slab *slab, unsigned index, bool in_use);

MEM_END_DECLS
#endif
