/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_FAST_H
#define MEM_SLAB_FAST_H
/* The paths on which a block stays on its CPU, to be inlined into the calls
 * that users make. The theory is at the head of slab/slab.c. */
#include "slab/engine.h"

/* Compilers do not fold atomic loads into a compare, and these paths are counted in
 * instructions: where nothing watches, a byte is compared in memory (as ordered as
 * any x86 load), and what is read relaxed is read plainly. */
#ifdef MEM_WATCHED
#define fast_read(p)    atomic_read_relaxed(p)
#define fast_add(p, v)  count_add(p, v)
#define fast_or(p, v)   __atomic_store_n((p), *(p) | (v), __ATOMIC_RELAXED)
#define fast_test8(p)   (atomic_read_relaxed(p) != 0)
#define fast_test(p, m) ((atomic_read_relaxed(p) & (m)) != 0)
#else
#define fast_read(p)   (*(p))
#define fast_add(p, v) (*(p) += (v))
#define fast_or(p, v)  (*(p) |= (v))
#define fast_test8(p)                                                                              \
	({                                                                                         \
		bool set_;                                                                         \
		__asm__ volatile("cmpb $0, %1" : "=@ccnz"(set_) : "m"(*(p)) : "cc", "memory");     \
		set_;                                                                              \
	})
#define fast_test(p, m)                                                                            \
	({                                                                                         \
		bool set_;                                                                         \
		__asm__ volatile("testq %2, %1" : "=@ccnz"(set_) : "m"(*(p)), "r"(m) : "cc");      \
		set_;                                                                              \
	})
#endif

/* ---- a CPU's part -------------------------------------------------------- */

/*
 * Be inside this CPU's part for the few instructions of a short path. False: what
 * this interrupted is inside. Preemption is off.
 *
 * Who is inside by this way may use what `word` and a slab's `fast` lead to, which
 * it reads only now, and nothing else: the reaper takes both away before it touches
 * anything (reap.c). The store to `busy` and those loads may pass each other in the
 * CPU's store buffer; host_barrier_all, between the reaper's stores and its load of
 * `busy`, closes exactly that gap.
 */
