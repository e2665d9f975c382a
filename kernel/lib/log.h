/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIB_LOG_H
#define KERNEL_LIB_LOG_H
/* The log's inner side, for boot and panic. */
#include <kernel/log.h>

/* Find and set up the log port. Context: once, first thing at boot. */
void log_init(void);
/* From now on write without the lock: the machine is being stopped. */
void log_break_lock(void);
/* Raw bytes to the port and the ring. Any context. */
void log_write(const char *text, size_t bytes);
/* One line, as klog. Any context. */
void log_vline(enum log_level level, const char *format, va_list args);
#endif
