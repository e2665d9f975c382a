/* SPDX-License-Identifier: MIT */
#ifndef MEM_PT_H
#define MEM_PT_H
/*
 * The raw layer: page tables and nothing else, under a kernel area or any root
 * that the host made itself. Needs a pmm and nothing else. Several CPUs may map
 * different ranges at once; who maps a range is the caller's to order.
 */
#include <mem/pmm.h>
#include <mem/types.h>

MEM_BEGIN_DECLS

/* Map [va, va + bytes) to [pa, pa + bytes) below the table at `root`, with 2 MiB
 * entries where both addresses allow. `entry_bits`: the bits of a 4 KiB entry
 * (Intel SDM vol. 3, 4.5); PTE_PRESENT is added.
 * Context: any; tables come from the pmm. Locks: none needed.
 * Errors: MEM_EINVAL unaligned, empty, wrapping or not canonical; MEM_EEXIST a
 * page is mapped already; MEM_ENOMEM no frame for a table. Nothing is mapped
 * then; tables that were made stay. */
MEM_CHECKED mem_status pt_map(struct pmm *pmm, paddr_t root, vaddr_t va, paddr_t pa, uint64_t bytes,
			      uint64_t entry_bits);

/* Clear the entries of [va, va + bytes), which must have been mapped; holes are
 * fine, the middle of a huge entry is not. Tables stay. No flush: the caller's
 * (vmm_flush_kernel, or invlpg before there are other CPUs). Context: any. */
void pt_unmap(struct pmm *pmm, paddr_t root, vaddr_t va, uint64_t bytes);

/* Where va leads: false if it is not present. *level: 1, 2 or 3 (4 KiB, 2 MiB,
 * 1 GiB). Any out pointer may be NULL. Context: any. */
bool pt_translate(paddr_t root, vaddr_t va, paddr_t *pa, uint64_t *entry, unsigned *level);

MEM_END_DECLS
#endif
