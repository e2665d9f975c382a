/* SPDX-License-Identifier: MIT */
#ifndef MEM_SLAB_FAST_H
#define MEM_SLAB_FAST_H
/* The paths on which a block stays on its CPU, to be inlined into the calls
 * that users make. The theory is at the head of slab/slab.c. */
#include "slab/engine.h"

/*
 * These paths are counted in instructions, and compilers neither fold atomic accesses into
 * others nor change memory in one instruction if they have read it before. So where nothing
 * watches, what only this CPU changes is changed by one instruction without a lock.
 *
 *     fast_add     add a constant to 64 bits
 *     fast_move    go on by so many elements
 *     fast_or      set bits of a byte
 */
#ifdef MEM_WATCHED
#define fast_add(p, v)  count_add(p, v)
#define fast_move(p, n) count_add(p, n)
#define fast_or(p, v)   __atomic_store_n((p), *(p) | (v), __ATOMIC_RELAXED)
#else
#define fast_add(p, v)  __asm__ volatile("addq %1, %0" : "+m"(*(p)) : "i"((long)(v)) : "memory")
#define fast_move(p, n) fast_add(p, (n) * (long)sizeof(**(p)))
#define fast_or(p, v)   (*(p) |= (v))
#endif

/* ---- a CPU's cache -------------------------------------------------------- */

/*
 * Enter this CPU's guard for the few instructions of a fast path. False: what
 * this interrupted is inside. Preemption is off. `busy` is 0, or less by one for the use
 * that is inside and by one for each that is just finding that out.
 *
 * Who is inside by this way may use the magazine that a header leads to, which it reads
 * only now, and nothing else: the reaper takes that away before it touches
 * anything (reap.c). The store to `busy` and those loads may pass each other in the
 * CPU's store buffer; host_barrier_all, between the reaper's stores and its load of
 * `busy`, closes exactly that gap.
 */
