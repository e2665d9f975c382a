/* SPDX-License-Identifier: MIT */
/*
 * Every allocation fails once: each public operation is run on the same state
 * again and again, with its first allocation failing, then its second, and so
 * on until none fails. Each time it is either done or refused; refused means
 * that nothing has changed (the oracle compares everything), and afterwards
 * every frame is accounted for. Once with one failure, after which a retry may
 * succeed; once with all allocations failing from then on.
 */
#include "tests/model/sweep.h"
#include "tests/model/inside.h"
#include "tests/test.h"

/* All words of all cells that were ever touched. */
static void look_at_everything(void)
{
	model_check_all();
	for (unsigned s = 0; s < MODEL_SPACES; s++)
		for (unsigned c = 0; model.space[s].space && c < CELLS; c++)
			if (model.space[s].page[c].mapped &&
			    (model.space[s].page[c].own || c % 7 == 0))
				for (unsigned word = 0; word < 2; word++)
					model_touch(s, c, MACHINE_READ, word);
}

static bool run_one(const struct sweep_operation *operation, uint64_t n, bool from_then)
{
	model_begin();
	sweep_build();
	model.may_fail = true;
	inject_arm(INJECT_ALL, n, from_then);
	operation->run();
	uint64_t failures = inject_failures();
	(void)inject_disarm();
	model.may_fail = false;
	look_at_everything();
	model_end();
	return failures;
}

static struct {
	unsigned operations, points, refused;
} count;

static void sweep_all(const struct sweep_operation *operation, bool from_then)
{
	for (; operation->name; operation++) {
		uint64_t n = 1;
		model_note("sweep: %s", operation->name);
		while (run_one(operation, n, from_then)) {
			n++;
			test_progress(++count.points);
			count.refused += model.refused > 0;
		}
		count.operations++;
	}
}

static void sweep(bool from_then)
{
	machine_boot_default(1, 1);
	sweep_all(sweep_spaces, from_then);
	sweep_all(sweep_kernel, from_then);
	test_note("%u operations, %u failure points, %u refusals", count.operations, count.points,
		  count.refused);
	machine_end();
	CHECK(count.points > 400);
}

TEST(sweep_one_failure)
{
	sweep(false);
}

TEST(sweep_all_fail_from_then)
{
	sweep(true);
}

/* Starting up: vmm_init with its nth allocation failing takes nothing. */
static void start_up(uint64_t i)
{
	struct pmm_stats before, after;
	struct machine_config config = {.bytes = (uint64_t)64 << 20, .ncpus = 1, .seed = i};
	machine_boot_frames(&config);
	pmm_drain(machine_pmm);
	pmm_get_stats(machine_pmm, &before);
	inject_arm(INJECT_ALL, i + 1, i % 2);
	mem_status status = machine_boot_vmm();
	uint64_t failures = inject_failures();
	(void)inject_disarm();
	machine_totals[failures ? 0 : 1]++;
	CHECK(status == (failures ? MEM_ENOMEM : MEM_OK));
	if (status == MEM_OK)
		return;
	pmm_drain(machine_pmm);
	pmm_get_stats(machine_pmm, &after);
	CHECK_EQ(after.free + after.records, before.free + before.records);
	CHECK(pmm_is_valid(machine_pmm));
}

TEST(sweep_start_up)
{
	machine_each(100, start_up);
	test_note("vmm_init: %llu failure points", (unsigned long long)machine_totals[0]);
	CHECK(machine_totals[0] > 8);
	CHECK(machine_totals[1] > 0); /* the last ones ran to the end */
}
