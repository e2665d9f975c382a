/* SPDX-License-Identifier: MIT */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H
/*
 * Test bodies that run hosted and in the kernel alike.
 *
 *     TEST(pmm_first_is_lowest) { ... CHECK(x); CHECK_EQ(a, b); }
 *
 * A body ends at its first failed check. test_random() is seeded by SEED= and
 * the test's name, so one test can be repeated alone. tests/runner.c runs them
 * hosted, kernel/tests.c in the kernel.
 */
#include <mem/types.h>

#include "base/page.h"

struct test {
	const char *name;
	void (*run)(void);
	unsigned seconds; /* time limit */
};

#define TEST_TIMED(id, limit)                                                                      \
	static void test_body_##id(void);                                                          \
	static const struct test test_entry_##id                                                   \
	    __attribute__((section("quire_tests"), used, aligned(8))) = {#id, test_body_##id,      \
									 (limit)};                 \
	static void test_body_##id(void)
#define TEST(id) TEST_TIMED(id, 60)

/* Ends the running test as failed; does not return. */
void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
/* One line of detail: counts, numbers. */
void test_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The running test is not stuck: it has got this far, a number of its own that grows
 * (schedules, operations, rows). Any thread or process of the test may say it, as often as
 * it likes: at most one line a second comes of it. */
void test_progress(uint64_t number);
/* The same for threads that work side by side: one step more of any of them. A test uses
 * one of the two. */
void test_step(void);
/* End the running test as skipped, with the reason. */
void test_skip(const char *reason) __attribute__((noreturn));
uint64_t test_random(void);
static inline uint64_t test_random_below(uint64_t n)
{
	return test_random() % n;
}

#define CHECK(c) ((c) ? (void)0 : test_fail(__FILE__, __LINE__, "%s", #c))
#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		unsigned long long a_ = (unsigned long long)(a), b_ = (unsigned long long)(b);     \
		if (a_ != b_)                                                                      \
			test_fail(__FILE__, __LINE__, "%s == %s: 0x%llx != 0x%llx", #a, #b, a_,    \
				  b_);                                                             \
	} while (0)
#define CHECK_OK(status) CHECK_EQ((status), MEM_OK)

/* Hosted only: run `body` in a child process and check that it ends in
 * host_panic with a message that contains `text`. */
void test_expect_panic(void (*body)(void), const char *text);
#endif
