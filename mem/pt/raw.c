/* SPDX-License-Identifier: MIT */
/*
 * The raw layer: entries in the tables under any root, no promises.
 *
 * Kernel tables are filled by CPUs that own different address ranges but share tables.
 * There is no lock: a missing table is made by compare-and-exchange of its entry, and the
 * CPU that loses that race gives its page back. A table is taken out again only by who owns
 * all addresses below it (vm/area_trim.c).
 *
 * Entry bits are given in the 4 KiB form; in a 2 MiB or 1 GiB leaf bit 7 says
 * "leaf", so the PAT bit moves from 7 to 12.
 *
 * Tables set aside. Without 1 GiB leaves the direct map of a terabyte is half a
 * million entries; writing them all would be most of the time it takes to boot. For
 * a gibibyte that holds nothing but untouched RAM a table is set aside: the level-3
 * entry holds the table's address and is not present. It becomes present, filled,
 * before the first frame of that gibibyte is handed out; an entry that was not
 * present is cached nowhere, so there is nothing to flush.
 */
#include "pt/raw.h"

#include <mem/pt.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/util.h"

static pte_t *entries_at(pte_t entry)
{
	return paddr_to_ptr(entry & PTE_ADDR);
}

static bool is_leaf(pte_t entry, unsigned level)
{
	return level == 1 || (entry & PTE_HUGE);
}

static pte_t leaf_address(pte_t entry, unsigned level)
{
	return entry & PTE_ADDR & ~(pt_entry_span(level) - 1);
}

pte_t pt_leaf_bits(pte_t bits, unsigned level)
{
	if (level == 1)
		return bits;
	pte_t pat = (bits & PTE_PAT_4K) ? PTE_PAT_HUGE : 0;
	return (bits & ~PTE_PAT_4K) | pat | PTE_HUGE;
}

pte_t *pt_entry(paddr_t root, vaddr_t va, unsigned *level)
{
	pte_t *entries = paddr_to_ptr(root);
	for (*level = PT_LEVELS;; --*level) {
		pte_t *entry = &entries[pt_index(va, *level)];
		pte_t value = atomic_read_acquire(entry);
		if (!(value & PTE_PRESENT) || is_leaf(value, *level))
			return entry;
		entries = entries_at(value);
	}
}

/* The table that *entry refers to, made if it is missing. */
static pte_t *make_table(const struct pt_root *root, pte_t *entry, bool user)
{
	pte_t value = atomic_read_acquire(entry);
	if (value & PTE_PRESENT)
		return entries_at(value);
	mem_assert(!value); /* not one set aside either */
	paddr_t page = pmm_alloc(root->pmm, 0, PMM_ZERO | PMM_KERNEL | root->pmm_flags);
	if (page == PADDR_NONE)
		return NULL;
	pte_t expected = 0;
	if (!atomic_cas(entry, &expected,
			page | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | (user ? PTE_USER : 0))) {
		pmm_free(root->pmm, page, 0);
		return entries_at(expected);
	}
	if (root->tables)
		atomic_count(root->tables, 1);
	return paddr_to_ptr(page);
}

pte_t *pt_make_entry(const struct pt_root *root, vaddr_t va, unsigned level)
{
	pte_t *entries = paddr_to_ptr(root->root);
	for (unsigned at = PT_LEVELS; at > level; at--) {
		pte_t *entry = &entries[pt_index(va, at)];
		pte_t value = atomic_read_acquire(entry);
		if (value && (at < PT_LEVELS) && (value & PTE_HUGE))
			return NULL;
		entries = make_table(root, entry, va < KERNEL_BASE);
		if (!entries)
			return NULL;
	}
	return &entries[pt_index(va, level)];
}

static bool fits(vaddr_t va, paddr_t pa, uint64_t bytes, unsigned level)
{
	uint64_t span = pt_entry_span(level);
	return !((va | pa) & (span - 1)) && bytes >= span;
}

/* The entry to map the beginning of the range with, and its level. */
static pte_t *entry_for(const struct pt_root *root, vaddr_t va, paddr_t pa, uint64_t bytes,
			unsigned *level)
{
	for (*level = root->max_level; *level > 1; --*level) {
		if (!fits(va, pa, bytes, *level))
			continue;
		pte_t *entry = pt_make_entry(root, va, *level);
		if (!entry)
			return NULL;
		/* A table there already (a smaller mapping came before) is kept. */
		pte_t value = atomic_read_acquire(entry);
		if (!(value & PTE_PRESENT) || (value & PTE_HUGE))
			return entry;
	}
	return pt_make_entry(root, va, 1);
}

static void unmap(paddr_t root, vaddr_t va, uint64_t bytes)
{
	while (bytes) {
		unsigned level;
		pte_t *entry = pt_entry(root, va, &level);
		uint64_t span = pt_entry_span(level), step = span - (va & (span - 1));
		if (atomic_read_relaxed(entry)) {
			/* Part of a large leaf cannot go. */
			if ((va & (span - 1)) || bytes < span)
				host_panic("pt_unmap: a large entry at 0x%llx goes as a whole only",
					   (unsigned long long)align_down(va, span));
			atomic_write_seq(entry, (pte_t)0);
		}
		step = mem_min(step, bytes);
		va += step;
		bytes -= step;
	}
}

/* Fill entries from `entry` to the end of its table, as long as they are empty and
 * the range lasts: a larger leaf could only begin where the table ends. Returns the
 * bytes mapped. The addresses are the caller's alone, and a terabyte of direct map
 * is half a million of these: plain stores. */
