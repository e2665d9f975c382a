/* SPDX-License-Identifier: MIT */
/*
 * Runs of a test, each in a process of its own, and what is known of one that failed:
 * its number and the schedule that it was in, however it ended, and how to repeat it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/machine/inside.h"
#include "tests/machine/snapshot.h"
#include "tests/test.h"

struct each *machine_each_state;
uint64_t *machine_totals;

static void begin(void)
{
	if (!machine_each_state) {
		void *p = mmap(NULL, sizeof(*machine_each_state), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			abort();
		machine_each_state = p;
	}
	uint64_t progress = machine_each_state->progress;
	*machine_each_state = (struct each){.progress = progress};
	machine_totals = machine_each_state->totals;
}

uint64_t machine_schedules(void)
{
	return machine_each_state ? machine_each_state->schedules : 0;
}

void machine_expect_schedules(uint64_t before)
{
	uint64_t now = machine_schedules();
	bool all = !getenv("QUIRE_RUN") && !getenv("QUIRE_SCHEDULE") && !getenv("QUIRE_MUTATED");
	test_note("%llu schedules", (unsigned long long)now);
	if (all && now < before - before / 4)
		test_fail(__FILE__, __LINE__, "%llu schedules, once %llu: less is tried",
			  (unsigned long long)now, (unsigned long long)before);
}

static MEM_NORETURN void tell(uint64_t run, uint64_t count, int status)
{
	const struct schedule *s = &machine_each_state->schedule;
	if (s->taken) {
		printf("  schedule:");
		for (unsigned i = 0; i < s->taken; i++)
			printf(" at point %" PRIu64 " CPU %u%c", s->choice[i].point,
			       s->choice[i].cpu, i + 1 < s->taken ? ',' : '\n');
		printf("  it alone: QUIRE_RUN=%" PRIu64 " QUIRE_SCHEDULE=", run);
		for (unsigned i = 0; i < s->taken; i++)
			printf("%s%" PRIu64 ":%u", i ? "," : "", s->choice[i].point,
			       s->choice[i].cpu);
		printf("\n");
	}
	test_fail(__FILE__, __LINE__,
		  "run %llu of %llu failed (status %#x); QUIRE_RUN=%llu: it alone",
		  (unsigned long long)run, (unsigned long long)count, (unsigned)status,
		  (unsigned long long)run);
}

static void run(uint64_t i, void (*body)(uint64_t i))
{
	machine_each_state->only = getenv("QUIRE_SCHEDULE");
	machine_each_state->before_run = machine_each_state->schedules;
	body(i);
	snapshot_return();
	fflush(NULL);
	_exit(0);
}

void machine_each(uint64_t count, void (*body)(uint64_t i))
{
	begin();
	const char *only = getenv("QUIRE_RUN");
	for (uint64_t i = 0; i < count; i++) {
		int status = -1;
		(void)test_random(); /* the next process draws other numbers */
		if (only && strtoull(only, NULL, 0) != i)
			continue;
		test_progress(++machine_each_state->progress);
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0)
			run(i, body);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			tell(i, count, status);
	}
}
