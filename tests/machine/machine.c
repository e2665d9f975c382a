/* SPDX-License-Identifier: MIT */
/*
 * The machine's CPUs, threads and scheduler. See machine.h for what it is for.
 *
 * One host thread plays all CPUs, one at a time. Each CPU is always in one of
 * two stacks: that of the thread it runs, or its own idle stack.
 *
 *      CPU 0            CPU 1            CPU 2
 *     [idle]           [idle]           [idle]        <- pick ready threads,
 *        |                |                              tell the switch hook
 *     thread 0 <------ thread 3 ------> (halted)      <- machine_point():
 *                point            point                  another CPU goes on
 *
 * Two kinds of switch. Between CPUs (`machine_wait_turn`, and a point whose turn
 * has come): the host thread leaves one CPU's stack and continues another's;
 * nobody in the machine can notice. Between threads of one CPU: always through
 * its idle stack, at points where the thread has preemption and interrupts on,
 * or when it sleeps.
 *
 * Interrupts are taken at points, when the CPU has them on and is not inside
 * an instruction; not necessarily at the first such point. An instruction (a
 * user access) has points inside, so that others can change tables and free
 * frames in the middle of a walk, as on hardware; but the CPU that walks answers
 * no interrupt until the instruction is over.
 *
 * A livelock is found by counting busy-wait turns since the last achievement, a
 * deadlock by nobody being able to run. Both end with a report.
 */
#include "tests/machine/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "base/util.h"
#include "tests/machine/inside.h"
#include "tests/machine/snapshot.h"

#if HAVE_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define QUIET_LIMIT ((uint64_t)3000000)

struct machine machine;
struct machine_hooks machine_hooks;

void machine_reseed(uint64_t seed)
{
	machine.config.seed = seed;
	machine.random = seed * 0x2545f4914f6cdd1d + 1;
}

uint64_t machine_random(void)
{
	machine.random += 0x9e3779b97f4a7c15;
	uint64_t z = machine.random;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

unsigned machine_random_below(unsigned n)
{
	return (unsigned)(((machine_random() >> 32) * n) >> 32);
}

uint64_t machine_seed(void)
{
	return machine.config.seed;
}

uint64_t machine_bytes(void)
{
	return machine.config.bytes;
}

uint64_t machine_trace(void)
{
	return machine.trace;
}

uint64_t machine_switches(void)
{
	return machine.switches;
}

uint64_t machine_now(void)
{
	return ++machine.points;
}

void machine_progress(void)
{
	machine.quiet = 0;
}

/* ---- reports ---------------------------------------------------------------- */

static const char *thread_state_name(enum thread_state state)
{
	static const char *const names[] = {"free", "ready", "running", "sleeping", "done"};
	return names[state];
}

static void report_state(void)
{
	fprintf(stderr, "  seed %llu, after %llu points and %llu switches\n",
		(unsigned long long)machine.config.seed, (unsigned long long)machine.points,
		(unsigned long long)machine.switches);
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		const struct cpu *cpu = &machine.cpu[i];
		char mmu[128];
		machine_mmu_describe(i, mmu, sizeof(mmu));
		fprintf(stderr, "  CPU %u%s: ", i, i == machine.now_cpu ? " (this one)" : "");
		if (cpu->current)
			fprintf(stderr, "thread %u", cpu->current->number);
		else
			fprintf(stderr, cpu->halted ? "halted" : "idle");
		fprintf(stderr, ", interrupts %s%s, preempt depth %u, %s",
			cpu->irq_off ? "off" : "on", cpu->in_interrupt ? " (in a handler)" : "",
			cpu->preempt, cpu->doing ? cpu->doing : "running");
		if (cpu->waits_for >= 0)
			fprintf(stderr, " (of CPU %d)", cpu->waits_for);
		if (cpu->flush_asked != cpu->flush_done)
			fprintf(stderr, ", flush interrupt pending");
		fprintf(stderr, "; %s\n", mmu);
	}
	for (unsigned i = 0; i < MACHINE_MAX_THREADS; i++) {
		const struct thread *t = &machine.thread[i];
		if (t->state == THREAD_SLEEPING)
			fprintf(stderr, "  thread %u %s on %p\n", i, thread_state_name(t->state),
				(const void *)t->sleeps_on);
	}
}

