/* SPDX-License-Identifier: MIT */
/*
 * Random numbers to choose addresses with: RDSEED or RDRAND where the CPU has them.
 * Where it has neither, all there is is the time stamp counter: what has passed since
 * power came on, in cycles. Somebody who knows the machine may guess much of it; the
 * kernel's log says so.
 */
#include "loader/io.h"
#include "loader/loader.h"

enum { HAS_RDRAND = 1u << 30 /* leaf 1, ECX */, HAS_RDSEED = 1u << 18 /* leaf 7, EBX */ };

static bool rdseed(uint64_t *to)
{
	bool good = false;
	if (cpuid(0, 0).a < 7 || !(cpuid(7, 0).b & HAS_RDSEED))
		return false;
	for (unsigned i = 0; i < 100 && !good; i++) {
		__asm__ volatile("rdseed %0" : "=r"(*to), "=@ccc"(good));
		pause();
	}
	return good;
}

static bool rdrand(uint64_t *to)
{
	bool good = false;
	if (!(cpuid(1, 0).c & HAS_RDRAND))
		return false;
	for (unsigned i = 0; i < 10 && !good; i++)
		__asm__ volatile("rdrand %0" : "=r"(*to), "=@ccc"(good));
	return good;
}

/* Bijective, and each bit of the result depends on all of x (splitmix64's last step). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t random_below(uint64_t n)
{
	static uint64_t state;
	uint32_t low, high;
	uint64_t fresh = 0;
	if (!rdseed(&fresh))
		rdrand(&fresh);
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	state = mix(state + 0x9e3779b97f4a7c15ull + ((uint64_t)high << 32 | low)) ^ mix(fresh);
	return state % n;
}
