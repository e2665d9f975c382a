/* SPDX-License-Identifier: MIT */
/*
 * Floating-point and vector registers belong to their thread, whatever happens between two
 * of its instructions: sleeping calls, preemption, other CPUs, signals, fork, exec.
 *
 * Each check loads everything that FXRSTOR loads, with values of its own, and the upper
 * halves of two AVX registers; lets something happen without touching any; and compares.
 */
#define _GNU_SOURCE
#include "check.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define THREADS 6
#define TURNS   300

/* As FXSAVE lays it out: control words, eight 80-bit registers, sixteen of 128 bits. */
struct state {
	uint16_t control, status;
	uint8_t tag, reserved;
	uint16_t opcode;
	uint64_t ip, data;
	uint32_t mxcsr, mxcsr_mask;
	struct {
		uint64_t mantissa;
		uint16_t exponent, reserved[3];
	} x87[8];
	uint64_t xmm[16][2];
	uint8_t rest[96];
	uint64_t upper[2][2]; /* of YMM5 and YMM12 */
} __attribute__((aligned(16)));

static bool avx;

static struct state pattern(uint64_t seed)
{
	struct state s;
	memset(&s, 0, sizeof(s));
	s.control = 0x37f ^ (uint16_t)((seed & 3) << 10); /* another rounding */
	s.mxcsr = 0x1f80 ^ (uint32_t)((seed & 3) << 13);
	s.tag = 0xff; /* none is empty */
	for (unsigned i = 0; i < 8; i++) {
		s.x87[i].mantissa = (seed * 31 + i) | 1ull << 63;
		s.x87[i].exponent = 0x3fff;
	}
	for (unsigned i = 0; i < 16; i++) {
		s.xmm[i][0] = seed * 0x9e3779b97f4a7c15 + i;
		s.xmm[i][1] = ~seed ^ (uint64_t)i << 56;
	}
	for (unsigned i = 0; i < 4; i++)
		s.upper[i / 2][i % 2] = seed + i;
	return s;
}

#define EVERY_REGISTER                                                                             \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
	    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", \
	    "st(5)", "st(6)", "st(7)"

static bool same(const struct state *a, const struct state *b)
{
	bool equal = a->control == b->control && a->mxcsr == b->mxcsr && a->tag == b->tag;
	for (unsigned i = 0; i < 8; i++)
		equal &= a->x87[i].mantissa == b->x87[i].mantissa &&
			 a->x87[i].exponent == b->x87[i].exponent;
	return equal && !memcmp(a->xmm, b->xmm, sizeof(a->xmm)) &&
	       (!avx || !memcmp(a->upper, b->upper, sizeof(a->upper)));
}

/* One system call, with the registers of this seed; false: they came back as others. The
 * processor's modes are put back before any C runs. */
static bool call(uint64_t seed, long *result, long number, uint64_t a, uint64_t b, uint64_t c,
		 uint64_t d)
{
	struct state in = pattern(seed), out = in, own;
	register uint64_t r10 __asm__("r10") = d;
	__asm__ volatile("fxsave64 (%[own])" ::[own] "r"(&own) : "memory");
	__asm__ volatile("fxrstor64 (%[in])\n\t"
			 "cmpb $0, %[avx]\n\t"
			 "je 1f\n\t"
			 "vinsertf128 $1, 512(%[in]), %%ymm5, %%ymm5\n\t"
			 "vinsertf128 $1, 528(%[in]), %%ymm12, %%ymm12\n"
			 "1:	syscall\n\t"
			 "fxsave64 (%[out])\n\t"
			 "cmpb $0, %[avx]\n\t"
			 "je 2f\n\t"
			 "vextractf128 $1, %%ymm5, 512(%[out])\n\t"
			 "vextractf128 $1, %%ymm12, 528(%[out])\n"
			 "2:	fxrstor64 (%[own])"
			 : "=a"(*result)
			 : "a"(number), "D"(a), "S"(b), "d"(c),
			   "r"(r10), [in] "r"(&in), [out] "r"(&out), [own] "r"(&own), [avx] "m"(avx)
			 : "rcx", "r11", "cc", "memory", EVERY_REGISTER);
	return same(&in, &out);
}

/* The same for so many turns of a loop that calls nothing. */
static bool spin(uint64_t seed, uint64_t turns)
{
	struct state in = pattern(seed), out = in, own;
	__asm__ volatile("fxsave64 (%[own])" ::[own] "r"(&own) : "memory");
	__asm__ volatile("fxrstor64 (%[in])\n"
			 "1:	dec %[turns]\n\t"
			 "jnz 1b\n\t"
			 "fxsave64 (%[out])\n\t"
			 "fxrstor64 (%[own])"
			 : [turns] "+r"(turns)
			 : [in] "r"(&in), [out] "r"(&out), [own] "r"(&own)
			 : "cc", "memory", EVERY_REGISTER);
	memcpy(out.upper, in.upper, sizeof(in.upper));
	return same(&in, &out);
}

