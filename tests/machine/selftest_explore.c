/* SPDX-License-Identifier: MIT */
/*
 * Are all schedules run, each from where the others were, and is what goes wrong in one
 * of them found and told?
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "tests/machine/machine.h"
#include "tests/machine/snapshot.h"
#include "tests/test.h"

static void begin(void)
{
	static const struct machine_config two = {.bytes = 4 << 20, .ncpus = 2, .seed = 1};
	machine_init(&two);
}

/* ---- a branch leaves nothing behind -------------------------------------------------- */

#define FRAME ((paddr_t)0x8000)
#define FRESH ((paddr_t)0x40000)

static uint64_t variable;
static uint32_t go_on;
static uint64_t *sleeper_has;

static uint64_t *word(paddr_t pa)
{
	return paddr_to_ptr(pa);
}

static void sleeper(void *arg)
{
	uint64_t mine = 5;
	sleeper_has = &mine;
	while (!atomic_read_seq(&go_on))
		host_relax();
	CHECK_EQ(mine, 5);
	machine_totals[1]++;
}

static void change_everything(volatile uint64_t *local)
{
	*local = variable = *word(FRAME) = *word(FRESH) = *sleeper_has = 99;
	machine_forbid(word(FRESH + PAGE_SIZE), PAGE_SIZE);
}

static void check_everything(uint64_t local)
{
	CHECK_EQ(local, 1);
	CHECK_EQ(variable, 2);
	CHECK_EQ(*word(FRAME), 3);
	CHECK_EQ(*word(FRESH), 0);
	CHECK_EQ(*word(FRESH + PAGE_SIZE), 0);
	CHECK_EQ(*sleeper_has, 5);
}

static void branches(uint64_t i)
{
	volatile uint64_t local = 1;
	begin();
	go_on = 0;
	variable = 2;
	*word(FRAME) = 3;
	sleeper_has = NULL;
	machine_spawn(sleeper, NULL, NULL);
	while (!sleeper_has)
		machine_yield();
	for (unsigned n = 0; n < 3; n++) {
		bool outer = snapshot_branch();
		check_everything(local);
		if (!outer)
			continue;
		if (snapshot_branch()) {
			change_everything(&local);
			machine_totals[0]++;
			snapshot_return();
		}
		check_everything(local);
		atomic_write_seq(&go_on, 1); /* the other thread ends in here, too */
		machine_join();
		change_everything(&local);
		snapshot_return();
	}
	atomic_write_seq(&go_on, 1);
	machine_join();
	machine_end();
}

TEST(machine_branches_leave_nothing_behind)
{
	machine_each(1, branches);
	CHECK_EQ(machine_totals[0], 3);
	CHECK_EQ(machine_totals[1], 4);
}

/* ---- all of them ------------------------------------------------------------------------ */

#define STEPS 3u /* of each of two threads */

static unsigned preemptions, order, steps_done;

static void steps(unsigned self)
{
	machine_explore(2, preemptions);
	for (unsigned n = 0; n < STEPS; n++) {
		machine_pause();
		order |= self << steps_done++;
	}
}

static void first_thread(void *arg)
{
	steps(0);
}

static void second_thread(void *arg)
{
	steps(1);
}

static void interleave(uint64_t i)
{
	begin();
	order = steps_done = 0;
	machine_spawn(first_thread, NULL, NULL);
	machine_spawn(second_thread, NULL, NULL);
	machine_join();
	machine_explore_end();
	machine_totals[0] |= (uint64_t)1 << order;
	machine_totals[1]++;
	machine_end();
}

/* How often is a thread left that has steps to do? UINT32_MAX: not an order of them. */
static unsigned preemptions_of(unsigned of_order)
{
	unsigned count[2] = {0, 0}, left = 0, before = of_order & 1;
	for (unsigned n = 0; n < 2 * STEPS; n++) {
		unsigned self = of_order >> n & 1;
		left += self != before && count[before] < STEPS;
		count[self]++;
		before = self;
	}
	return count[1] == STEPS ? left : UINT32_MAX;
}

TEST(machine_explores_each_order)
{
	/* Counted when the explorer forked at each point: it must not become fewer. */
	static const uint64_t schedules[] = {1, 9, 41};
	for (preemptions = 0; preemptions < 3; preemptions++) {
		machine_each(1, interleave);
		for (unsigned o = 0; o < 1u << 2 * STEPS; o++)
			CHECK_EQ(machine_totals[0] >> o & 1, preemptions_of(o) <= preemptions);
		CHECK_EQ(machine_schedules(), schedules[preemptions]);
		CHECK_EQ(machine_totals[1], schedules[preemptions] + 1);
	}
}

/* ---- what goes wrong in one of them ------------------------------------------------------- */

static uint32_t number;
static void (*mistake)(void);

