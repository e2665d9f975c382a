/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a program to be executed: kernel/proc/elf.c opens it and maps it into
 * a space of the simulated machine. The bytes are taken as a file, or as hints for one
 * whose header and program headers are nearly right. What was mapped must hold what
 * the file says; every so often all memory must have come back.
 *
 * The files of the kernel's file system are replaced by one in memory here.
 */
#include "kernel/proc/exec.h"
#include <mem/heap.h>
#include <mem/host.h>
#include <mem/object.h>

#include "arch/x86_64/pte.h"
#include "tests/machine/boot.h"
#include "tests/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void free(void *block);

#define FILE_MOST (48 << 10)
#define PT_LOAD   1
#define PT_INTERP 3

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

/* ---- the kernel around elf.c --------------------------------------------------- */

static uint8_t content[FILE_MOST];
static uint64_t content_bytes;
static struct file program, interpreter;
static struct vm_object *object;
static unsigned in_use; /* references to both files, and blocks of kmalloc */

void *kmalloc(size_t bytes)
{
	in_use++;
	return malloc(bytes);
}

void *kzalloc(size_t bytes)
{
	in_use++;
	return calloc(1, bytes);
}

void kfree(void *block)
{
	in_use -= block != NULL;
	free(block);
}

void file_get(struct file *f)
{
	in_use++;
}

void file_put(struct file *f)
{
	in_use--;
}

ssize_t file_read_kernel(struct file *f, void *to, size_t bytes, off_t at)
{
	if (at < 0)
		return -EINVAL;
	if ((uint64_t)at >= content_bytes)
		return 0;
	bytes = mem_min(bytes, content_bytes - (uint64_t)at);
	memcpy(to, content + at, bytes);
	return (ssize_t)bytes;
}

struct vm_object *file_object(struct file *f)
{
	return object;
}

/* The same file once more: a program may be its own interpreter. */
struct file *file_open_kernel(const char *path, bool exec, int *error)
{
	if (path[0] == '/') {
		in_use++;
		return &interpreter;
	}
	*error = -ENOENT;
	return NULL;
}

uint64_t mmap_min_address = 65536;

uint64_t random_pages(uint64_t bytes)
{
	return (bytes / 3) & ~PAGE_MASK;
}

static mem_status fill(struct vm_object *o, uint64_t page, paddr_t pa)
{
	uint64_t at = page << PAGE_SHIFT;
	if (at < content_bytes)
		memcpy(paddr_to_ptr(pa), content + at, mem_min(PAGE_SIZE, content_bytes - at));
	return MEM_OK;
}

static const struct vm_object_ops ops = {.fill = fill};

/* What the machine wants of a test. */
uint64_t test_random(void)
{
	return 1;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	host_panic("%s:%d: %s", file, line, format);
}

void test_note(const char *format, ...)
{
}

void test_progress(uint64_t number)
{
}

/* ---- a file from hints -------------------------------------------------------------- */

static const uint8_t *input;
static size_t left;

static uint8_t next(void)
{
	return left ? left--, *input++ : 0;
}

/* Numbers at which something begins or ends, and all others. */
static uint64_t word(void)
{
	static const uint64_t edges[] = {0,
					 PAGE_SIZE,
					 2 * PAGE_SIZE,
					 3 * PAGE_SIZE,
					 0x400000,
					 HUGE_SIZE,
					 GIGA_SIZE,
					 USER_TOP,
					 USER_TOP - PAGE_SIZE,
					 USER_TOP / 3 * 2,
					 INT64_MAX,
					 1ull << 63,
					 0 - PAGE_SIZE,
					 FILE_MOST,
					 4 * PAGE_SIZE + 0x123,
					 0x7f0000000000};
	uint8_t kind = next();
	uint64_t value = 0;
	if (kind & 0x80) {
		for (unsigned i = 0; i < 8; i++)
			value = value << 8 | next();
		return value;
	}
	value = edges[kind & 15];
	switch (kind >> 4) {
	case 0:
	case 1:
	case 2:
		return value;
	case 3:
		return value - next();
	case 4:
		return value + next();
	default:
		return value + ((uint64_t)next() << 8 | next());
	}
}

