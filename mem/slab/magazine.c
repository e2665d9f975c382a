/* SPDX-License-Identifier: MIT */
/*
 * Magazines: the blocks that a CPU has at hand.
 *
 * The problem. What a program frees it soon asks for again, and of another slab than it
 * took before: with a bit in a descriptor each time, and a list to be moved in whenever a
 * slab is nearly full, random frees cost three times what a stack costs. And a free of
 * another CPU's block is a locked instruction on a line that its owner allocates from.
 *
 *     struct slab_magazine      | block, state | block, state | ...        |
 *     top, bottom, full        ^ bottom                       ^ top        ^ full
 *
 * An entry leads to the block and to its byte of state, which is all that the short ways
 * need. Blocks of any slab of the cache go in, whoever owns it. A magazine that is empty
 * is filled to the half from the current slab, and from the next ones; of a full one half
 * goes back to the slabs, those of one word with one instruction. So the slab's side of
 * things is done once in half a magazine.
 *
 *   M1  A block in a magazine has the state 0 and its bits are 0 as well: to its slab it is
 *       in use, so the slab stays.
 *   M2  Only the CPU itself, inside its part, and the reaper, when nobody is inside any
 *       more, look into a magazine. The others read how many there are, for statistics.
 *   M3  The order of a free is state, entry, `at`; all inside the part. So a handler finds
 *       either the whole entry or none, and in no case uses the magazine (busy is set).
 *
 * Room. The heap's CPUs get that from a cache of the heap's own when they are warm in a
 * class, and lose it when the reaper comes: so it can be ample, and yet what the heap holds
 * then depends on what is live. A free takes such room, but never makes a slab of it; it
 * leaves word (wants_room) for the next allocation. Other caches' CPUs have a little of
 * their own.
 *
 * Which blocks stay out: those of slabs that drain (place.c), as they would keep these from
 * becoming empty by going round and round; those freed by a CPU that is cold.
 */
#include "base/assert.h"
#include "slab/fast.h"
#include "slab/paths.h"

struct slab_magazine slab_no_magazine;

/* ---- room ---------------------------------------------------------------------- */

static void set_room(struct slab_magazine *m, struct slab_entry *first, size_t entries)
{
	m->full = entries ? first - 1 + entries : NULL;
	atomic_write_relaxed(&m->bottom, entries ? first - 1 : NULL);
	atomic_write_relaxed(&m->top, m->bottom);
}

void slab_init_magazine(struct slab_cache *cache, struct slab_cpu *c)
{
	c->hand.magazine = &slab_no_magazine;
	set_room(&c->own, (struct slab_entry *)(void *)(c + 1), cache->store ? 0 : cache->entries);
}

/* Use the CPU's magazine from now on, if it has room or can get some. Inside its part. */
static bool open_magazine(struct slab_cache *cache, struct slab_cpu *c)
{
	if (unlikely(!c->own.full)) {
		struct slab_entry *first = slab_take_shared(cache->store);
		if (!first) {
			atomic_write_relaxed(&cache->wants_room, true);
			c->warmth = 0; /* ask again after some more */
			return false;
		}
		set_room(&c->own, first, cache->entries);
	}
	atomic_write_relaxed(&c->hand.magazine, &c->own);
	return true;
}

/* An empty magazine's room goes back. */
static void give_room(struct slab_cache *cache, struct slab_cpu *c)
{
	if (!cache->store || !c->own.full)
		return;
	struct slab_entry *first = c->own.bottom + 1;
	set_room(&c->own, NULL, 0);
	struct slab *slab = slab_of(cache->store, first);
	unsigned index = slab_index(slab, first);
	atomic_write_relaxed(&slab->state[index], 0);
	slab_give_bits(slab, index / 64, (uint64_t)1 << (index % 64));
}

void slab_make_store(struct slab_cache *cache, bool atomic)
{
	atomic_write_relaxed(&cache->wants_room, false);
	struct slab *slab = cache->store->home->make(cache->store, atomic);
	if (slab)
		slab_install(cache->store, slab);
}

void slab_hide_magazine(struct slab_cpu *c)
{
	atomic_write_seq(&c->hand.magazine, &slab_no_magazine);
}

static void set_top(struct slab_magazine *m, struct slab_entry *top)
{
	atomic_write_relaxed(&m->top, top);
}

/* ---- filling ----------------------------------------------------------------- */

/* Load n blocks of those in `bits`, free ones of a word: the lowest, and of these the
 * lowest to be handed out first. */
