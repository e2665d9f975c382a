/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_RANK_H
#define KERNEL_RANK_H
/*
 * Ranks of the kernel's own spin locks (base/rank.h has the rule). Those below
 * MEM_RANK_FIRST may be held when mem/ is called, kmalloc included: proc/ and
 * fs/ choose theirs in 1 .. 99. Those above MEM_RANK_LAST are taken by functions
 * that mem/ or anyone may call with its own locks held.
 */
#include "base/rank.h"

#define KRANK_WAITQ   210 /* a wait queue */
#define KRANK_TIMER   220 /* a CPU's timers */
#define KRANK_RUNQ    230 /* a CPU's run queue */
#define KRANK_THREADS 240 /* cached stacks, threads that ended */
#define KRANK_DEVICE  245 /* interrupt controllers, ports */
#define KRANK_CONSOLE 250 /* the log */
#endif
