/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_BOOT_SMP_H
#define KERNEL_BOOT_SMP_H
#include <kernel/types.h>

#include "kernel/boot/limine.h"

/* Learn how many CPUs will run, the boot CPU included: what cpu_possible() says from
 * here on. NULL: one. Context: before pmm_init. */
void smp_find(const struct limine_mp *mp);
/* Bring every parked CPU into our code, on our tables. True when none is left in
 * the loader's. Context: boot CPU, scheduler initialised, interrupts on. */
bool smp_start(const struct limine_mp *mp);
#endif
