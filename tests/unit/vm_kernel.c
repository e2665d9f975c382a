/* SPDX-License-Identifier: MIT */
/* Kernel areas: stacks, devices, DMA memory, the heap's ranges; guards, reuse of
 * addresses, exact return of frames. */
#include <mem/vmm.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86_64/pte.h"
#include "pt/raw.h"
#include "tests/machine/boot.h"
#include "tests/test.h"

static bool reachable(vaddr_t va)
{
	uint64_t value;
	return machine_kernel_access(va, MACHINE_READ, &value).ok;
}

static uint64_t free_frames(void)
{
	return machine_frames_at_rest();
}

TEST(vm_kernel_stack_has_guards)
{
	machine_boot_default(2, 1);
	void *a, *b;
	CHECK_OK(vmm_alloc_stack(machine_vmm, 4, &a));
	CHECK_OK(vmm_alloc_stack(machine_vmm, 4, &b));
	vaddr_t low = (vaddr_t)a, high = low + 4 * PAGE_SIZE;
	CHECK(!(low & PAGE_MASK));
	for (unsigned i = 0; i < 4; i++)
		CHECK(reachable(low + i * PAGE_SIZE));
	CHECK(!reachable(low - 8));
	CHECK(!reachable(high));
	CHECK(!strcmp(vmm_guard_name(machine_vmm, low - 8), "kernel stack"));
	CHECK(!strcmp(vmm_guard_name(machine_vmm, high), "kernel stack"));
	CHECK(!vmm_guard_name(machine_vmm, low));
	CHECK(!vmm_guard_name(machine_vmm, 0x1000));
	CHECK(low + 5 * PAGE_SIZE <= (vaddr_t)b || (vaddr_t)b + 5 * PAGE_SIZE <= low);
	vmm_free_stack(machine_vmm, a, 4);
	vmm_free_stack(machine_vmm, b, 4);
	CHECK(vmm_is_valid(machine_vmm));
	vmm_drain(machine_vmm);
	CHECK(!reachable(low));
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
}

TEST(vm_kernel_stacks_come_back)
{
	machine_boot_default(2, 2);
	void *stack[100];
	/* The first round makes tables, which stay. */
	for (unsigned round = 0; round < 3; round++) {
		uint64_t before = free_frames();
		for (unsigned i = 0; i < 100; i++)
			CHECK_OK(vmm_alloc_stack(machine_vmm, 1 + i % 5, &stack[i]));
		CHECK(vmm_is_valid(machine_vmm));
		for (unsigned i = 0; i < 100; i++)
			vmm_free_stack(machine_vmm, stack[(i * 37) % 100], 1 + (i * 37) % 100 % 5);
		CHECK(vmm_is_valid(machine_vmm));
		struct vmm_stats stats;
		vmm_drain(machine_vmm);
		vmm_get_stats(machine_vmm, &stats);
		CHECK_EQ(stats.stack_npages, 0);
		if (round)
			CHECK_EQ(free_frames(), before);
	}
	machine_end();
}

