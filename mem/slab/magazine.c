/* SPDX-License-Identifier: MIT */
/*
 * Magazines: the blocks that a CPU keeps to itself.
 *
 * The problem. What a program frees it soon asks for again, and of another slab than it
 * took before. A bit in a descriptor each time, and a list to be moved in whenever a slab
 * is nearly full, make random frees cost three times what a stack costs. And a free of
 * another CPU's block is a locked instruction on a line that its owner allocates from.
 *
 *     storage                   | block, state | block, state | ...        |
 *     top, bottom, full        ^ bottom                       ^ top        ^ full
 *
 * An entry leads to the block and to its byte of state, which is all that the fast paths
 * need. Blocks of any slab of the cache go in, whoever owns it. An empty magazine is filled
 * to the half from the current slab, and from the next ones. Of a full one half goes back
 * to the slabs, those of one word with one instruction. So the slab's side of things is
 * done once in half a magazine.
 *
 *   M1  A block in a magazine is not allocated by its state, and its bits are 0: to its slab it is
 *       in use, so the slab stays.
 *   M2  Only the CPU itself, inside its guard, and the reaper, when nobody is inside any
 *       more, look into a magazine. The others read how many there are, for statistics.
 *   M3  The order of a free is state, entry, `top`; all inside the guard. So a handler finds
 *       either the whole entry or none, and in no case uses the magazine (busy is set).
 *
 * Storage. A heap has a cache of its own for that. A CPU gets it when it is warm in a
 * class, and loses it when the reaper comes. So it can be ample, and yet what the heap
 * holds after a reap depends on what is live. A free takes such storage, but never makes a
 * slab of it; it leaves word (wants_storage) for the next allocation. Other caches' CPUs
 * have a little of their own.
 *
 * Growth. A program that allocates more in a row than a magazine holds, and then frees it,
 * takes each block through slab and magazine. A magazine that went from full to empty some
 * times gets storage of a larger kind (when it is empty: nothing is to be moved), until the
 * next reap. It holds no more than was in use at once before: loading makes no slabs.
 *
 * Borrowing. The caches of a heap's classes have their peaks at different times; what each
 * had more then lies idle, a fifth of a heap of 10,000 blocks. So before a cache makes a
 * slab it takes blocks that lie idle in one of the next larger classes, at most half as
 * large again. A few entries go from magazine to magazine. When such a block is freed it
 * goes to the magazine of its own class, by its page.
 *
 *   M4  A magazine holds blocks of its cache, or of those above if it borrows.
 *
 * Only who has had blocks back since it last ran out borrows. In a program that grows, each
 * class is to grow by itself: what is idle above is the rest of a new slab, which will be
 * needed there. Nothing is borrowed where blocks have to be aligned to their size, nor in
 * hardened heaps, as a canary is at the end of a class.
 *
 * Closed. The fast paths compare `top` with the limits in the header alone. A header is
 * closed by limits between which nothing is. Only slow paths and the reaper write the
 * limits: a fast path that is under way cannot put them back, as it does with `top`.
 *
 * Which blocks stay out: those of slabs that drain (place.c), which would never become
 * empty if their blocks went round and round. And those freed by a CPU that is cold.
 */
#include "base/assert.h"
#include "slab/fast.h"
#include "slab/paths.h"

/* ---- storage ----------------------------------------------------------------------- */

void slab_magazine_close(struct slab_magazine *magazine)
{
	atomic_write_seq(&magazine->bottom, SLAB_CLOSED_BOTTOM);
	atomic_write_seq(&magazine->full, SLAB_CLOSED_FULL);
}

static struct slab_entry *bottom(const struct slab_cpu *c)
{
	return c->storage ? c->storage - 1 : NULL;
}

static void set_top(struct slab_cpu *c, struct slab_entry *top)
{
	atomic_write_relaxed(&c->magazine.top, top);
}

static void set_storage(struct slab_cpu *c, struct slab_entry *first, uint32_t entries)
{
	atomic_write_relaxed(&c->storage, first);
	atomic_write_relaxed(&c->entries, entries);
	set_top(c, bottom(c));
}

void slab_init_magazine(struct slab_cache *cache, struct slab_cpu *c)
{
	slab_magazine_close(&c->magazine);
	if (cache->store[0] || !cache->entries[0])
		set_storage(c, NULL, 0);
	else
		set_storage(c, (struct slab_entry *)(void *)(c + 1), cache->entries[0]);
}

static bool take_storage(struct slab_cache *cache, struct slab_cpu *c, bool grown)
{
	struct slab_entry *first = slab_take_shared(cache->store[grown]);
	if (first) {
		set_storage(c, first, cache->entries[grown]);
		c->grown = grown;
	} else {
		atomic_write_relaxed(&cache->wants_storage, (uint8_t)(1 + grown));
	}
	return first != NULL;
}

