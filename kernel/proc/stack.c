/* SPDX-License-Identifier: MIT */
/*
 * The first stack of a program, and where things go in its space.
 *
 *     USER_TOP
 *       random gap, up to 16 GiB
 *     stack_top
 *       8 zero bytes, file name, environment strings, argument strings
 *       "x86_64", 16 random bytes
 *       auxv, envp pointers, argv pointers, argc        <- RSP, 16-aligned
 *       room to start with; below it the stack grows, up to RLIMIT_STACK
 *     ...
 *     mmap_top      RLIMIT_STACK (128 MiB at least), the largest random gap and
 *                   another one, up to 1 TiB, below USER_TOP
 *
 * Everything is put into one buffer and written to the new space by vmm_access,
 * while the old program still runs: failing is still free.
 */
#include "kernel/proc/exec.h"
#include <kernel/account.h>
#include <kernel/random.h>
#include <mem/heap.h>

#include "arch/x86_64/pte.h"

#define STACK_RANDOM  (1ull << 34)
#define MMAP_RANDOM   (1ull << 40)
#define STACK_GAP_MIN (128ull << 20)
#define STACK_GAP_MAX (USER_TOP / 6 * 5)
#define STACK_GUARD   (256 * PAGE_SIZE)
#define STACK_INITIAL (128ull << 10) /* mapped below what is used, as on Linux */
#define CLOCK_TICKS   100

enum {
	AT_NULL = 0,
	AT_PHDR = 3,
	AT_PHENT = 4,
	AT_PHNUM = 5,
	AT_PAGESZ = 6,
	AT_BASE = 7,
	AT_FLAGS = 8,
	AT_ENTRY = 9,
	AT_UID = 11,
	AT_EUID = 12,
	AT_GID = 13,
	AT_EGID = 14,
	AT_PLATFORM = 15,
	AT_HWCAP = 16,
	AT_CLKTCK = 17,
	AT_SECURE = 23,
	AT_RANDOM = 25,
	AT_HWCAP2 = 26,
	AT_EXECFN = 31,
	AT_MINSIGSTKSZ = 51,
};
#define HWCAP2_FSGSBASE 2
#define PHDR_BYTES      56

uint64_t random_pages(uint64_t bytes)
{
	uint64_t value;
	random_bytes(&value, sizeof(value));
	return value & (bytes - 1) & ~PAGE_MASK;
}

void image_place(struct image *image)
{
	struct mm_layout *mm = image->mm;
	uint64_t gap = image->stack_limit;
	uint64_t stack_random = image->random ? random_pages(STACK_RANDOM) : 0;
	uint64_t mmap_random = image->random ? random_pages(MMAP_RANDOM) : 0;
	mm->stack_top = USER_TOP - stack_random;
	gap = mem_max(mem_min(gap, STACK_GAP_MAX), STACK_GAP_MIN);
	gap += STACK_GUARD + (image->random ? STACK_RANDOM : 0);
	gap = mem_min(gap, STACK_GAP_MAX);
	mm->mmap_top = align_down(USER_TOP - gap - mmap_random, PAGE_SIZE);
}

/* The buffer that becomes the top of the stack. */
struct top {
	char *memory;
	uint64_t address; /* of its first byte in the new space */
	uint64_t bytes;
};

static void put(struct top *top, uint64_t address, const void *from, uint64_t bytes)
{
	kassert(address >= top->address && address - top->address + bytes <= top->bytes);
	memcpy(top->memory + (address - top->address), from, bytes);
}

static void put_word(struct top *top, uint64_t *address, uint64_t word)
{
	put(top, *address, &word, sizeof(word));
	*address += sizeof(word);
}

static void put_strings(struct top *top, uint64_t address, const struct arg_strings *s)
{
	for (uint64_t done = 0; done < s->bytes; done += ARG_CHUNK)
		put(top, address + done, s->chunk[done / ARG_CHUNK],
		    mem_min((uint64_t)ARG_CHUNK, s->bytes - done));
}

/* Pointers to each of the strings that lie at `strings`, then NULL. */
static void put_pointers(struct top *top, uint64_t *at, uint64_t strings,
			 const struct arg_strings *s)
{
	bool at_start = true;
	for (uint64_t i = 0; i < s->bytes; i++) {
		if (at_start)
			put_word(top, at, strings + i);
		at_start = s->chunk[i / ARG_CHUNK][i % ARG_CHUNK] == 0;
	}
	put_word(top, at, 0);
}

static void add_aux(struct mm_layout *mm, uint64_t type, uint64_t value)
{
	kassert(mm->auxv_words + 2 <= ARRAY_COUNT(mm->auxv));
	mm->auxv[mm->auxv_words++] = type;
	mm->auxv[mm->auxv_words++] = value;
}

