/* SPDX-License-Identifier: MIT */
#ifndef MEM_HEAP_CANARY_H
#define MEM_HEAP_CANARY_H
/*
 * Canaries: how a write behind the end of a small block is found in release builds.
 *
 *     | bytes asked for | guard, up to 4 bytes | ... | length |
 *     |<------------------- size of the class ---------------->|
 *
 * A block is smaller than its class, and ends in the length of what is left over: one byte,
 * or two in classes above 240 bytes. That is mixed with a number that only the heap knows,
 * and that differs from block to block. Right behind the bytes asked for stand up to four
 * more bytes of that number. Both are checked when the block is freed, resized or asked for
 * its size. The class is chosen so that there is space, for powers of two as for any other
 * size. (Debug builds have red zones instead.)
 */
#include "heap/internal.h"

#define CANARY_SHORT 240u /* classes up to here: one byte of length */

static inline unsigned heap_canary_tail(size_t class_bytes)
{
	return class_bytes <= CANARY_SHORT ? 1 : 2;
}

static inline uint32_t heap_canary_key(const struct heap *heap, const void *block)
{
	return (uint32_t)((((uintptr_t)block ^ heap->secret) * 0x9e3779b97f4a7c15) >> 32);
}

static inline void heap_canary_set(const struct heap *heap, void *block, size_t class_bytes,
				   size_t bytes)
{
	uint32_t key = heap_canary_key(heap, block);
	uint8_t *at = (uint8_t *)block + bytes, *end = (uint8_t *)block + class_bytes;
	size_t left = class_bytes - bytes;
	uint16_t length = (uint16_t)(left ^ key);
	if (class_bytes <= CANARY_SHORT) {
		*--end = (uint8_t)length;
	} else {
		end -= 2;
		__builtin_memcpy(end, &length, 2);
	}
	if (likely(end - at >= 4)) {
		__builtin_memcpy(at, &key, 4);
		return;
	}
	for (; at < end; at++, key >>= 8)
		*at = (uint8_t)key;
}

/* The bytes that were asked for; false: the canary is broken. */
static inline bool heap_canary_read(const struct heap *heap, const void *block, size_t class_bytes,
				    size_t *bytes)
{
	uint32_t key = heap_canary_key(heap, block);
	const uint8_t *end = (const uint8_t *)block + class_bytes;
	uint16_t left;
	if (class_bytes <= CANARY_SHORT) {
		left = (uint8_t)(*--end ^ key);
	} else {
		end -= 2;
		__builtin_memcpy(&left, end, 2);
		left ^= (uint16_t)key;
	}
	if (unlikely(left > class_bytes || left < heap_canary_tail(class_bytes)))
		return false;
	*bytes = class_bytes - left;
	const uint8_t *at = (const uint8_t *)block + *bytes;
	if (likely(end - at >= 4)) {
		uint32_t guard;
		__builtin_memcpy(&guard, at, 4);
		return guard == key;
	}
	for (; at < end; at++, key >>= 8)
		if (*at != (uint8_t)key)
			return false;
	return true;
}

/* The same; a broken canary ends the machine. */
static inline size_t heap_canary_check(const struct heap *heap, const void *block,
				       size_t class_bytes)
{
	size_t bytes;
	if (unlikely(!heap_canary_read(heap, block, class_bytes, &bytes)))
		heap_canary_bad(block, class_bytes);
	return bytes;
}

#endif
