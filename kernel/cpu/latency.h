/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_LATENCY_H
#define KERNEL_CPU_LATENCY_H
/*
 * How long a CPU goes without interrupts and without preemption (test builds).
 *
 * A stretch begins when a CPU turns interrupts or preemption off and ends when it turns
 * them on again; what is nested in it is a part of it. The longest stretches are kept
 * with the functions that ended them. Time spent waiting for a lock or for a flush is
 * somebody else's stretch and is not counted.
 */
#include <kernel/types.h>

#define LATENCY_CALLERS 5
#define LATENCY_KEPT    24

enum latency_kind { LATENCY_IRQ, LATENCY_PREEMPT, LATENCY_KINDS };

struct latency_record {
	uint64_t cycles;                /* 0: not in use */
	uint64_t count;                 /* stretches above the threshold */
	uint32_t call;                  /* the system call that was running, or LATENCY_NO_CALL */
	uintptr_t who[LATENCY_CALLERS]; /* who ended it, innermost first; 0: no more */
};
#define LATENCY_NO_CALL UINT32_MAX

struct latency {
	uint64_t since[LATENCY_KINDS]; /* 0: on */
	uint64_t waited;               /* cycles in all that were spent waiting */
	uint64_t relaxed_at;           /* the newest turn of a spin loop */
	struct latency_record kept[LATENCY_KINDS][LATENCY_KEPT];
};

#ifdef KERNEL_LATENCY
/* The scheduler runs: from now on stretches are measured. */
void latency_start(void);
/* One turn of a loop that waits for another CPU. */
void latency_relax(void);
/* Cycles that this CPU spent waiting otherwise. Context: preemption off. */
void latency_waited(uint64_t cycles);
/* Forget what was measured. */
void latency_reset(void);
/* The `n`th longest of a kind, of those kept on all CPUs. False: there are no more.
 * `memory`: mem/vm ended it. */
bool latency_get(enum latency_kind kind, unsigned n, struct latency_record *out, bool *memory);
#else
static inline void latency_start(void)
{
}
static inline void latency_relax(void)
{
}
static inline void latency_waited(uint64_t cycles)
{
	(void)cycles;
}
static inline void latency_reset(void)
{
}
static inline bool latency_get(enum latency_kind kind, unsigned n, struct latency_record *out,
			       bool *memory)
{
	(void)kind, (void)n, (void)out, (void)memory;
	return false;
}
#endif
#endif
