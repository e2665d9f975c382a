/* SPDX-License-Identifier: MIT */
#ifndef MEM_HEAP_INTERNAL_H
#define MEM_HEAP_INTERNAL_H
/* Inside the heap; the theory is at the head of heap/heap.c. */
#include <mem/heap.h>

#include "base/assert.h"
#include "slab/engine.h"
#include "slab/fast.h"

MEM_BEGIN_DECLS

/* ---- size classes (classes.c) --------------------------------------------- */

#define HEAP_CLASSES   81u
#define HEAP_MAX_SMALL ((size_t)16384) /* asked for; what is larger gets pages */
#define HEAP_MAX_CLASS ((size_t)18432) /* that with its canary, rounded up to a class */

/* The finest class for `bytes`, canary included (1 .. HEAP_MAX_CLASS). */
extern const uint8_t heap_class_table[65];
static inline unsigned heap_class_for(size_t bytes)
{
	if (likely(bytes <= 1024))
		return heap_class_table[(bytes + 15) / 16];
	/* Eight classes from each power of two to the next. */
	unsigned k = bit_highest(bytes - 1);
	return 40 + 8 * (k - 10) + (unsigned)((bytes - 1) >> (k - 3));
}

/* Bytes with their canary. */
static inline size_t heap_with_canary(size_t bytes)
{
	return bytes + (bytes > 238 ? 2 : 1);
}

size_t heap_class_bytes(unsigned number);
const char *heap_class_name(unsigned number);

struct heap;
/* Few classes serve. Context: initialisation; the classes' caches are there. */
void heap_init_classes(struct heap *heap);
/* The class that serves these sizes (of a finest class) has no block cached on this CPU: the one
 * that does from now on. Context: any. Locks: none of the engine's. */
unsigned heap_open_classes(struct heap *heap, unsigned finest);
/* The one that serves them if few do. */
unsigned heap_coarse_class(const struct heap *heap, unsigned finest);
/* Few classes serve again, where few blocks are left. Context: as heap_reap. */
void heap_close_classes(struct heap *heap);
/* For tests: is every size served by one class, and by one that is good for it? */
bool heap_classes_are_valid(const struct heap *heap);

/* ---- segments (segment.c) --------------------------------------------------- */

#define SEGMENT_NPAGES      ((unsigned)(HUGE_SIZE / PAGE_SIZE))
#define SEGMENT_WORDS       (SEGMENT_NPAGES / 64)
#define UNIT_BYTES          64u /* slab descriptors are made of these */
#define UNIT_PAGES          56  /* pages of them in one segment, the head's last included */
#define SEGMENT_HASH        256
#define KNOWN_SEGMENTS      2048 /* the bits of 32 that are above a segment */
#define HEAP_ALIGN          16u  /* of blocks: beyond it the bits below are for what `known` says */
#define KNOWN_HARDENED      ((uintptr_t)1 * HEAP_ALIGN) /* with the address, in a hardened heap */
#define SEGMENT_HEAD_NPAGES 2u /* the map, and struct segment with the first descriptors */
#define SEGMENT_MIN_NPAGES  64u
#define HEAP_RESERVE_PAGES  16u /* free pages in segments that thread context tops up to */

/*
 * What a free must know of a page, in eight bytes: read without the lock by who holds a
 * block there.
 */
struct segment_page {
	uint32_t states; /* see segment_state(); where no slab is, those of struct segment */
	uint16_t how;    /* bytes from a CPU's guard to the magazine header that the fast path of a
			  * free uses, and log2 of the bytes that a state is for */
	uint16_t unit;   /* the slab's descriptor, in units from the window's start; 0: no slab */
};
#define HOW_SHIFT 31u /* magazine headers lie at multiples of 64 */
#define HOW_NONE  15u /* where no slab is: there are two states then, by segment_state() */

/* What the heap has of a window, 2 MiB of addresses from a multiple of that on (segment.c).
 * heap->lock. */
struct segment {
	struct heap *heap;
	char *window;             /* where that starts */
	struct segment_page *map; /* in a page of the window, by its pages; read without the lock */
	struct list node;         /* heap->segments or heap->full_segments */
	struct list hash;         /* heap->segment_hash */
	uint16_t npages;          /* the heap's, map and all included */
	uint16_t nfree;           /* of these, free */
	uint16_t nslabs;
	uint16_t unit_pages;
	uint64_t used[SEGMENT_WORDS];        /* bit 1: the page is used, or not the heap's */
	uint64_t decommitted[SEGMENT_WORDS]; /* bit 1: a free page whose memory was given back */
	uint64_t unit_used[UNIT_PAGES];      /* bit 1: the unit is used, or not ours to use */
	uint16_t unit_page[UNIT_PAGES];      /* which page of the window holds them */
	uint8_t none[2];                     /* states that say: nothing in use here */
};

