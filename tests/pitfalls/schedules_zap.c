/* SPDX-License-Identifier: MIT */
/*
 * Every schedule of small scenarios (schedules.c): pages of an object are taken back.
 *
 * Entries hold no reference to an object's page (I9). So whatever happens to mappings
 * meanwhile, when the page goes no entry and no translation of it may be left: the
 * machine looks at each frame that is freed, and the space is looked at in the end.
 */
#include "arch/x86_64/pte.h"
#include "base/atomic.h"
#include "tests/pitfalls/help.h"

static struct space *space;
static struct vm_object *object;
static uint32_t done;
static unsigned flags; /* of the mappings */

static void map_object(vaddr_t va, uint64_t page, uint64_t npages)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = va,
				   .bytes = npages * PAGE_SIZE,
				   .prot = RW,
				   .maxprot = 7,
				   .flags = flags | VM_FIXED,
				   .object = object,
				   .offset = page * PAGE_SIZE};
	CHECK_OK(vmm_map(space, &args, &out));
}

static void begin(unsigned ncpus, uint64_t npages, unsigned map_flags)
{
	machine_boot_explored(ncpus, 1, 0);
	space = pitfall_space();
	done = 0;
	flags = map_flags;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, npages * PAGE_SIZE, &object));
}

static uint64_t punches; /* else the object ends */

static void take_back(void *arg)
{
	machine_explore(2, 1);
	if (punches)
		CHECK_OK(vm_object_punch(object, 0, 2));
	else
		CHECK_OK(vm_object_resize(object, 0));
	atomic_write_seq(&done, 1);
}

/* A read after the end finds nothing, or a new page of zeroes. */
static void look(vaddr_t va, uint64_t before)
{
	uint64_t value = 0;
	bool over = atomic_read_seq(&done);
	int signal = try_get(va, &value);
	if (punches)
		CHECK(signal == 0 && (value == 0 || (!over && value == before)));
	else
		CHECK(signal == 7 || (signal == 0 && !over && value == before));
}

static void finish(void)
{
	CHECK(vmm_space_is_valid(space));
	vm_object_put(object);
	pitfall_end(space);
}

/* ---- against faults ---------------------------------------------------------------- */

static void fault_in(void *arg)
{
	machine_explore(2, 1);
	look(AWAY, 7);
	look(AWAY, 7);
}

SEEDED_TEST(pitfall_01_every_schedule_of_a_zap_and_a_fault, 4)
{
	begin(2, 2, i & 2 ? VM_SHARED : 0);
	punches = i & 1;
	uint64_t seven = 7, written;
	CHECK_OK(vm_object_write(object, 0, &seven, sizeof(seven), &written));
	map_object(AWAY, 0, 2);
	(void)get(AWAY + PAGE_SIZE); /* the table is there */
	RUN(space, take_back, fault_in);
	finish();
}

/* ---- against the end of a space ------------------------------------------------------- */

/* Three spaces: the zap is on its way from one to another that ends, and a CPU has been
 * in that one just now. */
static struct space *others[2];

static void end_one(void *arg)
{
	machine_set_space(others[0]);
	CHECK_EQ(get(AWAY), 7);
	machine_set_space(space);
	machine_explore(2, 1);
	vmm_space_put(others[0]);
}

SEEDED_TEST(pitfall_01_every_schedule_of_a_zap_and_an_end, 2)
{
	begin(2, 2, VM_SHARED);
	punches = i & 1;
	map_object(AWAY, 0, 2);
	put(AWAY, 7);
	for (unsigned n = 0; n < 2; n++)
		CHECK_OK(vmm_space_fork(space, &others[n]));
	RUN(space, take_back, end_one);
	vmm_space_put(others[1]);
	finish();
}

/* ---- against fork ------------------------------------------------------------------ */

static void fork_and_look(void *arg)
{
	struct space *child;
	for (unsigned p = 0; p < 2; p++)
		CHECK_EQ(get(AWAY + p * PAGE_SIZE), 7 + p);
	machine_explore(2, 1);
	CHECK_OK(vmm_space_fork(space, &child));
	machine_set_space(child);
	for (unsigned p = 0; p < 2; p++)
		look(AWAY + p * PAGE_SIZE, 7 + p);
	if (atomic_read_seq(&done)) /* nobody else is in it */
		CHECK(vmm_space_is_valid(child));
	machine_set_space(space);
	vmm_space_put(child);
}

