/* SPDX-License-Identifier: MIT */
#ifndef MEM_PMM_INTERNAL_H
#define MEM_PMM_INTERNAL_H
/*
 * What the files of the frame allocator share. The theory is in block.c (blocks
 * and who may change them), cpu_cache.c (what a CPU holds privately), init.c (layout,
 * segments, the initialised limit) and range.c (rare operations).
 *
 * Frames are numbered densely: frame d of the allocator is frame d - s->dense of
 * segment s. Word d / 64 of `lines` holds its bit; block d / 512 its state.
 */
#include <mem/host.h>
#include <mem/pmm.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "base/util.h"

#define BLOCK_PAGES  512u
#define BLOCK_WORDS  8u
#define GROUP_BLOCKS 64u /* blocks of one summary word */
#define LIMIT_BLOCKS 16u /* step of the initialised limit; a part of a group */
#define BLOCK_NONE   ((uint32_t)-1)
#define WORD_NONE    ((uint64_t)-1)
#define ALL_ONES     (~(uint64_t)0)
/* A reference in a frame record reaches this many frames: 2 TiB. */
#define MAX_BLOCKS ((uint64_t)1 << 20)

/* ---- block state ------------------------------------------------------------
 *
 *  31  24 23 21 20      12  11  10    9 8  7   0
 * | hint |  -  | record  | REC|MIXED| kind|owner|       REC: a frame holds records
 *              |    -|order                             else: 0, or 1..8
 *
 * All but the hint changes by compare-and-swap, or by the owner. The hint, about how
 * many frames are free, is a byte of its own that anybody writes plainly: it may be
 * wrong where two did so at once. */
#define STATE_OWNER        0xffu
#define STATE_KIND         (3u << 8)
#define STATE_NORMAL       (0u << 8)  /* single frames and small orders */
#define STATE_HUGE         (1u << 8)  /* allocated whole */
#define STATE_CACHED       (2u << 8)  /* whole and free, held by the owner */
#define STATE_ABSENT       (3u << 8)  /* no usable frame */
#define STATE_MIXED        (1u << 10) /* some frames are not usable: ask the map */
#define STATE_REC          (1u << 11) /* one frame holds the records */
#define STATE_RECORD_SHIFT 12
#define STATE_RECORD       (0x1ffu << STATE_RECORD_SHIFT)
#define STATE_FORMAT       (STATE_REC | STATE_RECORD)
#define STATE_ORDER(n)     ((uint32_t)(n) << STATE_RECORD_SHIFT)
#define STATE_HINT_SHIFT   24
#define STATE_HINT         (0xffu << STATE_HINT_SHIFT)
#define HINT_MANY          255u /* and more */

static inline unsigned state_owner(uint32_t state)
{
	return state & STATE_OWNER;
}
static inline unsigned state_record(uint32_t state)
{
	return (state & STATE_RECORD) >> STATE_RECORD_SHIFT;
}
/* The order of all that is allocated in a block: 0 where single frames are, or
 * anything, with records. */
static inline unsigned state_order(uint32_t state)
{
	return state & STATE_REC ? 0 : state_record(state);
}
static inline unsigned state_hint(uint32_t state)
{
	return state >> STATE_HINT_SHIFT;
}

/* ---- classes: two summary bits per block, a Gray code -------------------------- */
enum pmm_block_class {
	CLASS_FULL = 0,   /* a=0 b=0: (nearly) nothing free, claimed whole, absent, of an order */
	CLASS_HALF = 1,   /* a=0 b=1: at least half full, with free frames */
	CLASS_SPARSE = 3, /* a=1 b=1: less than half full */
	CLASS_FREE = 2,   /* a=1 b=0: wholly free */
	CLASS_ORDER = 4,  /* not in a and b: an order's block with free frames */
};

#define FREE_MIN 20u /* fewer free frames do not count */

/* ---- what a CPU holds ------------------------------------------------------------ */

/* Kinds of single-frame supply, each with a block of its own. */
enum {
	KIND_USER,   /* blocks with frame records */
	KIND_KERNEL, /* blocks without */
	KIND_COUNT
};

