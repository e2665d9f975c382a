/* SPDX-License-Identifier: MIT */
/*
 * Segments: where the heap's slabs lie.
 *
 * A segment starts at a multiple of 2 MiB, so that the segment of a block is found by
 * masking its address. From there on at most 512 pages are mapped; a small heap takes
 * fewer, so that little lies idle. Its head and the descriptors of its slabs lie in pages
 * of their own, apart from the blocks:
 *
 *     page 0   1             2 .. 5      6 .. 9      10       11 .. 14
 *     +-------+-------------+-----------+-----------+--------+-----------+--
 *     | map   | head | dddd | slab      | slab      |dddddddd| slab      |
 *     +-------+-------------+-----------+-----------+--------+-----------+--
 *                      ^                              ^
 *                      descriptors, in units of 64 bytes; more pages of
 *                      them are taken as they are needed
 *
 * map[page] leads from a page to its slab's descriptor, and directly to what a free needs:
 * the states of its blocks, and the magazine that they go into. It is read without the
 * lock. Who frees a block reads the entries of its slab only, and these do not change while
 * the block is in use. The exception is the magazine: it is another one while the slab
 * drains, and using the one before does no harm.
 *
 * New slabs go into the segment with the fewest free pages that has room, so that others
 * become empty. A wholly empty segment stays mapped until the reaper comes: giving it back
 * means a flush, which needs thread context. When everything is to be given back, free
 * pages of other segments are *decommitted*, if the area can do that: their memory goes and
 * their addresses stay. A slab that is put there later has their memory recommitted first.
 */
#include "heap/internal.h"

/* ---- which segments are ours --------------------------------------------------- */

static struct list *segment_chain(struct heap *heap, uintptr_t base)
{
	return &heap->segment_hash[segment_slot(base) % SEGMENT_HASH];
}

