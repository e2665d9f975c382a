/* SPDX-License-Identifier: MIT */
/* The raw page-table layer: leaf sizes, bits, refusal, undoing. */
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "pt/raw.h"
#include "tests/machine/boot.h"
#include "tests/test.h"

#define VA ((vaddr_t)0xffffc00000000000)

static paddr_t start(void)
{
	machine_boot_default(1, 1);
	paddr_t root = pmm_alloc(machine_pmm, 0, PMM_ZERO | PMM_KERNEL);
	CHECK(root != PADDR_NONE);
	return root;
}

TEST(pt_maps_and_translates)
{
	paddr_t root = start(), pa;
	uint64_t entry;
	unsigned level;
	CHECK_OK(pt_map(machine_pmm, root, VA, 0x123000, 3 * PAGE_SIZE, PTE_WRITE | PTE_NX));
	CHECK(pt_translate(root, VA + PAGE_SIZE + 5, &pa, &entry, &level));
	CHECK_EQ(pa, 0x124005);
	CHECK_EQ(level, 1);
	CHECK_EQ(entry, 0x124000 | PTE_PRESENT | PTE_WRITE | PTE_NX);
	CHECK(!pt_translate(root, VA + 3 * PAGE_SIZE, &pa, NULL, NULL));
	CHECK(!pt_translate(root, VA - 1, NULL, NULL, NULL));
	CHECK(!pt_translate(root, (vaddr_t)1 << 47, NULL, NULL, NULL));
	pt_unmap(machine_pmm, root, VA, 2 * PAGE_SIZE);
	CHECK(!pt_translate(root, VA, NULL, NULL, NULL));
	CHECK(!pt_translate(root, VA + PAGE_SIZE, NULL, NULL, NULL));
	CHECK(pt_translate(root, VA + 2 * PAGE_SIZE, &pa, NULL, NULL));
	CHECK_EQ(pa, 0x125000);
	machine_end();
}

TEST(pt_uses_large_leaves_where_aligned)
{
	paddr_t root = start(), pa;
	unsigned level;
	uint64_t entry;
	/* 4 KiB up to the border, then 2 MiB, then 4 KiB again. */
	paddr_t from = HUGE_SIZE - PAGE_SIZE;
	uint64_t bytes = PAGE_SIZE + 2 * HUGE_SIZE + PAGE_SIZE;
	CHECK_OK(pt_map(machine_pmm, root, VA + from, from, bytes, PTE_PAT_4K));
	CHECK(pt_translate(root, VA + from, &pa, &entry, &level));
	CHECK_EQ(level, 1);
	CHECK_EQ(entry, from | PTE_PRESENT | PTE_PAT_4K);
	CHECK(pt_translate(root, VA + 2 * HUGE_SIZE + 0x12345, &pa, &entry, &level));
	CHECK_EQ(level, 2);
	CHECK_EQ(pa, 2 * HUGE_SIZE + 0x12345);
	/* Bit 7 says "leaf" here; the PAT bit has another place. */
	CHECK_EQ(entry, 2 * HUGE_SIZE | PTE_PRESENT | PTE_HUGE | PTE_PAT_HUGE);
	CHECK(pt_translate(root, VA + 3 * HUGE_SIZE, &pa, NULL, &level));
	CHECK_EQ(level, 1);
	/* Not aligned alike: small leaves only. */
	CHECK_OK(pt_map(machine_pmm, root, VA + GIGA_SIZE, PAGE_SIZE, HUGE_SIZE, 0));
	CHECK(pt_translate(root, VA + GIGA_SIZE, &pa, NULL, &level));
	CHECK_EQ(level, 1);
	pt_unmap(machine_pmm, root, VA + from, bytes);
	CHECK(!pt_translate(root, VA + HUGE_SIZE, NULL, NULL, NULL));
	machine_end();
}

TEST(pt_refuses_what_can_never_be)
{
	paddr_t root = start();
	struct pmm *pmm = machine_pmm;
	CHECK_EQ(pt_map(pmm, root, VA, 0, 0, 0), MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, VA + 1, 0, PAGE_SIZE, 0), MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, VA, 1, PAGE_SIZE, 0), MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, VA, 0, 1, 0), MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, (vaddr_t)-PAGE_SIZE, 0, 2 * PAGE_SIZE, 0), MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, (vaddr_t)1 << 47, 0, PAGE_SIZE, 0), MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, ((vaddr_t)1 << 47) - PAGE_SIZE, 0, 2 * PAGE_SIZE, 0),
		 MEM_EINVAL);
	CHECK_EQ(pt_map(pmm, root, VA, (paddr_t)1 << 52, PAGE_SIZE, 0), MEM_EINVAL);
	machine_end();
}

