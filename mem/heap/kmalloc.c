/* SPDX-License-Identifier: MIT */
/*
 * The short names, on a default heap. This file is optional: a kernel that has a kmalloc of
 * its own leaves it out and calls heap_alloc_at() from there, with its caller's address.
 */
#include "heap/fast.h"

static struct heap *kernel_heap;

#define SITE __builtin_return_address(0)

void heap_set_default(struct heap *heap)
{
	kernel_heap = heap;
}

void *kmalloc(size_t bytes)
{
	return heap_alloc_inline(kernel_heap, bytes, SITE);
}

static void *zeroed(size_t bytes, const void *site)
{
	void *block = heap_alloc_at(kernel_heap, bytes, HEAP_ALIGN, site);
	if (block)
		memset(block, 0, bytes);
	return block;
}

void *kzalloc(size_t bytes)
{
	return zeroed(bytes, SITE);
}

void *kcalloc(size_t count, size_t bytes)
{
	size_t product;
	if (__builtin_mul_overflow(count, bytes, &product))
		return NULL;
	return zeroed(product, SITE);
}

void *krealloc(void *block, size_t bytes)
{
	return heap_realloc_at(kernel_heap, block, bytes, SITE);
}

void *kmalloc_aligned(size_t bytes, size_t align)
{
	return heap_alloc_at(kernel_heap, bytes, align, SITE);
}

void *kmalloc_page(void)
{
	return heap_alloc_at(kernel_heap, PAGE_SIZE, PAGE_SIZE, SITE);
}

void kfree(void *block)
{
	heap_free_inline(kernel_heap, block, SITE);
}
