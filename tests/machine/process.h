/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MACHINE_PROCESS_H
#define TESTS_MACHINE_PROCESS_H
/* The host functions that are the same wherever mem/ runs in an ordinary process with
 * ordinary threads: one source of a program includes this and has them. */
#include <linux/futex.h>
#include <mem/host.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

void host_log(enum host_log_level level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, level >= HOST_LOG_WARN ? "  log! " : "  log: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

MEM_NORETURN void host_panic(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "PANIC: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	fflush(NULL);
	abort();
}

void host_relax(void)
{
	sched_yield();
}

void host_wait(const uint32_t *word, uint32_t expected)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void host_wake(const uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

#endif
