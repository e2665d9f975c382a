/* SPDX-License-Identifier: MIT */
/*
 * Blocks: 512 frames, one 64-byte line of bitmap, one 32-bit state.
 *
 *      line    w0       w1       w2   ...   w7         bit 1: in use
 *      state   free count | record page | flags | kind | owner
 *      class   two summary bits: full, half, sparse, free
 *
 * Rules. Each is checked by pmm_is_valid or by an assertion.
 *
 *  B1  Bits are set only by the block's owner (state_owner), bits are cleared by
 *      whoever has the frames. So a word can be emptied by one atomic exchange,
 *      a bit once seen clear by the owner stays clear until he sets it, and
 *      nothing here ever retries because of somebody else's allocation.
 *  B2  The count follows the bits: a freer clears first and adds then; a taker
 *      sets first and subtracts then, all at once when he lets go of the block.
 *      In an unowned block nobody is taking, so there the count never exceeds
 *      the clear bits; at rest they are equal. An unowned block with count 512
 *      is therefore wholly free, beyond doubt.
 *  B3  The class in the summaries follows the count: whoever moves a count over
 *      a border writes the class of the state he reads, and looks again until
 *      both agree. The last to write also looks last, so at rest they agree;
 *      in between a class is a hint, and a claim checks the state.
 *  B4  A block allocated whole (HUGE, CACHED) has count 0, all bits set, no
 *      records. Taking it is one compare-and-swap from {unowned, 512, NORMAL}.
 *  B5  A block with records has the bit of its record page set; the record of
 *      every free frame is 0, that of the record page itself RECORD_PAGE.
 *
 * A block with fewer than ROOM_MIN free frames counts as full until more come
 * back: looking for single holes would cost more than they are worth. They are
 * found when nothing else is left.
 *
 * The four classes are a Gray code in the order that a filling block passes
 * them (free 10, sparse 11, half 01, full 00), so that an ordinary transition
 * changes one summary bit and never shows a class that the block does not
 * border on.
 *
 * block.pml is a model of B1 to B4; ./test checks it.
 *
 * Record pages come and go with their blocks: made when a block is first owned
 * for frames that need records, given back when the rest of the block is free.
 */
#include "arch/x86_64/ops.h"
#include "pmm/internal.h"

static enum block_class class_of(uint32_t state)
{
	unsigned count = state_count(state);
	if (count == BLOCK_PAGES)
		return CLASS_FREE;
	if (count < ROOM_MIN || count > BLOCK_PAGES) /* above: a taker was faster (B2) */
		return CLASS_FULL;
	return count <= BLOCK_PAGES / 2 ? CLASS_HALF : CLASS_SPARSE;
}

static enum block_class class_read(const struct pmm *pmm, uint32_t block)
{
	unsigned shift = block % GROUP_BLOCKS;
	uint64_t a = atomic_read_seq(&pmm->summary_a[block / GROUP_BLOCKS]) >> shift;
	uint64_t b = atomic_read_seq(&pmm->summary_b[block / GROUP_BLOCKS]) >> shift;
	return (enum block_class)((a & 1) << 1 | (b & 1));
}

static void summary_write(uint64_t *word, uint64_t bit, bool set)
{
	bool is = (atomic_read_seq(word) & bit) != 0;
	if (set && !is)
		atomic_or(word, bit);
	else if (!set && is)
		atomic_and(word, ~bit);
}

void block_update_class(struct pmm *pmm, uint32_t block)
{
	uint64_t bit = (uint64_t)1 << block % GROUP_BLOCKS;
	enum block_class class;
	do {
		class = class_of(atomic_read_seq(&pmm->states[block]));
		summary_write(&pmm->summary_a[block / GROUP_BLOCKS], bit, class & 2);
		summary_write(&pmm->summary_b[block / GROUP_BLOCKS], bit, class & 1);
	} while (class_of(atomic_read_seq(&pmm->states[block])) != class ||
		 class_read(pmm, block) != class);
	if (class == CLASS_FREE && block < atomic_read_relaxed(&pmm->free_hint))
		atomic_write_relaxed(&pmm->free_hint, block);
}

uint32_t block_add(struct pmm *pmm, uint32_t block, unsigned n)
{
	uint32_t state = atomic_add(&pmm->states[block], STATE_COUNT(n));
	if (class_of(state) != class_of(state - STATE_COUNT(n)))
		block_update_class(pmm, block);
	return state;
}

uint32_t block_sub(struct pmm *pmm, uint32_t block, unsigned n)
{
	uint32_t state = atomic_sub(&pmm->states[block], STATE_COUNT(n));
	if (class_of(state) != class_of(state + STATE_COUNT(n)))
		block_update_class(pmm, block);
	return state;
}

