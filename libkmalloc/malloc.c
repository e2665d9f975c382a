/* SPDX-License-Identifier: MIT */
/*
 * libkmalloc.so: the kernel's heap as the malloc of ordinary programs.
 *
 *     LD_PRELOAD=build/libkmalloc.so PROGRAM
 *     KMALLOC_PROFILE=hardened LD_PRELOAD=build/libkmalloc.so PROGRAM
 *
 * mem/slab and mem/heap, unchanged, over pages of the process (area.c), with
 * threads as CPUs (slots.c). It is there to let real programs run on the heap, to
 * find what they find and to measure it beside other mallocs.
 *
 * The first call comes from the dynamic linker, before any constructor and any
 * thread: it makes the heap. Nothing on the way allocates, but pthread_atfork may,
 * which is called when the heap is there. Thread-local variables are of the
 * initial-exec model: they need no allocation either.
 *
 * Memory goes back when frees have left much of it idle. Every TICK frees of a thread,
 * and whenever a block at the start of a page is freed (as large ones are), the heap is
 * asked whether whole ranges lie idle, and reaped at most every REAP_MS. More seldom it
 * is looked how much is free between live blocks; then single pages go back, too.
 *
 * Mistakes end the process with a line that says which: double frees, frees of what
 * is no block, and with the hardened profile writes behind the end of one.
 */
#define _GNU_SOURCE
#include "libkmalloc/host.h"
#include "libkmalloc/slots.h"

#include <errno.h>
#include <malloc.h>
#include <mem/heap.h>
#include <mem/host.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT     __attribute__((visibility("default")))
#define TICK       1024 /* a power of two */
#define REAP_MS    50
#define TRIM_MS    500
#define TRIM_LEAST ((uint64_t)2048) /* pages */

static struct heap *heap;
static bool can_reap;

/* ---- the heap itself -------------------------------------------------------------- */

struct heap *libkmalloc_heap(void)
{
	return heap;
}

/* Twice the CPUs that the process may run on, at least 31, and the shared one. */
static unsigned choose_slots(void)
{
	cpu_set_t set;
	unsigned n = 1;
	if (!sched_getaffinity(0, sizeof(set), &set))
		n = (unsigned)CPU_COUNT(&set);
	n = mem_max(2 * n, 31u) + 1;
	return mem_min(n, (unsigned)MEM_MAX_CPUS);
}

void libkmalloc_init(void)
{
	enum { NOT_YET, UNDER_WAY, DONE };
	static uint32_t state;
	uint32_t expected = NOT_YET;
	if (likely(__atomic_load_n(&state, __ATOMIC_ACQUIRE) == DONE))
		return;
	if (!__atomic_compare_exchange_n(&state, &expected, UNDER_WAY, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_ACQUIRE)) {
		while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != DONE)
			sched_yield();
		return;
	}
	can_reap = host_has_barrier();
	slots_init(choose_slots(), can_reap);
	const char *profile = getenv("KMALLOC_PROFILE");
	bool hardened = profile && !strcmp(profile, "hardened");
	if (heap_create_as(&heap, &process_area, hardened ? HEAP_HARDENED : HEAP_FAST) != MEM_OK)
		host_panic("no memory for the heap");
	__atomic_store_n(&state, DONE, __ATOMIC_RELEASE);
	/* As early as this, so that of all handlers before a fork ours comes last: who
	 * waits for a lock in another one may not be kept out of the heap. */
	if (pthread_atfork(slots_stop, slots_resume, slots_resume_alone))
		host_panic("no memory for the handlers of fork");
}

/* ---- giving back -------------------------------------------------------------------- */