/* What a CPU has taken out of the block that it owns for a kind: `mask` are the
 * frames of word `w` that it may hand out now, rest[i] those of word i that come
 * later. Others read this to find frees of free frames; `seq` is odd while more
 * than the mask changes. */
struct pmm_private_word {
	uint64_t mask;
	paddr_t base; /* address of the word's first frame */
	uint64_t w;
	paddr_t block_base;
	uint32_t seq;
	uint32_t block; /* or BLOCK_NONE */
	uint32_t hint;  /* where to look for the next block */
	uint32_t seen;  /* pmm->arrivals when a search for used blocks last found none */
	uint32_t more;  /* bit i: rest[i] is not 0 */
	uint64_t rest[BLOCK_WORDS];
} MEM_CACHE_ALIGNED;

/* Frames of a word that wait. `key` is the word's number, with WORD_FAR if its frames are not
 * of segment 0 and below the initialised limit: so what near_dense() makes of an address belongs to
 * it only if that is one of its frames. */
struct pmm_free_word {
	uint64_t key;
	uint64_t mask;
};
#define WORD_FAR ((uint64_t)1 << 63) /* above any number / 64 */

#define QUEUE_WORDS  64u
#define POOL_FRAMES  32u
#define SMALL_ORDERS 8u  /* orders 1..8: blocks of one order each, see order.c */
#define ORDER_CACHED 16u /* blocks of an order, at most */
#define HUGE_CACHED  48u
#define HUGE_BATCH   24u /* given back, or taken, at once; less where there is little */

/* Above any order, as the flags that a fast path does not know are (mem/pmm.h). */
#define CACHE_REVOKED (1u << 30) /* a rare operation has taken the cache over */
#define CACHE_NEW     (1u << 31) /* never used: nothing to take over */

struct pmm_cpu_cache {
	uint8_t busy; /* written by its CPU only: it is inside if this is not 0 */
	uint8_t npool;
	uint8_t nhuge;
	uint8_t any_clean;            /* if 0, nothing free is known to be zero in the own block */
	uint32_t nqueue;              /* if not 0, something is in `freed` */
	uint8_t norder[SMALL_ORDERS]; /* cached blocks of order i + 1, below */
	struct pmm_free_word freed;   /* frees of the newest word */
	uint32_t revoked;             /* SLOT_*: its CPU must use the shared cache */
	uint32_t cached;              /* the state of a whole block that it holds */
	uint8_t locked;               /* see pmm_cache_lock() */
	struct pmm_private_word word[KIND_COUNT];
	uint32_t order_hint[SMALL_ORDERS];
	uint32_t order_block[SMALL_ORDERS][ORDER_CACHED]; /* dense number >> order */
	uint32_t huge[HUGE_CACHED];                       /* blocks */
	uint32_t queue_w[QUEUE_WORDS];                    /* frees of words before that, ... */
	uint64_t queue_mask[QUEUE_WORDS]; /* ... one apart from the other: no shift */
	uint32_t pool[POOL_FRAMES];       /* cleared frames with records: numbers */
	uint64_t clean[BLOCK_WORDS];      /* of the own block with records: clear.c */
} __attribute__((aligned(2048)));         /* a shift finds it */

_Static_assert(sizeof(struct pmm_cpu_cache) == 2048, "what a CPU costs");

struct pmm_segment {
	pfn_t first;     /* multiple of 512 */
	uint64_t npages; /* multiple of 512 */
	uint64_t dense;  /* number of its first frame */
};

struct pmm {
	/* What pmm_alloc and pmm_free of one frame read; written when the initialised limit
	 * moves. */
	struct pmm_cpu_cache *caches; /* one per CPU, then the shared one */
	uint32_t *states;
	pfn_t low_first;    /* first frame of segment 0 ... */
	uint64_t low_ready; /* ... and how many of it lie below the initialised limit */

