/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_MACHINE_H
#define MEM_VM_MACHINE_H
/* What keeps a CPU from using the kernel's page tables; see machine.c. */
#include "arch/x86_64/machine.h"

/* What a CPU lacks for tables that use no-execute and 1 GiB entries (or do not), as a
 * sentence; NULL: nothing. */
const char *vm_machine_lacks(const struct arch_setup *setup, bool nx, bool giga_pages);
/* What the CPU uses just now and would lose with this root; NULL: nothing. */
const char *vm_machine_loses(const struct arch_setup *setup, paddr_t root);
#endif
