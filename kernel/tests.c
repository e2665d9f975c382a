/* SPDX-License-Identifier: MIT */
/*
 * Runs test bodies inside the kernel. Linked into a flavour of its own
 * (`make kernel-tests`), which boots like any other kernel and, when its command
 * line has the word `tests`, runs them in place of /init:
 *
 *     tests            all            tests=a,b     those whose name contains a or b
 *     tests=list       their names    seed=N        repeats the random ones
 *     from=NAME        only from this one on
 *     patience=N       limits are N percent of what they are where machines are fast
 *
 * `tests crash=NAME` makes one of the kernel's mistakes instead (crashes.c). Tests whose
 * name begins with `victim` try out the runner (victims.c): they run if asked for.
 *
 * One line each on the log: `begin NAME`, then `ok NAME (secs s)`, `FAIL NAME: why`, or
 * `skip NAME: why`; before it `progress NUMBER`, and details, indented. A hang is no
 * progress: a test that does not end, and does not call test_progress() with a larger
 * number than before, within its limit ends the machine, since it may hold anything;
 * `from=` has another machine go on after it. The machine's status is the number of
 * failures, at most 1.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/sched.h>

#include "base/util.h"
#include "kernel/cpu/x86.h"
#include "tests/kernel/crashes.h"
#include "tests/test.h"

extern const struct test __start_quire_tests[], __stop_quire_tests[];
MEM_NORETURN void kernel_tests_run(const char *filter);

enum outcome { RUNNING, PASSED, FAILED, SKIPPED };
static uint32_t outcome;
static char reason[200];
static struct waitq finished;
static uint64_t random_state, seed;
static unsigned patience = 100; /* per cent */
/* Of the running test: its number, when it last grew, when the log was told. */
static struct {
	uint64_t number;
	nsec_t told;
} progress;

