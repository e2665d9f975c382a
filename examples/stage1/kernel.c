/* SPDX-License-Identifier: MIT */
/*
 * Stage 1: frames and a heap over them, on the loader's page tables. Written for it: nothing.
 */
#include "boot.h"

#include <mem/heap.h>
#include <mem/pmm.h>
#include <mem/pt.h>

static struct pmm *frames;

static void use_frames(void)
{
	struct pmm_stats stats;
	pmm_get_stats(frames, &stats);
	host_log(HOST_LOG_INFO, "frames: %lu of %lu free", stats.free, stats.total);
	paddr_t a = pmm_alloc(frames, 0, PMM_FIRST | PMM_KERNEL);
	paddr_t b = pmm_alloc(frames, 0, PMM_FIRST | PMM_KERNEL);
	paddr_t huge = pmm_alloc(frames, PMM_ORDER_HUGE, PMM_KERNEL);
	CHECK(a < b && b != PADDR_NONE && huge != PADDR_NONE && huge % MEM_HUGE_SIZE == 0);
	pmm_free(frames, a, 0);
	CHECK(pmm_alloc(frames, 0, PMM_FIRST | PMM_KERNEL) == a);
	pmm_free(frames, a, 0);
	pmm_free(frames, b, 0);
	pmm_free(frames, huge, PMM_ORDER_HUGE);
}

/* The heap over frames. It may go on when the kernel has loaded tables of its own. */
static void use_heap(void)
{
	static struct frame_area area;
	enum { COUNT = 500 };
	static uint8_t *block[COUNT];
	struct heap *heap;
	frame_area_init(&area, frames);
	CHECK(heap_create(&heap, &area.area) == MEM_OK);
	heap_set_default(heap);
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK((block[i] = kmalloc(i * 37 % 9000 + 1)));
		memset(block[i], (int)i, i * 37 % 9000 + 1);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK(block[i][i * 37 % 9000] == (uint8_t)i);
		kfree(block[i]);
	}
	(void)heap_reap(heap, true);
	heap_destroy(heap);
}

/* Raw page tables, here in the loader's root. */
static void use_page_tables(void)
{
	enum { PRESENT = 1, WRITE = 2 };
	const vaddr_t where = 0xffffc00000000000;
	paddr_t root, pa = pmm_alloc(frames, 0, PMM_ZERO | PMM_KERNEL), found;
	__asm__ volatile("mov %%cr3, %0" : "=r"(root));
	root &= ~MEM_PAGE_MASK;
	CHECK(pa != PADDR_NONE);
	CHECK(pt_map(frames, root, where, pa, MEM_PAGE_SIZE, PRESENT | WRITE) == MEM_OK);
	*(volatile uint64_t *)where = 0x51e5;
	CHECK(*(volatile uint64_t *)paddr_to_ptr(pa) == 0x51e5);
	CHECK(pt_translate(root, where + 123, &found, NULL, NULL) && found == pa + 123);
	pt_unmap(frames, root, where, MEM_PAGE_SIZE);
	__asm__ volatile("invlpg (%0)" ::"r"(where) : "memory");
	CHECK(!pt_translate(root, where, NULL, NULL, NULL));
	pmm_free(frames, pa, 0);
}

void kernel_main(void)
{
	mem_port_cpu_setup();
	(void)boot_frames(&frames);
	CHECK(mem_selftest(&(struct mem_selftest){.pmm = frames}) == 0);
	interrupt_lines_off();
	__asm__ volatile("sti"); /* heap_reap() may wait, so it wants them on */
	use_frames();
	use_heap();
	use_page_tables();
	pmm_drain(frames);
	CHECK(pmm_is_valid(frames));
	host_log(HOST_LOG_INFO, "stage 1: all checks held");
}
