/* SPDX-License-Identifier: MIT */
/*
 * Reaching into a space from outside: looking at a page, copying to and from
 * it, pinning it, naming it.
 *
 * A frame is taken in two steps: fault it in as the access demands, then lock its table and
 * take a reference. If it is not what was asked for any more, again. A kernel write needs
 * more than a reference. Between taking the frame and writing to it the space may fork, and
 * the child would see the write as well. So the frame is made exclusive and pinned; fork
 * copies pinned frames at once (I4).
 */
#include "vm/objects.h"

bool vmm_page_info(struct space *space, vaddr_t va, paddr_t *pa, bool *writable, bool *dirty)
{
	mem_contract_interrupts_on();
	if (va >= USER_TOP)
		return false;
	pte_t pte = 0;
	struct table *t = vm_lock_deepest(space, vpn_of(va));
	if (t->level == 1)
		pte = atomic_read_relaxed(&t->entries[vpn_index(vpn_of(va), 1)]);
	table_unlock(t);
	if (!(pte & PTE_PRESENT))
		return false;
	if (pa)
		*pa = pte & PTE_ADDR;
	if (writable)
		*writable = pte & PTE_WRITE;
	if (dirty)
		*dirty = pte & PTE_DIRTY;
	return true;
}

/* Take the frame behind va if the entry grants the access: MEM_EAGAIN if not. */
static mem_status take_frame(struct space *space, vaddr_t va, unsigned access, bool pin, pte_t *out)
{
	struct pmm *pmm = space->vmm->pmm;
	mem_status status = MEM_EAGAIN;
	vpn_t vpn = vpn_of(va);
	struct table *t = vm_lock_deepest(space, vpn);
	const struct run *run = t->level == 1 ? vm_runs_find(t, vpn) : NULL;
	pte_t pte = run ? atomic_read_relaxed(&t->entries[vpn_index(vpn, 1)]) : 0;
	if (pte && ((pte & PTE_PRESENT) || (access & FAULT_FORCE))) {
		bool private = !(run->promise.bits & PROMISE_SHARED);
		bool exclusive = access & (FAULT_WRITE | FAULT_UNSHARE);
		bool allowed = ((access & FAULT_FORCE) && private) || !(access & FAULT_WRITE) ||
			       (run->promise.bits & VM_WRITE);
		if (allowed && (!exclusive || !private || vm_is_exclusive(space, pte))) {
			*out = pte;
			status = MEM_OK;
			if (!(pte & PTE_UNCOUNTED))
				status = pin ? frame_pin(pmm, pte & PTE_ADDR)
					     : frame_get(pmm, pte & PTE_ADDR);
		}
	}
	table_unlock(t);
	return status;
}

static mem_status get_page(struct space *space, vaddr_t va, unsigned access, bool pin, pte_t *out)
{
	for (;;) {
		bool spurious;
		mem_status status = vm_fault_page(space, va, access, NULL, &spurious);
		if (status == MEM_OK)
			status = take_frame(space, va, access, pin, out);
		if (status == MEM_EBUSY)
			return MEM_ENOMEM; /* no count, or no pin, is left of the frame's */
		if (status != MEM_EAGAIN)
			return status;
	}
}

static void put_page(struct vmm *vmm, pte_t pte, bool pinned)
{
	if (pte & PTE_UNCOUNTED)
		return;
	if (pinned ? frame_unpin(vmm->pmm, pte & PTE_ADDR) : frame_put(vmm->pmm, pte & PTE_ADDR))
		pmm_free(vmm->pmm, pte & PTE_ADDR, 0);
}

mem_status vmm_access(struct space *space, vaddr_t va, void *buffer, uint64_t bytes, bool write,
		      bool force, uint64_t *done)
{
	mem_contract_thread();
	unsigned access =
	    (write ? FAULT_WRITE : 0) | (force ? FAULT_FORCE : 0) | FAULT_QUIET | FAULT_NO_GROW;
	*done = 0;
	while (*done < bytes) {
		vaddr_t at = va + *done;
		if (at < va || at >= USER_TOP)
			return MEM_EFAULT;
		uint64_t in_page = at & PAGE_MASK, n = mem_min(bytes - *done, PAGE_SIZE - in_page);
		pte_t pte;
		mem_status status = get_page(space, align_down(at, PAGE_SIZE), access, write, &pte);
		if (status != MEM_OK)
			return status == MEM_ENOMEM ? MEM_ENOMEM : MEM_EFAULT;
		/* Device memory that is no RAM is not in the direct map. */
		paddr_t pa = pte & PTE_ADDR;
		bool reachable = !(pte & PTE_UNCOUNTED) || pa == space->vmm->zero_frame ||
				 frame_has_record(space->vmm->pmm, pa);
		char *page = paddr_to_ptr(pa);
		if (reachable && write)
			memcpy(page + in_page, (const char *)buffer + *done, n);
		else if (reachable)
			memcpy((char *)buffer + *done, page + in_page, n);
		put_page(space->vmm, pte, write);
		if (!reachable)
			return MEM_EFAULT;
		*done += n;
	}
	return MEM_OK;
}

mem_status vmm_pin(struct space *space, vaddr_t va, bool write, paddr_t *pa)
{
	mem_contract_thread();
	pte_t pte;
	/* Not for a write either may the page be one that fork or a fault replaces. */
	unsigned access = (write ? FAULT_WRITE : 0) | FAULT_UNSHARE;
	mem_status status = get_page(space, align_down(va, PAGE_SIZE), access, true, &pte);
	if (status != MEM_OK)
		return status;
	if (pte & PTE_UNCOUNTED)
		return MEM_EFAULT; /* device memory has no count to pin */
	*pa = pte & PTE_ADDR;
	return MEM_OK;
}

void vmm_unpin(struct vmm *vmm, paddr_t pa)
{
	put_page(vmm, pa, true);
}

mem_status vmm_futex_key(struct space *space, vaddr_t va, bool process_private, uint64_t key[2])
{
	mem_contract_interrupts_on();
	if (va >= USER_TOP)
		return MEM_EFAULT;
	key[0] = space->id;
	key[1] = va;
	if (process_private)
		return MEM_OK;
	vpn_t vpn = vpn_of(va);
	struct table *t = vm_lock_deepest(space, vpn);
	const struct run *run = vm_runs_find(t, vpn);
	mem_status status = run ? MEM_OK : MEM_EFAULT;
	if (run && (run->promise.bits & PROMISE_SHARED)) {
		const struct backing *b = run->promise.backing;
		/* Spaces and objects are numbered from one counter: no two are equal. */
		key[0] = b->object->id;
		key[1] = (uint64_t)((int64_t)vpn + b->delta) << PAGE_SHIFT | (va & PAGE_MASK);
	}
	table_unlock(t);
	return status;
}
