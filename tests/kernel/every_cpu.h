/* SPDX-License-Identifier: MIT */
#ifndef TESTS_KERNEL_EVERY_CPU_H
#define TESTS_KERNEL_EVERY_CPU_H
/* Run a body on every CPU at once, as a kernel thread bound to it. */
#include <kernel/sched.h>

/* body(arg, cpu) on each online CPU; returns the number of CPUs whose body
 * returned false. All start together. */
unsigned every_cpu(bool (*body)(void *arg, unsigned cpu), void *arg);

/* A generator per CPU, seeded by the test's. */
uint64_t cpu_random(uint64_t *state);

/* Everything that can be drained is drained: frame counts are exact after it. */
void drain_all(void);

/* Free frames after a drain, and those that are as good as free: a record frame
 * goes back with the last user of its block; kernel tables and the
 * descriptors of kernel ranges follow what is mapped, and may stay for the next. */
uint64_t free_frames(void);
#endif