SEEDED_TEST(pitfall_01_every_schedule_of_a_zap_and_a_fork, 4)
{
	begin(2, 2, i & 2 ? VM_SHARED : 0);
	punches = i & 1;
	for (uint64_t p = 0; p < 2; p++) {
		uint64_t value = 7 + p, written;
		CHECK_OK(vm_object_write(object, p * PAGE_SIZE, &value, sizeof(value), &written));
	}
	map_object(AWAY, 0, 2);
	RUN(space, take_back, fork_and_look);
	finish();
}

/* The zap may be past the child before the first entry is copied: its mapper is there,
 * and no run yet. */
static void others_go_on(void)
{
	machine_explore(2, 0);
}

static void fork_in_two_steps(void *arg)
{
	struct space *child;
	if (flags & VM_SHARED)
		(void)get(AWAY);
	else
		put(AWAY, 7); /* a private copy, which goes with the end of its file, too */
	inject_arm(INJECT_SLAB, 4, false); /* a space, a table, a mapper, a backing */
	inject_call(others_go_on);
	CHECK_OK(vmm_space_fork(space, &child));
	(void)inject_disarm();
	machine_set_space(child);
	look(AWAY, 7);
	wait_until(&done, 1);
	look(AWAY, 7);
	CHECK(vmm_space_is_valid(child));
	machine_set_space(space);
	vmm_space_put(child);
}

SEEDED_TEST(pitfall_01_every_schedule_of_a_zap_in_a_fork, 2)
{
	begin(2, 2, i ? VM_SHARED : 0);
	punches = 0;
	uint64_t seven = 7, written;
	CHECK_OK(vm_object_write(object, 0, &seven, sizeof(seven), &written));
	map_object(AWAY, 0, 2);
	RUN(space, take_back, fork_in_two_steps);
	finish();
}

/* ---- against mremap ------------------------------------------------------------------ */

/* Downwards, from what the zap has not seen yet to what it has, and upwards. */
static vaddr_t from, to;

static void move_it(void *arg)
{
	vaddr_t out;
	for (unsigned p = 0; p < 2; p++)
		CHECK_EQ(get(from + p * PAGE_SIZE), 7 + p);
	machine_explore(2, 1);
	CHECK_OK(vmm_move(space, from, 2 * PAGE_SIZE, 2 * PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  to, &out));
	for (unsigned p = 0; p < 2; p++)
		look(to + p * PAGE_SIZE, 7 + p);
}

SEEDED_TEST(pitfall_14_every_schedule_of_a_zap_and_mremap, 4)
{
	begin(2, 2, VM_SHARED);
	punches = i & 1;
	from = i & 2 ? AWAY : PLACE;
	to = i & 2 ? PLACE : AWAY;
	map_object(from, 0, 2);
	/* The place is in the box already: nobody has to come by because of it. */
	map_object(to, 0, 1);
	for (unsigned p = 0; p < 2; p++)
		put(from + p * PAGE_SIZE, 7 + p);
	RUN(space, take_back, move_it);
	finish();
}

/* A whole table moves, up or down past another mapping of the object, while the zap may
 * wait for its lock already: where it goes on does not depend on where the table is then. */
#define TABLE_LOW  ((vaddr_t)0x7f0000000000)
#define BETWEEN    (TABLE_LOW + 2 * HUGE_SIZE)
#define TABLE_HIGH (TABLE_LOW + 4 * HUGE_SIZE)

static void move_table(void *arg)
{
	vaddr_t out;
	CHECK_EQ(get(from), 7);
	CHECK_EQ(get(BETWEEN), 7);
	machine_explore(2, 1);
	CHECK_OK(
	    vmm_move(space, from, HUGE_SIZE, HUGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED, to, &out));
	look(to, 7);
	look(BETWEEN, 7);
	wait_until(&done, 1);
	look(to, 7);
	look(BETWEEN, 7);
}

