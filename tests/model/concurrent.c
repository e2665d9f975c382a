/* SPDX-License-Identifier: MIT */
/*
 * The oracle with several CPUs at once in one space: each thread owns every
 * fourth block of five cells in every zone, so that all of them meet in the same
 * tables, and no two in the same page. What a thread's own cells should be is
 * exact, whatever the others do.
 *
 * Now and then a thread forks the space under the others' feet. Of the child, its
 * own cells are exact again; of the others' cells it must hold something that
 * was written there, and go on holding it: what the parent writes later must
 * not show.
 */
#include "tests/model/inside.h"
#include "tests/test.h"

#define THREADS 4
#define BLOCK   5

static bool owns(unsigned thread, unsigned c)
{
	return !model_is_gap(c) && c / BLOCK % THREADS == thread;
}

static bool own_range(unsigned thread, unsigned *from, unsigned *to)
{
	unsigned c = machine_random_below(4) ? machine_random_below(3 * (ZONE_PAGES + 1))
					     : machine_random_below(CELLS);
	if (!owns(thread, c))
		return false;
	*from = c;
	*to = c + 1;
	while (*to < CELLS && owns(thread, *to) && machine_random_below(3))
		++*to;
	return true;
}

static unsigned some_prot(void)
{
	static const unsigned prots[] = {VM_READ | VM_WRITE, VM_READ | VM_WRITE, VM_READ, VM_NONE,
					 VM_READ | VM_EXEC};
	return prots[machine_random_below(5)];
}

static void map_own(unsigned thread, unsigned from, unsigned to)
{
	struct model_map m = {
	    .from = from, .to = to, .prot = some_prot(), .maxprot = 7, .object = -1};
	switch (machine_random_below(4)) {
	case 0:
		m.flags = VM_SHARED;
		break;
	case 1:
		/* Private pages of a file that nobody changes. */
		m.object = 0;
		m.opage = machine_random_below(OBJECT_PAGES / 2);
		break;
	default:
		break;
	}
	m.flags |= machine_random_below(4) ? VM_FIXED : VM_FIXED_NOREPLACE;
	(void)model_map(0, &m);
}

static void move_own(unsigned thread, unsigned from, unsigned to)
{
	unsigned at, at_end;
	if (!own_range(thread, &at, &at_end))
		return;
	(void)model_move(0, from, to, at, at_end - at, VM_MOVE_MAY | VM_MOVE_FIXED);
}

static void touch_own(unsigned from, unsigned to)
{
	for (unsigned c = from; c < to; c++)
		model_touch(0, c, machine_random_below(2) ? MACHINE_WRITE : MACHINE_READ,
			    machine_random_below(2));
}

static void own_step(unsigned thread)
{
	unsigned from, to;
	while (!own_range(thread, &from, &to))
		continue;
	switch (machine_random_below(10)) {
	case 0:
	case 1:
		map_own(thread, from, to);
		break;
	case 2:
		(void)model_unmap(0, from, to);
		break;
	case 3:
		(void)model_protect(0, from, to, some_prot());
		break;
	case 4:
		move_own(thread, from, to);
		break;
	case 5:
		(void)model_advise(0, from, to, VM_ADVICE_DONTNEED);
		break;
	default:
		touch_own(from, to);
	}
}

/* ---- forks under the others' feet --------------------------------------------------- */

/* A cell of the child that belongs to another thread of the parent. */
static void check_foreign(unsigned child, unsigned c)
{
	struct vm_area area;
	struct space *space = model.space[child].space;
	vaddr_t va = model.cell[c].touch;
	if (!vmm_next_area(space, va, &area))
		return;
	bool usable =
	    area.start <= va && (area.prot & VM_READ) && !(area.flags & VM_SHARED) && !area.object;
	vm_area_done(&area);
	if (!usable)
		return;
	uint64_t first = 0, again = 0;
	if (!machine_access(va, MACHINE_READ, &first).ok)
		model_fail("child %u cell %u: a readable page does not read", child, c);
	for (unsigned i = machine_random_below(30); i > 0; i--)
		machine_pause();
	if (!machine_access(va, MACHINE_READ, &again).ok || again != first)
		model_fail("child %u cell %u: read %#llx, then %#llx: the parent shows through",
			   child, c, (unsigned long long)first, (unsigned long long)again);
	if (first >= model.next_token)
		model_fail("child %u cell %u: reads %#llx, which nobody wrote", child, c,
			   (unsigned long long)first);
}

static void fork_step(unsigned thread)
{
	unsigned child = thread + 1;
	if (model.space[child].space || !model_fork(0, child))
		return;
	for (unsigned i = 0; i < 60; i++) {
		unsigned c = machine_random_below(CELLS);
		if (owns(thread, c))
			model_touch(child, c,
				    machine_random_below(2) ? MACHINE_WRITE : MACHINE_READ,
				    machine_random_below(2));
		else if (!model_is_gap(c)) {
			machine_set_space(model.space[child].space);
			check_foreign(child, c);
		}
	}
	machine_set_space(model.space[0].space);
	model_destroy(child);
}

static unsigned steps_each, fork_one_in;

static void body(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg;
	for (unsigned i = 0; i < steps_each; i++) {
		/* Children of three threads: slots 1 to 3. */
		if (machine_random_below(80) == 0)
			vmm_drain(machine_vmm);
		if (fork_one_in && thread + 1 < MODEL_SPACES &&
		    machine_random_below(fork_one_in) == 0)
			fork_step(thread);
		else
			own_step(thread);
	}
	machine_set_space(NULL);
}

static unsigned ncpus;

static void one_run(uint64_t i)
{
	machine_boot_default(ncpus, test_random());
	model_begin();
	model.many_backings = true;
	model_create(0);
	model_make_file(0, OBJECT_PAGES * PAGE_SIZE);
	for (unsigned t = 0; t < THREADS; t++)
		machine_spawn(body, (void *)(uintptr_t)t, model.space[0].space);
	machine_join();
	model_check_all();
	machine_totals[0] += model.operations;
	machine_totals[1] += model.touches;
	machine_totals[2] += machine_switches();
	model_end();
	machine_end();
}

static void run(uint64_t seeds, unsigned steps, unsigned forks, unsigned cpus)
{
	steps_each = steps;
	fork_one_in = forks;
	ncpus = cpus;
	machine_each(seeds, one_run);
	test_note("%llu seeds, %llu operations (%llu touches), %llu switches",
		  (unsigned long long)seeds, (unsigned long long)machine_totals[0],
		  (unsigned long long)machine_totals[1], (unsigned long long)machine_totals[2]);
}

TEST(model_concurrent)
{
	run(60, 300, 0, 4);
}

TEST(model_concurrent_forks)
{
	run(60, 200, 15, 4);
}

/* More threads than CPUs: preemption and migration in the middle of everything. */
TEST(model_concurrent_crowded)
{
	run(40, 200, 30, 2);
}