static MEM_NORETURN void die(const char *format, va_list args)
{
	static bool dying;
	fprintf(stderr, "PANIC: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	if (!dying && machine.running) {
		dying = true;
		report_state();
		if (machine_hooks.report)
			machine_hooks.report();
	}
	fflush(NULL);
	abort();
}

void machine_die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	die(format, args);
}

MEM_NORETURN void host_panic(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	die(format, args);
}

/* ---- switching between CPUs ------------------------------------------------- */

static bool any_ready(void)
{
	for (unsigned i = 0; i < MACHINE_MAX_THREADS; i++)
		if (machine.thread[i].state == THREAD_READY)
			return true;
	return false;
}

/* Could this CPU do anything if it were its turn? */
static bool can_run(const struct cpu *cpu, bool ready)
{
	return !cpu->halted || cpu->flush_asked != cpu->flush_done || ready;
}

/* The number of another CPU that can run, by chance; this one's own if none. */
static unsigned pick_cpu(void)
{
	if (machine.explore.on)
		return machine_explore_next();
	unsigned candidates[MACHINE_MAX_CPUS], count = 0, stalled[MACHINE_MAX_CPUS], late = 0;
	bool ready = any_ready();
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		if (i == machine.now_cpu || !can_run(&machine.cpu[i], ready))
			continue;
		if (machine.cpu[i].stalled_until > machine.points)
			stalled[late++] = i;
		else
			candidates[count++] = i;
	}
	if (count)
		return candidates[machine_random_below(count)];
	/* Everybody else is stalled: if this CPU only waits, a stall has to end. */
	if (late && (this_cpu()->doing || this_cpu()->halted))
		return stalled[machine_random_below(late)];
	return machine.now_cpu;
}

void machine_run_cpu(unsigned next)
{
	struct coroutine *from = machine_running();
	if (next == machine.now_cpu)
		return;
	machine.switches++;
	machine.trace = (machine.trace ^ (machine.points * 31 + next)) * 0x100000001b3;
	machine.now_cpu = next;
	this_cpu()->stalled_until = 0;
	coroutine_switch(from, machine_running());
}

static void plan_next_event(void)
{
	unsigned mean = machine.config.switch_mean;
	machine.next_event = machine.points + (mean ? 1 + machine_random_below(2 * mean) : 64);
}

void machine_wait_turn(void)
{
	machine.points++;
	if (++machine.quiet > QUIET_LIMIT)
		machine_die("nobody gets anywhere: every CPU waits for another (livelock)");
	unsigned next = pick_cpu();
	machine_run_cpu(next);
}

/* ---- interrupts --------------------------------------------------------------- */

static bool may_interrupt(const struct cpu *cpu)
{
	return !cpu->irq_off && !cpu->in_interrupt && !cpu->in_instruction;
}

static void run_interrupt(void (*handler)(void))
{
	struct cpu *cpu = this_cpu();
	cpu->irq_off = cpu->in_interrupt = true;
	handler();
	if (this_cpu() != cpu)
		machine_die("an interrupt handler moved to another CPU");
	if (!cpu->irq_off)
		machine_die("an interrupt handler returned with interrupts on");
	cpu->irq_off = cpu->in_interrupt = false;
}

void machine_take_interrupts(void)
{
	struct cpu *cpu = this_cpu();
	while (cpu->flush_asked != cpu->flush_done && may_interrupt(cpu)) {
		uint64_t asked = cpu->flush_asked;
		if (machine_hooks.flush_pending)
			run_interrupt(machine_hooks.flush_pending);
		cpu->flush_done = asked;
	}
}

/* ---- points ------------------------------------------------------------------- */

static void leave_thread(enum thread_state state)
{
	struct cpu *cpu = this_cpu();
	struct thread *self = cpu->current;
	self->state = state;
	cpu->current = NULL;
	coroutine_switch(&self->co, &cpu->idle);
	/* Perhaps on another CPU now; its idle loop set `current`. */
}

static bool may_preempt(const struct cpu *cpu)
{
	return cpu->current && !cpu->preempt && may_interrupt(cpu);
}