static inline bool slab_try(struct slab_gate *gate)
{
	if (unlikely(fast_test8(&gate->busy)))
		return false;
	atomic_write_relaxed(&gate->busy, 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	MEM_POINT();
	return true;
}

static inline void slab_leave(struct slab_gate *gate)
{
	MEM_POINT();
	__atomic_store_n(&gate->busy, 0, __ATOMIC_RELEASE);
}

/* Enter this CPU's part to use all of it. False: an interrupted use is inside, or the
 * reaper has closed it. */
static inline bool slab_enter(struct slab_gate *gate)
{
	if (!slab_try(gate))
		return false;
	if (unlikely(atomic_read_acquire(&gate->revoked))) {
		slab_leave(gate);
		return false;
	}
	return true;
}

/* ---- finding ------------------------------------------------------------- */

/*
 * The index of `block` in its slab. False: it is not the start of a block. The
 * product's upper half is the index, its lower half the remainder, scaled: less than
 * `reciprocal` for every multiple of stride within a slab and for nothing else, as
 * long as the bytes of a slab times stride stay below 2^32 (slab_init asserts it).
 */
static inline bool slab_find_index(const struct slab *slab, const void *block, uint64_t *index)
{
	uint64_t offset = (uint64_t)((uintptr_t)block - (uintptr_t)slab->base);
	uint64_t product = offset * slab->reciprocal;
	*index = product >> 32;
	return likely((uint32_t)product < (uint32_t)slab->reciprocal) &&
	       likely((uint32_t)*index < slab->capacity);
}

static inline struct slab_word *slab_word_of(struct slab *slab, uint64_t index)
{
	uint64_t at = (index >> 2) & ~(sizeof(struct slab_word) - 1); /* index / 64 of them */
	return (struct slab_word *)(void *)((char *)slab->word + at);
}

/* ---- alloc --------------------------------------------------------------- */

/* bit_lowest, as wide as an address. */
static inline uint64_t fast_lowest(uint64_t word)
{
	uint64_t bit;
	__asm__("rep bsfq %1, %0" : "=r"(bit) : "r"(word) : "cc"); /* tzcnt, where there is one */
	return bit;
}

/* The next block of the word at hand; false: used up. Inside the CPU's part. */
static inline bool slab_take_bit(struct slab_cpu *c, void **block)
{
	uint64_t *at = fast_read(&c->word);
	uint64_t word = *at;
	if (unlikely(!word))
		return false;
	__atomic_store_n(at, word & (word - 1), __ATOMIC_RELAXED);
	fast_add(&c->allocs, 1);
	*block = c->word_base + fast_lowest(word) * c->stride;
	return true;
}

/* Any block of the current slab: where the next one lies is not to be foreseen. Inside
 * the CPU's part. */
static inline bool slab_take_random(struct slab_cpu *c, void **block)
{
	struct slab *slab = c->current;
	uint64_t random = c->random = c->random * 6364136223846793005 + 1442695040888963407;
	unsigned i = (unsigned)(((random >> 32) * slab->words) >> 32);
	for (unsigned n = 0; n < slab->words; n++, i = i + 1 < slab->words ? i + 1 : 0) {
		uint64_t word = slab->word[i].free;
		if (!word)
			continue;
		unsigned turn = (unsigned)(random >> 58);
		uint64_t turned = word >> turn | word << (63 & -turn);
		unsigned bit = (bit_lowest(turned) + turn) % 64;
		__atomic_store_n(&slab->word[i].free, word & ~((uint64_t)1 << bit),
				 __ATOMIC_RELAXED);
		fast_add(&c->allocs, 1);
		*block = slab_block(slab, i * 64 + bit);
		return true;
	}
	return false;
}

/* False: go the whole way. Preemption is off, gate and part are this CPU's. */
static inline bool slab_take_fast(struct slab_gate *gate, struct slab_cpu *c, void **block)
{
	if (!slab_try(gate))
		return false;
	bool taken = slab_take_bit(c, block);
	slab_leave(gate);
	return taken;
}

/* When slab_take_fast found nothing: the whole way, pages included. */
void *slab_take_slowly(struct slab_cache *cache);

/* ---- free ---------------------------------------------------------------- */

/* The rest of a free that reached the threshold: put the slab where it belongs now, leave
 * the CPU's part, allow preemption. The slab may be gone afterwards. */
void slab_settle_and_leave(struct slab *slab, struct slab_gate *gate);

enum slab_given {
	SLAB_GIVEN,
	SLAB_SETTLE,   /* given; but now slab_settle_and_leave is to be called */
	SLAB_NOT_GIVEN /* go the whole way: not this CPU's, or no block in use */
};

/* Preemption is off, the gate is this CPU's for the slab's cache. */
static inline enum slab_given slab_give_fast(struct slab *slab, struct slab_gate *gate,
					     const void *block)
{
	uint64_t index;
	if (!slab_try(gate))
		return SLAB_NOT_GIVEN;
	/* Asked inside: a handler on this CPU may give slabs away. */
	if (likely(fast_read(&slab->fast) == gate) && slab_find_index(slab, block, &index)) {
		struct slab_word *word = slab_word_of(slab, index);
		uint64_t bit = (uint64_t)1 << (index % 64);
		if (likely(!fast_test(&word->free, bit) && !fast_test(&word->remote, bit))) {
			fast_or(&word->free, bit);
			if (unlikely(--slab->left == 0))
				return SLAB_SETTLE;
			slab_leave(gate);
			return SLAB_GIVEN;
		}
	}
	slab_leave(gate);
	return SLAB_NOT_GIVEN;
}

/* Free the block from wherever this is; panics if it is not a block in use. */
void slab_give_slowly(struct slab *slab, const void *block);
void slab_give_index(struct slab *slab, unsigned index);

#endif
