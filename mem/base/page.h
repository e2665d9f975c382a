/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_PAGE_H
#define MEM_BASE_PAGE_H
/* The sizes of <mem/types.h> by their short names, for the inside of the component: public
 * headers do without, because a kernel that includes them has a PAGE_SIZE of its own. */
#include <mem/types.h>

#define PAGE_SHIFT MEM_PAGE_SHIFT
#define PAGE_SIZE  MEM_PAGE_SIZE
#define PAGE_MASK  MEM_PAGE_MASK

#define HUGE_SHIFT MEM_HUGE_SHIFT
#define HUGE_SIZE  MEM_HUGE_SIZE
#define GIGA_SHIFT MEM_GIGA_SHIFT
#define GIGA_SIZE  MEM_GIGA_SIZE
#endif
