/* SPDX-License-Identifier: MIT */
/*
 * The loader's loading and moving of executables (loader/elf.c): what is relocated and
 * where it is mapped, and that a broken file is refused before anything outside its
 * image is written.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "loader/loader.h"
#include "tests/test.h"

#define BASE 0xffffffff80000000ull
enum { TEXT = 0, DATA = 0x1000, TABLE = 0x1800, DYNAMIC = 0x1c00, IMAGE = 0x3000, RELOCATIONS = 3 };

struct header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};
struct file {
	struct header header;
	struct segment segments[3];
	uint8_t space[0x1000 - 64 - 3 * 56];
	uint64_t text[512], data[256]; /* data: at BASE + DATA */
	struct {
		uint64_t offset, info, addend;
	} relocations[RELOCATIONS];
	uint8_t more_space[0x400 - RELOCATIONS * 24];
	struct {
		uint64_t tag, value;
	} dynamic[8];
};
_Static_assert(offsetof(struct file, relocations) == 0x1000 + TABLE, "where it says");
_Static_assert(offsetof(struct file, dynamic) == 0x1000 + DYNAMIC, "where it says");

static const struct file good = {
    .header = {.ident = {127, 'E', 'L', 'F', 2, 1, 1},
	       .type = 3,
	       .machine = 62,
	       .entry = BASE + 8,
	       .phoff = 64,
	       .phentsize = 56,
	       .phnum = 3},
    .segments = {{1, 5, 0x1000, BASE, 0, 0x1000, 0x1000, 0x1000},
		 {1, 6, 0x2000, BASE + DATA, 0, sizeof(struct file) - 0x2000, 0x2000, 0x1000},
		 {2, 4, 0x1000 + DYNAMIC, BASE + DYNAMIC, 0, 128, 128, 8}},
    .text = {[0] = 1, [511] = 2},
    .data = {[0] = 3, [1] = 4, [255] = 5},
    .relocations = {{BASE + DATA, 8, BASE + 0x123},
		    {BASE + 16, 8, BASE + DATA + 8},
		    {BASE + DATA + 11, 8, BASE}},
    .dynamic = {{7, BASE + TABLE}, {8, RELOCATIONS * 24}, {9, 24}, {0x6ffffffb, 1 << 27}},
};

/* ---- the rest of the loader ----------------------------------------------------- */

static jmp_buf gave_up;
static struct {
	uint8_t before[64], image[IMAGE], after[64];
} __attribute__((aligned(4096))) memory;
static uint64_t choices, choice; /* how many random_below() was asked for; its answer */
static struct mapped {
	uint64_t virt, phys, bytes;
	unsigned flags;
} mapped[4];
static unsigned map_count;

void fail(const char *format, ...)
{
	longjmp(gave_up, 1);
}

void *map_take(uint64_t bytes, uint64_t align, uint64_t limit, unsigned type)
{
	CHECK(bytes <= IMAGE);
	memset(&memory, 0, sizeof(memory));
	memset(memory.before, 0xee, sizeof(memory.before));
	memset(memory.after, 0xee, sizeof(memory.after));
	return memory.image;
}

uint64_t random_below(uint64_t n)
{
	choices = n;
	return choice < n ? choice : n - 1;
}

void paging_map(uint64_t virt, uint64_t phys, uint64_t bytes, unsigned flags)
{
	mapped[map_count++] = (struct mapped){virt, phys, bytes, flags};
}

/* False: refused. Then, too, nothing around the image was written. */
static bool load(struct file *file, bool move)
{
	const struct module module = {(uint64_t)(uintptr_t)file, sizeof(*file), NULL};
	memset(&executable, 0, sizeof(executable));
	map_count = 0;
	choices = 0;
	volatile bool good_file = false;
	if (!setjmp(gave_up)) {
		elf_load(&module, move);
		elf_map();
		good_file = true;
	}
	for (unsigned i = 0; i < sizeof(memory.before); i++)
		CHECK(executable.image == NULL ||
		      (memory.before[i] == 0xee && memory.after[i] == 0xee));
	return good_file;
}

static uint64_t word(uint64_t at)
{
	uint64_t value;
	memcpy(&value, memory.image + at, sizeof(value));
	return value;
}

