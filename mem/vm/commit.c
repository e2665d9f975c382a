/* SPDX-License-Identifier: MIT */
/*
 * Accounting: what spaces were promised.
 *
 * The commit limit bounds private writable memory (and shared anonymous
 * objects) that may have to be found later. A charge is made before the locks
 * of a change are taken and becomes the promise's (PROMISE_CHARGED) when the
 * run is inserted; cutting the run gives it back. The totals of a space are
 * pure functions of its runs, so they change exactly where runs do, and the
 * validator recomputes them.
 */
#include "vm/epoch.h"
#include "vm/space.h"

bool vm_commit_charge(struct vmm *vmm, uint64_t npages)
{
	uint64_t now = atomic_add(&vmm->commit, npages);
	if (likely(now <= vmm->commit_limit && now >= npages))
		return true;
	atomic_sub(&vmm->commit, npages);
	return false;
}

void vm_commit_uncharge(struct vmm *vmm, uint64_t npages)
{
	atomic_sub(&vmm->commit, npages);
}

static void account(struct space *space, promise_t p, uint64_t delta)
{
	struct space_totals *t = &space->totals;
	atomic_count(&t->virt, delta);
	if (p.bits & PROMISE_GROWSDOWN)
		atomic_count(&t->stack, delta);
	else if ((p.bits & (VM_WRITE | PROMISE_SHARED)) == VM_WRITE)
		atomic_count(&t->data, delta);
	if (p.bits & VM_EXEC)
		atomic_count(&t->exec, delta);
	if (p.bits & PROMISE_LOCKED)
		atomic_count(&t->locked, delta);
	if (p.bits & PROMISE_CHARGED)
		atomic_count(&t->charged, delta);
}

void vm_account_add(struct space *space, promise_t p, uint64_t npages)
{
	account(space, p, npages);
	uint64_t virt = atomic_read_relaxed(&space->totals.virt);
	if (virt > atomic_read_relaxed(&space->peak_virt))
		atomic_write_relaxed(&space->peak_virt, virt);
}

void vm_account_sub(struct space *space, promise_t p, uint64_t npages)
{
	account(space, p, -npages);
	if (p.bits & PROMISE_CHARGED)
		vm_commit_uncharge(space->vmm, npages);
}

void vm_account_change(struct space *space, promise_t was, promise_t now, uint64_t npages)
{
	account(space, was, -npages);
	account(space, now, npages);
}

void vm_resident_add(struct space *space, pte_t pte, uint64_t n)
{
	if (pte & PTE_UNCOUNTED)
		return;
	uint64_t now = __atomic_add_fetch(&space->resident, n, __ATOMIC_RELAXED);
	if (pte & PTE_OBJECT)
		atomic_count(&space->resident_file, n);
	if (now > atomic_read_relaxed(&space->peak_resident))
		atomic_write_relaxed(&space->peak_resident, now);
}

const char *vm_name_of(struct vmm *vmm, promise_t promise)
{
	unsigned i = (promise.bits & PROMISE_NAME) >> PROMISE_NAME_SHIFT;
	return i ? atomic_read_relaxed(&vmm->names[i]) : NULL;
}

static bool same_string(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Names are few and static; one that finds no place is simply not shown. */
uint64_t vm_name_bits(struct vmm *vmm, const char *name)
{
	if (!name)
		return 0;
	unsigned i = 1;
	mem_lock(&vmm->names_lock, MEM_RANK_COMMIT);
	while (i < VM_NAMES && vmm->names[i] && !same_string(vmm->names[i], name))
		i++;
	if (i < VM_NAMES)
		atomic_write_relaxed(&vmm->names[i], name);
	mem_unlock(&vmm->names_lock, MEM_RANK_COMMIT);
	return i < VM_NAMES ? (uint64_t)i << PROMISE_NAME_SHIFT : 0;
}

bool vm_relieve(struct vmm *vmm, unsigned attempt)
{
	if (attempt >= 2)
		return false;
	if (attempt == 0)
		vmm_drain(vmm);
	else
		return host_out_of_memory(1);
	return true;
}
