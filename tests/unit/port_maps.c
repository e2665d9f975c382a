/* SPDX-License-Identifier: MIT */
/* The converters of memory maps (mem/port): maps that are right, and bytes that are not. The
 * bytes lie at the end of an allocation, so that ASan sees a read beyond them. */
#include <mem/port.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

#define MOST 64

static struct memmap_entry entries[MOST];
static struct memmap_list list;

static void empty(size_t capacity)
{
	list = (struct memmap_list){entries, capacity, 0};
}

static void check_entry(size_t i, uint64_t base, uint64_t length, enum memmap_type type)
{
	CHECK(i < list.count);
	CHECK_EQ(entries[i].base, base);
	CHECK_EQ(entries[i].length, length);
	CHECK_EQ(entries[i].type, type);
}

/* ---- bytes, one after the other --------------------------------------------------- */

static uint8_t made[4096];
static size_t at;

static void put(uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		made[at++] = (uint8_t)(value >> 8 * i);
}

static void *exactly(size_t bytes)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);
	CHECK(copy);
	memcpy(copy, made, bytes);
	return copy;
}

/* ---- E820 ----------------------------------------------------------------------------- */

TEST(port_e820)
{
	at = 0;
	for (unsigned type = 0; type < 7; type++) {
		put((uint64_t)type << 20, 8);
		put(4096, 8);
		put(type, 4);
	}
	void *map = exactly(at);
	empty(MOST);
	CHECK_OK(memmap_from_e820(&list, map, 7, 20));
	static const enum memmap_type types[] = {
	    MEMMAP_RESERVED, MEMMAP_USABLE, MEMMAP_RESERVED, MEMMAP_ACPI_RECLAIMABLE,
	    MEMMAP_ACPI_NVS, MEMMAP_BAD,    MEMMAP_RESERVED};
	CHECK_EQ(list.count, 7);
	for (unsigned i = 0; i < 7; i++)
		check_entry(i, (uint64_t)i << 20, 4096, types[i]);
	/* Full: nothing has changed. */
	empty(6);
	CHECK_EQ(memmap_from_e820(&list, map, 7, 20), MEM_ENOMEM);
	CHECK_EQ(list.count, 0);
	CHECK_EQ(memmap_from_e820(&list, map, 7, 19), MEM_EINVAL);
	CHECK_EQ(memmap_from_e820(&list, NULL, 1, 20), MEM_EINVAL);
	CHECK_OK(memmap_from_e820(&list, NULL, 0, 20));
	free(map);
}

TEST(port_e820_attributes)
{
	at = 0;
	for (unsigned i = 0; i < 3; i++) {
		put((uint64_t)i << 20, 8);
		put(4096, 8);
		put(1, 4);
		put(i != 1, 4); /* the second is to be ignored */
	}
	void *map = exactly(at);
	empty(MOST);
	CHECK_OK(memmap_from_e820(&list, map, 3, 24));
	CHECK_EQ(list.count, 2);
	check_entry(1, 2 << 20, 4096, MEMMAP_USABLE);
	free(map);
}

/* ---- UEFI ------------------------------------------------------------------------------- */

static void put_efi(uint32_t type, uint64_t base, uint64_t npages, uint64_t attributes)
{
	put(type, 8);
	put(base, 8);
	put(0, 8);
	put(npages, 8);
	put(attributes, 8);
	put(0xdead, 8); /* descriptors are longer than they need to be */
}

