/* SPDX-License-Identifier: MIT */
/* See pages.h. Address space comes from one big reservation and is not reused,
 * so that an address seen twice is a fault of the code under test. */
#define _GNU_SOURCE
#include "tests/unit/pages.h"

#include "tests/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"

#define RESERVED ((size_t)1 << 37)

static _Atomic uintptr_t next_address;
static uintptr_t first_address, end_address;
static uint8_t present[RESERVED >> PAGE_SHIFT]; /* by page: is there memory? */

static uintptr_t take_addresses(uint64_t npages, uint64_t align_pages)
{
	uintptr_t at = atomic_load(&next_address), start;
	do {
		start = align_up(at, align_pages * PAGE_SIZE);
	} while (
	    !atomic_compare_exchange_weak(&next_address, &at, start + (npages + 1) * PAGE_SIZE));
	if (start + (npages + 1) * PAGE_SIZE > end_address)
		test_fail(__FILE__, __LINE__, "the test has used up its address space");
	return start;
}

/* Pages with memory behind them come and go; how many it was. */
static uint64_t mark(uintptr_t at, uint64_t npages, bool now)
{
	uint64_t changed = 0;
	for (uint64_t i = 0; i < npages; i++) {
		uint8_t *page = &present[((at - first_address) >> PAGE_SHIFT) + i];
		changed += *page != now;
		*page = now;
	}
	return changed;
}

bool test_pages_present(const void *at)
{
	return present[((uintptr_t)at - first_address) >> PAGE_SHIFT];
}

/* Count pages that are about to be given; false: told to fail. */
static bool may_give(struct test_pages *p, uint64_t npages)
{
	uint64_t call = __atomic_add_fetch(&p->calls, 1, __ATOMIC_RELAXED);
	if (p->fail_all || call == p->fail_at || npages > (RESERVED >> PAGE_SHIFT) / 1024)
		return false;
	uint64_t held = __atomic_add_fetch(&p->held_npages, npages, __ATOMIC_RELAXED);
	if (p->limit && held > p->limit) {
		__atomic_sub_fetch(&p->held_npages, npages, __ATOMIC_RELAXED);
		return false;
	}
	return true;
}

static void *give(struct test_pages *p, uint64_t npages, uint64_t align_pages)
{
	if (!may_give(p, npages))
		return NULL;
	if (p->loose) /* a hole, sometimes; there is a page after each piece in any case */
		take_addresses(p->calls * 0x9e3779b97f4a7c15 >> 62, 1);
	void *at = (void *)take_addresses(npages, align_pages);
	mark((uintptr_t)at, npages, true);
	if (mprotect(at, npages * PAGE_SIZE, PROT_READ | PROT_WRITE)) {
		perror("mprotect");
		abort();
	}
	return at;
}

static void take_back(struct test_pages *p, void *pages, uint64_t npages)
{
	CHECK(!((uintptr_t)pages & PAGE_MASK));
	uint64_t had = mark((uintptr_t)pages, npages, false);
	uint64_t held = __atomic_fetch_sub(&p->held_npages, had, __ATOMIC_RELAXED);
	CHECK(held >= had && (!p->loose || had == npages));
	/* Fresh inaccessible pages: the old contents go, and one kernel mapping
	 * serves all of them. */
	if (mmap(pages, npages * PAGE_SIZE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
		perror("mmap");
		abort();
	}
}

static void *source_alloc(struct page_source *source, unsigned order, bool atomic)
{
	struct test_pages *p = container_of(source, struct test_pages, source);
	return give(p, (uint64_t)1 << order, (uint64_t)1 << order);
}

static void source_free(struct page_source *source, void *pages, unsigned order)
{
	take_back(container_of(source, struct test_pages, source), pages, (uint64_t)1 << order);
}

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	struct test_pages *p = container_of(area, struct test_pages, area);
	CHECK(npages > 0);
	if (atomic && p->refuse_atomic)
		return NULL;
	return give(p, npages, align_pages);
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	take_back(container_of(area, struct test_pages, area), pages, npages);
}

static bool area_decommit(struct heap_area *area, void *pages, uint64_t npages)
{
	struct test_pages *p = container_of(area, struct test_pages, area);
	if (p->refuse_drop)
		return false;
	take_back(p, pages, npages);
	__atomic_add_fetch(&p->decommitted_npages, npages, __ATOMIC_RELAXED);
	return true;
}

static bool area_recommit(struct heap_area *area, void *pages, uint64_t npages, bool atomic)
{
	struct test_pages *p = container_of(area, struct test_pages, area);
	if ((atomic && p->refuse_atomic) || !may_give(p, npages))
		return false;
	CHECK_EQ(mark((uintptr_t)pages, npages, true), npages);
	__atomic_add_fetch(&p->restored_npages, npages, __ATOMIC_RELAXED);
	return !mprotect(pages, npages * PAGE_SIZE, PROT_READ | PROT_WRITE);
}

void test_pages_init(struct test_pages *pages)
{
	if (!end_address) {
		char *at = mmap(NULL, RESERVED, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at == MAP_FAILED) {
			perror("reservation");
			exit(1);
		}
		first_address = (uintptr_t)at;
		atomic_store(&next_address, (uintptr_t)at);
		end_address = (uintptr_t)at + RESERVED;
	}
	*pages = (struct test_pages){
	    .source = {source_alloc, source_free},
	    .area = {.map = area_map,
		     .unmap = area_unmap,
		     .decommit = area_decommit,
		     .recommit = area_recommit},
	};
}

void test_pages_loosen(struct test_pages *pages)
{
	pages->loose = true;
	pages->area.decommit = NULL;
	pages->area.recommit = NULL;
	pages->area.loose_npages = 32;
}

void test_pages_start_over(void)
{
	atomic_store(&next_address, first_address);
}
