/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_PMM_STRESS_H
#define TESTS_UNIT_PMM_STRESS_H
/* One random user of the frame allocator among several; who runs them (threads,
 * coroutines) is the including test's matter. */
#include <mem/pmm.h>

struct stress {
	struct pmm *pmm;
	unsigned users;
	unsigned steps;  /* per user */
	unsigned live;   /* blocks that one user may hold */
	unsigned orders; /* below this */
	bool rare;       /* drains, ranges, PMM_FIRST, offline and online too */
	void (*step)(void);
};

/* Make the allocator and note how much is free. */
void stress_start(struct stress *stress, uint64_t bytes, uint64_t seed);
/* What user number `user` does; on the CPU that the caller gave it. */
void stress_user(struct stress *stress, unsigned user);
/* What an interrupt handler does: take and give a frame or two. */
void stress_interrupt(struct stress *stress, unsigned cpu);
/* All users are done: every frame is back, nothing was handed out twice. */
void stress_end(struct stress *stress);
#endif
