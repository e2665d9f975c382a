/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SNAPSHOT_H
#define TESTS_SNAPSHOT_H
/*
 * fork() for the machine, inside one process: what the machine and the test are now is
 * kept, and is what they are once more when the branch that follows is over.
 */
#include <stdbool.h>
#include <stddef.h>

/* Begin a branch. Returns true in it; and a second time, false, after snapshot_return(),
 * on the same CPU, in the same thread, with all memory as it was at the call. */
bool snapshot_branch(void);
/* The newest branch is over: goes back to where it began. Returns only if there is none. */
void snapshot_return(void);
/* Has this process ever begun a branch? Memory that exists has to stay from then on. */
bool snapshot_taken(void);

#endif
