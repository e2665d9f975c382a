/* SPDX-License-Identifier: MIT */
/*
 * Setting up: where metadata lies, how frames are numbered, and the initialised limit.
 *
 * Numbering. RAM is split into segments at holes of half a GiB or more: a machine with
 * memory at 0 and at 8 TiB does not pay for what lies between. Inside a segment frames are
 * numbered through, holes included: their bits are simply never clear. A segment covers
 * every kind of RAM that may become usable one day (bootloader memory, modules), not just
 * what is usable now.
 *
 * Metadata is one piece of the highest usable region that can hold it, within reach of
 * the direct map: low memory stays whole for devices that need it.
 *
 *      struct pmm | caches | segments | map | summaries | states | lines
 *
 * The initialised limit. Setting up a terabyte must not touch 35 MB of bitmap. Blocks at
 * and above the initialised limit (`ready`) were never used: nothing of them is written and
 * the map alone says what they are. When a search finds nothing below, the initialised
 * limit moves up by 16 blocks; no more at once, as interrupts are off. Their lines, states
 * and summaries are then written from the map. Low memory is used first, so the initialised
 * limit moves as far as memory was ever in use at once. The page tables of the direct map
 * follow it (pmm_on_first_use). It stops where a loader's direct map ends
 * (mem_direct_map_end): nobody is given a frame that cannot be reached.
 */
#include "pmm/internal.h"

#define SEGMENT_HOLE  ((pfn_t)256 * BLOCK_PAGES)
#define SPARE_REGIONS 64

static bool is_ram(enum memmap_type type)
{
	return type == MEMMAP_USABLE || type == MEMMAP_BOOTLOADER_RECLAIMABLE ||
	       type == MEMMAP_ACPI_RECLAIMABLE || type == MEMMAP_EXECUTABLE_AND_MODULES;
}

/* Fill `out` (NULL: only count) with the segments of a map; *nblocks: how many
 * blocks they have. RAM beyond MAX_BLOCKS is left out. */
static unsigned make_segments(const struct memmap *map, struct pmm_segment *out, uint64_t *nblocks)
{
	unsigned n = 0;
	uint64_t dense = 0;
	struct pmm_segment now = {0};
	for (size_t i = 0; i < map->count; i++) {
		const struct memmap_region *r = &map->regions[i];
		if (!is_ram(r->type))
			continue;
		pfn_t first = align_down(r->first, BLOCK_PAGES);
		pfn_t end = align_up(r->end, BLOCK_PAGES);
		if (n == 0 || first >= now.first + now.npages + SEGMENT_HOLE) {
			dense += now.npages;
			now = (struct pmm_segment){.first = first, .dense = dense};
			n++;
		}
		pfn_t limit = now.first + (MAX_BLOCKS * BLOCK_PAGES - dense);
		end = mem_min(end, limit);
		if (end <= now.first + now.npages) {
			if (now.npages == 0)
				n--; /* nothing of it fits */
			if (end == limit)
				break;
			continue;
		}
		now.npages = end - now.first;
		if (out)
			out[n - 1] = now;
	}
	*nblocks = (dense + now.npages) / BLOCK_PAGES;
	return n;
}

/* Byte offsets of the parts of the metadata. */
struct layout {
	uint64_t caches, segments, regions, summary_a, summary_b, summary_order, states, lines,
	    bytes;
	size_t nregions;
	unsigned nsegments;
	uint64_t nblocks;
};

static uint64_t place(uint64_t *at, uint64_t bytes)
{
	uint64_t here = align_up(*at, 64);
	*at = here + bytes;
	return here;
}

static void plan(const struct memmap *map, unsigned ncpus, struct layout *l)
{
	uint64_t at = sizeof(struct pmm);
	l->nsegments = make_segments(map, NULL, &l->nblocks);
	l->nregions = map->count + SPARE_REGIONS;
	uint64_t ngroups = (l->nblocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS;
	at = align_up(at, sizeof(struct pmm_cpu_cache));
	l->caches = place(&at, (uint64_t)(ncpus + 1) * sizeof(struct pmm_cpu_cache));
	/* One more: the metadata itself can make a hole long enough to split at. */
	l->segments = place(&at, (l->nsegments + 1) * sizeof(struct pmm_segment));
	l->regions = place(&at, l->nregions * sizeof(struct memmap_region));
	l->summary_a = place(&at, ngroups * sizeof(uint64_t));
	l->summary_b = place(&at, ngroups * sizeof(uint64_t));
	l->summary_order = place(&at, ngroups * sizeof(uint64_t));
	l->states = place(&at, l->nblocks * sizeof(uint32_t));
	l->lines = place(&at, l->nblocks * BLOCK_WORDS * sizeof(uint64_t));
	l->bytes = align_up(at, PAGE_SIZE);
}

uint64_t pmm_metadata_bytes(const struct memmap *map)
{
	struct layout l;
	plan(map, host_cpu_count(), &l);
	return l.bytes;
}

static void init_cache(struct pmm_cpu_cache *cache, unsigned id)
{
	memset(cache, 0, sizeof(*cache));
	cache->revoked = CACHE_NEW;
	cache->cached = STATE_CACHED | id;
	cache->freed.key = WORD_NONE;
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		cache->word[k].block = BLOCK_NONE;
		cache->word[k].w = WORD_NONE;
		cache->word[k].seen = ~0u;
	}
}

