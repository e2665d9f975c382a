/* SPDX-License-Identifier: MIT */
/*
 * The memory-map sanitiser against a zoo of maps, and against a reference that
 * asks, frame by frame and byte by byte, what each entry says.
 */
#include "tests/test.h"

#include <mem/memmap.h>
#include <stdlib.h>

#define MAX_ENTRIES 400

static struct memmap_region regions[MEMMAP_CAPACITY(MAX_ENTRIES)];

static struct memmap sanitise(const struct memmap_entry *entries, size_t count, pfn_t end)
{
	struct memmap map = {.regions = regions, .capacity = MEMMAP_CAPACITY(MAX_ENTRIES)};
	CHECK_OK(memmap_sanitise(&map, entries, count, end));
	CHECK(memmap_is_valid(&map));
	return map;
}

static void check_region(const struct memmap *map, size_t i, pfn_t first, pfn_t end,
			 enum memmap_type type)
{
	CHECK(i < map->count);
	CHECK_EQ(map->regions[i].first, first);
	CHECK_EQ(map->regions[i].end, end);
	CHECK_EQ(map->regions[i].type, type);
}

/* Does the entry touch a byte of frame pfn; does it cover every byte? The last
 * byte is computed in 128 bits, so that nothing here wraps. */
static bool touches(const struct memmap_entry *e, pfn_t pfn, bool *covers)
{
	__extension__ typedef unsigned __int128 wide;
	wide end = (wide)e->base + e->length, limit = (wide)1 << 64;
	bool wraps = end > limit;
	wide page = (wide)pfn << PAGE_SHIFT;
	if (wraps) {
		if (e->type == MEMMAP_USABLE)
			return *covers = false;
		end = limit;
	}
	*covers = e->base <= page && end >= page + PAGE_SIZE;
	return e->length && e->base < page + PAGE_SIZE && end > page;
}

/* What a frame may be, said independently: usable needs one usable entry that
 * covers it and nothing else that touches it. */
static void check_frame(const struct memmap *map, const struct memmap_entry *entries, size_t count,
			pfn_t pfn)
{
	bool usable = false, other = false, named[MEMMAP_TYPE_COUNT] = {false};
	for (size_t i = 0; i < count; i++) {
		bool covers;
		if (!touches(&entries[i], pfn, &covers))
			continue;
		uint64_t type =
		    entries[i].type < MEMMAP_TYPE_COUNT ? entries[i].type : MEMMAP_RESERVED;
		if (type == MEMMAP_USABLE) {
			usable |= covers;
		} else {
			other = true;
			named[type] = true;
		}
	}
	enum memmap_type type = MEMMAP_TYPE_COUNT;
	bool found = memmap_lookup(map, pfn, &type);
	CHECK_EQ(found, usable || other);
	if (other)
		CHECK(type != MEMMAP_USABLE && named[type]);
	else if (usable)
		CHECK_EQ(type, MEMMAP_USABLE);
}

/* Check every frame near every edge of entries and regions. */
static void check_edges(const struct memmap *map, const struct memmap_entry *entries, size_t count,
			pfn_t end)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t edge[2] = {entries[i].base, entries[i].base + entries[i].length};
		for (int k = 0; k < 2; k++)
			for (int64_t delta = -2; delta <= 2; delta++) {
				pfn_t pfn = (edge[k] >> PAGE_SHIFT) + (pfn_t)delta;
				if (pfn < end)
					check_frame(map, entries, count, pfn);
			}
	}
	for (size_t i = 0; i < map->count; i++) {
		check_frame(map, entries, count, map->regions[i].first);
		check_frame(map, entries, count, map->regions[i].end - 1);
	}
}

#define END_48      ((pfn_t)1 << 36)
#define END_52      ((pfn_t)1 << 40)
#define SANITISE(e) sanitise((e), sizeof(e) / sizeof((e)[0]), END_52)

TEST(memmap_empty)
{
	struct memmap map = sanitise(NULL, 0, END_52);
	CHECK_EQ(map.count, 0);
	struct memmap_entry nothing[] = {{0x1000, 0, MEMMAP_USABLE}, {0, 0, MEMMAP_RESERVED}};
	map = SANITISE(nothing);
	CHECK_EQ(map.count, 0);
	CHECK_EQ(memmap_npages(&map, MEMMAP_USABLE), 0);
	enum memmap_type type;
	CHECK(!memmap_lookup(&map, 1, &type));
}

