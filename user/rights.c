/* SPDX-License-Identifier: MIT */
/*
 * rights: who may look into whom, and for how long.
 *
 * A user's program tries every file of /proc/PID and every call that names a process on
 * processes of all kinds. What it may is printed, and compared with Linux's answers.
 */
#define _GNU_SOURCE
#define CORNER "rights.d"
#include "rights.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/uio.h>

/* ---- kinds of processes -------------------------------------------------------------- */

static void own(void)
{
	become(USER, USER);
	run_copy("plain", "wait");
}

static void roots(void)
{
	run_copy("plain", "wait");
}

static void suid(void)
{
	become(USER, USER);
	run_copy("suid", "wait");
}

static void sgid(void)
{
	become(USER, USER);
	run_copy("sgid", "wait");
}

static void hidden(void)
{
	become(USER, USER);
	run_copy("hidden", "wait");
}

static void undumpable(void)
{
	become(USER, USER);
	IS(prctl(PR_SET_DUMPABLE, 0), 0);
}

static void dropped(void) /* root's memory, a user's numbers */
{
	IS(setresgid(USER, USER, USER), 0);
	IS(setresuid(USER, USER, USER), 0);
}

static void capable(void)
{
	IS(prctl(PR_SET_KEEPCAPS, 1), 0);
	become(USER, USER);
}

static void grouped(void)
{
	become(USER, 2000);
	run_copy("plain", "wait");
}

static void stranger(void)
{
	become(2000, 2000);
	run_copy("plain", "wait");
}

