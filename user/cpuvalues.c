/* SPDX-License-Identifier: MIT */
/*
 * Values that the CPU checks when the kernel loads them: bases of FS and GS, and all that
 * a signal frame brings back. Each must be refused, or cost the program its life; none
 * may be loaded in the kernel. Each case runs in a child of its own; the program
 * prints one line per case.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "catch.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define USER_TOP   0x7ffffffff000ul
#define HALF       0x800000000000ul     /* the first that is not canonical */
#define UPPER_HALF 0xffff800000000000ul /* the first that is again */

static const unsigned long bad_bases[] = {
    USER_TOP, HALF, UPPER_HALF, UPPER_HALF - 1, 1ul << 63, 0xdeadbeefdeadbeef, ~0ul, ~0ul << 31};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void arch_prctl_bases(void *unused)
{
	unsigned long now = 0;
	for (size_t i = 0; i < COUNT(bad_bases); i++) {
		CHECK(syscall(SYS_arch_prctl, ARCH_SET_FS, bad_bases[i]) == -1 && errno == EPERM);
		CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, bad_bases[i]) == -1 && errno == EPERM);
	}
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, USER_TOP - 1) == 0);
	sched_yield();
	CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &now) == 0 && now == USER_TOP - 1);
}

/* The child has no stack to call anything on, nor a base to find its errno by. */
static long raw_clone(long number, unsigned long first, unsigned long second, unsigned long tls)
{
	long result;
	register unsigned long r10 __asm__("r10") = 0;
	register unsigned long r8 __asm__("r8") = tls;
	__asm__ volatile("syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "movl $24, %%eax\n\t" /* sched_yield: out and in again */
			 "syscall\n\t"
			 "movl $60, %%eax\n\t"
			 "movl $7, %%edi\n\t"
			 "syscall\n"
			 "1:"
			 : "=a"(result), "+r"(r10), "+r"(r8), "+D"(first), "+S"(second)
			 : "a"(number), "d"(0ul)
			 : "rcx", "r11", "memory");
	return result;
}

static long clone_with(unsigned long tls)
{
	return raw_clone(SYS_clone, CLONE_SETTLS | SIGCHLD, 0, tls);
}

static long clone3_with(unsigned long tls)
{
	struct clone_args args = {.flags = CLONE_SETTLS, .exit_signal = SIGCHLD, .tls = tls};
	return raw_clone(SYS_clone3, (unsigned long)&args, sizeof(args), 0);
}

static void check_clone(long (*clone_it)(unsigned long))
{
	int status;
	for (size_t i = 0; i < COUNT(bad_bases); i++)
		CHECK(clone_it(bad_bases[i]) == -EPERM);
	CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
	CHECK(clone_it(USER_TOP - 1) > 0);
	CHECK(waitpid(-1, &status, 0) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void clone_base(void *unused)
{
	check_clone(clone_with);
}

static void clone3_base(void *unused)
{
	check_clone(clone3_with);
}

/* On hardware the instruction faults in the program. An emulator may let it pass:
 * then the kernel finds such a value, and must not load it again. */
static void own_instruction(void *base)
{
	unsigned a, b, c, d;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1))
		_exit(0);
	__asm__ volatile("wrgsbase %0" ::"r"(base));
	for (int i = 0; i < 20; i++) {
		sched_yield();
		sleep_ms(1);
		if (fork() == 0)
			_exit(0);
		wait(NULL);
	}
	__asm__ volatile("wrfsbase %0\n\t"
			 "movl $24, %%eax; syscall\n\t"
			 "movl $57, %%eax; syscall\n\t" /* fork */
			 "movl $24, %%eax; syscall\n\t"
			 "xorl %%edi, %%edi; movl $60, %%eax; syscall" ::"r"(base)
			 : "memory");
}

static void instructions(void *unused)
{
	for (size_t i = 0; i < COUNT(bad_bases); i++) {
		int status = in_child(own_instruction, (void *)bad_bases[i]);
		CHECK(status == 0 || (WIFSIGNALED(status) &&
				      (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGILL)));
	}
}

/* ---- what a signal frame brings back ---------------------------------------------- */

static void (*spoil)(ucontext_t *uc, unsigned long value);
static unsigned long spoil_value;

static void spoiler(int number, siginfo_t *info, void *context)
{
	spoil(context, spoil_value);
}

/* Says what it was, and is the end: there is nowhere to return to. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	printf("    %s code %d address %p\n", sigabbrev_np(number), info->si_code, info->si_addr);
	fflush(stdout);
	_exit(9);
}

static unsigned long flags_now(void)
{
	unsigned long flags;
	__asm__ volatile("pushfq; popq %0" : "=r"(flags));
	return flags;
}

static void return_with(void *caught)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_sigaction = spoiler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	CHECK(sigaltstack(&alternate, NULL) == 0);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	action.sa_sigaction = on_fault;
	if (caught) {
		sigaction(SIGSEGV, &action, NULL);
		sigaction(SIGBUS, &action, NULL);
	}
	raise(SIGUSR1);
	unsigned long flags = flags_now();
	CHECK((flags & 0x3000) == 0 && (flags & 0x200) != 0 && (flags & 0x1a0000) == 0);
}

/* What comes of a frame with this change, caught and uncaught. */
static void come_back(const char *what, void (*change)(ucontext_t *, unsigned long),
		      unsigned long value)
{
	spoil = change;
	spoil_value = value;
	printf("  %s %#lx: ", what, value);
	printf("%s\n", outcome(in_child(return_with, NULL)));
	printf("  caught: %s\n", outcome(in_child(return_with, "")));
}

