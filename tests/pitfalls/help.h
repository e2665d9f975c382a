/* SPDX-License-Identifier: MIT */
#ifndef TESTS_PITFALLS_HELP_H
#define TESTS_PITFALLS_HELP_H
/*
 * The pitfalls: twenty-five ways in which memory managers have gone wrong, the
 * rule that avoids each, and a test pitfall_NN that fails when the rule is broken.
 * The rule stands above its test. Those that need a kernel around them (17, 21)
 * are among the kernel's own tests, under the same names.
 */
#include <mem/vmm.h>

#include "tests/machine/boot.h"
#include "tests/test.h"

/* Addresses of the tests: PLACE is the last pages before a border of two leaf
 * tables that are also in different 1 GiB tables. */
#define PLACE ((vaddr_t)0x80000000 - 4 * PAGE_SIZE)
#define AWAY  ((vaddr_t)0x7f0000000000)

#define RW (VM_READ | VM_WRITE)

/* Boot a machine for seed i of a test, with one space that the caller is in. */
struct space *pitfall_begin(unsigned ncpus, uint64_t i);
/* The same on a machine that is started already. */
struct space *pitfall_space(void);
/* End it: the space goes, and every frame is free again. */
void pitfall_end(struct space *space);

void map_at(struct space *space, vaddr_t va, uint64_t npages, unsigned prot, unsigned flags);
void unmap_at(struct space *space, vaddr_t va, uint64_t npages);
/* User accesses by the running thread that have to work. */
uint64_t get(vaddr_t va);
void put(vaddr_t va, uint64_t value);
/* One that may fail: the signal, or 0. */
int try_get(vaddr_t va, uint64_t *value);
int try_put(vaddr_t va, uint64_t value);
uint64_t flush_count(void);
/* Spin until the word has this value, or a larger one. */
void wait_until(const uint32_t *word, uint32_t value);
void pause_for(unsigned points);

/* Run these bodies at once in `space`, on some CPU each: RUN(space, one, other). */
void pitfall_run(struct space *space, void (*const *bodies)(void *), unsigned count);

#define RUN(space, ...)                                                                            \
	do {                                                                                       \
		static void (*const bodies[])(void *) = {__VA_ARGS__};                             \
		pitfall_run(space, bodies, sizeof(bodies) / sizeof(bodies[0]));                    \
	} while (0)

/* A test whose body is run `count` times, each in a process and on a machine of its own;
 * `i` is its number. */
#define SEEDED_TEST(id, count)                                                                     \
	static void run_##id(uint64_t i);                                                          \
	TEST_TIMED(id, 120)                                                                        \
	{                                                                                          \
		machine_each((count), run_##id);                                                   \
	}                                                                                          \
	static void run_##id(uint64_t i)

/* One whose bodies are run in every schedule: at least so many of them. */
#define EXPLORED_TEST(id, count, schedules)                                                        \
	static void run_##id(uint64_t i);                                                          \
	TEST(id)                                                                                   \
	{                                                                                          \
		machine_each((count), run_##id);                                                   \
		machine_expect_schedules(schedules);                                               \
	}                                                                                          \
	static void run_##id(uint64_t i)

#endif
