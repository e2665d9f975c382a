/* SPDX-License-Identifier: MIT */
/*
 * The kernel log.
 *
 * A line goes to two places: the log port (the second UART, polled, so that it
 * works before anything else does and inside a panic) and a ring of the newest
 * LOG_RING bytes for /proc/kmsg. A position in the log is a byte count since
 * boot, so a reader that was overtaken by the ring knows it and skips ahead.
 *
 * One interrupt-off lock orders whole lines. A panic first stops the other
 * CPUs and then breaks that lock (log_break_lock), since its holder may be
 * stopped or be the panicking CPU itself.
 */
#include <kernel/log.h>
#include <kernel/rank.h>
#include <kernel/sched.h>

#include "kernel/cpu/x86.h"
#include "kernel/lib/log.h"

#define LOG_PORT 0x2f8 /* 16550: data, +5 line status */
#define LOG_RING ((size_t)1 << 16)
#define LOG_LINE 512

static char ring[LOG_RING];
static uint64_t ring_end; /* bytes ever written; under `lock`, read with acquire */
static struct mem_lock lock;
static bool port_there;
static bool lock_broken;

void log_init(void)
{
	/* 115200 baud, 8N1, FIFO on, no interrupts. A port that does not keep its
	 * scratch register is not there. */
	out8(LOG_PORT + 7, 0x5a);
	if (in8(LOG_PORT + 7) != 0x5a)
		return;
	out8(LOG_PORT + 1, 0);
	out8(LOG_PORT + 3, 0x80);
	out8(LOG_PORT + 0, 1);
	out8(LOG_PORT + 1, 0);
	out8(LOG_PORT + 3, 3);
	out8(LOG_PORT + 2, 0x07);
	out8(LOG_PORT + 4, 3);
	port_there = true;
}

void log_break_lock(void)
{
	lock_broken = true;
}

static void port_byte(char c)
{
	/* A port that stops answering costs a bounded wait per byte, not the machine. */
	for (unsigned spins = 0; spins < 100000 && !(in8(LOG_PORT + 5) & 0x20); spins++)
		cpu_relax();
	out8(LOG_PORT, (uint8_t)c);
}

void log_write(const char *text, size_t bytes)
{
	unsigned long irq = 0;
	if (!lock_broken)
		irq = mem_lock_irq(&lock, KRANK_CONSOLE);
	for (size_t i = 0; i < bytes; i++) {
		ring[(ring_end + i) % LOG_RING] = text[i];
		if (port_there)
			port_byte(text[i]);
	}
	__atomic_store_n(&ring_end, ring_end + bytes, __ATOMIC_RELEASE);
	if (!lock_broken)
		mem_unlock_irq(&lock, KRANK_CONSOLE, irq);
}

void log_vline(enum log_level level, const char *format, va_list args)
{
	char line[LOG_LINE];
	static const char *const marks[] = {"", "", "warning: ", "error: "};
	nsec_t now = time_monotonic();
	int n = ksnprintf(line, sizeof(line), "[%4u.%06u] %s", (unsigned)(now / NSEC_PER_SEC),
			  (unsigned)(now % NSEC_PER_SEC / 1000), marks[level & 3]);
	n += kvsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2; /* cut, but still one line */
	line[n] = '\n';
	log_write(line, (size_t)n + 1);
}

void klog(enum log_level level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	log_vline(level, format, args);
	va_end(args);
}

size_t klog_read(uint64_t *at, char *to, size_t bytes)
{
	unsigned long irq = mem_lock_irq(&lock, KRANK_CONSOLE);
	if (ring_end - *at > LOG_RING)
		*at = ring_end - LOG_RING;
	size_t n = mem_min(bytes, (size_t)(ring_end - *at));
	for (size_t i = 0; i < n; i++)
		to[i] = ring[(*at + i) % LOG_RING];
	*at += n;
	mem_unlock_irq(&lock, KRANK_CONSOLE, irq);
	return n;
}
