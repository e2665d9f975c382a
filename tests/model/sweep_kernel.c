/* SPDX-License-Identifier: MIT */
/* What the sweep does with kernel areas, heaps, slabs and frames: see sweep.c. */
#include "tests/model/sweep.h"

#include <mem/slab.h>
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/model/inside.h"
#include "tests/test.h"
#include "tests/unit/pages.h"

static void do_stack_and_device(void)
{
	void *stack, *device, *dma;
	paddr_t pa;
	if (model_expect("stack", vmm_alloc_stack(machine_vmm, 4, &stack), MEM_OK))
		vmm_free_stack(machine_vmm, stack, 4);
	if (model_expect(
		"device",
		vmm_map_device(machine_vmm, 0xfee00000, 5000, VM_READ | VM_WRITE, VM_UC, &device),
		MEM_OK))
		vmm_unmap_device(machine_vmm, device, 5000);
	if (model_expect(
		"dma",
		vmm_alloc_dma(machine_vmm, 3 * PAGE_SIZE, (paddr_t)16 << 20, VM_WB, &dma, &pa),
		MEM_OK))
		vmm_free_dma(machine_vmm, dma, 3 * PAGE_SIZE);
}

static void do_heap_area(void)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *pages = area->map(area, 5, 1, false);
	if (model_expect("heap area", pages ? MEM_OK : MEM_ENOMEM, MEM_OK))
		area->unmap(area, pages, 5);
}
/* Tables of the raw layer stay where they are: whoever owns the root frees them. */
static void free_raw(paddr_t page, unsigned level)
{
	const uint64_t *entries = paddr_to_ptr(page);
	for (unsigned i = 0; level > 1 && i < 512; i++)
		if (entries[i] & 1)
			free_raw(entries[i] & ~(uint64_t)0xfff, level - 1);
	pmm_free(machine_pmm, page, 0);
}

static void do_raw_map(void)
{
	/* In a root of the test's own: a page of zeroes. */
	paddr_t own = pmm_alloc(machine_pmm, 0, PMM_ZERO | PMM_KERNEL);
	if (!model_expect("frame", own == PADDR_NONE ? MEM_ENOMEM : MEM_OK, MEM_OK))
		return;
	mem_status status = pt_map(machine_pmm, own, 0x40000000, 0x100000, 3 * PAGE_SIZE, 7);
	bool mapped = model_expect("raw map", status, MEM_OK);
	if (pt_translate(own, 0x40000000, NULL, NULL, NULL) != mapped)
		model_fail("a refused raw mapping is there, or a made one is not");
	free_raw(own, 4);
}

static void do_device_large(void)
{
	/* Two large pages and two small ones, where the offset allows it. */
	void *device;
	uint64_t bytes = 2 * HUGE_SIZE + 2 * PAGE_SIZE;
	mem_status status =
	    vmm_map_device(machine_vmm, 0x100000000 - PAGE_SIZE, bytes, VM_READ, VM_WC, &device);
	if (model_expect("device", status, MEM_OK))
		vmm_unmap_device(machine_vmm, device, bytes);
}
static void do_stacks_beyond_the_cache(void)
{
	static void *stacks[40];
	unsigned made = 0;
	while (made < 40 &&
	       model_expect("stack", vmm_alloc_stack(machine_vmm, 1, &stacks[made]), MEM_OK))
		made++;
	while (made)
		vmm_free_stack(machine_vmm, stacks[--made], 1);
}
static void do_heap_area_large(void)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *pages = area->map(area, 1100, 512, false);
	if (model_expect("heap area", pages ? MEM_OK : MEM_ENOMEM, MEM_OK))
		area->unmap(area, pages, 1100);
}
static void do_heap_area_drop_and_restore(void)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	char *pages = area->map(area, 12, 1, false);
	if (!model_expect("heap area", pages ? MEM_OK : MEM_ENOMEM, MEM_OK))
		return;
	if (area->decommit(area, pages + 3 * PAGE_SIZE, 5)) {
		bool back = area->recommit(area, pages + 3 * PAGE_SIZE, 5, false);
		(void)model_expect("restore", back ? MEM_OK : MEM_ENOMEM, MEM_OK);
	}
	area->unmap(area, pages, 12);
}
static void do_drain(void)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *pages = area->map(area, 1, 512, false);
	if (model_expect("heap area", pages ? MEM_OK : MEM_ENOMEM, MEM_OK))
		area->unmap(area, pages, 1);
	vmm_drain(machine_vmm); /* takes addresses for the tables that it takes out */
}

