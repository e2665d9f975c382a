/* SPDX-License-Identifier: MIT */
#ifndef MEM_VMM_H
#define MEM_VMM_H
/*
 * Virtual memory: kernel mappings, user address spaces, page faults, and the
 * flushing of translations.
 *
 * One structure describes a space: its page tables. Every table page has a descriptor,
 * which also says what pages that are not present yet will be. It does so in *runs*: a run
 * is a stretch of pages with the same *promise* (protection, sharing, what is mapped).
 * Terms that are this project's own are in mem/docs/GLOSSARY.md.
 *
 * How to read the contracts. Sizes are bytes unless a name says npages; a range is
 * [va, va + bytes). Contexts:
 *
 *     thread      interrupts and preemption on, no spin lock held; the call may sleep, and
 *                 waits for other CPUs unless it says that it does not
 *     any         interrupt handlers included; neither sleeps nor waits
 *     scheduler   interrupts off; neither sleeps nor waits
 *
 * Waiting means needing another CPU to take an interrupt, or to finish work of its own; a
 * bounded spin lock is not waiting (mem/pmm.h). Most calls here wait because translations
 * are flushed, or because a lock of page tables is held across somebody's flush. A call
 * from a wrong context panics where that can be seen: "vmm_unmap: needs interrupts on;
 * called from ...".
 *
 * Locks: none has to be held for any call, and spaces and objects may be used by
 * several CPUs at once; what one call may take is in base/rank.h. Where nothing else
 * is said, a call that fails has changed nothing that can be observed. A call that takes
 * a space or an object needs the caller's reference on it.
 */
#include <mem/cpumask.h>
#include <mem/heap.h>
#include <mem/memmap.h>
#include <mem/object.h>
#include <mem/pmm.h>
#include <mem/pt.h>
#include <mem/types.h>

MEM_BEGIN_DECLS

struct vmm;
struct space;

/* ---- set-up ------------------------------------------------------------ */

enum vm_prot { VM_NONE = 0, VM_READ = 1, VM_WRITE = 2, VM_EXEC = 4 };

enum vm_cache { VM_WB, VM_WT, VM_UC_MINUS, VM_UC, VM_WP, VM_WC };

struct vmm_config {
	struct pmm *pmm;
	const struct memmap *map; /* which RAM the direct map covers */
	/* The kernel image: segments to map, page-aligned, not overlapping. */
	const struct vmm_segment {
		vaddr_t va;
		paddr_t pa;
		uint64_t npages;
		unsigned prot; /* VM_READ | VM_WRITE | VM_EXEC, never both W and X */
	} * segments;
	size_t segment_count;
	/* Devices that the host has reached through the loader's direct map and wants to find
	 * at the same addresses (mem_direct_map_base + pa) afterwards: a local APIC, a
	 * framebuffer. Others are mapped with vmm_map_device. Whole pages around what is named
	 * are mapped, writable. They may overlap neither RAM nor each other. */
	const struct vmm_device {
		paddr_t pa;
		uint64_t bytes;
		enum vm_cache cache;
	} * devices;
	size_t device_count;
	bool has_giga_pages;          /* CPUID.80000001H:EDX[26] */
	bool has_nx;                  /* EFER.NXE is set on every CPU */
	uint64_t commit_limit_npages; /* 0: what the pmm has */
	/* Chooses where heap, kernel stacks and devices begin in their 512 GiB each: random
	 * bits, or 0 for the lowest addresses. Any value will do. */
	uint64_t area_seed;
};

/*
 * How a CPU has to be set up before it calls vmm_init or vmm_cpu_online:
 *
 *     4-level paging, CR0.WP, CR4.PGE, EFER.NXE if has_nx
 *     MSR 0x277 (PAT) = 0x0007010500070406: WB WT UC- UC WP WC
 *
 * Where it is not, vmm_init returns MEM_EINVAL and vmm_cpu_online panics. Both say what is
 * missing.
 */

/* Build the kernel's page tables: direct map of all RAM, segments, devices, kernel areas.
 * The direct map is writable and not executable, and read-only where it aliases a segment
 * without VM_WRITE. Every entry of the root's upper half that will ever be used is filled
 * (I8). Does not load them. Context: initialisation, one CPU.
 * Errors: MEM_ENOMEM; MEM_EINVAL the machine or the configuration does not allow it
 * (host_log says why). Does not wait. */
