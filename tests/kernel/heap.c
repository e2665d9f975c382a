/* SPDX-License-Identifier: MIT */
/* The kernel heap in its own virtual area, on every CPU. */
#include "tests/kernel/every_cpu.h"
#include "tests/test.h"

#include <kernel/boot.h>
#include <mem/heap.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "base/atomic.h"
#include "base/util.h"

TEST(kernel_heap_blocks_keep_their_bytes)
{
	enum { COUNT = 400 };
	static uint8_t *block[COUNT];
	static size_t bytes[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		bytes[i] = 1 + test_random_below(i % 10 == 0 ? 100000 : 3000);
		CHECK((block[i] = kmalloc(bytes[i])) != NULL);
		memset(block[i], (int)(i & 0xff), bytes[i]);
	}
	for (unsigned i = 0; i < COUNT; i++)
		for (size_t b = 0; b < bytes[i]; b++)
			CHECK_EQ(block[i][b], i & 0xff);
	for (unsigned i = 0; i < COUNT; i++)
		kfree(block[i]);
}

TEST(kernel_heap_calls)
{
	uint64_t *zero = kcalloc(100, 8);
	CHECK(zero);
	for (unsigned i = 0; i < 100; i++)
		CHECK_EQ(zero[i], 0);
	zero[3] = 33;
	zero = krealloc(zero, 8000);
	CHECK(zero && zero[3] == 33);
	zero = krealloc(zero, 64);
	CHECK(zero && zero[3] == 33);
	kfree(zero);
	size_t half = SIZE_MAX / 2 + 2;
	__asm__("" : "+r"(half)); /* the compiler would reject the constant */
	CHECK(!kcalloc(half, 2));
	CHECK(!kmalloc(half));
	for (size_t align = 16; align <= 1 << 16; align *= 2) {
		void *p = kmalloc_aligned(100, align);
		CHECK(p && (uintptr_t)p % align == 0);
		kfree(p);
	}
	kfree(NULL);
}

TEST(kernel_heap_guard_page)
{
	uint8_t *p = kmalloc(5 * PAGE_SIZE);
	CHECK(p);
	vaddr_t end = ((vaddr_t)p + 5 * PAGE_SIZE + PAGE_MASK) & ~PAGE_MASK;
	paddr_t root = vmm_kernel_root(kernel_vmm);
	CHECK(pt_translate(root, end - PAGE_SIZE, NULL, NULL, NULL));
	CHECK(!pt_translate(root, end, NULL, NULL, NULL));
	kfree(p);
}

TEST(kernel_heap_gives_memory_back)
{
	uint64_t before = free_frames();
	enum { COUNT = 2000 };
	static void *block[COUNT];
	for (unsigned i = 0; i < COUNT; i++)
		CHECK((block[i] = kmalloc(1 + test_random_below(6000))) != NULL);
	for (unsigned i = 0; i < COUNT; i++)
		kfree(block[i]);
	CHECK_EQ(free_frames(), before);
}

/* Segments of a large heap are mapped by 2 MiB entries: one block that stays does not
 * keep all of its 2 MiB. */
TEST(kernel_heap_gives_back_around_live_blocks)
{
	enum { COUNT = 5000, BYTES = 3500, KEPT = 5, SLAB_NPAGES = 64 };
	static void *block[COUNT];
	uint64_t before = free_frames();
	for (unsigned i = 0; i < COUNT; i++)
		CHECK((block[i] = kmalloc(BYTES)) != NULL);
	for (unsigned i = 0; i < COUNT; i++)
		if (i % (COUNT / KEPT))
			kfree(block[i]);
	uint64_t now = free_frames();
	CHECK(before - now < KEPT * (SLAB_NPAGES + 4));
	for (unsigned i = 0; i < COUNT; i += COUNT / KEPT)
		kfree(block[i]);
	CHECK_EQ(free_frames(), before);
}

static void *mailbox[MEM_MAX_CPUS];

static bool hammer(void *seed, unsigned cpu)
{
	uint64_t random = *(uint64_t *)seed + cpu * 31337 + 1;
	for (unsigned round = 0; round < 3000; round++) {
		size_t bytes = 1 + cpu_random(&random) % (round % 50 ? 1024 : 20000);
		uint8_t *p = kmalloc(bytes);
		if (!p)
			return false;
		p[0] = p[bytes - 1] = (uint8_t)cpu;
		if (p[0] != (uint8_t)cpu)
			return false;
		/* Freed by the neighbour, as often as not. */
		kfree(round & 1 ? p : atomic_swap(&mailbox[(cpu + 1) % cpu_count()], (void *)p));
	}
	return true;
}

TEST(kernel_heap_every_cpu)
{
	uint64_t seed = test_random();
	CHECK_EQ(every_cpu(hammer, &seed), 0);
	for (unsigned i = 0; i < MEM_MAX_CPUS; i++) {
		kfree(mailbox[i]);
		mailbox[i] = NULL;
	}
}
