/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MACHINE_H
#define TESTS_MACHINE_H
/*
 * A machine for mem/ to run on, inside one host thread.
 *
 * It implements the whole of mem/host.h: physical memory is an arena, CPUs are
 * stacks that a seeded scheduler switches between at points (every operation of
 * mem/base/atomic.h, every host function), and user memory is reached through a
 * software MMU that walks the real page tables and keeps every translation that
 * hardware may keep. The same seed repeats the same run, switch for switch.
 *
 * Three kinds of wrong end the process with "PANIC:", the seed, and the state of
 * every CPU: what host_panic is told; nobody can run, or nobody gets anywhere (a
 * deadlock); and a frame that is freed or used while some CPU still holds a
 * translation to it.
 *
 * What it cannot show: reordering. Its memory is sequentially consistent, and
 * between two points a CPU is alone. The thread flavour (TSan) and the models of
 * the lock-free parts cover that.
 */
#include <mem/cpumask.h>
#include <mem/host.h>
#include <mem/types.h>

#include "base/page.h"

struct mem_trap;
struct vmm_fault;
struct space;

#define MACHINE_MAX_CPUS 16

struct machine_config {
	uint64_t bytes; /* of physical memory, from address 0 */
	unsigned ncpus;
	uint64_t seed;
	/* Points between two switches, on average; 0: only when a CPU waits. */
	unsigned switch_mean;
	/* One switch in so many stalls the CPU that is left, for up to 4000 points
	 * of the others; 0: never. Finds what needs a long window. */
	unsigned stall_mean;
	/* One point in so many runs hooks.interrupt as an interrupt; 0: never. */
	unsigned interrupt_mean;
	/* Percent of user accesses that take a cached translation if there is one. */
	unsigned stale_percent;
	/* Percent of user accesses after which the MMU walks some recently used
	 * address ahead of need, as hardware may. */
	unsigned speculate_percent;
};

/* What the machine calls out to; NULL: nothing. boot.c sets those of mem/vm. */
struct machine_hooks {
	void (*page_fault)(struct mem_trap *trap); /* vector 14 */
	void (*flush_pending)(void);               /* the flush interrupt */
	void (*switch_space)(struct space *space); /* before a thread runs; NULL: idle */
	void (*interrupt)(void);                   /* see interrupt_mean */
	/* Is `pa` a frame that a page-table walk may read? Ends the run if not. */
	void (*check_table)(paddr_t pa, vaddr_t va);
	/* Is `pa` a frame that a user access may read / write? Ends the run if not. */
	void (*check_frame)(paddr_t pa, vaddr_t va, bool write);
	/* Returns true if it freed memory or wants another try. */
	bool (*out_of_memory)(uint64_t npages);
	/* The run ends: what was the test doing? Prints to stderr. */
	void (*report)(void);
};
extern struct machine_hooks machine_hooks;

/* Start a machine: the caller becomes its first thread, on CPU 0. */
void machine_init(const struct machine_config *config);
/* End it: all threads but the caller's are done. Another may be started. */
void machine_end(void);
uint64_t machine_seed(void);
uint64_t machine_bytes(void);
/* Whoever touches this memory from now on is reported by ASan. */
void machine_forbid(void *at, size_t bytes);
/* A hash of every switch so far: equal for equal seeds. */
uint64_t machine_trace(void);
uint64_t machine_switches(void);
/* The machine's own random numbers: part of what the seed repeats. */
uint64_t machine_random(void);
void machine_reseed(uint64_t seed);
unsigned machine_random_below(unsigned n);

/* ---- threads ------------------------------------------------------------ */

/* Start a thread that runs body(arg) in `space` (NULL: kernel thread), on any
 * CPU. Its preemptions are the scheduler's choice. */
void machine_spawn(void (*body)(void *arg), void *arg, struct space *space);
/* Sleep until every spawned thread has ended. */
void machine_join(void);
/* Give the running thread another space (as exec and fork's child do); the
 * switch hook runs with interrupts off. */
void machine_set_space(struct space *space);
/* Something was achieved: resets the count that finds livelocks. Called by the
 * access functions; tests with long work between accesses call it themselves. */
void machine_progress(void);
/* A point, for tests. */
void machine_pause(void);
/* Sleep until some other thread has run: lets go of the CPU. */
void machine_yield(void);
/* A number that rises with every point: orders events of one run. */
uint64_t machine_now(void);

/* ---- many runs (each.c) ---------------------------------------------------- */

/*
 * Run body(i) for i = 0 .. count - 1, each in a process of its own: mem/ is not
 * made to be started twice. The first that fails ends the test. What bodies add
 * to machine_totals is seen by the caller.
 */
void machine_each(uint64_t count, void (*body)(uint64_t i));
extern uint64_t *machine_totals; /* MACHINE_TOTALS counters, shared with the processes */
#define MACHINE_TOTALS 16

/* ---- every schedule (explore.c) ------------------------------------------ */

/* Each of `threads` threads on as many CPUs calls this when it is ready. When the
 * last has come, every schedule with up to `preemptions` (the most that any of them
 * says) is run from there to the end of machine_each's body; threads that say 0 are not
 * preempted. Only inside machine_each, on a machine with switch_mean 0. */
void machine_explore(unsigned threads, unsigned preemptions);
/* Schedules are left to chance again: after machine_join. */
void machine_explore_end(void);
/* How many schedules the last machine_each ran besides the first one of each body. */
uint64_t machine_schedules(void);
/* Note that number, and fail if it is clearly smaller than it was when the test was
 * written. (mem/ may come to have a few points less; a mutation of it may have many less,
 * and is not to be found by that: QUIRE_MUTATED.) */
void machine_expect_schedules(uint64_t before);

/* ---- user accesses, as instructions would make them -------------------- */

enum machine_access { MACHINE_READ, MACHINE_WRITE, MACHINE_FETCH };

struct machine_result {
	bool ok;
	int signal, code; /* of the fault that was not served */
	vaddr_t address;
	unsigned faults; /* page faults taken on the way */
	unsigned cause;  /* enum vmm_cause */
};

/* One aligned 8-byte user access by the running thread: translated by the MMU of
 * its CPU, retried after each served page fault like the instruction it stands
 * for. *value is read, or written. */
struct machine_result machine_access(vaddr_t va, enum machine_access access, uint64_t *value);
/* The same for kernel addresses (guard pages, kernel areas): no handler is
 * called, the result says whether the access works. */
struct machine_result machine_kernel_access(vaddr_t va, enum machine_access access,
					    uint64_t *value);

/* ---- the MMU ------------------------------------------------------------- */

/* Start CPUs on this root: for tests that have no vmm. */
void machine_mmu_reset(void);
/* The frame goes back to the allocator: no CPU may hold a translation to it.
 * Called from the wrapped pmm_free. Ends the run if one does. */
void machine_frame_freed(paddr_t pa);
/* Translations held, of all kinds, on all CPUs. */
uint64_t machine_tlb_entries(void);
struct machine_mmu_stats {
	uint64_t accesses, cached, stale, walks, speculative, faults, evicted, doomed;
};
void machine_mmu_stats(struct machine_mmu_stats *stats);

/* The last line that host_log was given as HOST_LOG_ERROR; "" if none was. */
extern char machine_last_error[256];

/* Print what every CPU does, and end the process. */
MEM_NORETURN void machine_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
