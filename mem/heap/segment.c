/* SPDX-License-Identifier: MIT */
/*
 * Segments: where the heap's slabs lie.
 *
 * A segment is what the heap has of a *window*: 2 MiB of addresses, from a multiple of that
 * on. So the segment of a block is found by masking its address. Its map, its head and the
 * descriptors of its slabs lie in pages of the window, apart from the blocks:
 *
 *     page 0   1             2 .. 5      6 .. 9      10       11 .. 14
 *     +-------+-------------+-----------+-----------+--------+-----------+--
 *     | map   | head | dddd | slab      | slab      |dddddddd| slab      |
 *     +-------+-------------+-----------+-----------+--------+-----------+--
 *                      ^                              ^
 *                      descriptors, in units of 64 bytes; more pages of
 *                      them are taken as they are needed
 *
 * Areas are of two kinds. One maps *ranges* of addresses. A segment is one piece then, from
 * the window's start on; a small heap maps small ones, so that little lies idle. The other
 * kind gives *loose* pages, of memory that is mapped anyway. The heap has whatever it got of
 * a window, with holes, and gets more as it grows. Map and head are the first two pages that
 * it got there.
 *
 *     page      37       38             40 .. 43            61
 *     +-- --+--------+-------------+--+-----------+-- --+--------+-- --+
 *     |     | map    | head | dddd |  | slab      |     | slab   |     |
 *     +-- --+--------+-------------+--+-----------+-- --+--------+-- --+
 *
 * map[page] leads from a page to its slab's descriptor, and directly to what a free needs:
 * the states of its blocks, and the magazine that they go into. It is read without the
 * lock. Who frees a block reads the entries of its slab only, and these do not change while
 * the block is in use. The exception is the magazine: it is another one while the slab
 * drains, and using the one before does no harm. Entries count from the window's start, so
 * that the map may lie in any of its pages.
 *
 *   G1  Map, head and descriptors of a window lie in pages of that window.
 *   G2  heap->known holds addresses of maps. By G1 one comparison tells whether a map is
 *       that of a block. A free of the fast profile finds those at their window's start.
 *   G3  No descriptor is unit 0: that says "no slab".
 *
 * Loose pages come in pieces, aligned to their size, while the area has such. Then the heap
 * asks for as many side by side as a slab needs, and at last for single ones. A window
 * serves with three pages or more; else they go back. To look for a piece is to search
 * through all frames. So that there is none is believed for the next slabs. When nothing is
 * left the heap gives back what it does not use, and tries once more: what it gets then may
 * lie better.
 *
 * New slabs go into the segment with the fewest free pages that has room, so that others
 * become empty. A wholly empty segment stays mapped until the reaper comes: giving a range
 * back means a flush, which needs thread context. When everything is to be given back, free
 * loose pages of other segments go back, too. Those of ranges are *decommitted*, if the area
 * can do that: their memory goes and their addresses stay. A slab that is put there later
 * has their memory recommitted first.
 */
#include "heap/internal.h"

#define PIECE_PATIENCE 64u

/* ---- which segments are ours --------------------------------------------------- */

static struct list *segment_chain(struct heap *heap, const void *window)
{
	return &heap->segment_hash[segment_slot((uintptr_t)window) % SEGMENT_HASH];
}

/* Locks: heap->lock. */
static struct segment *find_segment(struct heap *heap, const char *window)
{
	list_for_each (node, segment_chain(heap, window)) {
		struct segment *segment = list_entry(node, struct segment, hash);
		if (segment->window == window)
			return segment;
	}
	return NULL;
}

static void make_known(struct heap *heap, const struct segment *segment)
{
	atomic_write_release(&heap->known[segment_slot((uintptr_t)segment->window)],
			     heap_known(heap, segment->map));
}

struct segment_page *heap_find_map_slowly(struct heap *heap, const void *block)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct segment *segment = find_segment(heap, segment_window(block));
	if (segment)
		make_known(heap, segment);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return segment ? segment->map : NULL;
}

/* ---- pages of a segment --------------------------------------------------------- */

/* First page, not below `from`, of a run of `n` free ones, or SEGMENT_NPAGES. `present`: only
 * pages with memory behind them. */
