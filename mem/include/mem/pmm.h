/* SPDX-License-Identifier: MIT */
#ifndef MEM_PMM_H
#define MEM_PMM_H
/*
 * Physical frames: one bitmap, bit 1 = in use, 0 = free.
 *
 * Every call works on a `struct pmm`, so that tests make as many as they like;
 * a kernel has one. Unless said otherwise a call never sleeps, and may be made from any
 * context but a non-maskable interrupt; mem/ locks of lower rank than MEM_RANK_PMM may be
 * held.
 *
 * Waiting. A call *waits* if it needs another CPU to take an interrupt or to finish work
 * of its own; a bounded spin lock is not waiting. Only calls with PMM_WAIT do (and
 * pmm_drain, pmm_reserve, pmm_add). Those may be made with interrupts on, outside of
 * interrupt handlers and of locks that another CPU may spin on with interrupts off;
 * elsewhere PMM_WAIT has no effect.
 *
 * What is out of reach without it: of each other CPU up to 128 single frames. It hands out 32
 * next with records and 32 without, and has freed up to 64 of one word last. What a CPU
 * keeps beyond that is taken back from it when nothing else is left. It need not answer for
 * that, but may be at work there just then. All CPUs together keep an eighth of memory in
 * larger blocks, but no less than two of each order. pmm_drain() gives it all back.
 *
 * At most 2 TiB of RAM are managed (holes do not count); what lies above is left
 * alone.
 */
#include <mem/memmap.h>
#include <mem/types.h>

MEM_BEGIN_DECLS

struct pmm;

#define PMM_ORDER_HUGE 9  /* 2 MiB */
#define PMM_ORDER_GIGA 18 /* 1 GiB */

enum pmm_flags {
	PMM_ANY = 0,
	PMM_FIRST = 1 << 5,  /* the lowest free frame(s); of all there are with PMM_WAIT */
	PMM_ZERO = 1 << 6,   /* the memory is all zero */
	PMM_WAIT = 1 << 2,   /* wait for other CPUs to give back what they hold, if need be */
	PMM_KERNEL = 1 << 3, /* no frame record wanted: the frame is never counted */
};

/* What a frame is used for; part of its record. */
enum frame_type {
	FRAME_NONE = 0, /* free, or kernel memory without a record */
	FRAME_KERNEL,   /* slab, heap, stacks */
	FRAME_TABLE,    /* a page-table page; its reference is the struct table */
	FRAME_ANON,     /* anonymous user memory; counted */
	FRAME_OBJECT,   /* a page of an object; counted, but not for each mapping */
	FRAME_TYPE_COUNT
};

/* Bytes that pmm_init will take out of `map` for its metadata. Context: any. */
uint64_t pmm_metadata_bytes(const struct memmap *map);

/* Make an allocator over the usable regions of `map`, for host_cpu_count() CPUs. Its
 * metadata is the end of the highest usable region below mem_direct_map_end that can hold
 * it. That part is retyped to MEMMAP_RESERVED in `map`, and `*out` lies in it. Nothing is
 * written per block, so the cost does not grow with memory. Context: initialisation, one
 * CPU. Locks: none. Errors: MEM_ENOMEM no region can hold the metadata; MEM_EINVAL too
 * many CPUs, or none (host_log says so). Nothing has changed then. */
MEM_CHECKED mem_status pmm_init(struct pmm **out, struct memmap *map);

/* Have `first_use(arg, pa, bytes)` called before any frame of [pa, pa + bytes) is handed
 * out for the first time, and now for all that may have been handed out already.
 * Ranges are 2 MiB-aligned pieces of RAM, holes inside them included, in ascending
 * order. One at a time; NULL ends it. `first_use` is called with interrupts off under a
 * lock of the allocator: it must not call back. Context: initialisation, one CPU.
 * Locks: none. */
typedef void pmm_first_use(void *arg, paddr_t pa, uint64_t bytes);
void pmm_on_first_use(struct pmm *pmm, pmm_first_use *first_use, void *arg);

