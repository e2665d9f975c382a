/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SCHED_PRIVATE_H
#define KERNEL_SCHED_PRIVATE_H
/* Between the files of kernel/sched. */
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

#define SLICE_NS (8 * 1000000ull)
#define TICK_NS  (4 * 1000000ull)

/* Give the CPU away. `forced`: the thread did not ask; it stays runnable
 * whatever its state says (it may be on its way to sleep). Interrupts in any
 * state, preempt_count 0. */
void schedule(bool forced);
/* Put a runnable thread that is on no queue on the best CPU's. Any context. */
void sched_place(struct thread *thread);
/* As thread_wake, but the wake is recorded in a waiter of the thread, not in it. */
bool sched_wake_waiter(struct thread *thread);
/* A thread ended: its memory is freed by the reaper. Interrupts off. */
void thread_bury(struct thread *thread);
/* CPU time since the last call goes to the running thread. Interrupts off. */
void sched_account(struct cpu_private *c, nsec_t now);
/* FS and GS of the thread that leaves and the one that comes. Interrupts off. */
void thread_switch_segments(struct thread *previous, struct thread *next);
void sched_sample_load(nsec_t now);
void switch_stack(uint64_t *save_rsp, uint64_t next_rsp);
void thread_begin(void);
extern const char thread_first[];
#endif
