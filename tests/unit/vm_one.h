/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_VM_ONE_H
#define TESTS_UNIT_VM_ONE_H
/* For tests of one space, which the only CPU of the machine is in. */
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "tests/machine/boot.h"
#include "tests/test.h"

static inline struct space *start(void)
{
	struct space *space;
	machine_boot_default(1, 1);
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	machine_set_space(space);
	return space;
}

/* It is valid still, and so is all that is left without it. */
static inline void end(struct space *space)
{
	CHECK(vmm_space_is_valid(space));
	machine_set_space(NULL);
	vmm_space_put(space);
	CHECK(vmm_is_valid(machine_vmm));
	machine_end();
}

static inline void map_at(struct space *space, vaddr_t va, uint64_t npages, unsigned prot,
			  unsigned flags)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = va,
				   .bytes = npages * PAGE_SIZE,
				   .prot = prot,
				   .maxprot = 7,
				   .flags = flags | VM_FIXED};
	CHECK_OK(vmm_map(space, &args, &out));
}
#endif
