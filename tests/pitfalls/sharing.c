/* SPDX-License-Identifier: MIT */
/* Pitfalls of sharing, addresses and sizes: 12 to 16, 18. */
#include "base/atomic.h"
#include "tests/pitfalls/help.h"

#define SEEDS 40

static struct space *space;
static uint32_t stop;

/*
 * 12. A frame is written in place only if its count says that it is ours alone,
 * read under the lock that sharing it would need. A count never wraps: it refuses,
 * and fork copies. (Counts of eight bits have been seen in the wild.)
 */
TEST(pitfall_12_only_exclusive_frames_are_reused)
{
	struct space *child[2];
	paddr_t before, after;
	space = pitfall_begin(1, 0);
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 1);
	CHECK(vmm_page_info(space, PLACE, &before, NULL, NULL));
	CHECK_OK(vmm_space_fork(space, &child[0]));
	CHECK_EQ(frame_count(machine_pmm, before), 2);
	put(PLACE, 2); /* not alone: a copy */
	CHECK(vmm_page_info(space, PLACE, &after, NULL, NULL));
	CHECK(after != before);
	CHECK_EQ(frame_count(machine_pmm, before), 1);
	machine_set_space(child[0]);
	CHECK_EQ(get(PLACE), 1);
	put(PLACE, 3); /* alone now: in place */
	CHECK(vmm_page_info(child[0], PLACE, &after, NULL, NULL));
	CHECK_EQ(after, before);
	/* A count that would overflow: fork copies the page at once. */
	inject_arm(INJECT_COUNTS, 1, true);
	CHECK_OK(vmm_space_fork(child[0], &child[1]));
	CHECK(inject_failures() > 0);
	(void)inject_disarm();
	CHECK_EQ(frame_count(machine_pmm, before), 1);
	machine_set_space(child[1]);
	CHECK_EQ(get(PLACE), 3);
	put(PLACE, 4);
	machine_set_space(child[0]);
	CHECK_EQ(get(PLACE), 3);
	machine_set_space(NULL);
	vmm_space_put(child[0]);
	vmm_space_put(child[1]);
	pitfall_end(space);
}

TEST(pitfall_12_counts_refuse_to_overflow)
{
	space = pitfall_begin(1, 0);
	paddr_t pa = pmm_alloc(machine_pmm, 0, 0);
	CHECK(pa != PADDR_NONE);
	frame_init(machine_pmm, pa, FRAME_ANON, NULL);
	/* More owners than there can be: each has a table, or a thread. pmm_counts_refuse_
	 * to_overflow goes to the end. */
	for (uint32_t n = 1; n < (1u << 21); n++)
		CHECK_OK(frame_get(machine_pmm, pa));
	CHECK_EQ(frame_count(machine_pmm, pa), 1u << 21);
	for (uint32_t n = 1; n < (1u << 21); n++)
		CHECK(!frame_put(machine_pmm, pa));
	CHECK(frame_put(machine_pmm, pa));
	pmm_free(machine_pmm, pa, 0);
	pitfall_end(space);
}

/*
 * 13. A write fault that is tried again is still a write fault: nothing is
 * inferred from an earlier try. Between two tries the copy that was made can have
 * been shared again by another fork.
 */
static void write_for_ever(void *arg)
{
	for (uint64_t n = 1; !atomic_read_acquire(&stop); n++)
		put(PLACE, n);
}

static void fork_and_fork(void *arg)
{
	for (int round = 0; round < 12; round++) {
		struct space *child;
		CHECK_OK(vmm_space_fork(space, &child));
		machine_set_space(child);
		uint64_t first = get(PLACE);
		pause_for(machine_random_below(50));
		CHECK_EQ(get(PLACE), first);
		machine_set_space(space);
		vmm_space_put(child);
	}
	atomic_write_release(&stop, 1);
}

static void run_pitfall_13_retried_writes_stay_writes(uint64_t i)
{
	space = pitfall_begin(3, i);
	stop = 0;
	map_at(space, PLACE, 1, RW, 0);
	RUN(space, write_for_ever, fork_and_fork);
	pitfall_end(space);
}

/* The same when the retry is for want of memory. */
static void retry_for_memory(uint64_t n)
{
	struct space *child;
	space = pitfall_begin(1, n);
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 1);
	CHECK_OK(vmm_space_fork(space, &child));
	inject_arm(INJECT_FRAMES, n + 1, false);
	put(PLACE, 2);
	(void)inject_disarm();
	machine_set_space(child);
	CHECK_EQ(get(PLACE), 1);
	machine_set_space(space);
	CHECK_EQ(get(PLACE), 2);
	vmm_space_put(child);
	pitfall_end(space);
}