SEEDED_TEST(pitfall_14_every_schedule_of_a_zap_and_a_table, 2)
{
	begin(2, PT_ENTRIES, VM_SHARED);
	punches = i;
	from = i ? TABLE_HIGH : TABLE_LOW;
	to = i ? TABLE_LOW : TABLE_HIGH;
	map_object(from, 0, PT_ENTRIES);
	map_object(BETWEEN, 0, 1);
	put(from, 7);
	RUN(space, take_back, move_table);
	finish();
}

/* ---- against munmap ------------------------------------------------------------------ */

/* The last two runs of a backing go at once, and with them the object. Both changes
 * have let go of it; the one that ends it has not flushed what the other took down. */
static void unmap_one(void *arg)
{
	put(PLACE, 7);
	machine_explore(3, 1);
	unmap_at(space, PLACE, 1);
}

static void unmap_other(void *arg)
{
	put(PLACE + 8 * PAGE_SIZE, 8);
	machine_explore(3, 1);
	unmap_at(space, PLACE + 8 * PAGE_SIZE, 1);
}

static void hold_both(void *arg)
{
	uint64_t value;
	put(PLACE, 7);
	put(PLACE + 8 * PAGE_SIZE, 8);
	machine_explore(3, 0);
	(void)try_get(PLACE, &value);
	(void)try_get(PLACE + 8 * PAGE_SIZE, &value);
}

SEEDED_TEST(pitfall_10_every_schedule_of_two_last_unmaps, 1)
{
	struct vm_object *other;
	begin(3, 16, VM_SHARED);
	/* Another one stays: giving back the memory of the last backing of all would flush. */
	other = object;
	map_object(AWAY, 0, 1);
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 16 * PAGE_SIZE, &object));
	map_object(PLACE, 0, 1);
	map_object(PLACE + 8 * PAGE_SIZE, 8, 1);
	map_at(space, PLACE + PAGE_SIZE, 1, RW, 0); /* the tables stay */
	map_at(space, PLACE + 7 * PAGE_SIZE, 1, RW, 0);
	put(PLACE + PAGE_SIZE, 1);
	put(PLACE + 7 * PAGE_SIZE, 1);
	vm_object_put(object);
	RUN(space, unmap_one, unmap_other, hold_both);
	vm_object_put(other);
	pitfall_end(space);
}

/* Who only looks at a mapping holds its backing, and may be the last. */
static void walk_areas(void *arg)
{
	struct vm_area area;
	machine_explore(3, 1);
	for (vaddr_t va = 0; vmm_next_area(space, va, &area); va = area.end)
		vm_area_done(&area);
}

static void unmap_it(void *arg)
{
	put(PLACE, 7);
	machine_explore(3, 1);
	unmap_at(space, PLACE, 1);
}

static void hold_it(void *arg)
{
	uint64_t value;
	put(PLACE, 7);
	machine_explore(3, 0);
	(void)try_get(PLACE, &value);
}

SEEDED_TEST(pitfall_10_every_schedule_of_an_unmap_and_a_look, 2)
{
	begin(3, 16, VM_SHARED);
	map_object(PLACE, 0, 1);
	map_at(space, PLACE + PAGE_SIZE, 1, RW, 0); /* the table stays */
	put(PLACE + PAGE_SIZE, 1);
	vm_object_put(object);
	if (i) /* who is reached by the flush first */
		RUN(space, walk_areas, unmap_it, hold_it);
	else
		RUN(space, walk_areas, hold_it, unmap_it);
	pitfall_end(space);
}

/* A zap that comes while a cut range waits for its flush. */
static void truncate_third(void *arg)
{
	machine_explore(3, 1);
	CHECK_OK(vm_object_resize(object, 0));
}

SEEDED_TEST(pitfall_10_every_schedule_of_a_zap_and_an_unmap, 2)
{
	begin(3, 1, VM_SHARED);
	map_object(PLACE, 0, 1);
	if (i) {
		map_at(space, PLACE + PAGE_SIZE, 1, RW, 0); /* else the table goes, too */
		put(PLACE + PAGE_SIZE, 1);
	}
	RUN(space, truncate_third, unmap_it, hold_it);
	finish();
}
