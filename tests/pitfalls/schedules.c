/* SPDX-License-Identifier: MIT */
/*
 * The pitfalls once more, in scenarios so small that every schedule of them is run
 * (tests/machine/explore.c): what the tests beside this one find by chance and soon,
 * these find for certain. Each CPU does one thing; before that all have what they
 * need in their caches, and use it.
 */
#include "arch/x86_64/pte.h"
#include "base/atomic.h"
#include "tests/pitfalls/help.h"

static struct space *space;
static uint32_t done;

static void begin(unsigned ncpus, unsigned speculate_percent)
{
	machine_boot_explored(ncpus, 1, speculate_percent);
	space = pitfall_space();
	done = 0;
}

static void make_object(struct vm_object **object, vaddr_t va, uint64_t npages)
{
	vaddr_t out;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, npages * PAGE_SIZE, object));
	struct vm_map_args args = {.hint = va,
				   .bytes = npages * PAGE_SIZE,
				   .prot = RW,
				   .maxprot = 7,
				   .flags = VM_SHARED | VM_FIXED,
				   .object = *object};
	CHECK_OK(vmm_map(space, &args, &out));
}

/*
 * 1. What is unmapped is gone for every CPU when the call returns, each page of it;
 * and its frame is not free before (the machine looks at each frame that is freed).
 */
#define PAGES 3

static void unmap_all(void *arg)
{
	machine_explore(2, 1);
	unmap_at(space, PLACE, PAGES);
	atomic_write_seq(&done, 1);
}

static void read_all(void *arg)
{
	for (unsigned p = 0; p < PAGES; p++)
		put(PLACE + p * PAGE_SIZE, 7 + p);
	machine_explore(2, 1);
	for (unsigned p = PAGES; p-- > 0;) {
		uint64_t value;
		bool over = atomic_read_seq(&done);
		int signal = try_get(PLACE + p * PAGE_SIZE, &value);
		CHECK(signal == 11 || (signal == 0 && !over && value == 7 + p));
	}
}

EXPLORED_TEST(pitfall_01_every_schedule_of_munmap, 1, 150)
{
	begin(2, 0);
	map_at(space, PLACE, 4, RW, 0); /* one more page: the table stays */
	put(PLACE + PAGES * PAGE_SIZE, 1);
	RUN(space, unmap_all, read_all);
	pitfall_end(space);
}

/* The same for the end of an object. */
static struct vm_object *object;

static void truncate_it(void *arg)
{
	machine_explore(2, 1);
	CHECK_OK(vm_object_resize(object, 0));
	atomic_write_seq(&done, 1);
}

static void read_object(void *arg)
{
	uint64_t value;
	put(PLACE, 7);
	machine_explore(2, 1);
	bool over = atomic_read_seq(&done);
	int signal = try_get(PLACE, &value);
	CHECK(signal == 7 || (signal == 0 && !over && value == 7));
}

EXPLORED_TEST(pitfall_01_every_schedule_of_truncate, 1, 187)
{
	begin(2, 0);
	make_object(&object, PLACE, 1);
	RUN(space, truncate_it, read_object);
	vm_object_put(object);
	pitfall_end(space);
}

/*
 * 2. A right that is taken away is gone when the call returns.
 */
static void take_right_away(void *arg)
{
	machine_explore(2, 1);
	CHECK_OK(vmm_protect(space, PLACE, PAGE_SIZE, VM_READ));
	atomic_write_seq(&done, 1);
}

static void write_if_allowed(void *arg)
{
	put(PLACE, 1);
	machine_explore(2, 1);
	bool over = atomic_read_seq(&done);
	int signal = try_put(PLACE, 2);
	CHECK(signal == 11 || (signal == 0 && !over));
}

EXPLORED_TEST(pitfall_02_every_schedule_of_mprotect, 1, 93)
{
	begin(2, 0);
	map_at(space, PLACE, 1, RW, 0);
	RUN(space, take_right_away, write_if_allowed);
	pitfall_end(space);
}

/*
 * 3. The copy is installed last: when somebody could write to it already, nobody reads
 * the old page any more, whatever its CPU remembers.
 */
static uint64_t original;

static void write_copy(void *arg)
{
	machine_explore(3, 1);
	put(PLACE, 20);
	atomic_write_seq(&done, 1);
}

static void write_it_too(void *arg)
{
	machine_explore(3, 0);
	put(PLACE, 30);
	atomic_write_seq(&done, 1);
}

static void read_from_cache(void *arg)
{
	CHECK_EQ(get(PLACE), original);
	machine_explore(3, 0);
	bool written = atomic_read_seq(&done);
	CHECK(get(PLACE) != original || !written);
}