/* The window that something lies in. */
static inline char *segment_window(const void *at)
{
	uintptr_t start = (uintptr_t)at & ~(uintptr_t)(HUGE_SIZE - 1);
	return (char *)start; // NOLINT(performance-no-int-to-ptr)
}

/* The number of a page in its window. */
static inline unsigned segment_page_of(const void *at)
{
	return (unsigned)((uint32_t)(uintptr_t)at / PAGE_SIZE % SEGMENT_NPAGES);
}

/*
 * The state of what begins at an address, by what is known of its page; the first counts from
 * the window's start. Sixteen bits of the address count, as a processor takes these in one go:
 * `states` is where the states of the page's first byte are, in bytes from the window's start, less
 * (modulo 2^32) what the four bits above the page come to.
 */
static inline uint32_t segment_state_at(uint32_t states, unsigned how, const void *at)
{
	return states + (uint32_t)((uint16_t)(uintptr_t)at >> (how & HOW_SHIFT));
}

static inline uint8_t *segment_state(char *window, uint32_t states, unsigned how, const void *at)
{
	return (uint8_t *)window + segment_state_at(states, how, at);
}

/* What a slab's descriptor takes. */
static inline unsigned heap_descriptor_units(const struct slab_cache *cache,
					     const struct slab_shape *shape)
{
	size_t bytes =
	    slab_descriptor_bytes(shape->capacity, cache->shift, slab_bytes(cache, shape));
	return (unsigned)(align_up(bytes, UNIT_BYTES) / UNIT_BYTES);
}

static inline unsigned heap_count_decommitted(const struct segment *segment)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SEGMENT_WORDS; i++)
		n += bit_count(segment->decommitted[i]);
	return n;
}

/* The map of the window of `block`; NULL: the heap has nothing there. */
struct segment_page *heap_find_map_slowly(struct heap *heap, const void *block);
extern const struct slab_backend heap_slab_backend;
/* Give wholly empty segments back to the area (all but one); if `all`, that one too
 * and the memory behind every free page of the others. Returns pages. */
uint64_t heap_reap_segments(struct heap *heap, bool all);
/* The area has no loose pages left: give it all that the heap does not use just now, as what it
 * has then may lie better. False: there was nothing. Context: any. */
bool heap_give_loose(struct heap *heap);
/* check.c, for tests. */
bool heap_segments_are_valid(struct heap *heap);
/* Pages that slabs lie in. Locks: none; nobody else uses the heap. */
uint64_t heap_slab_npages(struct heap *heap);

/* ---- large blocks (large.c) --------------------------------------------------- */

#define LARGE_HASH   256
#define LARGE_QUEUES 64u

/* LARGE_FREEING: who frees it fills it. LARGE_GOING: the reaper has begun with it. */
enum large_state { LARGE_LIVE = 1, LARGE_FREEING, LARGE_QUEUED, LARGE_GOING };

struct large {
	struct list hash;  /* heap->large_hash */
	struct list queue; /* one of heap->large_queue, when freed */
	uintptr_t address;
	uint64_t npages;
	uint64_t bytes; /* asked for */
	uint64_t freed; /* heap->large_frees when it was queued: frees are numbered */
	uint64_t gone;  /* pages of its end that the reaper has given back */
	const void *site;
	enum large_state state;
};

/* How far an allocation goes: blocks that are ready; and pages for more; and waits for these. */
enum heap_effort { HEAP_READY, HEAP_GROW, HEAP_WAIT };

void *heap_alloc_large(struct heap *heap, size_t bytes, size_t align, enum heap_effort effort,
		       const void *site);
void heap_free_large(struct heap *heap, void *block, const void *site);
/* Bytes asked for; panics if `block` is no live large block. */
size_t heap_large_bytes(struct heap *heap, const void *block);
/* Change the size in place if the number of pages stays. */
bool heap_resize_large(struct heap *heap, void *block, size_t bytes);
uint64_t heap_reap_large(struct heap *heap);
/* The same of loose pages, which need no reaper. Context: any. */
uint64_t heap_drop_large(struct heap *heap);
void heap_report_large(struct heap *heap, unsigned limit);
bool heap_large_is_valid(struct heap *heap);

/* ---- sampled blocks (sample.c) ------------------------------------------------ */

struct sample;

/* A block with a page of its own, if it is this CPU's turn and one is ready; else NULL.
 * Context: any. */
void *heap_sample_alloc(struct heap *heap, size_t bytes, const void *site);
/* Does `block` lie in a page of sampled blocks? Then the two below are for it; they panic
 * if it is no live block. */
