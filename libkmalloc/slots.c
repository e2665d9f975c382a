/* SPDX-License-Identifier: MIT */
/*
 * Threads as CPUs.
 *
 * The problem. The heap keeps a part for each CPU and relies on a CPU doing one
 * thing at a time. A process has no CPUs of its own but threads, any number of
 * them, that come and go; and when it forks, the child has the heap as it was at
 * that moment and none of the threads that were about to finish something in it.
 *
 *     slots   0 shared   1        2        3        ...  count - 1
 *            +---------+--------+--------+--------+----+
 *            | locked  | main   | thread | free   |    |   slot n is the heap's CPU n
 *            +---------+--------+--------+--------+----+
 *
 * A thread takes the first free slot when it first comes, and its CPU number is the
 * slot's. When it ends, the slot is free again, and what the heap kept for it is the
 * heap's own. Threads that find no free slot share slot 0, one at a time, under a
 * lock; they look for a free one again now and then. A thread whose destructors of
 * thread-specific data have all run (the C library frees a few blocks after them)
 * uses slot 0, too.
 *
 * Forking. pthread_atfork's handlers stop the world: `inside` of each slot says that
 * its thread is in the heap; slots_stop sets `world_stopped`, makes each CPU pass a
 * barrier, and waits until it has seen every slot empty. From then on whoever comes
 * sees `world_stopped` and waits. So at the fork no lock of the heap is held and
 * nothing is half done, and the cost of it is with the fork. The forking thread itself
 * may still go in, as other handlers of the process run meanwhile.
 *
 *   T1  A slot's `inside` is written by the thread that has it only; slot 0's by the
 *       one that holds the shared lock.
 *   T2  my_slot set means my_cpu is its number; not set, my_cpu is 0.
 *   T3  While world_stopped is 1, only the stopper is in the heap.
 *
 * Rejected: slots by the processor that a thread runs on (a thread may be moved
 * between any two instructions; restartable sequences would need assembly around
 * all of the heap's paths); a lock around everything (what is measured would be the
 * lock).
 */
#define _GNU_SOURCE
#include "libkmalloc/slots.h"

#include "libkmalloc/host.h"

#include <limits.h>
#include <mem/heap.h>
#include <mem/host.h>
#include <pthread.h>
#include <sched.h>

#define LOOK_AGAIN 64 /* calls by slot 0 after which a thread looks for a free slot */

struct slot slots[MEM_MAX_CPUS];
__thread struct slot *my_slot;
__thread unsigned my_cpu;
uint32_t world_stopped;

static __thread struct {
	unsigned until_look; /* calls by slot 0 to come before the next look */
	unsigned rounds;     /* of its destructors */
	bool ended;          /* it has given its slot up for good */
} me;

static unsigned slot_count;
static bool have_key;
static pthread_key_t key;
static struct futex_lock shared_lock, stop_lock;
static const void *stopper; /* &my_cpu of the thread that has stopped the world */

unsigned slots_count(void)
{
	return slot_count;
}

/* ---- a thread's end ----------------------------------------------------------- */

static void give_up_slot(void)
{
	struct slot *slot = slots_enter();
	if (my_slot)
		heap_cpu_leave(libkmalloc_heap());
	slots_leave(slot);
	if (!my_slot)
		return;
	slot = my_slot;
	my_slot = NULL;
	my_cpu = 0;
	__atomic_store_n(&slot->taken, 0, __ATOMIC_RELEASE);
}

static void thread_ends(void *unused)
{
	/* Other destructors may allocate, before this or after: come back as often as
	 * the C library asks, and give the slot up the last time. */
	if (++me.rounds < PTHREAD_DESTRUCTOR_ITERATIONS &&
	    !pthread_setspecific(key, (const void *)1))
		return;
	me.ended = true;
	give_up_slot();
}

void slots_init(unsigned count, bool own)
{
	slot_count = count;
	have_key = own && !pthread_key_create(&key, thread_ends);
}

/* ---- coming and going ----------------------------------------------------------- */

static bool take_slot(void)
{
	if (!have_key || me.ended)
		return false;
	for (unsigned i = 1; i < slot_count; i++) {
		uint32_t expected = 0;
		if (__atomic_load_n(&slots[i].taken, __ATOMIC_RELAXED) ||
		    !__atomic_compare_exchange_n(&slots[i].taken, &expected, 1, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		my_cpu = i;
		my_slot = &slots[i];
		/* This may allocate: the slot is there. Without it nobody would give the
		 * slot back when the thread ends: then it has none. */
		if (!pthread_setspecific(key, (const void *)1))
			return true;
		give_up_slot();
		me.ended = true;
		return false;
	}
	return false;
}

static bool is_kept_out(void)
{
	return __atomic_load_n(&world_stopped, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&stopper, __ATOMIC_RELAXED) != &my_cpu;
}

static void await_world(void)
{
	while (is_kept_out())
		host_wait(&world_stopped, 1);
}

/* By the thread's own slot, which it has. */
static struct slot *enter_own(void)
{
	struct slot *slot = my_slot;
	for (;;) {
		__atomic_store_n(&slot->inside, slot->inside + 1, __ATOMIC_RELAXED);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		if (likely(!is_kept_out()))
			return slot;
		__atomic_store_n(&slot->inside, slot->inside - 1, __ATOMIC_RELEASE);
		await_world();
	}
}

static struct slot *enter_shared(void)
{
	for (;;) {
		futex_lock(&shared_lock);
		__atomic_store_n(&slots[0].inside, 1, __ATOMIC_SEQ_CST);
		if (!is_kept_out())
			return &slots[0];
		slots_leave_shared();
		await_world();
	}
}

void slots_leave_shared(void)
{
	__atomic_store_n(&slots[0].inside, 0, __ATOMIC_RELEASE);
	futex_unlock(&shared_lock);
}

struct slot *slots_enter_slowly(void)
{
	if (my_slot)
		return enter_own();
	libkmalloc_init();
	if (me.until_look) {
		me.until_look--;
	} else if (take_slot()) {
		return enter_own();
	} else {
		me.until_look = LOOK_AGAIN;
	}
	return enter_shared();
}

/* ---- forking -------------------------------------------------------------------- */

void slots_stop(void)
{
	libkmalloc_init();
	futex_lock(&stop_lock);
	__atomic_store_n(&stopper, &my_cpu, __ATOMIC_RELAXED);
	__atomic_store_n(&world_stopped, 1, __ATOMIC_SEQ_CST);
	/* Without it threads have no slots of their own, and slot 0 needs no barrier. */
	if (have_key)
		host_barrier_all();
	for (unsigned i = 0; i < slot_count; i++)
		while (&slots[i] != my_slot && __atomic_load_n(&slots[i].inside, __ATOMIC_SEQ_CST))
			sched_yield();
}

static void let_go(void)
{
	__atomic_store_n(&stopper, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&world_stopped, 0, __ATOMIC_SEQ_CST);
	host_wake(&world_stopped);
}

void slots_resume(void)
{
	let_go();
	futex_unlock(&stop_lock);
}

void slots_resume_alone(void)
{
	for (unsigned i = 0; i < slot_count; i++)
		if (&slots[i] != my_slot) {
			__atomic_store_n(&slots[i].inside, 0, __ATOMIC_RELAXED);
			__atomic_store_n(&slots[i].taken, 0, __ATOMIC_RELEASE);
		}
	futex_lock_init(&shared_lock);
	let_go();
	futex_lock_init(&stop_lock);
}
