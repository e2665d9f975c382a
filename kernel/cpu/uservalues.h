/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_USERVALUES_H
#define KERNEL_CPU_USERVALUES_H
/*
 * Values of programs that the CPU checks in ring 0: uservalues.c has the list.
 * All of these look at their arguments only. Context: any. Locks: none.
 */
#include <kernel/trap.h>
#include <kernel/types.h>

/* May a program ask for this FS or GS base? As Linux: below USER_TOP. */
bool user_base_ok(uint64_t base);

/* A base read back from the CPU, where the program may have set it by WRFSBASE or
 * WRGSBASE: canonical on hardware, and made so where an emulator did not look. */
uint64_t user_base_from_cpu(uint64_t base);

/* Can IRET and SYSRET load this RIP without a fault in ring 0? */
bool user_rip_ok(uint64_t rip);

/* Are these selectors of a signal frame those of user mode, but for their privilege bits? */
bool user_selectors_ok(uint16_t cs, uint16_t ss);

/* The flags that a program gets when it asks for `flags`: its own arithmetic and
 * debugging flags, interrupts on, no I/O privilege. */
uint64_t user_flags(uint64_t flags);

/* Those of `flags` that a signal frame may change, and all others of `old`. */
uint64_t user_flags_from_frame(uint64_t flags, uint64_t old);

/* The CPU's side of XRSTOR and FXRSTOR. */
struct fpu_limits {
	bool xsave;          /* areas have an XSAVE header */
	uint64_t components; /* what XCR0 has */
	uint32_t mxcsr_mask; /* bits of MXCSR that exist */
};

/* Can XRSTOR (or FXRSTOR) load this area without a fault? `area`: 512 bytes, and with
 * XSAVE the 64 of the header behind them. */
bool user_fpu_ok(const void *area, const struct fpu_limits *limits);

/* Make a frame one that returns to user mode; its RIP must be right already.
 * True: it may go back by SYSRET. */
bool user_frame_settle(struct trapframe *frame);

/* What is wrong with a frame that is about to be loaded by IRETQ, or by SYSRETQ; NULL: nothing. */
const char *user_frame_complaint(const struct trapframe *frame, bool by_sysret);

/* The same of a frame that goes back to kernel code. */
const char *kernel_frame_complaint(const struct trapframe *frame);

/* May this MSR be written with this value? Only those that take addresses are known. */
bool msr_value_ok(uint32_t msr, uint64_t value);
#endif
