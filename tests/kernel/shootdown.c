/* SPDX-License-Identifier: MIT */
/* A change of a kernel mapping on one CPU is seen by all: CPU 0 moves a page
 * between frames, every other CPU reads it all the time and must never see the
 * old frame's number after the flush was acknowledged. */
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

#include <kernel/boot.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "base/atomic.h"
#include "base/util.h"

enum { MOVES = 300 };

static uint64_t *volatile page; /* a kernel address whose frame changes */
static uint64_t acknowledged;   /* every CPU must read at least this from *page */
static uint32_t stop;
static paddr_t frame[2];
static vaddr_t address;

static bool move_page(void)
{
	paddr_t root = vmm_kernel_root(kernel_vmm);
	for (uint64_t i = 1; i <= MOVES; i++) {
		paddr_t next = frame[i & 1];
		*(uint64_t *)paddr_to_ptr(next) = i;
		/* Replace the entry in one store: readers see old or new, never neither. */
		pte_t *entries = paddr_to_ptr(root);
		for (unsigned level = 4; level > 1; level--)
			entries = paddr_to_ptr(entries[pt_index(address, level)] & PTE_ADDR);
		pte_t *pte = &entries[pt_index(address, 1)];
		atomic_write_seq(pte, (*pte & ~PTE_ADDR) | next);
		vmm_flush_kernel(kernel_vmm, address, PAGE_SIZE);
		atomic_write_seq(&acknowledged, i);
		test_progress(i);
	}
	atomic_write_seq(&stop, 1);
	return true;
}

static bool observe(void *arg, unsigned cpu)
{
	if (cpu == 0)
		return move_page();
	while (!atomic_read_seq(&stop)) {
		uint64_t floor = atomic_read_seq(&acknowledged);
		if (atomic_read_seq(page) < floor)
			return false;
	}
	return true;
}

TEST(kernel_shootdown_is_seen_by_all)
{
	void *stack; /* one page of kernel address space of our own */
	CHECK_OK(vmm_alloc_stack(kernel_vmm, 1, &stack));
	address = (vaddr_t)stack;
	CHECK(pt_translate(vmm_kernel_root(kernel_vmm), address, &frame[0], NULL, NULL));
	CHECK((frame[1] = pmm_alloc(kernel_pmm, 0, PMM_KERNEL | PMM_ZERO)) != PADDR_NONE);
	page = stack;
	*page = 0;
	acknowledged = stop = 0;
	CHECK_EQ(every_cpu(observe, NULL), 0);
	paddr_t now;
	CHECK(pt_translate(vmm_kernel_root(kernel_vmm), address, &now, NULL, NULL));
	CHECK_EQ(now, frame[MOVES & 1]);
	vmm_free_stack(kernel_vmm, stack, 1); /* frees the frame that is mapped now */
	pmm_free(kernel_pmm, frame[!(MOVES & 1)], 0);
	test_note("%u moves on %u CPUs", MOVES, cpu_count());
}
