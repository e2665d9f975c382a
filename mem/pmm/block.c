/* SPDX-License-Identifier: MIT */
/*
 * Blocks: 512 frames, one 64-byte line of bitmap, one 32-bit state.
 *
 *      line    w0       w1       w2   ...   w7         bit 1: in use
 *      state   hint | record page or order | flags | kind | owner
 *      class   two summary bits: full, half, sparse, free
 *      order   one summary bit: in a block of an order 1..8 something is free
 *
 * Rules. Each is checked by pmm_is_valid or by an assertion.
 *
 *  B1  Bits are set only by the block's owner (state_owner), bits are cleared by
 *      whoever has the frames. So a word can be emptied by one atomic exchange,
 *      a bit once seen clear by the owner stays clear until he sets it, and
 *      nothing here ever retries because of somebody else's allocation.
 *  B2  The bits alone say what is free; nothing counts along. The hint, about how
 *      many bits are clear, is read and written without any order: two at once may
 *      lose one of their changes. It steers searches and nothing else. So a free
 *      pays one locked operation, for its bits.
 *  B3  A block is CLASS_FREE in the summaries if and only if it is NORMAL without
 *      a format and all its bits are clear. Whoever has cleared bits looks at the
 *      line after that, whoever has set bits or changed the format looks too, and
 *      both write the class they see and look again until it agrees. Each looks
 *      after a locked operation of his own, so of two the later sees the change of
 *      the other: at rest class and line agree, and in between a class is a hint.
 *      The other classes follow the hint.
 *  B4  A block allocated whole (HUGE, CACHED) has no format, and its line is clear:
 *      the state alone says that it is in use, so that 64 bytes less are written each
 *      way. Who wants it whole becomes its owner first, so that by B1 the line cannot
 *      fill up, looks at all bits, and lets go if one is set. Who takes a part of it
 *      out sets the line first (pmm_free_range).
 *  B5  A block with records has the bit of its record page set; the record of
 *      every free frame is 0, that of the record page itself RECORD_PAGE.
 *  B6  A block of an order (1..8) holds nothing else: runs of 2^order frames, no
 *      record page, no unusable frame (order.c).
 *
 * A block with fewer than FREE_MIN free frames counts as full until more come
 * back: looking for single holes would cost more than they are worth. They are
 * found when nothing else is left.
 *
 * The four classes are a Gray code in the order that a filling block passes them: free 10,
 * sparse 11, half 01, full 00. So an ordinary transition changes one summary bit, and never
 * shows a class that the block does not border on.
 *
 * block.pml is a model of B1 to B4; ./test checks it.
 *
 * Formats come and go with what is in a block. A record page is made when a block is first
 * owned for frames that need records. An order is written when a wholly free block is first
 * owned for it. Who frees the last frame takes either away.
 *
 * Rejected: an exact count of free frames in the state, as this had: it costs
 * every free a second locked operation, which is half of what a free costs.
 */
#include "arch/x86_64/ops.h"
#include "pmm/whole.h"

/* ---- lines ------------------------------------------------------------------------- */

/* Written out, here and below, because compilers make a loop of a loop. */
static inline uint64_t line_any(const uint64_t *line)
{
#define W(i) atomic_read_relaxed(&line[i])
	return ((W(0) | W(1)) | (W(2) | W(3))) | ((W(4) | W(5)) | (W(6) | W(7)));
}

bool pmm_line_is_full(const uint64_t *line)
{
	return (((W(0) & W(1)) & (W(2) & W(3))) & ((W(4) & W(5)) & (W(6) & W(7)))) == ALL_ONES;
#undef W
}

void pmm_line_fill(uint64_t *line)
{
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		atomic_write_relaxed(&line[i], ALL_ONES);
}

unsigned pmm_block_clear_bits(const struct pmm *pmm, uint32_t block)
{
	const uint64_t *line = pmm_block_line(pmm, block);
	unsigned n = 0;
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		n += bit_count(~atomic_read_relaxed(&line[i]));
	return n;
}

/* ---- classes ----------------------------------------------------------------------- */

static inline enum pmm_block_class class_of_hint(unsigned hint)
{
	if (hint < FREE_MIN)
		return CLASS_FULL;
	return hint < HINT_MANY ? CLASS_HALF : CLASS_SPARSE;
}

