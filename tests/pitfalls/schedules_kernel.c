/* SPDX-License-Identifier: MIT */
/* Every schedule of small scenarios (schedules.c): the kernel's own areas. */
#include "base/atomic.h"
#include "tests/pitfalls/help.h"
#include "vm/kernel_area.h"

static struct space *space;

/*
 * 1 and 2 for the kernel's own areas: who has settled what he gave back can rely on it,
 * whoever made the flush; a page table of an area is taken out once, by one of several
 * that drain, and freed when no CPU remembers it.
 */
#define STACKS 33 /* one more than are kept mapped for the next thread */

static void *range;
static uint32_t ready, gone;

static void settle(void *arg)
{
	uint64_t value;
	CHECK(machine_kernel_access((vaddr_t)range, MACHINE_READ, &value).ok);
	(void)atomic_add(&ready, 1);
	wait_until(&gone, 1);
	machine_explore(2, 1);
	vm_area_settle(&machine_vmm->areas[AREA_STACK], false);
	/* Whoever flushed it: here and now it is gone. */
	CHECK(!machine_kernel_access((vaddr_t)range, MACHINE_READ, &value).ok);
}

EXPLORED_TEST(pitfall_01_every_schedule_of_settling_an_area, 1, 268)
{
	void *stacks[STACKS];
	machine_boot_explored(3, 1, 0);
	space = pitfall_space();
	ready = gone = 0;
	for (unsigned n = 0; n < STACKS; n++)
		CHECK_OK(vmm_alloc_stack(machine_vmm, 1, &stacks[n]));
	range = stacks[STACKS - 1];
	machine_spawn(settle, NULL, NULL);
	machine_spawn(settle, NULL, NULL);
	wait_until(&ready, 2);
	for (unsigned n = 0; n < STACKS; n++)
		vmm_free_stack(machine_vmm, stacks[n], 1);
	atomic_write_seq(&gone, 1);
	machine_join();
	machine_explore_end();
	pitfall_end(space);
}

static void drain(void *arg)
{
	uint64_t value;
	CHECK(!machine_kernel_access((vaddr_t)range, MACHINE_READ, &value).ok);
	machine_explore(2, 1);
	vm_area_trim(&machine_vmm->areas[AREA_HEAP]);
}

EXPLORED_TEST(pitfall_02_every_schedule_of_draining_an_area, 1, 161)
{
	machine_boot_explored(2, 1, 100);
	space = pitfall_space();
	struct heap_area *area = vmm_heap_area(machine_vmm);
	range = area->map(area, 1, 512, false);
	CHECK(range);
	area->unmap(area, range, 1); /* its page table stays, and is remembered */
	RUN(space, drain, drain);
	pitfall_end(space);
}
