/* SPDX-License-Identifier: MIT */
/*
 * The executable: a static ELF64 in the topmost 2 GiB, loaded into one piece
 * of physical memory, each segment mapped with its own permissions.
 *
 * A position-independent one (ET_DYN) is moved up by a random number of 2 MiB
 * steps, the slide, as long as it stays in the topmost 2 GiB: its relocations, of
 * which only relative ones are known, say which words hold addresses.
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

struct elf_dynamic {
	uint64_t tag, value;
};

struct elf_rela {
	uint64_t offset, info, addend;
};

enum { ET_EXEC = 2, ET_DYN = 3, EM_X86_64 = 62, PT_LOAD = 1, PT_DYNAMIC = 2, PF_X = 1, PF_W = 2 };
enum { DT_NULL, DT_NEEDED, DT_RELA = 7, DT_RELASZ, DT_RELAENT };
enum { DT_REL = 17, DT_JMPREL = 23, DT_RELR = 36 };
enum { R_RELATIVE = 8 };
#define LOWEST 0xffffffff80000000ull

struct executable executable;
static const struct elf_segment *segments;
static unsigned segment_count;

static const struct elf_header *check_header(const struct module *file)
{
	const struct elf_header *h = (const void *)(uintptr_t)file->base;
	if (file->size < sizeof(*h) || memcmp(h->ident, "\177ELF\2\1\1", 7))
		fail("%s is not an ELF64 file", file->string);
	if ((h->type != ET_EXEC && h->type != ET_DYN) || h->machine != EM_X86_64)
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

/* What lies at a linked address of the image. */
static uint8_t *in_image(uint64_t linked, uint64_t bytes)
{
	uint64_t at = linked - (executable.virt - executable.slide);
	if (at > executable.bytes || bytes > executable.bytes - at)
		fail("the executable's relocations lie outside it (%x)", linked);
	return executable.image + at;
}

static void read_dynamic(uint64_t *rela, uint64_t *bytes)
{
	const struct elf_segment *s = segments, *end = segments + segment_count;
	while (s != end && s->type != PT_DYNAMIC)
		s++;
	if (s == end)
		fail("the executable is position-independent, but does not say how");
	const uint8_t *list = in_image(s->vaddr, s->memsz);
	uint64_t entry_bytes = sizeof(struct elf_rela);
	*rela = *bytes = 0;
	for (uint64_t i = 0; i < s->memsz / sizeof(struct elf_dynamic); i++) {
		struct elf_dynamic d;
		memcpy(&d, list + i * sizeof(d), sizeof(d));
		if (d.tag == DT_NULL)
			break;
		if (d.tag == DT_RELA)
			*rela = d.value;
		if (d.tag == DT_RELASZ)
			*bytes = d.value;
		if (d.tag == DT_RELAENT)
			entry_bytes = d.value;
		if (d.tag == DT_NEEDED || d.tag == DT_REL || d.tag == DT_JMPREL || d.tag == DT_RELR)
			fail("the executable is linked in a way that is not known here (%u)",
			     d.tag);
	}
	if (entry_bytes != sizeof(struct elf_rela) || *bytes % entry_bytes)
		fail("the executable's relocations are broken");
}

/* The words that hold addresses: where they are linked to, and the slide. */
static void relocate(void)
{
	uint64_t rela, bytes;
	read_dynamic(&rela, &bytes);
	for (uint64_t i = 0; i < bytes; i += sizeof(struct elf_rela)) {
		struct elf_rela r;
		memcpy(&r, in_image(rela + i, sizeof(r)), sizeof(r));
		if (r.info != R_RELATIVE)
			fail("the executable has a relocation of kind %x, which is not relative",
			     r.info);
		uint64_t value = r.addend + executable.slide;
		memcpy(in_image(r.offset, sizeof(value)), &value, sizeof(value));
	}
}

static uint64_t choose_slide(uint64_t linked, uint64_t align)
{
	uint64_t step = align > LARGE ? align : LARGE;
	uint64_t room = 0 - PAGE - (linked + executable.bytes); /* check_segment: not below 0 */
	return random_below(room / step + 1) * step;
}

void elf_load(const struct module *file, bool move)
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
	executable.bytes = round_up(high, PAGE) - low;
	executable.slide = h->type == ET_DYN && move ? choose_slide(low, align) : 0;
	executable.virt = low + executable.slide;
	executable.image = map_take(executable.bytes, align, FOUR_GIB, TYPE_EXECUTABLE_AND_MODULES);
	executable.phys = (uint64_t)(uintptr_t)executable.image;
	executable.entry = h->entry + executable.slide;
	for (unsigned i = 0; i < segment_count; i++) {
		const struct elf_segment *s = &segments[i];
		if (s->type == PT_LOAD && s->memsz)
			memcpy(executable.image + (s->vaddr - low),
			       (const void *)(uintptr_t)(file->base + s->offset), s->filesz);
	}
	if (h->type == ET_DYN)
		relocate();
}

void elf_map(void)
{
	bool entry_inside = false;
	for (unsigned i = 0; i < segment_count; i++) {
		const struct elf_segment *s = &segments[i];
		if (s->type != PT_LOAD || !s->memsz)
			continue;
		uint64_t begin = s->vaddr + executable.slide;
		uint64_t first = round_down(begin, PAGE);
		uint64_t end = round_up(begin + s->memsz, PAGE);
		/* What lies between segments stays unmapped. */
		paging_map(first, executable.phys + (first - executable.virt), end - first,
			   (s->flags & PF_W ? MAP_WRITE : 0) | (s->flags & PF_X ? MAP_EXECUTE : 0));
		if ((s->flags & PF_X) && executable.entry >= begin &&
		    executable.entry < begin + s->memsz)
			entry_inside = true;
	}
	if (!entry_inside)
		fail("the entry point %x is not in executable memory", executable.entry);
}