static inline enum pmm_block_class class_now(const struct pmm *pmm, uint32_t block)
{
	uint32_t state = atomic_read_seq(&pmm->states[block]);
	if (state & STATE_KIND)
		return CLASS_FULL;
	if (!(state & (STATE_MIXED | STATE_FORMAT)) &&
	    pmm_line_is_clear(pmm_block_line(pmm, block)))
		return CLASS_FREE;
	return state_order(state) ? CLASS_FULL : class_of_hint(state_hint(state));
}

static bool order_has_free(const struct pmm *pmm, uint32_t block)
{
	uint32_t state = atomic_read_seq(&pmm->states[block]);
	unsigned order = state_order(state);
	return !(state & STATE_KIND) && order &&
	       pmm_line_find(pmm_block_line(pmm, block), order) < BLOCK_PAGES;
}

bool pmm_block_is_whole(const struct pmm *pmm, uint32_t block)
{
	return class_now(pmm, block) == CLASS_FREE;
}

static inline enum pmm_block_class class_read(const struct pmm *pmm, uint32_t block)
{
	unsigned shift = block % GROUP_BLOCKS;
	uint64_t a = atomic_read_seq(&pmm->summary_a[block / GROUP_BLOCKS]) >> shift;
	uint64_t b = atomic_read_seq(&pmm->summary_b[block / GROUP_BLOCKS]) >> shift;
	return (enum pmm_block_class)((a & 1) << 1 | (b & 1));
}

static inline void summary_write(uint64_t *word, uint64_t bit, bool set)
{
	bool is = (atomic_read_seq(word) & bit) != 0;
	if (set && !is)
		atomic_or(word, bit);
	else if (!set && is)
		atomic_and(word, ~bit);
}

/* A used block has free frames: a search that found none may be worth its while again. */
static void arrived(struct pmm *pmm)
{
	atomic_write_relaxed(&pmm->arrivals, atomic_read_relaxed(&pmm->arrivals) + 1);
}

void pmm_block_update_class(struct pmm *pmm, uint32_t block)
{
	uint64_t bit = (uint64_t)1 << block % GROUP_BLOCKS;
	enum pmm_block_class class;
	bool changed = false;
	while ((class = class_now(pmm, block)) != class_read(pmm, block)) {
		summary_write(&pmm->summary_a[block / GROUP_BLOCKS], bit, class & 2);
		summary_write(&pmm->summary_b[block / GROUP_BLOCKS], bit, class & 1);
		changed = true;
	}
	if (!changed)
		return;
	if (class == CLASS_FREE && block < atomic_read_relaxed(&pmm->free_hint))
		atomic_write_relaxed(&pmm->free_hint, block);
	else if (class != CLASS_FULL)
		arrived(pmm);
}

#define SHORT_SHARE 32 /* of all blocks */
#define SHORT_MOST  64 /* blocks */

bool pmm_is_short(const struct pmm *pmm)
{
	uint64_t enough = mem_min(pmm->nblocks / SHORT_SHARE, (uint64_t)SHORT_MOST) + 1;
	uint32_t ready = ready_blocks(pmm);
	uint64_t found = pmm->nblocks - ready; /* nobody has used these yet */
	for (uint32_t group = atomic_read_relaxed(&pmm->free_hint) / GROUP_BLOCKS;
	     found < enough && group * GROUP_BLOCKS < ready; group++)
		found += bit_count(atomic_read_relaxed(&pmm->summary_a[group]) &
				   ~atomic_read_relaxed(&pmm->summary_b[group]));
	return found < enough;
}

static void update_order(struct pmm *pmm, uint32_t block)
{
	uint64_t *word = &pmm->summary_order[block / GROUP_BLOCKS];
	uint64_t bit = (uint64_t)1 << block % GROUP_BLOCKS;
	bool any_free = order_has_free(pmm, block);
	if (!(atomic_read_seq(word) & bit) != any_free)
		return;
	do {
		any_free = order_has_free(pmm, block);
		summary_write(word, bit, any_free);
	} while (order_has_free(pmm, block) != any_free ||
		 !(atomic_read_seq(word) & bit) == any_free);
}

/* ---- owning ------------------------------------------------------------------------- */