EXPLORED_TEST(pitfall_03_every_schedule_of_copying, 2, 1787)
{
	struct space *child = NULL;
	begin(3, 0);
	original = i ? 10 : 0;
	map_at(space, PLACE, 1, RW, 0);
	if (i) {
		put(PLACE, 10);
		CHECK_OK(vmm_space_fork(space, &child));
	}
	/* else: the page that is replaced is the zero page */
	RUN(space, write_copy, read_from_cache, write_it_too);
	if (child)
		vmm_space_put(child);
	pitfall_end(space);
}

/* The same for pages that nobody has asked for yet: a write in order replaces the zero page
 * in the next ones, too. */
static void write_in_order(void *arg)
{
	machine_explore(2, 1);
	put(AWAY + 4 * PAGE_SIZE, 20);
	put(AWAY + 6 * PAGE_SIZE, 21);
	atomic_write_seq(&done, 1);
}

static void read_ahead_of_it(void *arg)
{
	CHECK_EQ(get(AWAY + 6 * PAGE_SIZE), 0);
	machine_explore(2, 1);
	bool written = atomic_read_seq(&done);
	uint64_t value = get(AWAY + 6 * PAGE_SIZE);
	CHECK(value == 21 || (value == 0 && !written));
}

EXPLORED_TEST(pitfall_03_every_schedule_of_zeros_ahead, 1, 100)
{
	struct vmm_space_stats stats;
	begin(2, 0);
	map_at(space, AWAY, 8, RW, 0);
	for (unsigned p = 0; p < 8; p++)
		if (p < 4)
			put(AWAY + p * PAGE_SIZE, 10);
		else
			CHECK_EQ(get(AWAY + p * PAGE_SIZE), 0);
	RUN(space, write_in_order, read_ahead_of_it);
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.resident_npages, 8);
	pitfall_end(space);
}

/*
 * 6. A table goes from under a walk: whoever walks to it, or waits for its lock, finds
 * out, and it is not freed before.
 */
static void raze(void *arg)
{
	machine_explore(2, 1);
	unmap_at(space, AWAY, 2);
	vmm_drain(machine_vmm);
	map_at(space, AWAY, 1, RW, 0);
}

static void fault_there(void *arg)
{
	uint64_t value = 0;
	machine_explore(2, 1);
	for (unsigned p = 0; p < 2; p++)
		if (try_get(AWAY + p * PAGE_SIZE, &value) == 0)
			CHECK(value == 0 || value == 5);
}

static void raze_once(uint64_t i)
{
	begin(2, 0);
	map_at(space, AWAY, 2, RW, 0);
	put(AWAY, 5);
	RUN(space, raze, fault_there);
	pitfall_end(space);
}

/* Somebody promises a page in the table that is just going. */
static void raze_only(void *arg)
{
	machine_explore(2, 1);
	unmap_at(space, AWAY, 2);
}

static void map_beside(void *arg)
{
	machine_explore(2, 1);
	map_at(space, AWAY + 8 * PAGE_SIZE, 1, RW, 0);
	put(AWAY + 8 * PAGE_SIZE, 6);
}

static void raze_beside(uint64_t i)
{
	begin(2, 0);
	map_at(space, AWAY, 2, RW, 0);
	put(AWAY, 5);
	RUN(space, raze_only, map_beside);
	CHECK_EQ(get(AWAY + 8 * PAGE_SIZE), 6);
	pitfall_end(space);
}

/* And somebody gets the lock of a table that is gone, while its memory goes. */
static void raze_and_free(void *arg)
{
	machine_explore(2, 0);
	unmap_at(space, AWAY, 2);
	vmm_drain(machine_vmm);
}

static void fault_once(void *arg)
{
	uint64_t value;
	machine_explore(2, 2);
	(void)try_get(AWAY + PAGE_SIZE, &value); /* not there yet: a walk */
}

EXPLORED_TEST(pitfall_06_every_schedule_of_freeing_a_table, 1, 553)
{
	begin(2, 0);
	map_at(space, AWAY, 2, RW, 0);
	put(AWAY, 5);
	RUN(space, raze_and_free, fault_once);
	/* Tables again, where that one was: the slabs look whether anybody wrote there. */
	for (unsigned n = 0; n < 8; n++) {
		map_at(space, AWAY + n * HUGE_SIZE, 1, RW, 0);
		put(AWAY + n * HUGE_SIZE, n);
	}
	pitfall_end(space);
}

TEST(pitfall_06_every_schedule_of_razing_a_table)
{
	machine_each(1, raze_once);
	machine_expect_schedules(574);
	machine_each(1, raze_beside);
	machine_expect_schedules(320);
}

/* The other way round: a table is made under a page that somebody is about to look for
 * in the table above. */
