/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MACHINE_REGISTERS_H
#define TESTS_MACHINE_REGISTERS_H
/* What mem/arch is told about each CPU's registers: a CPU set up as mem/vmm.h asks, until
 * a test spoils it. */
#include "arch/x86_64/machine.h"

#define REGISTERS_GOOD                                                                             \
	{                                                                                          \
		.cr0 = CR0_WRITE_PROTECT, .cr4 = CR4_GLOBAL_PAGES, .efer = EFER_NO_EXECUTE,        \
		.pat = PAT_WANTED, .giga_pages = true, .direct_map_anywhere = true,                \
	}

extern struct arch_setup machine_registers;
#endif