TEST(memmap_unsorted)
{
	struct memmap_entry e[] = {
	    {0x300000, 0x100000, MEMMAP_USABLE},
	    {0x100000, 0x100000, MEMMAP_ACPI_NVS},
	    {0x200000, 0x100000, MEMMAP_USABLE},
	    {0x0, 0x9f000, MEMMAP_USABLE},
	};
	struct memmap map = SANITISE(e);
	CHECK_EQ(map.count, 3);
	check_region(&map, 0, 0, 0x9f, MEMMAP_USABLE);
	check_region(&map, 1, 0x100, 0x200, MEMMAP_ACPI_NVS);
	check_region(&map, 2, 0x200, 0x400, MEMMAP_USABLE);
}

TEST(memmap_overlap_takes_the_safer_type)
{
	struct memmap_entry e[] = {
	    {0x100000, 0x100000, MEMMAP_USABLE},
	    {0x140000, 0x20000, MEMMAP_BOOTLOADER_RECLAIMABLE},
	    {0x150000, 0x20000, MEMMAP_RESERVED},
	    {0x158000, 0x1000, MEMMAP_BAD},
	    {0x100000, 0x100000, MEMMAP_USABLE},
	};
	struct memmap map = SANITISE(e);
	CHECK_EQ(map.count, 6);
	check_region(&map, 0, 0x100, 0x140, MEMMAP_USABLE);
	check_region(&map, 1, 0x140, 0x150, MEMMAP_BOOTLOADER_RECLAIMABLE);
	check_region(&map, 2, 0x150, 0x158, MEMMAP_RESERVED);
	check_region(&map, 3, 0x158, 0x159, MEMMAP_BAD);
	check_region(&map, 4, 0x159, 0x170, MEMMAP_RESERVED);
	check_region(&map, 5, 0x170, 0x200, MEMMAP_USABLE);
}

TEST(memmap_usable_loses_to_every_type)
{
	for (unsigned type = 1; type <= MEMMAP_TYPE_COUNT; type++)
		for (int order = 0; order < 2; order++) {
			struct memmap_entry e[2];
			e[order] = (struct memmap_entry){0x10000, 0x10000, MEMMAP_USABLE};
			e[!order] = (struct memmap_entry){0x14fff, 2, type};
			struct memmap map = SANITISE(e);
			CHECK_EQ(map.count, 3);
			check_region(&map, 0, 0x10, 0x14, MEMMAP_USABLE);
			check_region(&map, 1, 0x14, 0x16,
				     type < MEMMAP_TYPE_COUNT ? type : MEMMAP_RESERVED);
			check_region(&map, 2, 0x16, 0x20, MEMMAP_USABLE);
		}
}

TEST(memmap_unaligned)
{
	struct memmap_entry e[] = {
	    {0x1001, 0x2fff, MEMMAP_USABLE}, /* inwards: 2..4 */
	    {0x4800, 0x10, MEMMAP_RESERVED}, /* outwards: 4..5 */
	    {0x5000, 0x1001, MEMMAP_USABLE}, /* 5..6 */
	    {0x6001, 0xfff, MEMMAP_USABLE},  /* nothing */
	    {0x7fff, 2, MEMMAP_FRAMEBUFFER}, /* 7..9 */
	    {0x9fff, 0x1002, MEMMAP_USABLE}, /* 10..11 */
	};
	struct memmap map = SANITISE(e);
	CHECK_EQ(map.count, 5);
	check_region(&map, 0, 2, 4, MEMMAP_USABLE);
	check_region(&map, 1, 4, 5, MEMMAP_RESERVED);
	check_region(&map, 2, 5, 6, MEMMAP_USABLE);
	check_region(&map, 3, 7, 9, MEMMAP_FRAMEBUFFER);
	check_region(&map, 4, 10, 11, MEMMAP_USABLE);
}

TEST(memmap_one_usable_byte)
{
	struct memmap_entry e[] = {{0x100000, 1, MEMMAP_USABLE}};
	CHECK_EQ(SANITISE(e).count, 0);
	e[0] = (struct memmap_entry){0x100fff, 1, MEMMAP_USABLE};
	CHECK_EQ(SANITISE(e).count, 0);
	e[0] = (struct memmap_entry){0x100fff, 0x1000, MEMMAP_USABLE};
	CHECK_EQ(SANITISE(e).count, 0);
	e[0] = (struct memmap_entry){0x100fff, 0x1001, MEMMAP_USABLE};
	struct memmap map = SANITISE(e);
	check_region(&map, 0, 0x101, 0x102, MEMMAP_USABLE);
}