	uint64_t ready; /* frames below have lines, states and summaries */
	uint64_t *lines;
	struct pmm_segment *segments;
	unsigned nsegments;
	unsigned ncpus;
	uint64_t *summary_a, *summary_b;
	uint64_t *summary_order; /* of an order 1..8, with something free, no owner */
	uint64_t nblocks;
	struct mem_lock rare;   /* MEM_RANK_PMM: one rare operation at a time */
	struct mem_lock shared; /* MEM_RANK_PMM_CACHE: shared cache, initialised limit, map */
	uint32_t free_hint;     /* no wholly free block is likely below */
	uint32_t arrivals;      /* changes when a used block has free frames again */
	uint32_t huge_batch;    /* blocks taken, or given back, at once */
	uint32_t huge_limit;    /* that a cache holds */
	uint8_t order_batch[SMALL_ORDERS]; /* taken, or given back, at once; half of what waits */
	/* Under `shared`: */
	bool frozen; /* nobody holds or owns anything */
	struct memmap map;
	uint64_t total;       /* usable frames */
	uint64_t unused_free; /* usable frames above the initialised limit */
	uint64_t unused_huge; /* wholly usable blocks above it */
	uint64_t metadata_bytes;
	pmm_first_use *first_use; /* told before the initialised limit moves, or NULL */
	void *first_use_arg;
};

/* What a fast path looks at together (fast_read() and byte_borrow(): base/atomic.h): folds a
 * load, as ordered as any of x86, into what it is combined with, which compilers do not do of
 * themselves, and says whether that is not 0. */
static inline bool or_word(unsigned *to, const uint32_t *word)
{
#ifdef MEM_WATCHED
	return (*to |= __atomic_load_n(word, __ATOMIC_ACQUIRE)) != 0;
#else
	bool any;
	__asm__ volatile("orl %2, %0" : "+r"(*to), "=@ccnz"(any) : "m"(*word) : "cc", "memory");
	return any;
#endif
}

/* ---- numbers ----------------------------------------------------------------------- */

/* n ones from bit `first` up; n in 1..64. */
static inline uint64_t bit_run(unsigned first, unsigned n)
{
	return (ALL_ONES >> (64 - n)) << first;
}

/* Set bit i % 64; was it set? One instruction where compilers make five. */
static inline bool bit_test_set(uint64_t *word, uint64_t i)
{
	bool was;
	__asm__("btsq %2, %0" : "+r"(*word), "=@ccc"(was) : "r"(i) : "cc");
	return was;
}

/* Clear the lowest set bit and say which it was; word != 0. Two instructions, as above. */
static inline uint64_t bit_take_lowest(uint64_t *word)
{
	uint64_t at;
	__asm__("rep bsfq %1, %0" : "=r"(at) : "r"(*word) : "cc");
	__asm__("btrq %1, %0" : "+r"(*word) : "r"(at) : "cc");
	return at;
}

/* The dense number of a frame, or PFN_NONE. */
static inline uint64_t pfn_to_dense(const struct pmm *pmm, pfn_t pfn)
{
	for (const struct pmm_segment *s = pmm->segments; s < pmm->segments + pmm->nsegments; s++)
		if (pfn - s->first < s->npages)
			return pfn - s->first + s->dense;
	return PFN_NONE;
}

static inline pfn_t dense_to_pfn(const struct pmm *pmm, uint64_t dense)
{
	const struct pmm_segment *s = pmm->segments;
	while (dense - s->dense >= s->npages)
		s++;
	return dense - s->dense + s->first;
}

static inline paddr_t dense_to_paddr(const struct pmm *pmm, uint64_t dense)
{
	return pfn_to_paddr(dense_to_pfn(pmm, dense));
}

/* The hint of a block is the top byte of its state. */
static inline uint8_t *pmm_block_hint(const struct pmm *pmm, uint32_t block)
{
	return (uint8_t *)&pmm->states[block] + STATE_HINT_SHIFT / 8;
}

/* The same where segment 0 is the likely one, and `dense` below the initialised limit. */
static inline paddr_t near_paddr(const struct pmm *pmm, uint64_t dense)
{
	if (likely(dense < fast_read(&pmm->low_ready)))
		return pfn_to_paddr(dense + pmm->low_first);
	return dense_to_paddr(pmm, dense);
}

/* The dense number of a frame if that is below low_ready, else one that is not: an address
 * that is not a multiple of a page rotates to a number far above any. */