/* Has `*next_ms` come? Then it is moved on by `ms`, by one thread. */
static bool is_time(uint64_t *next_ms, uint64_t ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	uint64_t now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	uint64_t next = __atomic_load_n(next_ms, __ATOMIC_RELAXED);
	return now >= next && __atomic_compare_exchange_n(next_ms, &next, now + ms, false,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Pages held beyond what is live. */
static uint64_t slack(uint64_t *live)
{
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	*live = stats.live_bytes >> PAGE_SHIFT;
	return stats.held_npages > *live ? stats.held_npages - *live : 0;
}

/* Whole ranges that lie idle go back soon. Context: inside. */
static void give_back_ranges(void)
{
	static uint64_t next_ms;
	if (likely(!heap_wants_reap(heap)) || !can_reap || !is_time(&next_ms, REAP_MS))
		return;
	int before = errno;
	heap_reap(heap, false);
	errno = before;
}

/* What is free between live blocks goes back page by page, when there is much more of
 * it than the last time left. Context: inside. */
static void give_back_pages(void)
{
	static uint64_t next_ms, left; /* atomic */
	uint64_t live;
	if (!can_reap || !is_time(&next_ms, TRIM_MS))
		return;
	uint64_t now = slack(&live), then = __atomic_load_n(&left, __ATOMIC_RELAXED);
	if (now < then + mem_max(TRIM_LEAST, live / 8)) {
		if (now < then)
			__atomic_store_n(&left, now, __ATOMIC_RELAXED);
		return;
	}
	int before = errno;
	heap_reap(heap, true);
	errno = before;
	__atomic_store_n(&left, slack(&live), __ATOMIC_RELAXED);
}

/* After a free. */
static inline void give_back_now_and_then(struct slot *slot, const void *block)
{
	bool tick = !(++slot->frees & (TICK - 1));
	if (unlikely(tick || !((uintptr_t)block & PAGE_MASK)))
		give_back_ranges();
	if (unlikely(tick))
		give_back_pages();
}

EXPORT int malloc_trim(size_t pad)
{
	struct slot *slot = slots_enter();
	uint64_t npages = can_reap ? heap_reap(heap, true) : 0;
	slots_leave(slot);
	return npages != 0;
}

EXPORT void malloc_stats(void)
{
	struct heap_stats stats;
	struct slot *slot = slots_enter();
	heap_get_stats(heap, &stats);
	slots_leave(slot);
	host_log(HOST_LOG_WARN, "%lu blocks of %lu KiB live, %lu KiB of them large; %lu KiB held",
		 (unsigned long)stats.live_blocks, (unsigned long)(stats.live_bytes >> 10),
		 (unsigned long)(stats.large_npages * (PAGE_SIZE >> 10)),
		 (unsigned long)(stats.held_npages * (PAGE_SIZE >> 10)));
}

/* ---- the functions that everybody calls ----------------------------------------------- */

static inline void *checked(void *block)
{
	if (unlikely(!block))
		errno = ENOMEM;
	return block;
}

EXPORT void *malloc(size_t bytes)
{
	struct slot *slot = slots_enter();
	void *block = heap_alloc(heap, bytes);
	slots_leave(slot);
	return checked(block);
}

EXPORT void free(void *block)
{
	if (unlikely(!block))
		return;
	struct slot *slot = slots_enter();
	heap_free(heap, block);
	give_back_now_and_then(slot, block);
	slots_leave(slot);
}

EXPORT void *calloc(size_t count, size_t bytes)
{
	size_t product;
	if (__builtin_mul_overflow(count, bytes, &product))
		return checked(NULL);
	void *block = malloc(product);
	if (block)
		area_zero(block, product);
	return block;
}

EXPORT void *realloc(void *block, size_t bytes)
{
	struct slot *slot = slots_enter();
	bool freed = block && !bytes;
	void *new = heap_realloc(heap, block, bytes);
	give_back_now_and_then(slot, block);
	slots_leave(slot);
	return freed ? NULL : checked(new);
}

EXPORT void *reallocarray(void *block, size_t count, size_t bytes)
{
	size_t product;
	if (__builtin_mul_overflow(count, bytes, &product))
		return checked(NULL);
	return realloc(block, product);
}

/* `align` is any power of two. */
static void *aligned(size_t align, size_t bytes)
{
	struct slot *slot = slots_enter();
	void *block = heap_alloc_aligned(heap, bytes, align);
	slots_leave(slot);
	return block;
}

/* As the C library's: what is no power of two becomes the next one. */
EXPORT void *memalign(size_t align, size_t bytes)
{
	size_t power = 16;
	while (power < align && power)
		power *= 2;
	if (!power) {
		errno = EINVAL;
		return NULL;
	}
	return checked(aligned(power, bytes));
}

EXPORT void *aligned_alloc(size_t align, size_t bytes)
{
	if (!is_pow2(align)) {
		errno = EINVAL;
		return NULL;
	}
	return checked(aligned(align, bytes));
}

EXPORT int posix_memalign(void **out, size_t align, size_t bytes)
{
	if (!is_pow2(align) || align % sizeof(void *))
		return EINVAL;
	int before = errno;
	void *block = aligned(align, bytes);
	errno = before;
	if (!block)
		return ENOMEM;
	*out = block;
	return 0;
}

EXPORT void *valloc(size_t bytes)
{
	return checked(aligned(PAGE_SIZE, bytes));
}

EXPORT void *pvalloc(size_t bytes)
{
	uint64_t rounded;
	if (!align_up_checked(bytes, PAGE_SIZE, &rounded))
		return checked(NULL);
	return checked(aligned(PAGE_SIZE, rounded));
}

EXPORT size_t malloc_usable_size(void *block)
{
	if (!block)
		return 0;
	struct slot *slot = slots_enter();
	size_t bytes = heap_usable(heap, block);
	slots_leave(slot);
	return bytes;
}
