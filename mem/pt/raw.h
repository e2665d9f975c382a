/* SPDX-License-Identifier: MIT */
#ifndef MEM_PT_RAW_H
#define MEM_PT_RAW_H
/* Page tables without promises: what kernel areas and the direct map use; see
 * raw.c. The public calls are in mem/pt.h. */
#include <mem/pmm.h>

#include "arch/x86_64/pte.h"

/* A root and how to extend it. */
struct pt_root {
	struct pmm *pmm;
	paddr_t root;
	unsigned max_level; /* largest leaf: 1 4 KiB, 2 2 MiB, 3 1 GiB */
	unsigned pmm_flags; /* added to table allocations: PMM_WAIT */
	uint64_t *tables;   /* counts tables made, or NULL */
};

/* As pt_map. Several CPUs may map different ranges at once. */
mem_status pt_map_range(const struct pt_root *root, vaddr_t va, paddr_t pa, uint64_t bytes,
			pte_t bits);

/* Free every table under `root`, which nobody uses, and `root` itself; not what they
 * map. */
void pt_destroy(struct pmm *pmm, paddr_t root);

/* The entry that decides about va: a leaf, or the first entry on the way that is
 * not present; *level is its level. */
pte_t *pt_entry(paddr_t root, vaddr_t va, unsigned *level);

/* The entry for va at exactly `level`, made if missing; NULL: no memory, or a
 * larger leaf is in the way. */
pte_t *pt_make_entry(const struct pt_root *root, vaddr_t va, unsigned level);

/* Set a table aside for the span of one level-2 table at va, which nothing maps yet:
 * its page is taken, but not filled. Errors: MEM_ENOMEM. */
mem_status pt_reserve(const struct pt_root *root, vaddr_t va);

/* Fill the table that pt_reserve set aside for the span that holds va with 2 MiB
 * leaves from pa on, and put it in place; nothing if there is none or it is done.
 * The caller's lock keeps others from the same span. Any context. */
void pt_fill_reserved(paddr_t root, vaddr_t va, paddr_t pa, pte_t bits);

/* Replace the 2 MiB leaf *entry by a table, in the page at `table`, with the same pages
 * but the one at `table`, if that is among them. Where a CPU has the leaf cached nothing
 * changes until it is flushed. Nobody else changes the entry. Any context. */
void pt_split(pte_t *entry, paddr_t table);

/* 4 KiB-format cache and protection bits as a leaf at `level` has them. */
pte_t pt_leaf_bits(pte_t bits, unsigned level);
#endif
