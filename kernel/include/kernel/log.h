/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LOG_H
#define KERNEL_LOG_H
/* The kernel's own voice: the log goes to the log port (and a ring for dmesg),
 * never into a program's output. */
#include <kernel/types.h>
#include <stdarg.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
/* One line, newline added. Any context. */
void klog(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Stop every CPU, print the message and a symbolised backtrace, end the run with 125. */
MEM_NORETURN void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define kassert(c) ((c) ? (void)0 : panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #c))

/* Formatting without libc: %s %d %i %u %x %X %o %c %p %%, h/l/ll/z/t lengths,
 * width, precision, '-', '0', '*'. Returns the length it would have needed. */
int kvsnprintf(char *to, size_t bytes, const char *format, va_list args);
int ksnprintf(char *to, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Read the log ring, for /proc/kmsg and dmesg: copies up to bytes from absolute position *at. */
size_t klog_read(uint64_t *at, char *to, size_t bytes);

size_t kstrlen(const char *s);
int kstrcmp(const char *a, const char *b);
int kstrncmp(const char *a, const char *b, size_t n);
char *kstrchr(const char *s, int c);
char *kstrrchr(const char *s, int c);
/* Copies with termination; returns strlen(from) (truncated if >= bytes). */
size_t kstrlcpy(char *to, const char *from, size_t bytes);
char *kstrdup(const char *s); /* kmalloc'd, or NULL */
#endif
