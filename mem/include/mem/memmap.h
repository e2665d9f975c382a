/* SPDX-License-Identifier: MIT */
#ifndef MEM_MEMMAP_H
#define MEM_MEMMAP_H
/*
 * The physical memory map, sanitised.
 *
 * Input: whatever firmware and loaders say: unsorted, overlapping, unaligned,
 * empty, wrapping, hundreds of entries. Output: sorted, disjoint, page-aligned
 * regions, in which no page is usable that any non-usable entry touches.
 */
#include <mem/types.h>

MEM_BEGIN_DECLS

/* Numbered as the Limine protocol numbers them (base revision 6, "Memory Map
 * Feature"); an unknown number counts as MEMMAP_RESERVED. Where entries
 * overlap, the higher memmap_precedence() wins (see memmap.c); usable always
 * loses. */
enum memmap_type {
	MEMMAP_USABLE = 0,
	MEMMAP_RESERVED = 1,
	MEMMAP_ACPI_RECLAIMABLE = 2,
	MEMMAP_ACPI_NVS = 3,
	MEMMAP_BAD = 4,
	MEMMAP_BOOTLOADER_RECLAIMABLE = 5,
	MEMMAP_EXECUTABLE_AND_MODULES = 6,
	MEMMAP_FRAMEBUFFER = 7,
	MEMMAP_RESERVED_MAPPED = 8,
	MEMMAP_TYPE_COUNT
};

/* One entry as a loader gives it: any values. */
struct memmap_entry {
	uint64_t base;   /* bytes */
	uint64_t length; /* bytes; 0 means nothing; where base + length wraps, a usable
			  * entry is dropped and any other is cut at 2^64 */
	uint64_t type;   /* enum memmap_type, or anything */
};

/* One sanitised region: [first, end) in frames. */
struct memmap_region {
	pfn_t first;
	pfn_t end;
	enum memmap_type type;
};

struct memmap {
	struct memmap_region *regions; /* sorted, disjoint, merged where types are equal */
	size_t count;
	size_t capacity; /* in regions, given by the caller */
};

/* Regions that n entries may become: the capacity that always suffices. */
#define MEMMAP_CAPACITY(n) (4 * (size_t)(n) + 4)

/* Fill `map` (its regions and capacity set by the caller) from `count` raw
 * entries. Frames at or above `end_pfn` (the largest that the CPU can address,
 * at most 2^40) are dropped. Usable frames are rounded inwards, all others
 * outwards. O(n^2), no allocation.
 * Context: any. Errors: MEM_EINVAL capacity < MEMMAP_CAPACITY(count); the map
 * is then empty. */
MEM_CHECKED mem_status memmap_sanitise(struct memmap *map, const struct memmap_entry *entries,
				       size_t count, pfn_t end_pfn);

/* Frames of one type. Context: any. */
uint64_t memmap_npages(const struct memmap *map, enum memmap_type type);

/* The number of the first region that ends above pfn; map->count if none does. Context:
 * any. */
size_t memmap_find(const struct memmap *map, pfn_t pfn);

/* The type of the region that holds pfn; false if none does. Context: any. */
bool memmap_lookup(const struct memmap *map, pfn_t pfn, enum memmap_type *type);

/* Change [first, end) to `type` where it is `from` now (giving bootloader
 * memory back, taking boot-time memory). Regions are split and merged.
 * Context: any, nobody else uses the map. Errors: MEM_ENOMEM no place for the split;
 * nothing has changed. */
MEM_CHECKED mem_status memmap_retype(struct memmap *map, pfn_t first, pfn_t end,
				     enum memmap_type from, enum memmap_type type);

/* Is the map sorted, disjoint, merged, and without empty regions? For tests. Context:
 * any. */
bool memmap_is_valid(const struct memmap *map);

/* A type in words, for reports. Context: any. */
const char *memmap_type_name(enum memmap_type type);

MEM_END_DECLS
#endif
