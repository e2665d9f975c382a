/* SPDX-License-Identifier: MIT */
#ifndef MEM_PMM_WHOLE_H
#define MEM_PMM_WHOLE_H
/* One block as a whole: is it free, who claims it, takes it and gives it back. Inline, because
 * many are taken and given back in a row; the rules are in block.c. */
#include "pmm/internal.h"

/* Written out because compilers make a loop of a loop. The first word decides nearly always,
 * and the same way. */
static inline bool pmm_line_is_clear(const uint64_t *line)
{
#define W(i) atomic_read_relaxed(&line[i])
	return !W(0) && !(((W(1) | W(2)) | (W(3) | W(4))) | ((W(5) | W(6)) | W(7)));
#undef W
}

/* Own what seems to be a wholly free block; then make it `to` (block_take_whole), or let go if
 * it is not. */
static inline bool pmm_block_claim_free(struct pmm *pmm, uint32_t block, unsigned id)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	do {
		if (state & ~STATE_HINT)
			return false;
	} while (!atomic_cas(&pmm->states[block], &state, state | id));
	__builtin_prefetch(pmm_block_line(pmm, block));
	return true;
}

/* B4: does it turn out to be wholly free? */
static inline bool pmm_block_keep_free(struct pmm *pmm, uint32_t block)
{
	if (likely(pmm_line_is_clear(pmm_block_line(pmm, block))))
		return true;
	pmm_block_release(pmm, block);
	return false;
}

static inline bool pmm_block_take_whole(struct pmm *pmm, uint32_t block, uint32_t to)
{
	if (!pmm_block_keep_free(pmm, block))
		return false;
	atomic_write_release(&pmm->states[block], to);
	return true;
}

/* A block that is allocated whole becomes free, or (false) was not. This and the last leave
 * the summaries to block_update_group. */
static inline bool pmm_block_free_whole(struct pmm *pmm, uint32_t block, uint32_t kind)
{
	uint32_t state = atomic_read_relaxed(&pmm->states[block]);
	if ((state & STATE_KIND) != kind)
		return false;
	/* Nobody but its one user or owner may touch it: no compare-and-swap. */
	atomic_write_release(&pmm->states[block], STATE_HINT);
	return true;
}
#endif