static void load_bits(struct slab_magazine *m, struct slab *slab, unsigned word, uint64_t bits,
		      size_t n)
{
	uint64_t others = slab->word[word].free & ~bits, stride = slab->stride;
	char *first = slab->base + word * 64 * stride;
	uint8_t *state = slab->state + (size_t)word * 64;
	struct slab_entry *entry = m->top + n, *end = m->top;
	for (; entry > end; bits &= bits - 1, entry--) {
		uint64_t bit = bit_lowest(bits);
		entry->block = first + bit * stride;
		entry->state = state + bit;
	}
	atomic_write_relaxed(&slab->word[word].free, others | bits);
	set_top(m, end + n);
}

static void load_in_order(struct slab_magazine *m, struct slab *slab, size_t want)
{
	for (unsigned i = 0; i < slab->words && slab_loaded(m) < want; i++) {
		uint64_t bits = slab->word[i].free;
		if (bits)
			load_bits(m, slab, i, bits,
				  mem_min((size_t)bits_set(bits), want - slab_loaded(m)));
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
	size_t n = bits_set(bits);
	while (n > want) {
		uint64_t random = next_random(c), fewer = bits & (random ^ random >> 32);
		if (fewer) { /* each with a chance of a half */
			bits = fewer;
			n = bits_set(bits);
		}
	}
	load_bits(&c->own, slab, i, bits, n);
}

bool slab_load(struct slab_cache *cache, struct slab_cpu *c)
{
	struct slab_magazine *m = &c->own;
	size_t want = cache->entries / 2;
	if (c->own.full == NULL && (c->warmth < SLAB_WARM || !open_magazine(cache, c))) {
		(void)slab_is_warm(c);
		return false;
	}
	/* A few of a slab that is nearly full are too few: they would be used up at once. */
	while (slab_loaded(m) < want / 2 && slab_refill(cache, c)) {
		if (!cache->careful)
			load_in_order(m, c->current, want);
		else
			load_random(c, c->current, want - slab_loaded(m));
		if (!cache->home->eager)
			break; /* the fullest slab first, and no other before it is full */
	}
	return m->top != m->bottom && open_magazine(cache, c);
}

/* ---- emptying ---------------------------------------------------------------- */

/* What is done with blocks of one word of a slab. */
typedef void give_fn(struct slab_cpu *c, struct slab *slab, unsigned word, uint64_t bits);

/* Give the newest blocks, until the one at `left` is; those of one word that lie side by side at
 * once. */
static void give_down_to(struct slab_cache *cache, struct slab_cpu *c, struct slab_entry *left,
			 give_fn *give)
{
	if (c->own.top == left) /* also if there is no room at all */
		return;
	struct slab_entry *entry = left + 1, *end = c->own.top + 1;
	while (entry < end) {
		struct slab *slab = slab_of(cache, entry->block);
		size_t index = (size_t)(entry->state - slab->state), word = index / 64;
		uint8_t *first = slab->state + word * 64;
		size_t span = mem_min(slab->capacity - word * 64, (size_t)64), at = index % 64;
		uint64_t bits = 0;
		do {
			if (unlikely((bits >> at) & 1))
				slab_bad_block(slab, entry->block, "double free");
			bits |= (uint64_t)1 << at;
			if (++entry == end)
				break;
			at = (uintptr_t)entry->state - (uintptr_t)first;
		} while (at < span);
		give(c, slab, (unsigned)word, bits); /* the slab may be gone now */
	}
	set_top(&c->own, left);
}

bool slab_make_room(struct slab_cache *cache, struct slab_cpu *c)
{
	if (!open_magazine(cache, c))
		return false;
	if (c->own.top == c->own.full)
		give_down_to(cache, c, c->own.bottom + cache->entries / 2, slab_give_bits_inside);
	return true;
}

void slab_unload(struct slab_cache *cache, struct slab_cpu *c)
{
	give_down_to(cache, c, c->own.bottom, slab_give_bits_inside);
}

void slab_close_magazine(struct slab_cache *cache, struct slab_cpu *c)
{
	slab_hide_magazine(c);
	slab_unload(cache, c);
	give_room(cache, c);
}

/* The lock: a slab of the cache's own is used by others meanwhile. Where it belongs now
 * the reaper finds out later. */
static void set_bits_closed(struct slab_cpu *c, struct slab *slab, unsigned word, uint64_t bits)
{
	struct slab_cache *cache = slab->cache;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	slab_set_bits(slab, word, bits);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
}

void slab_unload_closed(struct slab_cache *cache, struct slab_cpu *c)
{
	give_down_to(cache, c, c->own.bottom, set_bits_closed);
	give_room(cache, c);
}