TEST(vm_kernel_device_maps_what_was_asked)
{
	machine_boot_default(1, 3);
	paddr_t root = vmm_kernel_root(machine_vmm), pa;
	void *a, *b;
	uint64_t entry;
	unsigned level;
	CHECK_OK(vmm_map_device(machine_vmm, 0xfee00030, 8, VM_READ | VM_WRITE, VM_UC, &a));
	CHECK(pt_translate(root, (vaddr_t)a, &pa, &entry, &level));
	CHECK_EQ(pa, 0xfee00030);
	CHECK_EQ(entry & (PTE_PCD | PTE_PWT | PTE_PAT_4K), PTE_PCD | PTE_PWT);
	CHECK((entry & PTE_WRITE) && (entry & PTE_NX));
	/* A large one gets large leaves although its start is in the middle of one. */
	paddr_t at = 0x1c0000000 + 5 * HUGE_SIZE + 3 * PAGE_SIZE;
	CHECK_OK(vmm_map_device(machine_vmm, at, 2 * GIGA_SIZE, VM_READ, VM_WC, &b));
	CHECK(pt_translate(root, (vaddr_t)b, &pa, &entry, &level));
	CHECK_EQ(pa, at);
	CHECK_EQ(level, 1);
	CHECK_EQ(entry & (PTE_PCD | PTE_PWT | PTE_PAT_4K), PTE_PAT_4K | PTE_PWT);
	CHECK(pt_translate(root, (vaddr_t)b + HUGE_SIZE, &pa, &entry, &level));
	CHECK_EQ(pa, at + HUGE_SIZE);
	CHECK_EQ(level, 2);
	CHECK(entry & PTE_PAT_HUGE);
	CHECK(!(entry & PTE_WRITE));
	CHECK(pt_translate(root, (vaddr_t)b + GIGA_SIZE, &pa, &entry, &level));
	CHECK_EQ(pa, at + GIGA_SIZE);
	CHECK_EQ(level, 3);
	vmm_unmap_device(machine_vmm, b, 2 * GIGA_SIZE);
	CHECK(!pt_translate(root, (vaddr_t)b, NULL, NULL, NULL));
	CHECK(!pt_translate(root, (vaddr_t)b + GIGA_SIZE, NULL, NULL, NULL));
	CHECK(pt_translate(root, (vaddr_t)a, &pa, NULL, NULL));
	vmm_unmap_device(machine_vmm, a, 8);
	CHECK_EQ(vmm_map_device(machine_vmm, 0, 0, VM_READ, VM_UC, &a), MEM_EINVAL);
	CHECK_EQ(vmm_map_device(machine_vmm, UINT64_MAX - 5, 100, VM_READ, VM_UC, &a), MEM_EINVAL);
	CHECK_EQ(vmm_map_device(machine_vmm, 0, 1, (enum vm_prot)(VM_READ | VM_EXEC), VM_UC, &a),
		 MEM_EINVAL);
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
}

TEST(vm_kernel_dma_is_zeroed_low_and_contiguous)
{
	machine_boot_default(1, 4);
	for (unsigned round = 0; round < 2; round++) {
		uint64_t before = free_frames();
		void *va;
		paddr_t pa, last;
		CHECK_OK(vmm_alloc_dma(machine_vmm, 10 * PAGE_SIZE, 16 << 20, VM_WB, &va, &pa));
		CHECK(pa + 10 * PAGE_SIZE <= 16 << 20);
		CHECK(pt_translate(vmm_kernel_root(machine_vmm), (vaddr_t)va + 9 * PAGE_SIZE, &last,
				   NULL, NULL));
		CHECK_EQ(last, pa + 9 * PAGE_SIZE);
		for (unsigned i = 0; i < 10 * PAGE_SIZE; i++)
			CHECK_EQ(((unsigned char *)paddr_to_ptr(pa))[i], 0);
		memset(paddr_to_ptr(pa), 0xa5, 10 * PAGE_SIZE);
		vmm_free_dma(machine_vmm, va, 10 * PAGE_SIZE);
		CHECK(!reachable((vaddr_t)va));
		if (round)
			CHECK_EQ(free_frames(), before);
	}
	machine_end();
}

TEST(vm_kernel_heap_area)
{
	machine_boot_default(2, 5);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t before = free_frames();
		void *small = area->map(area, 3, 1, false);
		void *aligned = area->map(area, 512, 512, false);
		void *atomic = area->map(area, 16, 16, true);
		CHECK(small && aligned && atomic);
		CHECK(!((vaddr_t)aligned & (HUGE_SIZE - 1)));
		CHECK(!((vaddr_t)atomic & (16 * PAGE_SIZE - 1)));
		CHECK(reachable((vaddr_t)aligned + 511 * PAGE_SIZE));
		CHECK(!reachable((vaddr_t)aligned + 512 * PAGE_SIZE));
		CHECK(!reachable((vaddr_t)small + 3 * PAGE_SIZE));
		CHECK(!strcmp(vmm_guard_name(machine_vmm, (vaddr_t)small + 3 * PAGE_SIZE),
			      "heap block"));
		CHECK(vmm_is_valid(machine_vmm));
		area->unmap(area, aligned, 512);
		CHECK(!reachable((vaddr_t)aligned));
		area->unmap(area, small, 3);
		area->unmap(area, atomic, 16);
		CHECK(vmm_is_valid(machine_vmm));
		if (round)
			CHECK_EQ(free_frames(), before);
	}
	machine_end();
}