struct segment *heap_find_segment_slowly(struct heap *heap, uintptr_t base)
{
	struct segment *found = NULL;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	list_for_each (node, segment_chain(heap, base)) {
		struct segment *segment = list_entry(node, struct segment, hash);
		if ((uintptr_t)segment == base) {
			found = segment;
			atomic_write_release(&heap->known[segment_slot(base)],
					     heap_known(heap, base));
			break;
		}
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return found;
}

/* ---- pages of a segment --------------------------------------------------------- */

/* First page of a run of `n` free ones, or SEGMENT_NPAGES. `present`: only pages
 * with memory behind them. */
static unsigned find_run(const struct segment *segment, unsigned n, bool present)
{
	unsigned length = 0;
	for (unsigned page = SEGMENT_HEAD_NPAGES; page < segment->npages;) {
		uint64_t word = segment->used[page / 64];
		if (present)
			word |= segment->decommitted[page / 64];
		word >>= page % 64;
		if (page % 64 == 0 && word == ~(uint64_t)0) {
			length = 0;
			page += 64;
			continue;
		}
		if (word & 1) {
			length = 0;
			page += bit_lowest(~word); /* shifted in zeros end the run of ones */
			continue;
		}
		length++;
		page++;
		if (length == n)
			return page - n;
	}
	return SEGMENT_NPAGES;
}

static void set_used(struct segment *segment, unsigned page, unsigned n, bool used)
{
	for (unsigned i = page; i < page + n; i++) {
		uint64_t bit = (uint64_t)1 << (i % 64);
		mem_assert(!(segment->used[i / 64] & bit) == used);
		segment->used[i / 64] ^= bit;
	}
	segment->nfree = (uint16_t)(used ? segment->nfree - n : segment->nfree + n);
	count_add(&segment->heap->free_npages, used ? -(uint64_t)n : n);
}

static void count_slab(struct segment *segment, bool more)
{
	struct heap *heap = segment->heap;
	if (more && segment->nslabs++ == 0)
		count_add(&heap->empty_npages, -(uint64_t)segment->npages);
	else if (!more && --segment->nslabs == 0)
		count_add(&heap->empty_npages, segment->npages);
}

/* ---- descriptor units -------------------------------------------------------------- */

/* Where in `word` a run of n zero bits starts; 64: nowhere. */
static unsigned zero_run(uint64_t word, unsigned n)
{
	uint64_t free = ~word;
	for (unsigned i = 1; i < n; i++)
		free &= ~word >> i;
	/* Runs may not reach past the word: those bits were shifted in as 0. */
	return free ? bit_lowest(free) : 64;
}

static bool add_unit_page(struct segment *segment)
{
	unsigned page = find_run(segment, 1, true);
	if (page == SEGMENT_NPAGES || segment->unit_pages == UNIT_PAGES)
		return false;
	set_used(segment, page, 1, true);
	segment->unit_page[segment->unit_pages] = (uint16_t)page;
	segment->unit_used[segment->unit_pages] = 0;
	segment->unit_pages++;
	return true;
}

/* A descriptor of n units: its number in the segment; 0: no room. */
static unsigned take_units(struct segment *segment, unsigned n)
{
	do {
		for (unsigned i = 0; i < segment->unit_pages; i++) {
			unsigned at = zero_run(segment->unit_used[i], n);
			if (at == 64)
				continue;
			segment->unit_used[i] |= (((uint64_t)1 << n) - 1) << at;
			return segment->unit_page[i] * (unsigned)(PAGE_SIZE / UNIT_BYTES) + at;
		}
	} while (add_unit_page(segment));
	return 0;
}

/* The last descriptor of a page is gone: so that what the heap holds depends on what is
 * live, the page serves slabs again. Page 0 stays. */
static void drop_unit_page(struct segment *segment, unsigned i)
{
	set_used(segment, segment->unit_page[i], 1, false);
	unsigned last = --segment->unit_pages;
	segment->unit_page[i] = segment->unit_page[last];
	segment->unit_used[i] = segment->unit_used[last];
}

static void give_units(struct segment *segment, unsigned unit, unsigned n)
{
	unsigned page = unit / (unsigned)(PAGE_SIZE / UNIT_BYTES);
	uint64_t bits = (((uint64_t)1 << n) - 1) << (unit % (PAGE_SIZE / UNIT_BYTES));
	for (unsigned i = 0; i < segment->unit_pages; i++) {
		if (segment->unit_page[i] != page)
			continue;
		mem_assert((segment->unit_used[i] & bits) == bits);
		segment->unit_used[i] &= ~bits;
		if (i && !segment->unit_used[i])
			drop_unit_page(segment, i);
		return;
	}
	mem_assert(!"a descriptor outside the segment's descriptor pages");
}

/* ---- slabs of the heap ----------------------------------------------------------------- */

static void relist(struct heap *heap, struct segment *segment)
{
	list_remove(&segment->node);
	list_push_front(segment->nfree ? &heap->segments : &heap->full_segments, &segment->node);
}

/* A stretch of a segment that becomes a slab. */
struct cut {
	struct segment *segment;
	struct slab *slab; /* its descriptor; NULL: none was found */
	unsigned page, npages;
	uint64_t decommitted; /* bit i: page + i has no memory yet (a slab has 64 pages at most) */
};

/* Take (or put back) the decommitted state of the cut's pages. Locks: heap->lock. */
static void move_decommitted(struct cut *cut, bool take)
{
	struct segment *segment = cut->segment;
	for (unsigned i = 0; i < cut->npages; i++) {
		uint64_t bit = (uint64_t)1 << ((cut->page + i) % 64);
		uint64_t *word = &segment->decommitted[(cut->page + i) / 64];
		if (!(take ? *word & bit : (cut->decommitted >> i) & 1))
			continue;
		*word ^= bit;
		if (take)
			cut->decommitted |= (uint64_t)1 << i;
		count_add(&segment->heap->decommitted_npages, take ? -(uint64_t)1 : 1);
	}
}

static bool carve(struct segment *segment, const struct slab_cache *cache,
		  const struct slab_shape *shape, bool present, struct cut *cut)
{
	unsigned units = heap_descriptor_units(cache, shape), npages = shape->npages;
	unsigned unit = take_units(segment, units);
	if (!unit)
		return false;
	unsigned page = find_run(segment, npages, present);
	if (page == SEGMENT_NPAGES) {
		give_units(segment, unit, units);
		return false;
	}
	set_used(segment, page, npages, true);
	count_slab(segment, true);
	*cut = (struct cut){.segment = segment, .page = page, .npages = npages};
	cut->slab = (struct slab *)(void *)((char *)segment + (size_t)unit * UNIT_BYTES);
	move_decommitted(cut, true);
	return true;
}

static void set_entry(struct segment_page *page, size_t states, size_t how, size_t unit)
{
	atomic_write_relaxed(&page->states, (uint32_t)states);
	atomic_write_relaxed(&page->how, (uint16_t)how);
	atomic_write_relaxed(&page->unit, (uint16_t)unit);
}

static struct segment *segment_of(const struct slab *slab)
{
	uintptr_t base = (uintptr_t)slab & ~(uintptr_t)(HUGE_SIZE - 1);
	return (struct segment *)base; // NOLINT(performance-no-int-to-ptr)
}

static unsigned unit_of(const struct slab *slab)
{
	return (unsigned)(((uintptr_t)slab & (HUGE_SIZE - 1)) / UNIT_BYTES);
}

static unsigned page_of(const void *address)
{
	return (unsigned)(((uintptr_t)address & (HUGE_SIZE - 1)) >> PAGE_SHIFT);
}

/* What the fast paths of a free need to know of the slab's blocks. The blocks of one that
 * drains go by no magazine. */
static void segment_steer(struct slab_cache *cache, struct slab *slab)
{
	struct segment *segment = segment_of(slab);
	size_t magazine = slab->drains ? HEAP_NO_MAGAZINE : heap_magazine_at(cache->number);
	for (unsigned i = 0; i < slab->npages; i++) {
		char *at = slab->base + i * PAGE_SIZE;
		uint8_t *from = segment_state(segment, 0, cache->shift, at);
		set_entry(&segment->map[page_of(at)],
			  (uintptr_t)slab_state(slab, at) - (uintptr_t)from,
			  magazine + cache->shift, unit_of(slab));
	}
}

/* The opposite. Locks: heap->lock. */
static void uncarve(struct cut *cut, unsigned units)
{
	struct segment *segment = cut->segment;
	unsigned unit = unit_of(cut->slab);
	for (unsigned i = 0; i < cut->npages; i++)
		set_entry(&segment->map[cut->page + i], 0, HOW_NONE, 0);
	set_used(segment, cut->page, cut->npages, false);
	give_units(segment, unit, units);
	count_slab(segment, false);
	move_decommitted(cut, false);
	relist(segment->heap, segment);
}

/* The segment with the fewest free pages among those (of very many, the first few)
 * that have a run for a slab. Locks: heap->lock. */
static struct segment *best_segment(struct heap *heap, unsigned npages, bool present)
{
	struct segment *best = NULL;
	unsigned fits = 0;
	list_for_each (node, &heap->segments) {
		struct segment *segment = list_entry(node, struct segment, node);
		if (segment->nfree < npages || (best && segment->nfree >= best->nfree) ||
		    find_run(segment, npages, present) == SEGMENT_NPAGES)
			continue;
		best = segment;
		if (++fits == 16)
			break;
	}
	return best;
}

/* Have memory put behind the cut's decommitted pages; those that got it are no longer
 * in cut->decommitted. */
static bool recommit(struct heap *heap, struct cut *cut, bool atomic)
{
	while (cut->decommitted) {
		unsigned first = bit_lowest(cut->decommitted), n = 1;
		while (first + n < 64 && (cut->decommitted >> (first + n)) & 1)
			n++;
		char *at = (char *)cut->segment + (cut->page + first) * PAGE_SIZE;
		if (!heap->area->recommit(heap->area, at, n, atomic))
			return false;
		cut->decommitted &= ~((~(uint64_t)0 >> (64 - n)) << first);
	}
	return true;
}

/* A slab's pages and descriptor from the segments there are: of pages with memory
 * behind them, or of any. */
static struct slab *take_slab(struct slab_cache *cache, const struct slab_shape *shape,
			      bool present, bool atomic, void **base)
{
	struct heap *heap = cache->backend_data;
	struct cut cut = {0};
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct segment *best = best_segment(heap, shape->npages, present);
	bool done = best && carve(best, cache, shape, present, &cut);
	if (best && !done) /* its last pages went for descriptors: any other will do */
		list_for_each (node, &heap->segments)
			if (carve(list_entry(node, struct segment, node), cache, shape, present,
				  &cut))
				break;
	/* Descriptors take pages, too: what has become full is listed as such. */
	if (best && (!done || !best->nfree))
		list_for_each_safe (node, &heap->segments) {
			struct segment *segment = list_entry(node, struct segment, node);
			if (!segment->nfree)
				relist(heap, segment);
		}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	if (!cut.slab)
		return NULL;
	if (!recommit(heap, &cut, atomic)) {
		irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
		uncarve(&cut, heap_descriptor_units(cache, shape));
		mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
		return NULL;
	}
	*base = (char *)cut.segment + cut.page * PAGE_SIZE;
	return cut.slab;
}

static void start_segment(struct heap *heap, void *pages, unsigned npages)
{
	struct segment *segment = pages;
	memset(segment, 0, sizeof(*segment));
	segment->heap = heap;
	segment->npages = (uint16_t)npages;
	memset(segment->none, SLAB_NOT_ALLOCATED, sizeof(segment->none));
	for (unsigned page = 0; page < SEGMENT_NPAGES; page++)
		set_entry(&segment->map[page], 0, HOW_NONE, 0);
	segment->nfree = (uint16_t)(npages - SEGMENT_HEAD_NPAGES);
	for (unsigned page = 0; page < SEGMENT_NPAGES; page++)
		if (page < SEGMENT_HEAD_NPAGES || page >= npages)
			segment->used[page / 64] |= (uint64_t)1 << (page % 64);
	unsigned head = (unsigned)(align_up(sizeof(*segment) % PAGE_SIZE, UNIT_BYTES) / UNIT_BYTES);
	segment->unit_used[0] = ((uint64_t)1 << head) - 1;
	segment->unit_page[0] = SEGMENT_HEAD_NPAGES - 1;
	segment->unit_pages = 1;
	list_init(&segment->node);
	list_init(&segment->hash);

	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	list_push_front(&heap->segments, &segment->node);
	list_push_front(segment_chain(heap, (uintptr_t)segment), &segment->hash);
	uintptr_t base = (uintptr_t)segment;
	atomic_write_release(&heap->known[segment_slot(base)], heap_known(heap, base));
	count_add(&heap->nsegments, 1);
	count_add(&heap->segment_npages, npages);
	count_add(&heap->free_npages, segment->nfree);
	count_add(&heap->empty_npages, npages);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

/* Map one more segment, with room for a slab of `slab_npages`. */
static bool grow(struct heap *heap, unsigned slab_npages, bool atomic)
{
	uint64_t held = atomic_read_relaxed(&heap->segment_npages);
	unsigned npages = SEGMENT_MIN_NPAGES;
	while (npages < SEGMENT_NPAGES && npages < held / 4)
		npages *= 2;
	unsigned least = slab_npages + SEGMENT_HEAD_NPAGES; /* with room for its descriptor */
	for (;; npages = npages / 2 > least ? npages / 2 : least) {
		void *pages = heap->area->map(heap->area, npages, SEGMENT_NPAGES, atomic);
		if (pages) {
			mem_assert(!((uintptr_t)pages & (HUGE_SIZE - 1)));
			start_segment(heap, pages, npages);
			return true;
		}
		if (npages == least)
			return false;
	}
}

/* Empty slabs that this CPU keeps in its other classes. */
static bool shed(struct heap *heap)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < HEAP_CACHES; i++)
		n += slab_shed(heap->classes[i]);
	return n > 0;
}

