/* SPDX-License-Identifier: MIT */
#ifndef MEM_HEAP_H
#define MEM_HEAP_H
/*
 * The kernel heap: kmalloc and friends over size-class caches and large blocks.
 *
 * A `struct heap` is an object; the short names (kmalloc ...) work on the one
 * that heap_set_default() named. Contexts are those of mem/vmm.h: `any` includes interrupt
 * handlers, and such a call never sleeps, never faults and never waits for another CPU
 * (what waiting is: mem/pmm.h).
 */
#include <mem/slab.h>
#include <mem/types.h>

MEM_BEGIN_DECLS

struct heap;

/* Where the heap's pages come from. frame_area_init() makes an area over frames, for which
 * no VMM is needed. vmm_heap_area() is one of ranges of addresses, with guard pages. A host
 * may provide its own. */
struct heap_area {
	/* Map npages (> 0) of zeroed or dirty memory followed by an unmapped guard
	 * page, at a multiple of align_pages (a power of two). NULL: none. `atomic`:
	 * do not wait for other CPUs; interrupts may be off. */
	void *(*map)(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic);
	/* Unmap what map returned: clear, quarantine the addresses, flush with no
	 * lock held, then release. Context: thread, interrupts on, no lock (the
	 * heap's reaper calls it, never kfree). */
	void (*unmap)(struct heap_area *area, void *pages, uint64_t npages);

	/* Both or neither; NULL: the heap gives back whole ranges only.
	 * Give back the memory behind part of what map returned and keep its addresses,
	 * which nobody touches until recommit. False: it cannot be done there; nothing
	 * has changed. Context: as unmap. */
	bool (*decommit)(struct heap_area *area, void *pages, uint64_t npages);
	/* Put memory of any contents behind decommitted pages again. False: there is none;
	 * the pages count as decommitted still (some may be back; the next recommit of them
	 * finds that). `atomic`: as map. */
	bool (*recommit)(struct heap_area *area, void *pages, uint64_t npages, bool atomic);

	/* Not 0: this is a source of *loose* pages, which are always mapped. map gives pages side
	 * by side, as few as one, without a guard page. unmap takes any part of what map gave, at
	 * once, in any context. decommit and recommit are NULL. For its small blocks the heap
	 * takes up to so many pages at a time (at most 512). */
	uint64_t loose_npages;
};

struct pmm;

/* An area of loose pages: a pmm's frames, reached through the direct map. It needs no virtual
 * memory of its own and no flush. A heap over it stays as it is when the kernel loads page tables
 * of its own, as long as the direct map is where it was. In each 2 MiB that the heap has anything
 * of, a page says what. */
struct frame_area {
	struct heap_area area; /* first: the two convert by cast */
	struct pmm *pmm;
};
/* Context: initialisation. */
void frame_area_init(struct frame_area *frames, struct pmm *pmm);

/*
 * Both profiles find double and invalid frees, at the free, in every build. The hardened
 * one also puts a canary after each block and checks it at the free, so overflows are
 * detected. (Blocks of kmalloc_page() and other whole pages, asked for by the page, end in an
 * unmapped page instead; over frames in nothing.) It hands blocks out in an order that
 * cannot be foreseen, and clears them when they are freed. Small blocks cost several times
 * as much.
 */
enum heap_profile { HEAP_FAST, HEAP_HARDENED };

/* Make a heap over `area`, for host_cpu_count() CPUs. Errors: MEM_ENOMEM; MEM_EINVAL too
 * many CPUs (host_log says so). Context: initialisation. */
MEM_CHECKED mem_status heap_create_as(struct heap **out, struct heap_area *area,
				      enum heap_profile profile);
/* The hardened one; the rest as heap_create_as. Context: initialisation. */
MEM_CHECKED mem_status heap_create(struct heap **out, struct heap_area *area);
/* End an empty heap; live blocks are the caller's mistake (host_panic). Context: thread;
 * waits for every CPU. */
void heap_destroy(struct heap *heap);

/* `bytes` bytes aligned to 16, whatever the size, or NULL; bytes 0 gives a unique pointer
 * that must be freed. Context: any. */
void *heap_alloc(struct heap *heap, size_t bytes);
/* As heap_alloc; where that gives NULL it may wait for pages that other CPUs keep free.
 * Context: thread, interrupts on, no lock that others spin on with interrupts off;
 * elsewhere as heap_alloc. */
