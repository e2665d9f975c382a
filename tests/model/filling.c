/* SPDX-License-Identifier: MIT */
/*
 * Objects whose pages somebody has to fill, slowly, and not always with success:
 * several CPUs fault on the same pages, private and shared, while the page is on
 * its way. What is read is what was filled in, or what was written since; a page
 * that cannot be filled is a SIGBUS, and can be filled the next time.
 */
#include <string.h>

#include "base/atomic.h"
#include "tests/model/model.h"
#include "tests/test.h"

#define PAGES   24
#define THREADS 5

static struct space *space;
static struct vm_object *object;
static vaddr_t shared_at = 0x40000000 - 5 * PAGE_SIZE, private_at = 0x7f0000000000;
static uint32_t filling[PAGES], filled[PAGES], failures;
static uint64_t fills, buses;
static bool released, fill_may_fail;

static uint64_t content(uint64_t page)
{
	return 0xf111000000000000 | page << 8 | 1;
}

static mem_status fill(struct vm_object *o, uint64_t page, paddr_t pa)
{
	uint64_t *words = paddr_to_ptr(pa);
	CHECK(o == object && page < PAGES);
	CHECK(host_irq_enabled() && !host_in_interrupt());
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		CHECK_EQ(words[i], 0); /* it comes zeroed */
	filling[page]++;
	for (unsigned n = machine_random_below(4); n > 0; n--)
		machine_yield(); /* it may sleep */
	if (fill_may_fail && machine_random_below(4) == 0) {
		words[0] = 0xbad; /* half done */
		failures++;
		return MEM_EIO;
	}
	words[0] = content(page);
	words[PAGE_SIZE / 8 - 1] = ~content(page);
	filled[page]++;
	fills++;
	return MEM_OK;
}

static void release(struct vm_object *o)
{
	CHECK(!released);
	released = true;
}

static const struct vm_object_ops ops = {.fill = fill, .release = release};

static void map_object(vaddr_t va, unsigned flags)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = va,
				   .bytes = PAGES * PAGE_SIZE,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = 7,
				   .flags = flags | VM_FIXED,
				   .object = object};
	CHECK_OK(vmm_map(space, &args, &out));
}

/* One access; true if it worked. */
static bool look(vaddr_t va, enum machine_access access, uint64_t *value)
{
	uint32_t before = failures;
	struct machine_result r = machine_access(va, access, value);
	if (r.ok)
		return true;
	CHECK_EQ(r.signal, 7);
	CHECK_EQ(r.cause, VMM_FAULT_IO);
	CHECK(failures > before || fill_may_fail);
	buses++;
	return false;
}

static void body(void *arg)
{
	uint64_t mine = 0x1000 + (uintptr_t)arg;
	for (unsigned i = 0; i < 120; i++) {
		uint64_t page = machine_random_below(PAGES), value = 0, last = 0;
		vaddr_t va = (machine_random_below(2) ? shared_at : private_at) + page * PAGE_SIZE;
		switch (machine_random_below(6)) {
		case 0:
			CHECK_OK(vmm_advise(space, private_at + page * PAGE_SIZE, PAGE_SIZE,
					    VM_ADVICE_DONTNEED));
			break;
		case 1: /* words 1 to 5 are the threads' own; the last one only reads */
			value = mine;
			(void)look(private_at + page * PAGE_SIZE + 8 * (1 + (uintptr_t)arg),
				   MACHINE_WRITE, &value);
			break;
		default:
			if (look(va, MACHINE_READ, &value))
				CHECK_EQ(value, content(page));
			if (look(va + PAGE_SIZE - 8, MACHINE_READ, &last))
				CHECK_EQ(last, ~content(page));
		}
	}
}

static void run(uint64_t i)
{
	machine_boot_default(4, test_random());
	uint64_t frames = machine_frames_at_rest();
	fill_may_fail = i % 2;
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	CHECK_OK(vm_object_create(machine_vmm, &ops, NULL, PAGES * PAGE_SIZE, &object));
	map_object(shared_at, VM_SHARED);
	map_object(private_at, 0);
	for (uintptr_t t = 0; t < THREADS; t++)
		machine_spawn(body, (void *)t, space);
	machine_join();
	CHECK(vmm_space_is_valid(space));
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t value, done;
		fill_may_fail = false;
		CHECK_OK(vm_object_read(object, page * PAGE_SIZE, &value, 8, &done));
		CHECK_EQ(done, 8);
		CHECK_EQ(value, content(page));
	}
	vm_object_put(object);
	CHECK(!released); /* the mappings hold it */
	vmm_space_put(space);
	CHECK(released);
	CHECK_EQ(machine_frames_at_rest(), frames);
	machine_totals[0] += fills;
	machine_totals[1] += failures;
	machine_totals[2] += buses;
	machine_end();
}

TEST(model_filling_pages)
{
	machine_each(60, run);
	test_note("%llu pages filled, %llu failures, %llu accesses ended by SIGBUS",
		  (unsigned long long)machine_totals[0], (unsigned long long)machine_totals[1],
		  (unsigned long long)machine_totals[2]);
	CHECK(machine_totals[1] > 50 && machine_totals[2] > 50);
}