static inline bool slab_try(struct slab_guard *guard)
{
	if (unlikely(!byte_borrow(&guard->busy))) {
		byte_return(&guard->busy);
		return false;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	MEM_POINT();
	return true;
}

static inline void slab_leave(struct slab_guard *guard)
{
	MEM_POINT();
	__atomic_store_n(&guard->busy, 0, __ATOMIC_RELEASE);
}

/* Enter this CPU's cache to use all of it. False: an interrupted use is inside, or the
 * reaper has closed it. */
static inline bool slab_enter(struct slab_guard *guard)
{
	if (!slab_try(guard))
		return false;
	if (unlikely(atomic_read_acquire(&guard->revoked))) {
		slab_leave(guard);
		return false;
	}
	return true;
}

/* ---- finding ------------------------------------------------------------- */

/*
 * The index of `block`, which lies in the slab's pages, in its slab. False: it is not the
 * start of a block. The product's upper half is the index, its lower half the remainder,
 * scaled: less than `reciprocal` for every multiple of stride within a slab and for
 * nothing else, as long as the bytes of a slab times stride stay below 2^32 (slab_init
 * asserts it). What is left over behind the last block has the index `capacity`.
 */
static inline bool slab_index_inside(const struct slab *slab, const void *block, uint64_t *index)
{
	uint64_t offset = (uint64_t)((uintptr_t)block - (uintptr_t)slab->base);
	uint64_t product = offset * slab->cache->reciprocal;
	*index = product >> 32;
	return likely((uint32_t)product < slab->cache->reciprocal);
}

/* The same of any address. */
static inline bool slab_find_index(const struct slab *slab, const void *block, uint64_t *index)
{
	return slab_index_inside(slab, block, index) &&
	       likely((uintptr_t)block - (uintptr_t)slab->base <
		      (uint64_t)slab->capacity * slab->cache->stride);
}

/* The magazine header so many bytes from the guard. It is made anew for each use: the sum is part
 * of the operand then, where compilers would spend an instruction on keeping it. */
static inline struct slab_magazine *slab_magazine(struct slab_guard *guard, size_t *at)
{
	__asm__ volatile("" : "+r"(*at));
	return (struct slab_magazine *)(void *)((char *)guard + *at);
}

static inline size_t slab_magazine_at(const struct slab_guard *guard, const struct slab_cpu *c)
{
	return (size_t)((const char *)&c->magazine - (const char *)guard);
}

/* ---- alloc --------------------------------------------------------------- */

/* Hand out: by a store alone, which need not wait for the free before. */
static inline void slab_mark_allocated(const void *block, uint8_t *state)
{
	atomic_write_relaxed(state, slab_allocated_state(block));
}

/* The newest block of a magazine; false: it is empty. Inside the CPU's guard. */
static inline bool slab_pop(struct slab_guard *guard, size_t at, void **block)
{
	struct slab_entry *entry = fast_read(&slab_magazine(guard, &at)->top);
	if (unlikely((uintptr_t)entry <= fast_read(&slab_magazine(guard, &at)->bottom)))
		return false;
	fast_move(&slab_magazine(guard, &at)->top, -1);
	fast_add(&slab_magazine(guard, &at)->allocs, 1);
	*block = entry->block;
	slab_mark_allocated(*block, entry->state);
	return true;
}

/* Any of its blocks: which one is not to be foreseen. */
static inline bool slab_pop_random(struct slab_cpu *c, void **block)
{
	struct slab_entry *newest = fast_read(&c->magazine.top);
	uintptr_t bottom = fast_read(&c->magazine.bottom);
	if (unlikely((uintptr_t)newest <= bottom))
		return false;
	size_t n = ((uintptr_t)newest - bottom) / sizeof(*newest);
	uint64_t random = c->random = c->random * 6364136223846793005 + 1442695040888963407;
	struct slab_entry *entry = newest - (((random >> 32) * n) >> 32);
	uint8_t *state = entry->state;
	*block = entry->block;
	/* By halves, as they were written: a load of both would wait for the stores. */
	void *block_of_newest = newest->block;
	uint8_t *state_of_newest = newest->state;
	__asm__("" : "+r"(block_of_newest), "+r"(state_of_newest));
	entry->block = block_of_newest;
	entry->state = state_of_newest;
	__atomic_store_n(&c->magazine.top, newest - 1, __ATOMIC_RELAXED);
	fast_add(&c->magazine.allocs, 1);
	slab_mark_allocated(*block, state);
	return true;
}

/* False: take the slow path. Preemption is off, guard and header are this CPU's. */
static inline bool slab_take_fast(struct slab_guard *guard, size_t at, void **block)
{
	if (!slab_try(guard))
		return false;
	bool taken = slab_pop(guard, at, block);
	slab_leave(guard);
	return taken;
}

/* When slab_take_fast found nothing: the slow path, pages included. `wait`: for other CPUs, if
 * there are no pages otherwise and the context allows it. */
void *slab_take_slowly(struct slab_cache *cache, bool wait);
/* The same without new slabs: NULL if there is nothing. */
void *slab_take_ready(struct slab_cache *cache);

/* ---- free ---------------------------------------------------------------- */

/* The opposite. */
static inline void slab_mark_free(uint8_t *state)
{
	fast_or(state, SLAB_NOT_ALLOCATED);
}

static inline bool slab_is_allocated(const void *block, const uint8_t *state)
{
	return atomic_read_relaxed(state) == slab_allocated_state(block);
}

/* One more block into a magazine; false: it is full, nothing was changed. Inside the CPU's
 * guard. `allocated`: it was in use until now. */
static inline bool slab_push(struct slab_guard *guard, size_t at, void *block, uint8_t *state,
			     bool allocated)
{
	struct slab_entry *entry = fast_read(&slab_magazine(guard, &at)->top);
	if (unlikely((uintptr_t)entry >= fast_read(&slab_magazine(guard, &at)->full)))
		return false;
	if (allocated)
		slab_mark_free(state);
	entry[1].block = block;
	entry[1].state = state;
	fast_move(&slab_magazine(guard, &at)->top, 1);
	return true;
}

/* Into the CPU's magazine. False: take the slow path; nothing was changed. `block`: of the
 * slab, the start of one and in use. */
static inline bool slab_give_fast(struct slab *slab, void *block, uint8_t *state)
{
	bool given = false;
	if (atomic_read_relaxed(&slab->drains))
		return false;
	host_preempt_disable();
	unsigned cpu = host_cpu();
	struct slab_guard *guard = slab_guard(slab->cache, cpu);
	if (likely(slab_try(guard))) {
		given = slab_push(guard, slab_magazine_at(guard, slab_cpu_of(slab->cache, cpu)),
				  block, state, true);
		slab_leave(guard);
	}
	host_preempt_enable();
	return given;
}

/* Free the block from wherever this is; panics if it is not a block in use. */
void slab_give_slowly(struct slab *slab, void *block);
void slab_give_index(struct slab *slab, unsigned index);

#endif