static void add_one(void *arg)
{
	machine_explore(2, 1);
	uint32_t was = atomic_read_acquire(&number);
	atomic_write_release(&number, was + 1);
}

static void run_mistake(uint64_t i)
{
	begin();
	number = 0;
	machine_spawn(add_one, NULL, NULL);
	machine_spawn(add_one, NULL, NULL);
	machine_join();
	machine_explore_end();
	if (number == 1)
		mistake();
	machine_end();
}

static void fail_a_check(void)
{
	CHECK_EQ(number, 2);
}

static void panic(void)
{
	machine_die("on purpose");
}

static void crash(void)
{
	*(volatile int *)(uintptr_t)8 = 1;
}

/* The compiler shall not see what comes. */
static void *volatile place;

static void write_behind_a_local(void)
{
	char local[16];
	place = local;
	((volatile char *)place)[16] = 1;
}

static void use_after_free(void)
{
	place = malloc(10);
	free(place);
	*(volatile char *)place = 1;
}

static void use_after_scope(void)
{
	{
		char local[16];
		place = local;
		*(volatile char *)place = 1;
	}
	*(volatile char *)place = 2;
}

static void use_forbidden_memory(void)
{
	machine_forbid(word(FRAME), PAGE_SIZE);
	*word(FRAME) = 1;
}

static void go_round(void)
{
	for (;;)
		__asm__ volatile("pause");
}

static void overflow(void)
{
	volatile int most = 0x7fffffff;
	most = most + 1;
}

/* A circle with points, and no host_relax() that would let the other go on. */
static void circle_body(void *arg)
{
	machine_explore(2, 0);
	while (arg && !atomic_read_acquire(&number))
		;
	atomic_write_release(&number, 1);
}

static void circle(uint64_t i)
{
	begin();
	number = 0;
	machine_spawn(circle_body, &number, NULL);
	machine_spawn(circle_body, NULL, NULL);
	machine_join();
	machine_end();
}

static char said[1 << 16];

/* Runs machine_each in a process that may fail; what it said is in `said`. */
static bool each_fails(void (*body)(uint64_t i))
{
	int fds[2], status;
	size_t used = 0;
	CHECK(!pipe(fds));
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		machine_each(1, body);
		printf("%llu schedules\n", (unsigned long long)machine_schedules());
		fflush(NULL);
		_exit(0);
	}
	close(fds[1]);
	for (ssize_t n; used < sizeof(said) - 1 &&
			(n = read(fds[0], said + used, sizeof(said) - 1 - used)) > 0;)
		used += (size_t)n;
	said[used] = 0;
	close(fds[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	return status != 0;
}

static void expect(const char *text)
{
	if (!strstr(said, text))
		test_fail(__FILE__, __LINE__, "expected '%s', got: %s", text, said);
}

/* The schedule that failed fails alone, and another one does not. */
static void expect_repeatable(void (*body)(uint64_t i), const char *text)
{
	static char schedule[200];
	expect("schedule: at point ");
	expect("QUIRE_RUN=0 QUIRE_SCHEDULE=");
	(void)sscanf(strstr(said, "QUIRE_SCHEDULE="), "QUIRE_SCHEDULE=%199s", schedule);
	setenv("QUIRE_SCHEDULE", schedule, 1);
	CHECK(each_fails(body));
	expect(text);
	setenv("QUIRE_SCHEDULE", "1:1", 1);
	CHECK(!each_fails(body));
	expect("0 schedules");
	unsetenv("QUIRE_SCHEDULE");
}

TEST(machine_tells_of_schedules_that_fail)
{
	static const struct {
		void (*mistake)(void);
		const char *text;
	} mistakes[] = {
	    {fail_a_check, "number == 2"},
	    {panic, "on purpose"},
	    {crash, "SEGV on unknown address"},
	    {write_behind_a_local, "stack-buffer-overflow"},
	    {use_after_free, "heap-use-after-free"},
	    {use_after_scope, "stack-use-after-scope"},
	    {use_forbidden_memory, "use-after-poison"},
	    {overflow, "signed integer overflow"},
	};
	for (unsigned i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		mistake = mistakes[i].mistake;
		CHECK(each_fails(run_mistake));
		expect(mistakes[i].text);
		expect_repeatable(run_mistake, mistakes[i].text);
	}
}

TEST(machine_tells_of_circles)
{
	CHECK(each_fails(circle));
	expect("no end: it goes round and round until another CPU goes on");
	expect_repeatable(circle, "no end: it goes round");
	setenv("QUIRE_PATIENCE", "0.001", 1);
	mistake = go_round; /* without a point */
	CHECK(each_fails(run_mistake));
	expect("(status 0xe)");
	expect_repeatable(run_mistake, "(status 0xe)");
}