TEST_TIMED(pitfall_13_retried_writes_stay_writes, 120)
{
	machine_each(SEEDS, run_pitfall_13_retried_writes_stay_writes);
	machine_each(5, retry_for_memory);
}

/* And for the kernel's own writes to a program's page: made ours, shared again by a fork,
 * found to be shared: made ours once more, and only then written to. */
static void write_as_kernel(void *arg)
{
	uint64_t value = 20, done;
	machine_explore(2, 1);
	CHECK_OK(vmm_access(space, PLACE, &value, 8, true, false, &done));
	atomic_write_seq(&stop, 1);
}

static void fork_and_wait(void *arg)
{
	struct space *child;
	machine_explore(2, 1);
	CHECK_OK(vmm_space_fork(space, &child));
	machine_set_space(child);
	uint64_t first = get(PLACE);
	wait_until(&stop, 1);
	CHECK_EQ(get(PLACE), first);
	machine_set_space(space);
	vmm_space_put(child);
	CHECK_EQ(get(PLACE), 20);
}

EXPLORED_TEST(pitfall_13_every_schedule_of_a_kernel_write, 1, 468)
{
	machine_boot_explored(2, 1, 0);
	space = pitfall_space();
	stop = 0;
	map_at(space, PLACE, 1, RW, 0);
	put(PLACE, 10);
	RUN(space, write_as_kernel, fork_and_wait);
	pitfall_end(space);
}

/*
 * 14. mremap flushes before it lets go of either range. (CVE-2018-18281: the
 * pages were already reachable, and freeable, at their new place while a CPU
 * still used the old one.)
 */
static void use_old_place(void *arg)
{
	uint64_t value;
	while (!atomic_read_acquire(&stop))
		for (unsigned p = 0; p < 4; p++)
			if (try_put(PLACE + p * PAGE_SIZE, 9) == 0)
				(void)try_get(PLACE + p * PAGE_SIZE, &value);
}

static void free_new_place(void *arg)
{
	while (!atomic_read_acquire(&stop))
		unmap_at(space, AWAY, 4);
}

static void move_to_and_fro(void *arg)
{
	for (int i = 0; i < 10; i++) {
		vaddr_t out;
		map_at(space, PLACE, 4, RW, 0);
		for (unsigned p = 0; p < 4; p++)
			put(PLACE + p * PAGE_SIZE, p);
		CHECK_OK(vmm_move(space, PLACE, 4 * PAGE_SIZE, 4 * PAGE_SIZE,
				  VM_MOVE_MAY | VM_MOVE_FIXED, AWAY, &out));
		CHECK_EQ(out, AWAY);
		CHECK_EQ(try_put(PLACE, 1), 11);
	}
	atomic_write_release(&stop, 1);
}

SEEDED_TEST(pitfall_14_mremap_flushes_under_both_locks, SEEDS)
{
	space = pitfall_begin(4, i);
	stop = 0;
	RUN(space, use_old_place, free_new_place, move_to_and_fro);
	pitfall_end(space);
}

/*
 * 15. One checked constructor makes all ranges: lengths that round to zero, ranges
 * that wrap or leave the user half, offsets that overflow are refused by every
 * call, and change nothing.
 */
static const struct {
	vaddr_t va;
	uint64_t bytes;
} bad_ranges[] = {
    {PLACE, 0},
    {PLACE + 1, PAGE_SIZE},
    {PLACE, UINT64_MAX},
    {PLACE, UINT64_MAX - PAGE_MASK + 1},
    {PLACE, UINT64_MAX - PLACE + 1},
    {UINT64_MAX - PAGE_MASK, PAGE_SIZE},
    {UINT64_MAX - PAGE_MASK, 2 * PAGE_SIZE},
    {0x0000800000000000, PAGE_SIZE},
    {0x0000800000000000 - PAGE_SIZE, PAGE_SIZE},
    {0x0000800000000000 - 2 * PAGE_SIZE, 2 * PAGE_SIZE},
    {0xffff800000000000, PAGE_SIZE},
    {PLACE, (uint64_t)1 << 47},
    {PLACE, (uint64_t)1 << 63},
};