uint64_t test_random(void)
{
	uint64_t z = __atomic_add_fetch(&random_state, 0x9e3779b97f4a7c15, __ATOMIC_RELAXED);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* The running thread ends, and so does the test, if this is the first word of it: a failure
 * in one thread may make others fail. The next test counts frames: it waits for this one's
 * stack. */
static void end_as(enum outcome how)
{
	uint32_t expected = RUNNING;
	thread_exit_begins();
	__atomic_compare_exchange_n(&outcome, &expected, how, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	waitq_wake_all(&finished);
}

void test_fail(const char *file, int line, const char *format, ...)
{
	char text[160];
	va_list args;
	va_start(args, format);
	kvsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (__atomic_load_n(&outcome, __ATOMIC_SEQ_CST) == RUNNING)
		ksnprintf(reason, sizeof(reason), "%s:%d: %s", file, line, text);
	end_as(FAILED);
	thread_exit();
}

void test_skip(const char *why)
{
	kstrlcpy(reason, why, sizeof(reason));
	end_as(SKIPPED);
	thread_exit();
}

void test_note(const char *format, ...)
{
	char text[200];
	va_list args;
	va_start(args, format);
	kvsnprintf(text, sizeof(text), format, args);
	va_end(args);
	klog(LOG_INFO, "    %s", text);
}

void test_progress(uint64_t number)
{
	nsec_t now = time_monotonic(), told = __atomic_load_n(&progress.told, __ATOMIC_RELAXED);
	uint64_t was = __atomic_load_n(&progress.number, __ATOMIC_RELAXED);
	if (number <= was || !__atomic_compare_exchange_n(&progress.number, &was, number, false,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	if (now - told >= NSEC_PER_SEC &&
	    __atomic_compare_exchange_n(&progress.told, &told, now, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		klog(LOG_INFO, "progress %lu", number);
}

void test_step(void)
{
	test_progress(__atomic_load_n(&progress.number, __ATOMIC_RELAXED) + 1);
}

void test_expect_panic(void (*body)(void), const char *text)
{
	(void)body;
	(void)text;
	test_skip("a panic would end the machine");
}

static void run_body(void *arg)
{
	((const struct test *)arg)->run();
	end_as(PASSED);
}

/* Does one of the comma-separated parts occur in the name? */
static bool selected(const char *name, const char *filter)
{
	if (!*filter)
		return kstrncmp(name, "victim", 6) != 0;
	while (*filter) {
		const char *end = kstrchr(filter, ',');
		size_t n = end ? (size_t)(end - filter) : kstrlen(filter);
		for (const char *at = name; n && *at; at++)
			if (!kstrncmp(at, filter, n))
				return true;
		filter += n + (end != NULL);
	}
	return false;
}

static uint64_t parse_number(const char *s)
{
	uint64_t v = 0;
	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (uint64_t)(*s - '0');
	return v;
}

/* Sleep until the test has ended, or has made no progress for so long. Time in which this
 * thread did not run counts little: the machine stood still, and the test with it. */
static void wait_for_end(nsec_t limit)
{
	const nsec_t slice = NSEC_PER_SEC / 10;
	uint64_t seen = 0;
	nsec_t last = time_monotonic();
	for (nsec_t left = limit; outcome == RUNNING && left;) {
		wait_event_interruptible(&finished, outcome != RUNNING, last + slice);
		nsec_t now = time_monotonic(), passed = mem_min(now - last, 2 * slice);
		uint64_t number = __atomic_load_n(&progress.number, __ATOMIC_RELAXED);
		left = number != seen ? limit : left - mem_min(passed, left);
		seen = number;
		last = now;
	}
}

/* True unless it failed. */
static bool run_one(const struct test *t)
{
	random_state = seed;
	for (const char *c = t->name; *c; c++)
		random_state = random_state * 31 + (unsigned char)*c;
	outcome = RUNNING;
	nsec_t start = time_monotonic(), limit = t->seconds * NSEC_PER_SEC / 100 * patience;
	progress.number = 0;
	progress.told = start;
	klog(LOG_INFO, "begin %s", t->name);
	if (!kthread_create("test", run_body, (void *)(uintptr_t)t)) {
		klog(LOG_INFO, "FAIL %s: no memory for its thread", t->name);
		return false;
	}
	wait_for_end(limit);
	unsigned ms = (unsigned)((time_monotonic() - start) / 1000000);
	switch (outcome) {
	case PASSED:
		klog(LOG_INFO, "ok %s (%u.%03u s)", t->name, ms / 1000, ms % 1000);
		return true;
	case SKIPPED:
		klog(LOG_INFO, "skip %s: %s", t->name, reason);
		return true;
	case FAILED:
		klog(LOG_INFO, "FAIL %s: %s (seed=%lu)", t->name, reason, seed);
		return false;
	default:
		klog(LOG_INFO,
		     "FAIL %s: no progress for %lu ms (a hang), after progress %lu (seed=%lu)",
		     t->name, limit / 1000000, progress.number, seed);
		machine_exit(1);
	}
}

/* `crash=list`: their names and what each must say; `crash=NAME`: do it. */
static void run_crash(const char *wanted)
{
	for (size_t i = 0; i < crash_count; i++) {
		if (!kstrcmp(wanted, "list"))
			klog(LOG_INFO, "crash %s %s", crashes[i].name, crashes[i].says);
		else if (!kstrcmp(wanted, crashes[i].name))
			crashes[i].run();
	}
}

void kernel_tests_run(const char *filter)
{
	char crash[32];
	if (boot_option("crash", crash, sizeof(crash))) {
		run_crash(crash);
		machine_exit(0);
	}
	char option[24];
	seed = boot_option("seed", option, sizeof(option)) ? parse_number(option) : rdtsc();
	if (boot_option("patience", option, sizeof(option)))
		patience = (unsigned)parse_number(option);
	char first[80];
	bool begun = !boot_option("from", first, sizeof(first));
	bool list = !kstrcmp(filter, "list");
	klog(LOG_INFO, "tests on %u CPUs, seed=%lu", cpu_count(), seed);
	unsigned ran = 0, failed = 0;
	for (const struct test *t = __start_quire_tests; t < __stop_quire_tests; t++) {
		begun = begun || !kstrcmp(t->name, first);
		if (list) {
			klog(LOG_INFO, "%s %s", selected(t->name, "") ? "test" : "victim", t->name);
		} else if (!list && begun && selected(t->name, filter)) {
			ran++;
			failed += !run_one(t);
		}
	}
	if (!list)
		klog(LOG_INFO, "%u tests, %u failed", ran, failed);
	machine_exit(failed != 0);
}
