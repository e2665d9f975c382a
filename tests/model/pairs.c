/* SPDX-License-Identifier: MIT */
/*
 * Two operations at once, each pair of a list, in every schedule with one preemption of
 * either (tests/machine/explore.c): what comes of them, answers, areas, totals and the
 * contents of each page, is what comes of doing one after the other, in one order or
 * the other; and every frame comes back.
 */
#include "base/atomic.h"
#include "tests/machine/boot.h"
#include "tests/machine/snapshot.h"
#include "tests/test.h"

/* Private pages across the border of two leaf tables; shared ones; a stack. */
#define PAGES     ((vaddr_t)0x80000000 - 2 * PAGE_SIZE)
#define LEAF_END  ((vaddr_t)0x80200000) /* of the second of them */
#define SHARED_AT ((vaddr_t)0x7f0000000000)
#define STACK     ((vaddr_t)0x7fff00000000)
#define DEEP      ((vaddr_t)0x7ffe00204000) /* a stack that grows over a whole leaf ... */
#define DEEP_LEAF ((vaddr_t)0x7ffe00000000) /* ... in which nobody can reach a page */
#define FAR       ((vaddr_t)0x500000000000)
#define RW        (VM_READ | VM_WRITE)

static struct space *space, *child;
static struct vm_object *object;
static uint64_t answers[2];

static mem_status map(vaddr_t va, uint64_t npages, unsigned flags, struct vm_object *what)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = va,
				   .bytes = npages * PAGE_SIZE,
				   .prot = RW,
				   .maxprot = 7,
				   .flags = VM_FIXED | flags,
				   .object = what};
	return vmm_map(space, &args, &out);
}

static uint64_t write_user(vaddr_t va, uint64_t value)
{
	return (uint64_t)machine_access(va, MACHINE_WRITE, &value).signal;
}

/* ---- the operations: each says what it was answered ----------------------------------- */

static uint64_t do_unmap(void)
{
	return vmm_unmap(space, PAGES + PAGE_SIZE, 2 * PAGE_SIZE);
}
static uint64_t do_protect(void)
{
	return vmm_protect(space, PAGES + PAGE_SIZE, 2 * PAGE_SIZE, VM_READ);
}
/* All of the second leaf and more; one page in it, which needs no other table's lock. */
static uint64_t do_unmap_wide(void)
{
	return vmm_unmap(space, PAGES + PAGE_SIZE, LEAF_END - PAGES);
}
static uint64_t do_replace_wide(void)
{
	return map(PAGES + PAGE_SIZE, (LEAF_END - PAGES) >> PAGE_SHIFT, VM_NORESERVE, NULL);
}
static uint64_t do_protect_last(void)
{
	return vmm_protect(space, PAGES + 3 * PAGE_SIZE, PAGE_SIZE, VM_READ);
}
static uint64_t do_move(void)
{
	vaddr_t out;
	return vmm_move(space, PAGES, 4 * PAGE_SIZE, 4 * PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			FAR, &out);
}
static uint64_t do_fork(void)
{
	return vmm_space_fork(space, &child);
}
static uint64_t do_drop(void)
{
	return vmm_advise(space, PAGES + PAGE_SIZE, PAGE_SIZE, VM_ADVICE_DONTNEED);
}
static uint64_t do_write(void)
{
	return write_user(PAGES + PAGE_SIZE, 77);
}
static uint64_t do_replace(void)
{
	return map(PAGES + PAGE_SIZE, 2, VM_NORESERVE, NULL);
}
static uint64_t do_kernel_write(void)
{
	uint64_t value = 55, done;
	return vmm_access(space, PAGES + PAGE_SIZE, &value, 8, true, false, &done);
}
static uint64_t do_dontfork(void)
{
	return vmm_advise(space, PAGES, 2 * PAGE_SIZE, VM_ADVICE_DONTFORK);
}
static uint64_t do_write_file(void)
{
	return write_user(SHARED_AT, 66);
}
static uint64_t do_truncate(void)
{
	return vm_object_resize(object, 16);
}
static uint64_t do_punch(void)
{
	return vm_object_punch(object, 0, 1);
}
static uint64_t do_file_write(void)
{
	uint64_t value = 44, done;
	return vm_object_write(object, PAGE_SIZE + 8, &value, 8, &done);
}
/* A read: growing and then writing are two steps. */
static uint64_t do_grow(void)
{
	uint64_t value;
	return (uint64_t)machine_access(STACK - 3 * PAGE_SIZE, MACHINE_READ, &value).signal;
}
static uint64_t do_map_below_stack(void)
{
	return map(STACK - 2 * PAGE_SIZE, 1, 0, NULL);
}
static uint64_t do_grow_deep(void)
{
	uint64_t value;
	return (uint64_t)machine_access(DEEP_LEAF + 100 * PAGE_SIZE, MACHINE_READ, &value).signal;
}
static uint64_t do_map_in_its_way(void)
{
	return map(DEEP_LEAF + 110 * PAGE_SIZE, 1, 0, NULL);
}
static uint64_t do_clear(void)
{
	vmm_space_clear(space);
	return 0;
}

