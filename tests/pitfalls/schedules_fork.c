/* SPDX-License-Identifier: MIT */
/* Every schedule of small scenarios (schedules.c): fork. */
#include "base/atomic.h"
#include "tests/pitfalls/help.h"

static struct space *space;
static uint32_t done;

/*
 * 4. What a child reads it goes on reading: whoever could write to its parent's pages
 * through an old translation has forgotten it, on each page.
 */
static void fork_and_compare(void *arg)
{
	struct space *child;
	uint64_t first[2];
	machine_explore(2, 1);
	CHECK_OK(vmm_space_fork(space, &child));
	machine_set_space(child);
	for (unsigned p = 0; p < 2; p++)
		first[p] = get(PLACE + p * PAGE_SIZE);
	atomic_write_seq(&done, 1);
	for (unsigned p = 0; p < 2; p++)
		CHECK_EQ(get(PLACE + p * PAGE_SIZE), first[p]);
	machine_set_space(space);
	vmm_space_put(child);
}

static void write_both(void *arg)
{
	for (unsigned p = 0; p < 2; p++)
		put(PLACE + p * PAGE_SIZE, 1);
	machine_explore(2, 1);
	for (unsigned p = 0; p < 2; p++)
		put(PLACE + p * PAGE_SIZE, 2);
	for (unsigned p = 0; p < 2; p++)
		CHECK_EQ(get(PLACE + p * PAGE_SIZE), 2);
}

EXPLORED_TEST(pitfall_04_every_schedule_of_fork, 1, 738)
{
	machine_boot_explored(2, 1, 0);
	space = pitfall_space();
	map_at(space, PLACE, 2, RW, 0);
	RUN(space, fork_and_compare, write_both);
	pitfall_end(space);
}

/*
 * While the parent is copied nobody gets a copy of a page that another CPU may still
 * write to where it was: that write would be lost. The fork is stopped when it has made
 * the first page read-only, let go of its table, and got to the second page; what it
 * has not done yet is the flush.
 */
static void others_go_on(void)
{
	machine_explore(3, 0);
}

static void fork_in_two_steps(void *arg)
{
	struct space *child;
	wait_until(&done, 1);
	inject_arm(INJECT_COUNTS, 2, false);
	inject_call(others_go_on);
	CHECK_OK(vmm_space_fork(space, &child));
	(void)inject_disarm();
	vmm_space_put(child);
}

static void write_without_cache(void *arg)
{
	machine_explore(3, 1);
	put(PLACE + 8, 3); /* another word of the page */
}

static void write_with_cache(void *arg)
{
	put(PLACE, 1);
	atomic_write_release(&done, 1);
	machine_explore(3, 0);
	put(PLACE, 2);
	CHECK_EQ(get(PLACE), 2);
}

EXPLORED_TEST(pitfall_04_every_schedule_of_writers_in_a_fork, 1, 142)
{
	machine_boot_explored(3, 1, 0);
	space = pitfall_space();
	map_at(space, PLACE, 1, RW, 0);
	done = 0;
	map_at(space, AWAY, 1, RW, 0);
	put(AWAY, 1);
	RUN(space, write_without_cache, write_with_cache, fork_in_two_steps);
	CHECK_EQ(get(PLACE), 2);
	CHECK_EQ(get(PLACE + 8), 3);
	pitfall_end(space);
}
