/* SPDX-License-Identifier: MIT */
/*
 * The sanitiser of the physical memory map.
 *
 * Firmware and loaders hand over a list of (base, length, type) that may be unsorted,
 * overlapping, unaligned, empty or wrapping. What comes out must be safe to build an
 * allocator on. A page is usable only if some usable entry covers all of it, and no other
 * entry touches any byte of it.
 *
 * Every entry becomes an interval of whole frames first: usable entries are
 * rounded inwards, all others outwards. Then one sweep goes up the frames:
 *
 *      entries   |--usable-------------|      |--reserved--|
 *                        |--modules--|             |--bad-----|
 *      sweep     ^       ^           ^ ^      ^    ^       ^  ^
 *      regions   [usable][modules   ][u]      [res][bad       ]
 *
 * At each position it looks at all entries: which of those that cover it takes precedence,
 * and where the nearest edge above is. Between two edges nothing changes, so that stretch
 * is one piece; equal neighbours merge. That is O(n^2) for n entries, and needs no storage
 * but the output. It cannot get a case wrong that a sort-and-patch scheme forgets: three
 * types on one page, or an entry inside an entry inside an entry.
 *
 * Output regions: at most one per edge, 2n edges, so 2n pieces; the capacity
 * asked for leaves as many again for memmap_retype to split.
 *
 * A usable entry whose end wraps past 2^64 cannot be true in any part, so it is dropped
 * whole. Other entries that wrap are cut at 2^64, which errs towards "not usable".
 */
#include <mem/memmap.h>

#include "base/util.h"

#define PFN_LIMIT ((pfn_t)1 << 40) /* 52 physical address bits */

/* Who wins where entries overlap: the higher. Bootloader memory stands just
 * above usable, because it will be given back as usable one day; what firmware
 * calls bad stands above everything. */
static unsigned memmap_precedence(enum memmap_type type)
{
	switch (type) {
	case MEMMAP_USABLE:
		return 0;
	case MEMMAP_BOOTLOADER_RECLAIMABLE:
		return 1;
	case MEMMAP_ACPI_RECLAIMABLE:
		return 2;
	case MEMMAP_EXECUTABLE_AND_MODULES:
		return 3;
	case MEMMAP_ACPI_NVS:
		return 4;
	case MEMMAP_RESERVED_MAPPED:
		return 5;
	case MEMMAP_FRAMEBUFFER:
		return 6;
	case MEMMAP_BAD:
		return 8;
	case MEMMAP_RESERVED:
	case MEMMAP_TYPE_COUNT:
		break;
	}
	return 7;
}

/* The frames of one raw entry, below `limit`; false if there are none. */
static bool entry_frames(const struct memmap_entry *entry, pfn_t limit, struct memmap_region *out)
{
	if (entry->length == 0)
		return false;
	out->type =
	    entry->type < MEMMAP_TYPE_COUNT ? (enum memmap_type)entry->type : MEMMAP_RESERVED;
	uint64_t last; /* last byte */
	bool wraps = __builtin_add_overflow(entry->base, entry->length - 1, &last);
	if (out->type == MEMMAP_USABLE) {
		if (wraps)
			return false;
		out->first = (entry->base >> PAGE_SHIFT) + ((entry->base & PAGE_MASK) != 0);
		out->end = (last >> PAGE_SHIFT) + ((last & PAGE_MASK) == PAGE_MASK);
	} else {
		if (wraps)
			last = UINT64_MAX;
		out->first = entry->base >> PAGE_SHIFT;
		out->end = (last >> PAGE_SHIFT) + 1;
	}
	out->end = mem_min(out->end, limit);
	return out->first < out->end;
}

/* Append a piece, merged with the last region if it continues it. */
static void append(struct memmap *map, pfn_t first, pfn_t end, enum memmap_type type)
{
	if (map->count) {
		struct memmap_region *last = &map->regions[map->count - 1];
		if (last->end == first && last->type == type) {
			last->end = end;
			return;
		}
	}
	map->regions[map->count++] = (struct memmap_region){first, end, type};
}