static void point_event(void)
{
	if (machine.explore.on) {
		machine_explore_point();
		return;
	}
	plan_next_event();
	struct cpu *cpu = this_cpu();
	if (machine_random_below(3) == 0)
		machine_take_interrupts();
	if (machine.config.interrupt_mean && machine_hooks.interrupt && may_interrupt(cpu) &&
	    machine_random_below(machine.config.interrupt_mean) == 0)
		run_interrupt(machine_hooks.interrupt);
	if (!machine.config.switch_mean)
		return;
	if (may_preempt(cpu) && machine_random_below(16) == 0 && any_ready()) {
		leave_thread(THREAD_READY);
		return;
	}
	unsigned next = pick_cpu();
	if (machine.config.stall_mean && machine_random_below(machine.config.stall_mean) == 0)
		cpu->stalled_until = machine.points + machine_random_below(4000);
	machine_run_cpu(next);
}

void machine_point(void)
{
	if (++machine.points >= machine.next_event && machine.running)
		point_event();
}

void machine_pause(void)
{
	machine_point();
}

void machine_instruction_begin(void)
{
	this_cpu()->in_instruction = true;
}

void machine_instruction_end(void)
{
	this_cpu()->in_instruction = false;
}

/* ---- threads ------------------------------------------------------------------- */

static struct thread *pick_thread(void)
{
	unsigned ready[MACHINE_MAX_THREADS], count = 0;
	for (unsigned i = 0; i < MACHINE_MAX_THREADS; i++)
		if (machine.thread[i].state == THREAD_READY)
			ready[count++] = i;
	if (machine.explore.on && count)
		return &machine.thread[ready[count - 1]];
	return count ? &machine.thread[ready[machine_random_below(count)]] : NULL;
}

static void tell_switch(struct cpu *cpu, struct space *space)
{
	if (!space)
		cpu->in_space = false;
	cpu->irq_off = true;
	if (machine_hooks.switch_space)
		machine_hooks.switch_space(space);
	cpu->irq_off = false;
	if (space)
		cpu->in_space = true;
}

/* What a CPU does on its own stack. Returns to here when its thread leaves. */
static void idle_body(void *arg)
{
	struct cpu *cpu = arg;
	for (;;) {
		if (cpu->preempt || cpu->irq_off)
			machine_die("a thread left its CPU with preemption or interrupts off");
		cpu->halted = false;
		machine_take_interrupts();
		/* Somebody else may be faster: this is how threads move. */
		if (machine.config.ncpus > 1 && !machine.explore.on && any_ready() &&
		    machine_random_below(2))
			machine_run_cpu(pick_cpu());
		struct thread *t = pick_thread();
		if (t) {
			t->state = THREAD_RUNNING;
			tell_switch(cpu, t->space);
			cpu->current = t;
			coroutine_switch(&cpu->idle, &t->co);
			continue;
		}
		if (cpu->in_space)
			tell_switch(cpu, NULL);
		machine_mmu_idle();
		if (any_ready() || cpu->flush_asked != cpu->flush_done)
			continue;
		cpu->halted = true;
		unsigned next = machine.explore.on ? machine_explore_idle() : pick_cpu();
		if (!cpu->halted || any_ready() || cpu->flush_asked != cpu->flush_done)
			continue;
		if (next == machine.now_cpu)
			machine_die("nobody can run: every thread sleeps (deadlock)");
		machine_run_cpu(next);
	}
}

static void thread_body(void *arg)
{
	struct thread *self = arg;
	self->body(self->arg);
	if (this_cpu()->preempt || this_cpu()->irq_off)
		machine_die("a thread ended with preemption or interrupts off");
	machine.quiet = 0;
	/* Whoever joins looks again. */
	for (unsigned i = 0; i < MACHINE_MAX_THREADS; i++)
		if (machine.thread[i].state == THREAD_SLEEPING && !machine.thread[i].sleeps_on)
			machine.thread[i].state = THREAD_READY;
	leave_thread(THREAD_DONE);
	machine_die("a finished thread ran again");
}

void machine_spawn(void (*body)(void *), void *arg, struct space *space)
{
	for (unsigned i = 1; i < MACHINE_MAX_THREADS; i++) {
		struct thread *t = &machine.thread[i];
		if (t->state != THREAD_FREE && t->state != THREAD_DONE)
			continue;
		if (t->state == THREAD_DONE && !snapshot_taken())
			coroutine_destroy(&t->co);
		*t = (struct thread){.space = space, .body = body, .arg = arg, .number = i};
		coroutine_create(&t->co, thread_body, t);
		t->state = THREAD_READY;
		return;
	}
	machine_die("too many threads");
}

