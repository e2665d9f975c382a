/* SPDX-License-Identifier: MIT */
/*
 * ELF programs: reading, checking, mapping.
 *
 * The file is hostile until shown otherwise, and it is shown in two steps.
 * elf_open reads headers and checks what can be said without a space: whatever
 * is wrong is the errno that Linux gives for it. elf_load maps into a space
 * that nobody runs yet, so an error throws the space away and the old program
 * goes on: nothing is half done.
 *
 * A segment becomes up to three things:
 *
 *     |-- file pages, private, read in when touched --|- zero pages -|
 *                                           ^ the rest of the last file page is
 *                                             zeroed if the segment is longer than
 *                                             its file part
 *
 * Segments are mapped in order and a later one replaces what it overlaps of an
 * earlier one, page by page, as on Linux. All address arithmetic is checked for
 * overflow before use (check_segment).
 *
 * Placement: ET_EXEC where it says. A position-independent program with an
 * interpreter at two thirds of the space plus a random amount; without one
 * (static PIE) and the interpreter itself, at the top of the mmap area. The
 * program break starts after the program, except for a static PIE, where it
 * starts at two thirds of the space, and is moved up by a random amount.
 */
#include "kernel/proc/exec.h"
#include <mem/heap.h>
#include <mem/object.h>

#include "arch/x86_64/pte.h"

enum { ET_EXEC = 2, ET_DYN = 3, EM_X86_64 = 62 };
enum { PT_LOAD = 1, PT_INTERP = 3, PT_GNU_STACK = 0x6474e551 };
enum { PF_X = 1, PF_W = 2, PF_R = 4 };

#define PHDRS_MAX    (65536 / sizeof(struct elf_phdr)) /* 64 KiB of them, as on Linux */
#define INTERP_MAX   4096
#define DYN_BASE     align_down(USER_TOP / 3 * 2, PAGE_SIZE)
#define DYN_RANDOM   (1ull << 40)
#define BREAK_RANDOM (32ull << 20)

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_phdr {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct elf_header) == 64 && sizeof(struct elf_phdr) == 56, "ELF64 sizes");

struct elf_file {
	struct file *file; /* with a reference */
	struct vm_object *object;
	struct elf_header header;
	struct elf_phdr *phdrs;
	struct elf_file *interpreter;
};

/* ---- reading and checking ---- */

static int read_exactly(struct file *file, void *to, uint64_t bytes, uint64_t at)
{
	if (at > INT64_MAX - bytes)
		return -EINVAL;
	ssize_t got = file_read_kernel(file, to, bytes, (off_t)at);
	if (got < 0)
		return (int)got;
	return (uint64_t)got == bytes ? 0 : -EIO;
}

/* `wrong_type`: for what is neither a program nor position-independent; of an
 * interpreter Linux finds that later, and says something else. */
static int check_header(const struct elf_header *h, int wrong_type)
{
	if (memcmp(h->ident, "\177ELF", 4))
		return -ENOEXEC;
	if (h->machine != EM_X86_64)
		return -ENOEXEC;
	if (h->type != ET_EXEC && h->type != ET_DYN)
		return wrong_type;
	if (h->phentsize != sizeof(struct elf_phdr) || h->phnum < 1 || h->phnum > PHDRS_MAX)
		return -ENOEXEC;
	return 0;
}

/* Everything that mapping it will rely on. */
static int check_segment(const struct elf_phdr *ph)
{
	uint64_t end;
	if (ph->filesz > ph->memsz || ph->memsz > USER_TOP)
		return -EINVAL;
	if (__builtin_add_overflow(ph->vaddr, ph->memsz, &end) || end > USER_TOP)
		return -EINVAL;
	if (!ph->filesz)
		return 0; /* nothing of the file: where does not matter */
	if ((ph->offset ^ ph->vaddr) & PAGE_MASK)
		return -EINVAL;
	if (ph->offset > INT64_MAX - ph->filesz - PAGE_SIZE)
		return -EINVAL;
	return 0;
}

static int read_phdrs(struct elf_file *elf)
{
	uint64_t bytes = elf->header.phnum * sizeof(struct elf_phdr);
	elf->phdrs = kmalloc(bytes);
	if (!elf->phdrs)
		return -ENOMEM;
	int error = read_exactly(elf->file, elf->phdrs, bytes, elf->header.phoff);
	return error == -EIO || error == -EINVAL ? -ENOEXEC : error;
}

static int open_one(struct file *file, int wrong_type, struct elf_file **out)
{
	struct elf_file *elf = kzalloc(sizeof(*elf));
	if (!elf)
		return -ENOMEM;
	file_get(file);
	elf->file = file;
	ssize_t got = file_read_kernel(file, &elf->header, sizeof(elf->header), 0);
	int error = got < 0 ? (int)got : 0;
	if (!error && got < (ssize_t)sizeof(elf->header))
		error = -ENOEXEC;
	if (!error)
		error = check_header(&elf->header, wrong_type);
	if (!error) {
		elf->object = file_object(file);
		error = elf->object ? read_phdrs(elf) : -ENOEXEC;
	}
	if (error) {
		elf_close(elf);
		return error;
	}
	*out = elf;
	return 0;
}