static unsigned find_run_from(const struct segment *segment, unsigned from, unsigned n,
			      bool present)
{
	unsigned length = 0;
	for (unsigned page = from; page < SEGMENT_NPAGES;) {
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

static unsigned find_run(const struct segment *segment, unsigned n, bool present)
{
	return find_run_from(segment, 0, n, present);
}

static void flip_used(struct segment *segment, unsigned page, unsigned n, bool used)
{
	for (unsigned i = page; i < page + n; i++) {
		uint64_t bit = (uint64_t)1 << (i % 64);
		mem_assert(!(segment->used[i / 64] & bit) == used);
		segment->used[i / 64] ^= bit;
	}
}

static void set_used(struct segment *segment, unsigned page, unsigned n, bool used)
{
	flip_used(segment, page, n, used);
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
	unsigned page = find_run_from(segment, 1, 1, true); /* there is no unit 0 */
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
	cut->slab = (struct slab *)(void *)(segment->window + (size_t)unit * UNIT_BYTES);
	cut->slab->segment = segment;
	move_decommitted(cut, true);
	return true;
}

static void set_entry(struct segment_page *page, size_t states, size_t how, size_t unit)
{
	atomic_write_relaxed(&page->states, (uint32_t)states);
	atomic_write_relaxed(&page->how, (uint16_t)how);
	atomic_write_relaxed(&page->unit, (uint16_t)unit);
}

/* No slab lies there. */
static void clear_entry(struct segment *segment, unsigned page)
{
	set_entry(&segment->map[page], (size_t)((char *)segment->none - segment->window), HOW_NONE,
		  0);
}

static unsigned unit_of(const struct slab *slab)
{
	return (unsigned)(((uintptr_t)slab & (HUGE_SIZE - 1)) / UNIT_BYTES);
}

/* What the fast paths of a free need to know of the slab's blocks. The blocks of one that
 * drains go by no magazine. */
static void segment_steer(struct slab_cache *cache, struct slab *slab)
{
	struct segment *segment = slab->segment;
	size_t magazine = slab->drains ? HEAP_NO_MAGAZINE : heap_magazine_at(cache->number);
	for (unsigned i = 0; i < slab->npages; i++) {
		char *at = slab->base + i * PAGE_SIZE;
		uint8_t *from = segment_state(segment->window, 0, cache->shift, at);
		set_entry(&segment->map[segment_page_of(at)],
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
		clear_entry(segment, cut->page + i);
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
		char *at = cut->segment->window + (cut->page + first) * PAGE_SIZE;
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
	*base = cut.segment->window + cut.page * PAGE_SIZE;
	return cut.slab;
}

/* Pages of the window become the heap's, and are free. Locks: heap->lock. */
static void add_pages(struct segment *segment, const char *at, unsigned n)
{
	set_used(segment, segment_page_of(at), n, false);
	segment->npages = (uint16_t)(segment->npages + n);
	count_add(&segment->heap->segment_npages, n);
	count_add(&segment->heap->empty_npages, segment->nslabs ? 0 : n);
	relist(segment->heap, segment);
}

/* Two pages of a window become its segment's, the one its map. Locks: heap->lock. */
static struct segment *start_segment(struct heap *heap, void *map, void *head)
{
	struct segment *segment = head;
	memset(segment, 0, sizeof(*segment));
	segment->heap = heap;
	segment->window = segment_window(map);
	segment->map = map;
	segment->npages = SEGMENT_HEAD_NPAGES;
	memset(segment->none, SLAB_NOT_ALLOCATED, sizeof(segment->none));
	for (unsigned page = 0; page < SEGMENT_NPAGES; page++)
		clear_entry(segment, page);
	memset(segment->used, 0xff, sizeof(segment->used));
	unsigned units = (unsigned)(align_up(sizeof(*segment), UNIT_BYTES) / UNIT_BYTES);
	segment->unit_used[0] = ((uint64_t)1 << units) - 1;
	segment->unit_page[0] = (uint16_t)segment_page_of(head);
	segment->unit_pages = 1;
	list_push_front(&heap->full_segments, &segment->node);
	list_push_front(segment_chain(heap, segment->window), &segment->hash);
	make_known(heap, segment);
	count_add(&heap->nsegments, 1);
	count_add(&heap->segment_npages, SEGMENT_HEAD_NPAGES);
	count_add(&heap->empty_npages, SEGMENT_HEAD_NPAGES);
	return segment;
}

/* ---- more pages: in one piece from the start of a window on ------------------------------ */

/* Map one more segment, with room for a slab of `slab_npages`. */
static bool grow_in_ranges(struct heap *heap, unsigned slab_npages, bool atomic)
{
	uint64_t held = atomic_read_relaxed(&heap->segment_npages);
	unsigned npages = SEGMENT_MIN_NPAGES;
	while (npages < SEGMENT_NPAGES && npages < held / 4)
		npages *= 2;
	unsigned least = slab_npages + SEGMENT_HEAD_NPAGES; /* with room for its descriptor */
	for (;; npages = npages / 2 > least ? npages / 2 : least) {
		char *pages = heap->area->map(heap->area, npages, SEGMENT_NPAGES, atomic);
		if (pages) {
			mem_assert(!((uintptr_t)pages & (HUGE_SIZE - 1)));
			unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
			struct segment *segment = start_segment(heap, pages, pages + PAGE_SIZE);
			add_pages(segment, pages + SEGMENT_HEAD_NPAGES * PAGE_SIZE,
				  npages - SEGMENT_HEAD_NPAGES);
			mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
			return true;
		}
		if (npages == least)
			return false;
	}
}

/* ---- more pages: loose ones ---------------------------------------------------------------- */

/* Pages of one window become its segment's; in a window that has none only if there are
 * `least`. Else they go back. */
static bool add_part(struct heap *heap, char *at, unsigned n, unsigned least)
{
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct segment *segment = find_segment(heap, segment_window(at));
	bool added = segment || n >= least;
	if (!segment && added) {
		segment = start_segment(heap, at, at + PAGE_SIZE);
		at += SEGMENT_HEAD_NPAGES * PAGE_SIZE;
		n -= SEGMENT_HEAD_NPAGES;
	}
	if (added)
		add_pages(segment, at, n);
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	if (!added)
		heap->area->unmap(heap->area, at, n);
	return added;
}

/* As many loose pages side by side, if the area has them. */
static bool add_piece(struct heap *heap, unsigned npages, unsigned align, unsigned least,
		      bool atomic)
{
	char *at = heap->area->map(heap->area, npages, align, atomic);
	bool added = false;
	for (unsigned n; at && npages; npages -= n, at += n * PAGE_SIZE) {
		n = mem_min(npages, SEGMENT_NPAGES - segment_page_of(at));
		added |= add_part(heap, at, n, least);
	}
	return added;
}

/* Take one of the pages that lies in the window; NULL: none does. */
static char *pick(char **pages, unsigned *n, const char *window)
{
	for (unsigned i = 0; i < *n; i++) {
		char *page = pages[i];
		if (segment_window(page) != window)
			continue;
		pages[i] = pages[--*n];
		return page;
	}
	return NULL;
}

/* A single page into a window where the heap has something, or three that lie in another. */
static bool add_singly(struct heap *heap, bool atomic)
{
	char *spare[16], *at;
	unsigned n = 0;
	struct segment *segment = NULL;
	while (!segment && n < ARRAY_COUNT(spare) &&
	       (at = heap->area->map(heap->area, 1, 1, atomic))) {
		unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
		segment = find_segment(heap, segment_window(at));
		char *map = segment ? NULL : pick(spare, &n, segment_window(at));
		char *head = map ? pick(spare, &n, segment_window(at)) : NULL;
		if (head)
			segment = start_segment(heap, map, head);
		else if (map)
			spare[n++] = map;
		if (segment)
			add_pages(segment, at, 1);
		else
			spare[n++] = at;
		mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	}
	while (n)
		heap->area->unmap(heap->area, spare[--n], 1);
	return segment != NULL;
}

/* How many pages side by side are worth asking for: any, until there were none; that is
 * believed for a while. */
static unsigned longest_piece(struct heap *heap)
{
	uint32_t left = atomic_read_relaxed(&heap->patience);
	if (left)
		atomic_write_relaxed(&heap->patience, left - 1);
	else
		atomic_write_relaxed(&heap->piece, SEGMENT_NPAGES);
	return atomic_read_relaxed(&heap->piece);
}

/* There is no longer one than `most` just now. */
static void note_piece(struct heap *heap, unsigned most)
{
	if (most < atomic_read_relaxed(&heap->piece))
		atomic_write_relaxed(&heap->piece, most);
	atomic_write_relaxed(&heap->patience, PIECE_PATIENCE);
}

/* `last`: no smaller slab will do. */
static bool grow_loosely(struct heap *heap, unsigned slab_npages, bool last, bool atomic)
{
	unsigned room = slab_npages + SEGMENT_HEAD_NPAGES, longest = longest_piece(heap);
	unsigned n = mem_min(longest, (unsigned)heap->area->loose_npages);
	for (; n > room; n /= 2) {
		if (add_piece(heap, n, n, SEGMENT_HEAD_NPAGES + 1, atomic))
			return true;
		note_piece(heap, n / 2);
	}
	if (slab_npages == 1)
		return add_singly(heap, atomic);
	if (slab_npages > longest && !last)
		return false;
	if (add_piece(heap, room, 1, room, atomic) || add_piece(heap, slab_npages, 1, room, atomic))
		return true;
	note_piece(heap, slab_npages - 1);
	return false;
}

/* More pages, for a slab of so many. */
static bool grow(struct heap *heap, unsigned slab_npages, bool last, bool atomic)
{
	return heap->loose ? grow_loosely(heap, slab_npages, last, atomic)
			   : grow_in_ranges(heap, slab_npages, atomic);
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
	bool last = shape == &cache->shape[0], gave = false;
	for (; !slab; slab = take_slab(cache, shape, true, atomic, &base)) {
		if (grow(heap, shape->npages, last, atomic))
			continue;
		if (gave || !last || !heap_give_loose(heap))
			return NULL;
		gave = true;
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
	while (i > 1 && nblocks < 8 * cache->shape[i].capacity)
		i--;
	do
		slab = make_shaped(cache, &cache->shape[i], atomic);
	while (!slab && i--);
	if (!slab)
		return NULL;
	/* Reserve pages for handlers, whose area may not map; never mind if there are none. */
	if (!heap->loose && host_irq_enabled() && !host_in_interrupt() &&
	    heap_reserve_npages(heap) < HEAP_RESERVE_PAGES)
		(void)grow(heap, cache->shape[1].npages, false, atomic);
	return slab;
}

static void segment_release(struct slab_cache *cache, struct slab *slab)
{
	struct heap *heap = cache->backend_data;
	struct cut cut = {
	    .segment = slab->segment,
	    .slab = slab,
	    .page = segment_page_of(slab->base),
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
	while (page < SEGMENT_NPAGES && page + *n < SEGMENT_NPAGES) {
		unsigned i = page + *n;
		if (((segment->used[i / 64] | segment->decommitted[i / 64]) >> (i % 64)) & 1)
			break;
		++*n;
	}
	return page;
}

/* A pass over the segments of a list, some at a time: from the front on, and what was looked
 * at goes to the back. Others may make a pass at the same time, then each sees more. */
struct pass {
	struct list *list;
	uint64_t left; /* segments to look at, at most */
	const struct segment *kept;
	bool keep; /* one empty segment */
};
#define PASS_STEP 4u /* segments of which the pages are looked at with interrupts off */

/* Locks: heap->lock. */
static struct segment *next_segment(struct pass *pass)
{
	if (!pass->left || list_empty(pass->list))
		return NULL;
	pass->left--;
	struct segment *segment = list_entry(pass->list->next, struct segment, node);
	list_remove(&segment->node);
	list_push_back(pass->list, &segment->node);
	return segment;
}

/* It is nobody's any more. Returns pages. */
static uint64_t unmap_segment(struct heap *heap, struct segment *segment)
{
	struct heap_area *area = heap->area;
	uint64_t npages = segment->npages - heap_count_decommitted(segment);
	if (!heap->loose) {
		area->unmap(area, segment->window, segment->npages);
		return npages;
	}
	void *map = segment->map;
	unsigned n;
	for (unsigned page; (page = free_run(segment, &n)) < SEGMENT_NPAGES;) {
		flip_used(segment, page, n, true);
		area->unmap(area, segment->window + page * PAGE_SIZE, n);
	}
	area->unmap(area, map, 1);
	area->unmap(area, segment, 1);
	return npages;
}

static void forget_segment(struct heap *heap, struct segment *segment)
{
	unsigned slot = segment_slot((uintptr_t)segment->window);
	if (atomic_read_relaxed(&heap->known[slot]) == heap_known(heap, segment->map))
		atomic_write_release(&heap->known[slot], heap_known_none(slot));
	list_remove(&segment->hash);
	list_remove(&segment->node);
	count_add(&heap->nsegments, -(uint64_t)1);
	count_add(&heap->segment_npages, -(uint64_t)segment->npages);
	count_add(&heap->empty_npages, -(uint64_t)segment->npages);
	count_add(&heap->free_npages, -(uint64_t)segment->nfree);
	count_add(&heap->decommitted_npages, -(uint64_t)heap_count_decommitted(segment));
}

/* An empty segment goes, if there is one among the next few. */
static uint64_t unmap_some(struct heap *heap, struct pass *pass)
{
	struct segment *segment = NULL, *found = NULL;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned i = 0; i < 16 * PASS_STEP && !found; i++) {
		segment = next_segment(pass);
		if (!segment)
			break;
		if (segment->nslabs || segment == pass->kept)
			continue;
		if (pass->keep) {
			pass->keep = false;
			pass->kept = segment;
			continue;
		}
		found = segment;
		forget_segment(heap, segment);
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	return found ? unmap_segment(heap, found) : 0;
}

/* The next run to be decommitted: it counts as used meanwhile, and its segment as having
 * one more slab, so that both stay; the segment is the next again. NULL: none among the next
 * few. */
static struct segment *begin_decommit(struct heap *heap, struct pass *pass, unsigned *page,
				      unsigned *n)
{
	struct segment *segment, *found = NULL;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	for (unsigned i = 0; i < PASS_STEP && !found && (segment = next_segment(pass)); i++) {
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

/* The memory behind a run of free pages of a segment in use goes. */
static uint64_t decommit_some(struct heap *heap, struct pass *pass)
{
	unsigned page, n;
	struct segment *segment = begin_decommit(heap, pass, &page, &n);
	if (!segment)
		return 0;
	char *at = segment->window + page * PAGE_SIZE;
	bool decommitted = heap->area->decommit(heap->area, at, n);
	end_decommit(heap, segment, page, n, decommitted);
	if (!decommitted)
		pass->left = 0;
	return decommitted ? n : 0;
}

/* A run of free loose pages is the heap's no more. */
static uint64_t drop_some(struct heap *heap, struct pass *pass)
{
	char *found = NULL;
	unsigned n = 0;
	unsigned long irq = mem_lock_irq(&heap->lock, MEM_RANK_HEAP);
	struct segment *segment = next_segment(pass);
	if (segment) {
		unsigned page = free_run(segment, &n);
		set_used(segment, page, n, true);
		segment->npages = (uint16_t)(segment->npages - n);
		count_add(&heap->segment_npages, -(uint64_t)n);
		count_add(&heap->empty_npages, segment->nslabs ? 0 : -(uint64_t)n);
		pass->left += segment->nfree != 0;
		relist(heap, segment);
		found = segment->window + page * PAGE_SIZE;
	}
	mem_unlock_irq(&heap->lock, MEM_RANK_HEAP, irq);
	if (found)
		heap->area->unmap(heap->area, found, n);
	return n;
}

/* The whole pass, in steps. `reaper`: this is one. */
static uint64_t pass_over(struct heap *heap, struct pass *pass, struct list *list, bool reaper,
			  uint64_t (*some)(struct heap *, struct pass *))
{
	uint64_t npages = 0, n, before;
	pass->list = list;
	pass->left = atomic_read_relaxed(&heap->nsegments);
	do {
		before = pass->left;
		if (reaper)
			mem_lock_flushable(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		n = some(heap, pass);
		if (reaper)
			mem_unlock(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		npages += n;
	} while (n || pass->left != before);
	return npages;
}

static uint64_t give_back(struct heap *heap, bool all, bool reaper)
{
	struct pass pass = {.keep = !all};
	uint64_t npages = pass_over(heap, &pass, &heap->segments, reaper, unmap_some) +
			  pass_over(heap, &pass, &heap->full_segments, reaper, unmap_some);
	if (all && heap->loose)
		npages += pass_over(heap, &pass, &heap->segments, reaper, drop_some);
	else if (all && heap->area->decommit)
		npages += pass_over(heap, &pass, &heap->segments, reaper, decommit_some);
	return npages;
}

uint64_t heap_reap_segments(struct heap *heap, bool all)
{
	return give_back(heap, all, true);
}

bool heap_give_loose(struct heap *heap)
{
	if (!heap->loose)
		return false;
	(void)shed(heap);
	return heap_drop_large(heap) + give_back(heap, true, false) > 0;
}
