/* SPDX-License-Identifier: MIT */
/*
 * Signal frames, in the x86-64 Linux layout, because unwinders, debuggers and
 * language runtimes read and change them:
 *
 *     higher addresses
 *       the interrupted stack, and 128 bytes below it that belong to it (red zone)
 *       FPU state, 64-byte aligned: XSAVE area with Linux's marks in the bytes that
 *         FXSAVE leaves to software, and a second mark behind the area
 *       struct frame: siginfo, ucontext (registers, mask), return address
 *     RSP on entry to the handler: address = 8 mod 16, as after a call
 *
 * rt_sigreturn takes everything from user memory, so nothing in it is believed:
 * what the CPU checks is checked by kernel/cpu/uservalues.c. A frame that cannot be
 * written, read, or returned to costs the program a SIGSEGV.
 */
#include "kernel/proc/internal.h"
#include <kernel/cpu.h>
#include <kernel/syscall.h>
#include <kernel/uaccess.h>

#include "kernel/cpu/uservalues.h"
#include "kernel/syscall/syscalls.h"

#define FP_MAGIC1       0x46505853u
#define FP_MAGIC2       0x46505845u
#define FP_MAGIC2_BYTES 4
#define FXSAVE_BYTES    512
#define XSAVE_HEADER    64
#define FX_SW_OFFSET    464 /* software-available bytes of the FXSAVE area */
#define RED_ZONE        128

#define UC_FP_XSTATE         1
#define UC_SIGCONTEXT_SS     2
#define UC_STRICT_RESTORE_SS 4

#define FLAG_CF 0x1u
#define FLAG_DF 0x400u
#define FLAG_RF 0x10000u
#define FLAG_TF 0x100u

struct fx_software {
	uint32_t magic1, extended_bytes;
	uint64_t features;
	uint32_t xstate_bytes, padding[7];
};

struct sigcontext {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};

struct ucontext {
	uint64_t flags, link;
	struct signal_stack stack;
	struct sigcontext mcontext;
	sigset_t mask;
};

struct frame {
	uint64_t return_address;
	struct ucontext uc;
	struct siginfo info;
};
_Static_assert(sizeof(struct sigcontext) == 256, "sigcontext is Linux's");
_Static_assert(sizeof(struct ucontext) == 304, "ucontext is Linux's");
_Static_assert(sizeof(struct siginfo) == 128, "siginfo is Linux's");
_Static_assert(sizeof(struct fx_software) == 48, "the last 48 bytes of FXSAVE");

static uint64_t fpu_bytes(void)
{
	return cpu_features.xsave ? cpu_features.xsave_bytes : FXSAVE_BYTES;
}

static uint64_t fpu_frame_bytes(void)
{
	return fpu_bytes() + (cpu_features.xsave ? FP_MAGIC2_BYTES : 0);
}

uint64_t signal_frame_bytes(void)
{
	return align_up(sizeof(struct frame) + fpu_frame_bytes() + RED_ZONE + 64 + 16, 16);
}

/* Is sp inside the task's alternate stack? */
static bool on_altstack(const struct task *t, uint64_t sp)
{
	return t->altstack.bytes && sp > t->altstack.sp &&
	       sp - t->altstack.sp <= t->altstack.bytes && !(t->altstack.flags & SS_AUTODISARM);
}

static int32_t altstack_flags(const struct task *t, uint64_t sp)
{
	if (!t->altstack.bytes)
		return SS_DISABLE;
	return (on_altstack(t, sp) ? SS_ONSTACK : 0) | (t->altstack.flags & SS_AUTODISARM);
}

/* Save the FPU state at `to`, marked as Linux marks it. */
static int push_fpu(uint64_t to)
{
	const uint8_t *area = fpu_current();
	const size_t marked = FX_SW_OFFSET + sizeof(struct fx_software);
	uint64_t bytes = fpu_bytes();
	struct fx_software software = {0};
	_Static_assert(FX_SW_OFFSET + sizeof(software) == FXSAVE_BYTES, "the end of FXSAVE");
	if (cpu_features.xsave) {
		software.magic1 = FP_MAGIC1;
		software.extended_bytes = (uint32_t)fpu_frame_bytes();
		software.features = cpu_features.xsave_mask;
		software.xstate_bytes = (uint32_t)bytes;
	}
	int error = copy_to_user(to, area, FX_SW_OFFSET);
	if (!error)
		error = copy_to_user(to + FX_SW_OFFSET, &software, sizeof(software));
	if (!error && cpu_features.xsave) {
		uint32_t magic2 = FP_MAGIC2;
		error = copy_to_user(to + marked, area + marked, bytes - marked);
		if (!error)
			error = copy_to_user(to + bytes, &magic2, sizeof(magic2));
	}
	return error;
}

