/* SPDX-License-Identifier: MIT */
/*
 * Tests that do what no test should, for those of the runner (tools/suite_runner.py):
 * each has its verdict, and takes nobody else down.
 */
#include <kernel/sched.h>
#include <mem/host.h>

#include "tests/test.h"

static struct waitq nobody_wakes;

static void sleep_ms(unsigned ms)
{
	wait_event_interruptible(&nobody_wakes, false, time_monotonic() + ms * 1000000ull);
}

TEST_TIMED(victim_passes_first, 2)
{
	CHECK(true);
}

TEST_TIMED(victim_sleeps, 2)
{
	wait_event_interruptible(&nobody_wakes, false, NSEC_NEVER);
}

/* Longer than its limit, but never long without progress. */
TEST_TIMED(victim_gets_on, 2)
{
	for (unsigned i = 1; i <= 60; i++) {
		sleep_ms(100);
		test_progress(i);
	}
}

TEST_TIMED(victim_says_the_same_again, 2)
{
	for (;;) {
		sleep_ms(100);
		test_progress(1);
	}
}

/* On one CPU: the machine cannot say anything after this. */
TEST_TIMED(victim_holds_the_cpu, 2)
{
	for (;;)
		asm volatile("cli; pause");
}

TEST_TIMED(victim_panics, 2)
{
	host_panic("a victim panics");
}

TEST_TIMED(victim_fails, 2)
{
	CHECK(false);
}

TEST_TIMED(victim_passes_last, 2)
{
	CHECK(true);
}
