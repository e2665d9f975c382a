/* SPDX-License-Identifier: MIT */
/* Formatting, strings and memory functions against what C says they do. */
#include <kernel/log.h>

#include "tests/test.h"

static void check_text(const char *want, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void check_text(const char *want, const char *format, ...)
{
	char text[80];
	va_list args;
	va_start(args, format);
	int n = kvsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (kstrcmp(text, want))
		test_fail(__FILE__, __LINE__, "'%s' gave '%s', not '%s'", format, text, want);
	CHECK_EQ((size_t)n, kstrlen(want));
}

TEST(kernel_format)
{
	check_text("a-5b", "a%db", -5);
	check_text("-9223372036854775808", "%ld", INT64_MIN);
	check_text("18446744073709551615", "%lu", UINT64_MAX);
	check_text("  7|7  |007", "%3d|%-3d|%03d", 7, 7, 7);
	check_text("ff FF 0xff 017", "%x %X %#x %#o", 255, 255, 255, 15);
	check_text("0x1000", "%p", (void *)4096);
	check_text("ab|   ab|ab   |a", "%s|%5s|%-5s|%.1s", "ab", "ab", "ab", "ab");
	check_text("x %", "%c %%", 'x');
	check_text("  42 0042", "%*d %.*d", 4, 42, 4, 42);
	check_text("+3  3", "%+d % d", 3, 3);
	check_text("-1 255", "%hhd %hhu", 255, 255);
	check_text("0 ", "%d %.0d", 0, 0);
	check_text("-0012", "%05d", -12);
	char small[4];
	CHECK_EQ(ksnprintf(small, sizeof(small), "%d", 123456), 6);
	CHECK(!kstrcmp(small, "123"));
}

TEST(kernel_strings)
{
	char to[4];
	CHECK_EQ(kstrlcpy(to, "abcdef", sizeof(to)), 6);
	CHECK(!kstrcmp(to, "abc"));
	CHECK(kstrcmp("a", "b") < 0 && kstrcmp("b", "a") > 0 && kstrcmp("a", "ab") < 0);
	CHECK(!kstrncmp("abX", "abY", 2) && kstrncmp("abX", "abY", 3));
	const char *s = "a/b/c";
	CHECK(kstrchr(s, '/') == s + 1 && kstrrchr(s, '/') == s + 3);
	CHECK(kstrchr(s, 'x') == NULL && kstrchr(s, 0) == s + 5);
}

TEST(kernel_memory_functions)
{
	static uint8_t a[256], b[256];
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned i = 0; i < sizeof(a); i++)
			a[i] = b[i] = (uint8_t)test_random();
		unsigned from = (unsigned)test_random_below(128),
			 to = (unsigned)test_random_below(128);
		unsigned n = (unsigned)test_random_below(128);
		/* byte by byte, through a copy: what memmove must come to */
		uint8_t copy[128];
		for (unsigned i = 0; i < n; i++)
			copy[i] = b[from + i];
		for (unsigned i = 0; i < n; i++)
			b[to + i] = copy[i];
		memmove(a + to, a + from, n);
		CHECK(!memcmp(a, b, sizeof(a)));
		memset(a + to, (int)round, n);
		for (unsigned i = 0; i < n; i++)
			b[to + i] = (uint8_t)round;
		CHECK(!memcmp(a, b, sizeof(a)));
		if (n) {
			a[to + n - 1] ^= 1;
			CHECK((memcmp(a, b, sizeof(a)) > 0) == (a[to + n - 1] > b[to + n - 1]));
			CHECK(memcmp(a, b, to + n - 1) == 0);
		}
	}
}