/* Use the CPU's magazine from now on, if it has storage or can get some. Inside its guard. */
static bool open_magazine(struct slab_cache *cache, struct slab_cpu *c)
{
	if (unlikely(!c->storage && !take_storage(cache, c, false))) {
		c->warmth = 0; /* ask again after some more */
		return false;
	}
	atomic_write_relaxed(&c->magazine.bottom, (uintptr_t)bottom(c));
	atomic_write_relaxed(&c->magazine.full, (uintptr_t)(bottom(c) + c->entries));
	return true;
}

/* Room of which nothing is used goes back. */
static void return_storage(struct slab_cache *store, struct slab_entry *first)
{
	struct slab *slab = slab_of(store, first);
	unsigned index = slab_index(slab, first);
	slab_mark_free(slab_state(slab, first));
	slab_give_bits(slab, index / 64, (uint64_t)1 << (index % 64));
}

/* The reaper comes, or the CPU goes: an empty magazine loses its storage. */
static void give_storage(struct slab_cache *cache, struct slab_cpu *c)
{
	if (!cache->store[0] || !c->storage)
		return;
	return_storage(cache->store[c->grown], c->storage);
	set_storage(c, NULL, 0);
	c->grown = false;
	c->swings = 0;
}

/* An empty magazine that was too small again and again gets more capacity, if there is some. */
static void grow(struct slab_cache *cache, struct slab_cpu *c)
{
	struct slab_entry *old = c->storage;
	if (c->grown || !cache->entries[true])
		return;
	c->swings = 0;
	if (take_storage(cache, c, true)) {
		return_storage(cache->store[false], old);
		(void)open_magazine(cache, c);
	}
}

void slab_make_store(struct slab_cache *cache)
{
	unsigned wants = atomic_swap(&cache->wants_storage, 0);
	struct slab_cache *store = wants ? cache->store[wants - 1] : NULL;
	struct slab *slab = store ? store->backend->make(store, true) : NULL;
	if (slab)
		slab_install(store, slab);
}

/* ---- filling ----------------------------------------------------------------- */

/* Load n blocks of those in `bits`, free ones of a word: the lowest, and of these the
 * lowest to be handed out first. */
static void load_bits(struct slab_cpu *c, struct slab *slab, unsigned word, uint64_t bits, size_t n)
{
	uint64_t others = slab->word[word].free & ~bits, stride = slab->cache->stride;
	size_t first = word * 64 * stride;
	unsigned shift = slab->cache->shift;
	uint8_t *states = slab_states(slab);
	struct slab_entry *entry = c->magazine.top + n, *end = c->magazine.top;
	for (; entry > end; bits &= bits - 1, entry--) {
		size_t offset = first + bit_lowest(bits) * stride;
		entry->block = slab->base + offset;
		entry->state = states + (offset >> shift);
	}
	atomic_write_relaxed(&slab->word[word].free, others | bits);
	set_top(c, end + n);
}

static void load_in_order(struct slab_cpu *c, struct slab *slab, size_t want)
{
	for (unsigned i = 0; i < slab->words && slab_loaded(c) < want; i++) {
		uint64_t bits = slab->word[i].free;
		if (bits)
			load_bits(c, slab, i, bits,
				  mem_min((size_t)bit_count(bits), want - slab_loaded(c)));
	}
}

static uint64_t next_random(struct slab_cpu *c)
{
	return c->random = c->random * 6364136223846793005 + 1442695040888963407;
}

/* Of the slab's words one, of its free blocks some: which is not to be foreseen. */
static void load_random(struct slab_cpu *c, struct slab *slab, size_t want)
{
	unsigned i = (unsigned)(((next_random(c) >> 32) * slab->words) >> 32);
	while (!slab->word[i].free)
		i = i + 1 < slab->words ? i + 1 : 0;
	uint64_t bits = slab->word[i].free;
	size_t n = bit_count(bits);
	while (n > want) {
		uint64_t random = next_random(c), fewer = bits & (random ^ random >> 32);
		if (fewer) { /* each with a chance of a half */
			bits = fewer;
			n = bit_count(bits);
		}
	}
	load_bits(c, slab, i, bits, n);
}

bool slab_load(struct slab_cache *cache, struct slab_cpu *c)
{
	if (!c->storage && (c->warmth < SLAB_WARM || !open_magazine(cache, c))) {
		(void)slab_is_warm(c);
		return false;
	}
	if (c->was_full && !slab_loaded(c)) {
		c->was_full = false;
		if (++c->swings >= SLAB_SWINGS)
			grow(cache, c);
	}
	size_t want = c->entries / 2;
	/* A few of a slab that is nearly full are too few: they would be used up at once. */
	while (slab_loaded(c) < want / 2 && slab_refill(cache, c)) {
		if (!cache->careful)
			load_in_order(c, c->current, want);
		else
			load_random(c, c->current, want - slab_loaded(c));
		if (!cache->backend->eager)
			break; /* the fullest slab first, and no other before it is full */
	}
	return slab_loaded(c) && open_magazine(cache, c);
}

/* ---- borrowing ------------------------------------------------------------------ */

