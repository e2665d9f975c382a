/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_LOCK_INLINE_H
#define MEM_BASE_LOCK_INLINE_H
/*
 * Spin locks as they are in release builds. lock.h includes this file where the host's
 * functions are inline, lock.c everywhere; ranks are for debug builds (lock.c).
 */
#include "base/assert.h"
#include "base/atomic.h"
#include "base/util.h"

#ifdef MEM_LOCK_IS_INLINE
#define MEM_LOCK_FUNCTION static inline __attribute__((unused))
static inline void lock_rank_take(enum mem_rank rank)
{
	(void)rank;
}
static inline void lock_rank_drop(enum mem_rank rank)
{
	(void)rank;
}
MEM_LOCK_FUNCTION void mem_assert_no_locks(void)
{
}
void mem_lock_wait(struct mem_lock *lock);
#else
#define MEM_LOCK_FUNCTION
#endif

MEM_LOCK_FUNCTION bool mem_lock_held(const struct mem_lock *lock)
{
	return atomic_read_relaxed(&lock->held) == host_cpu() + 1;
}

static inline bool lock_try_take(struct mem_lock *lock)
{
	uint32_t expected = 0;
	return atomic_cas(&lock->held, &expected, host_cpu() + 1);
}

MEM_LOCK_FUNCTION void mem_lock(struct mem_lock *lock, enum mem_rank rank)
{
	host_preempt_disable();
	lock_rank_take(rank);
	if (unlikely(!lock_try_take(lock)))
		mem_lock_wait(lock);
}

MEM_LOCK_FUNCTION void mem_lock_flushable(struct mem_lock *lock, enum mem_rank rank)
{
	mem_assert(host_irq_enabled());
	mem_lock(lock, rank);
}

MEM_LOCK_FUNCTION bool mem_trylock(struct mem_lock *lock, enum mem_rank rank)
{
	host_preempt_disable();
	if (lock_try_take(lock)) {
		lock_rank_take(rank);
		return true;
	}
	host_preempt_enable();
	return false;
}

MEM_LOCK_FUNCTION void mem_unlock(struct mem_lock *lock, enum mem_rank rank)
{
	mem_assert(mem_lock_held(lock));
	lock_rank_drop(rank);
	atomic_write_release(&lock->held, 0);
	host_preempt_enable();
}

MEM_LOCK_FUNCTION unsigned long mem_lock_irq(struct mem_lock *lock, enum mem_rank rank)
{
	unsigned long irq = host_irq_save();
	lock_rank_take(rank);
	if (unlikely(!lock_try_take(lock)))
		mem_lock_wait(lock);
	return irq;
}

MEM_LOCK_FUNCTION void mem_unlock_irq(struct mem_lock *lock, enum mem_rank rank, unsigned long irq)
{
	mem_assert(mem_lock_held(lock));
	lock_rank_drop(rank);
	atomic_write_release(&lock->held, 0);
	host_irq_restore(irq);
}

#endif