/* Allocate 2^order contiguous frames, aligned to their size; order 0..18 (10..18 are
 * served as ranges). PADDR_NONE if there is none within reach: what other CPUs keep free
 * for themselves is not. With PMM_WAIT it is never PADDR_NONE while enough frames are free
 * anywhere in one piece, with one exception. A frame that can have a record needs a second
 * free frame beside it if its 2 MiB block has no record page yet. The same goes for what is
 * to be taken out of a block in which another order (1..8) is in use. Context: any. */
MEM_CHECKED paddr_t pmm_alloc(struct pmm *pmm, unsigned order, unsigned flags);

/* Up to n single frames at once, of those cached on this CPU: returns how many, out[i] is
 * each; 0 says nothing of what pmm_alloc would find. Flags: PMM_ZERO. Context: any; does not
 * wait. Locks: as pmm_alloc. */
MEM_CHECKED unsigned pmm_alloc_many(struct pmm *pmm, unsigned n, unsigned flags, paddr_t *out);

/* Give back what pmm_alloc returned, with the same order. A frame that is
 * already free, cached, reserved, foreign, of another order or still
 * referenced is the caller's mistake: host_panic with the reason. Context: any. */
void pmm_free(struct pmm *pmm, paddr_t pa, unsigned order);

/* The same two for a caller that has preemption (or interrupts) off anyway and
 * knows which CPU this is: cpu == host_cpu(). Context: any. */
MEM_CHECKED paddr_t pmm_alloc_on(struct pmm *pmm, unsigned cpu, unsigned order, unsigned flags);
void pmm_free_on(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order);

/* Make 512 frames of the 2 MiB that pmm_alloc(PMM_ORDER_HUGE) returned: they are given
 * back singly or as ranges from now on. Anything else at `pa` is the caller's mistake:
 * host_panic. Context: any. Locks: none. */
void pmm_split(struct pmm *pmm, paddr_t pa);

/* Allocate `npages` contiguous frames starting at a multiple of `align_pages`
 * (a power of two), entirely below physical address `below` (PADDR_NONE: no
 * bound). Slow (searches). With PMM_WAIT exact: it finds a range if there is one; else
 * what is out of reach counts as used. Context: any.
 * Errors: MEM_EINVAL npages 0 or align not a power of two; MEM_ENOMEM. */
MEM_CHECKED mem_status pmm_alloc_range(struct pmm *pmm, uint64_t npages, uint64_t align_pages,
				       paddr_t below, unsigned flags, paddr_t *out);

/* Give back a range, or any part of one; the same checks as pmm_free. Context: any. */
void pmm_free_range(struct pmm *pmm, paddr_t pa, uint64_t npages);

/* Take [pa, pa + npages) out of use (offline a range). Waits. Context: thread, interrupts
 * on, or initialisation with one CPU. Errors: MEM_EBUSY a frame is in use;
 * MEM_EINVAL not usable memory of this allocator; MEM_ENOMEM the map has no room
 * for one region more. Nothing has changed then. */
MEM_CHECKED mem_status pmm_reserve(struct pmm *pmm, paddr_t pa, uint64_t npages);

/* Add frames that pmm_init saw as not usable (bootloader-reclaimable memory
 * once nothing needs it), or that pmm_reserve took (online a range). They must be
 * RAM in the map that pmm_init was given. Context and errors as pmm_reserve. */
MEM_CHECKED mem_status pmm_add(struct pmm *pmm, paddr_t pa, uint64_t npages);

/* Give everything that CPUs hold privately back to the bitmap: own word, free
 * buffers, of every CPU. Afterwards pmm_stats.free is exact and cached is 0
 * if nobody allocates meanwhile. Waits. Context: thread, interrupts on. */
void pmm_drain(struct pmm *pmm);

/* Is it better to take no frame that is not needed yet? Fewer than a 32nd of the memory, or
 * than 128 MiB, are wholly free 2 MiB blocks. A hint, from a look at a few words. Context:
 * any; does not wait. Locks: none. */
