/* SPDX-License-Identifier: MIT */
/*
 * Size classes: every 16 bytes up to 512, every 32 up to 1024, then eight from
 * each power of two to the next, up to 16 KiB. What rounding up costs is 2 % of
 * random sizes up to 1 KiB, 6 % beyond. Blocks need not be powers of two, as a
 * slab's index comes from a multiplication. Where blocks end in a canary (canary.h) a
 * power of two is served by the class just above it.
 *
 * Which of them serve. A class that serves few blocks costs more than it saves: it has a
 * slab, a magazine, and lines of the processor's cache. So at first only those classes do
 * that serve powers of two (*coarse* ones; here without canaries):
 *
 *     sizes    .. 256  257 .. 272  ..  288  ..     ..  496  497 .. 512
 *                         |         |       |          |         |
 *     few blocks          +---------+-------+----------+---------+-> class of 512
 *     more               272       288     304        496       512
 *
 * When a class needs a second slab, all sizes that it serves get classes of their own: they
 * open. When a reap finds that they have no slabs any more, they close. That is a change of
 * two tables: serves[], and magazine_at[], which the fast path reads in any case. Blocks do
 * not know of it, as a free goes by the page. Who reads an entry just before it changes
 * takes a block of the class that served, which is as good.
 *
 *   C1  A class is served by itself, or by the next coarse one.
 *   C2  Coarse classes always serve themselves.
 *
 * When most classes are open, each has its own peak, and what it had more then lies idle:
 * that is what borrowing is for (slab/magazine.c).
 *
 * Rejected: opening by halves, as populations justify the smaller rounding (n > 11 times
 * (size / range)^2). What was allocated before is then of the wrong class, and lies idle
 * when it is freed. And routing a whole class to the next one while blocks lie idle there:
 * the populations drift, so that more is idle, not less. The numbers are in
 * docs/decisions/adaptive-classes.md.
 */
#include "heap/internal.h"

#define ROW16(n)                                                                                   \
	(n), (n) + 1, (n) + 2, (n) + 3, (n) + 4, (n) + 5, (n) + 6, (n) + 7, (n) + 8, (n) + 9,      \
	    (n) + 10, (n) + 11, (n) + 12, (n) + 13, (n) + 14, (n) + 15
#define PAIRS8(n)                                                                                  \
	(n), (n), (n) + 1, (n) + 1, (n) + 2, (n) + 2, (n) + 3, (n) + 3, (n) + 4, (n) + 4, (n) + 5, \
	    (n) + 5, (n) + 6, (n) + 6, (n) + 7, (n) + 7

/* By (bytes + 15) / 16; nothing at all is served by the smallest class. */
const uint8_t heap_class_table[65] = {0, ROW16(0), ROW16(16), PAIRS8(32), PAIRS8(40)};

size_t heap_class_bytes(unsigned number)
{
	if (number < 32)
		return 16 * ((size_t)number + 1);
	if (number < 48)
		return 512 + 32 * ((size_t)number - 31);
	unsigned k = 10 + (number - 48) / 8;
	return ((size_t)1 << k) + (((size_t)(number - 48) % 8 + 1) << (k - 3));
}

#define NAME(n) "heap-" #n
static const char *const names[HEAP_CLASSES] = {
    NAME(16),    NAME(32),    NAME(48),    NAME(64),    NAME(80),    NAME(96),    NAME(112),
    NAME(128),   NAME(144),   NAME(160),   NAME(176),   NAME(192),   NAME(208),   NAME(224),
    NAME(240),   NAME(256),   NAME(272),   NAME(288),   NAME(304),   NAME(320),   NAME(336),
    NAME(352),   NAME(368),   NAME(384),   NAME(400),   NAME(416),   NAME(432),   NAME(448),
    NAME(464),   NAME(480),   NAME(496),   NAME(512),   NAME(544),   NAME(576),   NAME(608),
    NAME(640),   NAME(672),   NAME(704),   NAME(736),   NAME(768),   NAME(800),   NAME(832),
    NAME(864),   NAME(896),   NAME(928),   NAME(960),   NAME(992),   NAME(1024),  NAME(1152),
    NAME(1280),  NAME(1408),  NAME(1536),  NAME(1664),  NAME(1792),  NAME(1920),  NAME(2048),
    NAME(2304),  NAME(2560),  NAME(2816),  NAME(3072),  NAME(3328),  NAME(3584),  NAME(3840),
    NAME(4096),  NAME(4608),  NAME(5120),  NAME(5632),  NAME(6144),  NAME(6656),  NAME(7168),
    NAME(7680),  NAME(8192),  NAME(9216),  NAME(10240), NAME(11264), NAME(12288), NAME(13312),
    NAME(14336), NAME(15360), NAME(16384), NAME(18432)};

