/* SPDX-License-Identifier: MIT */
/* Any bytes as a memory map: what comes out is valid, and no usable frame is
 * touched by an entry that is not usable. */
#include <mem/host.h>
#include <mem/memmap.h>
#include <string.h>

#include "base/page.h"

#define MAX_ENTRIES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool harms(const struct memmap_entry *e, const struct memmap_region *r)
{
	uint64_t last;
	if (e->type == MEMMAP_USABLE || !e->length)
		return false;
	if (__builtin_add_overflow(e->base, e->length - 1, &last))
		last = UINT64_MAX;
	return e->base >> PAGE_SHIFT < r->end && last >> PAGE_SHIFT >= r->first;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct memmap_region regions[MEMMAP_CAPACITY(MAX_ENTRIES)];
	struct memmap_entry e[MAX_ENTRIES];
	size_t count = bytes / sizeof(e[0]);
	if (count > MAX_ENTRIES)
		return 0;
	if (count)
		memcpy(e, data, count * sizeof(e[0]));
	struct memmap map = {.regions = regions, .capacity = MEMMAP_CAPACITY(MAX_ENTRIES)};
	if (memmap_sanitise(&map, e, count, (pfn_t)1 << 40) != MEM_OK || !memmap_is_valid(&map))
		host_panic("not valid");
	for (size_t i = 0; i < map.count; i++)
		for (size_t k = 0; k < count && map.regions[i].type == MEMMAP_USABLE; k++)
			if (harms(&e[k], &map.regions[i]))
				host_panic("a usable frame is somebody else's");
	for (size_t k = 0; k + 1 < count; k++) {
		(void)memmap_retype(&map, e[k].base >> 20, e[k].length >> 20,
				    (enum memmap_type)(e[k].type % MEMMAP_TYPE_COUNT),
				    (enum memmap_type)(e[k + 1].type % MEMMAP_TYPE_COUNT));
		if (!memmap_is_valid(&map))
			host_panic("not valid after retyping");
	}
	return 0;
}