static uint64_t (*const operations[])(void) = {
    do_unmap,           do_protect,    do_move,         do_fork,         do_drop,
    do_write,           do_replace,    do_dontfork,     do_write_file,   do_truncate,
    do_punch,           do_file_write, do_grow,         do_clear,        do_kernel_write,
    do_map_below_stack, do_unmap_wide, do_replace_wide, do_protect_last, do_grow_deep,
    do_map_in_its_way,
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* ---- what came of it -------------------------------------------------------------------- */

static uint64_t mix(uint64_t digest, uint64_t value)
{
	return (digest ^ value) * 0x100000001b3 + (value >> 29);
}

static uint64_t digest_space(uint64_t digest, struct space *of)
{
	struct vm_area area;
	struct vmm_space_stats stats;
	for (vaddr_t at = 0; vmm_next_area(of, at, &area); at = area.end) {
		digest = mix(mix(mix(digest, area.start), area.end), area.prot << 16 | area.flags);
		for (vaddr_t va = area.start; va < area.end; va += PAGE_SIZE)
			for (unsigned word = 0; word < 2; word++) {
				uint64_t value = 0, done;
				mem_status status =
				    vmm_access(of, va + 8 * word, &value, 8, false, true, &done);
				digest = mix(mix(digest, status), value);
			}
		vm_area_done(&area);
	}
	vmm_space_stats(of, &stats);
	digest = mix(mix(digest, stats.virt_npages), stats.commit_npages);
	return mix(mix(digest, stats.stack_npages), stats.data_npages);
}

static uint64_t digest_all(void)
{
	uint64_t digest = mix(mix(1, answers[0]), answers[1]);
	digest = mix(digest_space(digest, space), vm_object_bytes(object));
	return child ? digest_space(digest, child) : digest;
}

/* ---- one pair ------------------------------------------------------------------------------ */

/* The pairs of the test that runs, and which of them this process is about. */
static unsigned pairs[OPERATIONS * OPERATIONS][2], pair_count;
static const unsigned *pair;

static void add_pair(unsigned first, unsigned second)
{
	pairs[pair_count][0] = first;
	pairs[pair_count++][1] = second;
}

static void run_one(unsigned which)
{
	answers[which] = operations[pair[which]]();
}

static void first_thread(void *arg)
{
	machine_explore(2, 1);
	run_one(0);
}

static void second_thread(void *arg)
{
	machine_explore(2, 1);
	run_one(1);
}

static void both(void *arg)
{
	unsigned first = (unsigned)(uintptr_t)arg;
	run_one(first);
	run_one(1 - first);
}

static void build(void)
{
	struct vmm_space_limits limits = {UINT64_MAX, UINT64_MAX, 500, UINT64_MAX, 65530};
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	vmm_space_set_limits(space, &limits);
	machine_set_space(space);
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 2 * PAGE_SIZE, &object));
	CHECK_OK(map(PAGES, 4, 0, NULL));
	CHECK_OK(map(SHARED_AT, 2, VM_SHARED, object));
	CHECK_OK(map(STACK, 1, VM_GROWSDOWN, NULL));
	CHECK_OK(map(DEEP, 1, VM_GROWSDOWN, NULL));
	CHECK_OK(map(DEEP_LEAF + 99 * PAGE_SIZE, 1, 0, NULL));
	CHECK_EQ(write_user(DEEP_LEAF + 99 * PAGE_SIZE, 31), 0);
	CHECK_OK(vmm_protect(space, DEEP_LEAF + 99 * PAGE_SIZE, PAGE_SIZE, VM_NONE));
	for (unsigned p = 0; p < 3; p++)
		CHECK_EQ(write_user(PAGES + p * PAGE_SIZE, 10 + p), 0);
	for (unsigned p = 0; p < 2; p++)
		CHECK_EQ(write_user(SHARED_AT + p * PAGE_SIZE, 20 + p), 0);
	CHECK_EQ(write_user(STACK, 30), 0);
	child = NULL;
}