const char *heap_class_name(unsigned number)
{
	return names[number];
}

/* ---- which of them serve ----------------------------------------------------------- */

static size_t least_bytes(unsigned number)
{
	return number ? heap_class_bytes(number - 1) + 1 : 1;
}

unsigned heap_coarse_class(const struct heap *heap, unsigned finest)
{
	while (!heap->coarse[finest])
		finest++;
	return finest;
}

/* `to` serves the sizes of these classes from now on. Locks: heap->lock. */
static void serve(struct heap *heap, unsigned low, unsigned high, unsigned to)
{
	size_t at = heap_leaves_space(heap) ? HEAP_NO_MAGAZINE : heap_magazine_at(to);
	size_t end = mem_min(heap_class_bytes(high), HEAP_MAX_SMALL) / 16;
	for (unsigned i = low; i <= high; i++)
		atomic_write_relaxed(&heap->serves[i], (uint8_t)to);
	for (size_t i = least_bytes(low) / 16; i < end; i++)
		atomic_write_relaxed(&heap->magazine_at[i], (uint16_t)at);
}

void heap_init_classes(struct heap *heap)
{
	mem_assert(heap_magazine_at(HEAP_CLASSES) <= UINT16_MAX);
	for (size_t bytes = 8; bytes <= HEAP_MAX_SMALL; bytes *= 2)
		heap->coarse[heap_finest_class(heap, bytes)] = true;
	for (unsigned low = 0, i = 0; i < HEAP_CLASSES; i++)
		if (heap->coarse[i]) {
			serve(heap, low, i, i);
			low = i + 1;
		}
}

unsigned heap_open_classes(struct heap *heap, unsigned finest)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	unsigned number = heap->serves[finest];
	if (number != finest && atomic_read_relaxed(&heap->classes[number]->nslabs))
		for (unsigned i = number; i-- && heap->serves[i] == number;)
			serve(heap, i, i, i);
	number = heap->serves[finest];
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return number;
}

void heap_close_classes(struct heap *heap)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	uint64_t nslabs = 0;
	for (unsigned low = 0, i = 0; i < HEAP_CLASSES; i++) {
		if (!heap->coarse[i]) {
			nslabs += atomic_read_relaxed(&heap->classes[i]->nslabs);
			continue;
		}
		if (!nslabs && atomic_read_relaxed(&heap->classes[i]->nslabs) <= 1)
			serve(heap, low, i, i);
		nslabs = 0;
		low = i + 1;
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

bool heap_classes_are_valid(const struct heap *heap)
{
	for (size_t bytes = 1; bytes <= HEAP_MAX_SMALL; bytes++) {
		unsigned finest = heap_finest_class(heap, bytes), number = heap->serves[finest];
		size_t at = heap_leaves_space(heap) ? HEAP_NO_MAGAZINE : heap_magazine_at(number);
		bool is_served =
		    number == finest || (number > finest && heap->coarse[number] &&
					 heap_class_bytes(number) < 2 * bytes + bytes / 8 + 16);
		if (is_served && heap->magazine_at[(bytes - 1) / 16] == at)
			continue;
		host_log(HOST_LOG_ERROR, "heap: %lu bytes are served by class %u",
			 (unsigned long)bytes, number);
		return false;
	}
	return true;
}