static void make_table(void *arg)
{
	machine_explore(2, 1);
	put(AWAY, 5);
}

static void make_it_too(void *arg)
{
	machine_explore(2, 1);
	put(AWAY + PAGE_SIZE, 6);
	CHECK_EQ(get(AWAY + PAGE_SIZE), 6);
}

EXPLORED_TEST(pitfall_06_every_schedule_of_making_a_table, 1, 260)
{
	begin(2, 0);
	map_at(space, AWAY, 2, RW, 0);
	RUN(space, make_table, make_it_too);
	CHECK_EQ(get(AWAY), 5);
	CHECK_EQ(get(AWAY + PAGE_SIZE), 6);
	pitfall_end(space);
}

/*
 * 7. Who comes back to a space is told of flushes from then on, and forgets what came
 * before: nothing falls between. The MMU walks ahead as soon as a root is loaded.
 */
static void come_back(void *arg)
{
	uint64_t value;
	(void)get(PLACE);
	machine_set_space(NULL);
	machine_explore(2, 1);
	machine_set_space(space);
	bool over = atomic_read_seq(&done);
	int signal = try_get(PLACE, &value);
	CHECK(signal == 11 || (signal == 0 && !over && value == 7));
}

static void come_back_from_elsewhere(void *arg)
{
	uint64_t value;
	struct space *other;
	CHECK_OK(vmm_space_create(machine_vmm, &other));
	(void)get(PLACE);
	machine_set_space(other);
	machine_explore(2, 1);
	machine_set_space(space);
	bool over = atomic_read_seq(&done);
	int signal = try_get(PLACE, &value);
	CHECK(signal == 11 || (signal == 0 && !over && value == 7));
	vmm_space_put(other);
}

static void unmap_one(void *arg)
{
	put(PLACE, 7);
	machine_explore(2, 1);
	unmap_at(space, PLACE, 1);
	atomic_write_seq(&done, 1);
}

EXPLORED_TEST(pitfall_07_every_schedule_of_coming_back, 2, 266)
{
	begin(2, 100);
	map_at(space, PLACE, 2, RW, 0);
	put(PLACE, 7);
	if (i)
		RUN(space, come_back, unmap_one);
	else
		RUN(space, come_back_from_elsewhere, unmap_one);
	pitfall_end(space);
}

/* Two flushes at once, which reach a third CPU in either order: it may take the later
 * one for all there was only if it forgets everything. */
static void unmap_first(void *arg)
{
	machine_explore(3, 1);
	unmap_at(space, PLACE, 1);
}

static void unmap_second(void *arg)
{
	machine_explore(3, 0);
	unmap_at(space, AWAY, 1);
}

static void remember_both(void *arg)
{
	put(PLACE, 1);
	put(AWAY, 1);
	machine_explore(3, 0);
	for (unsigned n = 0; n < 2; n++) {
		uint64_t value;
		(void)try_get(PLACE, &value);
		(void)try_get(AWAY, &value);
	}
}

EXPLORED_TEST(pitfall_07_every_schedule_of_two_flushes, 1, 688)
{
	begin(3, 0);
	map_at(space, PLACE, 2, RW, 0);
	map_at(space, AWAY, 2, RW, 0);
	put(PLACE + PAGE_SIZE, 1);
	put(AWAY + PAGE_SIZE, 1);
	RUN(space, unmap_first, unmap_second, remember_both);
	pitfall_end(space);
}

/*
 * 8. A write that worked leaves its dirty bit, whatever mprotect does to the entry.
 */
static uint32_t wrote;

static void protect_there_and_back(void *arg)
{
	machine_explore(2, 1);
	CHECK_OK(vmm_protect(space, PLACE, PAGE_SIZE, VM_READ));
	CHECK_OK(vmm_protect(space, PLACE, PAGE_SIZE, RW));
}

static void make_dirty(void *arg)
{
	machine_explore(2, 1);
	if (try_put(PLACE, 5) == 0)
		wrote = 1;
}

EXPLORED_TEST(pitfall_08_every_schedule_of_a_dirty_bit, 1, 164)
{
	bool dirty = false;
	begin(2, 0);
	wrote = 0;
	make_object(&object, PLACE, 1);
	(void)get(PLACE); /* present and clean */
	RUN(space, protect_there_and_back, make_dirty);
	if (wrote) {
		CHECK(vmm_page_info(space, PLACE, NULL, NULL, &dirty));
		CHECK(dirty);
	}
	vm_object_put(object);
	pitfall_end(space);
}

/*
 * 10. Who shares a page reads what it was until the page is gone for it, though the
 * other owner is alone by then and writes.
 */
static struct space *sibling;

