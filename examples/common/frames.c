/* SPDX-License-Identifier: MIT */
/* The memory map, as the allocator of frames wants it. */
#include "boot.h"

#include <mem/pmm.h>

struct memmap *boot_frames(struct pmm **frames)
{
	static struct memmap_region regions[MEMMAP_CAPACITY(BOOT_MAP_MOST)];
	static struct memmap map = {regions, 0, MEMMAP_CAPACITY(BOOT_MAP_MOST)};
	CHECK(memmap_sanitise(&map, boot.map.entries, boot.map.count, (pfn_t)1 << 40) == MEM_OK);
	mem_direct_map_end = boot.mapped;
	CHECK(pmm_init(frames, &map) == MEM_OK);
	return &map;
}