static bool suits(const struct pmm *pmm, uint32_t block, uint32_t state, enum pmm_block_want want)
{
	if (state & (STATE_OWNER | STATE_KIND) || state_order(state))
		return false;
	bool records = state & STATE_REC;
	if (want == WANT_RECORDABLE)
		return pmm_block_clear_bits(pmm, block) >= (records ? 1 : 2);
	if ((want == WANT_RECORDS && !records) || (want == WANT_NO_RECORDS && records))
		return false;
	return !pmm_line_is_full(pmm_block_line(pmm, block));
}

bool pmm_block_claim(struct pmm *pmm, uint32_t block, unsigned id, enum pmm_block_want want)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	do {
		if (!suits(pmm, block, state, want))
			return false;
	} while (!atomic_cas(&pmm->states[block], &state, state | id));
	return true;
}

bool pmm_block_claim_order(struct pmm *pmm, uint32_t block, unsigned id, unsigned order)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	do {
		if ((state & ~STATE_HINT) != STATE_ORDER(order))
			return false;
	} while (!atomic_cas(&pmm->states[block], &state, state | id));
	return true;
}

/* Is nothing in use but the record page and what is not usable? Context: inside a
 * cache or with `shared`, so that the map stands still. */
static bool only_format(const struct pmm *pmm, uint32_t block, uint32_t state)
{
	const uint64_t *line = pmm_block_line(pmm, block);
	uint64_t usable[BLOCK_WORDS];
	if (!(state & STATE_FORMAT))
		return false;
	if (unlikely(state & STATE_MIXED))
		pmm_block_usable(pmm, block, usable);
	unsigned record = state_record(state);
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t want = state & STATE_MIXED ? ~usable[i] : 0;
		if ((state & STATE_REC) && i == record / 64)
			want |= (uint64_t)1 << record % 64;
		if (atomic_read_seq(&line[i]) != want)
			return false;
	}
	return true;
}

/* The owner takes the format away and lets go. */
static void dismantle(struct pmm *pmm, uint32_t block, uint32_t state)
{
	unsigned record = state_record(state);
	if (state & STATE_REC)
		atomic_and(&pmm_block_line(pmm, block)[record / 64], ~((uint64_t)1 << record % 64));
	atomic_write_relaxed(pmm_block_hint(pmm, block),
			     (uint8_t)mem_min(pmm_block_clear_bits(pmm, block), HINT_MANY));
	atomic_and(&pmm->states[block], ~(STATE_FORMAT | STATE_OWNER));
	pmm_block_update_class(pmm, block);
}

void pmm_block_try_dismantle(struct pmm *pmm, uint32_t block, unsigned id)
{
	uint32_t state = atomic_read_seq(&pmm->states[block]);
	do {
		if (state & (STATE_OWNER | STATE_KIND) || !only_format(pmm, block, state))
			return;
	} while (!atomic_cas(&pmm->states[block], &state, state | id));
	if (only_format(pmm, block, state)) /* and stays so: B1 */
		dismantle(pmm, block, state);
	else
		pmm_block_release(pmm, block);
	if (state_order(state))
		update_order(pmm, block);
}

void pmm_block_release(struct pmm *pmm, uint32_t block)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if (!(state & STATE_FORMAT)) {
		/* Who frees in an owned block leaves its format to the owner, but not its class:
		 * without one nothing is left to look at, and a plain write will do. */
		atomic_write_release((uint8_t *)&pmm->states[block], 0);
	} else {
		(void)atomic_and(&pmm->states[block], ~STATE_OWNER);
		if (only_format(pmm, block, state))
			pmm_block_try_dismantle(pmm, block, state_owner(state));
		else if (state_order(state))
			update_order(pmm, block);
		pmm_block_update_class(pmm, block);
	}
	if (class_of_hint(state_hint(state)) != CLASS_FULL)
		arrived(pmm);
}

/* As B3 asks, others see bits that were set plainly before we look. */
void pmm_block_emptied(struct pmm *pmm, uint32_t block, bool plain)
{
	if (plain)
		atomic_and(&pmm->states[block], ~STATE_HINT);
	else
		atomic_write_relaxed(pmm_block_hint(pmm, block), 0);
	pmm_block_update_class(pmm, block);
}