static void check_moved_by(uint64_t slide)
{
	CHECK_EQ(executable.slide, slide);
	CHECK_EQ(executable.virt, BASE + slide);
	CHECK_EQ(executable.bytes, IMAGE);
	CHECK_EQ(executable.entry, BASE + slide + 8);
	CHECK_EQ(map_count, 2);
	CHECK_EQ(mapped[0].virt, BASE + slide);
	CHECK_EQ(mapped[0].flags, MAP_EXECUTE);
	CHECK_EQ(mapped[1].virt, BASE + DATA + slide);
	CHECK_EQ(mapped[1].phys, executable.phys + DATA);
	CHECK_EQ(mapped[1].bytes, 0x2000);
	CHECK_EQ(mapped[1].flags, MAP_WRITE);
	CHECK_EQ(word(DATA), BASE + slide + 0x123);
	CHECK_EQ(word(16), BASE + slide + DATA + 8);
	CHECK_EQ(word(DATA + 11), BASE + slide); /* not aligned, and not a reason to refuse */
	CHECK_EQ(word(0), 1);
	CHECK_EQ(word(511 * 8), 2);
	CHECK_EQ(word(DATA + 255 * 8), 5);
}

TEST(loader_elf_moves)
{
	struct file file = good;
	choice = 0;
	CHECK(load(&file, true));
	check_moved_by(0);
	/* The image, and a free page behind it, fit into the last of 1,024 steps of 2 MiB too. */
	CHECK_EQ(choices, 1024);
	for (choice = 1; choice < 1024; choice += 1 + test_random_below(40)) {
		CHECK(load(&file, true));
		check_moved_by(choice * LARGE);
	}
	choice = UINT64_MAX;
	CHECK(load(&file, true));
	CHECK(executable.virt >= BASE && executable.virt + executable.bytes <= 0 - PAGE);
	choice = 5;
	CHECK(load(&file, false));
	check_moved_by(0);
	CHECK(!memcmp(&file, &good, sizeof(file)));
}

/* One that is linked to stay stays, and its relocations are nobody's business. */
TEST(loader_elf_stays)
{
	struct file file = good;
	file.header.type = 2;
	file.relocations[0].info = 1;
	choice = 5;
	CHECK(load(&file, true));
	CHECK_EQ(executable.virt, BASE);
	CHECK_EQ(executable.entry, BASE + 8);
	CHECK_EQ(word(DATA), 3);
	CHECK_EQ(choices, 0);
}

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		struct file file = good;                                                           \
		change;                                                                            \
		CHECK(!load(&file, true));                                                         \
	} while (0)

TEST(loader_elf_refuses)
{
	static const uint64_t outside[] = {BASE - 1, BASE - 8,   BASE + IMAGE,  BASE + IMAGE - 7,
					   0,        UINT64_MAX, UINT64_MAX - 7};
	static const uint64_t tags[] = {1, 17, 23, 36}; /* NEEDED, REL, JMPREL, RELR */
	choice = 3;
	for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		REFUSED(file.relocations[1].offset = outside[i]);
		REFUSED(file.dynamic[0].value = outside[i]);
		REFUSED(file.segments[2].vaddr = outside[i]);
	}
	for (unsigned i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		REFUSED(file.dynamic[3].tag = tags[i]);
	for (uint64_t kind = 0; kind < 40; kind++)
		if (kind != 8)
			REFUSED(file.relocations[2].info = kind);
	REFUSED(file.relocations[2].info = 8 | (uint64_t)1 << 32); /* of a symbol */
	REFUSED(file.dynamic[1].value = 25);
	REFUSED(file.dynamic[1].value = UINT64_MAX / 24 * 24);
	REFUSED(file.dynamic[2].value = 16);
	REFUSED(file.segments[2].type = 4);
	REFUSED(file.segments[2].memsz = UINT64_MAX);
	REFUSED(file.header.type = 1);
	REFUSED(file.segments[0].offset = sizeof(file));
	REFUSED(file.segments[0].vaddr = 0);
	REFUSED(file.segments[1].vaddr = BASE + 0x800);
	REFUSED(file.header.entry = BASE + DATA);
}