TEST(memmap_wrapping)
{
	struct memmap_entry e[] = {
	    {0x100000, 0x100000, MEMMAP_USABLE},
	    {0x180000, UINT64_MAX, MEMMAP_RESERVED},        /* to 2^64: covers the rest */
	    {0x400000, UINT64_MAX - 0x1000, MEMMAP_USABLE}, /* a lie: dropped */
	    {UINT64_MAX, UINT64_MAX, MEMMAP_USABLE},        /* a lie */
	    {UINT64_MAX, 1, MEMMAP_BAD},                    /* above what a CPU addresses */
	};
	struct memmap map = SANITISE(e);
	CHECK_EQ(map.count, 2);
	check_region(&map, 0, 0x100, 0x180, MEMMAP_USABLE);
	check_region(&map, 1, 0x180, END_52, MEMMAP_RESERVED);
	struct memmap_entry exact[] = {
	    {0x1000, (uint64_t)-0x1000, MEMMAP_USABLE}}; /* ends at 2^64 */
	map = SANITISE(exact);
	CHECK_EQ(map.count, 1);
	check_region(&map, 0, 1, END_52, MEMMAP_USABLE);
}

TEST(memmap_above_the_cpu_is_dropped)
{
	struct memmap_entry e[] = {
	    {0x0, 0x10000, MEMMAP_USABLE},
	    {0xfffff0000, 0x20000, MEMMAP_USABLE},
	    {(uint64_t)1 << 46, 0x10000, MEMMAP_USABLE},
	};
	struct memmap map = sanitise(e, 3, (pfn_t)1 << 24);
	CHECK_EQ(map.count, 2);
	check_region(&map, 1, 0xfffff0, 0x1000000, MEMMAP_USABLE);
	CHECK_EQ(sanitise(e, 3, 0).count, 0);
	CHECK_EQ(sanitise(e, 3, UINT64_MAX).count, 3);
}

TEST(memmap_holes_of_terabytes)
{
	struct memmap_entry e[] = {
	    {(uint64_t)40 << 40, GIGA_SIZE, MEMMAP_USABLE},
	    {0, GIGA_SIZE, MEMMAP_USABLE},
	    {(uint64_t)5 << 40, GIGA_SIZE, MEMMAP_USABLE},
	};
	struct memmap map = SANITISE(e);
	CHECK_EQ(map.count, 3);
	CHECK_EQ(memmap_npages(&map, MEMMAP_USABLE), 3 * (GIGA_SIZE >> PAGE_SHIFT));
	enum memmap_type type;
	CHECK(!memmap_lookup(&map, (pfn_t)1 << 30, &type));
	CHECK(memmap_lookup(&map, (pfn_t)5 << 28, &type));
}

TEST(memmap_kernel_and_framebuffer_inside_usable)
{
	struct memmap_entry e[] = {
	    {0x100000, 0x7ff00000, MEMMAP_USABLE},
	    {0x1000000, 0x234567, MEMMAP_EXECUTABLE_AND_MODULES},
	    {0x40000000, 0x300000, MEMMAP_FRAMEBUFFER},
	    {0x100000000, 0x80000000, MEMMAP_USABLE}, /* above 4 GiB */
	};
	struct memmap map = SANITISE(e);
	CHECK_EQ(map.count, 6);
	check_region(&map, 1, 0x1000, 0x1235, MEMMAP_EXECUTABLE_AND_MODULES);
	check_region(&map, 3, 0x40000, 0x40300, MEMMAP_FRAMEBUFFER);
	check_region(&map, 5, 0x100000, 0x180000, MEMMAP_USABLE);
}

TEST(memmap_capacity_is_checked)
{
	struct memmap_entry e[2] = {{0, 0x1000, MEMMAP_USABLE}};
	struct memmap map = {.regions = regions, .count = 7, .capacity = MEMMAP_CAPACITY(2) - 1};
	CHECK_EQ(memmap_sanitise(&map, e, 2, END_52), MEM_EINVAL);
	CHECK_EQ(map.count, 0);
	CHECK_EQ(memmap_sanitise(&map, e, SIZE_MAX, END_52), MEM_EINVAL);
}

TEST(memmap_400_entries)
{
	static struct memmap_entry e[MAX_ENTRIES];
	for (int i = 0; i < MAX_ENTRIES; i++) /* no two alike: no merging, all downwards */
		e[i] = (struct memmap_entry){(uint64_t)(MAX_ENTRIES - i) * 0x10000, 0x10000,
					     (uint64_t)i % 9};
	struct memmap map = sanitise(e, MAX_ENTRIES, END_52);
	CHECK_EQ(map.count, MAX_ENTRIES);
	check_edges(&map, e, MAX_ENTRIES, END_52);
	for (int i = 0; i < MAX_ENTRIES; i++) /* nested: each inside the one before */
		e[i] = (struct memmap_entry){(uint64_t)i * 0x3000 + 0x800,
					     (uint64_t)(2 * MAX_ENTRIES - 2 * i) * 0x3000,
					     (uint64_t)i % 2 ? MEMMAP_USABLE : (uint64_t)i % 9};
	map = sanitise(e, MAX_ENTRIES, END_52);
	check_edges(&map, e, MAX_ENTRIES, END_52);
}

