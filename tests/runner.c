/* SPDX-License-Identifier: MIT */
/*
 * Runs test bodies hosted: each in a child process of its own, so that a crash, a
 * hang or a sanitizer report is one failed test and the next one runs.
 *
 *     BINARY [--list] [FILTER...]      those whose name contains a filter; or all
 *     BINARY --exact NAME...           just these
 *
 * SEED=n repeats the random ones. QUIRE_PATIENCE=x makes every limit x times as
 * long (the front door measures the machine and sets it).
 *
 * A hang is no progress: a test has its limit in seconds for each step, and a step
 * ends when test_progress() tells of a larger number than before. A test that never
 * calls it is one step. What a test that is ended has started, ends with it.
 *
 * Prints `begin NAME SECONDS` with the limit of a step, then `ok NAME`, `FAIL NAME: why`
 * or `skip NAME: why`, a line each; the front door counts them. A line `progress N` is
 * passed on, at most one a second.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

extern const struct test __start_quire_tests[], __stop_quire_tests[];

static uint64_t seed_base, random_state;

uint64_t test_random(void)
{
	random_state += 0x9e3779b97f4a7c15;
	uint64_t z = random_state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stdout, "    %s:%d: ", file, line);
	vfprintf(stdout, format, args);
	fprintf(stdout, "\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

void test_skip(const char *reason)
{
	printf("    skipped: %s\n", reason);
	fflush(stdout);
	_exit(77);
}

void test_note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stdout, "    ");
	vfprintf(stdout, format, args);
	fprintf(stdout, "\n");
	va_end(args);
	fflush(stdout);
}

/* ---- a child, and what it says ------------------------------------------------------------- */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A limit on this machine, of `seconds` on one that is as fast as most. */
static double patience(unsigned seconds)
{
	const char *text = getenv("QUIRE_PATIENCE");
	double factor = text ? strtod(text, NULL) : 1;
	return seconds * (factor > 0 ? factor : 1);
}

/* Of the test that runs; shared with all its processes. */
static uint64_t *progress;

void test_progress(uint64_t number)
{
	__atomic_store_n(progress, number, __ATOMIC_RELAXED);
}

void test_step(void)
{
	__atomic_add_fetch(progress, 1, __ATOMIC_RELAXED);
}

static void progress_init(void)
{
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (progress == MAP_FAILED)
		abort();
}

#define SLICE 0.1 /* seconds: how often we look */

/* A child that is watched. */
struct watch {
	char *output; /* what it has printed; the end of what is too long is left out */
	size_t used, bytes;
	uint64_t progress; /* the largest number so far */
	double left;       /* seconds to the end of the step's limit */
	double last_told;
	bool tell; /* pass its progress on */
};

static void look_at_progress(struct watch *w, double limit)
{
	uint64_t number = __atomic_load_n(progress, __ATOMIC_RELAXED);
	if (number <= w->progress)
		return;
	w->progress = number;
	w->left = limit;
	if (!w->tell || now() - w->last_told < 1)
		return;
	w->last_told = now();
	printf("progress %llu\n", (unsigned long long)number);
	fflush(stdout);
}

/* Read what there is, or some of it if it does not cease. False at its end. */
static bool drain(struct watch *w, int fd)
{
	for (unsigned i = 0; i < 64; i++) {
		char spill[4096];
		bool room = w->used + 1 < w->bytes;
		ssize_t n = read(fd, room ? w->output + w->used : spill,
				 room ? w->bytes - w->used - 1 : sizeof(spill));
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		w->used += room ? (size_t)n : 0;
	}
	return true;
}

/* Watch a child until it ends, or makes no progress for `limit` seconds; its wait status.
 * Time in which we did not run ourselves counts little: the machine stood still or did others'
 * work, and the child has not run either. Nothing that it started is left, even if that holds
 * our pipe. */