static uint64_t outcome(void)
{
	machine_join();
	machine_explore_end();
	CHECK(vmm_is_valid(machine_vmm));
	return digest_all();
}

static void take_down(uint64_t frames_before)
{
	machine_set_space(NULL);
	if (child)
		vmm_space_put(child);
	vmm_space_put(space);
	vm_object_put(object);
	CHECK(vmm_is_valid(machine_vmm));
	CHECK_EQ(machine_frames_at_rest(), frames_before);
}

/* One after the other, both ways, for what may come of it; then at once. */
static void run_pair(uint64_t i)
{
	pair = pairs[i];
	machine_boot_explored(2, 1, 0);
	uint64_t before = machine_frames_at_rest();
	build();
	for (unsigned first = 0; first < 2; first++)
		if (snapshot_branch()) {
			machine_spawn(both, (void *)(uintptr_t)first, space);
			machine_totals[first] = outcome();
			take_down(before);
			snapshot_return();
		}
	machine_spawn(first_thread, NULL, space);
	machine_spawn(second_thread, NULL, space);
	uint64_t digest = outcome();
	if (digest != machine_totals[0] && digest != machine_totals[1])
		machine_die("operations %u and %u, answered %llu and %llu: neither order does that",
			    pair[0], pair[1], (unsigned long long)answers[0],
			    (unsigned long long)answers[1]);
	take_down(before);
}

static unsigned number_of(uint64_t (*operation)(void))
{
	unsigned i = 0;
	while (operations[i] != operation)
		i++;
	return i;
}

/* Pairs in which something was found once, for those who have no time for all. */
TEST(pairs_with_a_history)
{
	/* Looked for pages, then dropped others. */
	add_pair(number_of(do_move), number_of(do_drop));
	/* Went round while the other let go. */
	add_pair(number_of(do_kernel_write), number_of(do_kernel_write));
	/* Counted the areas of a table, then let others change it, then took it out. */
	add_pair(number_of(do_unmap_wide), number_of(do_protect_last));
	add_pair(number_of(do_replace_wide), number_of(do_protect_last));
	/* Grew a stack over a table that others could still change. */
	add_pair(number_of(do_grow_deep), number_of(do_map_in_its_way));
	machine_each(pair_count, run_pair);
	machine_expect_schedules(1087);
}

TEST(pairs_of_operations)
{
	for (unsigned a = 0; a < OPERATIONS; a++)
		for (unsigned b = a; b < OPERATIONS; b++)
			if (a != b || operations[a] != do_fork) /* one child is looked at */
				add_pair(a, b);
	machine_each(pair_count, run_pair);
	test_note("%u pairs of %u operations", pair_count, (unsigned)OPERATIONS);
	machine_expect_schedules(72587);
}
