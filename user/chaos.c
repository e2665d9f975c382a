/* SPDX-License-Identifier: MIT */
/*
 * Random system calls with random arguments, from many short-lived processes.
 * Whatever they do to themselves, the kernel has to outlive them.
 *
 *     chaos [SECONDS [SEED]]
 *
 * Arguments are drawn from what tends to break things: small numbers, sizes
 * near powers of two, descriptors, addresses inside, across the end of, and far
 * outside of mappings, kernel addresses. Calls that would end the test itself
 * (reboot, killing others) are left out.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS 460

static uint64_t state;

static uint64_t draw(void)
{
	state += 0x9e3779b97f4a7c15;
	uint64_t z = state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static char *arena; /* 64 pages readable and writable, then nothing */
#define ARENA (64 * 4096)

static uint64_t argument(void)
{
	static const uint64_t odd[] = {
	    0,
	    1,
	    (uint64_t)-1,
	    4095,
	    4096,
	    4097,
	    0x7fffffff,
	    0x80000000,
	    0xffffffff,
	    0x100000000,
	    1ull << 46,
	    1ull << 47,
	    (1ull << 47) - 4096,
	    1ull << 63,
	    0xffff800000000000,
	    ~4095ull,
	    0xffffffff80000000,
	    0xffffffff81000000,
	};
	switch (draw() % 10) {
	case 0:
	case 1:
		return odd[draw() % (sizeof(odd) / sizeof(odd[0]))];
	case 2:
	case 3:
	case 4:
		return (uint64_t)arena + draw() % ARENA;
	case 5:
		return (uint64_t)arena + ARENA - draw() % 64;
	case 6:
		return ((uint64_t)arena + draw() % (2 * ARENA)) & ~4095ull;
	case 7:
		return draw() % 16;
	case 8:
		return 1ull << (draw() % 64);
	default:
		return draw() >> (draw() % 64);
	}
}

static int forbidden(long call)
{
	switch (call) {
	case SYS_reboot:
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_send_signal:
	case SYS_process_madvise:
	case SYS_fork: /* chaos makes its own processes; these would outlive it */
	case SYS_vfork:
	case SYS_clone:
	case SYS_clone3:
	case SYS_setsid: /* would escape killpg */
	case SYS_setpgid:
	case SYS_umount2:
	case SYS_pivot_root:
	case SYS_chroot:
	case SYS_clock_settime:
	case SYS_settimeofday:
	case SYS_setuid: /* with what follows, the parent could not end it */
	case SYS_ptrace:
	case SYS_unlink:
	case SYS_unlinkat:
	case SYS_rename:
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_pause:
	case SYS_init_module:
	case SYS_finit_module:
	case SYS_kexec_load:
	case SYS_vhangup:
	case SYS_swapon:
	case SYS_syslog:
	case SYS_exit: /* these end it too soon to be of use */
	case SYS_exit_group:
	case SYS_execve:
	case SYS_execveat:
		return 1;
	default:
		return 0;
	}
}

static void child(uint64_t seed)
{
	state = seed;
	struct rlimit limit = {64 << 20, 64 << 20};
	setrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max = 2;
	setrlimit(RLIMIT_CPU, &limit);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	arena = mmap(NULL, 2 * ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(arena + ARENA, ARENA);
	for (size_t i = 0; i < ARENA; i += 8)
		*(uint64_t *)(arena + i) = draw() % 4 ? draw() % 256 : argument();
	for (int i = 1; i < 64; i++)
		if (draw() % 3 == 0)
			signal(i, SIG_IGN);
	alarm(3);
	signal(SIGALRM, SIG_DFL);
	if (chdir("/tmp"))
		_exit(1);
	for (;;) {
		long call = (long)(draw() % CALLS);
		if (call == SYS_rt_sigreturn && draw() % 64)
			continue;
		if (!forbidden(call))
			syscall(call, argument(), argument(), argument(), argument(), argument(),
				argument());
	}
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	time_t end = time(NULL) + seconds;
	unsigned long children = 0, by_signal = 0;
	printf("chaos: seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	while (time(NULL) < end) {
		pid_t pid = fork();
		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0) {
			setpgid(0, 0);
			child(seed + children * 1000003);
			_exit(0);
		}
		int status = 0, waited = 0;
		/* A child may end up asleep for ever in a call it made: end it then. */
		while (waitpid(pid, &status, WNOHANG) == 0) {
			struct timespec nap = {0, 20 * 1000 * 1000};
			nanosleep(&nap, NULL);
			if (++waited == 25) {
				kill(pid, SIGKILL);
				waitpid(pid, &status, 0);
				break;
			}
		}
		by_signal += WIFSIGNALED(status);
		children++;
	}
	printf("chaos: survived %lu processes, %lu ended by a signal\n", children, by_signal);
	return 0;
}
