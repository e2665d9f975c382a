/* SPDX-License-Identifier: MIT */
/*
 * Every schedule of a small scenario, instead of some by chance.
 *
 * A seed finds a race if it happens to switch at the right point; a race of two
 * short calls has a few hundred points and needs one switch or two. So all of them
 * are tried. From machine_explore() on, a CPU keeps running until it can only wait,
 * sleeps or ends; and at each point there is a branch (snapshot.c):
 *
 *      --x----x----x----x----x----   no switch here, go on
 *        |    |    |    |    |
 *        |    |    |    |    +-- a branch: switch to the other CPU here; in it
 *        |    |    |    +--      the same again, until its switches are used up
 *       ...  ...  ...  ...
 *
 * A branch is run to the end of the test's body; then all is as it was at the x, and
 * goes on from there. What fails in a branch ends the process. A scenario with n points
 * and k switches costs about n^k / k! runs, each without what came before; threads for
 * which no preemption was asked have no such points.
 *
 * A thread that goes round without host_relax() until another one does something never
 * ends here: that is found and is a failure, as the other may be the one it preempted.
 *
 * What is not a preemption is free: which of two threads is first (of more, the one
 * that was spawned first), who goes on when a CPU's thread is over, and whether the
 * CPU that waited for a flush goes on as soon as it was served. Interrupts are taken as soon as the
 * CPU may; a CPU that spins lets the next one run, in the order of their numbers.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/machine/inside.h"
#include "tests/machine/snapshot.h"
#include "tests/test.h"

#define MOST_SCHEDULES 100000 /* of one run */
/* Of one schedule: operations that end have a few thousand. */
#define MOST_POINTS 2000000
/* The same of one that has no points, times QUIRE_PATIENCE: it dies of SIGALRM. */
#define MOST_SECONDS 30

static bool others_ready(void)
{
	for (unsigned i = 1; i < MACHINE_MAX_THREADS; i++)
		if (machine.thread[i].state == THREAD_READY)
			return true;
	return false;
}

/* Is there something that this CPU could do if it had the turn? */
static bool has_work(unsigned i, bool ready)
{
	const struct cpu *cpu = &machine.cpu[i];
	if (cpu->waits_for >= 0) {
		const struct cpu *target = &machine.cpu[cpu->waits_for];
		return target->flush_asked == target->flush_done;
	}
	return !cpu->halted || cpu->flush_asked != cpu->flush_done || ready;
}

/* The next CPU in order that has work to do; this one if there is none. */
unsigned machine_explore_next(void)
{
	unsigned n = machine.config.ncpus;
	bool ready = others_ready() || machine.thread[0].state == THREAD_READY;
	for (unsigned k = 1; k < n; k++) {
		unsigned i = (machine.now_cpu + k) % n;
		if (has_work(i, ready))
			return i;
	}
	/* Those that wait for each other, too: somebody has to take an interrupt. */
	for (unsigned k = 1; k < n; k++) {
		unsigned i = (machine.now_cpu + k) % n;
		if (!machine.cpu[i].halted)
			return i;
	}
	return machine.now_cpu;
}

/* The one schedule that is asked for: does CPU i go on here in it? */
static bool is_asked_for(unsigned i)
{
	const char *only = machine_each_state->only;
	char *end;
	if (strtoull(only, &end, 10) != machine.points || *end != ':' ||
	    strtoul(end + 1, &end, 10) != i)
		return false;
	machine_each_state->only = end + (*end == ',');
	return true;
}

static void choose(unsigned i)
{
	struct schedule *s = &machine.explore.schedule;
	if (s->taken < EXPLORE_MOST)
		s->choice[s->taken++] = (struct explore_choice){machine.points, i};
	if (++machine_each_state->schedules - machine_each_state->before_run > MOST_SCHEDULES)
		machine_die("more than %u schedules", MOST_SCHEDULES);
	machine_each_state->schedule = *s;
	test_progress(++machine_each_state->progress);
}

static void limit_time(void)
{
	const char *text = getenv("QUIRE_PATIENCE");
	double factor = text ? strtod(text, NULL) : 1;
	alarm(1 + (unsigned)(MOST_SECONDS * factor));
}

/* Try what happens if CPU i goes on here. True in the branch that does so. */
static bool branch(unsigned i, unsigned cost)
{
	if (machine_each_state->only ? !is_asked_for(i) : !snapshot_branch()) {
		machine_each_state->schedule = machine.explore.schedule;
		limit_time();
		return false;
	}
	machine.explore.left -= cost;
	choose(i);
	limit_time();
	machine_run_cpu(i);
	return true;
}

static void try_others(unsigned cost)
{
	bool ready = others_ready();
	unsigned here = machine.now_cpu;
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		if (i != here && has_work(i, ready) && branch(i, cost))
			return;
}

/* A CPU waited for this one's flush and has it now. */
static void try_waiters(void)
{
	unsigned here = machine.now_cpu;
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		if (machine.cpu[i].waits_for == (int)here && branch(i, 0))
			return;
}

void machine_explore_point(void)
{
	struct cpu *cpu = this_cpu();
	if (machine.points - machine.explore.begun > MOST_POINTS)
		machine_die("no end: it goes round and round until another CPU goes on");
	bool asked = cpu->flush_asked != cpu->flush_done;
	machine_take_interrupts();
	if (asked && cpu->flush_asked == cpu->flush_done)
		try_waiters();
	else if (machine.explore.left && cpu->current && cpu->current->preempted)
		try_others(1);
}

/* The CPU that calls has nothing to do any more. */
unsigned machine_explore_idle(void)
{
	bool ready = others_ready();
	unsigned here = machine.now_cpu, next = machine_explore_next();
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		if (i != here && i != next && !machine.cpu[i].halted && has_work(i, ready) &&
		    branch(i, 0))
			return here; /* went there, and is back */
	return next;
}

/* Of the thread that was spawned first. */
static unsigned first_cpu(void)
{
	unsigned first = machine.now_cpu;
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		const struct thread *t = machine.cpu[i].current;
		if (t && t->number && t->number < machine.cpu[first].current->number)
			first = i;
	}
	return first;
}

void machine_explore(unsigned threads, unsigned preemptions)
{
	struct explore *x = &machine.explore;
	if (!machine_each_state)
		machine_die("machine_explore outside of machine_each");
	host_preempt_disable(); /* each thread keeps the CPU that it has */
	this_cpu()->current->preempted = preemptions > 0;
	x->left = mem_max(x->left, preemptions);
	if (++x->arrived == threads) {
		x->on = true;
		x->begun = machine.points;
		machine.next_event = 0; /* every point is looked at */
		limit_time();
		if (threads == 2)
			try_others(0);
		else
			machine_run_cpu(first_cpu());
	}
	while (!x->on)
		host_relax();
	host_preempt_enable();
}

void machine_explore_end(void)
{
	machine.explore.on = false;
	machine.explore.arrived = machine.explore.left = 0;
}