TEST(port_efi)
{
	enum { WB = 8, SP = 1 << 18 };
	at = 0;
	for (uint32_t type = 0; type < 16; type++)
		put_efi(type, (uint64_t)type << 24, 16, WB);
	put_efi(7, 0, 16, WB | SP);
	put_efi(7, 0, 16, 1);
	put_efi(7, 4096, UINT64_MAX, WB);
	void *map = exactly(at);
	empty(MOST);
	CHECK_OK(memmap_from_efi(&list, map, at, 48));
	CHECK_EQ(list.count, 19);
	for (unsigned i = 0; i < 16; i++) {
		enum memmap_type want = i == 7             ? MEMMAP_USABLE
					: i >= 1 && i <= 4 ? MEMMAP_BOOTLOADER_RECLAIMABLE
					: i == 8           ? MEMMAP_BAD
					: i == 9           ? MEMMAP_ACPI_RECLAIMABLE
					: i == 10          ? MEMMAP_ACPI_NVS
							   : MEMMAP_RESERVED;
		check_entry(i, (uint64_t)i << 24, 16 * PAGE_SIZE, want);
	}
	check_entry(16, 0, 16 * PAGE_SIZE, MEMMAP_RESERVED);
	check_entry(17, 0, 16 * PAGE_SIZE, MEMMAP_RESERVED);
	/* As long as can be: the sanitiser drops what wraps. */
	check_entry(18, 4096, UINT64_MAX, MEMMAP_USABLE);
	CHECK_EQ(memmap_from_efi(&list, map, at, 39), MEM_EINVAL);
	CHECK_EQ(memmap_from_efi(&list, map, at - 1, 48), MEM_EINVAL);
	CHECK_EQ(memmap_from_efi(&list, map, at, 0), MEM_EINVAL);
	empty(18);
	CHECK_EQ(memmap_from_efi(&list, map, at, 48), MEM_ENOMEM);
	CHECK_EQ(list.count, 0);
	free(map);
}

/* ---- multiboot 2 ------------------------------------------------------------------------ */

static size_t begin_tag(uint32_t type)
{
	while (at % 8)
		put(0, 1);
	put(type, 4);
	put(0, 4);
	return at - 8;
}

static void end_tag(size_t tag)
{
	uint32_t bytes = (uint32_t)(at - tag);
	memcpy(made + tag + 4, &bytes, 4);
}

static void make_mb2(bool map, bool efi)
{
	at = 0;
	put(0, 8);
	size_t tag = begin_tag(1);
	memcpy(made + at, "quiet", 6);
	at += 6;
	end_tag(tag);
	if (map) {
		tag = begin_tag(6);
		put(24, 4);
		put(0, 4);
		for (unsigned type = 1; type < 7; type++) {
			put((uint64_t)type << 32, 8);
			put(1 << 20, 8);
			put(type, 4);
			put(0, 4);
		}
		end_tag(tag);
	}
	if (efi) {
		tag = begin_tag(17);
		put(48, 4);
		put(1, 4);
		put_efi(7, 0x100000, 256, 8);
		end_tag(tag);
	}
	tag = begin_tag(3);
	put(0x200000, 4);
	put(0x234567, 4);
	memcpy(made + at, "initrd", 7);
	at += 7;
	end_tag(tag);
	tag = begin_tag(8);
	put(0xfd000000, 8);
	put(4096, 4);
	put(1024, 4);
	put(768, 4);
	put(0x20, 1);
	put(1, 1);
	put(0, 2);
	end_tag(tag);
	tag = begin_tag(0);
	end_tag(tag);
	uint32_t total = (uint32_t)at;
	memcpy(made, &total, 4);
}

TEST(port_multiboot2)
{
	make_mb2(true, true);
	void *info = exactly(at);
	empty(MOST);
	CHECK_OK(memmap_from_multiboot2(&list, info, at, 0x9000));
	static const enum memmap_type types[] = {
	    MEMMAP_USABLE,   MEMMAP_RESERVED, MEMMAP_ACPI_RECLAIMABLE,
	    MEMMAP_ACPI_NVS, MEMMAP_BAD,      MEMMAP_RESERVED};
	for (unsigned i = 0; i < 6; i++)
		check_entry(i, (uint64_t)(i + 1) << 32, 1 << 20, types[i]);
	check_entry(6, 0x200000, 0x34567, MEMMAP_EXECUTABLE_AND_MODULES);
	check_entry(7, 0xfd000000, 4096 * 768, MEMMAP_FRAMEBUFFER);
	check_entry(8, 0x9000, at, MEMMAP_BOOTLOADER_RECLAIMABLE);
	CHECK_EQ(list.count, 9);
	for (size_t capacity = 0; capacity < 9; capacity++) {
		empty(capacity);
		CHECK_EQ(memmap_from_multiboot2(&list, info, at, 0x9000), MEM_ENOMEM);
		CHECK_EQ(list.count, 0);
	}
	free(info);
	make_mb2(false, true); /* firmware's, where there is no other */
	info = exactly(at);
	empty(MOST);
	CHECK_OK(memmap_from_multiboot2(&list, info, at, 0));
	check_entry(0, 0x100000, 1 << 20, MEMMAP_USABLE);
	free(info);
	make_mb2(false, false);
	info = exactly(at);
	empty(MOST);
	CHECK_EQ(memmap_from_multiboot2(&list, info, at, 0), MEM_ENOENT);
	CHECK_EQ(list.count, 0);
	free(info);
}

