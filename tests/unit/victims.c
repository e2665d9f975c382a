/* SPDX-License-Identifier: MIT */
/*
 * Tests that do what no test should, for those of the runner (tools/suite_runner.py):
 * each has its verdict, and takes nobody else down.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/test.h"

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

TEST_TIMED(victim_passes_first, 1)
{
	CHECK(true);
}

TEST_TIMED(victim_sleeps, 1)
{
	sleep_for_ever();
}

TEST_TIMED(victim_spins_with_signals_off, 1)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (volatile unsigned i = 0;; i++)
		;
}

/* Three times longer than its limit, but never long without progress. */
TEST_TIMED(victim_gets_on, 1)
{
	const char *patience = getenv("QUIRE_PATIENCE");
	for (unsigned i = 1; i <= 60 * (patience ? strtod(patience, NULL) : 1); i++) {
		usleep(50000);
		test_progress(i);
	}
}

TEST_TIMED(victim_says_the_same_again, 1)
{
	for (;;) {
		usleep(50000);
		test_progress(1);
	}
}

TEST_TIMED(victim_prints_for_ever, 1)
{
	for (;;)
		test_note("and so on");
}

TEST_TIMED(victim_closes_its_output, 1)
{
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	sleep_for_ever();
}

/* Passes; but what it has started would hold the runner's pipe for ever. */
TEST_TIMED(victim_leaves_a_process, 1)
{
	if (!fork())
		sleep_for_ever();
}

TEST_TIMED(victim_is_killed, 1)
{
	raise(SIGKILL);
}

TEST_TIMED(victim_kills_its_runner, 1)
{
	kill(getppid(), SIGKILL);
	sleep_for_ever();
}

/* Nothing of it is heard any more, of its runner neither. */
TEST_TIMED(victim_stops_its_runner, 1)
{
	kill(getppid(), SIGSTOP);
	sleep_for_ever();
}

TEST_TIMED(victim_expects_a_panic, 1)
{
	test_expect_panic(sleep_for_ever, "none comes");
}

TEST_TIMED(victim_fails, 1)
{
	CHECK_EQ(1, 2);
}

TEST_TIMED(victim_skips, 1)
{
	test_skip("no reason");
}

TEST_TIMED(victim_passes_last, 1)
{
	CHECK(true);
}
