/* SPDX-License-Identifier: MIT */
/* A slot that its CPU may not enter: it has interrupted itself there, or somebody has taken the
 * slot over. Both are made here by hand; chance does so in pmm_machine.c and pmm_threads.c. */
#include "pmm/internal.h"

#include "tests/unit/pmm.h"

/* The slot of CPU 0 with something in it, and what its fast paths would change. */
struct seen {
	uint64_t mask, key, freed;
	uint32_t nqueue;
	uint8_t busy, nhuge, nunit[UNIT_ORDERS];
};

static struct seen seen_of(const struct pmm_slot *slot)
{
	struct seen s;
	memset(&s, 0, sizeof(s)); /* padding is compared, too */
	s.mask = slot->word[KIND_KERNEL].mask;
	s.key = slot->freed.key;
	s.freed = slot->freed.mask;
	s.nqueue = slot->nqueue;
	s.busy = slot->busy;
	s.nhuge = slot->nhuge;
	memcpy(s.nunit, slot->nunit, sizeof(s.nunit));
	return s;
}

static struct pmm_slot *used_slot(void)
{
	static const unsigned orders[] = {0, 1, 3, 9};
	boot(256 * MIB, 2);
	for (unsigned i = 0; i < ARRAY_COUNT(orders); i++) {
		paddr_t pa = take(orders[i], PMM_KERNEL);
		take(orders[i], PMM_KERNEL);
		pmm_free(pmm, pa, orders[i]);
	}
	return &pmm->slots[0];
}

/* 1000 calls of each kind, none of which touches the slot. */
static void work_around(const struct pmm_slot *slot)
{
	static const unsigned orders[] = {0, 1, 3, 9};
	struct seen before = seen_of(slot);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned order = orders[i % ARRAY_COUNT(orders)];
		paddr_t pa = take(order, PMM_KERNEL | PMM_ATOMIC);
		pmm_free(pmm, pa, order);
		pa = take(0, PMM_KERNEL | PMM_ATOMIC);
		pmm_free(pmm, pa, 0);
		struct seen after = seen_of(slot);
		CHECK(!memcmp(&before, &after, sizeof(before)));
	}
}

/* Many handlers while its CPU is inside once: what they do to the gate, they undo. */
TEST(pmm_handlers_keep_out_of_an_open_slot)
{
	struct pmm_slot *slot = used_slot();
	slot->busy = (uint8_t)-1; /* as who is inside has left it */
	plain_set_interrupt(true);
	work_around(slot);
	plain_set_interrupt(false);
	slot->busy = 0;
	drained_free();
}

TEST(pmm_revoked_slots_are_left_alone)
{
	struct pmm_slot *slot = used_slot();
	slot->revoked |= SLOT_REVOKED;
	work_around(slot);
	slot->revoked &= ~SLOT_REVOKED;
	drained_free();
}
