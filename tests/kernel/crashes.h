/* SPDX-License-Identifier: MIT */
#ifndef TESTS_KERNEL_CRASHES_H
#define TESTS_KERNEL_CRASHES_H
/* Ways for the kernel to end badly, each with what its report must say. */
#include <stddef.h>

struct crash {
	const char *name;
	void (*run)(void);
	const char *says; /* parts, separated by '|', all in the report */
};
extern const struct crash crashes[];
extern const size_t crash_count;
#endif