bool block_claim(struct pmm *pmm, uint32_t block, unsigned id, bool (*want)(uint32_t state))
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	do {
		if (state_owner(state) || (state & STATE_KIND) != STATE_NORMAL)
			return false;
		if (state_count(state) - 1 >= BLOCK_PAGES || (want && !want(state)))
			return false;
	} while (!atomic_cas(&pmm->states[block], &state, state | id));
	return true;
}

/* Is nothing in use but the record page? Context: inside a slot or with `shared`,
 * so that the map stands still. */
static bool only_records(const struct pmm *pmm, uint32_t block, uint32_t state)
{
	if (!(state & STATE_REC))
		return false;
	if (likely(!(state & STATE_MIXED)))
		return state_count(state) == BLOCK_PAGES - 1;
	uint64_t usable[BLOCK_WORDS];
	return state_count(state) + 1 == block_usable(pmm, block, usable);
}

/* The owner takes the record page away. By B2 and B5 the line holds that one bit
 * and the unusable frames, else somebody wrote where he should not. */
static void dismantle(struct pmm *pmm, uint32_t block, uint32_t state)
{
	unsigned record = state_record(state);
	uint64_t *line = block_line(pmm, block);
	uint64_t usable[BLOCK_WORDS];
	block_usable(pmm, block, usable);
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t want = ~usable[i];
		if (i == record / 64)
			want |= (uint64_t)1 << record % 64;
		if (atomic_read_seq(&line[i]) != want)
			host_panic("pmm: block %u: bitmap and count disagree", block);
	}
	atomic_and(&line[record / 64], ~((uint64_t)1 << record % 64));
	(void)atomic_and(&pmm->states[block], ~(STATE_REC | STATE_RECORD));
	block_add(pmm, block, 1);
}

void block_release(struct pmm *pmm, uint32_t block, unsigned taken)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]), after;
	do {
		if (only_records(pmm, block, state - STATE_COUNT(taken))) {
			block_sub(pmm, block, taken);
			dismantle(pmm, block, state);
			taken = 0;
			state = atomic_read_relaxed(&pmm->states[block]);
		}
		after = (state - STATE_COUNT(taken)) & ~STATE_OWNER;
	} while (!atomic_cas(&pmm->states[block], &state, after));
	if (class_of(after) != class_of(state))
		block_update_class(pmm, block);
}

void block_try_dismantle(struct pmm *pmm, uint32_t block, unsigned id)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if (only_records(pmm, block, state) && block_claim(pmm, block, id, NULL))
		block_release(pmm, block, 0); /* looks again */
}

bool block_make_records(struct pmm *pmm, uint32_t block, unsigned avoid, unsigned n)
{
	uint64_t *line = block_line(pmm, block);
	unsigned record = BLOCK_PAGES;
	while (record-- > 0) {
		if (record - avoid < n)
			continue;
		if (!(atomic_read_relaxed(&line[record / 64]) >> record % 64 & 1))
			break;
	}
	if (record >= BLOCK_PAGES)
		return false;
	atomic_or(&line[record / 64], (uint64_t)1 << record % 64);
	block_sub(pmm, block, 1);
	uint64_t first = (uint64_t)block * BLOCK_PAGES;
	uint64_t *records = paddr_to_ptr(dense_to_paddr(pmm, first + record));
	arch_clear_page(records);
	records[record] = RECORD_PAGE;
	atomic_or(&pmm->states[block], STATE_REC | record << STATE_RECORD_SHIFT);
	return true;
}

/* ---- giving back ---------------------------------------------------------------- */

MEM_NORETURN void free_panic(struct pmm *pmm, uint64_t dense, const char *why)
{
	host_panic("pmm: freeing frame 0x%llx: %s", (unsigned long long)dense_to_paddr(pmm, dense),
		   why);
}

void block_give_back(struct pmm *pmm, uint64_t w, uint64_t mask)
{
	atomic_and(&pmm->lines[w], ~mask);
	block_add(pmm, (uint32_t)(w / BLOCK_WORDS), bit_count(mask));
}

/* The bits of word w that `owner` holds privately, read consistently; 0 if it is
 * changing too fast to tell (or is the code that we interrupted). */
static uint64_t held_bits(const struct pmm *pmm, unsigned owner, uint64_t w)
{
	const struct pmm_slot *slot = &pmm->slots[owner - 1];
	uint64_t held = 0;
	for (unsigned k = 0; k <= KIND_KERNEL; k++) {
		const struct private_word *p = &slot->word[k];
		if (atomic_read_relaxed(&p->block) != w / BLOCK_WORDS)
			continue;
		for (unsigned tries = 0; tries < 8; tries++) {
			uint32_t seq = atomic_read_acquire(&p->seq);
			held = atomic_read_acquire(&p->rest[w % BLOCK_WORDS]);
			if (atomic_read_acquire(&p->w) == w)
				held |= atomic_read_acquire(&p->mask);
			if (!(seq & 1) && atomic_read_relaxed(&p->seq) == seq &&
			    atomic_read_relaxed(&p->block) == w / BLOCK_WORDS)
				return held;
		}
	}
	return 0;
}

