/* SPDX-License-Identifier: MIT */
/* mremap of much: whole tables, parts of tables, holes, what is at the target, failures. */
#include "base/util.h"
#include "tests/unit/vm_one.h"

#define RW   (VM_READ | VM_WRITE)
#define FROM ((vaddr_t)0x40000000)
#define TO   ((vaddr_t)0x7f0040000000)
#define MOST (4 * PT_ENTRIES)

static struct space *space;

static struct vmm_space_stats stats(void)
{
	struct vmm_space_stats s;
	vmm_space_stats(space, &s);
	return s;
}

static void map_rw(vaddr_t va, uint64_t npages, unsigned flags)
{
	map_at(space, va, npages, RW, flags);
}

/* Which pages of a mapping are written: every third, but for the second leaf of it. */
static bool is_written(uint64_t page)
{
	return page % 3 == 0 && page / PT_ENTRIES != 1;
}

static void write_pages(vaddr_t va, uint64_t npages, uint64_t salt)
{
	for (uint64_t p = 0; p < npages; p++) {
		uint64_t value = salt + p;
		if (is_written(p))
			CHECK(machine_access(va + p * PAGE_SIZE, MACHINE_WRITE, &value).ok);
	}
}

/* Looked at without touching what was not. */
static void check_pages(vaddr_t va, uint64_t npages, uint64_t salt)
{
	for (uint64_t p = 0; p < npages; p++) {
		uint64_t value = 0;
		bool there = vmm_page_info(space, va + p * PAGE_SIZE, NULL, NULL, NULL);
		CHECK_EQ(there, is_written(p));
		if (there)
			CHECK(machine_access(va + p * PAGE_SIZE, MACHINE_READ, &value).ok &&
			      value == salt + p);
	}
}

static void check_gone(vaddr_t va, uint64_t npages)
{
	uint64_t value;
	for (uint64_t p = 0; p < npages; p += 101)
		CHECK_EQ(machine_access(va + p * PAGE_SIZE, MACHINE_READ, &value).signal, 11);
}

/* One move of `npages` pages, `at` pages behind FROM, to `to`. */
static void move(uint64_t at, uint64_t npages, uint64_t new_npages, vaddr_t to, unsigned flags,
		 bool taken)
{
	vaddr_t va = FROM + at * PAGE_SIZE, out;
	map_rw(va - PAGE_SIZE, npages + 2, VM_DONTFORK); /* neighbours, of another kind */
	map_rw(va, npages, 0);
	CHECK_OK(vmm_advise(space, va, npages * PAGE_SIZE, VM_ADVICE_NOHUGE));
	write_pages(va, npages, 1000);
	if (taken) {
		map_rw(to - 5 * PAGE_SIZE, new_npages + 10, VM_NORESERVE);
		write_pages(to - 5 * PAGE_SIZE, new_npages + 10, 77);
	}
	CHECK_OK(vmm_move(space, va, npages * PAGE_SIZE, new_npages * PAGE_SIZE,
			  VM_MOVE_MAY | VM_MOVE_FIXED | flags, to, &out));
	CHECK(vmm_space_is_valid(space));
	CHECK_EQ(out, to);
	uint64_t common = npages < new_npages ? npages : new_npages;
	check_pages(to, common, 1000);
	uint64_t kept = (flags & VM_MOVE_DONTUNMAP) ? npages : 0;
	CHECK_EQ(stats().virt_npages, 2 + kept + new_npages + (taken ? 10 : 0));
	CHECK_EQ(stats().commit_npages, 2 + kept + new_npages);
	if (!kept)
		check_gone(va, npages);
	for (uint64_t p = common; p < new_npages; p += 50) {
		uint64_t value = 1;
		CHECK(machine_access(to + p * PAGE_SIZE, MACHINE_READ, &value).ok && !value);
	}
	vmm_space_clear(space);
	CHECK_EQ(stats().table_npages, 1); /* the root */
}