MEM_CHECKED mem_status vmm_init(struct vmm **out, const struct vmm_config *config);

/* Load the kernel root on this CPU and say that this CPU takes part in flushes. From the
 * first such call on all RAM is reachable (mem_direct_map_end). What the CPU stands on
 * (code, stack, GDT, IDT) has to be in the new tables: in a segment, in RAM through the
 * direct map, or in a kernel area. Context: each CPU once, interrupts off. A CPU other than
 * the one of vmm_init makes no call of mem/ before. */
void vmm_cpu_online(struct vmm *vmm);

/* Physical address of the kernel root table (what CR3 holds in no space); constant.
 * Context: any. */
paddr_t vmm_kernel_root(const struct vmm *vmm);
/* The frame allocator of vmm_config. Context: any. */
struct pmm *vmm_pmm(const struct vmm *vmm);

/* ---- kernel mappings --------------------------------------------------- */

/* Map [pa, pa + bytes) at a new kernel address: 2 MiB and 1 GiB entries where
 * alignment allows. `pa` need not be aligned; the result has the same offset.
 * Context: thread; waits only when memory is short. Errors: MEM_EINVAL, MEM_ENOMEM. */
MEM_CHECKED mem_status vmm_map_device(struct vmm *vmm, paddr_t pa, uint64_t bytes,
				      enum vm_prot prot, enum vm_cache cache, void **out);
/* Unmap what vmm_map_device returned, with the same `bytes`, and wait until every CPU
 * has forgotten it. Anything else is the caller's mistake: host_panic. Context: thread;
 * waits for every CPU. */
void vmm_unmap_device(struct vmm *vmm, void *va, uint64_t bytes);

/* Contiguous memory for a device, zeroed: `bytes` (rounded up to pages) of frames that
 * end at or below physical address `below` (PADDR_NONE: anywhere), mapped readable and
 * writable with `cache`; *va and *pa are where. Context: thread; waits. Errors:
 * MEM_EINVAL, MEM_ENOMEM. */
MEM_CHECKED mem_status vmm_alloc_dma(struct vmm *vmm, uint64_t bytes, paddr_t below,
				     enum vm_cache cache, void **va, paddr_t *pa);
/* Give back what vmm_alloc_dma returned, with the same `bytes`; its frames are free
 * when every CPU has forgotten them. The device must not use it any more. Context:
 * thread; waits for every CPU. */
void vmm_free_dma(struct vmm *vmm, void *va, uint64_t bytes);

/* A kernel stack of npages with an unmapped guard page on either side; *out is
 * its lowest byte. What is in it is undefined. Context: thread, or interrupts off outside
 * of handlers: then it does not wait, and takes only memory that needs no waiting. Errors:
 * MEM_ENOMEM. */
MEM_CHECKED mem_status vmm_alloc_stack(struct vmm *vmm, uint64_t npages, void **out);
/* Give back what vmm_alloc_stack returned, with the same npages. It may stay mapped for
 * the next one; its frames go at the latest with vmm_drain. Context: as vmm_alloc_stack,
 * but not from the stack itself; with interrupts off it does not wait. */
void vmm_free_stack(struct vmm *vmm, void *stack, uint64_t npages);

/* If va lies in the guard page of a kernel stack or of a large heap block, the
 * name of what it guards ("kernel stack", "heap block"), else NULL. Any context. */
const char *vmm_guard_name(const struct vmm *vmm, vaddr_t va);

/* The heap's virtual area, for heap_create: one heap may live in it. Its functions say
 * in mem/heap.h from where they may be called. Context: initialisation. */
struct heap_area *vmm_heap_area(struct vmm *vmm);

/* ---- flushing ----------------------------------------------------------- */

/* Do what other CPUs asked of this one. The host calls it on every CPU that
 * host_flush_wait names, from the interrupt it sends. Context: interrupts off; does not
 * wait, and takes no lock. */
void vmm_flush_pending(void);

/* Make every CPU forget the kernel range [va, va + bytes) and wait until all have: for
 * a host that changes its own kernel mappings. Context: interrupts on; preemption may be
 * off, and locks may be held that nobody takes with interrupts off. Waits for every CPU. */
void vmm_flush_kernel(struct vmm *vmm, vaddr_t va, uint64_t bytes);

/* ---- spaces ------------------------------------------------------------- */

