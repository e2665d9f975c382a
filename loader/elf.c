/* SPDX-License-Identifier: MIT */
/*
 * The executable: a static ELF64 in the topmost 2 GiB, loaded into one piece
 * of physical memory, each segment mapped with its own permissions.
 *
 * It is an input like any other: every header field is checked against the
 * file before it is used.
 */
#include "loader/loader.h"

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

enum { ET_EXEC = 2, EM_X86_64 = 62, PT_LOAD = 1, PF_X = 1, PF_W = 2 };
#define LOWEST 0xffffffff80000000ull

struct executable executable;
static const struct elf_segment *segments;
static unsigned segment_count;

static const struct elf_header *check_header(const struct module *file)
{
	const struct elf_header *h = (const void *)(uintptr_t)file->base;
	if (file->size < sizeof(*h) || memcmp(h->ident, "\177ELF\2\1\1", 7))
		fail("%s is not an ELF64 file", file->string);
	if (h->type != ET_EXEC || h->machine != EM_X86_64)
		fail("%s is not a static x86-64 executable", file->string);
	if (h->phentsize != sizeof(struct elf_segment) || h->phoff > file->size || h->phoff % 8 ||
	    h->phnum > (file->size - h->phoff) / sizeof(struct elf_segment))
		fail("%s: its program headers are broken", file->string);
	return h;
}

static void check_segment(const struct elf_segment *s, const struct module *file)
{
	if (s->offset > file->size || s->filesz > file->size - s->offset || s->filesz > s->memsz)
		fail("%s: a segment lies outside the file", file->string);
	if (s->vaddr < LOWEST || s->memsz > 0 - PAGE - s->vaddr)
		fail("%s: a segment at %x is not in the topmost 2 GiB", file->string, s->vaddr);
	if (s->align > LARGE || (s->align & (s->align - 1)))
		fail("%s: a segment is strangely aligned", file->string);
}

/* Two segments may share a page only if they ask for the same permissions. */
static void check_pair(const struct elf_segment *a, const struct elf_segment *b)
{
	if (b->type != PT_LOAD || !b->memsz)
		return;
	if (round_down(a->vaddr, PAGE) >= round_up(b->vaddr + b->memsz, PAGE) ||
	    round_down(b->vaddr, PAGE) >= round_up(a->vaddr + a->memsz, PAGE))
		return;
	fail("two segments of the executable share a page (%x, %x)", a->vaddr, b->vaddr);
}

void elf_load(const struct module *file)
{
	const struct elf_header *h = check_header(file);
	uint64_t low = UINT64_MAX, high = 0, align = PAGE;
	segments = (const void *)(uintptr_t)(file->base + h->phoff);
	segment_count = h->phnum;
	for (unsigned i = 0; i < segment_count; i++) {
		const struct elf_segment *s = &segments[i];
		if (s->type != PT_LOAD || !s->memsz)
			continue;
		check_segment(s, file);
		for (unsigned k = 0; k < i; k++)
			check_pair(s, &segments[k]);
		if (s->vaddr < low)
			low = s->vaddr;
		if (s->vaddr + s->memsz > high)
			high = s->vaddr + s->memsz;
		if (s->align > align)
			align = s->align;
	}
	if (!high)
		fail("%s has nothing to load", file->string);
	low = round_down(low, align);
	executable.virt = low;
	executable.bytes = round_up(high, PAGE) - low;
	executable.image = map_take(executable.bytes, align, FOUR_GIB, TYPE_EXECUTABLE_AND_MODULES);
	executable.phys = (uint64_t)(uintptr_t)executable.image;
	executable.entry = h->entry;
	for (unsigned i = 0; i < segment_count; i++) {
		const struct elf_segment *s = &segments[i];
		if (s->type == PT_LOAD && s->memsz)
			memcpy(executable.image + (s->vaddr - low),
			       (const void *)(uintptr_t)(file->base + s->offset), s->filesz);
	}
}

void elf_map(void)
{
	bool entry_inside = false;
	for (unsigned i = 0; i < segment_count; i++) {
		const struct elf_segment *s = &segments[i];
		if (s->type != PT_LOAD || !s->memsz)
			continue;
		uint64_t first = round_down(s->vaddr, PAGE);
		uint64_t end = round_up(s->vaddr + s->memsz, PAGE);
		/* What lies between segments stays unmapped. */
		paging_map(first, executable.phys + (first - executable.virt), end - first,
			   (s->flags & PF_W ? MAP_WRITE : 0) | (s->flags & PF_X ? MAP_EXECUTE : 0));
		if ((s->flags & PF_X) && executable.entry >= s->vaddr &&
		    executable.entry < s->vaddr + s->memsz)
			entry_inside = true;
	}
	if (!entry_inside)
		fail("the entry point %x is not in executable memory", executable.entry);
}
