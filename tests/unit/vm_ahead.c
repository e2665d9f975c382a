/* SPDX-License-Identifier: MIT */
/* Anonymous memory ahead of need: how much of it, and where none. */
#include <mem/pmm.h>

#include "tests/unit/vm_one.h"

#define BASE ((vaddr_t)0x40000000)
#define RW   (VM_READ | VM_WRITE)

static struct space *space;

static void touch(vaddr_t va, enum machine_access access)
{
	uint64_t value = 0;
	CHECK(machine_access(va, access, &value).ok);
	CHECK_EQ(value, 0);
}

static bool present(vaddr_t va)
{
	return vmm_page_info(space, va, NULL, NULL, NULL);
}

static uint64_t resident(void)
{
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	return stats.resident_npages;
}

/* Pages that are there, from va on. */
static unsigned present_from(vaddr_t va)
{
	unsigned n = 0;
	while (present(va + n * PAGE_SIZE))
		n++;
	return n;
}

static void touch_in_order(vaddr_t va, unsigned npages, enum machine_access access)
{
	for (unsigned i = 0; i < npages; i++)
		touch(va + i * PAGE_SIZE, access);
}

TEST(vm_ahead_doubles_to_64_kib)
{
	static const unsigned then[] = {1, 2, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16, 32};
	static const enum machine_access accesses[] = {MACHINE_WRITE, MACHINE_READ};
	space = start();
	for (unsigned a = 0; a < 2; a++) {
		vaddr_t va = BASE + (300 * a + 1) * PAGE_SIZE;
		map_at(space, va, 100, RW, 0);
		for (unsigned i = 0; i < sizeof(then) / sizeof(then[0]); i++) {
			touch(va + i * PAGE_SIZE, accesses[a]);
			CHECK_EQ(present_from(va), then[i]);
		}
		touch_in_order(va, 49, accesses[a]);
		CHECK_EQ(present_from(va), 64);
		CHECK_EQ(resident(), 64 + a);              /* zeros do not count */
		touch(va + 99 * PAGE_SIZE, MACHINE_WRITE); /* out of order */
		CHECK_EQ(present_from(va), 64);
	}
	end(space);
}

/* Neither beyond the run, on either side, nor beyond what is there already, nor into the
 * next leaf. */
TEST(vm_ahead_knows_its_borders)
{
	space = start();
	map_at(space, BASE, 8, RW, 0);
	map_at(space, BASE + 8 * PAGE_SIZE, 8, RW, VM_NORESERVE);
	touch_in_order(BASE, 8, MACHINE_WRITE);
	CHECK_EQ(present_from(BASE), 8);
	touch(BASE + 8 * PAGE_SIZE, MACHINE_WRITE); /* the first of its run */
	touch(BASE + 9 * PAGE_SIZE, MACHINE_WRITE);
	CHECK_EQ(present_from(BASE), 10);
	touch(BASE + 13 * PAGE_SIZE, MACHINE_READ);
	touch(BASE + 10 * PAGE_SIZE, MACHINE_WRITE);
	touch(BASE + 12 * PAGE_SIZE, MACHINE_WRITE); /* 4 below it; page 13 is another's */
	CHECK_EQ(present_from(BASE), 14);
	CHECK_EQ(resident(), 13);
	map_at(space, BASE + 100 * PAGE_SIZE, 7, RW, 0);
	map_at(space, BASE + 107 * PAGE_SIZE, 8, RW, VM_NORESERVE);
	touch_in_order(BASE + 100 * PAGE_SIZE, 5, MACHINE_WRITE);
	CHECK_EQ(present_from(BASE + 100 * PAGE_SIZE), 7);
	vaddr_t border = BASE + HUGE_SIZE;
	map_at(space, border - 11 * PAGE_SIZE, 40, RW, 0);
	touch_in_order(border - 11 * PAGE_SIZE, 9, MACHINE_WRITE);
	CHECK_EQ(present_from(border - 11 * PAGE_SIZE), 11);
	end(space);
}

