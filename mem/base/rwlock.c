/* SPDX-License-Identifier: MIT */
/*
 * The sleeping lock, apart from the spin locks because it alone needs a host
 * that can sleep: frames, heap and raw page tables do without.
 *
 * `state` is what everyone waits on. A writer that finds it taken announces
 * itself in `writers` first; readers that see an announced writer wait, so
 * writers are not starved.
 */
#include "base/atomic.h"
#include "base/lock.h"

#include <mem/host.h>

#define RW_WRITER ((uint32_t)1 << 31)

void mem_rwlock_read(struct mem_rwlock *lock)
{
	mem_assert_no_locks();
	for (;;) {
		uint32_t state = atomic_read_acquire(&lock->state);
		uint32_t writers = atomic_read_seq(&lock->writers);
		if ((state & RW_WRITER) || writers) {
			/* Sleep on whichever keeps us out; both are woken on change. */
			if (state & RW_WRITER)
				host_wait(&lock->state, state);
			else
				host_wait(&lock->writers, writers);
			continue;
		}
		if (atomic_cas(&lock->state, &state, state + 1))
			return;
	}
}

void mem_rwlock_read_done(struct mem_rwlock *lock)
{
	uint32_t state = atomic_sub(&lock->state, 1);
	if (state == 0 && atomic_read_seq(&lock->writers))
		host_wake(&lock->state);
}

void mem_rwlock_write(struct mem_rwlock *lock)
{
	mem_assert_no_locks();
	uint32_t expected = 0;
	if (atomic_cas(&lock->state, &expected, RW_WRITER))
		return;
	atomic_add(&lock->writers, 1);
	for (;;) {
		expected = 0;
		if (atomic_cas(&lock->state, &expected, RW_WRITER))
			break;
		host_wait(&lock->state, expected);
	}
	atomic_sub(&lock->writers, 1);
	host_wake(&lock->writers);
}

void mem_rwlock_write_done(struct mem_rwlock *lock)
{
	atomic_write_seq(&lock->state, 0);
	host_wake(&lock->state);
}
