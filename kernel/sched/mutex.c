/* SPDX-License-Identifier: MIT */
/* A sleeping mutex: one word, and a queue for those who find it set. What is done when
 * nobody has it or waits for it is in kernel/sched.h. */
#include <kernel/log.h>

#include "base/atomic.h"
#include "kernel/sched/sched.h"

void mutex_lock_slowly(struct mutex *m)
{
	kassert(m->owner != current_thread());
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

void mutex_not_held(void)
{
	panic("a mutex is given back by a thread that does not have it");
}
