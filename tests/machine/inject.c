/* SPDX-License-Identifier: MIT */
/*
 * What stands between mem/vm and its allocators in the hosted tests, put there
 * by the linker (--wrap), so that mem/ is the same code with and without:
 *
 *  - any allocation can be made to fail, by its number;
 *  - fresh frames are full of junk unless zeroed ones were asked for, and those
 *    are checked; freed frames are full of other junk at once;
 *  - a frame that is freed while some CPU may still hold a translation to it
 *    ends the run (mmu.c).
 */
#include <mem/slab.h>
#include <string.h>

#include "tests/machine/boot.h"

paddr_t __real_pmm_alloc(struct pmm *pmm, unsigned order, unsigned flags);
paddr_t __wrap_pmm_alloc(struct pmm *pmm, unsigned order, unsigned flags);
void __real_pmm_free(struct pmm *pmm, paddr_t pa, unsigned order);
void __wrap_pmm_free(struct pmm *pmm, paddr_t pa, unsigned order);
mem_status __real_pmm_alloc_range(struct pmm *pmm, uint64_t npages, uint64_t align, paddr_t below,
				  unsigned flags, paddr_t *out);
mem_status __wrap_pmm_alloc_range(struct pmm *pmm, uint64_t npages, uint64_t align, paddr_t below,
				  unsigned flags, paddr_t *out);
void __real_pmm_free_range(struct pmm *pmm, paddr_t pa, uint64_t npages);
void __wrap_pmm_free_range(struct pmm *pmm, paddr_t pa, uint64_t npages);
void *__real_slab_alloc(struct slab_cache *cache);
void *__wrap_slab_alloc(struct slab_cache *cache);
void *__real_slab_alloc_wait(struct slab_cache *cache);
void *__wrap_slab_alloc_wait(struct slab_cache *cache);
paddr_t __real_pmm_alloc_on(struct pmm *pmm, unsigned cpu, unsigned order, unsigned flags);
paddr_t __wrap_pmm_alloc_on(struct pmm *pmm, unsigned cpu, unsigned order, unsigned flags);
void __real_pmm_free_on(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order);
void __wrap_pmm_free_on(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order);
mem_status __real_frame_get(struct pmm *pmm, paddr_t pa);
mem_status __wrap_frame_get(struct pmm *pmm, paddr_t pa);
mem_status __real_frame_pin(struct pmm *pmm, paddr_t pa);
mem_status __wrap_frame_pin(struct pmm *pmm, paddr_t pa);

static unsigned armed_kinds;
static uint64_t seen, fail_at, failed;
static bool fail_from_then;
static void (*call_instead)(void);

void inject_arm(unsigned kinds, uint64_t n, bool from_then)
{
	armed_kinds = kinds;
	seen = failed = 0;
	fail_at = n;
	fail_from_then = from_then;
	call_instead = NULL;
}

void inject_call(void (*hook)(void))
{
	call_instead = hook;
}

uint64_t inject_disarm(void)
{
	armed_kinds = 0;
	return seen;
}

uint64_t inject_failures(void)
{
	return failed;
}

bool inject_fails(enum inject_kind kind)
{
	if (!(armed_kinds & kind))
		return false;
	seen++;
	if (call_instead && seen == fail_at) {
		call_instead();
		return false;
	}
	bool fail = fail_at && (seen == fail_at || (fail_from_then && seen > fail_at));
	failed += fail;
	return fail;
}

static void check_zero(paddr_t pa, uint64_t bytes)
{
	static const char zeros[PAGE_SIZE];
	for (uint64_t at = 0; at < bytes; at += PAGE_SIZE)
		if (memcmp(paddr_to_ptr(pa + at), zeros, PAGE_SIZE))
			machine_die("PMM_ZERO gave frame %#llx, which is not zero",
				    (unsigned long long)(pa + at));
}

static paddr_t fresh(paddr_t pa, unsigned order, unsigned flags)
{
	if (pa == PADDR_NONE)
		return pa;
	if (flags & PMM_ZERO)
		check_zero(pa, PAGE_SIZE << order);
	else
		memset(paddr_to_ptr(pa), 0xa5, PAGE_SIZE << order);
	return pa;
}

paddr_t __wrap_pmm_alloc(struct pmm *pmm, unsigned order, unsigned flags)
{
	machine_pause();
	if (inject_fails(INJECT_FRAMES))
		return PADDR_NONE;
	return fresh(__real_pmm_alloc(pmm, order, flags), order, flags);
}

paddr_t __wrap_pmm_alloc_on(struct pmm *pmm, unsigned cpu, unsigned order, unsigned flags)
{
	if (inject_fails(INJECT_FRAMES))
		return PADDR_NONE;
	return fresh(__real_pmm_alloc_on(pmm, cpu, order, flags), order, flags);
}

static void freed(paddr_t pa, uint64_t npages)
{
	for (uint64_t i = 0; i < npages; i++)
		machine_frame_freed(pa + i * PAGE_SIZE);
	memset(paddr_to_ptr(pa), 0xdb, npages * PAGE_SIZE);
}

void __wrap_pmm_free(struct pmm *pmm, paddr_t pa, unsigned order)
{
	machine_pause();
	freed(pa, (uint64_t)1 << order);
	__real_pmm_free(pmm, pa, order);
}

void __wrap_pmm_free_on(struct pmm *pmm, unsigned cpu, paddr_t pa, unsigned order)
{
	freed(pa, (uint64_t)1 << order);
	__real_pmm_free_on(pmm, cpu, pa, order);
}

mem_status __wrap_pmm_alloc_range(struct pmm *pmm, uint64_t npages, uint64_t align, paddr_t below,
				  unsigned flags, paddr_t *out)
{
	machine_pause();
	if (inject_fails(INJECT_RANGES))
		return MEM_ENOMEM;
	mem_status status = __real_pmm_alloc_range(pmm, npages, align, below, flags, out);
	if (status == MEM_OK && (flags & PMM_ZERO))
		check_zero(*out, npages * PAGE_SIZE);
	else if (status == MEM_OK)
		memset(paddr_to_ptr(*out), 0xa5, npages * PAGE_SIZE);
	return status;
}

void __wrap_pmm_free_range(struct pmm *pmm, paddr_t pa, uint64_t npages)
{
	machine_pause();
	freed(pa, npages);
	__real_pmm_free_range(pmm, pa, npages);
}

void *__wrap_slab_alloc(struct slab_cache *cache)
{
	machine_pause();
	return inject_fails(INJECT_SLAB) ? NULL : __real_slab_alloc(cache);
}

void *__wrap_slab_alloc_wait(struct slab_cache *cache)
{
	machine_pause();
	return inject_fails(INJECT_SLAB) ? NULL : __real_slab_alloc_wait(cache);
}

mem_status __wrap_frame_get(struct pmm *pmm, paddr_t pa)
{
	machine_pause();
	return inject_fails(INJECT_COUNTS) ? MEM_EBUSY : __real_frame_get(pmm, pa);
}

mem_status __wrap_frame_pin(struct pmm *pmm, paddr_t pa)
{
	machine_pause();
	return inject_fails(INJECT_COUNTS) ? MEM_EBUSY : __real_frame_pin(pmm, pa);
}
