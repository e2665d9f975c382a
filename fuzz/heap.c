/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as calls of the heap on four CPUs, threads and handlers, over pages that
 * run out at times. What a block holds is known from where it stands in the list of
 * live ones; every so often, and at the end, the validator; at the end nothing is left.
 */
#include "tests/test.h"
#include "tests/unit/pages.h"

#include "tests/machine/plain.h"

#include <mem/heap.h>
#include <mem/host.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"

#define LIVE  400
#define CALLS 1200
#define LIMIT 3000 /* pages that there are */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "%s:%d: ", file, line);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	abort();
}

static struct heap *heap;
static struct test_pages pages;
static struct {
	uint8_t *at;
	size_t bytes;
	uint8_t stamp;
} live[LIVE];
static unsigned count;

/* All of a small block, and of a large one its ends. */
static void each_byte(unsigned k, void (*visit)(uint8_t *byte, uint8_t stamp))
{
	size_t bytes = live[k].bytes;
	for (size_t i = 0; i < bytes; i += i == 63 && bytes > 256 ? bytes - 128 : 1)
		visit(&live[k].at[i], (uint8_t)(live[k].stamp + i));
}

static void write_stamp(uint8_t *byte, uint8_t stamp)
{
	*byte = stamp;
}

static void check_stamp(uint8_t *byte, uint8_t stamp)
{
	if (*byte != stamp)
		host_panic("a block has changed at %p", (void *)byte);
}

/* Another CPU, or a handler on it, from now on. */
static void become(uint8_t b)
{
	plain_set_cpu(b & 3);
	plain_set_interrupt((b & 12) == 12);
}

static void keep(void *block, size_t bytes, size_t align)
{
	if (!block)
		return;
	if ((uintptr_t)block & (align - 1))
		host_panic("%p is not aligned to %lu", block, (unsigned long)align);
	if (heap_usable(heap, block) < bytes)
		host_panic("%p has less than %lu bytes", block, (unsigned long)bytes);
	live[count].at = block;
	live[count].bytes = bytes;
	live[count].stamp = (uint8_t)(count * 7 + bytes);
	each_byte(count++, write_stamp);
}

static void give(unsigned k)
{
	each_byte(k, check_stamp);
	heap_free(heap, live[k].at);
	live[k] = live[--count];
	if (k < count) /* stamps say how it was written: nothing to change */
		each_byte(k, check_stamp);
}

static void resize(unsigned k, size_t bytes)
{
	size_t old = live[k].bytes;
	each_byte(k, check_stamp);
	uint8_t *at = heap_realloc(heap, live[k].at, bytes);
	if (!at) {
		if (bytes)
			each_byte(k, check_stamp); /* it was left alone */
		else
			live[k] = live[--count];
		return;
	}
	for (size_t i = 0; i < mem_min(old, bytes) && i < 64; i++)
		check_stamp(&at[i], (uint8_t)(live[k].stamp + i));
	live[k].at = at;
	live[k].bytes = bytes;
	each_byte(k, write_stamp);
}

/* Sizes of every kind are said by two bytes. */
static size_t size_of(const uint8_t *b)
{
	size_t n = b[0] | (size_t)(b[1] & 15) << 8;
	switch (b[1] >> 4) {
	case 0:
		return n * 64; /* to 256 KiB */
	case 1:
		return (size_t)1 << (n % 20);
	case 2:
		return ((size_t)1 << (n % 20)) - 1;
	case 3:
		return ((size_t)1 << (n % 20)) + 1;
	case 4:
		return n > 4000 ? SIZE_MAX - n : n * 8; /* what cannot be had, too */
	default:
		return n % 1100;
	}
}

/* One call, said by four bytes. */
static void call(const uint8_t *b)
{
	become(b[0] >> 4);
	size_t bytes = size_of(b + 1), align;
	switch (b[0] & 15) {
	case 0:
		plain_set_interrupt(false);
		(void)heap_reap(heap, b[3] & 1);
		break;
	case 1:
		pages.fail_at = b[3] & 1 ? pages.calls + 1 + (b[3] >> 1) % 8 : 0;
		break;
	case 2:
		pages.refuse_atomic = b[3] & 1;
		pages.refuse_drop = b[3] & 2;
		break;
	case 3:
		align = (size_t)1 << (b[3] % 22);
		if (count < LIVE)
			keep(heap_alloc_aligned(heap, bytes, align), bytes, align);
		break;
	case 4:
		if (count)
			resize(b[3] % count, bytes);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		for (unsigned n = 1 + (b[3] & 31); n && count < LIVE; n--)
			keep(heap_alloc(heap, bytes), bytes, 16);
		break;
	default:
		for (unsigned n = 1 + (b[3] & 31); n && count; n--)
			give((b[1] * 3u + n * (b[2] | 1u)) % count);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static bool ready;
	if (!ready)
		plain_init(1 << 20, 4);
	ready = true;
	become(0);
	test_pages_init(&pages);
	test_pages_start_over();
	pages.limit = LIMIT;
	enum heap_profile profile = bytes && data[0] & 1 ? HEAP_HARDENED : HEAP_FAST;
	if (heap_create_as(&heap, &pages.area, profile) != MEM_OK)
		host_panic("no heap");
	for (size_t i = 1; i + 4 <= bytes && i < 4 * CALLS; i += 4) {
		call(data + i);
		if (i % 256 == 253 && !heap_is_valid(heap))
			host_panic("not valid");
	}
	while (count)
		give(count - 1);
	become(0);
	if (!heap_is_valid(heap))
		host_panic("not valid at the end");
	pages.refuse_drop = false;
	(void)heap_reap(heap, true);
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	if (stats.live_blocks || stats.live_bytes || stats.allocs != stats.frees)
		host_panic("%lu blocks are left", (unsigned long)stats.live_blocks);
	heap_destroy(heap);
	if (pages.held_npages)
		host_panic("%lu pages were not given back", (unsigned long)pages.held_npages);
	return 0;
}