bool pmm_is_short(const struct pmm *pmm);

/* Clear a few free frames ahead of need. Context: idle thread. Returns false
 * when there is nothing to do. */
bool pmm_idle(struct pmm *pmm);

struct pmm_stats {
	uint64_t total;     /* frames managed */
	uint64_t free;      /* clear bits, plus `cached` */
	uint64_t cached;    /* held free by CPUs */
	uint64_t free_huge; /* wholly free 2 MiB blocks */
	uint64_t metadata;  /* bytes of the allocator itself, records included */
	uint64_t records; /* frames taken for frame records: they are neither free nor the user's */
};
/* What there is now, summed over blocks and CPUs: exact while nobody allocates or frees.
 * Frames that are just then on their way between a CPU and the bitmap are missed: up to 512
 * a CPU that is at it. Context: any; does not wait. Locks: none. */
void pmm_get_stats(struct pmm *pmm, struct pmm_stats *stats);
/* The same with nothing missed: exact up to frames that are being allocated or freed during
 * the call. CPUs that want a frame wait while caches are summed, and it waits for them.
 * Context: thread, interrupts on. Locks: as pmm_drain. */
void pmm_get_stats_wait(struct pmm *pmm, struct pmm_stats *stats);

/* ---- frame records: type, count, reference ----------------------------- */

/* Make the record of an allocated order-0 frame: type, count 1 and reference
 * (NULL, or a pointer into this allocator's RAM through the direct map, 16-byte
 * aligned). Frames of type FRAME_ANON and FRAME_OBJECT can have many owners and have no
 * reference; the others have one owner. The frame came from pmm_alloc without
 * PMM_KERNEL. Context: any, as for all calls on records. */
void frame_init(struct pmm *pmm, paddr_t pa, enum frame_type type, void *reference);

/* The same for n frames of type FRAME_ANON or FRAME_OBJECT, without references. Context:
 * any. */
void frame_init_many(struct pmm *pmm, const paddr_t *pa, unsigned n, enum frame_type type);

/* Frames have to be allocated in blocks that carry records; false when `pa` is
 * not memory of this allocator or its block has no records. Context: any. */
bool frame_has_record(struct pmm *pmm, paddr_t pa);

/* Type and reference of an allocated frame's record. Context: any. */
enum frame_type frame_type(struct pmm *pmm, paddr_t pa);
void *frame_reference(struct pmm *pmm, paddr_t pa);
/* The count, read with acquire order: see invariant I4 for who may rely on it. Context:
 * any. */
uint32_t frame_count(struct pmm *pmm, paddr_t pa);

/* One more owner. Context: any. Errors: MEM_EBUSY the count would reach 2^31; unchanged. */
MEM_CHECKED mem_status frame_get(struct pmm *pmm, paddr_t pa);

/* One owner less; true if that was the last: the record is cleared and the
 * caller frees the frame with pmm_free(pmm, pa, 0). Context: any. */
MEM_CHECKED bool frame_put(struct pmm *pmm, paddr_t pa);

/* One more owner that pins, for I/O or kernel access to user memory across a sleep. Fork
 * copies a pinned page at once; a page pinned by its one space is written in place.
 * Count and pin come and go in one step: nobody sees a second owner without its pin.
 * Context: any. Errors: MEM_EBUSY the count would reach 2^31; unchanged. */
MEM_CHECKED mem_status frame_pin(struct pmm *pmm, paddr_t pa);
/* Its end; true as of frame_put. Context: any. */
MEM_CHECKED bool frame_unpin(struct pmm *pmm, paddr_t pa);
bool frame_is_pinned(struct pmm *pmm, paddr_t pa);

/* ---- for tests ---------------------------------------------------------- */

/* Check every structure against every other and I7's arithmetic; false with a
 * reason through host_log. Context: nobody else uses the allocator. */
bool pmm_is_valid(struct pmm *pmm);

MEM_END_DECLS
#endif
