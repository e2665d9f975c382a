/* SPDX-License-Identifier: MIT */
/*
 * Signal frames: stacks, registers and FPU state that handlers see and change, frames
 * that are hostile, exceptions. Each case runs in a child of its own; the program
 * prints one line per case.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "catch.h"

#include <setjmp.h>
#include <sys/syscall.h>
#include <ucontext.h>

static void altstack(void *unused)
{
	size_t bytes = 65536;
	char *stack = anonymous(bytes, PROT_READ | PROT_WRITE);
	stack_t old, now = {.ss_sp = stack, .ss_size = bytes};
	CHECK(sigaltstack(NULL, &old) == 0 && old.ss_flags == SS_DISABLE);
	now.ss_size = 100;
	CHECK(sigaltstack(&now, NULL) == -1 && errno == ENOMEM);
	now.ss_size = bytes;
	now.ss_flags = 77;
	CHECK(sigaltstack(&now, NULL) == -1 && errno == EINVAL);
	now.ss_flags = 0;
	CHECK(sigaltstack(&now, NULL) == 0);
	handle(SIGUSR1, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(handler_sp > (uintptr_t)stack && handler_sp < (uintptr_t)stack + bytes);
	handle(SIGUSR1, 0);
	raise(SIGUSR1);
	CHECK(handler_sp < (uintptr_t)stack || handler_sp >= (uintptr_t)stack + bytes);
	CHECK(sigaltstack(NULL, &old) == 0 && old.ss_sp == stack && old.ss_size == bytes);
}

static void set_registers(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)info;
	(void)number;
	uc->uc_mcontext.gregs[REG_RAX] = 0x1234;
	uc->uc_mcontext.gregs[REG_RIP] += 2; /* past the UD2 */
	count++;
}

static void context_is_changed(void *unused)
{
	struct sigaction action = {.sa_sigaction = set_registers, .sa_flags = SA_SIGINFO};
	unsigned long rax = 0, rbx = 0x5555, r12 = 0x6666;
	sigaction(SIGILL, &action, NULL);
	__asm__ volatile("ud2" : "+a"(rax), "+b"(rbx) : "r"(r12) : "memory");
	CHECK(count == 1 && rax == 0x1234 && rbx == 0x5555 && r12 == 0x6666);
}

static void clobber_fpu(int number)
{
	(void)number;
	__asm__ volatile(
	    "pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15" ::
		: "xmm0", "xmm7", "xmm15");
	volatile double x = 2.0;
	x = x * 3.5;
	count++;
}

static void fpu_survives(void *unused)
{
	struct sigaction action = {.sa_handler = clobber_fpu};
	uint64_t in[2] = {0x1122334455667788, 0x99aabbccddeeff00}, out[2] = {0, 0};
	long result;
	sigaction(SIGUSR1, &action, NULL);
	__asm__ volatile("movdqu %2, %%xmm15\n\t"
			 "syscall\n\t"
			 "movdqu %%xmm15, %1"
			 : "=a"(result), "=m"(out)
			 : "m"(in), "a"((long)SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1)
			 : "rcx", "r11", "xmm15", "memory");
	CHECK(result == 0 && count == 1 && out[0] == in[0] && out[1] == in[1]);
}

static void frame_has_fpu_marks(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)info;
	(void)number;
	const uint32_t *fp = (const uint32_t *)(const void *)uc->uc_mcontext.fpregs;
	count = fp != NULL && ((uintptr_t)fp & 15) == 0;
	if (uc->uc_flags & 1) {                   /* UC_FP_XSTATE */
		uint32_t bytes = fp[464 / 4 + 4]; /* xstate_size */
		uint32_t magic2;
		memcpy(&magic2, (const char *)fp + bytes, 4);
		if (fp[464 / 4] != 0x46505853 || magic2 != 0x46505845 || ((uintptr_t)fp & 63))
			count = 0;
	}
	if (((uintptr_t)__builtin_frame_address(0) & 15) != 0)
		count = 0;
}

static void frame_layout(void *unused)
{
	struct sigaction action = {.sa_sigaction = frame_has_fpu_marks, .sa_flags = SA_SIGINFO};
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	CHECK(count == 1);
}

