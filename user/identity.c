/* SPDX-License-Identifier: MIT */
/*
 * identity: who a program is, what that lets it do, and how exec changes it.
 *
 * What a program becomes is printed from its own /proc/self/status, and compared with
 * what the same steps make of it under Linux.
 */
#define _GNU_SOURCE
#define CORNER "identity.d"
#include "rights.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

/* ---- what it is -------------------------------------------------------------------------- */

static void show(void)
{
	static const char *const lines[] = {
	    "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:"};
	char line[300];
	int death = -1;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			if (!strncmp(line, lines[i], strlen(lines[i])))
				printf("    %s", line);
	if (f)
		fclose(f);
	IS(prctl(PR_GET_PDEATHSIG, &death), 0);
	printf("    secure %lu, dumpable %d, death signal %d, fixed addresses %d\n",
	       getauxval(AT_SECURE), prctl(PR_GET_DUMPABLE), death,
	       !!(personality(0xffffffff) & ADDR_NO_RANDOMIZE));
	struct rlimit stack;
	IS(getrlimit(RLIMIT_STACK, &stack), 0);
	printf("    stack %lx, at most %lx\n", stack.rlim_cur, stack.rlim_max);
	CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid());
	CHECK(getauxval(AT_GID) == getgid() && getauxval(AT_EGID) == getegid());
	fflush(stdout);
}

/* ---- capabilities ---------------------------------------------------------------------- */

static struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

struct sets {
	uint64_t effective, permitted, inheritable;
};

static struct sets get_sets(void)
{
	struct __user_cap_data_struct d[2];
	IS(syscall(SYS_capget, &header, d), 0);
	return (struct sets){d[0].effective | (uint64_t)d[1].effective << 32,
			     d[0].permitted | (uint64_t)d[1].permitted << 32,
			     d[0].inheritable | (uint64_t)d[1].inheritable << 32};
}

static long set_sets(struct sets s)
{
	struct __user_cap_data_struct d[2];
	for (int i = 0; i < 2; i++)
		d[i] = (struct __user_cap_data_struct){(uint32_t)(s.effective >> 32 * i),
						       (uint32_t)(s.permitted >> 32 * i),
						       (uint32_t)(s.inheritable >> 32 * i)};
	return syscall(SYS_capset, &header, d);
}

static void without(int cap)
{
	struct sets s = get_sets();
	s.effective &= ~(1ull << cap);
	IS(set_sets(s), 0);
}

static void show_sets(const char *when)
{
	struct sets s = get_sets();
	printf("    %s: effective %lx, permitted %lx, inheritable %lx\n", when, s.effective,
	       s.permitted, s.inheritable);
}

static void capabilities(void *unused __attribute__((unused)))
{
	struct sets s = get_sets(), more;
	show_sets("root");
	s.effective &= ~(1ull << CAP_CHOWN);
	IS(set_sets(s), 0);
	show_sets("one is not effective");
	s.effective |= 1ull << CAP_CHOWN;
	IS(set_sets(s), 0);
	s.effective = s.permitted = 1ull << CAP_KILL | 1ull << CAP_SETUID;
	s.inheritable = 1ull << CAP_KILL;
	IS(set_sets(s), 0);
	show_sets("two are left");
	more = s;
	more.permitted |= 1ull << CAP_CHOWN;
	FAILS(set_sets(more), EPERM);
	more = s;
	more.effective |= 1ull << CAP_CHOWN;
	FAILS(set_sets(more), EPERM);
	more = s;
	more.inheritable |= 1ull << CAP_CHOWN;
	FAILS(set_sets(more), EPERM);
	header.pid = getppid();
	FAILS(set_sets(s), EPERM);
	header.pid = -1;
	FAILS(syscall(SYS_capget, &header, &(struct __user_cap_data_struct[2]){{0, 0, 0}}), EINVAL);
	header.pid = 0;
	FAILS(setgid(5), EPERM);
	IS(seteuid(USER), 0);
	show_sets("another effective user");
	IS(seteuid(0), 0);
	show_sets("root again");
	IS(setresuid(USER, USER, USER), 0);
	show_sets("another user");
	FAILS(setuid(0), EPERM);
}

static void kept(void *unused __attribute__((unused)))
{
	IS(prctl(PR_SET_KEEPCAPS, 1), 0);
	IS(setresuid(USER, USER, USER), 0);
	show_sets("another user");
	struct sets s = get_sets();
	s.effective = 1ull << CAP_SETUID;
	IS(set_sets(s), 0);
	IS(setresuid(0, 0, 0), 0);
	show_sets("root again");
	syscall(SYS_setfsuid, USER);
	show_sets("another user for files");
	FAILS(open(path_of("closed/inner/file"), O_RDONLY), EACCES);
	syscall(SYS_setfsuid, 0);
	show_sets("root for files");
}

