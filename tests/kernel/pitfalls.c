/* SPDX-License-Identifier: MIT */
/* The pitfalls that need a kernel around mem/; the others are in tests/pitfalls. */
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

#include <kernel/boot.h>
#include <kernel/cpu.h>
#include <kernel/errno.h>
#include <kernel/uaccess.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "base/util.h"

#define HOLE ((uint64_t)0x0000800000000000) /* the first address that is not canonical */

/*
 * 17. A pointer from a program is believed nothing: one bounds check that includes
 * the non-canonical hole, access to user memory open only while it is copied, an
 * exception table for what is not there, and no lock held, since the copy may
 * fault on the very table that would be locked.
 */
static const struct {
	uint64_t at;
	size_t bytes;
} wild[] = {
    {HOLE, 1},
    {HOLE - 1, 2},
    {HOLE - PAGE_SIZE, 1}, /* USER_TOP: the last page is nobody's */
    {HOLE + PAGE_SIZE, 8},
    {0xffff800000000000, 8},
    {0xffffffff80000000, 8},
    {UINT64_MAX, 1},
    {UINT64_MAX - 7, 16},
    {0x40000000, (size_t)1 << 63},
    {0x40000000, SIZE_MAX},
    {0, 8},
    {0x40000000 - 8, 8}, /* canonical, user, not mapped */
    {0x40002000 - 4, 8}, /* begins in the mapping, ends behind it */
};

static struct space *user_space(void)
{
	struct space *space;
	struct vm_map_args args = {.hint = 0x40000000,
				   .bytes = 2 * PAGE_SIZE,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = 7,
				   .flags = VM_FIXED};
	vaddr_t va;
	CHECK_OK(vmm_space_create(kernel_vmm, &space));
	CHECK_OK(vmm_map(space, &args, &va));
	thread_set_space(space);
	return space;
}

static uint64_t flags_register(void)
{
	uint64_t flags;
	__asm__ volatile("pushfq; pop %0" : "=r"(flags));
	return flags;
}

TEST(pitfall_17_user_pointers)
{
	static char buffer[64];
	uint64_t word = 42, back = 0;
	uint32_t old;
	struct space *space = user_space();
	CHECK_EQ(copy_to_user(0x40000ffc, &word, 8), 0); /* across pages, both untouched */
	CHECK_EQ(copy_from_user(&back, 0x40000ffc, 8), 0);
	CHECK_EQ(back, 42);
	for (unsigned i = 0; i < ARRAY_COUNT(wild); i++) {
		/* A kernel buffer need not be as long as a wild length: nothing is copied
		 * from a range that is not a user's, and what is not mapped faults at
		 * once. */
		if (!user_range_ok(wild[i].at, wild[i].bytes) || wild[i].bytes <= sizeof(buffer)) {
			CHECK_EQ(copy_from_user(buffer, wild[i].at, wild[i].bytes), -EFAULT);
			CHECK_EQ(copy_to_user(wild[i].at, buffer, wild[i].bytes), -EFAULT);
			CHECK_EQ(clear_user(wild[i].at, wild[i].bytes), -EFAULT);
		}
		if (wild[i].at < 0x40000000 || wild[i].at > 0x40002000) {
			CHECK_EQ(strncpy_from_user(buffer, wild[i].at & ~(uint64_t)3, 8), -EFAULT);
			CHECK_EQ(user_load32(wild[i].at & ~(uint64_t)3, &old), -EFAULT);
			CHECK_EQ(user_cas32(wild[i].at & ~(uint64_t)3, 0, 1, &old), -EFAULT);
		}
		CHECK(!(flags_register() & ((uint64_t)1 << 18))); /* AC: user memory is closed */
	}
	CHECK_EQ(copy_from_user(buffer, 0, 0), 0);
	/* Taken back under our feet: an answer, not a crash. */
	CHECK_OK(vmm_unmap(space, 0x40000000, 2 * PAGE_SIZE));
	CHECK_EQ(copy_from_user(&back, 0x40000ffc, 8), -EFAULT);
	thread_set_space(NULL);
	vmm_space_put(space);
}