bool heap_is_sample(struct heap *heap, const void *block);
void heap_sample_free(struct heap *heap, void *block, const void *site);
size_t heap_sample_bytes(struct heap *heap, const void *block);
/* Make traps of what was freed, and pages ready for the next. Context: as heap_reap. */
void heap_sample_reap(struct heap *heap);
void heap_sample_end(struct heap *heap);
uint64_t heap_sample_npages(struct heap *heap); /* held for it */
void heap_report_samples(struct heap *heap, unsigned limit);
bool heap_samples_are_valid(struct heap *heap);

/* ---- cpus of a CPU ------------------------------------------------------------ */

/* What a CPU has: a guard, a per-CPU cache for each class, one for struct large and one for each
 * capacity of magazines. */
#define HEAP_LARGE_CACHE HEAP_CLASSES
#define HEAP_STORE_CACHE (HEAP_CLASSES + 1)
#define HEAP_CACHES      (HEAP_STORE_CACHE + SLAB_CAPACITIES)
#define HEAP_NO_MAGAZINE offsetof(struct slab_guard, closed)
#define HEAP_CPU_BYTES   (sizeof(struct slab_guard) + HEAP_CACHES * sizeof(struct slab_cpu))

static inline size_t heap_cpu_at(unsigned number)
{
	return sizeof(struct slab_guard) + number * sizeof(struct slab_cpu);
}

/* Bytes from a CPU's guard to its magazine header for a class, and back. */
static inline size_t heap_magazine_at(unsigned number)
{
	return heap_cpu_at(number) + offsetof(struct slab_cpu, magazine);
}

static inline unsigned heap_class_of_magazine(size_t magazine_at)
{
	return (unsigned)((magazine_at - heap_magazine_at(0)) / sizeof(struct slab_cpu));
}

/* What the storage of a magazine takes, before and after it has grown: odd in lines, so that
 * tops do not share sets of the cache. */
static inline size_t heap_magazine_bytes(unsigned kind)
{
	return kind ? 255 * 64 : 33 * 64;
}

/* Entries in it for blocks of so many bytes: as many as it has, unless that would keep too
 * much memory on one CPU; 0: it would be no larger than the kind before. The magazines of a
 * hardened heap do not grow (hardened.c). */
static inline unsigned heap_magazine_entries(size_t bytes, unsigned kind, bool hardened)
{
	size_t most = heap_magazine_bytes(kind) / sizeof(struct slab_entry);
	size_t n = (kind ? 1024 : 256) * (size_t)1024 / bytes;
	if (hardened)
		most = kind ? 0 : 64;
	return (unsigned)(n < most ? n : most);
}

/* ---- the heap ------------------------------------------------------------------ */

struct heap {
	struct heap_area *area;
	uint64_t own_npages; /* that this structure and its caches lie in */
	uintptr_t secret;
	enum heap_profile profile;
	bool loose; /* the area gives loose pages */
	/* Loose pages: no more than so many side by side are worth asking for, until so many
	 * slabs have been made (segment.c). Relaxed. */
	uint32_t piece, patience;
	struct slab_guard *guards[MEM_MAX_CPUS]; /* each with its CPU's cpus behind */
	/* By class: the one that serves its sizes, itself or one above (classes.c).
	 * Changed under the lock, as magazine_at; read by anyone (relaxed). */
	uint8_t serves[HEAP_CLASSES];
	bool coarse[HEAP_CLASSES]; /* classes that powers of two have; these always serve */
	/* By (bytes - 1) / 16: from a guard to the magazine header that serves them by the fast
	 * path. */
	uint16_t magazine_at[HEAP_MAX_SMALL / 16];
	/* Maps of segments lately asked for, by segment_slot(); atomic. */
	uintptr_t known[KNOWN_SEGMENTS];
	struct slab_cache *classes[HEAP_CACHES];

	struct mem_lock reap_lock; /* MEM_RANK_HEAP_REAP: held across flushes, interrupts on */
	struct mem_lock lock MEM_CACHE_ALIGNED; /* MEM_RANK_HEAP, interrupts off; all below */
	struct list segments;                   /* with free pages */
	struct list full_segments;
	struct list segment_hash[SEGMENT_HASH];
	uint64_t nsegments;
	uint64_t segment_npages;     /* mapped for segments */
	uint64_t free_npages;        /* of these, free */
	uint64_t decommitted_npages; /* of these, without memory behind them */
	uint64_t empty_npages;       /* of segments without slabs */
	struct list large_hash[LARGE_HASH];
	struct list large_queue[LARGE_QUEUES]; /* freed, for the reaper or a new use, by size */
	uint64_t large_npages;                 /* live */
	uint64_t queued_npages;
	uint64_t large_blocks, large_bytes; /* live */
	uint64_t large_allocs, large_frees;
	uint64_t failures; /* atomic */

