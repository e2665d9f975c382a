/* SPDX-License-Identifier: MIT */
#ifndef LIBKMALLOC_HOST_H
#define LIBKMALLOC_HOST_H
/* What the parts of libkmalloc have of each other besides slots.h. */
#include <mem/heap.h>
#include <mem/types.h>

/* Make the heap if there is none yet. Safe from the first call that a process
 * makes, in any thread. Panics without memory for it. */
void libkmalloc_init(void);
struct heap *libkmalloc_heap(void);

/* Is there membarrier(2)? Registers the process for it. */
bool host_has_barrier(void);

/* Pages of this process (area.c). */
extern struct heap_area process_area;
/* Zero part of a block of this area: whole pages are let go rather than written. */
void area_zero(void *block, size_t bytes);

/* A lock that sleeps: 0 free, 1 held, 2 held and waited for. */
struct futex_lock {
	uint32_t word;
};
void futex_lock_slowly(struct futex_lock *lock);
void futex_unlock_slowly(struct futex_lock *lock);

static inline void futex_lock_init(struct futex_lock *lock)
{
	__atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

static inline void futex_lock(struct futex_lock *lock)
{
	uint32_t expected = 0;
	if (!__atomic_compare_exchange_n(&lock->word, &expected, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		futex_lock_slowly(lock);
}

static inline void futex_unlock(struct futex_lock *lock)
{
	if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2)
		futex_unlock_slowly(lock);
}

#endif
