/* SPDX-License-Identifier: MIT */
/*
 * Why an access could not be served, in words.
 *
 *     write to 0x00007f12a0001008 by the instruction at 0x0000000000401136
 *     not possible: the mapping does not allow it
 *     in      0x00007f12a0001000-0x00007f12a0002000 r--p
 *     below   ...
 *     above   ...
 *
 * Nothing is allocated; a line is put together in a buffer on the stack.
 */
#include "vm/space.h"

const char *vmm_cause_name(enum vmm_cause cause)
{
	static const char *const names[VMM_FAULT_CAUSE_COUNT] = {
	    [VMM_FAULT_NO_MAPPING] = "nothing is mapped there",
	    [VMM_FAULT_PROTECTION] = "the mapping does not allow it",
	    [VMM_FAULT_KERNEL_RANGE] = "the address is not a user address",
	    [VMM_FAULT_GUARD] = "the stack may not grow so far",
	    [VMM_FAULT_BEYOND] = "it is beyond the end of the mapped file",
	    [VMM_FAULT_IO] = "the file could not be read",
	    [VMM_FAULT_RESERVED_BIT] = "a page table is corrupt (reserved bit)",
	    [VMM_FAULT_NO_MEMORY] = "memory has run out",
	};
	return (unsigned)cause < VMM_FAULT_CAUSE_COUNT ? names[cause] : "unknown";
}

struct line {
	char text[160];
	size_t used;
};

static void put(struct line *l, const char *text)
{
	while (*text && l->used + 1 < sizeof(l->text))
		l->text[l->used++] = *text++;
	l->text[l->used] = 0;
}

static void put_hex(struct line *l, uint64_t value)
{
	char digits[] = "0x0000000000000000";
	for (unsigned i = 17; i > 1; i--, value >>= 4)
		digits[i] = "0123456789abcdef"[value & 15];
	put(l, digits);
}

static void put_number(struct line *l, uint64_t value)
{
	char digits[21];
	unsigned i = sizeof(digits) - 1;
	digits[i] = 0;
	do
		digits[--i] = (char)('0' + value % 10);
	while (value /= 10);
	put(l, digits + i);
}

static void describe(struct line *l, const char *where, const struct vm_area *area)
{
	l->used = 0;
	put(l, where);
	put_hex(l, area->start);
	put(l, "-");
	put_hex(l, area->end);
	put(l, (area->prot & VM_READ) ? " r" : " -");
	put(l, (area->prot & VM_WRITE) ? "w" : "-");
	put(l, (area->prot & VM_EXEC) ? "x" : "-");
	put(l, (area->flags & VM_SHARED) ? "s " : "p ");
	if (area->name) {
		put(l, area->name);
	} else if (area->object) {
		put(l, "object, offset ");
		put_hex(l, area->offset);
	} else {
		put(l, (area->flags & VM_GROWSDOWN) ? "stack" : "anonymous");
	}
}

static void put_distance(struct line *l, uint64_t bytes, const char *which)
{
	put(l, ", ");
	put_number(l, bytes);
	put(l, which);
}

void vmm_explain_fault(struct space *space, const struct vmm_fault *fault,
		       void (*print)(void *arg, const char *line), void *arg)
{
	struct line l = {.used = 0};
	put(&l, (fault->error & FAULT_FETCH)   ? "jump to "
		: (fault->error & FAULT_WRITE) ? "write to "
					       : "read of ");
	put_hex(&l, fault->address);
	put(&l, " by the instruction at ");
	put_hex(&l, fault->ip);
	print(arg, l.text);
	l.used = 0;
	put(&l, "not possible: ");
	put(&l, vmm_cause_name(fault->cause));
	if (fault->address < PAGE_SIZE)
		put(&l, " (a null pointer?)");
	else if (!vaddr_is_canonical(fault->address))
		put(&l, " (it is not canonical)");
	print(arg, l.text);

	struct vm_area area;
	struct run below;
	vaddr_t va = mem_min(fault->address, USER_TOP);
	if (vm_find_before(space, vpn_of(va), &below) &&
	    vmm_next_area(space, vpn_to_va(below.first), &area)) {
		if (area.end <= va) {
			describe(&l, "below   ", &area);
			put_distance(&l, va - area.end, " bytes past its end");
			print(arg, l.text);
		}
		vm_area_done(&area);
	}
	if (!vmm_next_area(space, va, &area))
		return;
	if (area.start <= va) {
		describe(&l, "in      ", &area);
		print(arg, l.text);
		va = area.end;
		vm_area_done(&area);
		if (!vmm_next_area(space, va, &area))
			return;
	}
	describe(&l, "above   ", &area);
	if (area.start > va)
		put_distance(&l, area.start - va, " bytes before it");
	print(arg, l.text);
	vm_area_done(&area);
}