static uint64_t fill(pte_t *entry, unsigned level, paddr_t pa, uint64_t bytes, pte_t bits)
{
	const uint64_t span = pt_entry_span(level);
	uint64_t left = PT_ENTRIES - ((uintptr_t)entry & PAGE_MASK) / sizeof(pte_t);
	uint64_t count = mem_min(bytes / span, left), empty;
	pte_t leaf = pa | pt_leaf_bits(bits, level);
#pragma GCC unroll 8
	for (empty = 0; empty < count; empty++)
		if (atomic_read_relaxed(&entry[empty]))
			break;
#pragma GCC unroll 8
	for (uint64_t i = 0; i < empty; i++, leaf += span)
		atomic_write_relaxed(&entry[i], leaf);
	return empty * span;
}

mem_status pt_map_range(const struct pt_root *root, vaddr_t va, paddr_t pa, uint64_t bytes,
			pte_t bits)
{
	uint64_t last, done = 0;
	if (!bytes || ((va | pa | bytes) & PAGE_MASK) ||
	    __builtin_add_overflow(va, bytes - 1, &last) || !vaddr_is_canonical(va) ||
	    !vaddr_is_canonical(last) || (va ^ last) >> 63 || (pa & ~PTE_ADDR) ||
	    pa + bytes - 1 > (PTE_ADDR | PAGE_MASK))
		return MEM_EINVAL;
	while (done < bytes) {
		unsigned level;
		pte_t *entry = entry_for(root, va + done, pa + done, bytes - done, &level);
		uint64_t filled = entry ? fill(entry, level, pa + done, bytes - done, bits) : 0;
		if (!filled) {
			/* In the way may also be a larger leaf, above where an entry would be. */
			entry = pt_entry(root->root, va + done, &level);
			bool taken = atomic_read_relaxed(entry) != 0;
			unmap(root->root, va, done);
			return taken ? MEM_EEXIST : MEM_ENOMEM;
		}
		done += filled;
	}
	return MEM_OK;
}

mem_status pt_reserve(const struct pt_root *root, vaddr_t va)
{
	pte_t *entry = pt_make_entry(root, va, 3);
	paddr_t table = entry ? pmm_alloc(root->pmm, 0, PMM_KERNEL | root->pmm_flags) : PADDR_NONE;
	if (table == PADDR_NONE)
		return MEM_ENOMEM;
	mem_assert(!*entry);
	atomic_write_relaxed(entry, (pte_t)table);
	if (root->tables)
		atomic_count(root->tables, 1);
	return MEM_OK;
}

void pt_fill_reserved(paddr_t root, vaddr_t va, paddr_t pa, pte_t bits)
{
	unsigned level;
	pte_t *entry = pt_entry(root, va, &level), table = atomic_read_relaxed(entry);
	if (level != 3 || !table || (table & PTE_PRESENT))
		return;
	pte_t *entries = entries_at(table), leaf = pa | pt_leaf_bits(bits, 2);
	for (unsigned i = 0; i < PT_ENTRIES; i++, leaf += pt_entry_span(2))
		entries[i] = leaf;
	atomic_write_release(entry, table | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED);
}

void pt_split(pte_t *entry, paddr_t table)
{
	pte_t leaf = atomic_read_relaxed(entry), *entries = paddr_to_ptr(table);
	mem_assert((leaf & PTE_PRESENT) && (leaf & PTE_HUGE));
	paddr_t pa = leaf_address(leaf, 2);
	pte_t pat = (leaf & PTE_PAT_HUGE) ? PTE_PAT_4K : 0;
	pte_t bits = (leaf & ~(PTE_ADDR | PTE_HUGE)) | pat;
	for (unsigned i = 0; i < PT_ENTRIES; i++, pa += PAGE_SIZE)
		entries[i] = pa == table ? 0 : pa | bits;
	atomic_write_release(entry, table | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED);
}

mem_status pt_map(struct pmm *pmm, paddr_t root, vaddr_t va, paddr_t pa, uint64_t bytes,
		  uint64_t entry_bits)
{
	struct pt_root r = {.pmm = pmm, .root = root, .max_level = 2};
	return pt_map_range(&r, va, pa, bytes, entry_bits | PTE_PRESENT);
}

void pt_unmap(struct pmm *pmm, paddr_t root, vaddr_t va, uint64_t bytes)
{
	(void)pmm; /* tables stay */
	mem_contract(!((va | bytes) & PAGE_MASK), "the range is no whole pages");
	unmap(root, va, bytes);
}

static void destroy(struct pmm *pmm, paddr_t table, unsigned level)
{
	const pte_t *entries = paddr_to_ptr(table);
	for (unsigned i = 0; level > 1 && i < PT_ENTRIES; i++) {
		pte_t entry = atomic_read_relaxed(&entries[i]);
		if ((entry & PTE_PRESENT) && !is_leaf(entry, level))
			destroy(pmm, entry & PTE_ADDR, level - 1);
		else if (entry && level == 3 && !(entry & PTE_PRESENT))
			pmm_free(pmm, entry, 0); /* set aside */
	}
	pmm_free(pmm, table, 0);
}

void pt_destroy(struct pmm *pmm, paddr_t root)
{
	destroy(pmm, root, PT_LEVELS);
}

bool pt_translate(paddr_t root, vaddr_t va, paddr_t *pa, uint64_t *entry, unsigned *level)
{
	unsigned at;
	if (!vaddr_is_canonical(va))
		return false;
	pte_t value = atomic_read_acquire(pt_entry(root, va, &at));
	if (entry)
		*entry = value;
	if (level)
		*level = at;
	if (!(value & PTE_PRESENT))
		return false;
	if (pa)
		*pa = leaf_address(value, at) | (va & (pt_entry_span(at) - 1));
	return true;
}
