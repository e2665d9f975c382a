/* SPDX-License-Identifier: MIT */
/* Faults: what is served, what is refused and with which signal, stacks, reports. */
#include <string.h>

#include "tests/unit/vm_one.h"

#define BASE  ((vaddr_t)0x40000000)
#define STACK ((vaddr_t)0x7fffff000000)

static void expect(vaddr_t va, enum machine_access access, int signal, int code)
{
	uint64_t value = 1;
	struct machine_result r = machine_access(va, access, &value);
	CHECK_EQ(r.ok, signal == 0);
	if (signal) {
		CHECK_EQ(r.signal, signal);
		CHECK_EQ(r.code, code);
	}
}

TEST(vm_fault_signals)
{
	struct space *space = start();
	map_at(space, BASE, 1, VM_READ, 0);
	map_at(space, BASE + PAGE_SIZE, 1, VM_NONE, 0);
	map_at(space, BASE + 2 * PAGE_SIZE, 1, VM_READ | VM_EXEC, 0);
	map_at(space, BASE + 3 * PAGE_SIZE, 1, VM_WRITE, 0);
	expect(BASE, MACHINE_READ, 0, 0);
	expect(BASE, MACHINE_WRITE, 11, 2);
	expect(BASE, MACHINE_FETCH, 11, 2);
	expect(BASE + PAGE_SIZE, MACHINE_READ, 11, 2);
	expect(BASE + PAGE_SIZE, MACHINE_WRITE, 11, 2);
	expect(BASE + 2 * PAGE_SIZE, MACHINE_FETCH, 0, 0);
	expect(BASE + 2 * PAGE_SIZE, MACHINE_WRITE, 11, 2);
	expect(BASE + 3 * PAGE_SIZE, MACHINE_WRITE, 0, 0);
	expect(BASE + 3 * PAGE_SIZE, MACHINE_READ, 0, 0); /* the CPU cannot forbid it */
	expect(BASE + 4 * PAGE_SIZE, MACHINE_READ, 11, 1);
	expect(0, MACHINE_READ, 11, 1);
	expect(USER_TOP, MACHINE_READ, 11, 1);
	expect(KERNEL_BASE + 0x1000000, MACHINE_READ, 11, 1);
	end(space);
}

TEST(vm_fault_reads_share_the_zero_frame)
{
	struct space *space = start();
	struct vmm_space_stats stats;
	paddr_t pa;
	map_at(space, BASE, 64, 3, 0);
	for (unsigned i = 0; i < 64; i++)
		expect(BASE + i * PAGE_SIZE, MACHINE_READ, 0, 0);
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.resident_npages, 0);
	CHECK_EQ(stats.faults_minor, 8); /* they were read in order */
	CHECK(vmm_page_info(space, BASE, &pa, NULL, NULL) && pa == machine_zero_frame());
	expect(BASE, MACHINE_WRITE, 0, 0);
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.resident_npages, 1);
	CHECK_OK(vmm_advise(space, BASE, 64 * PAGE_SIZE, VM_ADVICE_DONTNEED));
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.resident_npages, 0);
	CHECK_EQ(stats.peak_resident, 1);
	end(space);
}

TEST(vm_fault_stack_grows_to_its_limit)
{
	struct space *space = start();
	struct vmm_space_limits limits = {UINT64_MAX, UINT64_MAX, 2048, UINT64_MAX, 65530};
	vmm_space_set_limits(space, &limits);
	map_at(space, STACK - 4 * PAGE_SIZE, 4, 3, VM_GROWSDOWN);
	expect(STACK - 5 * PAGE_SIZE, MACHINE_WRITE, 0, 0);
	expect(STACK - 1000 * PAGE_SIZE, MACHINE_WRITE, 0, 0);
	struct vm_area area;
	CHECK(vmm_next_area(space, STACK - 1000 * PAGE_SIZE, &area));
	CHECK_EQ(area.start, STACK - 1000 * PAGE_SIZE);
	CHECK_EQ(area.end, STACK);
	CHECK(area.flags & VM_GROWSDOWN);
	vm_area_done(&area);
	/* A part with another protection counts for the whole. */
	CHECK_OK(vmm_protect(space, STACK - 500 * PAGE_SIZE, PAGE_SIZE, VM_READ));
	expect(STACK - 2048 * PAGE_SIZE, MACHINE_WRITE, 0, 0);
	expect(STACK - 2049 * PAGE_SIZE, MACHINE_WRITE, 11, 1);
	struct vmm_fault fault;
	CHECK_EQ(vmm_fault(space, STACK - 2049 * PAGE_SIZE, FAULT_USER, &fault), MEM_EFAULT);
	CHECK_EQ(fault.cause, VMM_FAULT_GUARD);
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.stack_npages, 2048);
	end(space);
}

/* At once, over a whole table that has all the runs that it has room for, with guards that
 * nobody can reach above them. */
