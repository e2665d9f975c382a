/* SPDX-License-Identifier: MIT */
/*
 * The allocators that are measured: ours (without and with frame records), the
 * null allocator whose row is the cost of the harness, and a model of a buddy
 * allocator with per-CPU lists, as Linux has one: a list of single frames per
 * CPU, filled and emptied 64 at a time under a lock from free lists by order.
 */
#include "bench/pmm.h"
#include "tests/machine/plain.h"

#include <mem/pmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* ---- nothing -------------------------------------------------------------------- */

static uint64_t null_next, null_mask;

static void *null_init(uint64_t npages, unsigned ncpus)
{
	null_next = 0;
	null_mask = npages - 1;
	return NULL;
}

static uint64_t null_alloc(void *of, unsigned cpu, unsigned order)
{
	return null_next++ & null_mask;
}

static void null_free(void *of, unsigned cpu, uint64_t frame, unsigned order)
{
}

static void nothing(void)
{
}

const struct peer peer_null = {
    .name = "null", .init = null_init, .fini = nothing, .alloc = null_alloc, .free = null_free};

/* ---- ours ------------------------------------------------------------------------- */

static struct pmm *pmm;
static uint64_t arena_bytes;

static void *quire_init(uint64_t npages, unsigned ncpus)
{
	static struct memmap_region regions[64];
	struct memmap map = {.regions = regions, .capacity = 64};
	/* Room for the metadata above what is measured, so that all have equally much. */
	uint64_t extra = (npages >> 9) * 80 + (4 << 20);
	arena_bytes = (npages << PAGE_SHIFT) + (extra & ~(HUGE_SIZE - 1));
	struct memmap_entry e[] = {{0, arena_bytes, MEMMAP_USABLE}};
	plain_init(arena_bytes, ncpus);
	if (memmap_sanitise(&map, e, 1, arena_bytes >> PAGE_SHIFT) || pmm_init(&pmm, &map))
		abort();
	struct pmm_stats s;
	pmm_get_stats(pmm, &s);
	if (s.free > npages && pmm_reserve(pmm, npages << PAGE_SHIFT, s.free - npages))
		abort();
	return pmm;
}

static void quire_fini(void)
{
	munmap(paddr_to_ptr(0), arena_bytes);
}

static uint64_t quire_alloc(void *of, unsigned cpu, unsigned order)
{
	return pmm_alloc_on(of, cpu, order, PMM_KERNEL);
}

static uint64_t quire_alloc_user(void *of, unsigned cpu, unsigned order)
{
	return pmm_alloc_on(of, cpu, order, 0);
}

static void quire_free(void *of, unsigned cpu, uint64_t frame, unsigned order)
{
	pmm_free_on(of, cpu, frame, order);
}

static uint64_t quire_free_huge(void)
{
	struct pmm_stats s;
	pmm_drain(pmm);
	pmm_get_stats(pmm, &s);
	return s.free_huge;
}

static uint64_t quire_metadata(void)
{
	struct pmm_stats s;
	pmm_get_stats(pmm, &s);
	return s.metadata;
}

const struct peer peer_quire = {.name = "quire",
				.init = quire_init,
				.fini = quire_fini,
				.alloc = quire_alloc,
				.free = quire_free,
				.free_huge = quire_free_huge,
				.metadata = quire_metadata};
const struct peer peer_quire_user = {.name = "quire with records",
				     .init = quire_init,
				     .fini = quire_fini,
				     .alloc = quire_alloc_user,
				     .free = quire_free,
				     .free_huge = quire_free_huge,
				     .metadata = quire_metadata};

/* ---- a buddy allocator ------------------------------------------------------------- */

#define BUDDY_ORDERS 11
#define PCP_BATCH    64
#define PCP_HIGH     256

struct buddy_page {
	struct buddy_page *next, *prev;
	uint8_t free, order;
};

static struct buddy_page *pages, heads[BUDDY_ORDERS];
static uint64_t buddy_npages;
static uint8_t buddy_lock;