TEST(vm_ahead_where_it_is_not_wanted)
{
	static const enum vm_advice advices[] = {VM_ADVICE_RANDOM, VM_ADVICE_NOHUGE,
						 VM_ADVICE_ONFAULT};
	space = start();
	for (unsigned a = 0; a < 3; a++)
		for (unsigned access = MACHINE_READ; access <= MACHINE_WRITE; access++) {
			map_at(space, BASE, 64, RW, 0);
			CHECK_OK(vmm_advise(space, BASE, 64 * PAGE_SIZE, advices[a]));
			touch_in_order(BASE, 20, (enum machine_access)access);
			CHECK_EQ(present_from(BASE), 20);
			CHECK_OK(vmm_unmap(space, BASE, 64 * PAGE_SIZE));
		}
	/* Here and there. */
	map_at(space, BASE, 64, RW, 0);
	for (unsigned i = 0; i < 64; i += 2)
		touch(BASE + i * PAGE_SIZE, MACHINE_WRITE);
	CHECK_EQ(resident(), 32);
	/* The kernel looks at one page, as a debugger does. */
	uint64_t value = 0, done;
	CHECK_OK(vmm_advise(space, BASE, 64 * PAGE_SIZE, VM_ADVICE_DONTNEED));
	for (unsigned i = 0; i < 16; i++)
		CHECK_OK(vmm_access(space, BASE + i * PAGE_SIZE, &value, 8, true, i % 2, &done));
	CHECK_EQ(resident(), 16);
	end(space);
}

/* A page that is read before it is written says nothing of the next; but zeros that were
 * read in order are replaced in order. */
TEST(vm_ahead_counts_the_like)
{
	struct vmm_space_stats before, after;
	space = start();
	map_at(space, BASE, 64, RW, 0);
	for (unsigned i = 0; i < 16; i++) {
		touch(BASE + i * PAGE_SIZE, MACHINE_READ);
		touch(BASE + i * PAGE_SIZE, MACHINE_WRITE);
		CHECK_EQ(present_from(BASE), i + 1);
	}
	touch_in_order(BASE, 32, MACHINE_READ);
	uint64_t were = present_from(BASE);
	CHECK_EQ(resident(), 16);
	vmm_space_stats(space, &before);
	touch_in_order(BASE, 32, MACHINE_WRITE);
	vmm_space_stats(space, &after);
	CHECK_EQ(after.faults_minor - before.faults_minor, 1);
	CHECK_EQ(resident(), 32);
	CHECK_EQ(present_from(BASE), were);
	end(space);
}

/* Nothing is taken ahead when memory is short, and what is there is used to the last. */
TEST(vm_ahead_when_memory_is_short)
{
	space = start();
	map_at(space, BASE, 64, RW, 0);
	map_at(space, 2 * BASE, 16384, RW, VM_NORESERVE);
	vaddr_t at = 2 * BASE;
	touch_in_order(BASE, 4, MACHINE_WRITE);
	CHECK(!pmm_is_short(machine_pmm));
	while (!pmm_is_short(machine_pmm)) {
		touch(at, MACHINE_WRITE);
		at += PAGE_SIZE;
	}
	touch(BASE + 4 * PAGE_SIZE, MACHINE_WRITE);
	CHECK_EQ(present_from(BASE), 5);
	/* Zeros that are read take none. */
	CHECK_OK(vmm_advise(space, BASE, 64 * PAGE_SIZE, VM_ADVICE_DONTNEED));
	touch_in_order(BASE, 5, MACHINE_READ);
	CHECK_EQ(present_from(BASE), 8);
	/* Nor does asking for many at once make it fail while single ones are left. */
	CHECK_OK(vmm_advise(space, BASE, 64 * PAGE_SIZE, VM_ADVICE_POPULATE_WRITE));
	CHECK_EQ(present_from(BASE), 64);
	CHECK_OK(vmm_unmap(space, 2 * BASE, 16384 * PAGE_SIZE));
	vmm_drain(machine_vmm);
	CHECK(!pmm_is_short(machine_pmm));
	end(space);
}

/* What is asked for is made many at a time. */
TEST(vm_ahead_populates_in_windows)
{
	struct vmm_space_stats stats;
	space = start();
	map_at(space, BASE, 1024, RW, 0);
	touch(BASE + 700 * PAGE_SIZE, MACHINE_WRITE);
	CHECK_OK(vmm_advise(space, BASE, 1000 * PAGE_SIZE, VM_ADVICE_POPULATE_WRITE));
	vmm_space_stats(space, &stats);
	CHECK_EQ(present_from(BASE), 1000);
	CHECK_EQ(stats.resident_npages, 1000);
	CHECK(stats.faults_minor <= 70);
	CHECK_OK(vmm_advise(space, BASE, 1024 * PAGE_SIZE, VM_ADVICE_DONTNEED));
	CHECK_OK(vmm_advise(space, BASE, 1000 * PAGE_SIZE, VM_ADVICE_POPULATE_READ));
	CHECK_EQ(present_from(BASE), 1000);
	CHECK_EQ(resident(), 0);
	end(space);
}