TEST(vm_fault_stack_grows_over_a_table)
{
	struct space *space = start();
	vaddr_t leaf = STACK - 2 * HUGE_SIZE, top = leaf + HUGE_SIZE + 4 * PAGE_SIZE;
	map_at(space, top, 1, 3, VM_GROWSDOWN);
	map_at(space, leaf + 40 * PAGE_SIZE, 1, 3, 0);
	for (unsigned i = 1; i < 4; i++)
		map_at(space, leaf + (40 + 2 * i) * PAGE_SIZE, 1, VM_NONE, 0);
	expect(leaf + 40 * PAGE_SIZE, MACHINE_WRITE, 0, 0); /* the table is there */
	expect(leaf + 100 * PAGE_SIZE, MACHINE_WRITE, 0, 0);
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.stack_npages, 412 + 4 + 1);
	CHECK_EQ(stats.area_count, 5);
	end(space);
}

TEST(vm_fault_stack_keeps_its_gap)
{
	struct space *space = start();
	map_at(space, STACK - 4 * PAGE_SIZE, 4, 3, VM_GROWSDOWN);
	map_at(space, STACK - 600 * PAGE_SIZE, 1, 3, 0);
	expect(STACK - (599 - 256) * PAGE_SIZE, MACHINE_WRITE, 0, 0);
	expect(STACK - (599 - 255) * PAGE_SIZE, MACHINE_WRITE, 11, 1);
	/* A mapping that may choose its place stays away from the stack as well. */
	vaddr_t va;
	struct vm_map_args args = {.bytes = PAGE_SIZE, .prot = 3, .maxprot = 3, .limit = STACK};
	CHECK_OK(vmm_map(space, &args, &va));
	CHECK(va + PAGE_SIZE <= STACK - (599 - 256 + 256) * PAGE_SIZE);
	args.hint = STACK - (599 - 200) * PAGE_SIZE;
	CHECK_OK(vmm_map(space, &args, &va));
	CHECK(va != args.hint);
	end(space);
}

TEST(vm_fault_spurious_and_reserved)
{
	struct space *space = start();
	struct vmm_fault fault;
	map_at(space, BASE, 1, 3, 0);
	CHECK_OK(vmm_fault(space, BASE, FAULT_USER | FAULT_WRITE, &fault));
	CHECK_OK(vmm_fault(space, BASE, FAULT_USER | FAULT_WRITE | FAULT_PRESENT, &fault));
	CHECK_OK(vmm_fault(space, BASE, FAULT_USER, NULL));
	CHECK_EQ(vmm_fault(space, USER_TOP, FAULT_USER, &fault), MEM_EFAULT);
	CHECK_EQ(fault.cause, VMM_FAULT_KERNEL_RANGE);
	CHECK_EQ(vmm_fault(space, (vaddr_t)1 << 47, FAULT_USER, &fault), MEM_EFAULT);
	CHECK_EQ(vmm_fault(space, UINT64_MAX, FAULT_USER, &fault), MEM_EFAULT);
	end(space);
}

static char lines[2048];

static void collect(void *arg, const char *line)
{
	CHECK(arg == lines);
	CHECK(strlen(lines) + strlen(line) + 2 < sizeof(lines));
	strcat(lines, line);
	strcat(lines, "\n");
}

TEST(vm_fault_report_is_in_words)
{
	struct space *space = start();
	struct vmm_fault fault;
	map_at(space, BASE, 1, VM_READ, 0);
	map_at(space, BASE + 16 * PAGE_SIZE, 1, 3, 0);
	CHECK_EQ(vmm_fault(space, BASE + 8, FAULT_USER | FAULT_WRITE, &fault), MEM_EACCES);
	fault.ip = 0x401136;
	vmm_explain_fault(space, &fault, collect, lines);
	CHECK(strstr(lines, "write to 0x0000000040000008"));
	CHECK(strstr(lines, "0x0000000000401136"));
	CHECK(strstr(lines, "does not allow"));
	CHECK(strstr(lines, "in      0x0000000040000000-0x0000000040001000 r--p"));
	CHECK(strstr(lines, "above   0x0000000040010000"));
	lines[0] = 0;
	CHECK_EQ(vmm_fault(space, BASE + 0x2010, FAULT_USER | FAULT_FETCH, &fault), MEM_EFAULT);
	vmm_explain_fault(space, &fault, collect, lines);
	CHECK(strstr(lines, "jump to 0x0000000040002010"));
	CHECK(strstr(lines, "nothing is mapped"));
	CHECK(strstr(lines, "4112 bytes past its end"));
	CHECK(strstr(lines, "57328 bytes before it"));
	lines[0] = 0;
	CHECK_EQ(vmm_fault(space, 8, FAULT_USER, &fault), MEM_EFAULT);
	vmm_explain_fault(space, &fault, collect, lines);
	CHECK(strstr(lines, "null pointer"));
	end(space);
}
