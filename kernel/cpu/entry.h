/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_ENTRY_H
#define KERNEL_CPU_ENTRY_H
/* Numbers that entry.S and C agree on; trap.c and table.c assert them. */
#define CPU_CURRENT     8 /* struct cpu */
#define CPU_STACK       16
#define CPU_SCRATCH     24
#define CPU_RESCHED     40
#define THREAD_DUE      24 /* struct thread: interrupted and exit_work, as one word */
#define EXIT_WORK_FPU   1  /* EXIT_FPU */
#define TRAP_SYSCALL    0x100
#define SYSCALL_COUNT   451
#define MAX_ERRNO       4095
#define ERROR_NO_MEMORY 12
#define ERESTART_LEAST  512 /* results from -ERESTART_MOST to -ERESTART_LEAST */
#define ERESTART_MOST   516
#endif
