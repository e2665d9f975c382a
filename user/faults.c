/* SPDX-License-Identifier: MIT */
/*
 * Every way to touch memory wrongly: which signal, which code, which address.
 * A handler on an alternate stack takes the signal and reports it; the address
 * is printed relative to what was touched. Without arguments all cases run,
 * each in a child; `faults NAME` does one without a handler, and dies of it.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile int got_signal, got_code;
static volatile uintptr_t got_address;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)context;
	got_signal = number;
	got_code = info->si_code;
	got_address = (uintptr_t)info->si_addr;
	siglongjmp(back, 1);
}

static void take_signals(void)
{
	static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	stack_t alternate = {.ss_sp = anonymous(65536, PROT_READ | PROT_WRITE), .ss_size = 65536};
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaltstack(&alternate, NULL);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

static const char *code_name(void)
{
	static char text[20];
	if (got_code == SI_KERNEL)
		return "SI_KERNEL";
	if (got_signal == SIGSEGV && got_code == SEGV_MAPERR)
		return "SEGV_MAPERR";
	if (got_signal == SIGSEGV && got_code == SEGV_ACCERR)
		return "SEGV_ACCERR";
	if (got_signal == SIGBUS && got_code == BUS_ADRERR)
		return "BUS_ADRERR";
	snprintf(text, sizeof(text), "code %d", got_code);
	return text;
}

/* ---- the wrongs ----------------------------------------------------------------- */

static volatile char *volatile target; /* what will be touched */
static volatile char sink;
typedef void (*function)(void);

static int file_of(size_t bytes)
{
	char name[] = "/tmp/faults.XXXXXX";
	int fd = mkstemp(name);
	unlink(name);
	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		exit(1);
	return fd;
}

static void touch_read(void)
{
	sink = *target;
}
static void touch_write(void)
{
	*target = 1;
}
static void touch_call(void)
{
	((function)(uintptr_t)target)();
}

static void null_read(void)
{
	target = NULL;
	touch_read();
}
static void null_write(void)
{
	target = (char *)8;
	touch_write();
}
static void null_call(void)
{
	target = NULL;
	touch_call();
}
static void unmapped_read(void)
{
	char *p = anonymous(PAGE, PROT_READ);
	munmap(p, PAGE);
	target = p + 100;
	touch_read();
}
static void unmapped_write(void)
{
	char *p = anonymous(PAGE, PROT_READ);
	munmap(p, PAGE);
	target = p + 4095;
	touch_write();
}
static void unmapped_call(void)
{
	char *p = anonymous(PAGE, PROT_READ);
	munmap(p, PAGE);
	target = p + 16;
	touch_call();
}
static void read_only_write(void)
{
	target = anonymous(PAGE, PROT_READ) + 7;
	touch_read();
	touch_write();
}
static void read_only_untouched_write(void)
{
	target = anonymous(PAGE, PROT_READ) + 7;
	touch_write();
}
static void none_read(void)
{
	target = anonymous(PAGE, PROT_NONE) + 1;
	touch_read();
}
static void made_none_read(void)
{
	target = anonymous(PAGE, PROT_READ | PROT_WRITE);
	touch_write();
	mprotect((void *)target, PAGE, PROT_NONE);
	touch_read();
}
static void made_read_only_write(void)
{
	target = anonymous(PAGE, PROT_READ | PROT_WRITE);
	touch_write();
	mprotect((void *)target, PAGE, PROT_READ);
	touch_write();
}
static void data_call(void)
{
	target = anonymous(PAGE, PROT_READ | PROT_WRITE);
	*target = (char)0xc3; /* ret */
	touch_call();
}
static void untouched_data_call(void)
{
	target = anonymous(PAGE, PROT_READ | PROT_WRITE);
	touch_call();
}
static void stack_call(void)
{
	volatile char code[16] = {(char)0xc3};
	target = code;
	touch_call();
}
static void static_data_call(void)
{
	static volatile char code[16] = {(char)0xc3};
	target = code;
	touch_call();
}
static void text_write(void)
{
	target = (char *)(uintptr_t)text_write;
	touch_write();
}
static void rodata_write(void)
{
	target = (char *)(uintptr_t) "constant";
	touch_write();
}
static void kernel_read(void)
{
	target = (char *)0xffff800000000000;
	touch_read();
}
static void kernel_top_write(void)
{
	target = (char *)0xffffffffffffffff;
	touch_write();
}
static void kernel_call(void)
{
	target = (char *)0xffffffff80000000;
	touch_call();
}
static void user_end_read(void)
{
	target = (char *)0x7ffffffff000;
	touch_read();
}
static void hole_read(void)
{
	target = (char *)0x800000000000;
	touch_read();
}
static void hole_write(void)
{
	target = (char *)0x7fffffffffffffff;
	touch_write();
}
static void hole_call(void)
{
	target = (char *)0x1234567890abcdef;
	touch_call();
}
static void past_file_read(void)
{
	int fd = file_of(PAGE + 10);
	target = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	sink = target[PAGE + 4000]; /* the last page of the file is there, and zero */
	target += 2 * PAGE + 5;
	touch_read();
}
static void past_file_write(void)
{
	int fd = file_of(10);
	target = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	target += PAGE;
	touch_write();
}
static void truncated_read(void)
{
	int fd = file_of(2 * PAGE);
	target = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	target += PAGE + 1;
	touch_read();
	if (ftruncate(fd, 100))
		exit(1);
	touch_read();
}
static void deep(char *from)
{
	volatile char room[2000];
	room[0] = 1;
	if (from - room < (64 << 20))
		deep(from);
	sink = room[0];
}
static void stack_overflow(void)
{
	/* The exact address depends on the frames: only the distance is known. */
	struct rlimit limit = {256 << 10, 256 << 10};
	volatile char here = 0;
	setrlimit(RLIMIT_STACK, &limit);
	target = &here;
	deep((char *)&here);
}
static void below_stack_gap(void)
{
	char *stack = __builtin_frame_address(0);
	target = stack - (100 << 20);
	touch_write();
}
static void divide(void)
{
	__asm__ volatile("div %0" ::"r"(0), "a"(1), "d"(0));
}
static void undefined(void)
{
	__asm__ volatile("ud2");
}
static void privileged(void)
{
	__asm__ volatile("hlt");
}
static void port(void)
{
	__asm__ volatile("outb %%al, $0x80" ::"a"(0));
}
static void breakpoint(void)
{
	__asm__ volatile("int3");
}
static void interrupt(void)
{
	__asm__ volatile("int $0x20");
}
static void page_fault_vector(void)
{
	__asm__ volatile("int $14");
}
static void bad_segment(void)
{
	__asm__ volatile("mov %0, %%ds" ::"r"(0x1234));
}