static void change_rip(ucontext_t *uc, unsigned long value)
{
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)value;
}

/* As SYSRET would have it: RCX is RIP, R11 the flags. */
static void change_sysret(ucontext_t *uc, unsigned long value)
{
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)value;
	uc->uc_mcontext.gregs[REG_RCX] = (greg_t)value;
	uc->uc_mcontext.gregs[REG_R11] = 0x202;
	uc->uc_mcontext.gregs[REG_EFL] = 0x202;
}

static void frame_rip(void *unused)
{
	static const unsigned long values[] = {HALF,     UPPER_HALF - 1, 1ul << 63, USER_TOP - 1,
					       HALF - 2, UPPER_HALF,     ~0ul << 31};
	for (size_t i = 0; i < COUNT(values); i++) {
		come_back("RIP", change_rip, values[i]);
		come_back("RIP and RCX", change_sysret, values[i]);
	}
}

static void change_cs(ucontext_t *uc, unsigned long value)
{
	uint16_t cs = (uint16_t)value;
	memcpy(&uc->uc_mcontext.gregs[REG_CSGSFS], &cs, 2);
}

static void change_ss(ucontext_t *uc, unsigned long value)
{
	uint16_t ss = (uint16_t)value;
	memcpy((char *)&uc->uc_mcontext.gregs[REG_CSGSFS] + 6, &ss, 2);
}

static void change_ss_not_strict(ucontext_t *uc, unsigned long value)
{
	uc->uc_flags &= ~4ul; /* UC_STRICT_RESTORE_SS */
	change_ss(uc, value);
}

static void frame_selectors(void *unused)
{
	static const unsigned long values[] = {0,    3,    0x10, 0x18, 0x28,
					       0x2b, 0x30, 0x33, 0x43, 0xffff};
	for (size_t i = 0; i < COUNT(values); i++) {
		come_back("CS", change_cs, values[i]);
		come_back("SS", change_ss, values[i]);
		come_back("SS, not strict", change_ss_not_strict, values[i]);
	}
}

static void change_flags(ucontext_t *uc, unsigned long value)
{
	uc->uc_mcontext.gregs[REG_EFL] = (greg_t)value;
}

static void frame_flags(void *unused)
{
	const unsigned long not_tf_ac_df = ~0x40500ul;
	come_back("flags", change_flags, ~0ul & not_tf_ac_df);
	come_back("flags", change_flags, 0);
	come_back("flags", change_flags, 0x3002);
	come_back("flags", change_flags, 0x1a4202);
}

/* 64 bytes behind the 512 of FXSAVE, if the frame has them. */
static uint64_t *header_of(ucontext_t *uc)
{
	char *fp = (char *)uc->uc_mcontext.fpregs;
	uint32_t magic;
	memcpy(&magic, fp + 464, 4);
	return magic == 0x46505853 ? (uint64_t *)(void *)(fp + 512) : NULL;
}

static void change_header(ucontext_t *uc, unsigned long word)
{
	uint64_t *header = header_of(uc);
	if (header)
		header[word & 7] |= word & ~7ul;
}

/* Word 0: components; 1: the compact form; others: reserved, of which the manual has the
 * CPU look at the first only. */
static void frame_header(void *unused)
{
	come_back("header", change_header, 0);
	come_back("header", change_header, 1ul << 62);
	come_back("header", change_header, 1ul << 40);
	come_back("header", change_header, 1ul << 63 | 1);
	come_back("header", change_header, 1ul << 8 | 2);
}

static void handler_address(void *unused)
{
	static const unsigned long values[] = {HALF, UPPER_HALF, 1ul << 63};
	for (size_t i = 0; i < COUNT(values); i++) {
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			signal(SIGUSR1, (void (*)(int))values[i]);
			raise(SIGUSR1);
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}

/* A SYSCALL there would return to the first address that is not canonical. */
static void last_page(void *unused)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
	CHECK(mmap((void *)USER_TOP, PAGE, prot, flags, -1, 0) == MAP_FAILED && errno == ENOMEM);
	CHECK(mmap((void *)(USER_TOP - PAGE), PAGE, prot, flags, -1, 0) != MAP_FAILED ||
	      errno == EEXIST);
}

int main(void)
{
	run_case("arch_prctl_bases", arch_prctl_bases);
	run_case("clone_base", clone_base);
	run_case("clone3_base", clone3_base);
	run_case("instructions", instructions);
	run_case("frame_rip", frame_rip);
	run_case("frame_selectors", frame_selectors);
	run_case("frame_flags", frame_flags);
	run_case("frame_header", frame_header);
	run_case("handler_address", handler_address);
	run_case("last_page", last_page);
	return failures != 0;
}
