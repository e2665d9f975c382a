/* SPDX-License-Identifier: MIT */
#ifndef LIBKMALLOC_SLOTS_H
#define LIBKMALLOC_SLOTS_H
/*
 * Which CPU a thread is for the heap, and how everybody is kept out of it while
 * the process forks. The theory is at the head of slots.c.
 */
#include <mem/types.h>

#include "base/util.h"
#include "libkmalloc/inline.h" /* my_cpu: its number, 0 without one */

struct slot {
	uint32_t inside; /* its thread is in the heap, so often (a handler may interrupt) */
	uint32_t taken;  /* atomic: a thread has it */
	uint32_t frees;  /* by its threads; for the reaper's ticks */
} MEM_CACHE_ALIGNED;

/* Slot 0 is shared by those who have none of their own, under a lock. */
extern struct slot slots[MEM_MAX_CPUS];

/* The calling thread's own slot, NULL: none (yet). */
extern __thread struct slot *my_slot;

extern uint32_t world_stopped; /* atomic: a fork is under way, in one thread */

/* Before the first thread comes: `count` slots, the shared one included. `own`:
 * may threads have slots of their own? (Not without membarrier(2).) */
void slots_init(unsigned count, bool own);
unsigned slots_count(void);

/* What the inline paths do not cover. */
struct slot *slots_enter_slowly(void);
void slots_leave_shared(void);

/* Wait until no other thread is in the heap, and keep them out; the caller may go in.
 * slots_resume in the parent, slots_resume_alone in the child, where the other threads
 * are no more and their slots are free again. */
void slots_stop(void);
void slots_resume(void);
void slots_resume_alone(void);

/* Go into the heap as one of its CPUs; returns the slot for slots_leave. */
static inline struct slot *slots_enter(void)
{
	struct slot *slot = my_slot;
	if (unlikely(!slot))
		return slots_enter_slowly();
	__atomic_store_n(&slot->inside, slot->inside + 1, __ATOMIC_RELAXED);
	/* The load may pass the store in the processor: slots_stop has a barrier run on
	 * every CPU between its store and its loads, which closes that gap. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(__atomic_load_n(&world_stopped, __ATOMIC_ACQUIRE))) {
		__atomic_store_n(&slot->inside, slot->inside - 1, __ATOMIC_RELEASE);
		return slots_enter_slowly();
	}
	return slot;
}

static inline void slots_leave(struct slot *slot)
{
	if (unlikely(slot == &slots[0]))
		slots_leave_shared();
	else
		__atomic_store_n(&slot->inside, slot->inside - 1, __ATOMIC_RELEASE);
}

#endif
