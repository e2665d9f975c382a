/* SPDX-License-Identifier: MIT */
/*
 * Formatting without libc: one pass over the format, one sink that counts what
 * it would have written. No floating point, no locale, no %n.
 */
#include <kernel/log.h>

struct sink {
	char *to;
	size_t bytes; /* room, the final NUL included */
	size_t used;  /* what has been produced, room or not */
};

static void put(struct sink *s, char c)
{
	if (s->used + 1 < s->bytes)
		s->to[s->used] = c;
	s->used++;
}

struct spec {
	bool left, zero, plus, space, alternate;
	int width, precision; /* precision < 0: not given */
	int length;           /* -2 hh, -1 h, 0 int, 1 l, 2 ll/z/t/j */
};

static void pad(struct sink *s, char c, int count)
{
	for (; count > 0; count--)
		put(s, c);
}

static void put_text(struct sink *s, const struct spec *spec, const char *text, size_t n)
{
	int fill = spec->width - (int)n;
	if (!spec->left)
		pad(s, ' ', fill);
	for (size_t i = 0; i < n; i++)
		put(s, text[i]);
	if (spec->left)
		pad(s, ' ', fill);
}

static void put_number(struct sink *s, const struct spec *spec, uint64_t value, unsigned base,
		       bool upper, const char *prefix)
{
	char digits[24];
	int n = 0;
	const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	if (value || spec->precision != 0)
		do {
			digits[n++] = alphabet[value % base];
			value /= base;
		} while (value);
	int zeros = spec->precision > n ? spec->precision - n : 0;
	int prefix_length = (int)kstrlen(prefix);
	int fill = spec->width - n - zeros - prefix_length;
	if (spec->zero && !spec->left && spec->precision < 0 && fill > 0) {
		zeros += fill;
		fill = 0;
	}
	if (!spec->left)
		pad(s, ' ', fill);
	while (*prefix)
		put(s, *prefix++);
	pad(s, '0', zeros);
	while (n)
		put(s, digits[--n]);
	if (spec->left)
		pad(s, ' ', fill);
}

static int64_t narrow_signed(int64_t v, int length)
{
	return length == -2 ? (signed char)v : length == -1 ? (short)v : length == 0 ? (int)v : v;
}

static uint64_t narrow_unsigned(uint64_t v, int length)
{
	return length == -2   ? (unsigned char)v
	       : length == -1 ? (unsigned short)v
	       : length == 0  ? (unsigned)v
			      : v;
}

/* Flags, width, precision and length; returns the conversion character's place.
 * The arguments of '*' come back through `args`. */
static const char *parse_spec(const char *f, struct spec *spec, va_list *args)
{
	*spec = (struct spec){.precision = -1};
	for (;; f++) {
		if (*f == '-')
			spec->left = true;
		else if (*f == '0')
			spec->zero = true;
		else if (*f == '+')
			spec->plus = true;
		else if (*f == ' ')
			spec->space = true;
		else if (*f == '#')
			spec->alternate = true;
		else
			break;
	}
	if (*f == '*') {
		spec->width = va_arg(*args, int);
		if (spec->width < 0) {
			spec->left = true;
			spec->width = -spec->width;
		}
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		spec->width = spec->width * 10 + (*f - '0');
	if (*f == '.') {
		spec->precision = 0;
		if (*++f == '*') {
			spec->precision = va_arg(*args, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			spec->precision = spec->precision * 10 + (*f - '0');
	}
	for (;; f++) {
		if (*f == 'l')
			spec->length++;
		else if (*f == 'h')
			spec->length--;
		else if (*f == 'z' || *f == 't' || *f == 'j')
			spec->length = 2;
		else
			return f;
	}
}

static void convert(struct sink *s, char conversion, const struct spec *spec, va_list *args)
{
	switch (conversion) {
	case 'd':
	case 'i': {
		int64_t v = spec->length > 0 ? va_arg(*args, int64_t) : va_arg(*args, int);
		v = narrow_signed(v, spec->length);
		const char *sign = v < 0 ? "-" : spec->plus ? "+" : spec->space ? " " : "";
		put_number(s, spec, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, false, sign);
		break;
	}
	case 'u':
	case 'x':
	case 'X':
	case 'o': {
		uint64_t v = spec->length > 0 ? va_arg(*args, uint64_t) : va_arg(*args, unsigned);
		v = narrow_unsigned(v, spec->length);
		unsigned base = conversion == 'u' ? 10 : conversion == 'o' ? 8 : 16;
		const char *prefix = !spec->alternate || !v ? "" : base == 8 ? "0" : "0x";
		if (base == 10)
			prefix = "";
		put_number(s, spec, v, base, conversion == 'X', prefix);
		break;
	}
	case 'p':
		put_number(s, spec, (uintptr_t)va_arg(*args, void *), 16, false, "0x");
		break;
	case 'c': {
		char c = (char)va_arg(*args, int);
		put_text(s, spec, &c, 1);
		break;
	}
	case 's': {
		const char *text = va_arg(*args, const char *);
		if (!text)
			text = "(null)";
		size_t n = 0;
		while ((spec->precision < 0 || n < (size_t)spec->precision) && text[n])
			n++;
		put_text(s, spec, text, n);
		break;
	}
	case '%':
		put(s, '%');
		break;
	default: /* not a conversion we know: show it */
		put(s, '%');
		put(s, conversion);
	}
}

int kvsnprintf(char *to, size_t bytes, const char *format, va_list args)
{
	struct sink s = {to, bytes, 0};
	va_list copy;
	va_copy(copy, args);
	while (*format) {
		if (*format != '%') {
			put(&s, *format++);
			continue;
		}
		struct spec spec;
		format = parse_spec(format + 1, &spec, &copy);
		if (!*format)
			break;
		convert(&s, *format++, &spec, &copy);
	}
	va_end(copy);
	if (bytes)
		to[mem_min(s.used, bytes - 1)] = 0;
	return (int)s.used;
}

int ksnprintf(char *to, size_t bytes, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = kvsnprintf(to, bytes, format, args);
	va_end(args);
	return n;
}