static void leave_it(void *arg)
{
	machine_set_space(sibling);
	machine_explore(3, 1);
	unmap_at(sibling, PLACE, 1);
}

static void read_what_it_was(void *arg)
{
	uint64_t value;
	machine_set_space(sibling);
	CHECK_EQ(get(PLACE), 10);
	machine_explore(3, 0);
	for (unsigned n = 0; n < 2; n++)
		if (try_get(PLACE, &value) == 0)
			CHECK_EQ(value, 10);
}

static void write_alone(void *arg)
{
	machine_explore(3, 0);
	put(PLACE, 11);
	put(PLACE, 12);
}

EXPLORED_TEST(pitfall_10_every_schedule_of_leaving_a_shared_page, 1, 205)
{
	begin(3, 0);
	map_at(space, PLACE, 2, RW, 0);
	put(PLACE, 10);
	put(PLACE + PAGE_SIZE, 10);
	CHECK_OK(vmm_space_fork(space, &sibling));
	RUN(space, leave_it, read_what_it_was, write_alone);
	CHECK_EQ(get(PLACE), 12);
	vmm_space_put(sibling);
	pitfall_end(space);
}

/*
 * 14. When mremap returns, and before anybody can free what it moved, nobody reaches
 * it at its old place: not who frees it at its new one, either.
 */
static void move_it(void *arg)
{
	vaddr_t out;
	machine_explore(2, 1);
	CHECK_OK(
	    vmm_move(space, PLACE, PAGE_SIZE, PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED, AWAY, &out));
	atomic_write_seq(&done, 1);
}

static void use_and_free(void *arg)
{
	put(PLACE, 1);
	machine_explore(2, 1);
	bool over = atomic_read_seq(&done);
	int signal = try_put(PLACE, 2);
	CHECK(signal == 11 || (signal == 0 && !over));
	unmap_at(space, AWAY, 1);
	(void)try_put(PLACE, 3);
}

EXPLORED_TEST(pitfall_14_every_schedule_of_mremap, 1, 390)
{
	begin(2, 0);
	map_at(space, PLACE, 2, RW, 0);
	put(PLACE + PAGE_SIZE, 1);
	map_at(space, AWAY, 2, RW, 0);
	put(AWAY + PAGE_SIZE, 1);
	RUN(space, move_it, use_and_free);
	pitfall_end(space);
}

/* The same for a whole table, which goes as it is: who has walked to it, and waits for its
 * lock, finds it elsewhere; what he had written before is there, too. */
#define TABLE_FROM (AWAY + 4 * HUGE_SIZE)
#define TABLE_TO   (AWAY + 9 * HUGE_SIZE)

static bool written_ahead;

static void move_table(void *arg)
{
	vaddr_t out;
	machine_explore(2, 1);
	CHECK_OK(vmm_move(space, TABLE_FROM, HUGE_SIZE, HUGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  TABLE_TO, &out));
	atomic_write_seq(&done, 1);
}

static void use_table(void *arg)
{
	put(TABLE_FROM, 1);
	machine_explore(2, 1);
	bool over = atomic_read_seq(&done);
	int signal = try_put(TABLE_FROM + 9 * PAGE_SIZE, 5); /* not touched before */
	CHECK(signal == 11 || (signal == 0 && !over));
	written_ahead = !signal;
	over = atomic_read_seq(&done);
	signal = try_put(TABLE_FROM, 2);
	CHECK(signal == 11 || (signal == 0 && !over));
}

static void free_table(void *arg)
{
	put(TABLE_FROM, 1);
	machine_explore(2, 1);
	unmap_at(space, TABLE_TO, PT_ENTRIES);
	(void)try_put(TABLE_FROM, 3);
}

static void move_table_once(uint64_t i)
{
	begin(2, 0);
	map_at(space, TABLE_FROM, PT_ENTRIES, RW, 0);
	put(TABLE_FROM, 1);
	put(TABLE_FROM + 3 * PAGE_SIZE, 4);
	if (i) { /* there is a table already */
		map_at(space, TABLE_TO, 2, RW, VM_NORESERVE);
		put(TABLE_TO, 8);
	}
	if (i < 2)
		RUN(space, move_table, use_table);
	else
		RUN(space, move_table, free_table);
	if (i < 2) {
		CHECK(get(TABLE_TO) == 1 || get(TABLE_TO) == 2);
		CHECK_EQ(get(TABLE_TO + 3 * PAGE_SIZE), 4);
		CHECK_EQ(get(TABLE_TO + 9 * PAGE_SIZE), written_ahead ? 5 : 0);
	}
	pitfall_end(space);
}

EXPLORED_TEST(pitfall_14_every_schedule_of_a_table_that_moves, 3, 1000)
{
	move_table_once(i);
}