static struct slab *make_shaped(struct slab_cache *cache, const struct slab_shape *shape,
				bool atomic)
{
	struct heap *heap = cache->backend_data;
	void *base;
	struct slab *slab = take_slab(cache, shape, true, atomic, &base);
	if (!slab && shed(heap))
		slab = take_slab(cache, shape, true, atomic, &base);
	if (!slab)
		slab = take_slab(cache, shape, false, atomic, &base);
	while (!slab) {
		if (!grow(heap, shape->npages, atomic))
			return NULL;
		slab = take_slab(cache, shape, true, atomic, &base);
	}
	slab_init(cache, shape, slab, base);
	segment_steer(cache, slab);
	return slab;
}

static struct slab *segment_make(struct slab_cache *cache, bool atomic)
{
	struct heap *heap = cache->backend_data;
	struct slab *slab = NULL;
	/* At most an eighth of what there is, so that not too much lies idle in the newest. */
	uint64_t nblocks = atomic_read_relaxed(&cache->nblocks);
	unsigned i = SLAB_SHAPES - 1;
	while (i && nblocks < 8 * cache->shape[i].capacity)
		i--;
	do
		slab = make_shaped(cache, &cache->shape[i], atomic);
	while (!slab && i--);
	if (!slab)
		return NULL;
	/* Reserve pages for handlers, whose area may not map; never mind if there are none. */
	if (host_irq_enabled() && !host_in_interrupt() &&
	    heap_reserve_npages(heap) < HEAP_RESERVE_PAGES)
		(void)grow(heap, cache->shape[0].npages, atomic);
	return slab;
}