void pmm_block_recount(struct pmm *pmm, uint32_t block)
{
	unsigned n = pmm_block_clear_bits(pmm, block);
	atomic_write_relaxed(pmm_block_hint(pmm, block), (uint8_t)mem_min(n, HINT_MANY));
	pmm_block_update_class(pmm, block);
}

bool pmm_block_make_records(struct pmm *pmm, uint32_t block, unsigned avoid, unsigned n)
{
	uint64_t *line = pmm_block_line(pmm, block);
	unsigned record = BLOCK_PAGES;
	while (record-- > 0) {
		if (record - avoid < n)
			continue;
		if (!(atomic_read_relaxed(&line[record / 64]) >> record % 64 & 1))
			break;
	}
	if (record >= BLOCK_PAGES)
		return false;
	uint64_t first = (uint64_t)block * BLOCK_PAGES;
	uint64_t *records = paddr_to_ptr(dense_to_paddr(pmm, first + record));
	uint32_t state = atomic_read_relaxed(&pmm->states[block]), to;
	unsigned order = state_order(state);
	arch_clear_page(records);
	for (unsigned i = 0; order && i < BLOCK_PAGES; i += 1u << order)
		if (line[i / 64] >> i % 64 & 1)
			records[i] = RECORD_ORDER(order);
	records[record] = RECORD_PAGE;
	atomic_or(&line[record / 64], (uint64_t)1 << record % 64);
	do {
		to = (state & ~STATE_FORMAT) | STATE_REC | record << STATE_RECORD_SHIFT;
	} while (!atomic_cas(&pmm->states[block], &state, to));
	if (order)
		update_order(pmm, block);
	return true;
}

/* ---- giving back ---------------------------------------------------------------- */

MEM_NORETURN void pmm_free_panic(struct pmm *pmm, uint64_t dense, const char *why)
{
	host_panic("pmm: freeing frame 0x%llx: %s", (unsigned long long)dense_to_paddr(pmm, dense),
		   why);
}

/* Those of the bits of word w that a cache holds privately, read consistently; 0 if it
 * is changing too fast to tell (or is the code that we interrupted). */
static uint64_t held_bits(const struct pmm_cpu_cache *cache, uint64_t w)
{
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		const struct pmm_private_word *p = &cache->word[k];
		if (atomic_read_relaxed(&p->block) != w / BLOCK_WORDS)
			continue;
		for (unsigned tries = 0; tries < 8; tries++) {
			uint32_t seq = atomic_read_acquire(&p->seq);
			uint64_t held = atomic_read_acquire(&p->rest[w % BLOCK_WORDS]);
			if (atomic_read_acquire(&p->w) == w)
				held |= atomic_read_acquire(&p->mask);
			if (!(seq & 1) && atomic_read_relaxed(&p->seq) == seq &&
			    atomic_read_relaxed(&p->block) == w / BLOCK_WORDS)
				return held;
		}
	}
	return 0;
}

/* Frees into a block that has an owner, or is not one of single frames any more. */
static __attribute__((noinline, cold)) void check_free(struct pmm *pmm, uint64_t w, uint64_t mask,
						       uint32_t state)
{
	uint64_t held = mask;
	if (!(state & STATE_KIND))
		held &= held_bits(&pmm->caches[state_owner(state) - 1], w);
	if (unlikely(held))
		pmm_free_panic(pmm, w * 64 + bit_lowest(held), "it is already free (cached)");
}

/* A border was passed, or hardly anything is left in use. */
static __attribute__((noinline)) void settle(struct pmm *pmm, struct pmm_cpu_cache *cache,
					     uint32_t block)
{
	uint32_t state = atomic_read_seq(&pmm->states[block]);
	if (cache && (state & STATE_FORMAT) && !state_owner(state))
		pmm_block_try_dismantle(pmm, block, pmm_cache_id(pmm, cache));
	pmm_block_update_class(pmm, block);
}

/* Who owns the block looks himself when he lets go. */
void pmm_block_freed_order(struct pmm *pmm, struct pmm_cpu_cache *cache, uint32_t block)
{
	if (state_owner(atomic_read_seq(&pmm->states[block])))
		return;
	if (cache && pmm_line_is_clear(pmm_block_line(pmm, block)))
		pmm_block_try_dismantle(pmm, block, pmm_cache_id(pmm, cache));
	update_order(pmm, block);
}