static inline uint64_t near_dense(const struct pmm *pmm, paddr_t pa)
{
	return (pa >> PAGE_SHIFT | pa << (64 - PAGE_SHIFT)) - pmm->low_first;
}

/* The address that near_dense() has made this number of, whatever that was. */
static inline paddr_t near_address(const struct pmm *pmm, uint64_t d)
{
	d += pmm->low_first;
	return d << PAGE_SHIFT | d >> (64 - PAGE_SHIFT);
}

static inline uint64_t *pmm_block_line(const struct pmm *pmm, uint32_t block)
{
	return &pmm->lines[(uint64_t)block * BLOCK_WORDS];
}

/* Blocks below the initialised limit. */
static inline uint32_t ready_blocks(const struct pmm *pmm)
{
	return (uint32_t)(atomic_read_acquire(&pmm->ready) / BLOCK_PAGES);
}

static inline struct pmm_cpu_cache *pmm_cache_of(const struct pmm *pmm, unsigned cpu)
{
	/* 32 bits are enough, and one instruction less. */
	return (void *)((char *)pmm->caches + cpu * (unsigned)sizeof(struct pmm_cpu_cache));
}

static inline struct pmm_cpu_cache *pmm_shared_cache(const struct pmm *pmm)
{
	return &pmm->caches[pmm->ncpus];
}

/* What a cache is called in a block's owner field. */
static inline unsigned pmm_cache_id(const struct pmm *pmm, const struct pmm_cpu_cache *cache)
{
	return (unsigned)(cache - pmm->caches) + 1;
}

/* May the caller wait for other CPUs? */
static inline bool may_wait(unsigned flags)
{
	return (flags & PMM_WAIT) && host_irq_enabled() && !host_in_interrupt();
}

/* ---- records: 8 bytes per frame, in a frame of the block itself ----------------- */
/*
 *  63              33 32              2 1  0
 * | pins             | count           |type|   FRAME_ANON, FRAME_OBJECT, count > 0
 * | reference / 16        |    0     |1|type|   others: they have one owner
 *  63                   27            2
 * | code |                 0                |   nobody's
 */
#define RECORD_COUNT_SHIFT 2
#define RECORD_COUNT_MAX   ((1u << 31) - 1)
#define RECORD_PIN_SHIFT   33
#define RECORD_REF_SHIFT   27
#define RECORD_CODE(n)     ((uint64_t)(n) << 56)
#define RECORD_ORDER(n)    RECORD_CODE(n)    /* first frame of an allocation of order 1..8 */
#define RECORD_PAGE        RECORD_CODE(0xe0) /* the frame that holds the records */
#define RECORD_POOL        RECORD_CODE(0xe2) /* free, cleared, in a CPU's pool */

/* The record of the frame at pa, whose block has this state. Blocks are aligned. */
static inline uint64_t *frame_record(paddr_t pa, uint32_t state)
{
	paddr_t page = (pa & ~(HUGE_SIZE - 1)) + ((paddr_t)state_record(state) << PAGE_SHIFT);
	return (uint64_t *)paddr_to_ptr(page) + (pa >> PAGE_SHIFT) % BLOCK_PAGES;
}

/* The same by the frame's number, below low_ready. */
static inline uint64_t *near_record(const struct pmm *pmm, uint64_t d, uint32_t state)
{
	pfn_t page = d - d % BLOCK_PAGES + pmm->low_first + state_record(state);
	return (uint64_t *)paddr_to_ptr(pfn_to_paddr(page)) + d % BLOCK_PAGES;
}

/* ---- block.c ------------------------------------------------------------------------ */

/* What a block must be for whom it is claimed: NORMAL, unowned, not full, of no order,
 * and ... */