static const struct {
	const char *name;
	void (*wrong)(void);
	bool exact; /* si_addr must be what was touched */
} cases[] = {
    {"null_read", null_read, true},
    {"null_write", null_write, true},
    {"null_call", null_call, true},
    {"unmapped_read", unmapped_read, true},
    {"unmapped_write", unmapped_write, true},
    {"unmapped_call", unmapped_call, true},
    {"read_only_write", read_only_write, true},
    {"read_only_untouched_write", read_only_untouched_write, true},
    {"none_read", none_read, true},
    {"made_none_read", made_none_read, true},
    {"made_read_only_write", made_read_only_write, true},
    {"data_call", data_call, true},
    {"untouched_data_call", untouched_data_call, true},
    {"stack_call", stack_call, true},
    {"static_data_call", static_data_call, true},
    {"text_write", text_write, true},
    {"rodata_write", rodata_write, true},
    {"kernel_read", kernel_read, true},
    {"kernel_top_write", kernel_top_write, true},
    {"kernel_call", kernel_call, true},
    {"user_end_read", user_end_read, true},
    {"hole_read", hole_read, false},
    {"hole_write", hole_write, false},
    {"hole_call", hole_call, false},
    {"past_file_read", past_file_read, true},
    {"past_file_write", past_file_write, true},
    {"truncated_read", truncated_read, true},
    {"stack_overflow", stack_overflow, false},
    {"below_stack_gap", below_stack_gap, true},
    {"divide", divide, false},
    {"undefined", undefined, false},
    {"privileged", privileged, false},
    {"port", port, false},
    {"breakpoint", breakpoint, false},
    {"interrupt", interrupt, false},
    {"page_fault_vector", page_fault_vector, false},
    {"bad_segment", bad_segment, false},
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static void handled(void *argument)
{
	size_t i = *(size_t *)argument;
	take_signals();
	if (sigsetjmp(back, 1) == 0) {
		cases[i].wrong();
		printf("%s: nothing happened\n", cases[i].name);
		return;
	}
	printf("%s: SIG%s %s", cases[i].name, sigabbrev_np(got_signal), code_name());
	if (cases[i].exact)
		printf(got_address == (uintptr_t)target ? ", exact" : ", address %lx not %lx",
		       got_address, (uintptr_t)target);
	else if (cases[i].wrong == stack_overflow)
		printf(", %s", (uintptr_t)target - got_address < (512 << 10) ? "near" : "far");
	else if (got_code == SI_KERNEL)
		printf(", address %lx", got_address);
	printf("\n");
}

static void unhandled(void *argument)
{
	cases[*(size_t *)argument].wrong();
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < CASES; i++) {
		if (argc > 1) {
			if (!strcmp(argv[1], cases[i].name))
				cases[i].wrong();
			continue;
		}
		int status = in_child(handled, &i);
		if (status)
			printf("%s: with a handler: %s\n", cases[i].name, outcome(status));
		printf("    without: %s\n", outcome(in_child(unhandled, &i)));
	}
	return 0;
}
