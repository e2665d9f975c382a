/* SPDX-License-Identifier: MIT */
/* User spaces without a user program: promises, faults, fork, and what is left. */
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

#include <kernel/boot.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "base/util.h"

static vaddr_t map(struct space *space, vaddr_t hint, uint64_t bytes, unsigned flags)
{
	struct vm_map_args args = {.hint = hint,
				   .bytes = bytes,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = VM_READ | VM_WRITE | VM_EXEC,
				   .flags = flags};
	vaddr_t va;
	CHECK_OK(vmm_map(space, &args, &va));
	return va;
}

TEST(kernel_space_one_byte_of_a_gibibyte)
{
	struct space *space;
	CHECK_OK(vmm_space_create(kernel_vmm, &space));
	struct vmm_space_stats before, after;
	vmm_space_stats(space, &before);
	vaddr_t va = map(space, 0x40000000, GIGA_SIZE, VM_NORESERVE);
	vmm_space_stats(space, &after);
	CHECK_EQ(after.table_npages, before.table_npages);
	uint64_t byte = 1, done;
	CHECK_OK(vmm_access(space, va + 123456789, &byte, 1, true, false, &done));
	vmm_space_stats(space, &after);
	CHECK_EQ(after.resident_npages, before.resident_npages + 1);
	CHECK(after.table_npages <= before.table_npages + 3);
	CHECK(vmm_space_is_valid(space));
	vmm_space_put(space);
}

TEST(kernel_space_fork_copies_on_write)
{
	uint64_t start = free_frames();
	struct space *parent, *child;
	CHECK_OK(vmm_space_create(kernel_vmm, &parent));
	vaddr_t va = map(parent, 0, 64 * PAGE_SIZE, 0);
	uint64_t value, done;
	for (uint64_t i = 0; i < 64; i++) {
		value = i * 1000;
		CHECK_OK(vmm_access(parent, va + i * PAGE_SIZE, &value, 8, true, false, &done));
	}
	CHECK_OK(vmm_space_fork(parent, &child));
	for (uint64_t i = 0; i < 64; i += 2) {
		value = i * 1000 + 1;
		CHECK_OK(vmm_access(i % 4 ? parent : child, va + i * PAGE_SIZE, &value, 8, true,
				    false, &done));
	}
	for (uint64_t i = 0; i < 64; i++) {
		CHECK_OK(vmm_access(parent, va + i * PAGE_SIZE, &value, 8, false, false, &done));
		CHECK_EQ(value, i * 1000 + (i % 4 == 2));
		CHECK_OK(vmm_access(child, va + i * PAGE_SIZE, &value, 8, false, false, &done));
		CHECK_EQ(value, i * 1000 + (i % 4 == 0));
	}
	CHECK(vmm_space_is_valid(parent) && vmm_space_is_valid(child));
	vmm_space_put(parent);
	vmm_space_put(child);
	CHECK_EQ(free_frames(), start);
}

/* All CPUs map, touch, unmap and protect in one space, each in its own part. */
static bool churn(void *p, unsigned cpu)
{
	struct space *space = p;
	uint64_t random = 88172645463325252ull + cpu;
	vaddr_t base = 0x100000000 + cpu * GIGA_SIZE;
	for (unsigned round = 0; round < 300; round++) {
		uint64_t r = cpu_random(&random), npages = 1 + r % 40, done, value = r;
		struct vm_map_args args = {.hint = base + (r >> 8) % 200 * PAGE_SIZE,
					   .bytes = npages * PAGE_SIZE,
					   .prot = VM_READ | VM_WRITE,
					   .maxprot = VM_READ | VM_WRITE,
					   .flags = VM_FIXED};
		vaddr_t va;
		if (vmm_map(space, &args, &va) != MEM_OK || va != args.hint)
			return false;
		vaddr_t at = va + (r >> 16) % npages * PAGE_SIZE;
		if (vmm_access(space, at, &value, 8, true, false, &done) != MEM_OK)
			return false;
		if (vmm_protect(space, va, npages * PAGE_SIZE, VM_READ) != MEM_OK)
			return false;
		if (vmm_access(space, at, &value, 8, true, false, &done) == MEM_OK)
			return false;
		value = 0;
		if (vmm_access(space, at, &value, 8, false, false, &done) != MEM_OK || value != r)
			return false;
		if ((r & 3) == 0 && vmm_unmap(space, base, 256 * PAGE_SIZE) != MEM_OK)
			return false;
	}
	return vmm_unmap(space, base, 256 * PAGE_SIZE) == MEM_OK;
}

TEST(kernel_space_every_cpu)
{
	uint64_t start = free_frames();
	struct space *space;
	CHECK_OK(vmm_space_create(kernel_vmm, &space));
	CHECK_EQ(every_cpu(churn, space), 0);
	CHECK(vmm_space_is_valid(space));
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.resident_npages, 0);
	CHECK_EQ(stats.virt_npages, 0);
	vmm_space_put(space);
	CHECK_EQ(free_frames(), start);
}

TEST(kernel_space_bad_ranges)
{
	struct space *space;
	CHECK_OK(vmm_space_create(kernel_vmm, &space));
	static const struct {
		vaddr_t va;
		uint64_t bytes;
	} bad[] = {
	    {0x1000, 0},
	    {0x1001, 4096},
	    {USER_TOP, 4096},
	    {USER_TOP - 4096, 8192},
	    {0x1000, ~(uint64_t)0},
	    {0x1000, ~(uint64_t)0 - 4095},
	    {(vaddr_t)1 << 63, 4096},
	    {0xffff800000000000, 4096},
	    {0xfffffffffffff000, 4096},
	};
	for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
		CHECK(vmm_unmap(space, bad[i].va, bad[i].bytes) != MEM_OK);
		CHECK(vmm_protect(space, bad[i].va, bad[i].bytes, VM_READ) != MEM_OK);
		struct vm_map_args args = {.hint = bad[i].va,
					   .bytes = bad[i].bytes,
					   .prot = VM_READ,
					   .maxprot = VM_READ,
					   .flags = VM_FIXED};
		vaddr_t va;
		CHECK(vmm_map(space, &args, &va) != MEM_OK);
	}
	CHECK(vmm_space_is_valid(space));
	vmm_space_put(space);
}
