/* SPDX-License-Identifier: MIT */
/*
 * The loader's memory map (loader/memory.c) against a page-by-page oracle: what
 * it hands over is sorted, disjoint and page-aligned, usable pages touch nothing
 * else, and taking memory changes exactly what was taken.
 */
#include "loader/loader.h"
#include "tests/test.h"

enum { PAGES = 300 };

void fail(const char *format, ...)
{
	test_fail(__FILE__, __LINE__, "the loader gave up: %s", format);
}

static const int caution[] = {[TYPE_USABLE] = 1,
			      [TYPE_BOOTLOADER_RECLAIMABLE] = 2,
			      [TYPE_EXECUTABLE_AND_MODULES] = 3,
			      [TYPE_RESERVED] = 4,
			      [TYPE_RESERVED_MAPPED] = 5,
			      [TYPE_ACPI_RECLAIMABLE] = 6,
			      [TYPE_ACPI_NVS] = 7,
			      [TYPE_FRAMEBUFFER] = 8,
			      [TYPE_BAD] = 9};

/* What each page must be: the most cautious type that touches it; usable only
 * if an entry holds all of it. -1: nothing is said about it. */
static void oracle(int *page, const struct map_entry *raw, unsigned count)
{
	for (unsigned p = 0; p < PAGES; p++) {
		uint64_t low = p * PAGE, high = low + PAGE;
		page[p] = -1;
		for (unsigned i = 0; i < count; i++) {
			uint64_t base = raw[i].base, end = base + raw[i].length;
			int type = raw[i].type < TYPE_COUNT ? (int)raw[i].type : TYPE_RESERVED;
			if (!raw[i].length)
				continue;
			if (end < base)
				end = UINT64_MAX;
			bool touches = base < high && end > low;
			bool covers = base <= low && end >= high;
			if (type == TYPE_USABLE ? !covers : !touches)
				continue;
			if (page[p] < 0 || caution[type] > caution[page[p]])
				page[p] = type;
		}
	}
}

static int type_of(unsigned p)
{
	for (unsigned i = 0; i < region_count; i++)
		if (regions[i].base <= p * PAGE && p * PAGE < regions[i].end)
			return (int)regions[i].type;
	return -1;
}

static void check_order(void)
{
	for (unsigned i = 0; i < region_count; i++) {
		CHECK(regions[i].base % PAGE == 0 && regions[i].end % PAGE == 0);
		CHECK(regions[i].base < regions[i].end);
		if (!i)
			continue;
		CHECK(regions[i - 1].end <= regions[i].base);
		CHECK(regions[i - 1].end < regions[i].base ||
		      regions[i - 1].type != regions[i].type);
	}
}

static void check_pages(const int *page)
{
	for (unsigned p = 0; p < PAGES; p++)
		CHECK_EQ(type_of(p), page[p]);
}

TEST(loader_map_is_the_oracle)
{
	static struct map_entry raw[MAX_MAP];
	int page[PAGES];
	for (unsigned round = 0; round < 3000; round++) {
		unsigned count = (unsigned)test_random_below(round % 100 ? 20 : 400);
		for (unsigned i = 0; i < count; i++) {
			uint64_t unit = test_random_below(3) ? PAGE : 1;
			raw[i].base = test_random_below(PAGES * PAGE / unit) * unit;
			raw[i].length = test_random_below(60 * PAGE / unit) * unit;
			raw[i].type = test_random_below(2) ? TYPE_USABLE : test_random_below(12);
			if (test_random_below(50) == 0)
				raw[i].length = UINT64_MAX - test_random_below(100);
			if (test_random_below(50) == 0)
				raw[i].length = 0;
		}
		map_sanitise(raw, count);
		oracle(page, raw, count);
		check_order();
		check_pages(page);
	}
}

TEST(loader_map_retypes_only_what_it_is_told)
{
	struct map_entry raw[3] = {{0, 100 * PAGE, TYPE_USABLE},
				   {100 * PAGE, 50 * PAGE, TYPE_RESERVED},
				   {150 * PAGE, 100 * PAGE, TYPE_USABLE}};
	int page[PAGES];
	map_sanitise(raw, 3);
	oracle(page, raw, 3);
	for (unsigned round = 0; round < 300; round++) {
		unsigned a = (unsigned)test_random_below(PAGES);
		unsigned b = a + (unsigned)test_random_below(PAGES - a);
		unsigned from = (unsigned)test_random_below(TYPE_COUNT);
		unsigned to = (unsigned)test_random_below(TYPE_COUNT);
		map_retype(a * PAGE, b * PAGE, from, to);
		for (unsigned p = a; p < b; p++)
			if (page[p] == (int)from)
				page[p] = (int)to;
		check_order();
		check_pages(page);
	}
}

TEST(loader_map_far_entries)
{
	struct map_entry raw[4] = {{1ull << 52, PAGE, TYPE_USABLE}, /* no CPU has such memory */
				   {(1ull << 52) - PAGE, 10 * PAGE, TYPE_USABLE},
				   {UINT64_MAX - 10, 100, TYPE_RESERVED},
				   {1, 1, TYPE_USABLE}};
	map_sanitise(raw, 4);
	CHECK_EQ(region_count, 1);
	CHECK_EQ(regions[0].base, (1ull << 52) - PAGE);
	CHECK_EQ(regions[0].end, 1ull << 52);
}