/* Is there a whole XSAVE area behind the FXSAVE part that was read? */
static bool is_extended(uint64_t from, const struct fx_software *software)
{
	uint32_t magic2 = 0;
	return cpu_features.xsave && software->magic1 == FP_MAGIC1 &&
	       software->xstate_bytes >= FXSAVE_BYTES + XSAVE_HEADER &&
	       software->xstate_bytes <= fpu_bytes() &&
	       software->extended_bytes >= software->xstate_bytes &&
	       !copy_from_user(&magic2, from + software->xstate_bytes, 4) && magic2 == FP_MAGIC2;
}

/* The rest of an XSAVE area, as much as there is of it in the frame. */
static int pop_extended(uint8_t *area, uint64_t from, const struct fx_software *software)
{
	uint64_t features = 3, bytes = FXSAVE_BYTES; /* x87 and SSE, from the FXSAVE part */
	if (is_extended(from, software)) {
		bytes = software->xstate_bytes;
		if (copy_from_user(area + FXSAVE_BYTES, from + FXSAVE_BYTES, bytes - FXSAVE_BYTES))
			return -EFAULT;
		memcpy(&features, area + FXSAVE_BYTES, sizeof(features));
		/* Those that the frame does not name start afresh. Bits that
		 * there are no features for stay, and are found. */
		features &= software->features | ~cpu_features.xsave_mask;
	}
	memset(area + bytes, 0, fpu_bytes() - bytes);
	memcpy(area + FXSAVE_BYTES, &features, sizeof(features));
	return 0;
}

static int pop_fpu(uint64_t from)
{
	struct fx_software software;
	uint64_t end;
	if (!from) { /* the initial state */
		fpu_reset_current();
		return 0;
	}
	uint8_t *area = fpu_edit();
	int error = __builtin_add_overflow(from, fpu_frame_bytes(), &end) ? -EFAULT : 0;
	if (!error)
		error = copy_from_user(area, from, FXSAVE_BYTES);
	memcpy(&software, area + FX_SW_OFFSET, sizeof(software));
	memset(area + FX_SW_OFFSET, 0, sizeof(software));
	if (!error && cpu_features.xsave)
		error = pop_extended(area, from, &software);
	if (error)
		fpu_reset_current();
	return error ? error : fpu_edited();
}

static void save_registers(struct sigcontext *to, const struct trapframe *f, const struct task *t)
{
	to->r8 = f->r8, to->r9 = f->r9, to->r10 = f->r10, to->r11 = f->r11;
	to->r12 = f->r12, to->r13 = f->r13, to->r14 = f->r14, to->r15 = f->r15;
	to->rdi = f->rdi, to->rsi = f->rsi, to->rbp = f->rbp, to->rbx = f->rbx;
	to->rdx = f->rdx, to->rax = f->rax, to->rcx = f->rcx;
	to->rsp = f->rsp, to->rip = f->rip, to->rflags = f->rflags;
	to->cs = USER_CS, to->ss = USER_SS;
	to->err = t->trap_error, to->trapno = t->trap_vector, to->cr2 = t->trap_cr2;
}

/* False: the selectors are not those of user mode. Without UC_STRICT_RESTORE_SS the stack's
 * is not looked at, as on Linux. RIP is looked at on the way out. */
static bool load_registers(struct trapframe *f, const struct sigcontext *from, uint64_t uc_flags)
{
	f->r8 = from->r8, f->r9 = from->r9, f->r10 = from->r10, f->r11 = from->r11;
	f->r12 = from->r12, f->r13 = from->r13, f->r14 = from->r14, f->r15 = from->r15;
	f->rdi = from->rdi, f->rsi = from->rsi, f->rbp = from->rbp, f->rbx = from->rbx;
	f->rdx = from->rdx, f->rax = from->rax, f->rcx = from->rcx;
	f->rsp = from->rsp, f->rip = from->rip;
	f->rflags = user_flags_from_frame(from->rflags, f->rflags);
	f->vector = TRAP_SIGRETURN;
	return user_selectors_ok(from->cs, uc_flags & UC_STRICT_RESTORE_SS ? from->ss : USER_SS);
}

