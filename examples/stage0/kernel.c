/* SPDX-License-Identifier: MIT */
/*
 * Stage 0: the heap alone, over two callbacks, in a kernel that keeps its own allocator of
 * pages. Written for it: area_map and area_unmap. Not linked: pmm, page tables.
 */
#include "boot.h"

#include <mem/heap.h>

/* ---- the kernel's own pages: first fit over 4 MiB ----------------------------------- */

enum { NPAGES = 1024 };
static uint8_t pool[NPAGES][4096] __attribute__((aligned(1 << 21)));
static bool used[NPAGES];

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	(void)area;
	(void)atomic; /* it never waits */
	for (uint64_t at = 0, n; at + npages <= NPAGES; at += align_pages) {
		for (n = 0; n < npages && !used[at + n]; n++)
			;
		if (n < npages)
			continue;
		for (n = 0; n < npages; n++)
			used[at + n] = true;
		return pool[at];
	}
	return NULL;
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	uint64_t at = (uint64_t)((uint8_t(*)[4096])pages - pool);
	(void)area;
	while (npages--)
		used[at + npages] = false;
}

/* ---- the heap on them ------------------------------------------------------------------ */

void kernel_main(void)
{
	/* Its pages are always mapped, and come and go in any number. */
	static struct heap_area area = {.map = area_map, .unmap = area_unmap, .loose_npages = 16};
	enum { COUNT = 500 };
	static uint8_t *block[COUNT];
	struct heap_stats stats;
	struct heap *heap;
	mem_port_cpu_setup();
	interrupt_lines_off();
	__asm__ volatile("sti"); /* heap_reap() may wait, so it wants them on */
	CHECK(mem_selftest(&(struct mem_selftest){0}) == 0);
	CHECK(heap_create(&heap, &area) == MEM_OK);
	heap_set_default(heap);
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK((block[i] = kmalloc(i * 37 % 3000 + 1)));
		memset(block[i], (int)i, i * 37 % 3000 + 1);
	}
	heap_get_stats(heap, &stats);
	host_log(HOST_LOG_INFO, "heap: %lu blocks, %lu bytes in %lu pages", stats.live_blocks,
		 stats.live_bytes, stats.held_npages);
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK(block[i][i * 37 % 3000] == (uint8_t)i);
		kfree(block[i]);
	}
	(void)heap_reap(heap, true);
	heap_destroy(heap);
	for (unsigned i = 0; i < NPAGES; i++)
		CHECK(!used[i]);
	host_log(HOST_LOG_INFO, "stage 0: all checks held");
}