/* n frames of a block have come free by a locked operation that left `rest` in one of its
 * words: what is seen here is no older (B3). Nearly always others are in use in that very
 * word, so that the block cannot be free; two, because one may be the record page. */
static inline void freed(struct pmm *pmm, struct pmm_cpu_cache *cache, uint32_t *state,
			 uint64_t block, unsigned n, uint64_t rest)
{
	uint8_t *hint = (uint8_t *)state + STATE_HINT_SHIFT / 8;
	unsigned was = atomic_read_relaxed(hint);
	if (was != HINT_MANY) {
		unsigned now = mem_min(was + n, HINT_MANY);
		bool crosses = n == 1 ? now == FREE_MIN : was < FREE_MIN && now >= FREE_MIN;
		atomic_write_relaxed(hint, (uint8_t)now);
		if (unlikely(crosses) || unlikely(now == HINT_MANY))
			settle(pmm, cache, (uint32_t)block);
	}
	if (unlikely(!(rest & (rest - 1)))) {
		uint64_t any = line_any(pmm_block_line(pmm, (uint32_t)block));
		if (!(any & (any - 1)))
			settle(pmm, cache, (uint32_t)block);
	}
}

void pmm_block_give_back(struct pmm *pmm, uint64_t w, uint64_t mask)
{
	uint32_t block = (uint32_t)(w / BLOCK_WORDS);
	uint64_t rest = atomic_and(&pmm->lines[w], ~mask) & ~mask;
	freed(pmm, NULL, &pmm->states[block], block, bit_count(mask), rest);
}

static __attribute__((noinline)) void freed_many(struct pmm *pmm, struct pmm_cpu_cache *cache,
						 uint64_t block, uint64_t mask, uint64_t rest)
{
	freed(pmm, cache, &pmm->states[block], block, bit_count(mask), rest);
}

/* Subtracting clears bits that are all set, and tells of those that were not; in one
 * instruction, which clearing them and asking what was there is not. */
static inline void free_bits(struct pmm *pmm, struct pmm_cpu_cache *cache, uint32_t *states,
			     uint64_t *lines, uint64_t w, uint64_t mask)
{
	uint64_t block = w / BLOCK_WORDS;
	uint32_t *state = &states[block], is = fast_read(state);
	if (unlikely(is & (STATE_OWNER | STATE_KIND)))
		check_free(pmm, w, mask, is);
	/* What is left, unless some were not set. */
	uint64_t rest = (atomic_sub(&lines[w], mask) + mask) ^ mask;
	if (unlikely(rest & mask))
		pmm_free_panic(pmm, w * 64 + bit_lowest(rest & mask), "it is already free");
	if (likely(!(mask & (mask - 1))))
		freed(pmm, cache, state, block, 1, rest);
	else
		freed_many(pmm, cache, block, mask, rest);
}

void pmm_block_free_bits(struct pmm *pmm, struct pmm_cpu_cache *cache, uint64_t w, uint64_t mask)
{
	free_bits(pmm, cache, pmm->states, pmm->lines, w, mask);
}

void pmm_cache_flush_queue(struct pmm *pmm, struct pmm_cpu_cache *cache)
{
	uint32_t *states = pmm->states;
	uint64_t *lines = pmm->lines;
	unsigned n = cache->nqueue;
	if (!n)
		return;
	pmm_cache_lock(cache);
	for (unsigned i = 0; i < n; i++) {
		uint64_t mask = atomic_read_relaxed(&cache->queue_mask[i]);
		if (mask) /* else it has been taken back, or was nothing to begin with */
			free_bits(pmm, cache, states, lines, cache->queue_w[i], mask);
	}
	atomic_write_relaxed(&cache->nqueue, 0);
	pmm_cache_unlock(cache);
}

/* ---- whole blocks ------------------------------------------------------------------ */

bool pmm_block_take_free(struct pmm *pmm, uint32_t block, unsigned id, uint32_t to)
{
	return pmm_block_claim_free(pmm, block, id) && pmm_block_take_whole(pmm, block, to);
}

bool pmm_block_take_order(struct pmm *pmm, uint32_t block, unsigned id, unsigned order)
{
	if (!pmm_block_claim_free(pmm, block, id) || !pmm_block_keep_free(pmm, block))
		return false;
	atomic_or(&pmm->states[block], STATE_ORDER(order));
	return true;
}

