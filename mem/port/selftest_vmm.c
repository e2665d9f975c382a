/* SPDX-License-Identifier: MIT */
/* The self-test's part that needs the virtual memory manager: does a flush reach every CPU?
 * Each reads a page, so that it keeps the translation; the page behind the address is changed
 * and flushed; each reads again. */
#include "port/selftest.h"

#include <mem/pmm.h>
#include <mem/pt.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"

static void check_flush(const struct mem_selftest *what)
{
	void *page;
	if (!what->helpers || !what->vmm || !what->pmm || !host_irq_enabled())
		return;
	paddr_t other = pmm_alloc(what->pmm, 0, PMM_KERNEL), first;
	uint64_t entry;
	if (other == PADDR_NONE || vmm_alloc_stack(what->vmm, 1, &page) != MEM_OK) {
		FAIL("no memory to check flushes with");
		return;
	}
	paddr_t root = vmm_kernel_root(what->vmm);
	mem_selftest_state.look_at = (vaddr_t)(uintptr_t)page;
	if (!pt_translate(root, mem_selftest_state.look_at, &first, &entry, NULL))
		FAIL("a kernel stack is not mapped");
	*(uint64_t *)paddr_to_ptr(first) = 1;
	*(uint64_t *)paddr_to_ptr(other) = 2;
	host_log(HOST_LOG_INFO, "selftest: asking %u CPUs for a flush", what->helpers);
	if (mem_selftest_enter(LOOK, false)) {
		pt_unmap(what->pmm, root, mem_selftest_state.look_at, MEM_PAGE_SIZE);
		if (pt_map(what->pmm, root, mem_selftest_state.look_at, other, MEM_PAGE_SIZE,
			   entry & ~PTE_ADDR) != MEM_OK)
			FAIL("no memory to check flushes with");
		vmm_flush_kernel(what->vmm, mem_selftest_state.look_at, MEM_PAGE_SIZE);
		if (mem_selftest_enter(LOOK_AGAIN, false))
			for (unsigned i = 0; i < MEM_MAX_CPUS; i++)
				if (atomic_read_seq(&mem_selftest_state.cpu[i].here) &&
				    mem_selftest_state.cpu[i].seen != 2)
					FAIL("a flush does not reach CPU %u: host_flush_wait, or "
					     "its "
					     "handler does not call vmm_flush_pending",
					     i);
		pt_unmap(what->pmm, root, mem_selftest_state.look_at, MEM_PAGE_SIZE);
		if (pt_map(what->pmm, root, mem_selftest_state.look_at, first, MEM_PAGE_SIZE,
			   entry & ~PTE_ADDR) != MEM_OK)
			FAIL("no memory to check flushes with");
		vmm_flush_kernel(what->vmm, mem_selftest_state.look_at, MEM_PAGE_SIZE);
	}
	vmm_free_stack(what->vmm, page, 1);
	pmm_free(what->pmm, other, 0);
}

unsigned mem_selftest_vmm(const struct mem_selftest *what)
{
	return mem_selftest_with(what, check_flush);
}
