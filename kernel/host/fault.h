/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_HOST_FAULT_H
#define KERNEL_HOST_FAULT_H
#include <mem/vmm.h>

/* What mem/ registered for vector 14; NULL until vmm_init. */
extern void (*host_page_fault_handler)(struct mem_trap *trap);
#endif