/* A new, empty user space with one reference. Errors: MEM_ENOMEM. Context: thread. */
MEM_CHECKED mem_status vmm_space_create(struct vmm *vmm, struct space **out);
/* One reference more; the caller has one already. Context: any. */
void vmm_space_get(struct space *space);
/* Drop a reference; the last one unmaps everything and frees the space. No CPU
 * may still run user code in it (lazily loaded is fine). Context: thread; waits only if it
 * is the last. */
void vmm_space_put(struct space *space);

/* Copy the space for fork: *child is a new space with one reference; every private page
 * becomes copy-on-write in both. Calls that change the parent wait meanwhile, faults
 * that would copy a page too. Context: thread; waits for the CPUs that run the parent.
 * Errors: MEM_ENOMEM: no child; the parent is as it was, but for entries that
 * became read-only (harmless). */
MEM_CHECKED mem_status vmm_space_fork(struct space *parent, struct space **child);

/* Unmap everything (exec does so before it maps the new program). Cannot fail.
 * Context: thread. */
void vmm_space_clear(struct space *space);

/* Run user code of `next` on this CPU from now on (NULL: none; the old tables
 * may stay loaded lazily). Context: scheduler, interrupts off. */
void vmm_switch(struct vmm *vmm, struct space *next);

enum vm_flags {
	VM_SHARED = 1 << 0,
	VM_FIXED = 1 << 1,           /* at `hint`, replacing what is there */
	VM_FIXED_NOREPLACE = 1 << 2, /* at `hint`, MEM_EEXIST if anything is there */
	VM_GROWSDOWN = 1 << 3,       /* a stack: grows down into the gap below it on faults */
	VM_LOCKED = 1 << 4,
	VM_NORESERVE = 1 << 5, /* not charged against the commit limit */
	VM_POPULATE = 1 << 6,  /* touch every page now; failures are ignored */
	VM_DONTFORK = 1 << 7,
	VM_WIPEONFORK = 1 << 8,
	VM_BELOW_4G = 1 << 9, /* MAP_32BIT: below 2 GiB */
	VM_ONFAULT =
	    1 << 10, /* with VM_LOCKED: a page is locked when it comes, none is touched now */
	VM_RANDOM = 1 << 11, /* it is not touched in order: nothing is made ahead of need */
	VM_SEQUENTIAL = 1 << 12,
	VM_HUGE = 1 << 13,   /* large pages are welcome */
	VM_NOHUGE = 1 << 14, /* no more memory than what is touched: nothing is made ahead */
	VM_DONTDUMP = 1 << 15,
};

struct vm_map_args {
	vaddr_t hint;             /* page-aligned if FIXED, else rounded down; 0: anywhere */
	uint64_t bytes;           /* rounded up to pages; > 0 */
	unsigned prot;            /* enum vm_prot */
	unsigned maxprot;         /* what mprotect may raise it to; prot is within it */
	unsigned flags;           /* enum vm_flags */
	struct vm_object *object; /* NULL: anonymous (VM_SHARED: a new object is made) */
	uint64_t offset;          /* page-aligned byte offset in the object */
	vaddr_t limit;            /* highest end address for a search; 0: USER_TOP */
	const char *name; /* shown in maps for anonymous memory ("[heap]"), static string or NULL */
};

/* Map a range. No page is allocated until first access; this call may allocate page-table
 * metadata. Searches top-down from `limit` when there is no (free) hint.
 * Context: thread, may sleep, no lock. Errors: MEM_EINVAL, MEM_ENOMEM (no gap,
 * commit limit, address limit of the space), MEM_EEXIST, MEM_EAGAIN beyond the limit of
 * locked memory; nothing has changed. */
MEM_CHECKED mem_status vmm_map(struct space *space, const struct vm_map_args *args, vaddr_t *out);

/* Unmap [va, va + bytes) and release its pages. On return no CPU has a stale translation.
 * va is page-aligned, bytes > 0 rounded up; unmapped parts are fine.
 * Context: thread. Errors: MEM_EINVAL; MEM_ENOMEM (a split needs memory, or one area
 * more than the limit); nothing has changed. */
MEM_CHECKED mem_status vmm_unmap(struct space *space, vaddr_t va, uint64_t bytes);

/* Change the protection of [va, va + bytes) to `prot` (enum vm_prot). On return no CPU has
 * a stale translation that allows more. va and bytes as vmm_unmap. Context: thread.
 * Errors: MEM_EINVAL; MEM_ENOMEM a part is not mapped (Linux's
 * answer), or no memory, or beyond a limit; MEM_EACCES above maxprot; MEM_EAGAIN
 * beyond the limit of locked memory. */
