/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_PAGES_H
#define TESTS_UNIT_PAGES_H
/* Page sources and heap areas over the host's memory, which count what they
 * gave and can be told to fail. Pages given back become inaccessible at once,
 * so that a use of them is a crash. */
#include <mem/heap.h>
#include <mem/slab.h>

struct test_pages {
	struct page_source source;
	struct heap_area area;
	uint64_t held_npages; /* given and not taken back */
	uint64_t calls;       /* allocations asked for */
	uint64_t fail_at;     /* the call with this number fails; 0: none */
	uint64_t limit;       /* no more than this many pages at once; 0: no limit */
	bool fail_all;
	bool refuse_atomic; /* area: atomic calls fail */
	bool refuse_drop;   /* area: memory goes back only with its addresses */
	bool loose;         /* area: of loose pages, with holes between them */
	uint64_t decommitted_npages, restored_npages;
};

void test_pages_init(struct test_pages *pages);
/* The area is one of loose pages from now on. */
void test_pages_loosen(struct test_pages *pages);
/* Is there memory behind what an area gave? */
bool test_pages_present(const void *at);
/* Give the same addresses again from the start: for who makes many heaps in one
 * process, and has given everything back. */
void test_pages_start_over(void);
#endif
