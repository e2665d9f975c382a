/* SPDX-License-Identifier: MIT */
/*
 * What mmap and its relatives promise: each case in a child of its own, checked
 * against what the calls are documented to do.
 */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static sigjmp_buf back;

static void caught(int number)
{
	siglongjmp(back, number);
}

/* Which signal does a touch raise? 0: none. */
static int touch(volatile char *p, bool write)
{
	struct sigaction action = {.sa_handler = caught}, old_segv, old_bus;
	sigaction(SIGSEGV, &action, &old_segv);
	sigaction(SIGBUS, &action, &old_bus);
	int number = sigsetjmp(back, 1);
	if (!number) {
		if (write)
			*p = *p;
		else
			(void)*p;
	}
	sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGBUS, &old_bus, NULL);
	return number;
}

static int file_with_pages(unsigned pages)
{
	static char block[PAGE];
	char name[] = "/tmp/memory.XXXXXX";
	int fd = mkstemp(name);
	CHECK(fd >= 0);
	unlink(name);
	for (unsigned i = 0; i < pages; i++) {
		memset(block, 'a' + (int)i, PAGE);
		CHECK(write(fd, block, PAGE) == (ssize_t)PAGE);
	}
	return fd;
}

/* A number from /proc/self/status, in KiB; -1 if it is not there. */
static long status_kib(const char *name)
{
	char line[256];
	long value = -1;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name) + 1);
	if (f)
		fclose(f);
	return value;
}

/* Mappings in /proc/self/maps that touch [from, to). */
static int mappings(const void *from, const void *to)
{
	char line[512];
	int count = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long a, b;
		if (sscanf(line, "%lx-%lx", &a, &b) == 2 && a < (unsigned long)to &&
		    b > (unsigned long)from)
			count++;
	}
	if (f)
		fclose(f);
	return count;
}

/* ---- anonymous memory ------------------------------------------------------------- */

