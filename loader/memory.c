/* SPDX-License-Identifier: MIT */
/*
 * The memory map: what firmware says, made into sorted, disjoint regions, and
 * memory taken out of them.
 *
 * All edges of all entries, sorted, cut the address space into pieces that no
 * entry divides; each piece gets the most cautious type of those that cover it.
 * With at most MAX_MAP entries the quadratic way is quick enough. Usable
 * entries are rounded inwards to pages and everything else outwards, so usable
 * pages touch nothing that is not usable. Pieces that nothing covers are not
 * listed.
 *
 * M1  regions[] is sorted, disjoint, page-aligned, and equal neighbours are one.
 * M2  Only map_retype() changes it afterwards, and only inside what is listed.
 */
#include "loader/loader.h"

enum { MAX_REGIONS = 2 * MAX_MAP + 64 };
struct region regions[MAX_REGIONS];
unsigned region_count;

/* Where entries overlap, the higher number wins. */
static const uint8_t caution[TYPE_COUNT] = {
    [TYPE_USABLE] = 1,
    [TYPE_BOOTLOADER_RECLAIMABLE] = 2,
    [TYPE_EXECUTABLE_AND_MODULES] = 3,
    [TYPE_RESERVED] = 4,
    [TYPE_RESERVED_MAPPED] = 5,
    [TYPE_ACPI_RECLAIMABLE] = 6,
    [TYPE_ACPI_NVS] = 7,
    [TYPE_FRAMEBUFFER] = 8,
    [TYPE_BAD] = 9,
};

static void append(uint64_t base, uint64_t end, unsigned type)
{
	struct region *last = region_count ? &regions[region_count - 1] : NULL;
	if (last && last->end == base && last->type == type) {
		last->end = end;
		return;
	}
	if (region_count == MAX_REGIONS)
		fail("the memory map has too many pieces");
	regions[region_count++] = (struct region){base, end, type};
}

void map_sanitise(const struct map_entry *raw, unsigned count)
{
	static struct region in[MAX_MAP];
	static uint64_t edges[2 * MAX_MAP];
	const uint64_t top = 1ull << 52;
	unsigned n = 0, edge_count = 0;
	for (unsigned i = 0; i < count; i++) {
		unsigned type = raw[i].type < TYPE_COUNT ? (unsigned)raw[i].type : TYPE_RESERVED;
		uint64_t base = raw[i].base, end = base + raw[i].length;
		if (raw[i].length == 0 || base >= top)
			continue;
		if (end < base || end > top)
			end = top;
		base = type == TYPE_USABLE ? round_up(base, PAGE) : round_down(base, PAGE);
		end = type == TYPE_USABLE ? round_down(end, PAGE) : round_up(end, PAGE);
		if (base >= end)
			continue;
		in[n++] = (struct region){base, end, type};
		uint64_t both[2] = {base, end};
		for (unsigned k = 0; k < 2; k++) { /* insertion sort */
			unsigned at = edge_count++;
			for (; at > 0 && edges[at - 1] > both[k]; at--)
				edges[at] = edges[at - 1];
			edges[at] = both[k];
		}
	}
	region_count = 0;
	for (unsigned e = 0; e + 1 < edge_count; e++) {
		if (edges[e] == edges[e + 1])
			continue;
		int best = -1;
		for (unsigned i = 0; i < n; i++)
			if (in[i].base <= edges[e] && edges[e] < in[i].end &&
			    (best < 0 || caution[in[i].type] > caution[best]))
				best = (int)in[i].type;
		if (best >= 0)
			append(edges[e], edges[e + 1], (unsigned)best);
	}
}

void map_retype(uint64_t base, uint64_t end, unsigned from, unsigned type)
{
	static struct region old[MAX_REGIONS];
	unsigned old_count = region_count;
	memcpy(old, regions, old_count * sizeof(old[0]));
	region_count = 0;
	for (unsigned i = 0; i < old_count; i++) {
		const struct region *r = &old[i];
		uint64_t low = base > r->base ? base : r->base;
		uint64_t high = end < r->end ? end : r->end;
		if (r->type != from || low >= high) {
			append(r->base, r->end, r->type);
			continue;
		}
		if (r->base < low)
			append(r->base, low, from);
		append(low, high, type);
		if (high < r->end)
			append(high, r->end, from);
	}
}

void *map_take(uint64_t bytes, uint64_t align, uint64_t limit, unsigned type)
{
	bytes = round_up(bytes, PAGE);
	for (unsigned i = region_count; i-- > 0;) {
		struct region r = regions[i];
		if (r.type != TYPE_USABLE || r.base >= limit)
			continue;
		uint64_t end = r.end < limit ? r.end : limit;
		if (end - r.base < bytes)
			continue;
		uint64_t at = round_down(end - bytes, align);
		if (at < r.base || at == 0) /* address 0 looks like no memory */
			continue;
		map_retype(at, at + bytes, TYPE_USABLE, type);
		return memset((void *)(uintptr_t)at, 0, bytes);
	}
	fail("no room for %u KiB of boot-time memory", bytes / 1024);
}

void *take_small(uint64_t bytes)
{
	static uint8_t *at, *end;
	bytes = round_up(bytes, 16);
	if (!at || (uint64_t)(end - at) < bytes) {
		uint64_t size = round_up(bytes, 4 * PAGE);
		at = take(size);
		end = at + size;
	}
	void *piece = at;
	at += bytes;
	return piece;
}
