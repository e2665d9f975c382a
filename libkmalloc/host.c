/* SPDX-License-Identifier: MIT */
/*
 * The host contract for a heap inside an ordinary process. There are no
 * interrupts (signal handlers may not allocate, says POSIX) and no preemption to
 * forbid: a thread has its CPU number to itself (slots.c, inline.h). Nothing here
 * allocates.
 */
#define _GNU_SOURCE
#include "libkmalloc/host.h"

#include "libkmalloc/slots.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <mem/host.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- saying things ----------------------------------------------------------- */

static void say(const char *format, va_list args)
{
	char line[512] = "libkmalloc: ";
	int used = (int)sizeof("libkmalloc: ") - 1;
	int n = vsnprintf(line + used, sizeof(line) - 1 - (size_t)used, format, args);
	if (n < 0)
		return;
	size_t length = mem_min((size_t)(used + n), sizeof(line) - 2);
	line[length++] = '\n';
	if (write(STDERR_FILENO, line, length) < 0)
		return; /* nobody listens */
}

void host_log(enum host_log_level level, const char *format, ...)
{
	if (level < HOST_LOG_WARN)
		return;
	va_list args;
	va_start(args, format);
	say(format, args);
	va_end(args);
}

MEM_NORETURN void host_panic(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(format, args);
	va_end(args);
	abort();
}

/* ---- this CPU ------------------------------------------------------------------ */

unsigned host_cpu_count(void)
{
	return slots_count();
}

unsigned long host_irq_save(void)
{
	return 0;
}

void host_irq_restore(unsigned long state)
{
}

bool host_irq_enabled(void)
{
	return true;
}

bool host_in_interrupt(void)
{
	return false;
}

void host_relax(void)
{
	/* The holder may be a thread that does not run. */
	sched_yield();
}

/* ---- barriers, sleeping --------------------------------------------------------- */

static long membarrier(int command)
{
	int before = errno;
	long result = syscall(SYS_membarrier, command, 0, 0);
	if (result < 0)
		result = -errno;
	errno = before;
	return result;
}

bool host_has_barrier(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void host_barrier_all(void)
{
	long result = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	if (result == -EPERM && host_has_barrier()) /* the child of a fork registers anew */
		result = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	if (result)
		host_panic("membarrier(2) failed: error %ld", -result);
}

static void futex(const uint32_t *word, int operation, uint32_t value)
{
	int before = errno;
	syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
	errno = before;
}

void host_wait(const uint32_t *word, uint32_t expected)
{
	futex(word, FUTEX_WAIT, expected);
}

void host_wake(const uint32_t *word)
{
	futex(word, FUTEX_WAKE, INT32_MAX);
}

void futex_lock_slowly(struct futex_lock *lock)
{
	while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE))
		futex(&lock->word, FUTEX_WAIT, 2);
}

void futex_unlock_slowly(struct futex_lock *lock)
{
	futex(&lock->word, FUTEX_WAKE, 1);
}
