/* SPDX-License-Identifier: MIT */
#ifndef MEM_PORT_BYTES_H
#define MEM_PORT_BYTES_H
/* Little-endian numbers at any address. */
#include <mem/types.h>

static inline uint32_t read32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t read64(const uint8_t *p)
{
	return read32(p) | (uint64_t)read32(p + 4) << 32;
}
#endif
