/* SPDX-License-Identifier: MIT */
/* Pitfalls of memory that is not what it seems: 19, 20, 22; kernel areas. */
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/pitfalls/help.h"
#include "vm/space.h"

static struct space *space;

/*
 * 19. The memory map lies: entries overlap, wrap, are not aligned, come in
 * hundreds, and put devices inside what looks like memory. No frame that any
 * entry which is not usable touches is ever handed out.
 */
#define ENTRIES 40

static uint64_t some_address(void)
{
	uint64_t a = test_random_below(256 * PAGE_SIZE);
	return test_random_below(3) ? a & ~PAGE_MASK : a;
}

static bool touches(const struct memmap_entry *e, pfn_t pfn)
{
	paddr_t first = pfn << PAGE_SHIFT, last = first + PAGE_MASK;
	return e->length && e->base <= last && e->base + e->length - 1 >= first;
}

static bool covers(const struct memmap_entry *e, pfn_t pfn)
{
	paddr_t first = pfn << PAGE_SHIFT;
	return e->length >= PAGE_SIZE && e->base <= first &&
	       e->base + e->length - 1 >= first + PAGE_MASK;
}

TEST(pitfall_19_memory_maps_lie)
{
	static struct memmap_region regions[MEMMAP_CAPACITY(ENTRIES)];
	for (int round = 0; round < 500; round++) {
		struct memmap_entry e[ENTRIES];
		size_t n = 1 + test_random_below(ENTRIES);
		for (size_t i = 0; i < n; i++)
			e[i] = (struct memmap_entry){
			    .base = some_address(),
			    .length = some_address() / 4,
			    .type = test_random_below(2) ? MEMMAP_USABLE : test_random_below(12)};
		struct memmap map = {.regions = regions, .capacity = MEMMAP_CAPACITY(ENTRIES)};
		CHECK_OK(memmap_sanitise(&map, e, n, 1u << 20));
		CHECK(memmap_is_valid(&map));
		for (pfn_t pfn = 0; pfn < 340; pfn++) {
			enum memmap_type type;
			bool usable = memmap_lookup(&map, pfn, &type) && type == MEMMAP_USABLE;
			bool spoilt = false, covered = false;
			for (size_t i = 0; i < n; i++) {
				spoilt |= e[i].type != MEMMAP_USABLE && touches(&e[i], pfn);
				covered |= e[i].type == MEMMAP_USABLE && covers(&e[i], pfn);
			}
			CHECK(!(usable && spoilt));
			CHECK(usable || spoilt || !covered);
		}
	}
	struct memmap_entry wraps[] = {{0, 64 * PAGE_SIZE, MEMMAP_USABLE},
				       {UINT64_MAX - 10, 4096, MEMMAP_RESERVED},
				       {8 * PAGE_SIZE, UINT64_MAX, MEMMAP_RESERVED}};
	struct memmap map = {.regions = regions, .capacity = MEMMAP_CAPACITY(ENTRIES)};
	CHECK_OK(memmap_sanitise(&map, wraps, 3, 1u << 20));
	CHECK_EQ(memmap_npages(&map, MEMMAP_USABLE), 8);
}

/*
 * 20. The direct map covers memory, not the address space: what the memory map
 * does not list is not mapped; devices are mapped on their own, with the cache
 * type that they need.
 */