void *heap_alloc_wait(struct heap *heap, size_t bytes);
/* Aligned to `align`, a power of two; from a page on it costs whole pages. Context: any. */
void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t align);
/* NULL is ignored. Double and invalid frees and writes behind the block's end are
 * found: host_panic. Never unmaps. Context: any. */
void heap_free(struct heap *heap, void *block);
/* As the C standard's realloc; on NULL the old block is untouched; bytes 0
 * frees and returns NULL. Context: any. */
void *heap_realloc(struct heap *heap, void *block, size_t bytes);
/* The same for who stands between the heap and its users (a kernel's own kmalloc): leak
 * lists and reports name `site`, the caller's return address, instead of the shim.
 * `align`: a power of two; 16 or less is what every block has. Context: any. */
void *heap_alloc_at(struct heap *heap, size_t bytes, size_t align, const void *site);
void heap_free_at(struct heap *heap, void *block, const void *site);
void *heap_realloc_at(struct heap *heap, void *block, size_t bytes, const void *site);
/* Bytes usable in a live block: at least what was asked for; exactly that in a hardened
 * heap. Panics if `block` is no live block, or was written beyond its end. Context: any. */
size_t heap_usable(struct heap *heap, const void *block);

/* Give empty memory back to the area, reserve pages included if `all`.
 * Returns pages given back. Context: thread, no lock; waits for every CPU. */
uint64_t heap_reap(struct heap *heap, bool all);

/* The calling CPU stops using the heap for now (it goes offline; hosted, its thread
 * ends): what it keeps for itself becomes everybody's. It may come back without notice.
 * Context: thread, preemption off from before the call, no lock; does not wait. */
void heap_cpu_leave(struct heap *heap);

/* Is enough idle memory waiting in the heap that a reap is worth its flushes?
 * Any context; for a host's periodic work. */
bool heap_wants_reap(struct heap *heap);

/*
 * Guard-page sampling: from now on each CPU places every `interval`th block on one of
 * `slots` pages between unmapped ones. Blocks of more than a page are left out, and in a
 * fast heap those that the fast path serves. Accesses beyond a sampled block fault, or are
 * found when it is freed. After the next heap_reap() accesses to a freed one fault, too.
 * Holds slots / 2 pages and little more, if the area can decommit pages. Called again it only
 * changes the interval.
 * Errors: MEM_ENOMEM, nothing has changed. Context: thread; waits only when memory is
 * short.
 */
MEM_CHECKED mem_status heap_sample_start(struct heap *heap, unsigned slots, unsigned interval);

/* What a fault at `address` has to do with a sampled block. */
struct heap_trap {
	const char *what; /* "use after free of", "access behind the end of" ... */
	const void *block;
	size_t bytes;
	const void *alloc_site, *free_site; /* free_site NULL: not freed */
};
/* False: nothing that is known. Context: any, the host's fault report; takes no lock. */
bool heap_find_trap(struct heap *heap, uintptr_t address, struct heap_trap *out);

struct heap_stats {
	uint64_t
	    live_bytes; /* in blocks handed out: size of their class; large ones as asked for */
	uint64_t live_blocks;
	uint64_t held_npages;  /* mapped from the area */
	uint64_t large_npages; /* of these, in live large blocks */
	uint64_t allocs, frees, failures;
	uint64_t sampled; /* allocations that got a page of their own */
};
/* Context: any. */
void heap_get_stats(struct heap *heap, struct heap_stats *stats);
/* Call visit for each size class. Context: any. */
void heap_for_each_class(struct heap *heap, void (*visit)(const struct slab_stats *, void *),
			 void *arg);
/* Log up to `limit` live blocks of each class and of the large ones: debug
 * builds know them all with their call sites, others the large ones. Context: any; debug
 * builds hold a lock while they go through a class. */
void heap_report_live(struct heap *heap, unsigned limit);
/* For tests: check every structure against every other. Context: nobody else uses the
 * heap. */
bool heap_is_valid(struct heap *heap);

/* ---- the short names (heap/kmalloc.c, which may be left out) ----------------- */

/* The heap that they work on. Context: initialisation. */
void heap_set_default(struct heap *heap);

/* Context of them all: any. */
void *kmalloc(size_t bytes);
void *kzalloc(size_t bytes);               /* zeroed */
void *kcalloc(size_t count, size_t bytes); /* zeroed; NULL if the product overflows */
void *krealloc(void *block, size_t bytes);
void *kmalloc_aligned(size_t bytes, size_t align);
void *kmalloc_page(void); /* MEM_PAGE_SIZE bytes at a multiple of that */
void kfree(void *block);

MEM_END_DECLS
#endif