TEST(pt_a_failed_map_maps_nothing)
{
	paddr_t root = start(), pa;
	CHECK_OK(pt_map(machine_pmm, root, VA + 4 * PAGE_SIZE, 0x9000, PAGE_SIZE, 0));
	CHECK_EQ(pt_map(machine_pmm, root, VA, 0, 8 * PAGE_SIZE, 0), MEM_EEXIST);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(pt_translate(root, VA + i * PAGE_SIZE, &pa, NULL, NULL), i == 4);
	CHECK(pt_translate(root, VA + 4 * PAGE_SIZE, &pa, NULL, NULL) && pa == 0x9000);
	/* Inside a large leaf, and a large leaf over small ones. */
	vaddr_t large = VA + 2 * HUGE_SIZE;
	CHECK_OK(pt_map(machine_pmm, root, large, 0, HUGE_SIZE, 0));
	CHECK_EQ(pt_map(machine_pmm, root, large + PAGE_SIZE, 0, PAGE_SIZE, 0), MEM_EEXIST);
	CHECK_EQ(pt_map(machine_pmm, root, large - PAGE_SIZE, 0, 2 * PAGE_SIZE, 0), MEM_EEXIST);
	CHECK(!pt_translate(root, large - PAGE_SIZE, NULL, NULL, NULL));
	CHECK_EQ(pt_map(machine_pmm, root, VA, 0, HUGE_SIZE, 0), MEM_EEXIST);
	/* Two tables are needed here, then a third: each can be missing. */
	for (unsigned n = 1; n <= 4; n++) {
		vaddr_t va = VA + (uint64_t)n * ((vaddr_t)1 << 39) - PAGE_SIZE;
		inject_arm(INJECT_FRAMES, n, true);
		mem_status status = pt_map(machine_pmm, root, va, 0, 2 * PAGE_SIZE, 0);
		uint64_t failures = inject_failures();
		(void)inject_disarm();
		CHECK_EQ(status, failures ? MEM_ENOMEM : MEM_OK);
		if (status != MEM_OK) {
			CHECK(!pt_translate(root, va, NULL, NULL, NULL));
			CHECK(!pt_translate(root, va + PAGE_SIZE, NULL, NULL, NULL));
			CHECK_OK(pt_map(machine_pmm, root, va, 0, 2 * PAGE_SIZE, 0));
		}
	}
	machine_end();
}

/* Filled at most once, where it was asked for; what was not goes back with the root. */
TEST(pt_tables_set_aside)
{
	const vaddr_t giga = GIGA_SIZE;
	paddr_t root = start(), pa;
	uint64_t before = machine_frames_at_rest() + 1, entry; /* with the root */
	unsigned level;
	const struct pt_root tables = {.pmm = machine_pmm, .root = root, .max_level = 2};
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(pt_reserve(&tables, VA + i * giga));
	CHECK(!pt_translate(root, VA + giga, NULL, NULL, NULL));
	pt_fill_reserved(root, VA + giga + 5 * PAGE_SIZE, 7 * giga, PTE_PRESENT | PTE_NX);
	CHECK(!pt_translate(root, VA + giga - 1, NULL, NULL, NULL));
	CHECK(!pt_translate(root, VA + 2 * giga, NULL, NULL, NULL));
	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		CHECK(pt_translate(root, VA + giga + i * HUGE_SIZE + 9, &pa, &entry, &level));
		CHECK(level == 2 && pa == 7 * giga + i * HUGE_SIZE + 9 && (entry & PTE_NX));
	}
	pt_fill_reserved(root, VA + giga, 9 * giga, PTE_PRESENT);     /* is done */
	pt_fill_reserved(root, VA + 3 * giga, 9 * giga, PTE_PRESENT); /* was never asked for */
	CHECK(pt_translate(root, VA + giga, &pa, NULL, NULL) && pa == 7 * giga);
	CHECK(!pt_translate(root, VA + 3 * giga, NULL, NULL, NULL));
	pt_destroy(machine_pmm, root);
	CHECK_EQ(machine_frames_at_rest(), before);
	machine_end();
}

/* The kernel's own tables, as vmm_init makes them from machine_boot's map. */
TEST(pt_direct_map_covers_ram_and_nothing_else)
{
	machine_boot_default(1, 1);
	paddr_t root = vmm_kernel_root(machine_vmm), pa;
	uint64_t entry;
	CHECK(!pt_translate(root, KERNEL_BASE, NULL, NULL, NULL)); /* firmware */
	for (paddr_t at = 4 * PAGE_SIZE; at < machine_bytes(); at += PAGE_SIZE) {
		bool ram = at < 96 * PAGE_SIZE || at >= 128 * PAGE_SIZE;
		bool mapped = pt_translate(root, KERNEL_BASE + at, &pa, &entry, NULL);
		if (mapped != ram)
			test_fail(__FILE__, __LINE__, "frame %#llx", (unsigned long long)at);
		if (!mapped)
			continue;
		CHECK_EQ(pa, at);
		CHECK(entry & PTE_NX);
		CHECK(entry & PTE_GLOBAL);
		CHECK(!(entry & PTE_USER));
		/* Where the image is not writable its alias is not either. */
		bool text = at >= 128 * PAGE_SIZE && at < 160 * PAGE_SIZE;
		CHECK_EQ((entry & PTE_WRITE) != 0, !text);
	}
	CHECK(!pt_translate(root, KERNEL_BASE + machine_bytes(), NULL, NULL, NULL));
	machine_end();
}

TEST(pt_nothing_is_writable_and_executable)
{
	machine_boot_default(1, 1);
	paddr_t root = vmm_kernel_root(machine_vmm);
	unsigned executable = 0;
	for (vaddr_t va = KERNEL_BASE; va;) {
		unsigned level;
		uint64_t entry;
		bool present = pt_translate(root, va, NULL, &entry, &level);
		CHECK(!present || (entry & PTE_NX) || !(entry & PTE_WRITE));
		executable += present && !(entry & PTE_NX);
		va = (va & ~(pt_entry_span(level) - 1)) + pt_entry_span(level);
	}
	CHECK_EQ(executable, 16);
	machine_end();
}
