/* SPDX-License-Identifier: MIT */
/*
 * Size classes: every 16 bytes up to 512, every 32 up to 1024, then eight from
 * each power of two to the next, up to 16 KiB. What rounding up costs is 2 % of
 * random sizes up to 1 KiB, 6 % beyond. Blocks need not be powers of two, as a
 * slab's index comes from a multiplication. These classes have room for a seal
 * behind what is asked for (seal.h); powers of two from 16 on have classes of
 * their own, which they fill exactly.
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
	if (number >= HEAP_SEALED)
		return (size_t)16 << (number - HEAP_SEALED);
	if (number < 32)
		return 16 * ((size_t)number + 1);
	if (number < 48)
		return 512 + 32 * ((size_t)number - 31);
	unsigned k = 10 + (number - 48) / 8;
	return ((size_t)1 << k) + (((size_t)(number - 48) % 8 + 1) << (k - 3));
}

#define NAME(n)  "heap-" #n
#define EXACT(n) "heap-exactly-" #n
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
    NAME(14336), NAME(15360), NAME(16384), EXACT(16),   EXACT(32),   EXACT(64),   EXACT(128),
    EXACT(256),  EXACT(512),  EXACT(1024), EXACT(2048), EXACT(4096), EXACT(8192), EXACT(16384)};

const char *heap_class_name(unsigned number)
{
	return names[number];
}
