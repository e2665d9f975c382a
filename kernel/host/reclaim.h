/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_HOST_RECLAIM_H
#define KERNEL_HOST_RECLAIM_H
/* Start giving idle heap memory back. Boot, after sched_init. */
void reclaim_start(void);
#endif
