/* SPDX-License-Identifier: MIT */
/*
 * Runs test bodies hosted: each in a child process of its own, with its time
 * limit, so that a crash, a hang or a sanitizer report is one failed test.
 *
 *     BINARY [--list] [FILTER...]      SEED=n repeats the random ones
 *
 * Prints `ok NAME`, `FAIL NAME: why` or `skip NAME: why` a line each; the front
 * door counts them. `progress NUMBER` comes in between, as soon as a test says it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

extern const struct test __start_quire_tests[], __stop_quire_tests[];

static uint64_t seed_base, random_state;

/* Shared with the processes of the test that runs. */
static struct progress {
	uint64_t number;  /* what it said last */
	uint64_t seconds; /* when that was last printed */
} * progress;
static int verdicts; /* where they go, whatever a test's own output does */

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

void test_progress(uint64_t number)
{
	struct timespec now;
	char line[40];
	if (!progress)
		return;
	__atomic_store_n(&progress->number, number, __ATOMIC_RELAXED);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	uint64_t last = __atomic_load_n(&progress->seconds, __ATOMIC_RELAXED);
	uint64_t second = (uint64_t)now.tv_sec;
	if (second == last || !__atomic_compare_exchange_n(&progress->seconds, &last, second, false,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	int n = snprintf(line, sizeof(line), "progress %llu\n", (unsigned long long)number);
	(void)!write(verdicts, line, (size_t)n);
}

static void progress_init(void)
{
	verdicts = dup(STDOUT_FILENO);
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (verdicts < 0 || progress == MAP_FAILED)
		abort();
}

/* Fork, run, capture output; returns the wait status, *timed_out set on a hang. */
static int run_child(void (*body)(void), unsigned seconds, char *output, size_t bytes,
		     bool *timed_out)
{
	int fds[2];
	fflush(stdout);
	if (pipe(fds))
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		alarm(seconds);
		body();
		fflush(stdout);
		exit(0);
	}
	close(fds[1]);
	size_t used = 0;
	for (;;) {
		char spill[4096];
		char *to = used + 1 < bytes ? output + used : spill;
		size_t room = used + 1 < bytes ? bytes - used - 1 : sizeof(spill);
		ssize_t n = read(fds[0], to, room);
		if (n <= 0)
			break;
		if (to != spill)
			used += (size_t)n;
	}
	output[used] = 0;
	close(fds[0]);
	int status = 0;
	waitpid(pid, &status, 0);
	*timed_out = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
	return status;
}

void test_expect_panic(void (*body)(void), const char *text)
{
	static char output[1 << 16];
	bool timed_out;
	int status = run_child(body, 20, output, sizeof(output), &timed_out);
	if (timed_out || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		test_fail(__FILE__, __LINE__, "expected a panic with '%s', got none", text);
	if (!strstr(output, "PANIC:") || !strstr(output, text))
		test_fail(__FILE__, __LINE__, "expected a panic with '%s', got: %s", text, output);
}

static bool selected(const char *name, int argc, char **argv)
{
	bool any = false;
	for (int i = 1; i < argc; i++) {
		any = true;
		if (strstr(name, argv[i]))
			return true;
	}
	return !any;
}

int main(int argc, char **argv)
{
	bool list = argc > 1 && !strcmp(argv[1], "--list");
	const char *seed = getenv("SEED");
	seed_base =
	    seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
	if (list) {
		argc--;
		argv++;
	} else {
		printf("# SEED=%llu\n", (unsigned long long)seed_base);
	}
	progress_init();
	int failed = 0;
	static char output[1 << 20];
	for (const struct test *t = __start_quire_tests; t < __stop_quire_tests; t++) {
		if (!selected(t->name, argc, argv))
			continue;
		if (list) {
			puts(t->name);
			continue;
		}
		random_state = seed_base;
		for (const char *c = t->name; *c; c++)
			random_state = random_state * 31 + (unsigned char)*c;
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		bool timed_out;
		int status = run_child(t->run, t->seconds, output, sizeof(output), &timed_out);
		clock_gettime(CLOCK_MONOTONIC, &b);
		double took =
		    (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			printf("ok %s (%.2f s)\n%s", t->name, took, output);
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			char *why = strstr(output, "skipped: ");
			printf("skip %s: %s", t->name, why ? why + 9 : "\n");
		} else {
			failed++;
			if (timed_out)
				printf("FAIL %s: no end within %u s (a hang)\n%s", t->name,
				       t->seconds, output);
			else
				printf("FAIL %s: %s %d, repeat with SEED=%llu\n%s", t->name,
				       WIFSIGNALED(status) ? "signal" : "status",
				       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
				       (unsigned long long)seed_base, output);
		}
		fflush(stdout);
	}
	return failed != 0;
}