static int open_interpreter(struct elf_file *elf, const struct elf_phdr *ph)
{
	if (ph->filesz > INTERP_MAX || ph->filesz < 2)
		return -ENOEXEC;
	char *path = kmalloc(ph->filesz);
	if (!path)
		return -ENOMEM;
	int error = read_exactly(elf->file, path, ph->filesz, ph->offset);
	if (!error && path[ph->filesz - 1] != 0)
		error = -ENOEXEC;
	struct file *file = NULL;
	if (!error)
		file = file_open_kernel(path, true, &error);
	kfree(path);
	if (!file)
		return error;
	error = open_one(file, -EINVAL, &elf->interpreter);
	file_put(file);
	return error == -ENOEXEC ? -ELIBBAD : error;
}

int elf_open(struct file *file, struct elf_file **out)
{
	struct elf_file *elf;
	int error = open_one(file, -ENOEXEC, &elf);
	if (error)
		return error;
	for (unsigned i = 0; i < elf->header.phnum && !error; i++) {
		if (elf->phdrs[i].type != PT_INTERP)
			continue;
		error = open_interpreter(elf, &elf->phdrs[i]);
		break;
	}
	if (error) {
		elf_close(elf);
		return error;
	}
	*out = elf;
	return 0;
}

void elf_close(struct elf_file *elf)
{
	if (!elf)
		return;
	elf_close(elf->interpreter);
	kfree(elf->phdrs);
	file_put(elf->file);
	kfree(elf);
}

/* ---- mapping ---- */

static unsigned prot_of(const struct elf_phdr *ph)
{
	return ((ph->flags & PF_R) ? VM_READ : 0u) | ((ph->flags & PF_W) ? VM_WRITE : 0u) |
	       ((ph->flags & PF_X) ? VM_EXEC : 0u);
}

static int map_at(struct image *image, uint64_t at, uint64_t bytes, unsigned prot,
		  struct vm_object *object, uint64_t offset)
{
	if (bytes == 0)
		return 0;
	if (at < mmap_min_address && !(image->id.effective & CAP_BIT(CAP_SYS_RAWIO)))
		return -EPERM;
	struct vm_map_args args = {
	    .hint = at,
	    .bytes = bytes,
	    .prot = prot,
	    .maxprot = VM_READ | VM_WRITE | VM_EXEC,
	    .flags = VM_FIXED,
	    .object = object,
	    .offset = offset,
	};
	vaddr_t got;
	mem_status status = vmm_map(image->space, &args, &got);
	return status == MEM_OK ? 0 : (int)errno_from(status);
}

/* Zero [at, at + bytes), which lies in one private page of the file. */
static int zero_tail(struct image *image, uint64_t at, uint64_t bytes)
{
	static const uint8_t zeros[PAGE_SIZE];
	uint64_t done;
	if (bytes == 0)
		return 0;
	union {
		const void *in;
		void *out;
	} buffer = {.in = zeros}; /* vmm_access only reads it when it writes */
	mem_status status = vmm_access(image->space, at, buffer.out, bytes, true, true, &done);
	if (status == MEM_ENOMEM)
		return -ENOMEM;
	return status == MEM_OK ? 0 : -EFAULT;
}

static int map_segment(struct elf_file *elf, const struct elf_phdr *ph, uint64_t bias,
		       struct image *image)
{
	uint64_t start = bias + ph->vaddr, page = align_down(start, PAGE_SIZE);
	uint64_t in_page = start - page;
	uint64_t file_end = start + ph->filesz, end = start + ph->memsz;
	uint64_t file_pages_end = ph->filesz ? align_up(file_end, PAGE_SIZE) : page;
	uint64_t pages_end = align_up(end, PAGE_SIZE);
	unsigned prot = prot_of(ph);
	if (ph->memsz == 0)
		return 0;
	int error = 0;
	if (ph->filesz)
		error = map_at(image, page, file_pages_end - page, prot, elf->object,
			       ph->offset - in_page);
	if (!error && ph->filesz && ph->memsz > ph->filesz)
		error = zero_tail(image, file_end, file_pages_end - file_end);
	/* Linux makes these pages writable whatever the segment says. */
	if (!error && pages_end > file_pages_end)
		error = map_at(image, file_pages_end, pages_end - file_pages_end,
			       VM_READ | VM_WRITE | (prot & VM_EXEC), NULL, 0);
	return error;
}

struct span {
	uint64_t start, end; /* of all segments, page-aligned; start of the first in the file */
	uint64_t align;
};