static const struct {
	const char *name;
	void (*start)(void);
} kinds[] = {
    {"own", own},
    {"root", roots},
    {"set-user-id", suid},
    {"set-group-id", sgid},
    {"unreadable", hidden},
    {"undumpable", undumpable},
    {"dropped", dropped},
    {"capable", capable},
    {"other group", grouped},
    {"other user", stranger},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- what is tried --------------------------------------------------------------------- */

static const char *file_path_of(pid_t pid, const char *name)
{
	static char path[100];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return path;
}

static void try_text(pid_t pid, const char *name)
{
	char text[4096];
	int fd = open(file_path_of(pid, name), O_RDONLY);
	printf("    %s: open %s", name, result_of(fd));
	if (fd >= 0) {
		ssize_t n = read(fd, text, sizeof(text));
		printf(", read %s", n < 0 ? strerrorname_np(errno) : n ? "some" : "nothing");
		close(fd);
	}
	printf("\n");
}

static void try_bytes(pid_t pid, const char *name, off_t at, size_t bytes)
{
	char text[8];
	int fd = open(file_path_of(pid, name), O_RDONLY);
	printf("    %s: open %s", name, result_of(fd));
	if (fd >= 0) {
		ssize_t n = pread(fd, text, bytes, at);
		printf(", read %ld", (long)n);
		close(fd);
	}
	printf("\n");
}

static void try_link(pid_t pid, const char *name)
{
	char text[200];
	struct stat s;
	ssize_t n = readlink(file_path_of(pid, name), text, sizeof(text));
	printf("    %s: read %s", name, result_of(n));
	printf(", follow %s\n", result_of(stat(file_path_of(pid, name), &s)));
}

static void try_directory(pid_t pid, const char *name)
{
	DIR *d = opendir(file_path_of(pid, name));
	printf("    %s: open %s", name, result_of(d ? 0 : -1));
	unsigned entries = 0;
	while (d && readdir(d))
		entries++;
	printf(", %s\n", entries > 2 ? "entries" : "nothing");
	if (d)
		closedir(d);
}

static void show_owner(pid_t pid, const char *name)
{
	struct stat s;
	long r = lstat(file_path_of(pid, name), &s);
	if (r)
		printf("    %s: %s\n", name, result_of(r));
	else
		printf("    %s: owner %u:%u mode %o\n", name, s.st_uid, s.st_gid, s.st_mode & 0777);
}

static const char *kind_of_number(unsigned long n)
{
	return n > 1 ? "address" : n ? "1" : "0";
}

/* Start of code, of stack; instruction; start of data, of arguments. */
static void try_stat(pid_t pid)
{
	static const int fields[] = {26, 28, 30, 45, 48};
	char text[1024];
	int fd = open(file_path_of(pid, "stat"), O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return;
	text[n] = 0;
	printf("    stat:");
	int field = 3;
	for (char *at = strtok(strrchr(text, ')') + 2, " "); at; at = strtok(NULL, " "), field++)
		for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			if (fields[i] == field)
				printf(" %s", kind_of_number(strtoul(at, NULL, 10)));
	printf("\n");
}

static void try_files(pid_t pid)
{
	static const char *const texts[] = {"auxv",          "cmdline", "comm",         "environ",
					    "limits",        "maps",    "smaps",        "mounts",
					    "oom_score_adj", "stat",    "statm",        "status",
					    "numa_maps",     "oom_adj", "smaps_rollup", "fdinfo/0"};
	static const char *const owned[] = {".", "mem", "fd", "cwd", "maps", "task", "fdinfo"};
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		try_text(pid, texts[i]);
	try_bytes(pid, "mem", (off_t)(uintptr_t)marker, 6);
	try_bytes(pid, "pagemap", (off_t)((uintptr_t)marker / PAGE * 8), 8);
	try_link(pid, "cwd");
	try_link(pid, "cwd/file");
	try_link(pid, "root");
	try_link(pid, "exe");
	try_link(pid, "fd/0");
	try_directory(pid, "fd");
	try_directory(pid, "fdinfo");
	try_directory(pid, "task");
	try_stat(pid);
	for (unsigned i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		show_owner(pid, owned[i]);
}

static void try_memory(pid_t pid)
{
	char text[8] = "";
	struct iovec here = {text, 6}, there = {(void *)(uintptr_t)marker, 6};
	ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);
	printf("    process_vm_readv: %s\n", n == 6 ? text : result_of(n));
	there.iov_base = (void *)(uintptr_t)(marker + 100);
	printf("    process_vm_writev: %s\n",
	       result_of(process_vm_writev(pid, &here, 1, &there, 1, 0)));
}

static void try_calls(pid_t pid)
{
	struct rlimit limit = {100, 100};
	struct {
		uint32_t version;
		int pid;
	} header = {0x20080522, pid};
	uint32_t data[6];
	void *head;
	size_t length;
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	try_memory(pid);
	printf("    prlimit: read %s", result_of(prlimit(pid, RLIMIT_NPROC, NULL, &limit)));
	printf(", write %s\n", result_of(prlimit(pid, RLIMIT_NPROC, &limit, NULL)));
	printf("    kill: %s\n", result_of(kill(pid, 0)));
	printf("    get_robust_list: %s\n",
	       result_of(syscall(SYS_get_robust_list, pid, &head, &length)));
	printf("    sched_setaffinity: %s\n",
	       result_of(sched_setaffinity(pid, sizeof(cpus), &cpus)));
	printf("    sched_getaffinity: %s\n",
	       result_of(sched_getaffinity(pid, sizeof(cpus), &cpus)));
	printf("    setpriority: %s\n", result_of(setpriority(PRIO_PROCESS, (id_t)pid, 5)));
	printf("    capget: %s\n", result_of(syscall(SYS_capget, &header, data)));
	printf("    getsid: %s\n", result_of(getsid(pid)));
}

/* Ten processes, made by root; then a user looks. */
static void looks(bool by_calls)
{
	struct other other[KINDS];
	IS(chdir(path_of("closed/inner")), 0);
	for (unsigned i = 0; i < KINDS; i++)
		other[i] = start_other(kinds[i].start);
	IS(chdir("/"), 0);
	fflush(stdout);
	pid_t looker = fork();
	if (looker == 0) {
		become(USER, USER);
		for (unsigned i = 0; i < KINDS; i++) {
			printf("  %s\n", kinds[i].name);
			by_calls ? try_calls(other[i].pid) : try_files(other[i].pid);
		}
		fflush(stdout);
		_exit(0);
	}
	waitpid(looker, NULL, 0);
	for (unsigned i = 0; i < KINDS; i++)
		end_other(other[i]);
}

static void files(void *unused __attribute__((unused)))
{
	looks(false);
}

static void calls(void *unused __attribute__((unused)))
{
	looks(true);
}

/* ---- what was opened before ---------------------------------------------------------- */

static int go[2];

/* A user's program that becomes a set-user-id one when it is told to. */
static void turncoat(void)
{
	char c;
	become(USER, USER);
	IS(write(3, "r", 1), 1);
	IS(read(60, &c, 1), 1);
	run_copy("suid", "wait");
}

static const char *const held[] = {"mem",     "maps",    "smaps",     "environ",
				   "auxv",    "stat",    "numa_maps", "smaps_rollup",
				   "pagemap", "cmdline", "status"};
#define HELD (sizeof(held) / sizeof(held[0]))

/* Did a read of the file `name` say anything of a program with other numbers? */
static const char *said(int fd, const char *name)
{
	char text[4096] = "";
	off_t at = 0;
	if (!strcmp(name, "mem"))
		at = (off_t)(uintptr_t)marker;
	if (!strcmp(name, "pagemap"))
		at = (off_t)((uintptr_t)marker / PAGE * 8);
	ssize_t n = pread(fd, text, at ? 8 : sizeof(text), at);
	if (n < 0)
		return strerrorname_np(errno);
	/* Linux keeps the vector of a program that is gone; it is the old one's. */
	for (ssize_t i = 0; !strcmp(name, "auxv") && i + 16 <= n; i += 16) {
		unsigned long pair[2];
		memcpy(pair, text + i, sizeof(pair));
		if (pair[0] == 23 && pair[1])
			return "AT_SECURE";
	}
	return !strcmp(name, "auxv") ? "nothing new" : n ? "some" : "nothing";
}

static void look_again(int fd[HELD], const char *when)
{
	printf("  %s\n", when);
	for (unsigned i = 0; i < HELD; i++)
		printf("    %s: %s\n", held[i], said(fd[i], held[i]));
}

static void outlive(void)
{
	int fd[HELD];
	IS(pipe(go), 0);
	dup2(go[0], 60);
	char c;
	int up[2], down[2];
	IS(pipe(up), 0);
	IS(pipe(down), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(up[1], 3);
		dup2(down[0], 4);
		fcntl(60, F_SETFD, FD_CLOEXEC);
		close(down[1]);
		turncoat();
	}
	IS(read(up[0], &c, 1), 1);
	int directory = open(file_path_of(pid, "."), O_RDONLY | O_DIRECTORY);
	for (unsigned i = 0; i < HELD; i++) {
		fd[i] = open(file_path_of(pid, held[i]), O_RDONLY);
		CHECK(fd[i] >= 0);
	}
	int writer = open(file_path_of(pid, "mem"), O_RDWR);
	look_again(fd, "before exec");
	IS(write(go[1], "g", 1), 1);
	IS(read(up[0], &c, 1), 1);
	look_again(fd, "after exec");
	printf("    mem, written: %ld\n", (long)pwrite(writer, "x", 1, (off_t)(uintptr_t)marker));
	printf("    mem, opened: %s\n", result_of(openat(directory, "mem", O_RDONLY)));
	printf("    environ, opened: %s\n", result_of(openat(directory, "environ", O_RDONLY)));
	close(down[1]);
	IS(waitpid(pid, NULL, 0), pid);
	printf("  after its end\n");
	for (unsigned i = 0; i < HELD; i++)
		if (strstr(held[i], "maps"))
			CHECK(strcmp(said(fd[i], held[i]), "some"));
		else
			printf("    %s: %s\n", held[i], said(fd[i], held[i]));
	CHECK(openat(directory, "stat", O_RDONLY) < 0 && (errno == ESRCH || errno == ENOENT));
}

static void held_over_exec(void *unused __attribute__((unused)))
{
	IS(chdir("/"), 0);
	become(USER, USER);
	outlive();
}

/* The number of a process that is gone comes round again, for a process of root's. */
static void held_over_number(void *unused __attribute__((unused)))
{
	static const char *const names[] = {"environ", "stat", "cmdline", "status", "mem"};
	int fd[5];
	pid_t pid;
	bool again = false;
	set_pid_max("1000");
	for (unsigned tries = 0; !again && tries < 5; tries++) {
		pid = child_to_pause();
		for (unsigned i = 0; i < 5; i++)
			fd[i] = open(file_path_of(pid, names[i]), O_RDONLY);
		IS(kill(pid, SIGKILL), 0);
		IS(waitpid(pid, NULL, 0), pid);
		again = child_of_number(pid);
	}
	set_pid_max("32768");
	CHECK(again);
	for (unsigned i = 0; i < 5; i++) {
		char text[64];
		ssize_t n = pread(fd[i], text, sizeof(text), i == 4 ? (off_t)(uintptr_t)marker : 0);
		printf("    %s: %s\n", names[i], n > 0 ? "some" : n ? result_of(n) : "nothing");
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- itself ---------------------------------------------------------------------------- */

static void itself(void *unused __attribute__((unused)))
{
	dropped(); /* not dumpable any more: its files are root's */
	show_owner(getpid(), "mem");
	show_owner(getpid(), "fd");
	printf("    mem: %s\n", result_of(open("/proc/self/mem", O_RDWR)));
	printf("    maps: %s\n", result_of(open("/proc/self/maps", O_RDONLY)));
	try_directory(getpid(), "fd");
	try_link(getpid(), "fd/1");
	IS(prctl(PR_GET_DUMPABLE), 0);
	IS(prctl(PR_SET_DUMPABLE, 1), 0);
	show_owner(getpid(), "mem");
	printf("    mem: %s\n", result_of(open("/proc/self/mem", O_RDWR)));
	FAILS(chmod("/proc/self/mem", 0666), EPERM);
	FAILS(prctl(PR_SET_DUMPABLE, 2), EINVAL);
}

/* By force a program writes to its own copy, not to what it shares and may only read. */
static void force(void *unused __attribute__((unused)))
{
	int mem = open("/proc/self/mem", O_RDWR), file = make("/tmp/rights.force", "unchanged");
	int readable = open("/tmp/rights.force", O_RDONLY);
	char *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, readable, 0);
	char *lowered = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	char *copy = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, readable, 0);
	char *own_page = anonymous(PAGE, PROT_NONE), text[10] = "";
	IS(mprotect(lowered, PAGE, PROT_READ), 0);
	FAILS(pwrite(mem, "x", 1, (off_t)(uintptr_t)shared), EIO);
	FAILS(pwrite(mem, "x", 1, (off_t)(uintptr_t)lowered), EIO);
	IS(pwrite(mem, "y", 1, (off_t)(uintptr_t)copy), 1);
	IS(pwrite(mem, "z", 1, (off_t)(uintptr_t)own_page), 1);
	IS(copy[0], 'y');
	IS(pread(file, text, 9, 0), 9);
	CHECK(!strcmp(text, "unchanged"));
	unlink("/tmp/rights.force");
}

static void score_in(const char *name, const char *text)
{
	static const char *const both[] = {"/proc/self/oom_score_adj", "/proc/self/oom_adj"};
	int fd = open(name, O_WRONLY);
	printf("    %s: %s, now", text, result_of(write(fd, text, strlen(text))));
	close(fd);
	for (int i = 0; i < 2; i++) {
		char now[10] = "";
		fd = open(both[i], O_RDONLY);
		CHECK(read(fd, now, sizeof(now) - 1) > 0);
		printf(" %d", atoi(now));
		close(fd);
	}
	printf("\n");
}

static void score(const char *text)
{
	score_in("/proc/self/oom_score_adj", text);
}

static void old_score(const char *text)
{
	score_in("/proc/self/oom_adj", text);
}

static void spared(void *unused __attribute__((unused)))
{
	score("-200");
	score("-100");
	become(USER, USER);
	score("-101");
	score("500");
	score("-100");
	score("-1000");
	score("1001");
}

/* The file from before: another scale, and no way back without the right. */
static void spared_of_old(void *unused __attribute__((unused)))
{
	static const char *const values[] = {"-17", "-16", "-1", "0",   "1", "7",
					     "14",  "15",  "16", "-18", "x", "3 "};
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		old_score(values[i]);
	score("-300");
	become(USER, USER);
	score("999");
	old_score("15");
	old_score("14");
	int fd = open("/proc/self/oom_adj", O_WRONLY);
	FAILS(write(fd, "14", 2), EACCES);
	close(fd);
	score("-300");
	old_score("-6");
	old_score("-5");
}

/* ---- what has ended, but was not waited for ------------------------------------------------- */

static void ended(void *unused __attribute__((unused)))
{
	static const char *const names[] = {
	    "auxv",         "cmdline", "comm",      "environ",  "limits",    "maps",
	    "mem",          "mounts",  "mountinfo", "oom_adj",  "oom_score", "oom_score_adj",
	    "smaps_rollup", "pagemap", "numa_maps", "smaps",    "stat",      "statm",
	    "status",       "fd/0",    "fdinfo/0",  "task/self"};
	static const char *const lines[] = {
	    "State:", "Uid:", "FDSize:", "Threads:", "VmRSS:", "Umask:", "SigQ:"};
	char text[4096];
	for (int root = 1; root >= 0; root--) {
		if (!root)
			become(USER, USER);
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0)
			_exit(3);
		IS(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
		printf("  %s\n", root ? "root" : "user");
		for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			try_text(pid, names[i]);
		try_link(pid, "cwd");
		try_link(pid, "root");
		try_link(pid, "exe");
		try_directory(pid, "fd");
		try_directory(pid, "fdinfo");
		try_directory(pid, "task");
		try_stat(pid);
		show_owner(pid, ".");
		show_owner(pid, "mem");
		show_owner(pid, "fd");
		int fd = open(file_path_of(pid, "status"), O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text) - 1);
		text[n < 0 ? 0 : n] = 0;
		close(fd);
		for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
			char *at = strstr(text, lines[i]);
			printf("    %.*s\n", at ? (int)strcspn(at, "/\n") : 4, at ? at : "none");
		}
		IS(waitpid(pid, NULL, 0), pid);
	}
}

