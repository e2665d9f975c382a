/* SPDX-License-Identifier: MIT */
/* Threads, waiting and time: no wake is lost, no thread waits beside an idle CPU,
 * a sleep does not end early, the clock does not go back. */
#include <kernel/sched.h>

#include "base/atomic.h"
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

/* ---- handing on a turn: a lost wake is a hang ------------------------------------- */

enum { PLAYERS = 6, ROUNDS = 400 };
static struct {
	struct waitq changed;
	uint32_t turn, ended;
} ring;

static void player(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		wait_event(&ring.changed, atomic_read_acquire(&ring.turn) % PLAYERS == me);
		atomic_add(&ring.turn, 1);
		waitq_wake_all(&ring.changed);
	}
	thread_exit_begins();
	atomic_add(&ring.ended, 1);
	waitq_wake_all(&ring.changed);
}

TEST(kernel_sched_no_wake_is_lost)
{
	ring.turn = ring.ended = 0;
	for (uintptr_t i = 0; i < PLAYERS; i++)
		CHECK(kthread_create("player", player, (void *)i));
	wait_event(&ring.changed, atomic_read_acquire(&ring.ended) == PLAYERS);
	CHECK_EQ(ring.turn, PLAYERS * ROUNDS);
	sched_drain();
}

/* ---- mutual exclusion ----------------------------------------------------------------- */

static struct mutex mutex;
static uint64_t counter;

static bool count_under_mutex(void *arg, unsigned cpu)
{
	for (unsigned i = 0; i < 300; i++) {
		mutex_lock(&mutex);
		uint64_t v = counter;
		if (i % 16 == 0)
			sched_yield(); /* somebody else tries now */
		counter = v + 1;
		mutex_unlock(&mutex);
	}
	return true;
}

TEST(kernel_sched_mutex)
{
	counter = 0;
	CHECK_EQ(every_cpu(count_under_mutex, NULL), 0);
	CHECK_EQ(counter, 300 * cpu_count());
	CHECK(mutex_trylock(&mutex));
	mutex_unlock(&mutex);
}

/* ---- two waits at once: the inner sleep keeps the outer one's wake ---------------------- */

static struct waitq outer, inner;

TEST(kernel_sched_nested_waits)
{
	struct waiter a, b;
	waitq_add(&outer, &a);
	waitq_add(&inner, &b);
	waitq_wake_all(&outer);
	/* The inner wait was not woken: it sleeps to its deadline. */
	CHECK_EQ((unsigned)-waitq_sleep_on(&b, false, time_monotonic() + 5000000), ETIMEDOUT);
	CHECK_EQ(waitq_sleep_on(&a, false, NSEC_NEVER), 0);
	waitq_remove(&inner, &b);
	waitq_remove(&outer, &a);
}

/* ---- time -------------------------------------------------------------------------------- */

static bool clock_rises(void *arg, unsigned cpu)
{
	nsec_t last = time_monotonic();
	for (unsigned i = 0; i < 20000; i++) {
		nsec_t now = time_monotonic();
		if (now < last)
			return false;
		last = now;
	}
	return true;
}

TEST(kernel_clock_does_not_go_back)
{
	CHECK_EQ(every_cpu(clock_rises, NULL), 0);
}

static bool sleeps(void *arg, unsigned cpu)
{
	for (unsigned i = 0; i < 20; i++) {
		nsec_t until = time_monotonic() + 1000000 * (1 + (i * 7 + cpu) % 5);
		if (sched_sleep_until(until, false) || time_monotonic() < until)
			return false;
	}
	return true;
}

TEST(kernel_sleep_is_never_short)
{
	CHECK_EQ(every_cpu(sleeps, NULL), 0);
}

static uint32_t fired;
static void fire(void *arg)
{
	if (in_interrupt())
		atomic_add(&fired, 1);
}

