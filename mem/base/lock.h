/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_LOCK_H
#define MEM_BASE_LOCK_H
/*
 * Locks: a spin lock taken with preemption off and interrupts ON (mem_lock),
 * its interrupt-off form for state that handlers share (mem_lock_irq), and a
 * sleeping shared/exclusive lock.
 *
 * Flush-wait rule: a CPU that spins on a lock that somebody may hold across a
 * flush must have interrupts on; mem_lock_flushable asserts it.
 */
#include <mem/host.h>

#include "base/rank.h"

MEM_BEGIN_DECLS

struct mem_lock {
	uint32_t held; /* 0 free, else 1 + CPU that holds it */
};

/*
 * The functions below, by their names:
 *
 *   mem_lock, mem_unlock  take and release with preemption off in between. Context: not
 *                         from an interrupt handler. `rank` is checked in debug builds
 *                         against what this CPU holds; equal rank is allowed for
 *                         MEM_RANK_TABLE only.
 *   mem_lock_flushable    as mem_lock, for locks that are held across a flush: asserts
 *                         interrupts on
 *   mem_lock_irq          take with interrupts off; any context
 *   mem_lock_held         is it held by this CPU? For assertions, and for an edit that may
 *                         come to a table that it has locked already (vm/edit.c)
 *   mem_assert_no_locks   debug builds: panic if this CPU holds a spin lock (before
 *                         sleeping, before touching user memory)
 *
 * They are inline where the host's functions are, except in debug builds.
 */
#if !defined(MEM_DEBUG) && defined(MEM_HOST_IS_INLINE)
#define MEM_LOCK_IS_INLINE
#include "base/lock_inline.h"
#else
void mem_lock(struct mem_lock *lock, enum mem_rank rank);
bool mem_trylock(struct mem_lock *lock, enum mem_rank rank) MEM_CHECKED;
void mem_unlock(struct mem_lock *lock, enum mem_rank rank);
void mem_lock_flushable(struct mem_lock *lock, enum mem_rank rank);
unsigned long mem_lock_irq(struct mem_lock *lock, enum mem_rank rank) MEM_CHECKED;
void mem_unlock_irq(struct mem_lock *lock, enum mem_rank rank, unsigned long irq);
bool mem_lock_held(const struct mem_lock *lock);
void mem_assert_no_locks(void);
#endif
/* Wait for a lock that somebody has, and take it: the slow path of the above. */
void mem_lock_wait(struct mem_lock *lock);

/*
 * Sleeping shared/exclusive lock. Writers are preferred: once one waits, new
 * readers wait behind it. Context: thread or fault, no spin lock held.
 */
struct mem_rwlock {
	uint32_t state;   /* bit 31: a writer holds it; low bits: number of readers */
	uint32_t writers; /* writers waiting */
};
void mem_rwlock_read(struct mem_rwlock *lock);
void mem_rwlock_read_done(struct mem_rwlock *lock);
void mem_rwlock_write(struct mem_rwlock *lock);
void mem_rwlock_write_done(struct mem_rwlock *lock);

MEM_END_DECLS
#endif
