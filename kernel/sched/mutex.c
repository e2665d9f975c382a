/* SPDX-License-Identifier: MIT */
/* A sleeping mutex: one word, and a queue for those who find it set. The unlocker
 * clears the word before it looks for waiters, a waiter is on the queue before
 * it tries the word: one of them sees the other. */
#include <kernel/log.h>

#include "base/atomic.h"
#include "kernel/sched/sched.h"

bool mutex_trylock(struct mutex *m)
{
	uint32_t expected = 0;
	if (!atomic_cas(&m->held, &expected, 1))
		return false;
	m->owner = current_thread();
	return true;
}

void mutex_lock(struct mutex *m)
{
	mem_assert_no_locks();
	kassert(m->owner != current_thread());
	if (!mutex_trylock(m))
		wait_event(&m->waiters, mutex_trylock(m));
}

int mutex_lock_interruptible(struct mutex *m)
{
	mem_assert_no_locks();
	kassert(m->owner != current_thread());
	if (mutex_trylock(m))
		return 0;
	int r = wait_event_interruptible(&m->waiters, mutex_trylock(m), NSEC_NEVER);
	/* A wake that was for us, who leave, is the next one's. */
	if (r && !atomic_read_seq(&m->held))
		waitq_wake_one(&m->waiters);
	return r;
}

void mutex_unlock(struct mutex *m)
{
	kassert(m->owner == current_thread());
	m->owner = NULL;
	atomic_write_seq(&m->held, 0);
	waitq_wake_one(&m->waiters);
}