MEM_CHECKED mem_status vmm_protect(struct space *space, vaddr_t va, uint64_t bytes, unsigned prot);

enum vm_move_flags { VM_MOVE_MAY = 1, VM_MOVE_FIXED = 2, VM_MOVE_DONTUNMAP = 4 };
/* mremap(2): one mapping from [va, old_bytes) to new_bytes, in place if it can,
 * else elsewhere if VM_MOVE_MAY, or at new_va if VM_MOVE_FIXED. Without that flag new_va
 * is where a search for room begins, downwards (0: USER_TOP). old_bytes 0 of a
 * shared mapping makes a second one. VM_MOVE_DONTUNMAP leaves the old mapping, without
 * pages. *out: where it is now. On return no CPU has a stale translation of the old place.
 * Context: thread. Errors: MEM_EINVAL; MEM_EFAULT the old range is not one mapping; MEM_EAGAIN
 * beyond the limit of locked memory; MEM_ENOMEM: nothing has changed, except that a
 * range that was to become smaller and to move may have become smaller. */
MEM_CHECKED mem_status vmm_move(struct space *space, vaddr_t va, uint64_t old_bytes,
				uint64_t new_bytes, unsigned flags, vaddr_t new_va, vaddr_t *out);

enum vm_advice {
	VM_ADVICE_NONE,            /* accepted, changes nothing (WILLNEED, COLD, PAGEOUT) */
	VM_ADVICE_DONTNEED,        /* drop present pages: anonymous ones read as zero again */
	VM_ADVICE_DONTNEED_LOCKED, /* the same, locked areas too */
	VM_ADVICE_FREE,            /* as DONTNEED for private anonymous memory, else MEM_EINVAL */
	VM_ADVICE_POPULATE_READ,
	VM_ADVICE_POPULATE_WRITE,
	VM_ADVICE_DONTFORK,
	VM_ADVICE_DOFORK,
	VM_ADVICE_WIPEONFORK, /* private anonymous memory only */
	VM_ADVICE_KEEPONFORK,
	VM_ADVICE_REMOVE,  /* punch a hole in a shared object that mprotect may make writable */
	VM_ADVICE_LOCK,    /* mlock: set locked and populate */
	VM_ADVICE_ONFAULT, /* mlock: set locked, touch nothing */
	VM_ADVICE_UNLOCK,
	VM_ADVICE_NORMAL, /* neither RANDOM nor SEQUENTIAL; these set VM_RANDOM, VM_SEQUENTIAL */
	VM_ADVICE_RANDOM,
	VM_ADVICE_SEQUENTIAL,
	VM_ADVICE_HUGE, /* VM_HUGE, and not VM_NOHUGE; or the other way round */
	VM_ADVICE_NOHUGE,
	VM_ADVICE_DONTDUMP,
	VM_ADVICE_DODUMP,
};
/* Advise [va, va + bytes), va page-aligned; bytes 0 does nothing. Context: thread.
 * Errors: MEM_ENOMEM a part is unmapped (the rest has been done, as on Linux), or no
 * memory (POPULATE, LOCK: a part may have been touched); MEM_EFAULT beyond an object's
 * end; MEM_EAGAIN beyond the limit of locked memory; MEM_EIO; MEM_EACCES (REMOVE) the
 * mapping cannot be written; MEM_EINVAL: unaligned, or not an advice for this kind of
 * mapping, nothing has changed (REMOVE: from there on). */
MEM_CHECKED mem_status vmm_advise(struct space *space, vaddr_t va, uint64_t bytes,
				  enum vm_advice advice);

/* ---- looking ------------------------------------------------------------ */

/* One area: neighbouring pages that are mapped alike. */
struct vm_area {
	vaddr_t start, end;
	unsigned prot, maxprot, flags; /* flags: VM_SHARED, GROWSDOWN, LOCKED, NORESERVE ... */
	struct vm_object *object;      /* with a reference (vm_area_done), or NULL */
	uint64_t offset;               /* bytes in the object at `start` */
	const char *name;              /* or NULL */
};
/* The first area that ends above va, as large as it can be said of all its pages; false:
 * none. Drop with vm_area_done. Context: thread, may sleep. */
