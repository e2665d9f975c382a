/* SPDX-License-Identifier: MIT */
/*
 * How many areas a program may have, what /proc says of them, and what may be done with
 * which kind of area: the limit at every call that splits one, advice that is refused, locking
 * without touching, where stacks stop and what moves where.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/time.h>

#define RW (PROT_READ | PROT_WRITE)
#define AP (MAP_PRIVATE | MAP_ANONYMOUS)

#define MOST 65530 /* areas of a process */

static sigjmp_buf back;

static void caught(int number)
{
	siglongjmp(back, number);
}

/* Is a write to p a fault? */
static bool faults(volatile char *p)
{
	struct sigaction action = {.sa_handler = caught}, old;
	sigaction(SIGSEGV, &action, &old);
	int number = sigsetjmp(back, 1);
	if (!number)
		*p = 1;
	sigaction(SIGSEGV, &old, NULL);
	return number != 0;
}

static bool mapped(char *p)
{
	unsigned char seen;
	return mincore(p, PAGE, &seen) == 0;
}

static bool present(char *p)
{
	unsigned char seen;
	return mincore(p, PAGE, &seen) == 0 && (seen & 1);
}

/* A free stretch of the address space. */
static char *free_range(unsigned pages)
{
	char *p = anonymous(pages * PAGE, PROT_NONE);
	munmap(p, pages * PAGE);
	return p;
}

static int file_of(unsigned pages)
{
	char name[] = "/tmp/areas.XXXXXX";
	int fd = mkstemp(name);
	CHECK(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
	unlink(name);
	return fd;
}

/* The areas of this process; the last line of its maps may be the kernel's own. */
static long areas_now(void)
{
	char line[512];
	long count = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof(line), f))
		count += !strstr(line, "[vsyscall]");
	if (f)
		fclose(f);
	return count;
}

/* Pages of different protection until no more can be had. */
static char *fill_up(void)
{
	char *base = free_range(2 * MOST);
	long have = areas_now();
	for (long i = 0; have + i < MOST; i++)
		if (mmap(base + i * PAGE, PAGE, i & 1 ? PROT_READ : RW, AP | MAP_FIXED, -1, 0) ==
		    MAP_FAILED) {
			printf("    after %ld\n", have + i);
			failures++;
			break;
		}
	return base;
}

static void limit_of_areas(void *unused)
{
	(void)unused;
	char *big = anonymous(16 * PAGE, RW), out[4096];
	char *base = fill_up();
	/* One more than the limit, by mmap alone. */
	CHECK(mmap(base + (MOST + 10) * PAGE, PAGE, RW, AP | MAP_FIXED, -1, 0) != MAP_FAILED);
	CHECK(mmap(base + (MOST + 20) * PAGE, PAGE, RW, AP | MAP_FIXED, -1, 0) == MAP_FAILED &&
	      errno == ENOMEM);
	CHECK(munmap(base + (MOST + 10) * PAGE, PAGE) == 0);
	/* No call cuts an area in two. */
	CHECK(munmap(big + 4 * PAGE, PAGE) == -1 && errno == ENOMEM);
	CHECK(mprotect(big + 4 * PAGE, PAGE, PROT_READ) == -1 && errno == ENOMEM);
	CHECK(mlock(big + 4 * PAGE, PAGE) == -1 && errno == ENOMEM);
	CHECK(madvise(big + 4 * PAGE, PAGE, MADV_DONTFORK) != 0);
	CHECK(mmap(big + 4 * PAGE, PAGE, PROT_READ, AP | MAP_FIXED, -1, 0) == MAP_FAILED &&
	      errno == ENOMEM);
	CHECK(mremap(big, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, base + (MOST + 30) * PAGE) ==
		  MAP_FAILED &&
	      errno == ENOMEM);
	memset(big, 1, 16 * PAGE);
	/* Its ends may go, and all of it may change. */
	CHECK(munmap(big, PAGE) == 0 && munmap(big + 15 * PAGE, PAGE) == 0);
	CHECK(mprotect(big + PAGE, 14 * PAGE, PROT_READ) == 0);
	CHECK(madvise(big + PAGE, 2 * PAGE, MADV_DONTNEED) == 0);
	/* What looks at a process does not count its areas one by one. */
	for (int i = 0; i < 2000; i++) {
		int fd = open("/proc/self/statm", O_RDONLY);
		CHECK(fd >= 0 && read(fd, out, sizeof(out)) > 0);
		close(fd);
	}
}