/* Memory behind parts of a range goes and comes back; the rest stays as it is. */
TEST(vm_kernel_heap_area_decommits_parts)
{
	machine_boot_default(2, 9);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	char *pages = area->map(area, 64, 64, false), *huge = area->map(area, 512, 512, false);
	CHECK(pages && huge);
	vaddr_t va = (vaddr_t)pages;
	uint64_t mark = 42, value;
	CHECK(machine_kernel_access(va + 9 * PAGE_SIZE, MACHINE_WRITE, &mark).ok);
	uint64_t before = free_frames();
	for (unsigned round = 0; round < 3; round++) {
		CHECK(area->decommit(area, pages + 10 * PAGE_SIZE, 20));
		CHECK(area->decommit(area, pages + 50 * PAGE_SIZE, 14));
		CHECK_EQ(free_frames(), before + 34);
		CHECK(!reachable(va + 10 * PAGE_SIZE) && !reachable(va + 29 * PAGE_SIZE));
		CHECK(reachable(va + 30 * PAGE_SIZE) && !reachable(va + 63 * PAGE_SIZE));
		CHECK(vmm_is_valid(machine_vmm));
		/* No memory: what is back stays back, and the next attempt finds it. (A handler
		 * may have had some of the frames.) */
		inject_arm(INJECT_FRAMES, 8, true);
		CHECK(!area->recommit(area, pages + 10 * PAGE_SIZE, 20, round == 1));
		(void)inject_disarm();
		unsigned back = 0;
		for (unsigned i = 10; i < 30; i++)
			back += reachable(va + i * PAGE_SIZE);
		CHECK(back <= 7);
		CHECK_EQ(free_frames(), before + 34 - back);
		CHECK(vmm_is_valid(machine_vmm));
		CHECK(area->recommit(area, pages + 10 * PAGE_SIZE, 20, round == 1));
		CHECK(area->recommit(area, pages + 50 * PAGE_SIZE, 14, false));
		CHECK_EQ(free_frames(), before);
		for (unsigned i = 0; i < 64; i++)
			CHECK(reachable(va + i * PAGE_SIZE));
		CHECK(machine_kernel_access(va + 9 * PAGE_SIZE, MACHINE_READ, &value).ok);
		CHECK_EQ(value, mark);
	}
	CHECK(area->decommit(area, pages, 5)); /* what is dropped may go with the range */
	area->unmap(area, pages, 64);
	area->unmap(area, huge, 512);
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
}

/* So does memory behind parts of what is mapped by one 2 MiB entry; its table takes the
 * place of a page that goes, so that no memory is needed. */
TEST(vm_kernel_heap_area_decommits_parts_of_blocks)
{
	machine_boot_default(2, 11);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	vmm_drain(machine_vmm);
	uint64_t before = free_frames();
	char *huge = area->map(area, 1024, 512, false);
	CHECK(huge);
	vaddr_t va = (vaddr_t)huge;
	unsigned level;
	(void)pt_entry(vmm_kernel_root(machine_vmm), va, &level);
	CHECK_EQ(level, 2);
	for (unsigned i = 0; i < 1024; i++) {
		uint64_t mark = 7000 + i;
		CHECK(machine_kernel_access(va + i * PAGE_SIZE, MACHINE_WRITE, &mark).ok);
	}
	uint64_t mapped = free_frames();
	/* The end of the first entry's pages and the beginning of the second's. */
	inject_arm(INJECT_FRAMES, 0, true);
	CHECK(area->decommit(area, huge + 500 * PAGE_SIZE, 20));
	(void)inject_disarm();
	CHECK_EQ(free_frames(), mapped + 20);
	CHECK(vmm_is_valid(machine_vmm));
	for (unsigned i = 0; i < 1024; i++) {
		uint64_t value = 0;
		bool ok = machine_kernel_access(va + i * PAGE_SIZE, MACHINE_READ, &value).ok;
		CHECK_EQ(ok, i < 500 || i >= 520);
		CHECK(!ok || value == 7000 + i);
	}
	CHECK(area->decommit(area, huge, 500));
	CHECK(area->recommit(area, huge + 400 * PAGE_SIZE, 120, false));
	CHECK(reachable(va + 400 * PAGE_SIZE) && reachable(va + 519 * PAGE_SIZE));
	CHECK_EQ(free_frames(), mapped + 400);
	CHECK(area->decommit(area, huge + 512 * PAGE_SIZE, 512)); /* all that is left of one */
	area->unmap(area, huge, 1024);
	vmm_drain(machine_vmm);
	CHECK_EQ(free_frames(), before);
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
}