void block_free_bits(struct pmm *pmm, struct pmm_slot *slot, uint64_t w, uint64_t mask)
{
	block_free_words(pmm, slot, w, 1, mask);
}

void block_free_words(struct pmm *pmm, struct pmm_slot *slot, uint64_t w, unsigned n, uint64_t mask)
{
	uint32_t block = (uint32_t)(w / BLOCK_WORDS);
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	for (unsigned i = 0; i < n; i++) {
		/* Only the owner can hold frames of the block in a private word. */
		if (state_owner(state)) {
			uint64_t held = held_bits(pmm, state_owner(state), w + i) & mask;
			if (unlikely(held))
				free_panic(pmm, (w + i) * 64 + bit_lowest(held),
					   "it is already free (cached)");
		}
		uint64_t old = atomic_and(&pmm->lines[w + i], ~mask);
		if (unlikely(~old & mask))
			free_panic(pmm, (w + i) * 64 + bit_lowest(~old & mask),
				   "it is already free");
	}
	state = block_add(pmm, block, bit_count(mask) * n);
	if (slot && (state & STATE_REC) && !state_owner(state))
		block_try_dismantle(pmm, block, slot_id(pmm, slot));
}

/* ---- whole blocks ------------------------------------------------------------------ */

bool block_take_whole(struct pmm *pmm, uint32_t block)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	do {
		if (state != STATE_COUNT(BLOCK_PAGES))
			return false;
	} while (!atomic_cas(&pmm->states[block], &state, STATE_HUGE));
	uint64_t *line = block_line(pmm, block);
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		if (unlikely(atomic_read_relaxed(&line[i])))
			host_panic("pmm: block %u: bitmap and count disagree", block);
		atomic_write_relaxed(&line[i], ALL_ONES);
	}
	return true;
}

bool block_free_whole(struct pmm *pmm, uint32_t block, uint32_t kind)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if ((state & STATE_KIND) != kind)
		return false;
	uint64_t *line = block_line(pmm, block);
	for (unsigned i = 0; i < BLOCK_WORDS; i++)
		atomic_write_relaxed(&line[i], 0);
	/* Nobody but its one user or owner may touch it: no compare-and-swap. */
	atomic_write_release(&pmm->states[block], STATE_COUNT(BLOCK_PAGES));
	return true;
}

void block_update_group(struct pmm *pmm, uint32_t group, uint64_t blocks, bool whole)
{
	if (whole) {
		atomic_or(&pmm->summary_a[group], blocks);
		uint32_t lowest = group * GROUP_BLOCKS + bit_lowest(blocks);
		if (lowest < atomic_read_relaxed(&pmm->free_hint))
			atomic_write_relaxed(&pmm->free_hint, lowest);
	} else {
		atomic_and(&pmm->summary_a[group], ~blocks);
	}
	/* As B3 asks: look again, and repair one by one what has moved on. */
	for (; blocks; blocks &= blocks - 1) {
		uint32_t block = group * GROUP_BLOCKS + bit_lowest(blocks);
		if (class_of(atomic_read_seq(&pmm->states[block])) != class_read(pmm, block))
			block_update_class(pmm, block);
	}
}

/* ---- searching ----------------------------------------------------------------------- */

unsigned line_find(const uint64_t *line, unsigned order)
{
	/* Bits at which an aligned run of 2^order may start, order 0..5. */
	static const uint64_t starts[] = {
	    ALL_ONES,           0x5555555555555555, 0x1111111111111111,
	    0x0101010101010101, 0x0001000100010001, 0x0000000100000001,
	};
	if (order >= 6) {
		unsigned words = 1u << (order - 6);
		for (unsigned i = 0; i < BLOCK_WORDS; i += words) {
			uint64_t used = 0;
			for (unsigned k = 0; k < words; k++)
				used |= atomic_read_relaxed(&line[i + k]);
			if (!used)
				return i * 64;
		}
		return BLOCK_PAGES;
	}
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t clear = ~atomic_read_relaxed(&line[i]);
		for (unsigned k = 0; k < order; k++)
			clear &= clear >> (1u << k);
		clear &= starts[order]; /* also drops what the shifts pulled in from above */
		if (clear)
			return i * 64 + bit_lowest(clear);
	}
	return BLOCK_PAGES;
}

static uint64_t class_bits(const struct pmm *pmm, uint32_t group, enum block_class class)
{
	uint64_t a = atomic_read_relaxed(&pmm->summary_a[group]);
	uint64_t b = atomic_read_relaxed(&pmm->summary_b[group]);
	return (class & 2 ? a : ~a) & (class & 1 ? b : ~b);
}

uint32_t block_search(struct pmm *pmm, enum block_class class, uint32_t from, unsigned patience,
		      block_take *take, uint64_t arg)
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