TEST(pitfall_15_every_call_checks_its_range)
{
	space = pitfall_begin(1, 0);
	map_at(space, PLACE, 2, RW, 0);
	put(PLACE, 42);
	for (unsigned i = 0; i < sizeof(bad_ranges) / sizeof(bad_ranges[0]); i++) {
		vaddr_t va = bad_ranges[i].va, out;
		uint64_t bytes = bad_ranges[i].bytes;
		struct vm_map_args args = {
		    .hint = va, .bytes = bytes, .prot = RW, .maxprot = 7, .flags = VM_FIXED};
		CHECK(vmm_map(space, &args, &out) != MEM_OK);
		CHECK(vmm_unmap(space, va, bytes) != MEM_OK);
		CHECK(vmm_move(space, va, bytes, bytes, VM_MOVE_MAY, 0, &out) != MEM_OK);
		CHECK(vmm_move(space, PLACE, PAGE_SIZE, bytes, VM_MOVE_MAY | VM_MOVE_FIXED, va,
			       &out) != MEM_OK);
		if (!bytes)
			continue; /* these two accept nothing to do, as Linux does */
		CHECK(vmm_protect(space, va, bytes, VM_READ) != MEM_OK);
		CHECK(vmm_advise(space, va, bytes, VM_ADVICE_DONTFORK) != MEM_OK);
	}
	struct vm_object *object;
	vaddr_t out;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, PAGE_SIZE, &object));
	struct vm_map_args args = {.hint = AWAY,
				   .bytes = 2 * PAGE_SIZE,
				   .prot = RW,
				   .maxprot = 7,
				   .flags = VM_FIXED | VM_SHARED,
				   .object = object};
	args.offset = UINT64_MAX - PAGE_MASK;
	CHECK(vmm_map(space, &args, &out) != MEM_OK);
	args.offset = (uint64_t)1 << 63;
	CHECK(vmm_map(space, &args, &out) != MEM_OK);
	args.offset = 1;
	CHECK(vmm_map(space, &args, &out) != MEM_OK);
	CHECK(vm_object_resize(object, UINT64_MAX) != MEM_OK);
	CHECK_EQ(vm_object_bytes(object), PAGE_SIZE);
	vm_object_put(object);
	CHECK_EQ(get(PLACE), 42);
	struct vm_area area;
	CHECK(vmm_next_area(space, 0, &area));
	CHECK_EQ(area.start, PLACE);
	CHECK_EQ(area.end, PLACE + 2 * PAGE_SIZE);
	vm_area_done(&area);
	CHECK(!vmm_next_area(space, area.end, &area));
	pitfall_end(space);
}

/*
 * 16. A stack that grows changes the structure of the space: it is checked against
 * the neighbours on both sides and the guard gap, under the lock that a mapping
 * would need.
 */
static struct vmm_space_limits stack_limit = {UINT64_MAX, UINT64_MAX, 1000, UINT64_MAX, 65530};

static void map_below(void *arg)
{
	/* Somebody maps into the room that the stack is about to take. */
	pause_for(machine_random_below(60));
	map_at(space, AWAY - 400 * PAGE_SIZE, 1, RW, 0);
}

static void map_between(void *arg)
{
	pause_for(machine_random_below(60));
	map_at(space, AWAY - 100 * PAGE_SIZE, 1, VM_READ, 0);
}

static void grow(void *arg)
{
	pause_for(machine_random_below(60));
	(void)try_put(AWAY - 200 * PAGE_SIZE, 1);
}

static void grow_alone(uint64_t i)
{
	space = pitfall_begin(1, i);
	vmm_space_set_limits(space, &stack_limit);
	map_at(space, AWAY, 4, RW, VM_GROWSDOWN);
	map_at(space, AWAY - 600 * PAGE_SIZE, 1, RW, 0);
	put(AWAY - 10 * PAGE_SIZE, 1);
	put(AWAY - 343 * PAGE_SIZE, 2); /* 256 free pages are left below it */
	CHECK_EQ(try_put(AWAY - 344 * PAGE_SIZE, 3), 11);
	CHECK_EQ(try_put(AWAY - 599 * PAGE_SIZE, 3), 11);
	unmap_at(space, AWAY - 600 * PAGE_SIZE, 1);
	put(AWAY - 344 * PAGE_SIZE, 3);
	CHECK_EQ(try_put(AWAY - 997 * PAGE_SIZE, 3), 11); /* the limit */
	put(AWAY - 996 * PAGE_SIZE, 3);
	pitfall_end(space);
}

static void grow_in_a_race(uint64_t i)
{
	struct vm_area low, stack;
	space = pitfall_begin(3, i);
	vmm_space_set_limits(space, &stack_limit);
	map_at(space, AWAY, 4, RW, VM_GROWSDOWN);
	RUN(space, grow, map_below);
	CHECK(vmm_next_area(space, 0, &low));
	CHECK(vmm_next_area(space, low.end, &stack));
	/* The stack grew before the other came, or not at all: fixed mappings may come
	 * close, growth may not. */
	CHECK_EQ(low.start, AWAY - 400 * PAGE_SIZE);
	CHECK(stack.start == AWAY || stack.start == AWAY - 200 * PAGE_SIZE);
	vm_area_done(&low);
	vm_area_done(&stack);
	pitfall_end(space);
}