/* ---- cases ------------------------------------------------------------------------ */

/* Two processes wake each other. */
static void pipes(void *unused)
{
	int there[2], back[2];
	long n;
	char byte = 0;
	(void)unused;
	CHECK(pipe(there) == 0 && pipe(back) == 0);
	pid_t pid = fork();
	int *in = pid ? back : there, *out = pid ? there : back;
	for (uint64_t i = 0; i < TURNS; i++) {
		uint64_t seed = i * 2 + !pid;
		if (pid)
			CHECK(call(seed, &n, SYS_write, out[1], (uint64_t)&byte, 1, 0) && n == 1);
		CHECK(call(seed + 1, &n, SYS_read, in[0], (uint64_t)&byte, 1, 0) && n == 1);
		if (!pid)
			CHECK(call(seed, &n, SYS_write, out[1], (uint64_t)&byte, 1, 0) && n == 1);
	}
	if (!pid)
		_exit(failures != 0);
	int status;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static atomic_bool wrong;
static uint32_t word;

/* Threads yield, sleep, and move from CPU to CPU. */
static void *mover(void *argument)
{
	uint64_t me = (uint64_t)argument;
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	struct timespec soon = {.tv_nsec = 200000};
	for (uint64_t i = 0; i < TURNS; i++) {
		uint64_t mask = 1ull << ((me + i) % cpus), seed = me << 32 | i;
		long n;
		bool good = call(seed, &n, SYS_sched_yield, 0, 0, 0, 0);
		if (i % 4 == me % 4)
			good &= call(seed + 1, &n, SYS_sched_setaffinity, 0, sizeof(mask),
				     (uint64_t)&mask, 0);
		if (i % 8 == me % 8)
			good &= call(seed + 2, &n, SYS_futex, (uint64_t)&word, FUTEX_WAIT, 0,
				     (uint64_t)&soon);
		good &= spin(seed + 3, 2000);
		if (!good)
			wrong = true;
	}
	return NULL;
}

static void all(void *(*body)(void *))
{
	pthread_t thread[THREADS];
	for (uint64_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&thread[i], NULL, body, (void *)(i + 1)) == 0);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
	CHECK(!wrong);
}

static void movers(void *unused)
{
	(void)unused;
	all(mover);
}

/* A handler finds a fresh state, sleeps, and leaves another one behind. */
static volatile sig_atomic_t handled, stale;

static void handler(int number)
{
	struct state found;
	long n;
	(void)number;
	__asm__ volatile("fxsave64 %0" : "=m"(found));
	if (found.control != 0x37f || (found.mxcsr & 0xffc0) != 0x1f80 || found.tag)
		stale = 1;
	if (!call(77 + (uint64_t)handled, &n, SYS_sched_yield, 0, 0, 0, 0))
		stale = 1;
	handled++;
}

static void signals(void *unused)
{
	struct sigaction action = {.sa_handler = handler};
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	long n;
	(void)unused;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (uint64_t i = 0; handled < 50; i++) {
		CHECK(spin(i, 10000));
		CHECK(call(i + 1, &n, SYS_kill, (uint64_t)getpid(), SIGALRM, 0, 0) && n == 0);
		if (failures)
			break;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	CHECK(!stale);
}

/* A child has its parent's, and then its own. */
static void forks(void *unused)
{
	(void)unused;
	for (uint64_t i = 0; i < 20; i++) {
		long pid, n;
		int status;
		bool good = call(i, &pid, SYS_fork, 0, 0, 0, 0);
		if (pid == 0) {
			for (uint64_t turn = 0; turn < 10; turn++)
				good &= call(~turn, &n, SYS_sched_yield, 0, 0, 0, 0);
			_exit(!good);
		}
		CHECK(good && spin(i + 1, 100));
		CHECK(waitpid((pid_t)pid, &status, 0) == pid && status == 0);
	}
}

static void execs(void *unused)
{
	char *argv[] = {(char[]){"fpu"}, (char[]){"fresh"}, NULL};
	struct state mine = pattern(1);
	(void)unused;
	__asm__ volatile("fxrstor64 %0" ::"m"(mine));
	execv("/proc/self/exe", argv);
	_exit(1);
}

int main(int argc, char **argv)
{
	(void)argv;
	avx = __builtin_cpu_supports("avx");
	if (argc > 1) { /* after exec: what the C library's start leaves alone */
		struct state found;
		__asm__ volatile("fxsave64 %0" : "=m"(found));
		return found.control != 0x37f || found.mxcsr != 0x1f80 || found.tag;
	}
	run_case("pipes", pipes);
	run_case("movers", movers);
	run_case("signals", signals);
	run_case("forks", forks);
	run_case("execs", execs);
	return failures != 0;
}