static volatile uint32_t seen_mxcsr;
static volatile uint16_t seen_control;

static void look_at_control_words(int number)
{
	uint32_t mxcsr;
	uint16_t control;
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(control));
	seen_mxcsr = mxcsr;
	seen_control = control;
}

/* A handler starts with the registers a program starts with, whatever was loaded. */
static void handler_has_fresh_fpu(void *unused)
{
	uint32_t mxcsr = 0x7f80, after;      /* rounds towards zero */
	uint16_t control = 0x0f7f, restored; /* likewise */
	signal(SIGUSR1, look_at_control_words);
	__asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
	raise(SIGUSR1);
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(after), "=m"(restored));
	CHECK(seen_mxcsr == 0x1f80 && seen_control == 0x37f);
	CHECK(after == mxcsr && restored == control);
}

static void bad_stack_is_fatal(void *unused)
{
	handle(SIGUSR1, 0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		long number = SYS_kill, self = getpid();
		__asm__ volatile("mov $8, %%rsp; syscall"
				 : "+a"(number)
				 : "D"(self), "S"((long)SIGUSR1)
				 : "rcx", "r11", "memory");
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void hostile_sigreturn(void *unused)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		long number = SYS_rt_sigreturn;
		__asm__ volatile("mov $8, %%rsp; syscall" : "+a"(number)::"rcx", "r11", "memory");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	/* A frame of zeros: RIP 0, flags without IF, kernel segments refused. */
	pid = fork();
	if (pid == 0) {
		static uint64_t frame[256] __attribute__((aligned(64)));
		__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" ::"r"(frame + 1)
				 : "memory");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	pid = fork();
	if (pid == 0) {
		static uint64_t frame[256] __attribute__((aligned(64)));
		memset(frame, 0xff, sizeof(frame));
		__asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" ::"r"(frame + 1)
				 : "memory");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void bad_pointers(void *unused)
{
	void *bad = (void *)8;
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, bad, NULL, 8) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigprocmask, 9, &bad, NULL, 8) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigpending, bad, 8) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigpending, &bad, 16) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_rt_sigsuspend, bad, 8) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_sigaltstack, bad, NULL) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, bad) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_rt_sigtimedwait, bad, NULL, NULL, 8) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_tgkill, 0, getpid(), SIGUSR1) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_tkill, 99999999, SIGUSR1) == -1 && errno == ESRCH);
}

static int divide(int a, int b) /* by the instruction: the compiler knows a way around it */
{
	int rest;
	__asm__ volatile("cltd; idivl %2" : "+a"(a), "=&d"(rest) : "r"(b));
	return a;
}

static void divide_by_zero(void *unused)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		_exit(divide(1, 0));
	}
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGFPE);
	/* Blocked or ignored it cannot be. */
	pid = fork();
	if (pid == 0) {
		signal(SIGFPE, SIG_IGN);
		block(SIGFPE);
		_exit(divide(1, 0));
	}
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGFPE);
}

static sigjmp_buf back;
static void jump(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

static void stack_overflow_on_altstack(void *unused)
{
	stack_t stack = {.ss_sp = anonymous(65536, PROT_READ | PROT_WRITE), .ss_size = 65536};
	struct sigaction action = {.sa_handler = jump, .sa_flags = SA_ONSTACK};
	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	for (volatile int i = 0; i < 3; i++)
		if (sigsetjmp(back, 1) == 0) {
			__asm__ volatile("1: push %%rax; jmp 1b" ::: "memory");
		}
	CHECK(1);
}

int main(void)
{
	run_case("altstack", altstack);
	run_case("context_is_changed", context_is_changed);
	run_case("fpu_survives", fpu_survives);
	run_case("frame_layout", frame_layout);
	run_case("handler_has_fresh_fpu", handler_has_fresh_fpu);
	run_case("bad_stack_is_fatal", bad_stack_is_fatal);
	run_case("hostile_sigreturn", hostile_sigreturn);
	run_case("bad_pointers", bad_pointers);
	run_case("divide_by_zero", divide_by_zero);
	run_case("stack_overflow_on_altstack", stack_overflow_on_altstack);
	return failures != 0;
}