/* The maps of a process with many areas, all of them, in pieces of any size. */
static void maps_in_pieces(void *unused)
{
	(void)unused;
	char *base = free_range(6002);
	for (int i = 0; i < 3000; i++)
		CHECK(mmap(base + (2 * i + 1) * PAGE, PAGE, i & 1 ? RW : PROT_READ, AP | MAP_FIXED,
			   -1, 0) != MAP_FAILED);
	for (size_t piece = 100; piece < 100000; piece *= 9) {
		char *text = malloc(2 << 20), line[64], *at = text;
		int fd = open("/proc/self/maps", O_RDONLY);
		size_t used = 0;
		ssize_t n;
		while ((n = read(fd, text + used, piece)) > 0)
			used += (size_t)n;
		text[used] = 0;
		close(fd);
		int found = 0;
		for (int i = 0; i < 3000; i++) {
			snprintf(line, sizeof(line), "%08lx-%08lx ",
				 (unsigned long)(base + (2 * i + 1) * PAGE),
				 (unsigned long)(base + (2 * i + 2) * PAGE));
			char *next = strstr(at, line);
			if (next) {
				found++;
				at = next;
			}
		}
		CHECK(found == 3000);
		free(text);
	}
	/* From the middle, as pread gives it. */
	char a[300], b[100];
	int fd = open("/proc/self/maps", O_RDONLY);
	CHECK(read(fd, a, sizeof(a)) == sizeof(a) && pread(fd, b, sizeof(b), 150) == sizeof(b));
	CHECK(!memcmp(a + 150, b, sizeof(b)));
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && read(fd, b, sizeof(b)) == sizeof(b));
	CHECK(!memcmp(a, b, sizeof(b)));
}

static char *whole_file(const char *name)
{
	size_t room = 1 << 20, used = 0;
	char *text = malloc(room);
	int fd = open(name, O_RDONLY);
	ssize_t n;
	while ((n = read(fd, text + used, room - 1 - used)) > 0)
		used += (size_t)n;
	CHECK(n == 0);
	text[used] = 0;
	close(fd);
	return text;
}

/* The kilobytes of a line of smaps, from `at` on; of all such lines together. */
static long kilobytes(const char *at, const char *line, bool all)
{
	long sum = 0;
	while (at && (at = strstr(at, line)) != NULL) {
		sum += atol(at += strlen(line));
		if (!all)
			break;
	}
	return sum;
}

/* What numa_maps says of the area at p, without the address, and without what pages are
 * active, which a kernel without a list of them does not know. */
static void print_node(const char *what, const void *p)
{
	char *text = whole_file("/proc/self/numa_maps"), address[20], *line;
	snprintf(address, sizeof(address), "%08lx ", (unsigned long)p);
	line = strstr(text, address);
	CHECK(line);
	char *words = line ? strtok(line + strlen(address), "\n") : NULL;
	char *active = words ? strstr(words, " active=") : NULL;
	if (active)
		memmove(active, active + strcspn(active + 1, " ") + 1,
			strlen(active + strcspn(active + 1, " ") + 1) + 1);
	if (words)
		printf("    %s: %s\n", what, words);
	free(text);
}

static void maps_of_nodes(void *unused)
{
	(void)unused;
	(void)!unlink("/tmp/areas of nodes");
	int fd = open("/tmp/areas of nodes", O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 9 * PAGE) == 0);
	char *own = anonymous(9 * PAGE, RW), *nothing = anonymous(9 * PAGE, PROT_NONE);
	char *shared = mmap(NULL, 9 * PAGE, RW, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 9 * PAGE, RW, MAP_PRIVATE, fd, 0);
	char *common = mmap(NULL, 9 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(mprotect(nothing, PAGE, PROT_READ) == 0); /* an area of its own */
	memset(own, 1, 4 * PAGE);
	memset(shared, 1, 9 * PAGE);
	memset(common, 1, 2 * PAGE);
	memset(private, 2, 9 * PAGE);
	print_node("own", own);
	print_node("nothing", nothing + PAGE);
	print_node("shared", shared);
	print_node("private", private);
	print_node("common", common);
	char *text = whole_file("/proc/self/numa_maps");
	CHECK(strstr(text, " default stack anon="));
	free(text);
	unlink("/tmp/areas of nodes");
	print_node("no name", shared);
}