bool vmm_next_area(struct space *space, vaddr_t va, struct vm_area *out);
/* Drop the object of an area that vmm_next_area filled. Context: thread; does not wait. */
void vm_area_done(struct vm_area *area);

/* Pages that are there, of a part of a range. */
struct vmm_pages {
	uint64_t resident; /* the shared zero page not counted */
	uint64_t dirty;    /* of these, written */
	uint64_t object;   /* of these, an object's */
};
/* Add to *pages what is there of the first part of [va, end). Returns where that part
 * ends: behind one table's worth, or behind as much as has nothing. More calls ask for the
 * rest. va < end <= USER_TOP, page-aligned. Context: thread. */
vaddr_t vmm_count_pages(struct space *space, vaddr_t va, vaddr_t end, struct vmm_pages *pages);
/* For mincore: out[i] is 1 if page i of the npages from va is there, in the space or in
 * the object that it maps, else 0. All within the user half; npages bounds the time.
 * Context: thread. */
void vmm_mark_pages(struct space *space, vaddr_t va, uint64_t npages, uint8_t *out);

/* For pagemap: is the page at va present? Any out may be NULL. What it
 * says may be outdated at once. Context: thread; preemption may be off. */
bool vmm_page_info(struct space *space, vaddr_t va, paddr_t *pa, bool *writable, bool *dirty);

struct vmm_space_stats {
	uint64_t virt_npages;     /* mapped, present or not */
	uint64_t resident_npages; /* present entries, shared zero page not counted */
	uint64_t resident_file;   /* of these, object pages */
	uint64_t table_npages;    /* page tables */
	uint64_t peak_resident;
	uint64_t peak_virt;
	uint64_t commit_npages; /* charged */
	uint64_t locked_npages;
	uint64_t data_npages;  /* private writable */
	uint64_t stack_npages; /* grows-down */
	uint64_t exec_npages;
	uint64_t area_count; /* merged runs */
	uint64_t faults_minor, faults_major;
};
/* Each number is exact when nobody changes the space meanwhile. Context: any. */
void vmm_space_stats(struct space *space, struct vmm_space_stats *stats);

struct vmm_space_limits { /* in pages; UINT64_MAX: none */
	uint64_t virt_npages, data_npages, stack_npages, locked_npages;
	uint64_t area_count; /* 65530 */
};
/* Limits for what comes from now on; what is there already stays. A new space has none,
 * a child its parent's. Context: thread. */
void vmm_space_set_limits(struct space *space, const struct vmm_space_limits *limits);

/* On whose account the space's mappings are from now on; a number of the host's, such as
 * a user. All spaces of an owner together have at most `most` mappings of one object at
 * different distances between page and object page. Beyond that, the call that would make
 * one more fails with MEM_ENOMEM. So nobody can make it long to take the object's pages
 * back. A new space is nobody's (UINT64_MAX) and has no limit, a child is its parent's.
 * Context: thread; does not wait. */
void vmm_space_set_owner(struct space *space, uint64_t owner, uint64_t most);

/* Copy between a kernel buffer and another program's memory as that program could. With
 * `force` as a debugger: within maxprot, whatever prot says, but without writing to shared
 * pages that the program may not write. A write breaks copy-on-write first. `*done`: bytes
 * copied, also on failure. Context: thread. Errors: MEM_EFAULT at the first page that
 * cannot be reached; MEM_ENOMEM. */
MEM_CHECKED mem_status vmm_access(struct space *space, vaddr_t va, void *buffer, uint64_t bytes,
				  bool write, bool force, uint64_t *done);

/* Make the page at va present for the access and pin its frame (I/O): until vmm_unpin
 * it stays this page's, whatever the program does; fork copies it at once. Context:
 * thread. Errors: as vmm_fault; MEM_EFAULT for device memory, too. */
MEM_CHECKED mem_status vmm_pin(struct space *space, vaddr_t va, bool write, paddr_t *pa);
/* Drop the pin that vmm_pin made. Context: any. */
void vmm_unpin(struct vmm *vmm, paddr_t pa);
/* The name of a futex word without pinning: equal for all who share it: (object, byte)
 * for shared pages, (space, address) for private ones, and for all with
 * `process_private`. Context: thread; preemption may be off. Errors: MEM_EFAULT nothing
 * is mapped at va. */
MEM_CHECKED mem_status vmm_futex_key(struct space *space, vaddr_t va, bool process_private,
				     uint64_t key[2]);