/* Every CPU copies to and from pages that another CPU keeps taking away. */
static bool copy_or_fault(void *p, unsigned cpu)
{
	struct space *space = p;
	bool ok = true;
	thread_set_space(space);
	for (unsigned i = 0; ok && i < 2000; i++) {
		uint64_t word = i;
		if (cpu == 0 && i % 8 == 0) {
			struct vm_map_args args = {.hint = 0x40000000,
						   .bytes = 2 * PAGE_SIZE,
						   .prot = VM_READ | VM_WRITE,
						   .maxprot = 7,
						   .flags = VM_FIXED};
			vaddr_t va;
			ok = (i & 8) ? vmm_map(space, &args, &va) == MEM_OK
				     : vmm_unmap(space, 0x40000000, 2 * PAGE_SIZE) == MEM_OK;
		}
		int a = copy_to_user(0x40000ffc, &word, 8);
		int b = copy_from_user(&word, 0x40000ffc, 8);
		ok = ok && (a == 0 || a == -EFAULT) && (b == 0 || b == -EFAULT);
	}
	thread_set_space(NULL);
	return ok;
}

TEST(pitfall_17_copies_race_with_unmap)
{
	struct space *space = user_space();
	thread_set_space(NULL);
	CHECK_EQ(every_cpu(copy_or_fault, space), 0);
	CHECK(vmm_space_is_valid(space));
	vmm_space_put(space);
}

/*
 * 21. Loader memory holds the very tables, stacks and answers that are in use at
 * first: it is given back only after every CPU runs on our own. So afterwards no
 * region is loader memory any more, every CPU's root and stack are ours, and
 * all of it can be overwritten.
 */
static bool stands_on_its_own(void *arg, unsigned cpu)
{
	uint64_t root, sp;
	__asm__ volatile("mov %%cr3, %0" : "=r"(root));
	__asm__ volatile("mov %%rsp, %0" : "=r"(sp));
	paddr_t pa;
	/* A kernel thread runs on the kernel's root or, lazily, on some space's. */
	if (!pt_translate(root & PTE_ADDR, sp, &pa, NULL, NULL))
		return false;
	/* Its stack has a guard page below: it is one of ours. */
	vaddr_t low = align_down(sp, PAGE_SIZE);
	for (unsigned i = 0; i < 64; i++, low -= PAGE_SIZE)
		if (!pt_translate(root & PTE_ADDR, low, NULL, NULL, NULL))
			return vmm_guard_name(kernel_vmm, low) != NULL;
	return false;
}

TEST(pitfall_21_loader_memory_is_given_back)
{
	static paddr_t taken[4096];
	unsigned n = 0;
	CHECK_EQ(memmap_npages(boot_memmap(), MEMMAP_BOOTLOADER_RECLAIMABLE), 0);
	CHECK_EQ(every_cpu(stands_on_its_own, NULL), 0);
	/* Fill what is free, lowest first, where loaders live; everything goes on. */
	while (n < ARRAY_COUNT(taken)) {
		paddr_t pa = pmm_alloc(kernel_pmm, 0, PMM_KERNEL | PMM_FIRST);
		if (pa == PADDR_NONE)
			break;
		memset(paddr_to_ptr(pa), 0xcc, PAGE_SIZE);
		taken[n++] = pa;
	}
	CHECK_EQ(every_cpu(stands_on_its_own, NULL), 0);
	while (n)
		pmm_free(kernel_pmm, taken[--n], 0);
	CHECK(n == 0);
}

/*
 * 22. The stack of this very thread has a guard page, and the double fault that an
 * overflow becomes has a stack of its own. (That the kernel then says so and
 * stops is tested from outside.)
 */
TEST(pitfall_22_this_stack_is_guarded)
{
	CHECK_EQ(every_cpu(stands_on_its_own, NULL), 0);
}