TEST(kernel_timers_fire_once_and_can_be_cancelled)
{
	static struct ktimer timers[8];
	fired = 0;
	/* However long this CPU is kept from running, none fires before it is cancelled. */
	unsigned long irq = irq_save();
	nsec_t now = time_monotonic();
	for (unsigned i = 0; i < 8; i++)
		ktimer_arm(&timers[i], now + 2000000 + i * 1000, fire, NULL);
	bool first = ktimer_cancel(&timers[3]), again = ktimer_cancel(&timers[3]);
	ktimer_arm(&timers[5], now + NSEC_PER_SEC * 1000, fire, NULL);
	irq_restore(irq);
	CHECK(first && !again);
	for (unsigned i = 0; i < 100 && atomic_read_acquire(&fired) < 6; i++)
		(void)sched_sleep_until(time_monotonic() + 50000000, false);
	(void)sched_sleep_until(time_monotonic() + 20000000, false);
	CHECK_EQ(fired, 6);
	CHECK(!ktimer_cancel(&timers[0]));
	CHECK(ktimer_cancel(&timers[5]));
}

#define RANDOM_TIMERS 400
static struct ktimer random_timers[RANDOM_TIMERS];
static nsec_t fired_for[RANDOM_TIMERS];

static void fire_in_order(void *arg)
{
	struct ktimer *t = arg;
	uint32_t n = atomic_add(&fired, 1) - 1;
	if (n < RANDOM_TIMERS)
		fired_for[n] = t->deadline;
}

/* All on one CPU: its heap gives them back by deadline, whatever was taken out of it. */
TEST(kernel_timers_fire_in_order)
{
	unsigned armed = 0;
	fired = 0;
	unsigned long irq = irq_save();
	nsec_t now = time_monotonic() + 30000000;
	for (unsigned i = 0; i < 3 * RANDOM_TIMERS; i++) {
		struct ktimer *t = &random_timers[test_random() % RANDOM_TIMERS];
		if (test_random() % 3)
			ktimer_arm(t, now + test_random() % 1000 * 1000, fire_in_order, t);
		else
			(void)ktimer_cancel(t);
	}
	for (unsigned i = 0; i < RANDOM_TIMERS; i++)
		armed += random_timers[i].armed;
	irq_restore(irq);
	for (unsigned i = 0; i < 100 && atomic_read_acquire(&fired) < armed; i++)
		(void)sched_sleep_until(time_monotonic() + 50000000, false);
	(void)sched_sleep_until(time_monotonic() + 20000000, false);
	CHECK_EQ(fired, armed);
	for (unsigned i = 1; i < armed; i++)
		CHECK(fired_for[i - 1] <= fired_for[i]);
}

/* ---- the CPUs share the work ------------------------------------------------------------- */

static struct {
	struct waitq done;
	uint32_t ended;
	struct cpumask used;
} spread;

static bool all_used(void)
{
	for (unsigned i = 0; i < cpu_count(); i++)
		if (!cpumask_test(&spread.used, i))
			return false;
	return true;
}

/* Runs until every CPU has run one of these: for ever, if the work stays where
 * it is. An emulator may let a CPU wait for long, so the limit is generous. */
static void busy(void *arg)
{
	nsec_t until = time_monotonic() + 20 * NSEC_PER_SEC;
	while (!all_used() && time_monotonic() < until) {
		preempt_disable();
		cpumask_set_atomic(&spread.used, this_cpu()->id);
		preempt_enable();
	}
	thread_exit_begins();
	atomic_add(&spread.ended, 1);
	waitq_wake_all(&spread.done);
}

TEST(kernel_sched_work_spreads)
{
	spread.ended = 0;
	spread.used = (struct cpumask){0};
	unsigned n = 2 * cpu_count();
	for (unsigned i = 0; i < n; i++)
		CHECK(kthread_create("busy", busy, NULL));
	wait_event(&spread.done, atomic_read_acquire(&spread.ended) == n);
	CHECK(all_used());
	sched_drain();
}

TEST(kernel_sched_affinity)
{
	struct thread *t = current_thread();
	for (unsigned i = 0; i < cpu_count(); i++) {
		struct cpumask only = {0};
		cpumask_set(&only, i);
		CHECK_EQ(thread_set_affinity(t, &only), 0);
		for (unsigned k = 0; k < 20; k++) {
			sched_yield();
			preempt_disable();
			unsigned here = this_cpu()->id;
			preempt_enable();
			CHECK_EQ(here, i);
		}
	}
	struct cpumask none = {0};
	CHECK_EQ((unsigned)-thread_set_affinity(t, &none), EINVAL);
}
