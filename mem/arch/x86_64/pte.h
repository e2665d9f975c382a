/* SPDX-License-Identifier: MIT */
#ifndef MEM_ARCH_PTE_H
#define MEM_ARCH_PTE_H
/* The bits of x86-64 paging-structure entries. Intel SDM vol. 3, 4.5 and 4.9. */
#include <mem/types.h>

#include "base/page.h"

typedef uint64_t pte_t;

#define PTE_PRESENT  ((pte_t)1 << 0)
#define PTE_WRITE    ((pte_t)1 << 1)
#define PTE_USER     ((pte_t)1 << 2)
#define PTE_PWT      ((pte_t)1 << 3)
#define PTE_PCD      ((pte_t)1 << 4)
#define PTE_ACCESSED ((pte_t)1 << 5)
#define PTE_DIRTY    ((pte_t)1 << 6)
#define PTE_HUGE     ((pte_t)1 << 7) /* levels 2 and 3 */
#define PTE_PAT_4K   ((pte_t)1 << 7) /* level 1 */
#define PTE_GLOBAL   ((pte_t)1 << 8)
#define PTE_PAT_HUGE ((pte_t)1 << 12)
#define PTE_NX       ((pte_t)1 << 63)
#define PTE_ADDR     ((pte_t)0x000ffffffffff000)

#define PT_ENTRIES 512
#define PT_LEVELS  4

/* Bytes that one entry of a table at `level` (1 = PT .. 4 = PML4) spans. */
static inline uint64_t pt_entry_span(unsigned level)
{
	return (uint64_t)1 << (PAGE_SHIFT + 9 * (level - 1));
}

static inline unsigned pt_index(vaddr_t va, unsigned level)
{
	return (va >> (PAGE_SHIFT + 9 * (level - 1))) & (PT_ENTRIES - 1);
}

#define USER_TOP    ((vaddr_t)0x0000800000000000 - PAGE_SIZE) /* as Linux: the last page unused */
#define KERNEL_BASE ((vaddr_t)0xffff800000000000)

static inline bool vaddr_is_canonical(vaddr_t va)
{
	return (vaddr_t)((int64_t)(va << 16) >> 16) == va;
}

/* Page-fault error code. Intel SDM vol. 3, 4.7. */
#define FAULT_PRESENT  (1u << 0)
#define FAULT_WRITE    (1u << 1)
#define FAULT_USER     (1u << 2)
#define FAULT_RESERVED (1u << 3)
#define FAULT_FETCH    (1u << 4)
#define FAULT_PKEY     (1u << 5)
#endif