static struct pcp {
	struct buddy_page *list;
	unsigned count;
	uint8_t busy;
} __attribute__((aligned(64))) pcps[64];

static void lock(void)
{
	while (__atomic_exchange_n(&buddy_lock, 1, __ATOMIC_ACQUIRE))
		;
}

static void unlock(void)
{
	__atomic_store_n(&buddy_lock, 0, __ATOMIC_RELEASE);
}

static void link_page(struct buddy_page *p, unsigned order)
{
	struct buddy_page *head = &heads[order];
	p->free = 1;
	p->order = (uint8_t)order;
	p->next = head->next;
	p->prev = head;
	head->next->prev = p;
	head->next = p;
}

static void unlink_page(struct buddy_page *p)
{
	p->prev->next = p->next;
	p->next->prev = p->prev;
	p->free = 0;
}

static struct buddy_page *buddy_take(unsigned order)
{
	for (unsigned o = order; o < BUDDY_ORDERS; o++) {
		struct buddy_page *p = heads[o].next;
		if (p == &heads[o])
			continue;
		unlink_page(p);
		while (o > order) {
			o--;
			link_page(p + ((uint64_t)1 << o), o);
		}
		return p;
	}
	return NULL;
}

static void buddy_give(struct buddy_page *p, unsigned order)
{
	uint64_t at = (uint64_t)(p - pages);
	while (order < BUDDY_ORDERS - 1) {
		uint64_t other = at ^ ((uint64_t)1 << order);
		if (other >= buddy_npages || !pages[other].free || pages[other].order != order)
			break;
		unlink_page(&pages[other]);
		at &= ~((uint64_t)1 << order);
		order++;
	}
	link_page(&pages[at], order);
}

static void *buddy_init(uint64_t npages, unsigned ncpus)
{
	buddy_npages = npages;
	pages = mmap(NULL, npages * sizeof(*pages), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		abort();
	for (unsigned o = 0; o < BUDDY_ORDERS; o++)
		heads[o].next = heads[o].prev = &heads[o];
	for (uint64_t at = npages; at > 0;) {
		at -= (uint64_t)1 << (BUDDY_ORDERS - 1);
		link_page(&pages[at], BUDDY_ORDERS - 1);
	}
	for (unsigned i = 0; i < 64; i++)
		pcps[i] = (struct pcp){0};
	return NULL;
}

static void buddy_fini(void)
{
	munmap(pages, buddy_npages * sizeof(*pages));
}

static uint64_t buddy_alloc(void *of, unsigned cpu, unsigned order)
{
	struct buddy_page *p;
	if (order == 0) {
		struct pcp *pcp = &pcps[cpu];
		if (!pcp->list) {
			lock();
			for (unsigned i = 0; i < PCP_BATCH && (p = buddy_take(0)); i++) {
				p->next = pcp->list;
				pcp->list = p;
				pcp->count++;
			}
			unlock();
			if (!pcp->list)
				return BENCH_NONE;
		}
		p = pcp->list;
		pcp->list = p->next;
		pcp->count--;
		return (uint64_t)(p - pages);
	}
	lock();
	p = buddy_take(order);
	unlock();
	return p ? (uint64_t)(p - pages) : BENCH_NONE;
}

static void buddy_free(void *of, unsigned cpu, uint64_t frame, unsigned order)
{
	struct buddy_page *p = &pages[frame];
	if (order == 0) {
		struct pcp *pcp = &pcps[cpu];
		p->next = pcp->list;
		pcp->list = p;
		if (++pcp->count >= PCP_HIGH) {
			lock();
			for (unsigned i = 0; i < PCP_BATCH; i++) {
				p = pcp->list;
				pcp->list = p->next;
				buddy_give(p, 0);
			}
			pcp->count -= PCP_BATCH;
			unlock();
		}
		return;
	}
	lock();
	buddy_give(p, order);
	unlock();
}

const struct peer peer_buddy = {.name = "buddy",
				.init = buddy_init,
				.fini = buddy_fini,
				.alloc = buddy_alloc,
				.free = buddy_free};
