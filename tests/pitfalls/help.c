/* SPDX-License-Identifier: MIT */
/* What the pitfall tests share: see help.h. */
#include "tests/pitfalls/help.h"

#include "base/atomic.h"

static uint64_t frames_before;

struct space *pitfall_space(void)
{
	struct space *space;
	frames_before = machine_frames_at_rest();
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	machine_set_space(space);
	return space;
}

struct space *pitfall_begin(unsigned ncpus, uint64_t i)
{
	machine_boot_default(ncpus, test_random() ^ i);
	return pitfall_space();
}

void pitfall_end(struct space *space)
{
	machine_set_space(NULL);
	CHECK(vmm_space_is_valid(space));
	vmm_space_put(space);
	CHECK(vmm_is_valid(machine_vmm));
	CHECK_EQ(machine_frames_at_rest(), frames_before);
	machine_end();
}

void map_at(struct space *space, vaddr_t va, uint64_t npages, unsigned prot, unsigned flags)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = va,
				   .bytes = npages * PAGE_SIZE,
				   .prot = prot,
				   .maxprot = VM_READ | VM_WRITE | VM_EXEC,
				   .flags = flags | VM_FIXED};
	CHECK_OK(vmm_map(space, &args, &out));
	CHECK_EQ(out, va);
}

void unmap_at(struct space *space, vaddr_t va, uint64_t npages)
{
	CHECK_OK(vmm_unmap(space, va, npages * PAGE_SIZE));
}

int try_get(vaddr_t va, uint64_t *value)
{
	return machine_access(va, MACHINE_READ, value).signal;
}

int try_put(vaddr_t va, uint64_t value)
{
	return machine_access(va, MACHINE_WRITE, &value).signal;
}

uint64_t get(vaddr_t va)
{
	uint64_t value = 0;
	CHECK_EQ(try_get(va, &value), 0);
	return value;
}

void put(vaddr_t va, uint64_t value)
{
	CHECK_EQ(try_put(va, value), 0);
}

uint64_t flush_count(void)
{
	struct vmm_stats stats;
	vmm_get_stats(machine_vmm, &stats);
	return stats.flushes;
}

void pause_for(unsigned points)
{
	while (points--)
		machine_pause();
}

void wait_until(const uint32_t *word, uint32_t value)
{
	while (atomic_read_acquire(word) < value) {
		machine_progress();
		host_relax();
	}
}

void pitfall_run(struct space *space, void (*const *bodies)(void *), unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		machine_spawn(bodies[i], NULL, space);
	machine_join();
	machine_explore_end();
}