/* Blocks that were handed out by this cache and came back since it was made: when none is
 * free, all that ever were, less those there are. */
static uint32_t count_freed(const struct slab_cache *cache)
{
	uint64_t n = atomic_read_relaxed(&cache->allocs);
	for (unsigned cpu = 0; cpu < cache->ncpus; cpu++)
		n += atomic_read_relaxed(&slab_cpu_of(cache, cpu)->magazine.allocs);
	return (uint32_t)(n - atomic_read_relaxed(&cache->nblocks));
}

/* The newest of another magazine, up to n, into one that is empty. */
static void move(struct slab_cpu *to, struct slab_cpu *from, size_t n)
{
	n = mem_min(n, slab_loaded(from));
	for (size_t i = 0; i < n; i++)
		to->magazine.top[i + 1] = *(from->magazine.top - i);
	set_top(from, from->magazine.top - n);
	set_top(to, to->magazine.top + n);
}

/* Half of what a cache above has idle. */
static void borrow_of(struct slab_cache *lender, struct slab_cpu *c)
{
	struct slab_cpu *other = slab_cpu_of(lender, host_cpu());
	size_t idle = other->storage ? slab_idle(lender) : 0;
	if (idle < SLAB_BORROW_MIN)
		return;
	size_t n = mem_min(idle / 2, (size_t)c->entries / 2);
	if (slab_loaded(other) >= n || slab_load(lender, other))
		move(c, other, n);
}

bool slab_borrow(struct slab_cache *cache, struct slab_cpu *c)
{
	if (!cache->borrows || !c->storage || slab_loaded(c))
		return false;
	uint32_t freed = count_freed(cache), then = atomic_read_relaxed(&cache->freed);
	size_t most = cache->stride + cache->stride / 2;
	struct slab_cache *lender = (int32_t)(freed - then) > 0 ? cache->above : NULL;
	for (; lender && lender->stride <= most && !slab_loaded(c); lender = lender->above)
		borrow_of(lender, c);
	/* What was borrowed comes back elsewhere. */
	atomic_write_relaxed(&cache->freed, freed + (uint32_t)slab_loaded(c));
	return slab_loaded(c) && open_magazine(cache, c);
}

/* ---- emptying ---------------------------------------------------------------- */

/* What is done with blocks of one word of a slab. */
typedef void give_fn(struct slab_cpu *c, struct slab *slab, unsigned word, uint64_t bits);

/* Give the newest blocks, until the one at `left` is; those of one word that lie side by side at
 * once. */
static void give_down_to(struct slab_cache *cache, struct slab_cpu *c, struct slab_entry *left,
			 give_fn *give)
{
	if (!c->storage)
		return;
	struct slab_entry *entry = left + 1, *end = c->magazine.top + 1;
	while (entry < end) {
		struct slab *slab = slab_of(cache, entry->block);
		size_t first = slab_index(slab, entry->block) / 64 * 64, at;
		uint64_t bits = 0, index;
		do {
			if (!slab_find_index(slab, entry->block, &index))
				break;
			at = index - first;
			if (at >= 64)
				break;
			if (unlikely((bits >> at) & 1))
				slab_bad_block(slab, entry->block, "double free");
			bits |= (uint64_t)1 << at;
		} while (++entry < end);
		/* The slab may be gone then. */
		if (likely(slab->cache == cache))
			give(c, slab, (unsigned)(first / 64), bits);
		else
			slab_give_bits(slab, (unsigned)(first / 64), bits);
	}
	set_top(c, left);
}

bool slab_make_space(struct slab_cache *cache, struct slab_cpu *c)
{
	if (!open_magazine(cache, c))
		return false;
	if (slab_loaded(c) == c->entries) {
		c->was_full = true;
		give_down_to(cache, c, bottom(c) + c->entries / 2, slab_give_bits_inside);
	}
	return true;
}

void slab_unload(struct slab_cache *cache, struct slab_cpu *c)
{
	give_down_to(cache, c, bottom(c), slab_give_bits_inside);
}

void slab_close_magazine(struct slab_cache *cache, struct slab_cpu *c)
{
	slab_magazine_close(&c->magazine);
	slab_unload(cache, c);
	give_storage(cache, c);
}

/* The lock: a slab of the cache's own is used by others meanwhile. Where it belongs now
 * the reaper finds out later. */
static void set_bits_closed(MEM_UNUSED struct slab_cpu *c, struct slab *slab, unsigned word,
			    uint64_t bits)
{
	struct slab_cache *cache = slab->cache;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	slab_set_bits(slab, word, bits);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
}

bool slab_unload_closed(struct slab_cache *cache, struct slab_cpu *c, size_t most)
{
	size_t n = slab_loaded(c);
	if (n > most) {
		give_down_to(cache, c, bottom(c) + (n - most), set_bits_closed);
		return false;
	}
	give_down_to(cache, c, bottom(c), set_bits_closed);
	give_storage(cache, c);
	return true;
}