static void segment_release(struct slab_cache *cache, struct slab *slab)
{
	struct heap *heap = cache->backend_data;
	struct segment *segment = heap_find_segment(heap, slab);
	mem_assert(segment);
	struct cut cut = {
	    .segment = segment,
	    .slab = slab,
	    .page = page_of(slab->base),
	    .npages = slab->npages,
	};
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	slab->cookie = 0;
	struct slab_shape shape = {.npages = slab->npages, .capacity = slab->capacity};
	uncarve(&cut, heap_descriptor_units(cache, &shape));
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

static struct slab *segment_find(struct slab_cache *cache, const void *block)
{
	return heap_find_slab(cache->backend_data, block); /* of this or another class */
}

const struct slab_backend heap_slab_backend = {segment_make, segment_release, segment_find,
					       segment_steer, true};

/* ---- giving back -------------------------------------------------------------------------- */

/* A run of free pages with memory behind them. */
static unsigned free_run(const struct segment *segment, unsigned *n)
{
	unsigned page = find_run(segment, 1, true);
	*n = 1;
	while (page + *n < segment->npages) {
		unsigned i = page + *n;
		if (((segment->used[i / 64] | segment->decommitted[i / 64]) >> (i % 64)) & 1)
			break;
		++*n;
	}
	return page;
}

/* A pass over the segments that have free pages, a few at a time: from the front, and what
 * was looked at goes to the back. The reaper's; several passes only see more. */
struct pass {
	uint64_t left; /* segments to look at */
	const struct segment *kept;
	bool keep; /* one empty segment */
};
#define PASS_STEP 4u /* are looked at with interrupts off: each has 512 pages */

static struct segment *next_segment(struct heap *heap, struct pass *pass)
{
	if (!pass->left || list_empty(&heap->segments))
		return NULL;
	pass->left--;
	struct segment *segment = list_entry(heap->segments.next, struct segment, node);
	list_remove(&segment->node);
	list_push_back(&heap->segments, &segment->node);
	return segment;
}

/* The heap knows the segment no more. Locks: heap->lock. */
static void forget_segment(struct heap *heap, struct segment *segment)
{
	uintptr_t *known = &heap->known[segment_slot((uintptr_t)segment)];
	if (atomic_read_relaxed(known) == heap_known(heap, (uintptr_t)segment))
		atomic_write_release(known, KNOWN_NONE);
	list_remove(&segment->hash);
	list_remove(&segment->node);
	count_add(&heap->nsegments, -(uint64_t)1);
	count_add(&heap->segment_npages, -(uint64_t)segment->npages);
	count_add(&heap->empty_npages, -(uint64_t)segment->npages);
	count_add(&heap->free_npages, -(uint64_t)segment->nfree);
	count_add(&heap->decommitted_npages, -(uint64_t)heap_count_decommitted(segment));
}

/* Unmap an empty segment, if there is one among the next few. Returns pages. Locks:
 * heap->reap_lock. */
static uint64_t unmap_some(struct heap *heap, struct pass *pass)
{
	struct segment *segment = NULL;
	uint64_t npages = 0;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned n = 0; n < 16 * PASS_STEP && !npages; n++) {
		segment = next_segment(heap, pass);
		if (!segment)
			break;
		if (segment->nslabs || segment == pass->kept)
			continue;
		if (pass->keep) {
			pass->keep = false;
			pass->kept = segment;
			continue;
		}
		npages = segment->npages;
		forget_segment(heap, segment);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	if (!npages)
		return 0;
	uint64_t decommitted = heap_count_decommitted(segment);
	heap->area->unmap(heap->area, segment, npages);
	return npages - decommitted;
}

/* The next run to be decommitted: it counts as used meanwhile, and its segment as having
 * one more slab, so that both stay. The segment is looked at again. NULL: none among the next
 * few. */
static struct segment *begin_decommit(struct heap *heap, struct pass *pass, unsigned *page,
				      unsigned *n)
{
	struct segment *found = NULL, *segment;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned i = 0; i < PASS_STEP && !found; i++) {
		segment = next_segment(heap, pass);
		if (!segment)
			break;
		*page = free_run(segment, n);
		if (*page == SEGMENT_NPAGES)
			continue;
		found = segment;
		pass->left++;
		set_used(segment, *page, *n, true);
		count_slab(segment, true);
		relist(heap, segment);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return found;
}

static void end_decommit(struct heap *heap, struct segment *segment, unsigned page, unsigned n,
			 bool decommitted)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	set_used(segment, page, n, false);
	count_slab(segment, false);
	for (unsigned i = page; decommitted && i < page + n; i++)
		segment->decommitted[i / 64] |= (uint64_t)1 << (i % 64);
	count_add(&heap->decommitted_npages, decommitted ? n : 0);
	relist(heap, segment);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
}

