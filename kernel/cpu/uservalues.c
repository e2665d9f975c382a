/* SPDX-License-Identifier: MIT */
/*
 * What a program says and the CPU checks.
 *
 * Some registers take only certain values, and loading another one is an exception
 * in the kernel: #GP in ring 0, the end of the machine, caused by any program. No
 * emulator shows it (QEMU's TCG checks hardly any of these), so nothing here is
 * found by running it. Hence this list: each such value, how it comes in, and the
 * one function it comes in through.
 *
 *   value            who brings it                    loaded by          checked by
 *   ---------------  -------------------------------  -----------------  ---------------------
 *   FS, GS base      arch_prctl, clone and clone3     WRMSR, WRFSBASE    user_base_ok
 *                    WRFSBASE, WRGSBASE in user mode  the same           user_base_from_cpu
 *   RIP              sigreturn, signal handlers,      IRETQ, SYSRETQ     user_rip_ok
 *                    entry points of programs
 *   CS, SS           sigreturn                        IRETQ              user_selectors_ok
 *   RFLAGS           sigreturn                        IRETQ, SYSRETQ     user_flags_from_frame
 *   XSAVE header     sigreturn                        XRSTOR             user_fpu_ok
 *   MXCSR            sigreturn                        XRSTOR, FXRSTOR    user_fpu_ok
 *   all of a frame   every way back to user mode      IRETQ, SYSRETQ     user_frame_settle
 *
 * Not on the list, and why:
 *
 *   RSP              IRETQ and MOV take any; a bad one is #SS or #GP in user mode
 *   DS, ES, FS, GS   loaded by the program itself, dropped at a switch (sched/thread.c);
 *                    those of a signal frame are ignored, as Linux does
 *   DR0-7, XCR0,     no call sets them
 *   PKRU, LDT, TLS
 *   addresses        a non-canonical one is #GP in the copy functions, which have
 *                    fix-ups (uaccess.c); INVLPG takes any
 *   table entries    built from frames that the frame allocator gave
 *
 * Whoever adds a call that loads such a register (ptrace, set_thread_area, debug
 * registers, process state from a file) adds a line above and the check below.
 *
 * V1  What is in thread->fs_base, gs_base and fpu can be loaded.
 * V2  A frame goes to user mode only through user_frame_settle.
 * V3  Debug builds ask again in front of each WRMSR, WRFSBASE, XRSTOR, FXRSTOR, IRETQ and
 *     SYSRETQ, by what the manual says and not by how the value came (the _complaint functions,
 *     msr_value_ok).
 *
 * SYSRETQ is the trap among these: with a non-canonical RCX, Intel's CPUs raise #GP
 * after the stack is the program's but before the privilege is (SDM vol. 2,
 * SYSRET). A SYSCALL that ends at the last byte of the lower half returns to such an
 * address, so USER_TOP keeps the last page out of reach, and only RIPs below it go
 * back by SYSRETQ.
 */
#include "kernel/cpu/uservalues.h"

#include "arch/x86_64/pte.h"
#include "kernel/cpu/x86.h"

/* ---- bases -------------------------------------------------------------------- */

bool user_base_ok(uint64_t base)
{
	return base < USER_TOP;
}

uint64_t user_base_from_cpu(uint64_t base)
{
	return (uint64_t)((int64_t)(base << 16) >> 16);
}

bool msr_value_ok(uint32_t msr, uint64_t value)
{
	switch (msr) {
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_LSTAR:
	case MSR_CSTAR:
		return vaddr_is_canonical(value);
	default:
		return true;
	}
}

/* ---- frames -------------------------------------------------------------------- */

#define ARITHMETIC 0x8d5u /* CF PF AF ZF SF OF */
#define FLAG_ID    0x200000u
#define FLAG_ONE   2u /* always set */

/* What a program can have set by POPF or an exception, and keeps. */
#define OWN_FLAGS (ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | FLAG_ID)
/* What a signal frame sets, as on Linux. */
#define FRAME_FLAGS (ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_RF | RFLAGS_AC)

bool user_rip_ok(uint64_t rip)
{
	return vaddr_is_canonical(rip);
}

bool user_selectors_ok(uint16_t cs, uint16_t ss)
{
	return (cs | 3) == USER_CS && (ss | 3) == USER_SS;
}

uint64_t user_flags(uint64_t flags)
{
	return (flags & OWN_FLAGS) | RFLAGS_IF | FLAG_ONE;
}

uint64_t user_flags_from_frame(uint64_t flags, uint64_t old)
{
	return user_flags((flags & FRAME_FLAGS) | (old & ~(uint64_t)FRAME_FLAGS));
}

/* SYSRET takes RIP from RCX and RFLAGS from R11; TF and RF need IRET. */
static bool fits_sysret(const struct trapframe *f)
{
	return f->rcx == f->rip && f->r11 == f->rflags && f->rip < USER_TOP &&
	       !(f->rflags & (RFLAGS_TF | RFLAGS_RF));
}

bool user_frame_settle(struct trapframe *f)
{
	f->cs = USER_CS;
	f->ss = USER_SS;
	f->rflags = user_flags(f->rflags);
	return fits_sysret(f);
}

const char *user_frame_complaint(const struct trapframe *f, bool by_sysret)
{
	const uint64_t never = RFLAGS_IOPL | 0x1a0000u /* VM VIF VIP */;
	if (f->cs != USER_CS || f->ss != USER_SS)
		return "selectors that are not the user's";
	if (!vaddr_is_canonical(f->rip))
		return "RIP not canonical";
	if ((f->rflags & never) || !(f->rflags & RFLAGS_IF))
		return "flags that a program must not have";
	if (!by_sysret)
		return NULL;
	if (f->rip != f->rcx || f->rflags != f->r11)
		return "RCX and R11 are not RIP and RFLAGS";
	return f->rip >> 47 ? "RIP in the upper half by SYSRET" : NULL;
}

const char *kernel_frame_complaint(const struct trapframe *f)
{
	if (f->cs != KERNEL_CS || (f->ss != KERNEL_SS && f->ss != 0))
		return "selectors that are not the kernel's";
	if (!vaddr_is_canonical(f->rip) || f->rip < KERNEL_BASE)
		return "RIP not in the kernel";
	return f->rflags & RFLAGS_IOPL ? "flags that the kernel never has" : NULL;
}

/* ---- FPU state -------------------------------------------------------------------- */

#define MXCSR_OFFSET 24
struct xsave_header {
	uint64_t present, compact;
	uint64_t reserved[6];
};

/* SDM vol. 1, 13.8.1: the standard form, nothing that XCR0 has not, zeros. */
static bool header_ok(const struct xsave_header *h, uint64_t components)
{
	uint64_t reserved = 0;
	for (unsigned i = 0; i < ARRAY_COUNT(h->reserved); i++)
		reserved |= h->reserved[i];
	return !h->compact && !reserved && !(h->present & ~components);
}

bool user_fpu_ok(const void *area, const struct fpu_limits *limits)
{
	uint32_t mxcsr = *(const uint32_t *)(const void *)((const char *)area + MXCSR_OFFSET);
	if (mxcsr & ~limits->mxcsr_mask)
		return false;
	return !limits->xsave ||
	       header_ok((const void *)((const char *)area + 512), limits->components);
}