TEST(vm_move_tables_and_parts_of_them)
{
	static const uint64_t ats[] = {1, 0, 511, 200};
	static const uint64_t lengths[] = {512, 511, 1024, 1300, 2000};
	static const int64_t shifts[] = {0, 1, -7}; /* of the target, beside being alike */
	space = start();
	for (unsigned a = 0; a < ARRAY_COUNT(ats); a++)
		for (unsigned l = 0; l < ARRAY_COUNT(lengths); l++)
			for (unsigned s = 0; s < ARRAY_COUNT(shifts); s++) {
				uint64_t at = ats[a] + PT_ENTRIES, n = lengths[l];
				vaddr_t to = TO + (uint64_t)((int64_t)at + shifts[s]) * PAGE_SIZE;
				move(at, n, n, to, 0, (a + l) % 2);
				if ((a + l + s) % 3)
					continue;
				move(at, n, n + 700, to, 0, a % 2);
				move(at, n, n - 300, to, 0, l % 2);
				move(at, n, n, to, VM_MOVE_DONTUNMAP, l % 2);
			}
	/* The end of the target is inside a table. */
	move(PT_ENTRIES, 3 * PT_ENTRIES, 2 * PT_ENTRIES + 100, TO, 0, false);
	/* Beside itself. */
	move(PT_ENTRIES, PT_ENTRIES, PT_ENTRIES, FROM + 3 * HUGE_SIZE, 0, false);
	move(2 * PT_ENTRIES, 700, 700, FROM + HUGE_SIZE - 300 * PAGE_SIZE, 0, false);
	end(space);
}

/* A place that the kernel chooses is one to which tables can go: as many as there were are
 * there, and no page changed its entry. */
TEST(vm_move_chooses_a_place_for_tables)
{
	vaddr_t out, at = FROM + 37 * PAGE_SIZE;
	space = start();
	map_rw(at, MOST, 0);
	map_rw(at + MOST * PAGE_SIZE, 1, VM_NORESERVE); /* no room to grow */
	write_pages(at, MOST, 5);
	uint64_t tables = stats().table_npages;
	CHECK_OK(
	    vmm_move(space, at, MOST * PAGE_SIZE, (MOST + 40) * PAGE_SIZE, VM_MOVE_MAY, 0, &out));
	CHECK_EQ(out % HUGE_SIZE, at % HUGE_SIZE);
	CHECK(out + (MOST + 40) * PAGE_SIZE <= USER_TOP);
	CHECK(stats().table_npages <= tables + 5); /* on the way there, and both ends */
	check_pages(out, MOST, 5);
	end(space);
}

/* An object's pages go over with the table that maps them, and its end finds them there. */
TEST(vm_move_tables_of_an_object)
{
	struct vm_object *object;
	struct vm_map_args args = {.hint = FROM,
				   .bytes = 2 * HUGE_SIZE,
				   .prot = RW,
				   .maxprot = 7,
				   .flags = VM_SHARED | VM_FIXED};
	vaddr_t out;
	space = start();
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 2 * HUGE_SIZE, &object));
	args.object = object;
	CHECK_OK(vmm_map(space, &args, &out));
	write_pages(FROM, 2 * PT_ENTRIES, 9);
	CHECK_OK(vmm_move(space, FROM, 2 * HUGE_SIZE, 2 * HUGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  TO, &out));
	check_pages(TO, 2 * PT_ENTRIES, 9);
	CHECK(vmm_space_is_valid(space));
	CHECK_OK(vm_object_resize(object, PAGE_SIZE));
	CHECK_EQ(stats().resident_file, 1);
	uint64_t value;
	CHECK_EQ(machine_access(TO + 3 * PAGE_SIZE, MACHINE_READ, &value).signal, 7);
	vm_object_put(object);
	end(space);
}

/* Out of memory at any point: all of it is where it was. */
TEST(vm_move_of_tables_that_fails)
{
	vaddr_t out;
	uint64_t nth = 1;
	space = start();
	map_rw(FROM, MOST, 0);
	write_pages(FROM, MOST, 3);
	for (;; nth++) {
		uint64_t tables = stats().table_npages;
		inject_arm(INJECT_ALL, nth, true);
		mem_status status =
		    vmm_move(space, FROM, (MOST - 7) * PAGE_SIZE, (MOST - 7) * PAGE_SIZE,
			     VM_MOVE_MAY | VM_MOVE_FIXED, TO, &out);
		(void)inject_disarm();
		if (status == MEM_OK)
			break;
		CHECK_EQ(status, MEM_ENOMEM);
		CHECK_EQ(stats().table_npages, tables);
		CHECK(vmm_space_is_valid(space));
	}
	CHECK(nth > 3);
	check_pages(TO, MOST - 7, 3);
	end(space);
}