static void make_auxv(const struct image *image, uint64_t name, uint64_t platform, uint64_t random)
{
	struct mm_layout *mm = image->mm;
	add_aux(mm, AT_HWCAP, cpu_features.hwcap);
	add_aux(mm, AT_PAGESZ, PAGE_SIZE);
	add_aux(mm, AT_CLKTCK, CLOCK_TICKS);
	add_aux(mm, AT_PHDR, image->header_address);
	add_aux(mm, AT_PHENT, PHDR_BYTES);
	add_aux(mm, AT_PHNUM, image->header_count);
	add_aux(mm, AT_BASE, image->base);
	add_aux(mm, AT_FLAGS, 0);
	add_aux(mm, AT_ENTRY, image->program_entry);
	add_aux(mm, AT_UID, image->id.uid);
	add_aux(mm, AT_EUID, image->id.euid);
	add_aux(mm, AT_GID, image->id.gid);
	add_aux(mm, AT_EGID, image->id.egid);
	add_aux(mm, AT_SECURE, image->secure);
	add_aux(mm, AT_RANDOM, random);
	add_aux(mm, AT_HWCAP2, cpu_features.fsgsbase ? HWCAP2_FSGSBASE : 0);
	add_aux(mm, AT_EXECFN, name);
	add_aux(mm, AT_PLATFORM, platform);
	add_aux(mm, AT_MINSIGSTKSZ, signal_frame_bytes());
	add_aux(mm, AT_NULL, 0);
}

static void set_aux(struct mm_layout *mm, uint64_t type, uint64_t value)
{
	for (uint32_t i = 0; i < mm->auxv_words; i += 2)
		if (mm->auxv[i] == type)
			mm->auxv[i + 1] = value;
}

int image_rewrite_identity(struct image *image)
{
	struct mm_layout *mm = image->mm;
	set_aux(mm, AT_UID, image->id.uid);
	set_aux(mm, AT_EUID, image->id.euid);
	set_aux(mm, AT_GID, image->id.gid);
	set_aux(mm, AT_EGID, image->id.egid);
	set_aux(mm, AT_SECURE, image->secure);
	uint64_t done;
	mem_status status = vmm_access(image->space, image->auxv_at, mm->auxv,
				       mm->auxv_words * sizeof(uint64_t), true, true, &done);
	return (int)errno_from(status);
}

static int map_stack(struct image *image, uint64_t used)
{
	struct mm_layout *mm = image->mm;
	uint64_t limit = align_down(image->stack_limit, PAGE_SIZE);
	uint64_t bytes = align_up(used, PAGE_SIZE);
	if (bytes > limit)
		return -E2BIG;
	bytes = mem_min(bytes + STACK_INITIAL, limit);
	struct vm_map_args args = {
	    .hint = mm->stack_top - bytes,
	    .bytes = bytes,
	    .prot = VM_READ | VM_WRITE | (image->executable_stack ? VM_EXEC : 0),
	    .maxprot = VM_READ | VM_WRITE | VM_EXEC,
	    .flags = VM_FIXED_NOREPLACE | VM_GROWSDOWN,
	    .name = "[stack]",
	};
	vaddr_t at;
	mem_status status = vmm_map(image->space, &args, &at);
	return status == MEM_OK ? 0 : (int)errno_from(status);
}

/* Fill the buffer; returns the stack pointer. */
static uint64_t fill(struct top *top, struct image *image, struct arguments *a,
		     const char *exec_name, uint64_t pointers)
{
	static const char platform_name[] = "x86_64";
	struct mm_layout *mm = image->mm;
	uint8_t random[16];
	uint64_t name = mm->stack_top - 8 - (kstrlen(exec_name) + 1);
	mm->env_end = name;
	mm->env_start = mm->env_end - a->envp.bytes;
	mm->arg_end = mm->env_start;
	mm->arg_start = mm->arg_end - a->argv.bytes;
	uint64_t platform = align_down(mm->arg_start - sizeof(platform_name), 16);
	uint64_t random_at = platform - sizeof(random);
	put(top, name, exec_name, kstrlen(exec_name) + 1);
	put_strings(top, mm->env_start, &a->envp);
	put_strings(top, mm->arg_start, &a->argv);
	put(top, platform, platform_name, sizeof(platform_name));
	random_bytes(random, sizeof(random));
	put(top, random_at, random, sizeof(random));
	make_auxv(image, name, platform, random_at);

	uint64_t table = (1 + pointers + mm->auxv_words) * sizeof(uint64_t);
	uint64_t sp = align_down(random_at - table, 16), at = sp;
	put_word(top, &at, a->argv.count);
	put_pointers(top, &at, mm->arg_start, &a->argv);
	put_pointers(top, &at, mm->env_start, &a->envp);
	image->auxv_at = at;
	put(top, at, mm->auxv, mm->auxv_words * sizeof(uint64_t));
	return sp;
}

int image_make_stack(struct image *image, struct arguments *a, const char *exec_name)
{
	struct mm_layout *mm = image->mm;
	uint64_t pointers = a->argv.count + 1 + a->envp.count + 1;
	uint64_t used = 8 + kstrlen(exec_name) + 1 + a->envp.bytes + a->argv.bytes;
	used += 16 + 16 + 16; /* platform, random, alignment */
	used += (1 + pointers + ARRAY_COUNT(mm->auxv)) * sizeof(uint64_t) + 16;
	used = align_up(used, 16);
	int error = map_stack(image, used);
	if (error)
		return error;
	/* The buffer, then the pages: neither is anybody's resident memory yet. */
	account_grow(current_process()->account, used);
	image->charged += used;
	struct top top = {.address = mm->stack_top - used, .bytes = used};
	top.memory = kzalloc(used);
	if (!top.memory)
		return -ENOMEM;
	image->stack_pointer = fill(&top, image, a, exec_name, pointers);
	uint64_t done, skip = image->stack_pointer - top.address;
	mem_status status = vmm_access(image->space, image->stack_pointer, top.memory + skip,
				       used - skip, true, true, &done);
	kfree(top.memory);
	return status == MEM_OK ? 0 : -ENOMEM;
}