TEST(pitfall_20_direct_map_is_memory_only)
{
	paddr_t pa;
	uint64_t entry;
	unsigned level;
	void *device;
	space = pitfall_begin(1, 0);
	paddr_t root = vmm_kernel_root(machine_vmm);
	vaddr_t base = machine_vmm->direct_base;
	CHECK(pt_translate(root, base + 5 * PAGE_SIZE, &pa, &entry, &level));
	CHECK_EQ(pa, 5 * PAGE_SIZE);
	CHECK(entry & PTE_NX);
	/* machine_boot's map: reserved at 0, a hole at 96, text at 128, end at 64 MiB. */
	for (pfn_t pfn = 96; pfn < 128; pfn++)
		CHECK(!pt_translate(root, base + pfn * PAGE_SIZE, NULL, NULL, NULL));
	CHECK(!pt_translate(root, base, NULL, NULL, NULL));
	CHECK(!pt_translate(root, base + machine_bytes(), NULL, NULL, NULL));
	CHECK(!pt_translate(root, base + 0xfee00000, NULL, NULL, NULL));
	/* An alias of what is executable or read-only is not writable. */
	CHECK(pt_translate(root, base + 128 * PAGE_SIZE, NULL, &entry, NULL));
	CHECK(!(entry & PTE_WRITE));
	CHECK(pt_translate(root, base + 160 * PAGE_SIZE, NULL, &entry, NULL));
	CHECK(entry & PTE_WRITE);
	CHECK_OK(vmm_map_device(machine_vmm, 0xfee00020, 64, VM_READ | VM_WRITE, VM_UC, &device));
	CHECK_EQ((uintptr_t)device & PAGE_MASK, 0x20);
	CHECK(pt_translate(root, (vaddr_t)device, &pa, &entry, &level));
	CHECK_EQ(pa, 0xfee00020);
	CHECK(entry & PTE_PCD);
	CHECK(entry & PTE_NX);
	vmm_unmap_device(machine_vmm, device, 64);
	CHECK(!pt_translate(root, (vaddr_t)device, NULL, NULL, NULL));
	pitfall_end(space);
}

/*
 * 22. A kernel stack that overflows hits a page that is not there, on either side,
 * and whoever explains the fault can say what it was.
 */
TEST(pitfall_22_stacks_have_guard_pages)
{
	void *stack[3];
	space = pitfall_begin(2, 0);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t value = i + 1;
		CHECK_OK(vmm_alloc_stack(machine_vmm, 4, &stack[i]));
		vaddr_t low = (vaddr_t)stack[i], high = low + 4 * PAGE_SIZE;
		CHECK(!machine_kernel_access(low - 8, MACHINE_WRITE, &value).ok);
		CHECK(!machine_kernel_access(high, MACHINE_READ, &value).ok);
		value = i + 1;
		CHECK(machine_kernel_access(low, MACHINE_WRITE, &value).ok);
		CHECK(machine_kernel_access(high - 8, MACHINE_WRITE, &value).ok);
		CHECK(!machine_kernel_access(low, MACHINE_FETCH, &value).ok);
		const char *name = vmm_guard_name(machine_vmm, low - 8);
		CHECK(name && strstr(name, "stack"));
		CHECK(vmm_guard_name(machine_vmm, high + 8));
		CHECK(!vmm_guard_name(machine_vmm, low));
	}
	for (unsigned i = 0; i < 3; i++) {
		uint64_t value = 0;
		CHECK(machine_kernel_access((vaddr_t)stack[i], MACHINE_READ, &value).ok);
		CHECK_EQ(value, i + 1);
		vmm_free_stack(machine_vmm, stack[i], 4);
		vmm_drain(machine_vmm); /* the flush may be put off; then the frames are */
		CHECK(!machine_kernel_access((vaddr_t)stack[i], MACHINE_READ, &value).ok);
	}
	pitfall_end(space);
}

/*
 * 1 and 2 again, for the kernel's own areas: pages of the heap and stacks are
 * used by every CPU, and their translations are global. They are flushed
 * everywhere before the frames are free and before the addresses come back.
 */
static void *pages[4];
static uint32_t mapped;

static void use_heap_pages(void *arg)
{
	for (int i = 0; i < 200; i++) {
		machine_progress();
		for (unsigned p = 0; p < 4; p++) {
			/* What is mapped here stays so while we are between two points. */
			host_preempt_disable();
			uint64_t value;
			if (pages[p] && host_irq_enabled())
				(void)machine_kernel_access((vaddr_t)pages[p], MACHINE_READ,
							    &value);
			host_preempt_enable();
		}
	}
}