static void build(void)
{
	struct header h = {
	    .ident = "\177ELF\2\1\1", .machine = 62, .version = 1, .ehsize = 64, .phentsize = 56};
	uint8_t flags = next();
	for (size_t i = 0; i < FILE_MOST; i++)
		content[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
	h.type = flags & 1 ? 2 : 3;
	h.phnum = flags & 2 ? (uint16_t)word() : 1 + (flags >> 6);
	h.phoff = flags & 4 ? word() : sizeof(h);
	h.entry = word();
	content_bytes = flags & 8 ? word() % FILE_MOST : FILE_MOST;
	memcpy(content, &h, sizeof(h));
	for (unsigned i = 0; i < h.phnum && left; i++) {
		uint8_t kind = next();
		struct segment s = {.type = kind & 32   ? PT_INTERP
					    : kind & 64 ? (uint32_t)word()
							: PT_LOAD,
				    .flags = kind & 7,
				    .vaddr = word(),
				    .filesz = word(),
				    .memsz = word(),
				    .align = kind & 16 ? word() : PAGE_SIZE};
		s.offset = kind & 8 ? word() : (s.vaddr & PAGE_MASK) + ((kind >> 7) * PAGE_SIZE);
		if (kind & 128)
			s.memsz += s.filesz;
		uint64_t at = h.phoff + i * sizeof(s);
		if (h.phoff < FILE_MOST && at + sizeof(s) <= FILE_MOST)
			memcpy(content + at, &s, sizeof(s));
		if (s.type == PT_INTERP && s.offset < FILE_MOST && s.filesz && s.filesz < 64 &&
		    s.offset + s.filesz < FILE_MOST) {
			content[s.offset] = flags & 16 ? '/' : 'x';
			content[s.offset + s.filesz - 1] = 0;
		}
	}
}

/* ---- was it mapped right? ------------------------------------------------------------ */

/* One byte of a segment that no later one has replaced. */
static void check_byte(struct space *space, const struct segment *segments, unsigned n, unsigned k,
		       uint64_t bias, uint64_t at)
{
	const struct segment *s = &segments[k];
	uint64_t page = align_down(s->vaddr + at, PAGE_SIZE);
	for (unsigned i = k + 1; i < n; i++)
		if (segments[i].type == PT_LOAD && segments[i].memsz &&
		    align_down(segments[i].vaddr, PAGE_SIZE) <= page &&
		    page < align_up(segments[i].vaddr + segments[i].memsz, PAGE_SIZE))
			return;
	uint64_t in_file = s->offset + at, done;
	uint8_t expected = 0, got = 0xee;
	if (at < s->filesz) {
		/* A page wholly behind the file's end cannot be read. */
		if (align_down(in_file, PAGE_SIZE) >= content_bytes)
			return;
		expected = in_file < content_bytes ? content[in_file] : 0;
	}
	mem_status status = vmm_access(space, bias + s->vaddr + at, &got, 1, false, true, &done);
	if (status == MEM_ENOMEM)
		return;
	if (status != MEM_OK || got != expected)
		host_panic("segment %u, byte 0x%llx: %s, 0x%x where 0x%x should be", k,
			   (unsigned long long)at, mem_status_name(status), got, expected);
}

static void check_image(const struct image *image)
{
	struct header h;
	memcpy(&h, content, sizeof(h));
	uint64_t bias = image->program_entry - h.entry;
	static struct segment segments[64];
	unsigned n = mem_min((unsigned)h.phnum, 64u);
	if (image->entry >= USER_TOP)
		host_panic("it would start in the kernel");
	memcpy(segments, content + h.phoff, n * sizeof(*segments));
	if (h.phnum > n)
		return; /* a later one may have replaced what these mapped */
	for (unsigned k = 0; k < n; k++) {
		const struct segment *s = &segments[k];
		if (s->type != PT_LOAD || !s->memsz)
			continue;
		uint64_t at[] = {0, s->filesz / 2, s->filesz - 1, s->filesz, s->memsz - 1};
		for (unsigned i = 0; i < ARRAY_COUNT(at); i++)
			if (at[i] < s->memsz)
				check_byte(image->space, segments, n, k, bias, at[i]);
	}
}

static void execute(bool random)
{
	struct mm_layout mm = {.mmap_top = USER_TOP - GIGA_SIZE};
	struct image image = {.mm = &mm, .random = random};
	struct elf_file *elf;
	if (elf_open(&program, &elf))
		return;
	if (vmm_space_create(machine_vmm, &image.space))
		host_panic("no space");
	if (!elf_load(elf, &image))
		check_image(&image);
	if (!vmm_space_is_valid(image.space))
		host_panic("the space is not valid");
	if (image.exe)
		vm_object_put(image.exe);
	vmm_space_put(image.space);
	elf_close(elf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static bool booted;
	static unsigned runs;
	static uint64_t at_rest;
	if (!bytes)
		return 0;
	if (!booted)
		machine_boot_default(1, 1);
	booted = true;
	input = data + 1;
	left = bytes - 1;
	if (data[0] & 1) {
		build();
	} else {
		content_bytes = mem_min(left, (size_t)FILE_MOST);
		memcpy(content, input, content_bytes);
	}
	if (vm_object_create(machine_vmm, &ops, NULL, content_bytes, &object))
		host_panic("no object");
	execute(data[0] & 2);
	vm_object_put(object);
	if (in_use)
		host_panic("%u files or blocks are still in use", in_use);
	if (++runs % 64 == 0) {
		uint64_t now = machine_frames_at_rest();
		if (at_rest && now != at_rest)
			host_panic("%llu frames at rest became %llu", (unsigned long long)at_rest,
				   (unsigned long long)now);
		at_rest = now;
	}
	return 0;
}
