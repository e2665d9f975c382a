/* SPDX-License-Identifier: MIT */
#ifndef TESTS_HEAP_HELP_H
#define TESTS_HEAP_HELP_H
/* What the heap's unit tests share: one heap over pages that are counted. */
#include <mem/heap.h>

#include "tests/test.h"
#include "tests/unit/pages.h"

extern struct test_pages heap_pages;
extern struct heap *heap;
extern enum heap_profile heap_profile;
extern bool heap_loose; /* over loose pages */

/* The pages of the heap to come. */
void heap_start_pages(void);

/* The heap of the profile, as the default one too; and its end, with nothing left. */
void heap_start(unsigned ncpus);
void heap_finish(void);
/* Blocks in use; the pages held must be what was given. */
uint64_t heap_live_blocks(void);

/* Does it lie in a slab of what the heap allocates for itself? Blocks there are as good as
 * any: a free of one is not found. */
bool heap_own(const void *at);

/* One body, four tests: each profile's, over ranges of addresses and over loose pages. */
#define HEAP_TEST_LOOSE(id)                                                                        \
	static void heap_body_##id(void);                                                          \
	TEST_TIMED(id##_loose, 120)                                                                \
	{                                                                                          \
		heap_loose = true;                                                                 \
		heap_body_##id();                                                                  \
	}                                                                                          \
	TEST_TIMED(id##_loose_fast, 120)                                                           \
	{                                                                                          \
		heap_loose = true;                                                                 \
		heap_profile = HEAP_FAST;                                                          \
		heap_body_##id();                                                                  \
	}                                                                                          \
	HEAP_TEST(id)

/* One body, two tests: each profile's. */
#define HEAP_TEST(id)                                                                              \
	static void heap_body_##id(void);                                                          \
	TEST_TIMED(id, 120)                                                                        \
	{                                                                                          \
		heap_profile = HEAP_HARDENED;                                                      \
		heap_body_##id();                                                                  \
	}                                                                                          \
	TEST_TIMED(id##_fast, 120)                                                                 \
	{                                                                                          \
		heap_profile = HEAP_FAST;                                                          \
		heap_body_##id();                                                                  \
	}                                                                                          \
	static void heap_body_##id(void)

#endif