mem_status memmap_sanitise(struct memmap *map, const struct memmap_entry *entries, size_t count,
			   pfn_t end_pfn)
{
	map->count = 0;
	if (count > SIZE_MAX / 8 || map->capacity < MEMMAP_CAPACITY(count))
		return MEM_EINVAL;
	pfn_t limit = mem_min(end_pfn, PFN_LIMIT);
	pfn_t at = 0;
	while (at < limit) {
		pfn_t edge = limit;
		bool covered = false;
		enum memmap_type type = MEMMAP_USABLE;
		for (size_t i = 0; i < count; i++) {
			struct memmap_region r;
			if (!entry_frames(&entries[i], limit, &r) || r.end <= at)
				continue;
			if (r.first > at) {
				edge = mem_min(edge, r.first);
				continue;
			}
			edge = mem_min(edge, r.end);
			if (!covered || memmap_precedence(r.type) > memmap_precedence(type))
				type = r.type;
			covered = true;
		}
		if (covered)
			append(map, at, edge, type);
		at = edge;
	}
	return MEM_OK;
}

uint64_t memmap_npages(const struct memmap *map, enum memmap_type type)
{
	uint64_t npages = 0;
	for (size_t i = 0; i < map->count; i++)
		if (map->regions[i].type == type)
			npages += map->regions[i].end - map->regions[i].first;
	return npages;
}

size_t memmap_find(const struct memmap *map, pfn_t pfn)
{
	size_t low = 0, high = map->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (map->regions[middle].end > pfn)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

bool memmap_lookup(const struct memmap *map, pfn_t pfn, enum memmap_type *type)
{
	size_t i = memmap_find(map, pfn);
	if (i == map->count || map->regions[i].first > pfn)
		return false;
	*type = map->regions[i].type;
	return true;
}

/* Would a cut at pfn split a region of type `from`? */
static bool splits(const struct memmap *map, pfn_t pfn, enum memmap_type from)
{
	size_t i = memmap_find(map, pfn);
	return i < map->count && map->regions[i].first < pfn && map->regions[i].type == from;
}

/* Cut the region that holds pfn in its middle in two. There is room. */
static void split_at(struct memmap *map, pfn_t pfn)
{
	size_t i = memmap_find(map, pfn);
	struct memmap_region *r = &map->regions[i];
	memmove(r + 1, r, (map->count - i) * sizeof(*r));
	map->count++;
	r[0].end = pfn;
	r[1].first = pfn;
}

static void merge_neighbours(struct memmap *map)
{
	size_t count = map->count;
	map->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct memmap_region r = map->regions[i];
		append(map, r.first, r.end, r.type);
	}
}

mem_status memmap_retype(struct memmap *map, pfn_t first, pfn_t end, enum memmap_type from,
			 enum memmap_type type)
{
	if (first >= end || from == type)
		return MEM_OK;
	bool split_first = splits(map, first, from), split_end = splits(map, end, from);
	if (map->capacity - map->count < (size_t)split_first + split_end)
		return MEM_ENOMEM;
	if (split_first)
		split_at(map, first);
	if (split_end)
		split_at(map, end);
	for (size_t i = memmap_find(map, first); i < map->count && map->regions[i].first < end; i++)
		if (map->regions[i].type == from)
			map->regions[i].type = type;
	merge_neighbours(map);
	return MEM_OK;
}

bool memmap_is_valid(const struct memmap *map)
{
	if (map->count > map->capacity)
		return false;
	for (size_t i = 0; i < map->count; i++) {
		const struct memmap_region *r = &map->regions[i];
		if (r->first >= r->end || r->end > PFN_LIMIT ||
		    (unsigned)r->type >= MEMMAP_TYPE_COUNT)
			return false;
		if (i && (r[-1].end > r->first || (r[-1].end == r->first && r[-1].type == r->type)))
			return false;
	}
	return true;
}

const char *memmap_type_name(enum memmap_type type)
{
	static const char *const names[MEMMAP_TYPE_COUNT] = {
	    [MEMMAP_USABLE] = "usable",
	    [MEMMAP_RESERVED] = "reserved",
	    [MEMMAP_ACPI_RECLAIMABLE] = "ACPI reclaimable",
	    [MEMMAP_ACPI_NVS] = "ACPI NVS",
	    [MEMMAP_BAD] = "bad",
	    [MEMMAP_BOOTLOADER_RECLAIMABLE] = "bootloader reclaimable",
	    [MEMMAP_EXECUTABLE_AND_MODULES] = "executable and modules",
	    [MEMMAP_FRAMEBUFFER] = "framebuffer",
	    [MEMMAP_RESERVED_MAPPED] = "reserved mapped",
	};
	return (unsigned)type < MEMMAP_TYPE_COUNT ? names[type] : "unknown";
}