static void change_heap_pages(void *arg)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	for (int i = 0; i < 40; i++) {
		unsigned p = machine_random_below(4),
			 n = p == 3 ? 512 : 3; /* one is a 2 MiB leaf */
		if (!pages[p]) {
			pages[p] = area->map(area, n, p == 3 ? 512 : 1, false);
			CHECK(pages[p]);
			continue;
		}
		void *gone = pages[p];
		if (machine_random_below(3) == 0) { /* the memory goes, the address stays */
			CHECK(area->decommit(area, gone, 2));
			if (machine_random_below(2))
				CHECK(area->recommit(area, gone, 2, false));
		}
		pages[p] = NULL;
		area->unmap(area, gone, n);
		if (machine_random_below(6) == 0)
			vmm_drain(machine_vmm); /* page tables may go, too */
	}
	for (unsigned p = 0; p < 4; p++)
		if (pages[p])
			area->unmap(area, pages[p], p == 3 ? 512 : 3);
	mapped = 0;
}

SEEDED_TEST(pitfall_02_kernel_areas_are_flushed_before_reuse, 40)
{
	space = pitfall_begin(3, i);
	memset(pages, 0, sizeof(pages));
	machine_spawn(use_heap_pages, NULL, NULL);
	machine_spawn(use_heap_pages, NULL, space);
	machine_spawn(change_heap_pages, NULL, NULL);
	machine_join();
	pitfall_end(space);
}

/* DMA memory and devices, freed by several CPUs at once: nobody's frames go before
 * a flush that covers them, whoever makes it. */
static void use_and_free_dma(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	for (int i = 0; i < 12; i++) {
		paddr_t pa;
		void *va;
		CHECK_OK(vmm_alloc_dma(machine_vmm, 2 * PAGE_SIZE, PADDR_NONE, VM_WB, &va, &pa));
		pages[self] = va;
		for (unsigned n = 0; n < 6; n++) {
			uint64_t value = n;
			void *other = pages[machine_random_below(4)];
			if (other)
				(void)machine_kernel_access((vaddr_t)other, MACHINE_READ, &value);
			machine_progress();
		}
		pages[self] = NULL;
		vmm_free_dma(machine_vmm, va, 2 * PAGE_SIZE);
		if (machine_random_below(4) == 0)
			vmm_drain(machine_vmm);
	}
}

SEEDED_TEST(pitfall_01_dma_frames_wait_for_their_flush, 60)
{
	space = pitfall_begin(4, i);
	memset(pages, 0, sizeof(pages));
	for (unsigned t = 0; t < 4; t++)
		machine_spawn(use_and_free_dma, (void *)(uintptr_t)t, NULL);
	machine_join();
	pitfall_end(space);
}

/* All kinds of kernel ranges at once, on every CPU, while somebody drains. */
static void use_all_areas(void *arg)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	for (int i = 0; i < 15; i++) {
		void *stack, *heap, *device;
		uint64_t value = 7, npages = 1 + machine_random_below(40);
		if (machine_random_below(15) == 0)
			npages = 600 + npages; /* with a 2 MiB page, if it can be had */
		CHECK_OK(vmm_alloc_stack(machine_vmm, 4, &stack));
		CHECK(machine_kernel_access((vaddr_t)stack, MACHINE_WRITE, &value).ok);
		heap = area->map(area, npages, 1, false);
		CHECK(heap);
		for (uint64_t p = 0; p < npages; p += 37)
			CHECK(machine_kernel_access((vaddr_t)heap + p * PAGE_SIZE, MACHINE_WRITE,
						    &value)
				  .ok);
		CHECK_OK(vmm_map_device(machine_vmm, 0xfd000000, 4096 * (1 + i % 3), VM_READ, VM_WC,
					&device));
		machine_progress();
		if (machine_random_below(5) == 0)
			vmm_drain(machine_vmm);
		value = 0;
		CHECK(machine_kernel_access((vaddr_t)stack, MACHINE_READ, &value).ok);
		CHECK_EQ(value, 7);
		vmm_free_stack(machine_vmm, stack, 4);
		area->unmap(area, heap, npages);
		vmm_unmap_device(machine_vmm, device, 4096 * (1 + (unsigned)i % 3));
	}
}

SEEDED_TEST(pitfall_02_all_kernel_areas_at_once, 50)
{
	space = pitfall_begin(4, i);
	for (unsigned t = 0; t < 5; t++)
		machine_spawn(use_all_areas, NULL, NULL);
	machine_join();
	pitfall_end(space);
}