enum pmm_block_want {
	WANT_ANY,
	WANT_RECORDS,    /* ... with records */
	WANT_NO_RECORDS, /* ... without */
	WANT_RECORDABLE, /* ... with records, or room for them and one more */
};
bool pmm_block_claim(struct pmm *pmm, uint32_t block, unsigned id, enum pmm_block_want want);
/* Become the owner of a 2 MiB block of this order in which something is free. */
bool pmm_block_claim_order(struct pmm *pmm, uint32_t block, unsigned id, unsigned order);
/* Let go of it; if it holds nothing but its record page, it becomes wholly free. */
void pmm_block_release(struct pmm *pmm, uint32_t block);
/* The owner has taken or given back bits: count again. */
void pmm_block_recount(struct pmm *pmm, uint32_t block);
/* The owner has taken all; `plain`: not all of it by locked operations. */
void pmm_block_emptied(struct pmm *pmm, uint32_t block, bool plain);
/* Clear bits: how many frames of a block are free. */
unsigned pmm_block_clear_bits(const struct pmm *pmm, uint32_t block);
/* Is a line full? */
bool pmm_line_is_full(const uint64_t *line);
/* Set all bits, of a block that the caller has to himself. */
void pmm_line_fill(uint64_t *line);
/* Is this block wholly free? Exact while nobody allocates. */
bool pmm_block_is_whole(const struct pmm *pmm, uint32_t block);
/* Bring the summaries into step with a block. */
void pmm_block_update_class(struct pmm *pmm, uint32_t block);
/* Give an owned block its record page, from its highest free frame outside
 * [avoid, avoid + n). False: there is none. If the block was one of an order, the
 * records say so of what is in use; then the allocator is frozen, because a free in
 * between would leave its record behind. */
bool pmm_block_make_records(struct pmm *pmm, uint32_t block, unsigned avoid, unsigned n);
/* Clear bits that the caller owns. */
void pmm_block_give_back(struct pmm *pmm, uint64_t w, uint64_t mask);
/* As block_give_back for frames that a user freed: checks them first. `cache`:
 * the caller is inside it (NULL: in none). */
void pmm_block_free_bits(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t w, uint64_t mask);
/* An order-n block has come free, by a locked operation that cleared its last bits. */
void pmm_block_freed_order(struct pmm *pmm, struct pmm_cpu_cache *cache, uint32_t block);
/* If `block` holds nothing but its record page, or nothing at all, it becomes wholly
 * free. The caller is inside a cache or holds `shared`. */
void pmm_block_try_dismantle(struct pmm *pmm, uint32_t block, unsigned id);
/* Claim a wholly free block and make it `to`, or for an order 1..8. */
bool pmm_block_take_free(struct pmm *pmm, uint32_t block, unsigned id, uint32_t to);
bool pmm_block_take_order(struct pmm *pmm, uint32_t block, unsigned id, unsigned order);
/* Blocks of one summary word (bits) have just become wholly free / were taken whole. */
void pmm_block_update_group(struct pmm *pmm, uint32_t group, uint64_t blocks, bool whole);
/* The first run of 2^order free frames, aligned, in a line; BLOCK_PAGES if none. */
unsigned pmm_line_find(const uint64_t *line, unsigned order);
/* Bits at which such runs start in one word (order 0..5), or 1 if those words from it on
 * are clear that make one (6..8). */
uint64_t pmm_line_runs(const uint64_t *word, unsigned order);
/* Look through the blocks of a class, cyclically from block `from`, until `take`
 * says yes or it has said no `patience` times. */
typedef bool pmm_block_take(struct pmm *pmm, uint32_t block, uint64_t arg);
uint32_t pmm_block_search(struct pmm *pmm, enum pmm_block_class class, uint32_t from,
			  unsigned patience, pmm_block_take *take, uint64_t arg);
MEM_NORETURN __attribute__((cold)) void pmm_free_panic(struct pmm *pmm, uint64_t dense,
						       const char *why);

/* ---- order.c ---------------------------------------------------------------------------- */

/* Orders 1..8. One block out of a cache that the caller is inside of, or PADDR_NONE. */
paddr_t pmm_order_take(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order);
/* Give a block back that lies in a 2 MiB block of its order. `cache`: as block_free_bits; without
 * one the caller holds `shared`. */
void pmm_order_free(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t d, unsigned order);
/* Give back what a cache holds. */
void pmm_order_flush(struct pmm *pmm, struct pmm_cpu_cache *cache);
/* A run of 2^order frames in a block that carries records, when no block of the order
 * has free blocks and none is wholly free. */
paddr_t pmm_order_take_odd(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned order);

/* ---- init.c --------------------------------------------------------------------------- */