static int watch_child(struct watch *w, pid_t pid, int fd, double limit, bool *hung)
{
	struct pollfd output = {.fd = fd, .events = POLLIN};
	int status, wait_ms = (int)(SLICE * 1000);
	double last = w->last_told = now();
	w->left = limit;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (;;) {
		double passed = now() - last;
		last += passed;
		w->left -= passed < 2 * SLICE ? passed : 2 * SLICE;
		*hung = w->left <= 0;
		if (*hung)
			kill(-pid, SIGKILL);
		else
			poll(&output, 1, wait_ms);
		if (!drain(w, fd)) { /* it is about to end, or has closed its output */
			output.fd = -1;
			wait_ms = 1;
		}
		look_at_progress(w, limit);
		if (waitpid(pid, &status, *hung ? 0 : WNOHANG) == pid)
			break;
	}
	kill(-pid, SIGKILL);
	drain(w, fd);
	w->output[w->used] = 0;
	return status;
}

/* Fork, run, capture output; returns the wait status, *hung set on a hang. */
static int run_child(void (*body)(void), double limit, struct watch *w, bool *hung)
{
	int fds[2];
	fflush(stdout);
	if (pipe(fds))
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		body();
		fflush(stdout);
		exit(0);
	}
	if (pid < 0)
		abort();
	setpgid(pid, pid);
	close(fds[1]);
	int status = watch_child(w, pid, fds[0], limit, hung);
	close(fds[0]);
	return status;
}

void test_expect_panic(void (*body)(void), const char *text)
{
	static char output[1 << 16];
	struct watch w = {.output = output, .bytes = sizeof(output)};
	bool hung;
	int status = run_child(body, patience(20), &w, &hung);
	if (hung)
		test_fail(__FILE__, __LINE__, "no panic with '%s' and no end (a hang)", text);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		test_fail(__FILE__, __LINE__, "expected a panic with '%s', got none", text);
	if (!strstr(output, "PANIC:") || !strstr(output, text))
		test_fail(__FILE__, __LINE__, "expected a panic with '%s', got: %s", text, output);
}

/* ---- one test, all tests ------------------------------------------------------------------- */

static void run_test(const struct test *t, int *failed)
{
	static char output[1 << 20];
	struct watch w = {.output = output, .bytes = sizeof(output), .tell = true};
	double limit = patience(t->seconds), begun = now();
	bool hung;
	test_progress(0);
	random_state = seed_base;
	for (const char *c = t->name; *c; c++)
		random_state = random_state * 31 + (unsigned char)*c;
	printf("begin %s %.1f\n", t->name, limit);
	int status = run_child(t->run, limit, &w, &hung);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		printf("ok %s (%.2f s)\n%s", t->name, now() - begun, output);
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		char *why = strstr(output, "skipped: ");
		printf("skip %s: %s", t->name, why ? why + 9 : "\n");
	} else {
		++*failed;
		if (hung)
			printf("FAIL %s: no progress for %.1f s (a hang), after progress %llu; "
			       "repeat with SEED=%llu\n%s",
			       t->name, limit, (unsigned long long)w.progress,
			       (unsigned long long)seed_base, output);
		else
			printf("FAIL %s: %s %d, repeat with SEED=%llu\n%s", t->name,
			       WIFSIGNALED(status) ? "signal" : "status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
			       (unsigned long long)seed_base, output);
	}
	if (w.used && output[w.used - 1] != '\n')
		putchar('\n');
	fflush(stdout);
}

static bool selected(const char *name, bool exact, int count, char **filters)
{
	for (int i = 0; i < count; i++)
		if (exact ? !strcmp(name, filters[i]) : strstr(name, filters[i]) != NULL)
			return true;
	return !count && !exact;
}

int main(int argc, char **argv)
{
	bool list = argc > 1 && !strcmp(argv[1], "--list");
	bool exact = argc > 1 && !strcmp(argv[1], "--exact");
	int options = 1 + (list || exact), failed = 0;
	const char *seed = getenv("SEED");
	seed_base =
	    seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
	if (!list)
		printf("# SEED=%llu\n", (unsigned long long)seed_base);
	progress_init();
	for (const struct test *t = __start_quire_tests; t < __stop_quire_tests; t++) {
		if (!selected(t->name, exact, argc - options, argv + options))
			continue;
		if (list)
			puts(t->name);
		else
			run_test(t, &failed);
	}
	return failed != 0;
}
