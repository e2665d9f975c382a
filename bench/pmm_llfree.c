/* SPDX-License-Identifier: MIT */
/* LLFree-C behind the interface of the bench; built only with LLFREE_DIR=. */
#include "bench/pmm.h"

#include <llfree.h>
#include <stdlib.h>
#include <sys/mman.h>

static llfree_t *llfree;
static llfree_meta_t meta;
static llfree_meta_size_t sizes;

static uint8_t *area(size_t bytes)
{
	void *p =
	    mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		abort();
	return p;
}

static void *ll_bench_init(uint64_t npages, unsigned ncpus)
{
	llfree_classing_t classing = llfree_classing_simple(ncpus);
	sizes = llfree_metadata_size(&classing, npages);
	llfree = (llfree_t *)(void *)area(sizes.llfree);
	meta.local = area(sizes.local);
	meta.trees = area(sizes.trees);
	meta.lower = area(sizes.lower);
	if (!llfree_is_ok(llfree_init(llfree, npages, LLFREE_INIT_FREE, meta, &classing)))
		abort();
	return llfree;
}

static void ll_bench_fini(void)
{
	munmap(llfree, sizes.llfree + 4096);
	munmap(meta.local, sizes.local + 4096);
	munmap(meta.trees, sizes.trees + 4096);
	munmap(meta.lower, sizes.lower + 4096);
}

static uint64_t ll_bench_alloc(void *of, unsigned cpu, unsigned order)
{
	llfree_result_t r =
	    llfree_get(of, frame_id_none(), llreq((uint8_t)order, order >= 9, ll_some(cpu)));
	return llfree_is_ok(r) ? r.frame.value : BENCH_NONE;
}

static void ll_bench_free(void *of, unsigned cpu, uint64_t frame, unsigned order)
{
	llfree_result_t r =
	    llfree_put(of, frame_id(frame), llreq((uint8_t)order, order >= 9, ll_some(cpu)));
	if (!llfree_is_ok(r))
		abort();
}

static uint64_t ll_bench_huge(void)
{
	llfree_drain(llfree);
	return llfree_stats(llfree).free_huge;
}

static uint64_t ll_bench_metadata(void)
{
	return sizes.llfree + sizes.local + sizes.trees + sizes.lower;
}

const struct peer peer_llfree = {.name = "llfree",
				 .init = ll_bench_init,
				 .fini = ll_bench_fini,
				 .alloc = ll_bench_alloc,
				 .free = ll_bench_free,
				 .free_huge = ll_bench_huge,
				 .metadata = ll_bench_metadata};