/* Descriptors that outlive many others are moved together, and can still be used. */
TEST(vm_kernel_descriptors_come_back)
{
	enum { MANY = 400 };
	machine_boot_default(2, 10);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	static void *pages[MANY];
	struct vmm_stats first, grown, after;
	vmm_get_stats(machine_vmm, &first);
	uint64_t before = free_frames();
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < MANY; i++)
			CHECK((pages[i] = area->map(area, 1 + i % 3, 1, false)) != NULL);
		vmm_get_stats(machine_vmm, &grown);
		CHECK(grown.range_npages > first.range_npages + 5);
		for (unsigned i = 0; i < MANY; i++)
			if (i % 20 != round * 5)
				area->unmap(area, pages[i], 1 + i % 3);
		vmm_drain(machine_vmm);
		CHECK(vmm_is_valid(machine_vmm));
		vmm_get_stats(machine_vmm, &after);
		CHECK(after.range_npages <= first.range_npages + 1);
		for (unsigned i = round * 5; i < MANY; i += 20) {
			CHECK(reachable((vaddr_t)pages[i]));
			area->unmap(area, pages[i], 1 + i % 3);
		}
		CHECK_EQ(free_frames(), before);
		vmm_get_stats(machine_vmm, &after);
		CHECK_EQ(after.range_npages, first.range_npages);
		CHECK(vmm_is_valid(machine_vmm));
	}
	machine_end();
}

/* Tables of kernel areas come with mappings and go when everything is drained. */
TEST(vm_kernel_tables_come_back)
{
	machine_boot_default(3, 8);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	struct vmm_stats first, grown, after;
	void *pages[20], *keep;
	/* What stays mapped keeps its own table, and those above. */
	keep = area->map(area, 3, 1, false);
	CHECK(keep);
	vmm_drain(machine_vmm);
	vmm_get_stats(machine_vmm, &first);
	uint64_t before = free_frames();
	for (unsigned i = 0; i < 20; i++) {
		pages[i] = area->map(area, 300, 1, false);
		CHECK(pages[i] && reachable((vaddr_t)pages[i] + 299 * PAGE_SIZE));
	}
	vmm_get_stats(machine_vmm, &grown);
	CHECK(grown.kernel_table_npages >= first.kernel_table_npages + 10);
	for (unsigned i = 0; i < 20; i++)
		area->unmap(area, pages[i], 300);
	vmm_drain(machine_vmm);
	vmm_get_stats(machine_vmm, &after);
	CHECK_EQ(after.kernel_table_npages, first.kernel_table_npages);
	CHECK_EQ(free_frames(), before);
	CHECK(reachable((vaddr_t)keep + 2 * PAGE_SIZE));
	CHECK(vmm_is_valid(machine_vmm));
	pages[0] = area->map(area, 3000, 1, false);
	CHECK(pages[0] && reachable((vaddr_t)pages[0] + 2999 * PAGE_SIZE));
	area->unmap(area, pages[0], 3000);
	area->unmap(area, keep, 3);
	machine_end();
}