/* Move the initialised limit up by one step. `locked`: the caller holds `shared`. */
bool pmm_extend_limit(struct pmm *pmm, bool locked);
/* The usable frames of a block as bits, and their number. Context for this and
 * the next: inside a cache, or with `shared` held: else the map may change. */
unsigned pmm_block_usable(const struct pmm *pmm, uint32_t block, uint64_t usable[BLOCK_WORDS]);
bool pmm_frame_is_usable(const struct pmm *pmm, pfn_t pfn);

/* ---- cpu_cache.c ---------------------------------------------------------------------------- */

static inline void pmm_cache_end(struct pmm_cpu_cache *cache)
{
	__atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
	MEM_POINT();
}

/* Enter a CPU's cache; that CPU is the caller's, preemption is off. False: this has
 * interrupted who is inside. Only pmm_cache_revoked() says whether the caller may stay. */
static inline bool pmm_cache_begin(struct pmm_cpu_cache *cache)
{
	MEM_POINT();
	if (unlikely(!byte_borrow(&cache->busy))) {
		byte_return(&cache->busy);
		return false;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	MEM_POINT();
	return true;
}

/* Is the cache revoked, or anything else set in `*odd`? They are put together there. */
static inline bool pmm_cache_revoked(const struct pmm_cpu_cache *cache, unsigned *odd)
{
	return or_word(odd, &cache->revoked);
}

/* Both in one. False: go the shared way. */
static inline bool pmm_cache_try(struct pmm_cpu_cache *cache)
{
	unsigned odd = 0;
	if (unlikely(!pmm_cache_begin(cache)))
		return false;
	if (unlikely(pmm_cache_revoked(cache, &odd))) {
		pmm_cache_end(cache);
		return false;
	}
	return true;
}

/* Others read word, mask and rest of a private word: whoever changes what they mean
 * brackets it, and writes them with release order, so that none is seen before the
 * bracket. */
static inline void pmm_word_change_begin(struct pmm_private_word *p)
{
	atomic_write_relaxed(&p->seq, p->seq + 1);
}

static inline void pmm_word_change_end(struct pmm_private_word *p)
{
	atomic_write_release(&p->seq, p->seq + 1);
}

/* `w`: of the block that is private, or was until it was taken back just now. */
static inline void pmm_word_set(struct pmm_private_word *p, uint64_t w, uint64_t mask)
{
	atomic_write_release(&p->w, w);
	p->base = p->block_base + ((paddr_t)(w % BLOCK_WORDS) * 64 << PAGE_SHIFT);
	atomic_write_release(&p->mask, mask);
}

/* Private blocks (all but `mask`) and the queue, but for appending to it: others take them back
 * when they find nothing else (take_back.c). So their CPU changes them with this held, inside
 * the cache. Whoever else holds it has interrupts off. */
static inline bool pmm_cache_trylock(struct pmm_cpu_cache *cache)
{
	return !atomic_swap(&cache->locked, 1);
}

static inline void pmm_cache_lock(struct pmm_cpu_cache *cache)
{
	while (unlikely(!pmm_cache_trylock(cache)))
		host_relax();
}

static inline void pmm_cache_unlock(struct pmm_cpu_cache *cache)
{
	atomic_write_release(&cache->locked, 0);
}

/* What the CPU hands out next of these frames of a word: no more than 32, as nobody can take
 * them back. */
static inline uint64_t pmm_next_of(uint64_t frames)
{
	return (uint32_t)frames ? (uint32_t)frames : frames;
}

/* The next frames of the own block, if it has some. The cache is locked. */
static inline bool pmm_word_next(struct pmm_private_word *p)
{
	if (!p->more)
		return false;
	unsigned i = bit_lowest(p->more);
	uint64_t next = pmm_next_of(p->rest[i]), rest = p->rest[i] & ~next;
	if (!rest)
		p->more &= p->more - 1;
	pmm_word_change_begin(p);
	pmm_word_set(p, (uint64_t)p->block * BLOCK_WORDS + i, next);
	atomic_write_release(&p->rest[i], rest);
	pmm_word_change_end(p);
	return true;
}

/* The newest word of which something was freed, if anything was. */
static inline uint64_t freed_word(const struct pmm_cpu_cache *cache)
{
	return (uint32_t)cache->freed.key;
}

/* Is what this CPU has freed last, if anything, of its own block? */
static inline bool pmm_cache_may_reuse(const struct pmm_cpu_cache *cache,
				       const struct pmm_private_word *p)
{
	return freed_word(cache) / BLOCK_WORDS == atomic_read_relaxed(&p->block);
}

/* As pmm_cache_try for slow paths: starts a cache that was never used. NULL: go the
 * shared way; pmm_cache_leave takes what this gave. */
struct pmm_cpu_cache *pmm_cache_enter(struct pmm *pmm, unsigned cpu);
static inline void pmm_cache_leave(struct pmm_cpu_cache *cache)
{
	if (cache)
		pmm_cache_end(cache);
}
/* One frame of `kind` out of a cache that the caller is inside of, or PADDR_NONE. */
paddr_t pmm_cache_take(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned kind);
/* A frame with a record that is zero already, if this CPU has one; else PADDR_NONE. Enters the
 * cache itself. */
paddr_t pmm_cache_take_clear(struct pmm *pmm, struct pmm_cpu_cache *cache);
/* A wholly free block, from below the initialised limit or by moving that. */
uint32_t pmm_cache_find_free(struct pmm *pmm, struct pmm_cpu_cache *cache, pmm_block_take *take,
			     uint64_t arg);
uint32_t pmm_cache_take_huge(struct pmm *pmm, struct pmm_cpu_cache *cache);
/* Give back the n whole blocks that were cached first. */
void pmm_cache_flush_huge(struct pmm *pmm, struct pmm_cpu_cache *cache, unsigned n);
/* Put freed bits where they wait. */
void pmm_cache_buffer(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t w, uint64_t mask);
/* Clear what the queue (and the newest word) holds in the bitmap. */
void pmm_cache_flush_queue(struct pmm *pmm, struct pmm_cpu_cache *cache);
void pmm_cache_flush_frees(struct pmm *pmm, struct pmm_cpu_cache *cache);
/* Give everything back to the bitmap. */
void pmm_cache_flush(struct pmm *pmm, struct pmm_cpu_cache *cache);
/* Have in the bitmap what is within this CPU's reach: all that it holds itself, and what it can
 * take back from others. False: there was nothing. Context: outside of caches. */
bool pmm_take_in(struct pmm *pmm);
/* The same by who is inside its cache. */
bool pmm_take_in_inside(struct pmm *pmm, struct pmm_cpu_cache *cache);
/* Give back a private block with the frames that wait in it. The cache is locked. */
void pmm_word_drop(struct pmm *pmm, struct pmm_private_word *p);

/* ---- take_back.c ---- */

/* Take back what other CPUs keep ahead of need. `mine`: the caller is inside it; NULL: it holds
 * `shared`. False: there was nothing. Does not wait. */
bool pmm_take_back(struct pmm *pmm, struct pmm_cpu_cache *mine);

/* Give back what is cached, but keep private words and blocks. */
void pmm_cache_flush_lists(struct pmm *pmm, struct pmm_cpu_cache *cache);
uint64_t pmm_cache_npages(const struct pmm_cpu_cache *cache);

/* Stop all private work: nobody is inside a cache, and whoever wants a frame waits.
 * Frees go on, straight to the bitmap. False if it may not wait and others are at
 * work. Holds `rare` and `shared` until release. */
bool pmm_hold(struct pmm *pmm, bool wait, unsigned long *irq);
void pmm_release(struct pmm *pmm, unsigned long irq);

/* The same, and everything that caches held is back in the bitmap: only the caller
 * takes frames, and nothing is cached or owned, until thaw. */
bool pmm_freeze(struct pmm *pmm, bool wait, unsigned long *irq);
void pmm_thaw(struct pmm *pmm, unsigned long irq);

/* ---- range.c --------------------------------------------------------------------------- */

/* The lowest free aligned run of 2^order frames (0..8) that can carry records if
 * `records`. Context: `shared` held. */
paddr_t pmm_range_take_first(struct pmm *pmm, unsigned order, bool records);

#endif
