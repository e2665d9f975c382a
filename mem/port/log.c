/* SPDX-License-Identifier: MIT */
/* What the component says, through mem_port_putchar(). One line at a time if the caller is
 * one CPU; lines of several may mix. */
#include <mem/host.h>
#include <mem/port.h>

#include "port/print.h"

static void put_number(uint64_t value, unsigned base, unsigned width, char fill)
{
	char digits[24];
	unsigned n = 0;
	do
		digits[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	for (; width > n; width--)
		mem_port_putchar(fill);
	while (n)
		mem_port_putchar(digits[--n]);
}

static void put_string(const char *s)
{
	if (!s)
		s = "(null)";
	while (*s)
		mem_port_putchar(*s++);
}

/* One conversion; *format is behind the '%', and behind the conversion afterwards. */
static void convert(const char **format, va_list *args)
{
	const char *f = *format;
	char fill = *f == '0' ? '0' : ' ';
	unsigned width = 0, longs = 0;
	for (; *f >= '0' && *f <= '9'; f++)
		width = width * 10 + (unsigned)(*f - '0');
	for (; *f == 'l' || *f == 'z'; f++)
		longs++;
	switch (*f) {
	case 's':
		put_string(va_arg(*args, const char *));
		break;
	case 'c':
		mem_port_putchar((char)va_arg(*args, int));
		break;
	case 'd': {
		int64_t value = longs ? va_arg(*args, int64_t) : va_arg(*args, int);
		if (value < 0)
			mem_port_putchar('-');
		put_number(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, width, fill);
		break;
	}
	case 'u':
		put_number(longs ? va_arg(*args, uint64_t) : va_arg(*args, unsigned), 10, width,
			   fill);
		break;
	case 'x':
		put_number(longs ? va_arg(*args, uint64_t) : va_arg(*args, unsigned), 16, width,
			   fill);
		break;
	case 'p':
		put_string("0x");
		put_number((uintptr_t)va_arg(*args, void *), 16, width, fill);
		break;
	case '%':
		mem_port_putchar('%');
		break;
	default: /* what mem/host.h does not name is printed as it is */
		mem_port_putchar('%');
		*format = f;
		return;
	}
	*format = f + 1;
}

void mem_port_print(const char *format, va_list args)
{
	va_list copy;
	va_copy(copy, args);
	while (*format) {
		char c = *format++;
		if (c == '%')
			convert(&format, &copy);
		else
			mem_port_putchar(c);
	}
	va_end(copy);
	mem_port_putchar('\n');
}

void host_log(enum host_log_level level, const char *format, ...)
{
	if (level < HOST_LOG_INFO)
		return;
	va_list args;
	va_start(args, format);
	mem_port_print(format, args);
	va_end(args);
}

void host_panic(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	put_string("panic: ");
	mem_port_print(format, args);
	va_end(args);
	mem_port_halt();
}
