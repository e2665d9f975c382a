/* SPDX-License-Identifier: MIT */
/* The public names: the heap's with their call sites, and the default heap's. */
#include "heap/fast.h"

static struct heap *kernel_heap;

#define SITE __builtin_return_address(0)

void *heap_alloc(struct heap *heap, size_t bytes)
{
	return heap_alloc_at(heap, bytes, SITE);
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align)
{
	return heap_alloc_aligned_at(heap, bytes, align, SITE);
}

void heap_free(struct heap *heap, void *block)
{
	heap_free_at(heap, block, SITE);
}

void *heap_realloc(struct heap *heap, void *block, size_t bytes)
{
	return heap_realloc_at(heap, block, bytes, SITE);
}

void heap_set_default(struct heap *heap)
{
	kernel_heap = heap;
}

void *kmalloc(size_t bytes)
{
	return heap_alloc_at(kernel_heap, bytes, SITE);
}

static void *zeroed(size_t bytes, const void *site)
{
	void *block = heap_alloc_at(kernel_heap, bytes, site);
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
	return heap_alloc_aligned_at(kernel_heap, bytes, align, SITE);
}

void kfree(void *block)
{
	heap_free_at(kernel_heap, block, SITE);
}