/* Give the memory behind a run of free pages of a segment in use back. Locks:
 * heap->reap_lock. */
static uint64_t decommit_some(struct heap *heap, struct pass *pass)
{
	unsigned page, n;
	struct segment *segment = begin_decommit(heap, pass, &page, &n);
	if (!segment)
		return 0;
	char *at = (char *)segment + page * PAGE_SIZE;
	bool decommitted = heap->area->decommit(heap->area, at, n);
	end_decommit(heap, segment, page, n, decommitted);
	if (!decommitted)
		pass->left = 0;
	return decommitted ? n : 0;
}

static uint64_t pass_over(struct heap *heap, bool keep,
			  uint64_t (*some)(struct heap *, struct pass *))
{
	struct pass pass = {.left = atomic_read_relaxed(&heap->nsegments), .keep = keep};
	uint64_t npages = 0;
	while (pass.left) {
		uint64_t before = pass.left;
		mem_lock_flushable(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		uint64_t n = some(heap, &pass);
		mem_unlock(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		npages += n;
		if (!n && pass.left == before)
			break; /* no segment has free pages */
	}
	return npages;
}

uint64_t heap_reap_segments(struct heap *heap, bool all)
{
	uint64_t npages = pass_over(heap, !all, unmap_some);
	if (all && heap->area->decommit)
		npages += pass_over(heap, false, decommit_some);
	return npages;
}
