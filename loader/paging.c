/* SPDX-License-Identifier: MIT */
/*
 * The page tables that the executable is entered with.
 *
 * Two roots share their upper half: paging_root, which has nothing else, and
 * paging_bridge, which keeps the loader's identity map as well, so that a CPU
 * can step from one to the other at an address that both know.
 *
 * paging_map() takes the largest entries that alignment allows; the edges of
 * what it is given are exact to 4 KiB. Asking twice for the same page is a
 * mistake of ours.
 */
#include "loader/loader.h"

#include "loader/io.h"

#define PRESENT       1ull
#define WRITE         2ull
#define BIG           0x80ull
#define PAT_SMALL     0x80ull
#define PAT_BIG       0x1000ull
#define WRITE_THROUGH 8ull
#define NO_EXECUTE    (1ull << 63)
#define ADDRESS       0x000ffffffffff000ull

uint64_t *paging_root, *paging_bridge;
static bool no_execute, giga_pages;

void paging_init(void)
{
	struct cpuid c = cpuid(0x80000001, 0);
	no_execute = c.d & (1u << 20);
	giga_pages = c.d & (1u << 26);
	paging_root = take(PAGE);
	paging_bridge = take(PAGE);
	uint64_t root;
	__asm__ volatile("mov %%cr3, %0" : "=r"(root));
	paging_bridge[0] = ((uint64_t *)(uintptr_t)(root & ADDRESS))[0];
	/* Every entry of the upper half that can be used exists from now on, in
	 * both roots, so that they cannot drift apart. */
}

static uint64_t *descend(uint64_t *table, unsigned index)
{
	if (!(table[index] & PRESENT)) {
		table[index] = (uint64_t)(uintptr_t)take(PAGE) | PRESENT | WRITE;
		if (table == paging_root)
			paging_bridge[index] = table[index];
	}
	if (table[index] & BIG)
		fail("internal: mapped twice");
	return (uint64_t *)(uintptr_t)(table[index] & ADDRESS);
}

/* Puts one entry of 4 KiB (level 1), 2 MiB (2) or 1 GiB (3). */
static void put_entry(uint64_t virt, uint64_t phys, unsigned level, unsigned flags)
{
	uint64_t *table = paging_root;
	for (unsigned l = 4; l > level; l--)
		table = descend(table, (virt >> (12 + 9 * (l - 1))) & 511);
	uint64_t entry = phys | PRESENT | (level > 1 ? BIG : 0);
	if (flags & MAP_WRITE)
		entry |= WRITE;
	if (!(flags & MAP_EXECUTE) && no_execute)
		entry |= NO_EXECUTE;
	if (flags & MAP_COMBINING) /* entry 5 of the PAT */
		entry |= WRITE_THROUGH | (level > 1 ? PAT_BIG : PAT_SMALL);
	uint64_t *at = &table[(virt >> (12 + 9 * (level - 1))) & 511];
	if (*at & PRESENT)
		fail("internal: %x mapped twice", virt);
	*at = entry;
}

void paging_map(uint64_t virt, uint64_t phys, uint64_t bytes, unsigned flags)
{
	while (bytes) {
		uint64_t aligned = virt | phys;
		uint64_t step = PAGE;
		unsigned level = 1;
		if (giga_pages && !(aligned & (HUGE - 1)) && bytes >= HUGE) {
			step = HUGE;
			level = 3;
		} else if (!(aligned & (LARGE - 1)) && bytes >= LARGE) {
			step = LARGE;
			level = 2;
		}
		put_entry(virt, phys, level, flags);
		virt += step;
		phys += step;
		bytes -= step;
	}
}