/* ---- faults ------------------------------------------------------------- */

/* What the host's exception entry hands to the handler. */
struct mem_trap {
	vaddr_t address; /* CR2, saved before interrupts were enabled */
	uint64_t error;  /* error code: FAULT_* */
	vaddr_t ip;
	vaddr_t sp;
	void *frame; /* the host's own register frame */
};

enum vmm_cause {
	VMM_FAULT_NO_MAPPING,   /* SIGSEGV SEGV_MAPERR */
	VMM_FAULT_PROTECTION,   /* SIGSEGV SEGV_ACCERR */
	VMM_FAULT_KERNEL_RANGE, /* user access to a kernel or non-canonical address: SEGV_MAPERR */
	VMM_FAULT_GUARD,        /* stack cannot grow: guard gap or limit: SEGV_MAPERR */
	VMM_FAULT_BEYOND,       /* beyond the object's end: SIGBUS BUS_ADRERR */
	VMM_FAULT_IO,           /* SIGBUS */
	VMM_FAULT_RESERVED_BIT, /* a table is corrupt: the host ends the program and says so */
	VMM_FAULT_NO_MEMORY,    /* the host ends the program */
	VMM_FAULT_CAUSE_COUNT
};

struct vmm_fault {
	vaddr_t address;
	vaddr_t ip;
	uint64_t error;
	enum vmm_cause cause;
	int signal, code; /* Linux numbers: 11/1, 11/2, 7/2 ...; 9/0 for NO_MEMORY */
};

/* Serve one access to a user address. Context: thread or fault, interrupts on,
 * may sleep, no lock; waits. `access`: FAULT_WRITE, FAULT_FETCH and FAULT_USER bits.
 * On anything but MEM_OK `*fault` (if not NULL) says why. Errors: MEM_EFAULT not mapped,
 * MEM_EACCES not allowed, MEM_EBEYOND behind the object's end, MEM_EIO, MEM_ENOMEM. */
MEM_CHECKED mem_status vmm_fault(struct space *space, vaddr_t va, unsigned access,
				 struct vmm_fault *fault);

/* Serve interrupt 14: a host with user spaces calls it from there. It saves CR2 first,
 * then turns interrupts on if the code that faulted had them on, then calls.
 * Context: exception; user code and user copies have interrupts on. A fault of
 * theirs waits, as vmm_fault. */
void vmm_handle_trap(struct mem_trap *trap);

/* A cause in a few words, for reports. Context: any. */
const char *vmm_cause_name(enum vmm_cause cause);

/* Write a report a person can read: what it did, where, in which mapping, the
 * nearest ones below and above. `print` gets one line at a time. Context: thread. */
void vmm_explain_fault(struct space *space, const struct vmm_fault *fault,
		       void (*print)(void *arg, const char *line), void *arg);

/* ---- running short ------------------------------------------------------ */

/* Give back what is held for later: tables in limbo, ranges in quarantine, cached
 * stacks, kernel page tables that map nothing, empty slabs, the CPUs' frames. Then what
 * is free is exactly what nobody uses, if nobody works meanwhile. (The heap above has
 * heap_reap.) Cannot fail. Context: thread; waits for every CPU. */
void vmm_drain(struct vmm *vmm);

struct vmm_stats {
	uint64_t commit_npages, commit_limit_npages;
	uint64_t table_npages; /* user page tables */
	uint64_t kernel_table_npages;
	uint64_t range_npages;  /* descriptors of kernel ranges */
	uint64_t object_npages; /* pages in objects */
	uint64_t anon_npages;
	uint64_t limbo_npages;
	uint64_t stack_npages, device_npages, heap_npages;
	uint64_t flushes, flush_cpus, flush_full; /* shootdowns, CPUs reached, full ones */
};
/* Each number is exact when nobody changes anything meanwhile. Context: thread; does not
 * wait. */
void vmm_get_stats(struct vmm *vmm, struct vmm_stats *stats);

/* ---- for tests ---------------------------------------------------------- */

/* Check I1, I2, I4, I8 and all counters of a space; false with a reason through
 * host_log. Context: nobody else uses the space. */
bool vmm_space_is_valid(struct space *space);
/* The same for the whole: every space, kernel areas, counters. Context: nobody else uses
 * the vmm. */
bool vmm_is_valid(struct vmm *vmm);

MEM_END_DECLS
#endif
