/* SPDX-License-Identifier: MIT */
/* Slab caches over a pmm's frames, as the component keeps its own structures:
 * after a reap every frame is free again, and running out of frames is NULL. */
#include <mem/host.h>
#include <mem/pmm.h>
#include <mem/slab.h>
#include <string.h>

#include "tests/machine/plain.h"
#include "tests/test.h"

static struct memmap_region regions[64];
static struct memmap map = {.regions = regions, .capacity = 64};
static struct pmm *pmm;
static struct frame_source source;

static void boot(uint64_t bytes, unsigned ncpus)
{
	struct memmap_entry entry = {0, bytes, MEMMAP_USABLE};
	plain_init(bytes, ncpus);
	CHECK_OK(memmap_sanitise(&map, &entry, 1, bytes >> PAGE_SHIFT));
	CHECK_OK(pmm_init(&pmm, &map));
	frame_source_init(&source, pmm);
}

static uint64_t frames_free(void)
{
	struct pmm_stats stats;
	pmm_drain(pmm);
	pmm_get_stats(pmm, &stats);
	return stats.free;
}

static struct slab_cache *make(size_t bytes)
{
	struct slab_cache_spec spec = {
	    .name = "frames", .object_bytes = bytes, .source = &source.source};
	struct slab_cache *cache;
	CHECK_OK(slab_cache_create(&cache, &spec));
	return cache;
}

TEST(slab_frames_all_come_back)
{
	boot(64 << 20, 4);
	uint64_t before = frames_free();
	static const size_t sizes[] = {24, 128, 1000, 4096};
	static void *got[5000];
	for (unsigned s = 0; s < 4; s++) {
		struct slab_cache *cache = make(sizes[s]);
		uint64_t idle = frames_free();
		CHECK(idle < before);
		for (unsigned round = 0; round < 3; round++) {
			for (unsigned i = 0; i < 5000; i++) {
				plain_set_cpu((unsigned)test_random_below(4));
				CHECK((got[i] = slab_alloc(cache)));
				memset(got[i], (int)i, sizes[s]);
			}
			CHECK(frames_free() + 5000 * sizes[s] / PAGE_SIZE <= idle);
			for (unsigned i = 0; i < 5000; i++) {
				plain_set_cpu((unsigned)test_random_below(4));
				CHECK_EQ(*(unsigned char *)got[i], (unsigned char)i);
				slab_free(cache, got[i]);
			}
			plain_set_cpu(0);
			CHECK(slab_reap(cache) > 0);
			CHECK_EQ(frames_free(), idle);
			CHECK(slab_is_valid(cache));
		}
		slab_cache_destroy(cache);
		CHECK_EQ(frames_free(), before);
	}
	CHECK(pmm_is_valid(pmm));
}

TEST(slab_frames_run_out)
{
	boot(8 << 20, 1);
	uint64_t before = frames_free();
	struct slab_cache *cache = make(200);
	void *last = NULL, *object;
	uint64_t n = 0;
	/* A list through the objects: the test needs memory of its own otherwise. */
	while ((object = slab_alloc(cache))) {
		*(void **)object = last;
		last = object;
		n++;
	}
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	CHECK_EQ(stats.live, n);
	test_note("%lu objects in 8 MiB", (unsigned long)n);
	CHECK(n * 200 > (uint64_t)5 << 20);
	while (last) {
		void *next = *(void **)last;
		slab_free(cache, last);
		last = next;
	}
	slab_cache_destroy(cache);
	CHECK_EQ(frames_free(), before);
}
