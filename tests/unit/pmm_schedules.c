/* SPDX-License-Identifier: MIT */
/*
 * Blocks under every schedule of two CPUs (tests/machine/explore.c): what block.pml
 * says of the idea, this says of the code.
 */
#include "pmm/whole.h"
#include "tests/machine/boot.h"
#include "tests/machine/machine.h"
#include "tests/test.h"

#define BYTES ((uint64_t)8 << 20)
#define BLOCK 1u /* wholly free at first */

static struct pmm *pmm;
static bool claimed_whole;

static void begin(void)
{
	static struct memmap_region regions[16];
	struct memmap map = {.regions = regions, .capacity = 16};
	struct memmap_entry e = {0, BYTES, MEMMAP_USABLE};
	struct machine_config config = {.bytes = BYTES, .ncpus = 2, .seed = 1};
	machine_init(&config);
	CHECK_OK(memmap_sanitise(&map, &e, 1, BYTES >> PAGE_SHIFT));
	CHECK_OK(pmm_init(&pmm, &map));
	CHECK(pmm_extend_limit(pmm, false));
	CHECK(pmm_block_is_whole(pmm, BLOCK));
	claimed_whole = false;
}

/* Frames of the block, a bit each in words 0 and 7. */
static void take_bits(uint64_t first, uint64_t last)
{
	CHECK(pmm_block_claim(pmm, BLOCK, 1, WANT_ANY));
	atomic_or(&pmm_block_line(pmm, BLOCK)[0], first);
	atomic_or(&pmm_block_line(pmm, BLOCK)[7], last);
	pmm_block_recount(pmm, BLOCK);
	pmm_block_release(pmm, BLOCK);
}

static void run(void (*a)(void *), void (*b)(void *))
{
	machine_spawn(a, NULL, NULL);
	machine_spawn(b, NULL, NULL);
	machine_join();
	machine_explore_end();
	CHECK(pmm_is_valid(pmm));
}

static void owners(uint64_t i)
{
	begin();
	CHECK(pmm_block_claim(pmm, BLOCK, 1, WANT_ANY));
	CHECK(!pmm_block_claim(pmm, BLOCK, 2, WANT_ANY));
	CHECK(!pmm_block_claim_free(pmm, BLOCK, 2));
	CHECK(!pmm_block_claim_order(pmm, BLOCK, 2, 0));
	pmm_block_release(pmm, BLOCK);
	CHECK(pmm_block_claim_free(pmm, BLOCK, 2));
	CHECK(!pmm_block_claim(pmm, BLOCK, 1, WANT_ANY));
	pmm_block_release(pmm, BLOCK);
	CHECK(pmm_is_valid(pmm));
}

TEST(pmm_blocks_have_one_owner)
{
	machine_each(1, owners);
}

static void free_first(void *arg)
{
	machine_explore(2, 2);
	pmm_block_free_bits(pmm, NULL, BLOCK * BLOCK_WORDS, 1);
}

static void free_last(void *arg)
{
	machine_explore(2, 2);
	pmm_block_free_bits(pmm, NULL, BLOCK * BLOCK_WORDS + 7, 1);
}

/* The summaries know of a block whose last two frames are freed at once. */
static void last_two(uint64_t i)
{
	begin();
	take_bits(1, 1);
	run(free_first, free_last);
	CHECK(pmm_block_is_whole(pmm, BLOCK));
}

TEST(pmm_every_schedule_of_two_frees)
{
	machine_each(1, last_two);
	machine_expect_schedules(133);
}

static void take_whole(void *arg)
{
	machine_explore(2, 2);
	claimed_whole = pmm_block_take_free(pmm, BLOCK, 1, STATE_HUGE);
	if (claimed_whole)
		pmm_block_update_group(pmm, 0, (uint64_t)1 << BLOCK, false);
}

static void take_one(void *arg)
{
	machine_explore(2, 2);
	if (!pmm_block_claim(pmm, BLOCK, 2, WANT_ANY))
		return;
	CHECK(!(atomic_read_seq(pmm_block_line(pmm, BLOCK)) & 2));
	atomic_or(pmm_block_line(pmm, BLOCK), (uint64_t)2);
	pmm_block_recount(pmm, BLOCK);
	pmm_block_release(pmm, BLOCK);
	CHECK(!claimed_whole);
	MEM_POINT();
	pmm_block_free_bits(pmm, NULL, BLOCK * BLOCK_WORDS, 2);
}

/* A block is taken whole, or a frame of it, never both. */
static void whole_or_one(uint64_t i)
{
	begin();
	run(take_whole, take_one);
	CHECK(claimed_whole == ((pmm->states[BLOCK] & STATE_KIND) == STATE_HUGE));
}

TEST(pmm_every_schedule_of_whole_or_one)
{
	machine_each(1, whole_or_one);
	machine_expect_schedules(270);
}

static void free_beside_owner(void *arg)
{
	free_last(arg);
}

static void own_and_let_go(void *arg)
{
	machine_explore(2, 2);
	if (!pmm_block_claim(pmm, BLOCK, 1, WANT_ANY))
		return;
	atomic_or(pmm_block_line(pmm, BLOCK), (uint64_t)4);
	pmm_block_emptied(pmm, BLOCK, false);
	(void)atomic_and(pmm_block_line(pmm, BLOCK), ~(uint64_t)4);
	pmm_block_recount(pmm, BLOCK);
	pmm_block_release(pmm, BLOCK);
}

/* Who frees the last frame leaves it to the owner, who lets go: one of them sees it. */
static void owner_and_free(uint64_t i)
{
	begin();
	take_bits(0, 1);
	run(own_and_let_go, free_beside_owner);
	CHECK(pmm_block_is_whole(pmm, BLOCK));
}

TEST(pmm_every_schedule_of_owner_and_free)
{
	machine_each(1, owner_and_free);
	machine_expect_schedules(594);
}
