/* SPDX-License-Identifier: MIT */
/*
 * Stage 2: page tables of our own, with a heap, devices, memory for devices and stacks in
 * them. Written for it: descriptor tables, and interrupts on (giving addresses back waits for
 * other CPUs, and there it must be possible to).
 */
#include "boot.h"

#include <mem/heap.h>
#include <mem/pmm.h>
#include <mem/pt.h>

static void use_heap(struct vmm *vmm)
{
	struct heap *heap;
	struct heap_stats stats;
	CHECK(heap_create(&heap, vmm_heap_area(vmm)) == MEM_OK);
	heap_set_default(heap);
	void *small = kmalloc(100), *large = kmalloc(1 << 20);
	CHECK(small && large);
	memset(large, 1, 1 << 20);
	/* Behind a large block is nothing. */
	CHECK(!pt_translate(vmm_kernel_root(vmm), (vaddr_t)(uintptr_t)large + (1 << 20), NULL, NULL,
			    NULL) ||
	      vmm_guard_name(vmm, (vaddr_t)(uintptr_t)large + (1 << 20)) == NULL);
	kfree(large);
	kfree(small);
	(void)heap_reap(heap, true);
	heap_get_stats(heap, &stats);
	CHECK(stats.live_blocks == 0);
	heap_destroy(heap);
}

static void use_device(struct vmm *vmm)
{
	void *apic;
	CHECK(vmm_map_device(vmm, 0xfee00000, 4096, VM_READ | VM_WRITE, VM_UC, &apic) == MEM_OK);
	host_log(HOST_LOG_INFO, "local APIC version %x", *((volatile uint32_t *)apic + 0x30 / 4));
	vmm_unmap_device(vmm, apic, 4096);
	void *buffer;
	paddr_t pa;
	CHECK(vmm_alloc_dma(vmm, 3 * 4096, (paddr_t)1 << 24, VM_UC, &buffer, &pa) == MEM_OK);
	CHECK(pa + 3 * 4096 <= (paddr_t)1 << 24);
	memset(buffer, 0xaa, 3 * 4096);
	vmm_free_dma(vmm, buffer, 3 * 4096);
}

static void use_stack(struct vmm *vmm)
{
	void *stack;
	CHECK(vmm_alloc_stack(vmm, 4, &stack) == MEM_OK);
	memset(stack, 0, 4 * 4096);
	const char *guard = vmm_guard_name(vmm, (vaddr_t)(uintptr_t)stack - 1);
	CHECK(guard);
	host_log(HOST_LOG_INFO, "below the stack: the guard page of a %s", guard);
	vmm_free_stack(vmm, stack, 4);
}

void kernel_main(void)
{
	struct pmm *frames;
	descriptors_load(NULL);
	struct memmap *map = boot_frames(&frames);
	struct vmm *vmm = boot_tables(frames, map);
	interrupt_lines_off();
	__asm__ volatile("sti");
	CHECK(mem_selftest_vmm(&(struct mem_selftest){.pmm = frames, .vmm = vmm}) == 0);
	use_heap(vmm);
	use_device(vmm);
	use_stack(vmm);
	pmm_drain(frames);
	CHECK(pmm_is_valid(frames));
	host_log(HOST_LOG_INFO, "stage 2: all checks held");
}