static bool all_done(void)
{
	for (unsigned i = 0; i < MACHINE_MAX_THREADS; i++) {
		const struct thread *t = &machine.thread[i];
		if (t != this_cpu()->current && t->state != THREAD_FREE && t->state != THREAD_DONE)
			return false;
	}
	return true;
}

void machine_sleep(void)
{
	struct cpu *cpu = this_cpu();
	if (cpu->preempt || cpu->irq_off || cpu->in_interrupt || cpu->in_instruction)
		machine_die("sleeping with preemption off, interrupts off or in a handler");
	/* A wake-up may already have made it READY: then it is only a yield. */
	leave_thread(cpu->current->state == THREAD_SLEEPING ? THREAD_SLEEPING : THREAD_READY);
}

void machine_join(void)
{
	while (!all_done()) {
		this_cpu()->current->sleeps_on = NULL;
		this_cpu()->current->state = THREAD_SLEEPING;
		machine_sleep();
	}
}

void machine_yield(void)
{
	struct cpu *cpu = this_cpu();
	if (cpu->preempt || cpu->irq_off || cpu->in_interrupt)
		machine_die("yielding with preemption off, interrupts off or in a handler");
	leave_thread(THREAD_READY);
}

void machine_set_space(struct space *space)
{
	struct cpu *cpu = this_cpu();
	if (cpu->preempt || cpu->irq_off || cpu->in_interrupt)
		machine_die("changing space with preemption off, interrupts off or in a handler");
	cpu->preempt++; /* stay on this CPU */
	cpu->in_space = cpu->in_space && space;
	cpu->current->space = space;
	tell_switch(cpu, space);
	cpu->preempt--;
	machine_take_interrupts();
}

/* ---- start and end --------------------------------------------------------------- */

/* As well aligned as the direct map; what follows is no memory. */
void *machine_map(size_t bytes)
{
	bytes = align_up(bytes, PAGE_SIZE);
	char *room = mmap(NULL, bytes + 2 * HUGE_SIZE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start = (char *)align_up((uintptr_t)room, HUGE_SIZE);
	if (room == MAP_FAILED || mprotect(start, bytes, PROT_READ | PROT_WRITE) ||
	    machine.regions == MACHINE_REGIONS) {
		perror("memory for the machine");
		exit(1);
	}
	machine.region[machine.regions++] = (struct machine_region){start, bytes};
	return start;
}

void machine_forbid(void *at, size_t bytes)
{
	memset(at, 0xdb, bytes);
#if HAVE_ASAN
	__asan_poison_memory_region(at, bytes);
#endif
}

void machine_init(const struct machine_config *config)
{
	if (config->ncpus < 1 || config->ncpus > MACHINE_MAX_CPUS)
		machine_die("1 to %d CPUs", MACHINE_MAX_CPUS);
	memset(&machine, 0, sizeof(machine));
	memset(&machine_hooks, 0, sizeof(machine_hooks));
	machine.config = *config;
	machine_reseed(config->seed);
	mem_direct_map_base = (uintptr_t)machine_map(config->bytes);
	machine_mmu_init();
	for (unsigned i = 0; i < config->ncpus; i++) {
		machine.cpu[i].waits_for = -1;
		machine.cpu[i].halted = i != 0;
		coroutine_create(&machine.cpu[i].idle, idle_body, &machine.cpu[i]);
	}
	struct thread *boot = &machine.thread[0];
	coroutine_adopt(&boot->co);
	boot->state = THREAD_RUNNING;
	machine.cpu[0].current = boot;
	plan_next_event();
	machine.running = true;
}

void machine_end(void)
{
	if (!all_done())
		machine_die("machine_end with threads alive");
	machine.running = false;
	if (snapshot_taken())
		return; /* others run on this memory yet, and then the process ends */
	/* Nobody goes back to these stacks. */
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		coroutine_destroy(&machine.cpu[i].idle);
	for (unsigned i = 1; i < MACHINE_MAX_THREADS; i++)
		coroutine_destroy(&machine.thread[i].co);
	for (unsigned i = 0; i < machine.regions; i++)
		munmap(machine.region[i].start, machine.region[i].bytes + PAGE_SIZE);
}