/* A heap over pages of the host (the machine's kernel addresses are not for plain
 * code), which fail like everything else: made, used, reaped, ended. */
static struct test_pages host_pages;

static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	if (inject_fails(INJECT_RANGES))
		return NULL;
	return host_pages.area.map(&host_pages.area, npages, align_pages, atomic);
}
static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	host_pages.area.unmap(&host_pages.area, pages, npages);
}
static bool area_decommit(struct heap_area *area, void *pages, uint64_t npages)
{
	return host_pages.area.decommit(&host_pages.area, pages, npages);
}
static bool area_recommit(struct heap_area *area, void *pages, uint64_t npages, bool atomic)
{
	return !inject_fails(INJECT_RANGES) &&
	       host_pages.area.recommit(&host_pages.area, pages, npages, atomic);
}
static struct heap_area host_area = {
    .map = area_map, .unmap = area_unmap, .decommit = area_decommit, .recommit = area_recommit};

static bool make_heap(struct heap **heap, enum heap_profile profile)
{
	test_pages_init(&host_pages);
	return model_expect("heap_create", heap_create_as(heap, &host_area, profile), MEM_OK);
}
static void end_heap(struct heap *heap)
{
	heap_destroy(heap);
	if (host_pages.held_npages)
		model_fail("a heap that is gone holds pages");
}

static void use_heap(struct heap *heap)
{
	static void *blocks[48];
	unsigned n = 0;
	for (size_t bytes = 8; bytes <= 200000; bytes = bytes * 3 / 2) {
		blocks[n] = heap_alloc(heap, bytes);
		if (model_expect("heap_alloc", blocks[n] ? MEM_OK : MEM_ENOMEM, MEM_OK))
			memset(blocks[n++], 1, bytes);
	}
	for (size_t align = 64; align <= 65536; align *= 8) {
		blocks[n] = heap_alloc_aligned(heap, 100, align);
		if (model_expect("aligned", blocks[n] ? MEM_OK : MEM_ENOMEM, MEM_OK))
			n++;
	}
	/* Larger, smaller, and across the kinds of blocks; refused: it is as it was. */
	for (size_t bytes = 100000; n && bytes >= 10; bytes /= 10) {
		unsigned char *moved = heap_realloc(heap, blocks[0], bytes);
		if (model_expect("realloc", moved ? MEM_OK : MEM_ENOMEM, MEM_OK))
			blocks[0] = moved;
	}
	while (n)
		heap_free(heap, blocks[--n]);
	if (!heap_is_valid(heap))
		model_fail("the heap is not valid");
	heap_reap(heap, true);
}
static void use_heap_as(enum heap_profile profile)
{
	struct heap *heap;
	if (!make_heap(&heap, profile))
		return;
	use_heap(heap);
	end_heap(heap);
}
static void do_heap_hardened(void)
{
	use_heap_as(HEAP_HARDENED);
}
static void do_heap_fast(void)
{
	use_heap_as(HEAP_FAST);
}
static void do_kmalloc(void)
{
	struct heap *heap;
	if (!make_heap(&heap, HEAP_HARDENED))
		return;
	heap_set_default(heap);
	void *blocks[] = {kmalloc(100), kzalloc(5000), kcalloc(30, 30), kmalloc_aligned(300, 4096),
			  krealloc(NULL, 77)};
	for (unsigned i = 0; i < 5; i++) {
		(void)model_expect("kmalloc", blocks[i] ? MEM_OK : MEM_ENOMEM, MEM_OK);
		kfree(blocks[i]);
	}
	heap_reap(heap, true);
	end_heap(heap);
}