void pmm_block_update_group(struct pmm *pmm, uint32_t group, uint64_t blocks, bool whole)
{
	uint64_t *a = &pmm->summary_a[group], *b = &pmm->summary_b[group];
	if (!whole) {
		atomic_and(a, ~blocks);
		/* What we hold is CLASS_FULL for sure: only where a bit came back is
		 * somebody else's look to be waited for. */
		blocks &= atomic_read_seq(a) | atomic_read_seq(b);
	} else {
		atomic_or(a, blocks);
		uint32_t lowest = group * GROUP_BLOCKS + bit_lowest(blocks);
		if (lowest < atomic_read_relaxed(&pmm->free_hint))
			atomic_write_relaxed(&pmm->free_hint, lowest);
	}
	/* As B3 asks: look again, and repair one by one what has moved on. */
	uint64_t free = atomic_read_seq(a) & ~atomic_read_seq(b);
	for (; blocks; blocks &= blocks - 1) {
		uint32_t block = group * GROUP_BLOCKS + bit_lowest(blocks);
		if (!(free >> block % GROUP_BLOCKS & 1) ||
		    (atomic_read_seq(&pmm->states[block]) & ~STATE_HINT) ||
		    !pmm_line_is_clear(pmm_block_line(pmm, block)))
			pmm_block_update_class(pmm, block);
	}
}

/* ---- searching ----------------------------------------------------------------------- */

uint64_t pmm_line_runs(const uint64_t *word, unsigned order)
{
	/* Bits at which an aligned run of 2^order may start, order 0..5. */
	static const uint64_t starts[] = {
	    ALL_ONES,           0x5555555555555555, 0x1111111111111111,
	    0x0101010101010101, 0x0001000100010001, 0x0000000100000001,
	};
	uint64_t clear = ~atomic_read_relaxed(word);
	if (order >= 6) {
		for (unsigned k = 1; k < 1u << (order - 6); k++)
			clear &= ~atomic_read_relaxed(&word[k]);
		return clear == ALL_ONES;
	}
	for (unsigned k = 0; k < order; k++)
		clear &= clear >> (1u << k);
	return clear & starts[order]; /* also drops what the shifts pulled in from above */
}

unsigned pmm_line_find(const uint64_t *line, unsigned order)
{
	unsigned words = order < 6 ? 1 : 1u << (order - 6);
	for (unsigned i = 0; i < BLOCK_WORDS; i += words) {
		uint64_t runs = pmm_line_runs(&line[i], order);
		if (runs)
			return i * 64 + bit_lowest(runs);
	}
	return BLOCK_PAGES;
}

static uint64_t class_bits(const struct pmm *pmm, uint32_t group, enum pmm_block_class class)
{
	if (class == CLASS_ORDER)
		return atomic_read_relaxed(&pmm->summary_order[group]);
	uint64_t a = atomic_read_relaxed(&pmm->summary_a[group]);
	uint64_t b = atomic_read_relaxed(&pmm->summary_b[group]);
	return (class & 2 ? a : ~a) & (class & 1 ? b : ~b);
}

uint32_t pmm_block_search(struct pmm *pmm, enum pmm_block_class class, uint32_t from,
			  unsigned patience, pmm_block_take *take, uint64_t arg)
{
	uint32_t nblocks = ready_blocks(pmm);
	if (!nblocks)
		return BLOCK_NONE;
	if (from >= nblocks)
		from = 0;
	uint32_t ngroups = (nblocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS;
	uint32_t group = from / GROUP_BLOCKS;
	uint64_t part = ALL_ONES << from % GROUP_BLOCKS;
	/* Once around, and the first group's lower part at the end. */
	for (uint32_t n = 0; n <= ngroups; n++) {
		uint64_t bits = class_bits(pmm, group, class) & part;
		while (bits) {
			uint32_t block = group * GROUP_BLOCKS + bit_lowest(bits);
			bits &= bits - 1;
			if (block >= nblocks)
				break;
			MEM_POINT();
			if (take(pmm, block, arg))
				return block;
			if (--patience == 0)
				return BLOCK_NONE;
		}
		part = ALL_ONES;
		if (++group == ngroups)
			group = 0;
	}
	return BLOCK_NONE;
}
