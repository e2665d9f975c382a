/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MACHINE_INSIDE_H
#define TESTS_MACHINE_INSIDE_H
/* What the files of the machine share. */
#include "tests/machine/coroutine.h"
#include "tests/machine/machine.h"

enum thread_state { THREAD_FREE, THREAD_READY, THREAD_RUNNING, THREAD_SLEEPING, THREAD_DONE };

struct thread {
	struct coroutine co;
	enum thread_state state;
	const uint32_t *sleeps_on; /* SLEEPING: the word, or NULL for machine_join */
	struct space *space;
	void (*body)(void *arg);
	void *arg;
	/* Left by host_user_fault, taken by machine_access. */
	bool has_signal;
	struct machine_result signal;
	unsigned number;
	bool preempted; /* explore.c: may be, at any point */
};

struct cpu {
	struct coroutine idle;
	struct thread *current; /* NULL: the idle coroutine runs */
	bool irq_off;
	bool in_interrupt;
	bool in_instruction;
	bool in_space;        /* may execute user instructions: not idle, not lazily loaded */
	unsigned preempt;     /* depth of host_preempt_disable */
	bool halted;          /* idle, found nothing to do */
	uint64_t flush_asked; /* flush interrupts asked of this CPU */
	uint64_t flush_done;
	uint64_t stalled_until; /* in points */
	/* For reports. */
	const char *doing;
	int waits_for; /* CPU whose flush this one waits for, or -1 */
	uint64_t relaxes;
};

#define MACHINE_MAX_THREADS 64
#define MACHINE_REGIONS     3

/* explore.c: all schedules instead of some. */
#define EXPLORE_MOST 32

struct schedule {
	unsigned taken; /* choices */
	struct explore_choice {
		uint64_t point;
		unsigned cpu;
	} choice[EXPLORE_MOST];
};

struct explore {
	bool on;
	unsigned arrived; /* threads that wait for it to begin */
	uint64_t begun;   /* machine.points then */
	unsigned left;    /* preemptions that may still be made */
	struct schedule schedule;
};

/* each.c: shared with the processes of machine_each. No snapshot has it. */
struct each {
	uint64_t totals[MACHINE_TOTALS];
	uint64_t schedules;       /* of this machine_each */
	uint64_t before_run;      /* of them, before the run that runs */
	uint64_t progress;        /* runs and schedules of the whole test */
	struct schedule schedule; /* the one that runs: told when its process is dead */
	const char *only;         /* QUIRE_SCHEDULE: what is left of it; NULL: all */
};
extern struct each *machine_each_state;

extern struct machine {
	struct machine_config config;
	struct cpu cpu[MACHINE_MAX_CPUS];
	struct thread thread[MACHINE_MAX_THREADS];
	unsigned now_cpu;    /* the CPU that the host thread is being */
	uint64_t points;     /* so far */
	uint64_t switches;   /* so far */
	uint64_t next_event; /* value of points at which to think about switching */
	uint64_t quiet;      /* busy-wait turns since something was achieved */
	uint64_t random;
	uint64_t trace;
	bool running;
	struct explore explore;
	/* All memory that it has: machine_map(). */
	struct machine_region {
		char *start;
		size_t bytes;
	} region[MACHINE_REGIONS];
	unsigned regions;
} machine;

static inline struct cpu *this_cpu(void)
{
	return &machine.cpu[machine.now_cpu];
}

/* Whose stack the host thread is on. */
static inline struct coroutine *machine_running(void)
{
	struct cpu *cpu = this_cpu();
	return cpu->current ? &cpu->current->co : &cpu->idle;
}

/* Zeroes for the machine, until it ends. */
void *machine_map(size_t bytes);
/* Leave this CPU for another, or go on if it is this one. */
void machine_run_cpu(unsigned next);
void machine_explore_point(void);
unsigned machine_explore_next(void);
unsigned machine_explore_idle(void);
/* A CPU that can only wait lets the others run. */
void machine_wait_turn(void);
/* Take interrupts that are pending, if this CPU may. */
void machine_take_interrupts(void);
/* The running thread sleeps; it stands in `state` SLEEPING already. */
void machine_sleep(void);
void machine_instruction_begin(void);
void machine_instruction_end(void);

void machine_mmu_init(void);
/* An idle CPU: the hardware may walk ahead all the same. */
void machine_mmu_idle(void);
/* One line about what a CPU has cached. */
void machine_mmu_describe(unsigned cpu, char *to, size_t bytes);

#endif
