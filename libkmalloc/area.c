/* SPDX-License-Identifier: MIT */
/*
 * The heap's area over the pages of this process.
 *
 * Each range is a mapping of its own, of one page more than was asked for: the
 * guard, which faults. A range with a guard is two of the kernel's areas, of which a
 * process may have some 65,000; with more than GUARDED ranges the last page of a
 * new one stays accessible, so that neighbours are one area to the kernel. The page
 * is still nobody's.
 */
#define _GNU_SOURCE
#include "libkmalloc/host.h"

#include "base/util.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define GUARDED   8192
#define MOST      ((uint64_t)1 << 34) /* pages: 2^46 bytes, half of what a process has */
#define ZERO_FROM ((size_t)256 << 10) /* smaller ones are written */

static uint64_t ranges; /* atomic */

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	if (npages > MOST || align_pages > MOST)
		return NULL;
	uint64_t bytes = npages * PAGE_SIZE, total = bytes + PAGE_SIZE;
	uint64_t slack = (align_pages - 1) * PAGE_SIZE;
	char *at = mmap(NULL, total + slack, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	uint64_t head = (-(uintptr_t)at) & slack;
	if (head)
		munmap(at, head);
	if (slack - head)
		munmap(at + head + total, slack - head);
	at += head;
	if (__atomic_add_fetch(&ranges, 1, __ATOMIC_RELAXED) <= GUARDED) {
		int before = errno;
		if (mprotect(at + bytes, PAGE_SIZE, PROT_NONE))
			errno = before; /* no room for one more area: then without */
	}
	return at;
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	int before = errno;
	__atomic_sub_fetch(&ranges, 1, __ATOMIC_RELAXED);
	/* The kernel may have no room for the hole: then at least the memory goes. */
	if (munmap(pages, (npages + 1) * PAGE_SIZE))
		madvise(pages, npages * PAGE_SIZE, MADV_DONTNEED);
	errno = before;
}

static bool area_decommit(struct heap_area *area, void *pages, uint64_t npages)
{
	int before = errno;
	bool done = !madvise(pages, npages * PAGE_SIZE, MADV_DONTNEED);
	errno = before;
	return done;
}

static bool area_recommit(struct heap_area *area, void *pages, uint64_t npages, bool atomic)
{
	return true; /* they come back as they are touched */
}

struct heap_area process_area = {
    .map = area_map, .unmap = area_unmap, .decommit = area_decommit, .recommit = area_recommit};

void area_zero(void *block, size_t bytes)
{
	uintptr_t start = (uintptr_t)block, end = start + bytes;
	uintptr_t first = align_up(start, PAGE_SIZE), last = align_down(end, PAGE_SIZE);
	if (bytes < ZERO_FROM ||
	    !area_decommit(&process_area, (void *)first, (last - first) >> PAGE_SHIFT)) {
		memset(block, 0, bytes);
		return;
	}
	memset(block, 0, first - start);
	memset((void *)last, 0, end - last);
}
