/* SPDX-License-Identifier: MIT */
/* The direct map without 1 GiB pages: it follows the frames that are handed out. */
#include <mem/pmm.h>
#include <mem/pt.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "tests/test.h"
#include "tests/unit/vm_host.h"

#define GIB   ((uint64_t)1 << 30)
#define TOTAL (7 * GIB)
#define IMAGE (2 * GIB + (512 << 20)) /* the kernel, in the middle of the third gibibyte */

static struct pmm *pmm;
static struct vmm *vmm;

static void boot(bool giga_pages)
{
	static struct memmap_region regions[16];
	static struct memmap map = {.regions = regions, .capacity = 16};
	const struct memmap_entry entries[] = {
	    {0x100000, IMAGE - 0x100000, MEMMAP_USABLE},
	    {IMAGE, 2 << 20, MEMMAP_EXECUTABLE_AND_MODULES},
	    {IMAGE + (2 << 20), TOTAL - IMAGE - (2 << 20), MEMMAP_USABLE},
	};
	vm_host_init(TOTAL, 1);
	vm_host_set_cpu(0);
	CHECK_OK(memmap_sanitise(&map, entries, 3, (pfn_t)1 << 40));
	CHECK_OK(pmm_init(&pmm, &map));
	const struct vmm_config config = {
	    .pmm = pmm, .map = &map, .has_giga_pages = giga_pages, .has_nx = true};
	CHECK_OK(vmm_init(&vmm, &config));
}

static unsigned level_at(paddr_t pa)
{
	paddr_t found;
	uint64_t entry;
	unsigned level;
	if (!pt_translate(vmm_kernel_root(vmm), KERNEL_BASE + pa, &found, &entry, &level))
		return 0;
	CHECK_EQ(found, pa);
	CHECK((entry & PTE_WRITE) && (entry & PTE_NX) && (entry & PTE_GLOBAL));
	return level;
}

TEST(vm_direct_map_follows_the_frames)
{
	boot(false);
	/* Gibibytes with something in them are there from the start, and those in use. */
	CHECK_EQ(level_at(0x100000), 1);
	CHECK_EQ(level_at(IMAGE), 2);
	CHECK_EQ(level_at(3 * GIB - 1), 2);
	CHECK(level_at(ptr_to_paddr(pmm)) > 0);
	/* Nothing of these was ever handed out. */
	for (unsigned i = 3; i < 6; i++)
		CHECK_EQ(level_at(i * GIB + 12345), 0);
	/* A search that goes to the middle takes what is below along, and no more. */
	paddr_t pa;
	CHECK_OK(pmm_alloc_range(pmm, 3 * GIB >> PAGE_SHIFT, 1, PADDR_NONE, PMM_KERNEL, &pa));
	CHECK(pa >= IMAGE && pa + 3 * GIB < 6 * GIB);
	CHECK_EQ(level_at(pa + 3 * GIB - 1), 2);
	CHECK_EQ(level_at(4 * GIB), 2);
	pmm_free_range(pmm, pa, 3 * GIB >> PAGE_SHIFT);
	CHECK_EQ(level_at(4 * GIB), 2);
	/* Every frame that is handed out can be reached. */
	uint64_t count = 0;
	while ((pa = pmm_alloc(pmm, PMM_ORDER_HUGE, PMM_KERNEL)) != PADDR_NONE) {
		CHECK(level_at(pa) > 0);
		count++;
	}
	CHECK(count > (TOTAL >> 21) - 8);
	CHECK(vmm_is_valid(vmm));
}

TEST(vm_direct_map_with_giga_pages_is_whole_at_once)
{
	boot(true);
	for (unsigned i = 3; i < 6; i++)
		CHECK_EQ(level_at(i * GIB + 12345), 3);
}