/* Somebody maps a page above the one that the stack is to grow to. */
static void grow_over_a_neighbour(uint64_t i)
{
	struct vm_area area;
	space = pitfall_begin(3, i);
	vmm_space_set_limits(space, &stack_limit);
	map_at(space, AWAY, 4, RW, VM_GROWSDOWN);
	RUN(space, grow, map_between);
	CHECK(vmm_space_is_valid(space));
	CHECK(vmm_next_area(space, AWAY - 100 * PAGE_SIZE, &area));
	CHECK_EQ(area.start, AWAY - 100 * PAGE_SIZE);
	CHECK_EQ(area.prot, VM_READ);
	vm_area_done(&area);
	pitfall_end(space);
}

/* A mapping that looks for room stays out of the gap, whatever its limit. */
static void search_near_a_stack(uint64_t i)
{
	vaddr_t out;
	space = pitfall_begin(1, i);
	map_at(space, AWAY, 4, RW, VM_GROWSDOWN);
	for (unsigned below = 0; below < 300; below += 50) {
		struct vm_map_args args = {.bytes = PAGE_SIZE,
					   .prot = RW,
					   .maxprot = 7,
					   .limit = AWAY - below * PAGE_SIZE};
		CHECK_OK(vmm_map(space, &args, &out));
		CHECK(out + PAGE_SIZE <= AWAY - 256 * PAGE_SIZE);
	}
	/* Nor does a hole that opens right below the stack become room. */
	vaddr_t limit = AWAY + 2 * PAGE_SIZE, beside = AWAY - 20 * PAGE_SIZE;
	struct vm_map_args args = {.bytes = PAGE_SIZE, .prot = RW, .maxprot = 7, .limit = limit};
	map_at(space, beside, 20, RW, 0);
	CHECK_OK(vmm_map(space, &args, &out));
	CHECK_EQ(out, beside - PAGE_SIZE); /* beside what is there already, it may be */
	unmap_at(space, out, 21);
	args.bytes = 4 * PAGE_SIZE;
	CHECK_OK(vmm_map(space, &args, &out));
	CHECK(out + 4 * PAGE_SIZE <= AWAY - 256 * PAGE_SIZE);
	pitfall_end(space);
}

TEST_TIMED(pitfall_16_stacks_keep_their_guard_gap, 120)
{
	machine_each(1, grow_alone);
	machine_each(1, search_near_a_stack);
	machine_each(SEEDS, grow_in_a_race);
	machine_each(SEEDS, grow_over_a_neighbour);
}

/*
 * 18. A call that fails half way leaves nothing behind: what it needs is reserved
 * first. Cutting the middle out of a mapping needs memory for the second half.
 */
static mem_status change_the_middle(uint64_t kind)
{
	vaddr_t middle = AWAY + 50 * PAGE_SIZE;
	switch (kind) {
	case 0:
		return vmm_unmap(space, middle, PAGE_SIZE);
	case 1:
		return vmm_protect(space, middle, PAGE_SIZE, VM_READ);
	default:
		return vmm_advise(space, middle, PAGE_SIZE, VM_ADVICE_DONTFORK);
	}
}

static void fail_in_the_middle(uint64_t i)
{
	struct vm_area area;
	uint64_t kind = i % 3, n = 1 + i / 3;
	space = pitfall_begin(1, i);
	for (unsigned p = 0; p < 12; p++)
		map_at(space, PLACE + p * PAGE_SIZE, 1, p % 2 ? RW : VM_READ, 0);
	map_at(space, AWAY, 100, RW, 0);
	put(AWAY + 50 * PAGE_SIZE, 5);
	inject_arm(INJECT_ALL, n, true);
	mem_status status = change_the_middle(kind);
	uint64_t failures = inject_failures();
	(void)inject_disarm();
	machine_totals[failures ? 0 : 1]++;
	if (status != MEM_OK) {
		CHECK_EQ(status, MEM_ENOMEM);
		CHECK(vmm_next_area(space, AWAY, &area));
		CHECK_EQ(area.start, AWAY);
		CHECK_EQ(area.end, AWAY + 100 * PAGE_SIZE);
		CHECK_EQ(area.flags & VM_DONTFORK, 0);
		vm_area_done(&area);
		put(AWAY + 50 * PAGE_SIZE, get(AWAY + 50 * PAGE_SIZE) + 1);
	}
	pitfall_end(space);
}

TEST_TIMED(pitfall_18_failures_change_nothing, 120)
{
	machine_each(30, fail_in_the_middle);
	CHECK(machine_totals[0] >= 3); /* each kind has something that can fail */
	CHECK(machine_totals[1] >= 3); /* and the last of each has run to its end */
}
