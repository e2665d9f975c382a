/* SPDX-License-Identifier: MIT */
/* Rows of the program `cost` (vm.c): memory of one process. */
#define _GNU_SOURCE
#include "vm.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* ---- memory -------------------------------------------------------------------- */

char *map_at(void *at, size_t bytes, int flags)
{
	char *p = mmap(at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

char *map(size_t bytes)
{
	return map_at(NULL, bytes, MAP_PRIVATE | MAP_ANONYMOUS);
}

void unmap(void *p, size_t bytes)
{
	if (munmap(p, bytes))
		die("munmap");
}

char *place(size_t bytes)
{
	char *p = mmap(NULL, bytes + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	unmap(p, bytes + HUGE);
	return (char *)(((uintptr_t)p + HUGE - 1) & -HUGE);
}

char *range(size_t bytes)
{
	return map_at(place(bytes), bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
}

void touch(char *p, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		((volatile char *)p)[i * PAGE] = 1;
}

void look(const char *p, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		(void)((const volatile char *)p)[i * PAGE];
}

char *touched(size_t bytes)
{
	char *p = range(bytes);
	touch(p, bytes / PAGE);
	return p;
}

/* ---- rows: one page of memory ---------------------------------------------------- */

void run_getpid(const struct row *row)
{
	(void)row;
	begin();
	for (unsigned i = 0; i < CALLS; i++)
		getpid();
	end(CALLS);
}

void run_touch(const struct row *row)
{
	char *p = map_at(place(PAGES * PAGE), PAGES * PAGE,
			 (row->how & ~NO_HUGE) | MAP_ANONYMOUS | MAP_FIXED);
	if (row->how & NO_HUGE)
		(void)madvise(p, PAGES * PAGE,
			      MADV_NOHUGEPAGE); /* may be unknown: there are none */
	begin();
	touch(p, PAGES);
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

void run_populate(const struct row *row)
{
	(void)row;
	char *at = place(PAGES * PAGE);
	begin();
	char *p = map_at(at, PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE);
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

void run_dontneed(const struct row *row)
{
	(void)row;
	char *p = touched(PAGES * PAGE);
	begin();
	if (madvise(p, PAGES * PAGE, MADV_DONTNEED))
		die("madvise");
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

void run_refault(const struct row *row)
{
	(void)row;
	char *p = touched(PAGES * PAGE);
	if (madvise(p, PAGES * PAGE, MADV_DONTNEED))
		die("madvise");
	begin();
	touch(p, PAGES);
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

void run_unmap(const struct row *row)
{
	(void)row;
	char *p = touched(PAGES * PAGE);
	begin();
	unmap(p, PAGES * PAGE);
	end(PAGES);
}

void run_zero_read(const struct row *row)
{
	(void)row;
	char *p = range(PAGES * PAGE);
	begin();
	look(p, PAGES);
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

void run_zero_write(const struct row *row)
{
	(void)row;
	char *p = range(PAGES * PAGE);
	look(p, PAGES);
	begin();
	touch(p, PAGES);
	end(PAGES);
	unmap(p, PAGES * PAGE);
}

/* A file whose pages are in memory; bytes of it, each page touched once. */
void run_file(const struct row *row)
{
	bool writes = row->how == PRIVATE_WRITE || row->how == SHARED_WRITE;
	bool shared = row->how == SHARED_READ || row->how == SHARED_WRITE;
	int fd = open(FILE_PATH, O_RDWR);
	char *p = mmap(place(row->bytes), row->bytes, PROT_READ | (writes ? PROT_WRITE : 0),
		       (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, fd, 0);
	if (fd < 0 || p == MAP_FAILED)
		die(FILE_PATH);
	close(fd);
	begin();
	if (writes)
		touch(p, row->bytes / PAGE);
	else
		look(p, row->bytes / PAGE);
	end(row->bytes / PAGE);
	unmap(p, row->bytes);
}

/* ---- rows: calls --------------------------------------------------------------- */

static void map_and_unmap(void)
{
	begin();
	for (unsigned i = 0; i < CALLS; i++)
		unmap(map(PAGE), PAGE);
	end(CALLS);
}

void run_map_unmap(const struct row *row)
{
	(void)row;
	map_and_unmap();
}

/* Beside 1,000 areas: every other page may be written. */
void run_map_unmap_many(const struct row *row)
{
	(void)row;
	char *p = range(1000 * PAGE);
	for (unsigned i = 0; i < 1000; i += 2)
		if (mprotect(p + i * PAGE, PAGE, PROT_READ))
			die("mprotect");
	map_and_unmap();
	unmap(p, 1000 * PAGE);
}

void run_map_touch_unmap(const struct row *row)
{
	char *at = place(row->bytes);
	unsigned long times = row->bytes == PAGE ? PAGES : 8 * TIMES;
	begin();
	for (unsigned i = 0; i < times; i++) {
		char *p = map_at(at, row->bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
		touch(p, row->bytes / PAGE);
		unmap(p, row->bytes);
	}
	end(times);
}

/* One page in the middle of 1 MiB, to read-only and back: two calls. */
void run_mprotect(const struct row *row)
{
	char *p = range(MIB);
	if (row->how)
		touch(p, MIB / PAGE);
	char *middle = p + MIB / 2;
	begin();
	for (unsigned i = 0; i < CALLS / 2; i++)
		if (mprotect(middle, PAGE, PROT_READ) ||
		    mprotect(middle, PAGE, PROT_READ | PROT_WRITE))
			die("mprotect");
	end(CALLS / 2 * 2);
	unmap(p, MIB);
}

void run_mremap_grow(const struct row *row)
{
	(void)row;
	char *at = place(MIB);
	char *p = map_at(at, 64 * KIB, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
	touch(p, 16);
	for (unsigned i = 0; i < TIMES; i++) {
		begin();
		if (mremap(p, 64 * KIB, 128 * KIB, 0) != p)
			die("mremap");
		end(1);
		unmap(p + 64 * KIB, 64 * KIB);
	}
	unmap(p, 64 * KIB);
}

void run_mremap_move(const struct row *row)
{
	char *from = touched(row->bytes), *to = place(2 * HUGE);
	begin();
	for (unsigned i = 0; i < TIMES; i++) {
		if (mremap(from, row->bytes, row->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			die("mremap");
		char *swap = from;
		from = to, to = swap;
	}
	end(TIMES);
	unmap(from, row->bytes);
}

void run_brk(const struct row *row)
{
	(void)row;
	begin();
	for (unsigned i = 0; i < 8 * TIMES; i++) {
		char *p = sbrk(64 * KIB);
		if (p == (char *)-1)
			die("sbrk");
		touch(p, 16);
		if (sbrk(-(intptr_t)(64 * KIB)) == (char *)-1)
			die("sbrk");
	}
	end(8 * TIMES);
}

static volatile char handler_page_is_open;
static char *handler_page;

static void open_page(int sig)
{
	(void)sig;
	if (mprotect(handler_page, PAGE, PROT_READ | PROT_WRITE))
		_exit(1);
	handler_page_is_open = 1;
}

void run_sigsegv(const struct row *row)
{
	(void)row;
	struct sigaction action = {.sa_handler = open_page}, before;
	handler_page = touched(PAGE);
	if (sigaction(SIGSEGV, &action, &before))
		die("sigaction");
	for (unsigned i = 0; i < CALLS; i++) {
		if (mprotect(handler_page, PAGE, PROT_READ))
			die("mprotect");
		handler_page_is_open = 0;
		begin();
		*(volatile char *)handler_page = 1;
		end(1);
		if (!handler_page_is_open)
			die("no SIGSEGV came");
	}
	sigaction(SIGSEGV, &before, NULL);
	unmap(handler_page, PAGE);
}