static void do_slab_cache(void)
{
	static void *objects[300];
	struct frame_source source;
	struct slab_cache *cache;
	frame_source_init(&source, machine_pmm);
	struct slab_cache_spec spec = {
	    .name = "sweep", .object_bytes = 200, .source = &source.source};
	if (!model_expect("slab_cache_create", slab_cache_create(&cache, &spec), MEM_OK))
		return;
	unsigned n = 0;
	for (unsigned i = 0; i < 300; i++) {
		objects[n] = slab_alloc(cache);
		n += model_expect("slab_alloc", objects[n] ? MEM_OK : MEM_ENOMEM, MEM_OK);
	}
	while (n)
		slab_free(cache, objects[--n]);
	slab_cache_destroy(cache);
}

/* The frame allocator asks nobody: what it needs itself lies in its own frames. */
static void do_frames(void)
{
	paddr_t blocks[PMM_ORDER_HUGE + 1];
	for (unsigned order = 0; order <= PMM_ORDER_HUGE; order++) {
		blocks[order] = pmm_alloc(machine_pmm, order, order ? PMM_KERNEL : PMM_ANY);
		(void)model_expect("pmm_alloc", blocks[order] == PADDR_NONE ? MEM_ENOMEM : MEM_OK,
				   MEM_OK);
	}
	if (blocks[0] != PADDR_NONE) {
		frame_init(machine_pmm, blocks[0], FRAME_ANON, NULL);
		if (model_expect("frame_get",
				 frame_get(machine_pmm, blocks[0]) ? MEM_ENOMEM : MEM_OK, MEM_OK)) {
			if (model_expect("frame_pin",
					 frame_pin(machine_pmm, blocks[0]) ? MEM_ENOMEM : MEM_OK,
					 MEM_OK) &&
			    frame_unpin(machine_pmm, blocks[0]))
				model_fail("the last of three owners");
			if (frame_put(machine_pmm, blocks[0]))
				model_fail("the last of two owners");
		}
		if (!frame_put(machine_pmm, blocks[0]))
			model_fail("not the last owner");
	}
	for (unsigned order = 0; order <= PMM_ORDER_HUGE; order++)
		if (blocks[order] != PADDR_NONE)
			pmm_free(machine_pmm, blocks[order], order);
}
static void do_frame_range(void)
{
	paddr_t pa;
	mem_status status =
	    pmm_alloc_range(machine_pmm, 700, 16, (paddr_t)32 << 20, PMM_KERNEL | PMM_ZERO, &pa);
	if (!model_expect("pmm_alloc_range", status, MEM_OK))
		return;
	pmm_free_range(machine_pmm, pa + 100 * PAGE_SIZE, 600);
	pmm_free_range(machine_pmm, pa, 100);
}
static void do_offline_and_online(void)
{
	paddr_t pa;
	mem_status status = pmm_alloc_range(machine_pmm, 4, 1, PADDR_NONE, PMM_KERNEL, &pa);
	if (!model_expect("pmm_alloc_range", status, MEM_OK))
		return;
	pmm_free_range(machine_pmm, pa, 4);
	if (model_expect("pmm_reserve", pmm_reserve(machine_pmm, pa, 4), MEM_OK))
		(void)model_expect("pmm_add", pmm_add(machine_pmm, pa, 4), MEM_OK);
}

const struct sweep_operation sweep_kernel[] = {
    OPERATION(stack_and_device),
    OPERATION(heap_area),
    OPERATION(raw_map),
    OPERATION(device_large),
    OPERATION(stacks_beyond_the_cache),
    OPERATION(heap_area_large),
    OPERATION(heap_area_drop_and_restore),
    OPERATION(drain),
    OPERATION(heap_hardened),
    OPERATION(heap_fast),
    OPERATION(kmalloc),
    OPERATION(slab_cache),
    OPERATION(frames),
    OPERATION(frame_range),
    OPERATION(offline_and_online),
    {NULL, NULL},
};