/* Wholly usable blocks and usable frames of the map inside the segments. */
static void count_usable(struct pmm *pmm)
{
	for (unsigned s = 0; s < pmm->nsegments; s++) {
		const struct pmm_segment *segment = &pmm->segments[s];
		for (size_t i = 0; i < pmm->map.count; i++) {
			const struct memmap_region *r = &pmm->map.regions[i];
			pfn_t first = mem_max(r->first, segment->first);
			pfn_t end = mem_min(r->end, segment->first + segment->npages);
			if (r->type != MEMMAP_USABLE || first >= end)
				continue;
			pmm->unused_free += end - first;
			pfn_t low = align_up(first, BLOCK_PAGES),
			      high = align_down(end, BLOCK_PAGES);
			if (low < high)
				pmm->unused_huge += (high - low) / BLOCK_PAGES;
		}
	}
	pmm->total = pmm->unused_free;
}

/* At most a sixteenth of memory waits in all CPUs' stacks as whole blocks, and a
 * sixteenth in stacks of orders 1..8. */
static void size_stacks(struct pmm *pmm)
{
	uint64_t share = pmm->nblocks / (32 * pmm->ncpus);
	pmm->huge_batch = (uint32_t)mem_max(mem_min(share, HUGE_BATCH), 1u);
	pmm->huge_limit = 2 * pmm->huge_batch;
	share = pmm->nblocks * BLOCK_PAGES / (32 * SMALL_ORDERS * pmm->ncpus);
	for (unsigned order = 1; order <= SMALL_ORDERS; order++)
		pmm->order_batch[order - 1] =
		    (uint8_t)mem_max(mem_min(share >> order, ORDER_CACHED / 2), 1u);
}

/* The first of npages frames at the end of the highest usable region that holds so many
 * within reach, or PFN_NONE. */
static pfn_t place_metadata(const struct memmap *map, uint64_t npages)
{
	pfn_t first = PFN_NONE, reach = paddr_to_pfn(mem_direct_map_end);
	for (size_t i = 0; i < map->count; i++) {
		const struct memmap_region *r = &map->regions[i];
		pfn_t end = mem_min(r->end, reach);
		if (r->type == MEMMAP_USABLE && end > r->first && end - r->first >= npages)
			first = end - npages;
	}
	return first;
}

mem_status pmm_init(struct pmm **out, struct memmap *map)
{
	struct layout l;
	unsigned ncpus = mem_cpu_count("pmm_init");
	if (!ncpus)
		return MEM_EINVAL;
	plan(map, ncpus, &l);
	pfn_t npages = l.bytes >> PAGE_SHIFT, first = place_metadata(map, npages);
	if (first == PFN_NONE)
		return MEM_ENOMEM;
	mem_status status =
	    memmap_retype(map, first, first + npages, MEMMAP_USABLE, MEMMAP_RESERVED);
	if (status != MEM_OK)
		return status;

	char *base = paddr_to_ptr(pfn_to_paddr(first));
	struct pmm *pmm = (struct pmm *)(void *)base;
	memset(pmm, 0, sizeof(*pmm));
	pmm->ncpus = ncpus;
	pmm->caches = (void *)(base + l.caches);
	pmm->segments = (void *)(base + l.segments);
	pmm->map.regions = (void *)(base + l.regions);
	pmm->map.capacity = l.nregions;
	pmm->map.count = map->count;
	pmm->summary_a = (void *)(base + l.summary_a);
	pmm->summary_b = (void *)(base + l.summary_b);
	pmm->summary_order = (void *)(base + l.summary_order);
	pmm->states = (void *)(base + l.states);
	pmm->lines = (void *)(base + l.lines);
	pmm->metadata_bytes = l.bytes;
	memcpy(pmm->map.regions, map->regions, map->count * sizeof(*map->regions));
	pmm->nsegments = make_segments(map, pmm->segments, &pmm->nblocks);
	pmm->low_first = pmm->nsegments ? pmm->segments[0].first : 0;
	mem_assert(pmm->nsegments <= l.nsegments + 1 && pmm->nblocks <= l.nblocks);
	for (unsigned i = 0; i <= ncpus; i++)
		init_cache(&pmm->caches[i], pmm_cache_id(pmm, &pmm->caches[i]));
	pmm_shared_cache(pmm)->revoked = 0;
	count_usable(pmm);
	size_stacks(pmm);
	*out = pmm;
	return MEM_OK;
}