/* Random maps of every unpleasantness at once, checked frame by frame. */
TEST(memmap_random_zoo)
{
	unsigned usable_seen = 0;
	for (int round = 0; round < 3000; round++) {
		static struct memmap_entry e[MAX_ENTRIES];
		size_t count = test_random_below(round % 100 ? 24 : MAX_ENTRIES);
		uint64_t span = (uint64_t)1 << (14 + test_random_below(50));
		for (size_t i = 0; i < count; i++) {
			e[i].base = test_random_below(span);
			e[i].length = test_random_below(span >> test_random_below(6));
			e[i].type = test_random_below(3) ? test_random_below(10) : MEMMAP_USABLE;
			if (test_random_below(3) == 0)
				e[i].base &= ~PAGE_MASK;
			if (test_random_below(3) == 0)
				e[i].length &= ~PAGE_MASK;
			if (test_random_below(40) == 0)
				e[i].base = UINT64_MAX - test_random_below(span);
			if (test_random_below(40) == 0)
				e[i].length = UINT64_MAX - test_random_below(span);
			if (test_random_below(40) == 0)
				e[i].type = test_random();
		}
		struct memmap map = sanitise(e, count, END_48);
		check_edges(&map, e, count, END_48);
		usable_seen += memmap_npages(&map, MEMMAP_USABLE) > 0;
		if (span <= (uint64_t)1 << 20)
			for (pfn_t pfn = 0; pfn < (span >> PAGE_SHIFT) * 2; pfn++)
				check_frame(&map, e, count, pfn);
	}
	CHECK(usable_seen > 300);
}

/* Retyping against a plain array of types. */
TEST(memmap_retype_like_an_array)
{
	enum { SPAN = 64 };
	const enum memmap_type NOTHING = MEMMAP_TYPE_COUNT;
	for (int round = 0; round < 3000; round++) {
		struct memmap_entry e[6];
		unsigned char want[SPAN];
		for (int i = 0; i < 6; i++)
			e[i] = (struct memmap_entry){test_random_below(48) << PAGE_SHIFT,
						     test_random_below(16) << PAGE_SHIFT,
						     test_random_below(4)};
		struct memmap map = sanitise(e, 6, END_52);
		map.capacity = map.count + test_random_below(4);
		for (pfn_t pfn = 0; pfn < SPAN; pfn++) {
			enum memmap_type type;
			want[pfn] =
			    (unsigned char)(memmap_lookup(&map, pfn, &type) ? type : NOTHING);
		}
		for (int step = 0; step < 10; step++) {
			pfn_t first = test_random_below(SPAN), end = test_random_below(SPAN + 1);
			enum memmap_type from = test_random_below(4), to = test_random_below(4);
			mem_status status = memmap_retype(&map, first, end, from, to);
			CHECK(status == MEM_OK || status == MEM_ENOMEM);
			CHECK(memmap_is_valid(&map));
			for (pfn_t pfn = first; status == MEM_OK && pfn < end; pfn++)
				if (want[pfn] == from)
					want[pfn] = (unsigned char)to;
			for (pfn_t pfn = 0; pfn < SPAN; pfn++) {
				enum memmap_type type = NOTHING;
				CHECK_EQ(memmap_lookup(&map, pfn, &type), want[pfn] != NOTHING);
				CHECK_EQ(type, want[pfn]);
			}
		}
	}
}

TEST(memmap_retype_without_room_changes_nothing)
{
	struct memmap_entry e[] = {{0, 0x100000, MEMMAP_USABLE}};
	struct memmap map = SANITISE(e);
	map.capacity = 2;
	CHECK_EQ(memmap_retype(&map, 0x10, 0x20, MEMMAP_USABLE, MEMMAP_BAD), MEM_ENOMEM);
	CHECK_EQ(map.count, 1);
	check_region(&map, 0, 0, 0x100, MEMMAP_USABLE);
	CHECK_OK(memmap_retype(&map, 0, 0x20, MEMMAP_USABLE, MEMMAP_BAD));
	CHECK_EQ(map.count, 2);
}

TEST(memmap_type_names)
{
	for (unsigned i = 0; i <= MEMMAP_TYPE_COUNT; i++)
		CHECK(memmap_type_name(i)[0]);
}
