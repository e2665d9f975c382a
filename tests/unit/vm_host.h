/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_VM_HOST_H
#define TESTS_UNIT_VM_HOST_H
/* Real threads as CPUs, for mem/vm under TSan; see vm_host.c. */
#include <mem/types.h>

void vm_host_init(uint64_t bytes, unsigned ncpus);
/* The calling thread becomes CPU `cpu`. */
void vm_host_set_cpu(unsigned cpu);
#endif
