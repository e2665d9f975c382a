/* SPDX-License-Identifier: MIT */
#ifndef MEM_TYPES_H
#define MEM_TYPES_H
/*
 * Basic types, units and the status values of the component.
 *
 * Units are part of names: `npages` counts 4 KiB pages, `bytes` counts bytes. A `paddr_t`
 * is a physical byte address, a `pfn_t` a physical frame number (paddr >> 12). A `vaddr_t`
 * is a virtual byte address, a `vpn_t` a virtual page number (vaddr >> 12, without the
 * canonical sign extension).
 */
#include <mem/config.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Around public prototypes: C names in C++, and visible where the rest of the
 * component is compiled hidden. */
#ifdef __cplusplus
#define MEM_BEGIN_DECLS                                                                            \
	_Pragma("GCC visibility push(default)") extern "C"                                         \
	{
#define MEM_END_DECLS                                                                              \
	}                                                                                          \
	_Pragma("GCC visibility pop")
#else
#define MEM_BEGIN_DECLS _Pragma("GCC visibility push(default)")
#define MEM_END_DECLS   _Pragma("GCC visibility pop")
#endif

typedef uint64_t paddr_t;
typedef uint64_t vaddr_t;
typedef uint64_t pfn_t;
typedef uint64_t vpn_t;

#define MEM_PAGE_SHIFT 12
#define MEM_PAGE_SIZE  ((uint64_t)1 << MEM_PAGE_SHIFT)
#define MEM_PAGE_MASK  (MEM_PAGE_SIZE - 1)

#define MEM_HUGE_SHIFT 21 /* 2 MiB: one block of 512 frames */
#define MEM_HUGE_SIZE  ((uint64_t)1 << MEM_HUGE_SHIFT)
#define MEM_GIGA_SHIFT 30 /* 1 GiB */
#define MEM_GIGA_SIZE  ((uint64_t)1 << MEM_GIGA_SHIFT)

/* No such address. Physical address 0 is a valid frame, so 0 cannot say it. */
#define PADDR_NONE ((paddr_t)-1)
#define PFN_NONE   ((pfn_t)-1)

#define MEM_CHECKED  __attribute__((warn_unused_result))
#define MEM_NORETURN __attribute__((noreturn))

/*
 * What an operation came to. Anything but MEM_OK means: nothing observable
 * has changed, unless the contract of the function says otherwise.
 */
enum mem_status {
	MEM_OK = 0,
	MEM_ENOMEM,  /* no frame, no heap, or a limit on memory was reached */
	MEM_EINVAL,  /* arguments that can never be right: alignment, zero length, wrap */
	MEM_EFAULT,  /* (a part of) the range is not mapped */
	MEM_EACCES,  /* it is mapped, and the mapping forbids the access */
	MEM_EEXIST,  /* the range is taken and may not be replaced */
	MEM_ENOENT,  /* nothing there */
	MEM_EBUSY,   /* in use, pinned or locked */
	MEM_EAGAIN,  /* a locked-memory limit; or try again after waiting */
	MEM_EIO,     /* the host could not read or write a page of an object */
	MEM_EBEYOND, /* beyond the end of the object (SIGBUS) */
	MEM_EPERM,   /* against a limit that privilege would lift */
	MEM_STATUS_COUNT
};
typedef enum mem_status mem_status;

/* The name of a status ("ENOMEM"), for logs and test output. Any context. */
MEM_BEGIN_DECLS
const char *mem_status_name(mem_status status);
MEM_END_DECLS

static inline pfn_t paddr_to_pfn(paddr_t pa)
{
	return pa >> MEM_PAGE_SHIFT;
}

static inline paddr_t pfn_to_paddr(pfn_t pfn)
{
	return pfn << MEM_PAGE_SHIFT;
}

/*
 * The direct map: physical address pa is readable at mem_direct_map_base + pa
 * for every pa that the memory map lists as RAM. Set once by the host before
 * any other call; constant afterwards. Hosted, it is the arena's base.
 */
MEM_BEGIN_DECLS
extern uintptr_t mem_direct_map_base;
/* The end of that, if the loader's direct map stops short of it: physical addresses below
 * are reachable. No frame beyond is handed out, or used for metadata. UINT64_MAX (the
 * default): all RAM is reachable. The host may lower it before its first call. It rises
 * when the tables change: vmm_cpu_online sets it to UINT64_MAX, a host that extends its
 * own tables sets it itself. Frames beyond are counted as free meanwhile. */
extern uint64_t mem_direct_map_end;
MEM_END_DECLS

static inline void *paddr_to_ptr(paddr_t pa)
{
	return (void *)(mem_direct_map_base + pa);
}

static inline paddr_t ptr_to_paddr(const void *p)
{
	return (paddr_t)((uintptr_t)p - mem_direct_map_base);
}

#endif