	struct mem_lock sample_lock; /* MEM_RANK_HEAP, interrupts off; the rest below */
	struct sample *samples;
	unsigned sample_count;    /* 0: no sampling. Constant then, as the two addresses */
	unsigned sample_interval; /* atomic; 0: no sampling */
	uintptr_t sample_low, sample_high;
	struct list sample_ready, sample_freed, sample_gone; /* slots in these states */
	uint64_t sample_clock, sample_pages, sample_live, sample_live_bytes, sample_allocs;
};

/* Free pages with memory behind them. */
static inline uint64_t heap_reserve_npages(struct heap *heap)
{
	return atomic_read_relaxed(&heap->free_npages) -
	       atomic_read_relaxed(&heap->decommitted_npages);
}

static inline bool heap_is_hardened(const struct heap *heap)
{
	return heap->profile == HEAP_HARDENED;
}

/* Does every block leave space in its class, for a canary? In debug builds always: there a
 * block whose size is a power of two is seldom aligned to more than was asked for, and who
 * relies on that finds out. */
static inline bool heap_leaves_space(const struct heap *heap)
{
	return SLAB_DEBUG || heap_is_hardened(heap);
}

/* The finest class for `bytes`; HEAP_CLASSES: none, they get pages. */
static inline unsigned heap_finest_class(const struct heap *heap, size_t bytes)
{
	if (unlikely(bytes > HEAP_MAX_SMALL))
		return HEAP_CLASSES;
	return heap_class_for(heap_leaves_space(heap) ? heap_with_canary(bytes) : bytes);
}

/* The one that serves the sizes of a finest class now. */
static inline unsigned heap_serves(const struct heap *heap, unsigned finest)
{
	return atomic_read_relaxed(&heap->serves[finest]);
}

/* The class that serves `bytes`, at most HEAP_MAX_SMALL, now. */
static inline unsigned heap_class_of(const struct heap *heap, size_t bytes)
{
	return heap_serves(heap, heap_finest_class(heap, bytes));
}

static inline unsigned segment_slot(uintptr_t base)
{
	return (uint32_t)base >> HUGE_SHIFT;
}
_Static_assert(KNOWN_SEGMENTS == UINT32_MAX / HUGE_SIZE + 1, "a slot for each number");

/* What `known` has of a map. */
static inline uintptr_t heap_known(const struct heap *heap, const struct segment_page *map)
{
	return (uintptr_t)map | (heap_is_hardened(heap) ? KNOWN_HARDENED : 0);
}

/* The map that this leads to. */
static inline struct segment_page *heap_known_map(uintptr_t known)
{
	return (void *)(known & ~(uintptr_t)PAGE_MASK); // NOLINT(performance-no-int-to-ptr)
}

/* What it has when it has none: an address in a window of another slot. */
static inline uintptr_t heap_known_none(unsigned slot)
{
	return (uintptr_t)(slot ^ 1) << HUGE_SHIFT;
}

static inline struct segment_page *heap_find_map(struct heap *heap, const void *block)
{
	uintptr_t known = atomic_read_acquire(&heap->known[segment_slot((uintptr_t)block)]);
	if (likely(!((known ^ (uintptr_t)block) >> HUGE_SHIFT)))
		return heap_known_map(known);
	return heap_find_map_slowly(heap, block);
}

/* The slab of a block of the heap, NULL: not in a slab (a large block, or none
 * of ours). */
static inline struct slab *heap_find_slab(struct heap *heap, const void *block)
{
	const struct segment_page *map = heap_find_map(heap, block);
	if (unlikely(!map))
		return NULL;
	size_t unit = atomic_read_relaxed(&map[segment_page_of(block)].unit);
	if (unlikely(!unit))
		return NULL;
	return (struct slab *)(void *)(segment_window(block) + unit * UNIT_BYTES);
}

/* When the inline paths of fast.h cannot serve. */
void *heap_alloc_aligned_slowly(struct heap *heap, size_t bytes, size_t align, const void *site);
bool heap_resize_in_place(struct heap *heap, void *block, size_t bytes, const void *site);
void *heap_alloc_beyond(struct heap *heap, size_t bytes, enum heap_effort effort, const void *site);
void heap_free_slowly(struct heap *heap, void *block, const void *site);
/* hardened.c: a small block, or NULL: by the slow path, if at all. And its end; false: by the
 * slow path, which also says what is wrong. */
void *heap_alloc_hardened(struct heap *heap, size_t bytes);
bool heap_free_hardened(struct heap *heap, void *block);
void heap_free_hardened_slowly(struct heap *heap, struct slab *slab, void *block);
/* A free that the fast path does not serve. */
void heap_free_otherwise(struct heap *heap, void *block, const void *site);
/* The same, as a public call's last act: its call site is theirs. */
void *heap_alloc_elsewhere(size_t bytes, struct heap *heap);
void heap_free_elsewhere(void *block, struct heap *heap);
MEM_NORETURN void heap_canary_bad(const void *block, size_t class_bytes);

MEM_END_DECLS
#endif
