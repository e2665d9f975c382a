/* SPDX-License-Identifier: MIT */
#ifndef USER_CHECK_H
#define USER_CHECK_H
/*
 * For programs that check something about the kernel they run on. Each prints a
 * line per case and nothing that differs from run to run, because the output is
 * compared with what the same program prints under Linux.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul

static int failures;

#define CHECK(c)                                                                                   \
	do {                                                                                       \
		if (!(c)) {                                                                        \
			printf("    %s:%d: %s (errno %s)\n", __FILE__, __LINE__, #c,               \
			       strerrorname_np(errno));                                            \
			fflush(stdout);                                                            \
			failures++;                                                                \
		}                                                                                  \
	} while (0)

/* Anonymous private memory, or the end of the program. */
__attribute__((unused)) static char *anonymous(size_t bytes, int protection)
{
	void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		printf("    mmap of %zu bytes: %s\n", bytes, strerrorname_np(errno));
		exit(1);
	}
	return p;
}

/* Run `body` in a child; its wait status. */
__attribute__((unused)) static int in_child(void (*body)(void *), void *argument)
{
	int status = -1;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		failures = 0; /* its own */
		body(argument);
		fflush(stdout);
		_exit(failures != 0);
	}
	if (pid < 0) {
		printf("    fork: %s\n", strerrorname_np(errno));
		failures++;
		return -1;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return status;
}

__attribute__((unused)) static const char *outcome(int status)
{
	static char text[40];
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
	return text;
}

/* One case, in a child of its own, so that it cannot disturb the next. */
__attribute__((unused)) static void run_case(const char *name, void (*body)(void *))
{
	int status = in_child(body, NULL);
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (good)
		printf("ok %s\n", name);
	else
		printf("FAIL %s: %s\n", name, outcome(status));
	failures += !good;
}
#endif