/* One sum for all areas. */
static void rolled_up(void *unused)
{
	(void)unused;
	static const char *const lines[] = {
	    "\nRss:",           "\nShared_Dirty:", "\nPrivate_Clean:",
	    "\nPrivate_Dirty:", "\nAnonymous:",    "\nLocked:"};
	char *own = anonymous(400 * PAGE, RW);
	memset(own, 1, 300 * PAGE);
	CHECK(mlock(own, 10 * PAGE) == 0);
	free(whole_file("/proc/self/smaps")); /* what this takes is there from now on */
	char *each = whole_file("/proc/self/smaps"), *sum = whole_file("/proc/self/smaps_rollup");
	CHECK(strstr(sum, " ---p 00000000 00:00 0 ") && strstr(sum, " [rollup]\nRss:"));
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		long a = kilobytes(each, lines[i], true), b = kilobytes(sum, lines[i], true);
		CHECK(labs(a - b) <= 16);
	}
	CHECK(kilobytes(sum, "\nAnonymous:", false) >= 1200);
}

static volatile int ticks;

static void tick(int number)
{
	(void)number;
	ticks++;
}

/* A signal that is handled neither ends such a reading nor spoils what it says. */
static void signals_meanwhile(void *unused)
{
	(void)unused;
	const long tables = 2048;
	const size_t table = 2 << 20;
	char *p = mmap(NULL, tables * table, RW, AP | MAP_NORESERVE, -1, 0), line[40];
	struct sigaction action = {.sa_handler = tick};
	struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
	CHECK(p != MAP_FAILED && madvise(p, tables * table, 15 /* MADV_NOHUGEPAGE */) == 0);
	for (long i = 0; i < tables; i++)
		p[i * (long)table] = 1;
	snprintf(line, sizeof(line), "%08lx-", (unsigned long)p);
	CHECK(sigaction(SIGALRM, &action, NULL) == 0); /* no SA_RESTART */
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (int i = 0; i < 10 || ticks < 20; i++) {
		char *text = whole_file(i & 1 ? "/proc/self/smaps_rollup" : "/proc/self/smaps");
		const char *from = i & 1 ? text : strstr(text, line);
		CHECK(kilobytes(from, "\nRss:", false) >= tables * 4);
		free(text);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

/* Nothing is asked page by page where nothing is. */
static void much_of_nothing(void *unused)
{
	(void)unused;
	char text[4096];
	size_t huge = 16ul << 40;
	char *p = mmap(NULL, huge, PROT_NONE, AP | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	for (int i = 0; i < 10; i++) {
		int fd = open("/proc/self/smaps", O_RDONLY);
		ssize_t n = 0;
		while ((n = read(fd, text, sizeof(text))) > 0)
			continue;
		CHECK(n == 0);
		close(fd);
	}
	unsigned char *seen = malloc(1 << 20);
	memset(seen, 7, 1 << 20);
	CHECK(mincore(p, (1ul << 20) * PAGE, seen) == 0);
	for (int i = 0; i < 1 << 20; i += 4099)
		CHECK(seen[i] == 0);
}

/* mincore asks the file, not the mapping. */
static void residency_of_files(void *unused)
{
	(void)unused;
	int fd = file_of(6);
	char page[PAGE];
	unsigned char seen[6];
	memset(page, 1, PAGE);
	CHECK(pwrite(fd, page, PAGE, 0) == PAGE && pwrite(fd, page, PAGE, 4 * PAGE) == PAGE);
	for (int shared = 0; shared < 2; shared++) {
		char *p = mmap(NULL, 6 * PAGE, PROT_READ, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		CHECK(mincore(p, 6 * PAGE, seen) == 0);
		for (int i = 0; i < 6; i++)
			CHECK((seen[i] & 1) == (i == 0 || i == 4));
		CHECK(present(p + 4 * PAGE) && !present(p + 5 * PAGE));
	}
}

static void advice_refused(void *unused)
{
	(void)unused;
	int fd = file_of(2), status;
	char *shared = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	char *memory = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char link[40];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	int fd_read = open(link, O_RDONLY);
	char *readable = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd_read, 0);
	char *own = anonymous(2 * PAGE, RW);
	private[0] = memory[0] = 5;
	CHECK(madvise(shared, PAGE, MADV_WIPEONFORK) == -1 && errno == EINVAL);
	CHECK(madvise(private, PAGE, MADV_WIPEONFORK) == -1 && errno == EINVAL);
	CHECK(madvise(memory, PAGE, MADV_WIPEONFORK) == -1 && errno == EINVAL);
	CHECK(madvise(own, PAGE, MADV_WIPEONFORK) == 0);
	pid_t pid = fork();
	if (!pid)
		_exit(private[0] == 5 && memory[0] == 5 ? 7 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	/* Taking pages out of an object: through what may write to it, if nobody locked it. */
	shared[0] = 9;
	CHECK(madvise(private, PAGE, MADV_REMOVE) == -1 && errno == EACCES);
	CHECK(madvise(readable, PAGE, MADV_REMOVE) == -1 && errno == EACCES);
	CHECK(madvise(own, PAGE, MADV_REMOVE) == -1 && errno == EINVAL);
	CHECK(mlock(shared, PAGE) == 0);
	CHECK(madvise(shared, 2 * PAGE, MADV_REMOVE) == -1 && errno == EINVAL && shared[0] == 9);
	CHECK(munlock(shared, PAGE) == 0);
	CHECK(madvise(shared, 2 * PAGE, MADV_REMOVE) == 0 && shared[0] == 0);
	/* Locked pages are dropped by the advice that says so. */
	own[0] = 3;
	CHECK(mlock(own, PAGE) == 0);
	CHECK(madvise(own, PAGE, MADV_DONTNEED) == -1 && errno == EINVAL && own[0] == 3);
	CHECK(madvise(own, PAGE, 24 /* MADV_DONTNEED_LOCKED */) == 0 && own[0] == 0);
	CHECK(msync(own, PAGE, MS_INVALIDATE) == -1 && errno == EBUSY);
	CHECK(munlock(own, PAGE) == 0 && msync(own, PAGE, MS_INVALIDATE) == 0);
}

/* Does smaps say `flag` of the area of [start, end)? -1: it is no area. */
static int has_flag(const char *start, const char *end, const char *flag)
{
	char line[512], want[64];
	int found = -1;
	FILE *f = fopen("/proc/self/smaps", "r");
	snprintf(want, sizeof(want), "%08lx-%08lx ", (unsigned long)start, (unsigned long)end);
	while (f && found < 0 && fgets(line, sizeof(line), f)) {
		if (strncmp(line, want, strlen(want)))
			continue;
		while (fgets(line, sizeof(line), f) && strncmp(line, "VmFlags:", 8))
			;
		found = strstr(line, flag) != NULL;
	}
	if (f)
		fclose(f);
	return found;
}

/* What a program says of a range is kept with it, and makes an area of it. */
static void advice_is_kept(void *unused)
{
	(void)unused;
	static const struct {
		int set, unset;
		const char *flag;
	} advices[] = {{MADV_RANDOM, MADV_NORMAL, " rr"},
		       {MADV_SEQUENTIAL, MADV_NORMAL, " sr"},
		       {MADV_DONTDUMP, MADV_DODUMP, " dd"},
		       {MADV_DONTFORK, MADV_DOFORK, " dc"},
		       {MADV_WIPEONFORK, MADV_KEEPONFORK, " wf"}};
	char *around = anonymous(7 * PAGE, PROT_NONE), *p = around + PAGE, *end = p + 5 * PAGE;
	CHECK(mprotect(p, 5 * PAGE, RW) == 0);
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
		const char *flag = advices[i].flag;
		CHECK(has_flag(p, end, flag) == 0);
		CHECK(madvise(p + 2 * PAGE, PAGE, advices[i].set) == 0);
		CHECK(has_flag(p, p + 2 * PAGE, flag) == 0);
		CHECK(has_flag(p + 2 * PAGE, p + 3 * PAGE, flag) == 1);
		CHECK(has_flag(p + 3 * PAGE, end, flag) == 0);
		CHECK(madvise(p + 2 * PAGE, PAGE, advices[i].unset) == 0);
		CHECK(has_flag(p, end, flag) == 0);
	}
	/* Of two that exclude each other the last one counts. */
	CHECK(madvise(p, 5 * PAGE, MADV_HUGEPAGE) == 0 && has_flag(p, end, " hg") == 1);
	CHECK(madvise(p, 5 * PAGE, MADV_NOHUGEPAGE) == 0 && has_flag(p, end, " hg") == 0);
	CHECK(has_flag(p, end, " nh") == 1);
	CHECK(madvise(p, 5 * PAGE, MADV_RANDOM) == 0 && madvise(p, 5 * PAGE, MADV_SEQUENTIAL) == 0);
	CHECK(has_flag(p, end, " rr") == 0 && has_flag(p, end, " sr") == 1);
}

/* Touching ahead is no access: nothing grows for it. */
static void populate_below_a_stack(void *unused)
{
	(void)unused;
	for (int advice = 22; advice <= 23; advice++) { /* MADV_POPULATE_READ, _WRITE */
		char *r = free_range(600), *stack = r + 500 * PAGE;
		CHECK(mmap(stack, PAGE, RW, AP | MAP_GROWSDOWN | MAP_FIXED, -1, 0) == stack);
		CHECK(madvise(stack - 8 * PAGE, 8 * PAGE, advice) == -1 && errno == ENOMEM);
		CHECK(!mapped(stack - PAGE) && !mapped(stack - 8 * PAGE));
		CHECK(!faults(stack - 8 * PAGE) && mapped(stack - 8 * PAGE));
	}
}

static void lock_on_fault(void *unused)
{
	(void)unused;
	char *p = anonymous(8 * PAGE, RW);
	CHECK(mlock2(p, 4 * PAGE, MLOCK_ONFAULT) == 0);
	CHECK(!present(p) && !present(p + 3 * PAGE));
	p[0] = 1;
	CHECK(present(p) && !present(p + PAGE));
	CHECK(madvise(p, PAGE, MADV_DONTNEED) == -1 && errno == EINVAL); /* locked it is */
	CHECK(mlock(p, 2 * PAGE) == 0 && present(p + PAGE) && !present(p + 2 * PAGE));
	CHECK(munlock(p, 8 * PAGE) == 0 && madvise(p, PAGE, MADV_DONTNEED) == 0);
	CHECK(mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0);
	CHECK(!present(p + 5 * PAGE));
	char *q = mmap(NULL, 1ul << 40, RW, AP | MAP_NORESERVE, -1, 0);
	CHECK(!present(q) && !present(q + (1ul << 39)));
	CHECK(madvise(q, 1ul << 40,
		      15 /* MADV_NOHUGEPAGE: q may lie so that Linux gives 2 MiB */) == 0);
	q[PAGE] = 1;
	CHECK(present(q + PAGE) && !present(q));
	CHECK(munlockall() == 0);
	CHECK(mlockall(MCL_FUTURE) == 0);
	q = anonymous(4 * PAGE, RW);
	CHECK(present(q) && present(q + 3 * PAGE));
	CHECK(mlockall(MCL_ONFAULT) == -1 && errno == EINVAL);
}

/* What a stack keeps its distance from, and what not. */
static void stack_neighbours(void *unused)
{
	(void)unused;
	struct {
		int protection, flags;
		bool stops;
	} below[] = {{PROT_READ, 0, true}, {PROT_NONE, 0, false}, {RW, MAP_GROWSDOWN, false}};
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
		char *r = free_range(600), *stack = r + 500 * PAGE;
		CHECK(mmap(stack, PAGE, RW, AP | MAP_GROWSDOWN | MAP_FIXED, -1, 0) == stack);
		CHECK(mmap(r + 300 * PAGE, PAGE, below[i].protection,
			   AP | MAP_FIXED | below[i].flags, -1, 0) != MAP_FAILED);
		CHECK(faults(r + 400 * PAGE) == below[i].stops);
		CHECK(faults(r + 301 * PAGE) == below[i].stops);
	}
	/* Only the nearest counts: a guard hides what lies behind it. */
	char *r = free_range(600), *stack = r + 500 * PAGE;
	CHECK(mmap(stack, PAGE, RW, AP | MAP_GROWSDOWN | MAP_FIXED, -1, 0) == stack);
	CHECK(mmap(r + 298 * PAGE, PAGE, RW, AP | MAP_FIXED, -1, 0) != MAP_FAILED);
	CHECK(mmap(r + 300 * PAGE, PAGE, PROT_NONE, AP | MAP_FIXED, -1, 0) != MAP_FAILED);
	CHECK(!faults(r + 301 * PAGE));
}

/* What is moved goes where mmap would put it: below the stack. */
static void moves_below_the_stack(void *unused)
{
	(void)unused;
	char here;
	for (int i = 0; i < 20; i++) {
		char *p = anonymous(4 * PAGE, RW), *wall = p + 4 * PAGE;
		p[0] = (char)i;
		(void)!mmap(wall, PAGE, PROT_NONE, AP | MAP_FIXED_NOREPLACE, -1, 0);
		char *q = mremap(p, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
		CHECK(q != MAP_FAILED && q < &here && q[0] == (char)i);
	}
	char *shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *second = mremap(shared, 0, PAGE, MREMAP_MAYMOVE);
	CHECK(second != MAP_FAILED && second < &here);
	CHECK(mremap(shared, 0, PAGE, 0) == MAP_FAILED && errno == ENOMEM);
}

static void odd_maps(void *unused)
{
	(void)unused;
	static const unsigned long hints[] = {0, 0x10000, 0x7ffff000, 0x80000000, 1ul << 32};
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		char *p = mmap((void *)hints[i], 2 * PAGE, PROT_NONE, AP | MAP_32BIT, -1, 0);
		CHECK(p != MAP_FAILED && (unsigned long)p + 2 * PAGE <= 1ul << 31);
	}
	CHECK(mmap(NULL, PAGE, RW, MAP_ANONYMOUS | MAP_SHARED_VALIDATE, -1, 0) == MAP_FAILED &&
	      errno == EINVAL);
	CHECK(mmap(NULL, PAGE, RW, MAP_ANONYMOUS | MAP_SHARED | MAP_GROWSDOWN, -1, 0) ==
		  MAP_FAILED &&
	      errno == EINVAL);
	CHECK(mmap(NULL, 2 * PAGE, RW, AP, -1, 0x7ffffffffffff000) != MAP_FAILED);
	struct rlimit little = {PAGE, PAGE};
	CHECK(setrlimit(RLIMIT_MEMLOCK, &little) == 0 && setuid(1000) == 0);
	CHECK(mmap(NULL, 9 * PAGE, RW, AP | MAP_LOCKED, -1, 0) == MAP_FAILED && errno == EAGAIN);
}

/* A file that is mapped for reading cannot be written through /proc/self/mem. */
static void no_way_into_a_file(void *unused)
{
	(void)unused;
	int fd = file_of(1), mem = open("/proc/self/mem", O_RDWR);
	char c = 'x';
	char *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(pwrite(mem, &c, 1, (off_t)shared) == -1 && errno == EIO);
	CHECK(pread(fd, &c, 1, 0) == 1 && c == 0);
	c = 'x';
	CHECK(pwrite(mem, &c, 1, (off_t) private) == 1 && private[0] == 'x');
	CHECK(pread(fd, &c, 1, 0) == 1 && c == 0);
}

static const struct {
	const char *name;
	void (*body)(void *);
} cases[] = {
    {"limit_of_areas", limit_of_areas},
    {"maps_in_pieces", maps_in_pieces},
    {"maps_of_nodes", maps_of_nodes},
    {"rolled_up", rolled_up},
    {"signals_meanwhile", signals_meanwhile},
    {"much_of_nothing", much_of_nothing},
    {"residency_of_files", residency_of_files},
    {"advice_refused", advice_refused},
    {"advice_is_kept", advice_is_kept},
    {"populate_below_a_stack", populate_below_a_stack},
    {"lock_on_fault", lock_on_fault},
    {"stack_neighbours", stack_neighbours},
    {"moves_below_the_stack", moves_below_the_stack},
    {"odd_maps", odd_maps},
    {"no_way_into_a_file", no_way_into_a_file},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (argc < 2 || !strcmp(argv[1], cases[i].name))
			run_case(cases[i].name, cases[i].body);
	return failures != 0;
}