static void bounded(void *unused __attribute__((unused)))
{
	IS(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
	IS(prctl(PR_CAPBSET_DROP, CAP_CHOWN), 0);
	IS(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
	FAILS(prctl(PR_CAPBSET_DROP, 200), EINVAL);
	show_sets("not yet");
	become(USER, USER);
	FAILS(prctl(PR_CAPBSET_DROP, CAP_KILL), EPERM);
	run_copy("suid", "show");
}

/* ---- each capability, and what cannot be done without --------------------------------- */

static pid_t a_user; /* a process of another user's */

static long give_away(void)
{
	return chown("file", USER, USER);
}

static long read_closed(void)
{
	return open("private", O_RDONLY);
}

static long change_others_mode(void)
{
	return chmod("private", 0666);
}

static long keep_set_id(void) /* of a group that is not ours */
{
	struct stat s;
	return chmod("program", 02755) || stat("program", &s) ? -1 : (long)s.st_mode & 07777;
}

static long end_other_user(void)
{
	return kill(a_user, 0);
}

static long set_user(void)
{
	return setresuid(5, 5, 5);
}

static long set_group(void)
{
	return setgroups(0, NULL);
}

static long look(void)
{
	char path[50];
	snprintf(path, sizeof(path), "/proc/%d/mem", a_user);
	return open(path, O_RDONLY) < 0 ? -1 : 0;
}

static long set_host_name(void)
{
	return sethostname("quire", 5);
}

static long faster(void)
{
	return setpriority(PRIO_PROCESS, 0, -5);
}

static long others_faster(void)
{
	return setpriority(PRIO_PROCESS, (id_t)a_user, 5);
}

static long raise_limit(void)
{
	struct rlimit low = {10, 10}, high = {20, 20};
	return setrlimit(RLIMIT_CORE, &low) || setrlimit(RLIMIT_CORE, &high);
}

static long others_limit(void)
{
	struct rlimit r;
	return prlimit(a_user, RLIMIT_CORE, NULL, &r);
}

static long lock_memory(void)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	struct rlimit none = {0, 0};
	return setrlimit(RLIMIT_MEMLOCK, &none) || mlock(page, PAGE) ? -1 : 0;
}

static long map_zero(void)
{
	return mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == NULL
		   ? 0
		   : -1;
}

static long make_device(void)
{
	return mknod("device", S_IFCHR | 0600, 0x103);
}

static long new_root(void)
{
	return chroot(".");
}

static long be_spared(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	return write(fd, "-10", 3) == 3 ? 0 : -1;
}

static long set_time(void)
{
	struct timespec now;
	return clock_gettime(CLOCK_REALTIME, &now) || clock_settime(CLOCK_REALTIME, &now);
}

static long do_mount(void)
{
	return syscall(SYS_mount, "none", "mounted", "tmpfs", 0, NULL);
}

static const struct {
	const char *name;
	int cap;
	long (*act)(void);
} needs[] = {
    {"CHOWN", CAP_CHOWN, give_away},
    {"DAC_OVERRIDE", CAP_DAC_OVERRIDE, read_closed},
    {"FOWNER", CAP_FOWNER, change_others_mode},
    {"FSETID", CAP_FSETID, keep_set_id},
    {"KILL", CAP_KILL, end_other_user},
    {"SETUID", CAP_SETUID, set_user},
    {"SETGID", CAP_SETGID, set_group},
    {"SYS_PTRACE", CAP_SYS_PTRACE, look},
    {"SYS_ADMIN", CAP_SYS_ADMIN, set_host_name},
    {"SYS_ADMIN", CAP_SYS_ADMIN, do_mount},
    {"SYS_NICE", CAP_SYS_NICE, faster},
    {"SYS_NICE", CAP_SYS_NICE, others_faster},
    {"SYS_RESOURCE", CAP_SYS_RESOURCE, raise_limit},
    {"SYS_RESOURCE", CAP_SYS_RESOURCE, others_limit},
    {"SYS_RESOURCE", CAP_SYS_RESOURCE, be_spared},
    {"IPC_LOCK", CAP_IPC_LOCK, lock_memory},
    {"SYS_RAWIO", CAP_SYS_RAWIO, map_zero},
    {"MKNOD", CAP_MKNOD, make_device},
    {"SYS_CHROOT", CAP_SYS_CHROOT, new_root},
    {"SYS_TIME", CAP_SYS_TIME, set_time},
};

static void try_without(void *which)
{
	unsigned i = (unsigned)(uintptr_t)which;
	if (needs[i].cap == CAP_DAC_OVERRIDE)
		without(CAP_DAC_READ_SEARCH);
	if (needs[i].cap == CAP_SYS_PTRACE) { /* a file's mode is not what is asked here */
		printf("    with: %s\n", result_of(look()));
	}
	without(needs[i].cap);
	long r = needs[i].act();
	printf("    without %s: %s", needs[i].name, result_of(r));
	printf(r > 0 ? " %lo\n" : "\n", r);
	struct sets s = get_sets();
	s.effective = s.permitted;
	if (set_sets(s) == 0) {
		r = needs[i].act();
		printf("    with: %s", result_of(r));
		printf(r > 0 && needs[i].act == keep_set_id ? " %lo\n" : "\n", r);
	}
}

static void needed(void *unused __attribute__((unused)))
{
	fresh("needed");
	IS(mkdir("mounted", 0755), 0);
	close(make("file", ""));
	close(make("private", ""));
	IS(chown("private", 1001, 1001), 0);
	IS(chmod("private", 0600), 0);
	close(make("program", ""));
	IS(chown("program", 0, 1001), 0);
	fflush(stdout);
	a_user = fork();
	if (a_user == 0) {
		IS(setresgid(1001, 1001, 1001), 0);
		IS(setresuid(1001, 1001, 1001), 0);
		pause();
	}
	usleep(100000);
	for (uintptr_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		IS(in_child(try_without, (void *)i), 0);
	syscall(SYS_umount2, "mounted", 0);
	kill(a_user, SIGKILL);
	waitpid(a_user, NULL, 0);
}

/* ---- exec -------------------------------------------------------------------------------- */

static void as_user(void)
{
	become(USER, USER);
}

static void as_root(void)
{
}

static void without_new(void)
{
	become(USER, USER);
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
}

static void half_root(void)
{
	IS(seteuid(USER), 0);
}

static void weak_root(void)
{
	struct sets s = {1ull << CAP_KILL, 1ull << CAP_KILL, 0};
	IS(set_sets(s), 0);
}

static void in_groups(void)
{
	gid_t groups[] = {7, 8, 9};
	IS(setgroups(3, groups), 0);
	IS(setresgid(USER, USER, USER), 0);
	IS(setresuid(USER, USER, USER), 0);
	IS(personality(ADDR_NO_RANDOMIZE), 0);
	IS(prctl(PR_SET_PDEATHSIG, SIGUSR1), 0);
}

static const struct {
	const char *name;
	void (*become)(void);
} starts[] = {
    {"user", as_user},        {"root", as_root},        {"no new privileges", without_new},
    {"half root", half_root}, {"weak root", weak_root}, {"in groups", in_groups}};

static void start_copy(void *which)
{
	static const char *const copies[] = {"plain", "suid", "sgid", "hidden", "script"};
	unsigned i = (unsigned)(uintptr_t)which;
	starts[i / 5].become();
	printf("  %s, %s\n", starts[i / 5].name, copies[i % 5]);
	fflush(stdout);
	run_copy(copies[i % 5], "show");
}

static void execs(void *unused __attribute__((unused)))
{
	char text[100];
	snprintf(text, sizeof(text), "#!%s show\n", path_of("plain"));
	close(make(path_of("script"), text));
	IS(chmod(path_of("script"), 06755), 0);
	for (uintptr_t i = 0; i < 5 * sizeof(starts) / sizeof(starts[0]); i++)
		IS(in_child(start_copy, (void *)i), 0);
}

/* ---- the stack's limit ------------------------------------------------------------------ */

static const rlim_t stacks[] = {1 << 20, 8 << 20, 64 << 20, RLIM_INFINITY};

static void start_limited(void *which)
{
	static const char *const copies[] = {"plain", "suid", "sgid"};
	unsigned i = (unsigned)(uintptr_t)which;
	struct rlimit limit = {stacks[i / 3 % 4], RLIM_INFINITY};
	IS(setrlimit(RLIMIT_STACK, &limit), 0);
	if (i < 12)
		become(USER, USER);
	printf("  %s, %s, %lx\n", i < 12 ? "user" : "root", copies[i % 3], limit.rlim_cur);
	fflush(stdout);
	run_copy(copies[i % 3], "show");
}

/* Who starts a program that is more than he does not choose where its memory lies. */
static void limited(void *unused __attribute__((unused)))
{
	for (uintptr_t i = 0; i < 24; i++)
		IS(in_child(start_limited, (void *)i), 0);
}

/* ---- what a set-id program shares with who started it ----------------------------------- */

static int shared_start(void *name)
{
	run_copy(name, "show");
	return 0;
}

static void share(unsigned long flags, const char *copy)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	fflush(stdout);
	pid_t pid = clone(shared_start, stack + sizeof(stack), (int)flags | SIGCHLD, (void *)copy);
	int status;
	IS(waitpid(pid, &status, 0), pid);
	printf("    %s\n", outcome(status));
}

static void shared(void *unused __attribute__((unused)))
{
	become(USER, USER);
	printf("  directory, set-user-id\n");
	share(CLONE_FS, (char *)"suid");
	printf("  directory, set-group-id\n");
	share(CLONE_FS, (char *)"sgid");
	printf("  directory, plain\n");
	share(CLONE_FS, (char *)"plain");
	printf("  descriptors, set-user-id\n");
	share(CLONE_FILES, (char *)"suid");
	printf("  memory, set-user-id\n");
	share(CLONE_VM | CLONE_VFORK, (char *)"suid");
}

/* What a set-user-id program opens is not in the table of who started it. */
static int shared_wait(void *unused)
{
	(void)unused;
	run_copy("suid", "open");
	return 0;
}

static void shared_table(void *unused __attribute__((unused)))
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	int up[2], down[2];
	char c = 0;
	become(USER, USER);
	IS(pipe(up), 0);
	IS(pipe(down), 0);
	up[0] = fcntl(up[0], F_DUPFD, 50);
	down[1] = fcntl(down[1], F_DUPFD, 50);
	int in = fcntl(down[0], F_DUPFD, 50), out = fcntl(up[1], F_DUPFD, 50);
	dup2(out, 3);
	dup2(in, 4);
	pid_t pid = clone(shared_wait, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	IS(read(up[0], &c, 1), 1);
	IS(c, 'o'); /* it has opened a file of root's at 40 */
	FAILS(fcntl(40, F_GETFD), EBADF);
	IS(close(3), 0); /* nor is 3 closed for it */
	IS(write(down[1], "g", 1), 1);
	IS(read(up[0], &c, 1), 1);
	IS(c, 'p');
	IS(waitpid(pid, NULL, 0), pid);
}

static int open_and_wait(void)
{
	char c;
	int fd = open(path_of("closed/inner/file"), O_RDONLY);
	dup2(fd, 40);
	if (write(3, "o", 1) != 1 || read(4, &c, 1) != 1)
		return 1;
	return write(3, "p", 1) != 1;
}

/* ---- set-id bits of files ---------------------------------------------------------------- */

static void show_mode(const char *what, const char *name)
{
	struct stat s;
	IS(stat(name, &s), 0);
	printf("    %s: %u:%u %o\n", what, s.st_uid, s.st_gid, s.st_mode & 07777);
}

static void file_bits(void *unused __attribute__((unused)))
{
	gid_t groups[] = {7};
	fresh("bits");
	IS(mkdir("shared", 0777), 0);
	IS(chown("shared", 0, 9), 0);
	IS(chmod("shared", 02777), 0);
	IS(mkdir("mine", 0777), 0);
	IS(chown("mine", USER, USER), 0);
	close(make("of9", ""));
	IS(chown("of9", USER, 9), 0);
	IS(chmod("of9", 0755), 0);
	IS(setgroups(1, groups), 0);
	IS(setresgid(USER, USER, USER), 0);
	IS(setresuid(USER, USER, USER), 0);
	umask(0);
	close(open("shared/program", O_CREAT | O_RDWR, 02775));
	show_mode("made in a directory of another group", "shared/program");
	close(open("shared/locked", O_CREAT | O_RDWR, 02765));
	show_mode("the same, not executable by it", "shared/locked");
	IS(mkdir("shared/dir", 0755), 0);
	show_mode("a directory there", "shared/dir");
	IS(chmod("of9", 06755), 0);
	show_mode("a file of another group", "of9");
	IS(chown("of9", (uid_t)-1, 7), 0);
	show_mode("given to a supplementary group", "of9");
	IS(chmod("of9", 06755), 0);
	show_mode("of that group", "of9");
	FAILS(chown("of9", (uid_t)-1, 9), EPERM);
	FAILS(chown("of9", 0, (gid_t)-1), EPERM);
	int fd = open("of9", O_RDWR);
	IS(write(fd, "x", 1), 1);
	show_mode("written", "of9");
	IS(chmod("of9", 06755), 0);
	IS(ftruncate(fd, 0), 0);
	show_mode("cut", "of9");
	IS(chmod("of9", 06755), 0);
	IS(chown("of9", USER, 7), 0);
	show_mode("owned again", "of9");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(what, "show"))
		return show(), failures != 0;
	if (!strcmp(what, "open"))
		return open_and_wait();
	make_place();
	run_case("capabilities", capabilities);
	run_case("kept", kept);
	run_case("bounded", bounded);
	run_case("needed", needed);
	run_case("execs", execs);
	run_case("limited", limited);
	run_case("shared", shared);
	run_case("shared table", shared_table);
	run_case("file bits", file_bits);
	return failures != 0;
}
