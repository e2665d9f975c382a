/* SPDX-License-Identifier: MIT */
/* Words: the few memory functions that a compiler wants, and printing on the
 * serial ports, which is all that a loader without a screen has. */
#include "loader/loader.h"

#include <stdarg.h>

#include "loader/io.h"

void *memcpy(void *to, const void *from, size_t bytes)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
	return start;
}

void *memset(void *to, int byte, size_t bytes)
{
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(byte) : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t bytes)
{
	if ((uintptr_t)to - (uintptr_t)from >= bytes)
		return memcpy(to, from, bytes);
	for (size_t i = bytes; i-- > 0;)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
	const unsigned char *x = a, *y = b;
	for (size_t i = 0; i < bytes; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

size_t text_length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

bool text_begins(const char *s, const char *with)
{
	while (*with)
		if (*s++ != *with++)
			return false;
	return true;
}

enum { COM1 = 0x3f8, COM2 = 0x2f8 };

static void put(uint16_t port, char c)
{
	/* A port that is absent reads as all ones, which counts as ready. */
	for (unsigned i = 0; i < 100000 && !(in8(port + 5) & 0x20); i++)
		pause();
	out8(port, (uint8_t)c);
}

static void put_number(uint16_t port, uint64_t value, unsigned base)
{
	char digits[20];
	unsigned n = 0;
	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(port, digits[--n]);
}

static void vsay(uint16_t port, const char *format, va_list args)
{
	for (const char *f = format; *f; f++) {
		if (*f == '\n')
			put(port, '\r');
		if (*f != '%') {
			put(port, *f);
			continue;
		}
		switch (*++f) {
		case 's':
			for (const char *s = va_arg(args, const char *); *s; s++)
				put(port, *s);
			break;
		case 'u':
			put_number(port, va_arg(args, uint64_t), 10);
			break;
		case 'x':
			put_number(port, va_arg(args, uint64_t), 16);
			break;
		default:
			put(port, *f);
		}
	}
}

void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsay(COM2, format, args);
	va_end(args);
}

void fail(const char *format, ...)
{
	static const uint16_t ports[] = {COM1, COM2};
	for (unsigned i = 0; i < 2; i++) {
		va_list args;
		va_start(args, format);
		vsay(ports[i], "loader: cannot boot: ", args);
		va_end(args);
		va_start(args, format);
		vsay(ports[i], format, args);
		va_end(args);
		vsay(ports[i], "\n", args);
	}
	out8(0xf4, 125); /* QEMU's isa-debug-exit, if it is there */
	for (;;)
		__asm__ volatile("cli; hlt");
}
