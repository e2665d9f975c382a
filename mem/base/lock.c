/* SPDX-License-Identifier: MIT */
/*
 * Locks.
 *
 * A spin lock is one word: 0 when free, else 1 + the CPU that holds it. So "do I hold it"
 * has an answer, and a recursive take is found at once. It is test-and-test-and-set rather
 * than a queue: under emulation with more CPUs than the machine has cores, a queue's next
 * waiter is often not running.
 *
 * Holding a spin lock means preemption is off; interrupts stay on unless the
 * _irq form is used. Handlers use only _irq locks.
 *
 * Debug builds keep, per CPU, how many locks of each rank are held and panic
 * when a lock of a lower rank than the highest held one is taken. A handler
 * begins anew: the locks it takes are never held with interrupts on, so none of
 * them can wait for a lock of the code that it interrupted.
 */
#include "base/lock.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/util.h"

#ifdef MEM_DEBUG
static struct {
	uint16_t held[MEM_RANK_HOST_LAST + 1];
	uint32_t total;
} MEM_CACHE_ALIGNED ranks[MEM_MAX_CPUS][2]; /* of threads, of handlers */

static void lock_rank_take(enum mem_rank rank)
{
	unsigned long irq = host_irq_save();
	__auto_type mine = &ranks[host_cpu()][host_in_interrupt()];
	if (mine->total)
		for (unsigned r = rank + (rank == MEM_RANK_TABLE); r <= MEM_RANK_HOST_LAST; r++)
			if (mine->held[r])
				host_panic("lock rank: taking rank %d while holding rank %u", rank,
					   r);
	mine->held[rank]++;
	mine->total++;
	host_irq_restore(irq);
}

static void lock_rank_drop(enum mem_rank rank)
{
	unsigned long irq = host_irq_save();
	__auto_type mine = &ranks[host_cpu()][host_in_interrupt()];
	mem_assert(mine->held[rank]);
	mine->held[rank]--;
	mine->total--;
	host_irq_restore(irq);
}

void mem_assert_no_locks(void)
{
	unsigned long irq = host_irq_save();
	unsigned total = ranks[host_cpu()][host_in_interrupt()].total;
	host_irq_restore(irq);
	if (total)
		host_panic("about to sleep or fault with %u spin locks held", total);
}
#elif !defined(MEM_LOCK_IS_INLINE)
static void lock_rank_take(enum mem_rank rank)
{
	(void)rank;
}
static void lock_rank_drop(enum mem_rank rank)
{
	(void)rank;
}
void mem_assert_no_locks(void)
{
}
#endif

#include "base/lock_inline.h"

void mem_lock_wait(struct mem_lock *lock)
{
	uint32_t expected, me = host_cpu() + 1;
	mem_assert(atomic_read_relaxed(&lock->held) != me); /* taken twice by one CPU */
	do {
		while (atomic_read_relaxed(&lock->held))
			host_relax();
		expected = 0;
	} while (!atomic_cas(&lock->held, &expected, me));
}