/* ---- low addresses ------------------------------------------------------------------------ */

static const char *mapped_at(uintptr_t at, int flags)
{
	char *p = mmap((void *)at, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (p == MAP_FAILED)
		return strerrorname_np(errno);
	munmap(p, PAGE);
	return p == (char *)at ? "there" : p >= (char *)0x10000 ? "above" : "below";
}

static void map_low(void)
{
	char *p = anonymous(PAGE, PROT_READ | PROT_WRITE);
	printf("    0: %s\n", mapped_at(0, MAP_FIXED));
	printf("    f000: %s\n", mapped_at(0xf000, MAP_FIXED));
	printf("    f000, if free: %s\n", mapped_at(0xf000, MAP_FIXED_NOREPLACE));
	printf("    10000: %s\n", mapped_at(0x10000, MAP_FIXED));
	printf("    1000, a hint: %s\n", mapped_at(0x1000, 0));
	void *q = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x1000);
	printf("    moved to 1000: %s\n", q == MAP_FAILED ? strerrorname_np(errno) : "there");
}

static void grow_low(void *unused __attribute__((unused)))
{
	char *p = mmap((void *)0x10000, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	CHECK(p == (char *)0x10000);
	*p = 1;
	*(volatile char *)0xfff8 = 1;
}

static void low(void *unused __attribute__((unused)))
{
	printf("  root\n");
	map_low();
	become(USER, USER);
	printf("  user\n");
	map_low();
	printf("    a stack that grows: %s\n", outcome(in_child(grow_low, NULL)));
	printf("    mmap_min_addr: %s\n", result_of(open("/proc/sys/vm/mmap_min_addr", O_WRONLY)));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc > 1 && !strcmp(argv[1], "wait"))
		return wait_to_end();
	make_place();
	run_case("files", files);
	run_case("calls", calls);
	run_case("held over exec", held_over_exec);
	run_case("held over number", held_over_number);
	run_case("itself", itself);
	run_case("force", force);
	run_case("spared", spared);
	run_case("spared of old", spared_of_old);
	run_case("ended", ended);
	run_case("low", low);
	return failures != 0;
}