/* Each prefix, and each byte changed: an error, or a list; never a read outside. */
TEST(port_multiboot2_spoilt)
{
	make_mb2(true, true);
	size_t whole = at;
	for (size_t bytes = 0; bytes < whole; bytes++) {
		void *info = exactly(bytes);
		empty(MOST);
		CHECK_EQ(memmap_from_multiboot2(&list, info, bytes, 0), MEM_EINVAL);
		CHECK_EQ(list.count, 0);
		/* The same where it says that it is as short as that. */
		uint32_t total = (uint32_t)bytes;
		if (bytes >= 8) {
			memcpy(info, &total, 4);
			mem_status status = memmap_from_multiboot2(&list, info, bytes, 0);
			CHECK(status == MEM_EINVAL && list.count == 0);
		}
		free(info);
	}
	for (size_t i = 0; i < whole; i++) {
		static const uint8_t values[] = {0, 1, 7, 0x7f, 0x80, 0xff};
		for (unsigned v = 0; v < sizeof(values); v++) {
			uint8_t *info = exactly(whole);
			info[i] = values[v];
			empty(MOST);
			mem_status status = memmap_from_multiboot2(&list, info, whole, 0);
			CHECK((status == MEM_OK) == (list.count > 0));
			free(info);
		}
	}
}

/* ---- Limine --------------------------------------------------------------------------------- */

TEST(port_limine)
{
	struct {
		uint64_t base, length, type;
	} e[10];
	const void *pointers[10];
	struct {
		uint64_t revision, count;
		const void *const *entries;
	} response = {0, 10, pointers};
	for (unsigned i = 0; i < 10; i++) {
		e[i].base = i * 0x100000u;
		e[i].length = 0x1000;
		e[i].type = i;
		pointers[i] = &e[i];
	}
	e[9].type = UINT64_MAX;
	empty(MOST);
	CHECK_OK(memmap_from_limine(&list, &response));
	CHECK_EQ(list.count, 10);
	for (unsigned i = 0; i < 9; i++)
		check_entry(i, i * 0x100000u, 0x1000, (enum memmap_type)i);
	check_entry(9, 0x900000, 0x1000, MEMMAP_RESERVED);
	empty(9);
	CHECK_EQ(memmap_from_limine(&list, &response), MEM_ENOMEM);
	CHECK_EQ(list.count, 0);
	pointers[5] = NULL;
	empty(MOST);
	CHECK_EQ(memmap_from_limine(&list, &response), MEM_EINVAL);
	CHECK_EQ(list.count, 0);
	response.entries = NULL;
	CHECK_EQ(memmap_from_limine(&list, &response), MEM_EINVAL);
	CHECK_EQ(memmap_from_limine(&list, NULL), MEM_EINVAL);
}

/* What is there already stays. */
TEST(port_lists_are_appended_to)
{
	empty(2);
	CHECK_OK(memmap_list_add(&list, 1, 2, MEMMAP_BAD));
	CHECK_EQ(memmap_from_limine(&list, NULL), MEM_EINVAL);
	CHECK_EQ(list.count, 1);
	CHECK_OK(memmap_list_add(&list, 3, 4, MEMMAP_USABLE));
	CHECK_EQ(memmap_list_add(&list, 5, 6, MEMMAP_USABLE), MEM_ENOMEM);
	CHECK_EQ(list.count, 2);
	check_entry(0, 1, 2, MEMMAP_BAD);
}