bool pmm_frame_is_usable(const struct pmm *pmm, pfn_t pfn)
{
	enum memmap_type type;
	return memmap_lookup(&pmm->map, pfn, &type) && type == MEMMAP_USABLE;
}

unsigned pmm_block_usable(const struct pmm *pmm, uint32_t block, uint64_t usable[BLOCK_WORDS])
{
	pfn_t first = dense_to_pfn(pmm, (uint64_t)block * BLOCK_PAGES);
	unsigned count = 0;
	memset(usable, 0, BLOCK_WORDS * sizeof(*usable));
	for (size_t i = memmap_find(&pmm->map, first); i < pmm->map.count; i++) {
		const struct memmap_region *r = &pmm->map.regions[i];
		if (r->first >= first + BLOCK_PAGES)
			break;
		if (r->type != MEMMAP_USABLE)
			continue;
		unsigned low = r->first > first ? (unsigned)(r->first - first) : 0;
		unsigned high =
		    r->end - first < BLOCK_PAGES ? (unsigned)(r->end - first) : BLOCK_PAGES;
		count += high - low;
		for (unsigned at = low; at < high;) {
			unsigned n = mem_min(high - at, 64 - at % 64);
			usable[at / 64] |= bit_run(at % 64, n);
			at += n;
		}
	}
	return count;
}

/* Write line, state and class of a unused block from the map; it is not
 * published yet. */
static void init_block(struct pmm *pmm, uint32_t block)
{
	uint64_t *line = pmm_block_line(pmm, block);
	unsigned count = pmm_block_usable(pmm, block, line);
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		line[i] = ~line[i];
	uint32_t state = mem_min(count, HINT_MANY) << STATE_HINT_SHIFT;
	if (count == 0)
		state |= STATE_ABSENT;
	else if (count < BLOCK_PAGES)
		state |= STATE_MIXED;
	atomic_write_relaxed(&pmm->states[block], state);
	pmm->unused_free -= count;
	pmm->unused_huge -= count == BLOCK_PAGES;
	pmm_block_update_class(pmm, block);
}

/* Tell who wants to know that frames of [from, to) (dense) will be handed out. */
static void say_first_use(struct pmm *pmm, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; pmm->first_use && i < pmm->nsegments; i++) {
		const struct pmm_segment *s = &pmm->segments[i];
		uint64_t first = mem_max(from, s->dense), end = mem_min(to, s->dense + s->npages);
		if (first < end)
			pmm->first_use(pmm->first_use_arg,
				       pfn_to_paddr(first - s->dense + s->first),
				       (end - first) << PAGE_SHIFT);
	}
}

void pmm_on_first_use(struct pmm *pmm, pmm_first_use *first_use, void *arg)
{
	unsigned long irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	pmm->first_use = first_use;
	pmm->first_use_arg = arg;
	say_first_use(pmm, 0, atomic_read_relaxed(&pmm->ready));
	mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
}

/* Blocks that the direct map reaches as a whole: they are the lowest. */
static uint64_t reachable_blocks(const struct pmm *pmm)
{
	pfn_t reach = paddr_to_pfn(atomic_read_relaxed(&mem_direct_map_end));
	for (unsigned i = 0; i < pmm->nsegments; i++) {
		const struct pmm_segment *s = &pmm->segments[i];
		if (reach < s->first + s->npages)
			return (s->dense + (reach > s->first ? reach - s->first : 0)) / BLOCK_PAGES;
	}
	return pmm->nblocks;
}

bool pmm_extend_limit(struct pmm *pmm, bool locked)
{
	unsigned long irq = 0;
	uint64_t seen = atomic_read_relaxed(&pmm->ready), end = reachable_blocks(pmm);
	if (seen >= end * BLOCK_PAGES)
		return false;
	if (!locked)
		irq = mem_lock_irq(&pmm->shared, MEM_RANK_PMM_CACHE);
	uint64_t from = atomic_read_relaxed(&pmm->ready) / BLOCK_PAGES;
	bool mine = from == seen / BLOCK_PAGES;
	if (mine) { /* else somebody was faster, and there is something new to search */
		uint64_t to = mem_min(align_down(from, LIMIT_BLOCKS) + LIMIT_BLOCKS, end);
		say_first_use(pmm, from * BLOCK_PAGES, to * BLOCK_PAGES);
		if (from % GROUP_BLOCKS == 0) {
			pmm->summary_a[from / GROUP_BLOCKS] = 0;
			pmm->summary_b[from / GROUP_BLOCKS] = 0;
			pmm->summary_order[from / GROUP_BLOCKS] = 0;
		}
		for (uint64_t block = from; block < to; block++)
			init_block(pmm, (uint32_t)block);
		atomic_write_release(&pmm->ready, to * BLOCK_PAGES);
		atomic_write_release(&pmm->low_ready,
				     mem_min(to * BLOCK_PAGES, pmm->segments[0].npages));
	}
	if (!locked)
		mem_unlock_irq(&pmm->shared, MEM_RANK_PMM_CACHE, irq);
	return true;
}