bool signal_frame_push(struct task *t, struct trapframe *frame, int sig,
		       const struct sigaction_user *action, const struct siginfo *info,
		       sigset_t mask_to_restore)
{
	if (!(action->flags & SA_RESTORER))
		return false; /* there would be no way back */
	uint64_t sp = frame->rsp - RED_ZONE;
	bool switched = false;
	if ((action->flags & SA_ONSTACK) && altstack_flags(t, frame->rsp) != SS_DISABLE &&
	    !on_altstack(t, frame->rsp)) {
		sp = t->altstack.sp + t->altstack.bytes;
		switched = true;
	}
	uint64_t fpu_at = align_down(sp - fpu_frame_bytes(), 64);
	uint64_t at = align_down(fpu_at - sizeof(struct frame), 16) - 8;
	if (fpu_at > sp || at > fpu_at || !user_range_ok(at, sp - at))
		return false;
	/* Already on the alternate stack and about to leave it downwards: overflow. */
	if ((switched || on_altstack(t, frame->rsp)) && (at <= t->altstack.sp))
		return false;

	struct frame f;
	memset(&f, 0, sizeof(f));
	f.return_address = action->restorer;
	f.uc.flags =
	    UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | (cpu_features.xsave ? UC_FP_XSTATE : 0);
	f.uc.stack = t->altstack;
	f.uc.stack.flags = altstack_flags(t, frame->rsp);
	f.uc.stack.pad = 0;
	save_registers(&f.uc.mcontext, frame, t);
	f.uc.mcontext.oldmask = mask_to_restore;
	f.uc.mcontext.fpstate = fpu_at;
	f.uc.mask = mask_to_restore;
	f.info = *info;
	if (push_fpu(fpu_at) || copy_to_user(at, &f, sizeof(f)))
		return false;
	fpu_reset_current(); /* a handler does not depend on what it has interrupted */

	if (t->altstack.flags & SS_AUTODISARM)
		memset(&t->altstack, 0, sizeof(t->altstack));
	frame->rdi = (uint64_t)sig;
	frame->rsi = at + offsetof(struct frame, info);
	frame->rdx = at + offsetof(struct frame, uc);
	frame->rax = 0;
	frame->rsp = at;
	frame->rip = action->handler;
	frame->rflags &= ~(uint64_t)(FLAG_DF | FLAG_RF | FLAG_TF);
	frame->vector = TRAP_SIGRETURN;
	return true;
}

static int set_altstack(struct task *t, const struct signal_stack *new, uint64_t sp)
{
	if (on_altstack(t, sp))
		return -EPERM;
	int32_t mode = new->flags & ~SS_AUTODISARM;
	if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE)
		return -EINVAL;
	if (mode == SS_DISABLE) {
		memset(&t->altstack, 0, sizeof(t->altstack));
		return 0;
	}
	if (new->bytes < MINSIGSTKSZ)
		return -ENOMEM;
	t->altstack.sp = new->sp;
	t->altstack.bytes = new->bytes;
	t->altstack.flags = new->flags &SS_AUTODISARM;
	return 0;
}

long sys_sigaltstack(uint64_t new_at, uint64_t old_at)
{
	struct task *t = current_task();
	uint64_t sp = syscall_frame()->rsp;
	struct signal_stack old = t->altstack, new;
	old.flags = altstack_flags(t, sp);
	old.pad = 0;
	if (new_at) {
		int error = copy_from_user(&new, new_at, sizeof(new));
		if (!error)
			error = set_altstack(t, &new, sp);
		if (error)
			return error;
	}
	return old_at ? copy_to_user(old_at, &old, sizeof(old)) : 0;
}

long sys_rt_sigreturn(void)
{
	struct task *t = current_task();
	struct trapframe *frame = syscall_frame();
	struct frame f;
	/* The handler's return has popped the first word. What siginfo has become is not read. */
	if (copy_from_user(&f, frame->rsp - 8, offsetof(struct frame, info))) {
		signal_force(SIGSEGV, NULL);
		return 0;
	}
	bool good = load_registers(frame, &f.uc.mcontext, f.uc.flags);
	signal_set_blocked(f.uc.mask);
	if (pop_fpu(f.uc.mcontext.fpstate) || !good)
		signal_force(SIGSEGV, NULL);
	/* As on Linux a bad stack description in the frame is not an error. */
	(void)set_altstack(t, &f.uc.stack, frame->rsp);
	return (long)frame->rax;
}
