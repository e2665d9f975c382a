/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_BOOT_SMP_H
#define KERNEL_BOOT_SMP_H
#include <kernel/types.h>

#include "kernel/boot/limine.h"

/* CPUs that will run (the boot CPU included); sets cpu_possible(). NULL: one. */
unsigned smp_count(const struct limine_mp *mp);
/* Bring every parked CPU into our code, on our tables. True when none is left in
 * the loader's. Context: boot CPU, scheduler initialised, interrupts on. */
bool smp_start(const struct limine_mp *mp);
#endif