/* Memory runs out in the middle of a range: all of it comes back. */
TEST(vm_kernel_half_a_range_comes_back)
{
	machine_boot_default(1, 6);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *pages = area->map(area, 40, 1, false), *stack;
	CHECK(pages);
	area->unmap(area, pages, 40);
	uint64_t before = free_frames();
	for (unsigned n = 1; n < 45; n++) {
		inject_arm(INJECT_ALL, n, true);
		pages = area->map(area, 40, 1, false);
		bool failed = inject_failures() > 0;
		(void)inject_disarm();
		CHECK_EQ(pages == NULL, failed);
		if (pages)
			area->unmap(area, pages, 40);
		inject_arm(INJECT_ALL, n, true);
		mem_status status = vmm_alloc_stack(machine_vmm, 40, &stack);
		failed = inject_failures() > 0;
		(void)inject_disarm();
		CHECK_EQ(status, failed ? MEM_ENOMEM : MEM_OK);
		if (status == MEM_OK)
			vmm_free_stack(machine_vmm, stack, 40);
		vmm_drain(machine_vmm);
		CHECK(vmm_is_valid(machine_vmm));
	}
	/* The stack area got its first tables. */
	struct vmm_stats stats;
	vmm_get_stats(machine_vmm, &stats);
	CHECK(before - free_frames() <= 2);
	machine_end();
}

static void use_freed_stack(void)
{
	machine_boot_default(1, 7);
	void *stack;
	CHECK_OK(vmm_alloc_stack(machine_vmm, 2, &stack));
	vmm_free_stack(machine_vmm, (char *)stack + PAGE_SIZE, 2);
}

TEST(vm_kernel_freeing_what_is_no_stack_is_found)
{
	test_expect_panic(use_freed_stack,
			  "vmm_free_stack: no stack of that size begins there; called from");
}

/* How far each kernel area is moved up in its slot. */
struct slides {
	uint64_t heap, stack, device;
};

static struct slides boot_and_look(uint64_t seed)
{
	const uint64_t slot = (uint64_t)1 << 39;
	machine_boot_default(1, seed);
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *heap = area->map(area, 1, 1, false), *stack, *device;
	CHECK(heap);
	CHECK_OK(vmm_alloc_stack(machine_vmm, 1, &stack));
	CHECK_OK(vmm_map_device(machine_vmm, 0xfee00000, PAGE_SIZE, VM_READ, VM_UC, &device));
	/* The first page of an area is a guard. */
	struct slides s = {((vaddr_t)heap - PAGE_SIZE) % slot, ((vaddr_t)stack - PAGE_SIZE) % slot,
			   ((vaddr_t)device - PAGE_SIZE) % slot};
	CHECK(!strcmp(vmm_guard_name(machine_vmm, (vaddr_t)stack - 1), "kernel stack"));
	area->unmap(area, heap, 1);
	vmm_free_stack(machine_vmm, stack, 1);
	vmm_unmap_device(machine_vmm, device, PAGE_SIZE);
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
	CHECK(!((s.heap | s.stack | s.device) & (HUGE_SIZE - 1)));
	CHECK(s.heap < slot / 2 && s.stack < slot / 2 && s.device < slot / 2);
	return s;
}

/* A machine can be booted once in a process. */
static struct slides slides_of(uint64_t seed)
{
	struct slides s = {0};
	int ends[2], status;
	CHECK_EQ(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		s = boot_and_look(seed);
		_exit(write(ends[1], &s, sizeof(s)) != sizeof(s));
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(read(ends[0], &s, sizeof(s)), (ssize_t)sizeof(s));
	close(ends[0]);
	close(ends[1]);
	return s;
}

TEST(vm_kernel_areas_begin_where_the_seed_says)
{
	struct slides fixed = slides_of(0), last = fixed;
	CHECK(!fixed.heap && !fixed.stack && !fixed.device);
	for (uint64_t seed = 1; seed < 10; seed++) {
		struct slides s = slides_of(seed), again = slides_of(seed);
		CHECK(!memcmp(&s, &again, sizeof(s)));
		CHECK(s.heap != last.heap && s.stack != last.stack && s.device != last.device);
		CHECK(s.heap != s.stack && s.stack != s.device && s.device != s.heap);
		last = s;
	}
}