static int check_segments(const struct elf_file *elf, struct span *span)
{
	bool any = false;
	*span = (struct span){.align = PAGE_SIZE};
	for (unsigned i = 0; i < elf->header.phnum; i++) {
		const struct elf_phdr *ph = &elf->phdrs[i];
		if (ph->type != PT_LOAD)
			continue;
		int error = check_segment(ph);
		if (error)
			return error;
		uint64_t start = align_down(ph->vaddr, PAGE_SIZE);
		uint64_t end = align_up(ph->vaddr + ph->memsz, PAGE_SIZE);
		span->start = any ? mem_min(span->start, start) : start;
		span->end = any ? mem_max(span->end, end) : end;
		if (is_pow2(ph->align) && ph->align < GIGA_SIZE)
			span->align = mem_max(span->align, ph->align);
		any = true;
	}
	return any && span->end > span->start ? 0 : -EINVAL;
}

/* Find room for `bytes` at the top of the mmap area; nothing stays mapped. */
static int find_room(struct image *image, uint64_t bytes, uint64_t align, uint64_t *out)
{
	struct vm_map_args args = {
	    .bytes = bytes + (align - PAGE_SIZE),
	    .flags = VM_NORESERVE,
	    .maxprot = VM_READ,
	    .limit = image->mm->mmap_top,
	};
	vaddr_t at;
	mem_status status = vmm_map(image->space, &args, &at);
	if (status == MEM_OK)
		status = vmm_unmap(image->space, at, args.bytes);
	if (status != MEM_OK)
		return (int)errno_from(status);
	*out = align_up(at, align);
	return 0;
}

/* Where a position-independent file goes: bias to add to its addresses. */
static int choose_bias(struct elf_file *elf, const struct span *span, struct image *image,
		       bool at_base, uint64_t *bias)
{
	uint64_t at = 0;
	*bias = 0;
	if (elf->header.type != ET_DYN)
		return 0;
	if (at_base) {
		at = DYN_BASE + (image->random ? random_pages(DYN_RANDOM) : 0);
		at = align_down(at, span->align);
		if (span->end - span->start > USER_TOP - at)
			return -ENOMEM;
	} else {
		int error = find_room(image, span->end - span->start, span->align, &at);
		if (error)
			return error;
	}
	*bias = at - span->start; /* may wrap: sums with segment addresses come out right */
	return 0;
}

static int map_file(struct elf_file *elf, const struct span *span, struct image *image,
		    bool at_base, uint64_t *bias)
{
	int error = choose_bias(elf, span, image, at_base, bias);
	for (unsigned i = 0; i < elf->header.phnum && !error; i++)
		if (elf->phdrs[i].type == PT_LOAD)
			error = map_segment(elf, &elf->phdrs[i], *bias, image);
	return error;
}

/* What /proc and the auxiliary vector say about the program. */
static void describe(struct elf_file *elf, uint64_t bias, struct image *image)
{
	const struct elf_header *h = &elf->header;
	struct mm_layout *mm = image->mm;
	image->header_count = h->phnum;
	for (unsigned i = 0; i < h->phnum; i++) {
		const struct elf_phdr *ph = &elf->phdrs[i];
		if (ph->type == PT_GNU_STACK)
			image->executable_stack = ph->flags & PF_X;
		if (ph->type != PT_LOAD)
			continue;
		uint64_t start = bias + ph->vaddr, file_end = start + ph->filesz;
		if (ph->offset <= h->phoff && h->phoff - ph->offset < ph->filesz)
			image->header_address = start + (h->phoff - ph->offset);
		if (ph->flags & PF_X) {
			if (!mm->code_start || start < mm->code_start)
				mm->code_start = start;
			mm->code_end = mem_max(mm->code_end, file_end);
		} else {
			mm->data_start = mem_max(mm->data_start, start);
			mm->data_end = mem_max(mm->data_end, file_end);
		}
	}
}

static void place_break(struct elf_file *elf, const struct span *span, uint64_t bias,
			struct image *image)
{
	struct mm_layout *mm = image->mm;
	uint64_t start = bias + span->end;
	if (elf->header.type == ET_DYN && !elf->interpreter)
		start = DYN_BASE;
	if (image->random && start < USER_TOP - BREAK_RANDOM)
		start += random_pages(BREAK_RANDOM);
	mm->brk_start = mm->brk = start;
}

int elf_load(struct elf_file *elf, struct image *image)
{
	struct span span;
	uint64_t bias, interpreter_bias;
	int error = check_segments(elf, &span);
	if (!error)
		error = map_file(elf, &span, image, elf->interpreter != NULL, &bias);
	if (error)
		return error;
	describe(elf, bias, image);
	place_break(elf, &span, bias, image);
	image->entry = image->program_entry = bias + elf->header.entry;
	image->exe = elf->object;
	vm_object_get(image->exe);
	if (!elf->interpreter)
		return image->entry < USER_TOP ? 0 : -EINVAL;
	error = check_segments(elf->interpreter, &span);
	if (!error)
		error = map_file(elf->interpreter, &span, image, false, &interpreter_bias);
	if (error)
		return error == -ENOEXEC ? -ELIBBAD : error;
	image->base = interpreter_bias;
	image->entry = interpreter_bias + elf->interpreter->header.entry;
	return image->entry < USER_TOP ? 0 : -EINVAL;
}