static void zero_pages(void *unused)
{
	(void)unused;
	char *p = anonymous(64 * PAGE, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < 64 * PAGE; i += 509)
		CHECK(p[i] == 0);
	for (size_t i = 0; i < 64; i++)
		p[i * PAGE] = (char)i;
	for (size_t i = 0; i < 64; i++)
		CHECK(p[i * PAGE] == (char)i && p[i * PAGE + 1] == 0);
	CHECK(munmap(p, 64 * PAGE) == 0);
	CHECK(touch(p, false) == SIGSEGV);
	char *q = mmap(p, 64 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(q == p);
	for (size_t i = 0; i < 64; i++)
		CHECK(q[i * PAGE] == 0); /* what was there before must not come back */
}

static void lazy_gigabyte(void *unused)
{
	(void)unused;
	long anonymous_before, tables_before;
	status_kib("RssAnon:"); /* whatever this allocates is allocated now */
	anonymous_before = status_kib("RssAnon:");
	tables_before = status_kib("VmPTE:");
	char *p = anonymous(1ul << 30, PROT_READ | PROT_WRITE);
	p[123456789] = 1;
	long grown = status_kib("RssAnon:") - anonymous_before;
	CHECK(grown >= 4 && grown <= 8); /* one page; stdio may have touched one more */
	CHECK(status_kib("VmPTE:") - tables_before <= 12);
	CHECK(munmap(p, 1ul << 30) == 0);
	CHECK(status_kib("RssAnon:") <= anonymous_before + 4);
}

static void fixed_and_hints(void *unused)
{
	(void)unused;
	char *p = anonymous(8 * PAGE, PROT_READ | PROT_WRITE);
	memset(p, 1, 8 * PAGE);
	char *q =
	    mmap(p + 2 * PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(q == p + 2 * PAGE && p[PAGE] == 1 && p[2 * PAGE] == 0 && p[4 * PAGE] == 1);
	CHECK(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		   0) == MAP_FAILED);
	CHECK(errno == EEXIST && p[PAGE] == 1);
	CHECK(mappings(p, p + 8 * PAGE) >= 3);
	munmap(p, 8 * PAGE);
	q = mmap(p + 4 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(q == p + 4 * PAGE); /* a hint at a free place is taken */
	CHECK(mmap(p, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
	      errno == EINVAL);
	CHECK(mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		  MAP_FAILED &&
	      errno == EINVAL);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 1ul << 48, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
	      errno == ENOMEM);
	CHECK(mmap(NULL, -1ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
	      errno == ENOMEM);
}

static void unmap_middles(void *unused)
{
	(void)unused;
	enum { N = 300 };
	char *p = anonymous(N * PAGE, PROT_READ | PROT_WRITE);
	memset(p, 7, N * PAGE);
	for (size_t i = 0; i < N; i += 2)
		CHECK(munmap(p + i * PAGE, PAGE) == 0);
	for (size_t i = 0; i < N; i++)
		CHECK(touch(p + i * PAGE, true) == (i % 2 ? 0 : SIGSEGV));
	CHECK(mappings(p, p + N * PAGE) == N / 2);
	CHECK(munmap(p, N * PAGE) == 0);
	CHECK(munmap(p, N * PAGE) == 0); /* nothing there is no error */
	CHECK(mappings(p, p + N * PAGE) == 0);
	CHECK(munmap(p + 1, PAGE) == -1 && errno == EINVAL);
	CHECK(munmap(p, 0) == -1 && errno == EINVAL);
}

static void merging(void *unused)
{
	(void)unused;
	char *p = anonymous(16 * PAGE, PROT_NONE);
	for (size_t i = 0; i < 16; i++)
		CHECK(mprotect(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	/* Equal neighbours are one mapping again (others may have joined in). */
	CHECK(mappings(p, p + 16 * PAGE) == 1);
	CHECK(mprotect(p + 4 * PAGE, PAGE, PROT_READ) == 0);
	CHECK(mappings(p, p + 16 * PAGE) == 3);
	CHECK(mprotect(p + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(mappings(p, p + 16 * PAGE) == 1);
}

static void protections(void *unused)
{
	(void)unused;
	char *p = anonymous(4 * PAGE, PROT_READ | PROT_WRITE);
	memset(p, 5, 4 * PAGE);
	CHECK(mprotect(p + PAGE, PAGE, PROT_READ) == 0);
	CHECK(touch(p, true) == 0 && touch(p + PAGE, true) == SIGSEGV &&
	      touch(p + PAGE, false) == 0);
	CHECK(mprotect(p + PAGE, PAGE, PROT_NONE) == 0);
	CHECK(touch(p + PAGE, false) == SIGSEGV);
	CHECK(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(touch(p + PAGE, true) == 0 && p[PAGE] == 5);
	CHECK(munmap(p + 2 * PAGE, PAGE) == 0);
	CHECK(mprotect(p, 4 * PAGE, PROT_READ) == -1 && errno == ENOMEM);
	CHECK(mprotect(p + 1, PAGE, PROT_READ) == -1 && errno == EINVAL);
	CHECK(mprotect(p, PAGE, 0x1000) == -1 && errno == EINVAL);
	int fd = open("/etc/passwd", O_RDONLY);
	char *q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (q != MAP_FAILED) /* shared from a file opened for reading only */
		CHECK(mprotect(q, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
}

static void code_in_data(void *unused)
{
	(void)unused;
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
	char *p = anonymous(PAGE, PROT_READ | PROT_WRITE);
	memcpy(p, code, sizeof(code));
	CHECK(touch(p, true) == 0);
	CHECK(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0);
	CHECK(((int (*)(void))(uintptr_t)p)() == 42);
	CHECK(touch(p, true) == SIGSEGV);
	CHECK(mprotect(p, PAGE, PROT_READ | PROT_WRITE) == 0);
	p[1] = 43;
	CHECK(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0);
	CHECK(((int (*)(void))(uintptr_t)p)() == 43);
}

static void own_text(void *unused)
{
	(void)unused;
	/* A program may make its own text writable; the file keeps its bytes. */
	char *page = (char *)((uintptr_t)own_text & ~(PAGE - 1));
	CHECK(touch(page, true) == SIGSEGV);
	CHECK(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	char old = page[PAGE - 1];
	page[PAGE - 1] = (char)(old + 1);
	CHECK(page[PAGE - 1] == (char)(old + 1));
	page[PAGE - 1] = old;
}

/* ---- files ------------------------------------------------------------------------- */

static void private_file(void *unused)
{
	(void)unused;
	char c;
	int fd = file_with_pages(4);
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && p[0] == 'a' && p[3 * PAGE] == 'd');
	p[PAGE] = 'X';
	CHECK(pread(fd, &c, 1, PAGE) == 1 && c == 'b'); /* the file is not changed */
	char *q = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
	CHECK(q[0] == 'c' && q[PAGE] == 'd');
	CHECK(pwrite(fd, "Z", 1, 2 * PAGE) == 1);
	CHECK(q[0] == 'Z' && p[2 * PAGE] == 'Z'); /* not yet copied: shows the file */
	CHECK(pwrite(fd, "Y", 1, PAGE) == 1);
	CHECK(p[PAGE] == 'X'); /* copied: does not */
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
	close(fd);
	CHECK(p[3 * PAGE + 5] == 'd'); /* closing does not unmap */
}

static void file_end(void *unused)
{
	(void)unused;
	int fd = file_with_pages(2);
	CHECK(ftruncate(fd, PAGE + 100) == 0);
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p[PAGE + 99] == 'b' && p[PAGE + 100] == 0 && p[2 * PAGE - 1] == 0);
	CHECK(touch(p + 2 * PAGE, false) == SIGBUS);
	CHECK(ftruncate(fd, 4 * PAGE) == 0);
	CHECK(touch(p + 2 * PAGE, false) == 0 && p[2 * PAGE] == 0);
	p[3 * PAGE] = 1;
	CHECK(ftruncate(fd, 10) == 0);
	CHECK(touch(p + PAGE, false) == SIGBUS);
	CHECK(p[9] == 'a' && p[10] == 0);
}

static void private_device(void *unused)
{
	(void)unused;
	int fd = open("/dev/zero", O_RDWR);
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && p[PAGE] == 0);
	p[PAGE] = 9;
	CHECK(p[PAGE] == 9 && p[2 * PAGE] == 0);
}

/* ---- fork -------------------------------------------------------------------------- */

static void cow_child(void *memory)
{
	char *p = memory;
	for (size_t i = 0; i < 32; i++)
		CHECK(p[i * PAGE] == (char)i);
	memset(p, 0x55, 32 * PAGE);
}

static void copy_on_write(void *unused)
{
	(void)unused;
	char *p = anonymous(40 * PAGE, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < 32; i++)
		p[i * PAGE] = (char)i;
	CHECK(in_child(cow_child, p) == 0);
	for (size_t i = 0; i < 32; i++)
		CHECK(p[i * PAGE] == (char)i && p[i * PAGE + 1] == 0);
	for (size_t i = 0; i < 32; i++)
		p[i * PAGE] = (char)(i + 1);
	CHECK(p[39 * PAGE] == 0);
}

static void cow_generations(void *depth)
{
	static char *p;
	size_t n = (size_t)depth;
	if (n == 0)
		p = anonymous(16 * PAGE, PROT_READ | PROT_WRITE);
	p[n * PAGE] = (char)(n + 1);
	if (n < 10)
		CHECK(in_child(cow_generations, (void *)(n + 1)) == 0);
	for (size_t i = 0; i < 16; i++)
		CHECK(p[i * PAGE] == (i <= n ? (char)(i + 1) : 0));
}

static void shared_child(void *memory)
{
	volatile char *p = memory;
	p[0] = 'c';
	p[5 * PAGE] = 'd'; /* the parent has not touched it */
}

static void shared_memory(void *unused)
{
	(void)unused;
	char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	p[0] = 'p';
	CHECK(in_child(shared_child, p) == 0);
	CHECK(p[0] == 'c' && p[5 * PAGE] == 'd' && p[PAGE] == 0);
}

static void read_then_write_child(void *memory)
{
	volatile char *p = memory;
	char seen = p[0];
	p[0] = 1;
	CHECK(seen == 0 && p[0] == 1);
}

static void zero_page_copies(void *unused)
{
	(void)unused;
	char *p = anonymous(PAGE, PROT_READ | PROT_WRITE);
	CHECK(p[0] == 0); /* the shared zero page, now mapped */
	CHECK(in_child(read_then_write_child, p) == 0);
	CHECK(p[0] == 0);
	p[0] = 2;
	CHECK(p[0] == 2 && p[1] == 0);
}

static void advice_child(void *memory)
{
	char **m = memory;
	CHECK(touch(m[0], false) == SIGSEGV); /* MADV_DONTFORK */
	CHECK(m[1][0] == 0);                  /* MADV_WIPEONFORK */
	CHECK(m[2][0] == 3);
}

static void fork_advice(void *unused)
{
	(void)unused;
	char *m[3];
	for (int i = 0; i < 3; i++) {
		m[i] = anonymous(PAGE, PROT_READ | PROT_WRITE);
		m[i][0] = (char)(i + 1);
	}
	CHECK(madvise(m[0], PAGE, MADV_DONTFORK) == 0);
	CHECK(madvise(m[1], PAGE, MADV_WIPEONFORK) == 0);
	CHECK(in_child(advice_child, m) == 0);
	CHECK(m[0][0] == 1 && m[1][0] == 2 && m[2][0] == 3);
}

/* ---- mremap, madvise, brk --------------------------------------------------------- */

static void remap_grow(void *unused)
{
	(void)unused;
	char *room = anonymous(64 * PAGE, PROT_NONE);
	munmap(room, 64 * PAGE);
	char *p = mmap(room, 4 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset(p, 3, 4 * PAGE);
	char *q = mremap(p, 4 * PAGE, 8 * PAGE, 0);
	CHECK(q == p && q[4 * PAGE - 1] == 3 && q[4 * PAGE] == 0);
	CHECK(mremap(p, 8 * PAGE, 2 * PAGE, 0) == p && p[PAGE] == 3);
	CHECK(touch(p + 2 * PAGE, false) == SIGSEGV);
	mmap(p + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(mremap(p, 2 * PAGE, 4 * PAGE, 0) == MAP_FAILED && errno == ENOMEM);
	q = mremap(p, 2 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q != p && q[0] == 3 && q[2 * PAGE - 1] == 3 && q[39 * PAGE] == 0);
	CHECK(touch(p, false) == SIGSEGV);
}

static void remap_fixed(void *unused)
{
	(void)unused;
	char *p = anonymous(600 * PAGE, PROT_READ | PROT_WRITE);
	char *to = anonymous(600 * PAGE, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < 600; i++)
		p[i * PAGE] = (char)(i % 100 + 1);
	memset(to, 9, 600 * PAGE);
	CHECK(mremap(p, 600 * PAGE, 600 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	for (size_t i = 0; i < 600; i++)
		CHECK(to[i * PAGE] == (char)(i % 100 + 1) && to[i * PAGE + 1] == 0);
	CHECK(touch(p, false) == SIGSEGV);
	CHECK(mremap(to, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * PAGE) ==
		  MAP_FAILED &&
	      errno == EINVAL); /* they overlap */
	CHECK(mremap(to + 1, PAGE, PAGE, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	CHECK(mremap(to, PAGE, 0, 0) == MAP_FAILED && errno == EINVAL);
}

static void dont_need(void *unused)
{
	(void)unused;
	char *p = anonymous(8 * PAGE, PROT_READ | PROT_WRITE);
	memset(p, 4, 8 * PAGE);
	CHECK(madvise(p + 2 * PAGE, 3 * PAGE, MADV_DONTNEED) == 0);
	CHECK(p[2 * PAGE - 1] == 4 && p[2 * PAGE] == 0 && p[5 * PAGE - 1] == 0 && p[5 * PAGE] == 4);
	int fd = file_with_pages(2);
	char *q = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	q[0] = 'x';
	CHECK(madvise(q, PAGE, MADV_DONTNEED) == 0);
	CHECK(q[0] == 'a');
	CHECK(madvise(p + 1, PAGE, MADV_DONTNEED) == -1 && errno == EINVAL);
	CHECK(madvise(p, PAGE, 9999) == -1 && errno == EINVAL);
	munmap(p + PAGE, PAGE);
	CHECK(madvise(p, 3 * PAGE, MADV_DONTNEED) == -1 && errno == ENOMEM);
	CHECK(p[0] == 0 && p[2 * PAGE] == 0); /* what is there has been dropped all the same */
}

static void program_break(void *unused)
{
	(void)unused;
	char *start = (char *)syscall(SYS_brk, 0);
	char *end = (char *)syscall(SYS_brk, start + 10 * PAGE + 5);
	CHECK(end == start + 10 * PAGE + 5);
	memset(start, 6, 10 * PAGE);
	CHECK((char *)syscall(SYS_brk, start + 2 * PAGE) == start + 2 * PAGE);
	CHECK(start[PAGE] == 6);
	char *again = (char *)syscall(SYS_brk, start + 10 * PAGE);
	CHECK(again == start + 10 * PAGE);
	char *page = (char *)(((uintptr_t)start + 4 * PAGE) & ~(PAGE - 1));
	CHECK(page[0] == 0);                          /* given back and taken again: zero */
	CHECK((char *)syscall(SYS_brk, 16) == again); /* nonsense changes nothing */
	CHECK((char *)syscall(SYS_brk, -1l) == again);
	CHECK((char *)syscall(SYS_brk, start) == start);
}

static void malloc_heavy(void *unused)
{
	(void)unused;
	enum { N = 500 };
	static char *blocks[N];
	unsigned seed = 1;
	for (int round = 0; round < 8000; round++) {
		seed = seed * 1103515245 + 12345;
		unsigned i = (seed >> 16) % N;
		size_t bytes = (seed >> 8) % 100 ? (seed >> 4) % 5000 : 300000;
		if (blocks[i]) {
			CHECK(blocks[i][0] == (char)i);
			char *moved = round % 3 ? NULL : realloc(blocks[i], bytes + 1);
			if (!moved) {
				free(blocks[i]);
				blocks[i] = NULL;
				continue;
			}
			CHECK(moved[0] == (char)i);
			blocks[i] = moved;
		} else {
			blocks[i] = calloc(1, bytes + 1);
			CHECK(blocks[i] && blocks[i][bytes] == 0);
			memset(blocks[i], (int)i, bytes + 1);
		}
	}
}

static void stack_growth(void *unused)
{
	(void)unused;
	volatile char here;
	volatile char *p = &here;
	for (size_t i = 0; i < 1000; i++) /* 4 MB down, page by page */
		p[-(ssize_t)(i * PAGE)] = 1;
	for (size_t i = 0; i < 1000; i++)
		CHECK(p[-(ssize_t)(i * PAGE)] == 1);
	CHECK(touch(p - (40 << 20), true) == SIGSEGV);
}

static void stack_gap(void *unused)
{
	(void)unused;
	/* A mapping below the stack keeps it from growing closer than the gap. */
	char *here = (char *)((uintptr_t)__builtin_frame_address(0) & ~(PAGE - 1));
	char *wall = mmap(here - 1000 * PAGE, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(wall != MAP_FAILED);
	CHECK(touch(here - 500 * PAGE, true) == 0);
	CHECK(touch(here - 999 * PAGE, true) == SIGSEGV);
	CHECK(touch(here - 800 * PAGE, true) == SIGSEGV); /* within 256 pages of the wall */
	CHECK(touch(here - 700 * PAGE, true) == 0);
}

static void residency(void *unused)
{
	(void)unused;
	unsigned char seen[8];
	char *p = anonymous(8 * PAGE, PROT_READ | PROT_WRITE);
	p[PAGE] = 1;
	p[5 * PAGE] = 1;
	CHECK(mincore(p, 8 * PAGE, seen) == 0);
	for (int i = 0; i < 8; i++)
		CHECK((seen[i] & 1) == (i == 1 || i == 5));
	munmap(p, PAGE);
	CHECK(mincore(p, PAGE, seen) == -1 && errno == ENOMEM);
}

static void limits(void *unused)
{
	(void)unused;
	struct rlimit r = {64 << 20, 64 << 20};
	CHECK(setrlimit(RLIMIT_AS, &r) == 0);
	CHECK(mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK(errno == ENOMEM);
	CHECK(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static void far_apart(void *unused)
{
	(void)unused;
	/* One page at each of many places: a table each, and all given back. */
	for (unsigned long i = 1; i <= 40; i++) {
		char *at = (char *)(i << 39 >> 1);
		char *p = mmap(at, PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		CHECK(p == at);
		if (p == at)
			p[7] = (char)i;
	}
	for (unsigned long i = 1; i <= 40; i++) {
		char *at = (char *)(i << 39 >> 1);
		CHECK(at[7] == (char)i && munmap(at, PAGE) == 0);
		CHECK(touch(at, false) == SIGSEGV);
	}
}

static const struct {
	const char *name;
	void (*body)(void *);
} cases[] = {
    {"zero_pages", zero_pages},
    {"lazy_gigabyte", lazy_gigabyte},
    {"fixed_and_hints", fixed_and_hints},
    {"unmap_middles", unmap_middles},
    {"merging", merging},
    {"protections", protections},
    {"code_in_data", code_in_data},
    {"own_text", own_text},
    {"private_file", private_file},
    {"file_end", file_end},
    {"private_device", private_device},
    {"copy_on_write", copy_on_write},
    {"cow_generations", cow_generations},
    {"shared_memory", shared_memory},
    {"zero_page_copies", zero_page_copies},
    {"fork_advice", fork_advice},
    {"remap_grow", remap_grow},
    {"remap_fixed", remap_fixed},
    {"dont_need", dont_need},
    {"program_break", program_break},
    {"malloc_heavy", malloc_heavy},
    {"stack_growth", stack_growth},
    {"stack_gap", stack_gap},
    {"residency", residency},
    {"limits", limits},
    {"far_apart", far_apart},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (argc < 2 || !strcmp(argv[1], cases[i].name))
			run_case(cases[i].name, cases[i].body);
	return failures != 0;
}
