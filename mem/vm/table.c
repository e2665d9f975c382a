/* SPDX-License-Identifier: MIT */
/*
 * Tables: making, linking, freeing; see table.h for the structure.
 *
 * A table page is an ordinary frame. Its record has type FRAME_TABLE and refers to the
 * descriptor, so a walk goes from entry to page to descriptor with no other index.
 * Descriptor and page come and go together.
 */
#include "vm/table.h"

#include <mem/pmm.h>
#include <mem/slab.h>

#include "base/assert.h"
#include "vm/space.h"

/* Nothing is in use in the rest of the word that holds `from`. */
unsigned vm_table_next_far(const struct table *t, unsigned from, unsigned end)
{
	while ((from = (from / 64 + 1) * 64) < end) {
		uint64_t word = t->bits[from / 64];
		if (word) {
			from += bit_lowest(word);
			return from < end ? from : end;
		}
	}
	return end;
}

vpn_t vm_table_part_end(const struct table *t, vpn_t vpn)
{
	if (t->level == 1)
		return table_end(t);
	unsigned child = vm_table_next(t, vpn_index(vpn, t->level), PT_ENTRIES);
	return t->first + child * vpn_entry_span(t->level);
}

int vm_table_last(const struct table *t, unsigned from, unsigned end)
{
	while (end > from) {
		unsigned top = end - 1;
		uint64_t word = t->bits[top / 64] << (63 - top % 64);
		if (word) {
			top -= 63 - bit_highest(word);
			return top >= from ? (int)top : -1;
		}
		end = top / 64 * 64;
	}
	return -1;
}

struct table *vm_table_child(const struct table *t, unsigned index)
{
	pte_t pte = atomic_read_relaxed(&t->entries[index]);
	mem_debug_assert(t->level > 1 && (pte & PTE_PRESENT));
	struct table *child = frame_reference(t->space->vmm->pmm, pte & PTE_ADDR);
	mem_debug_assert(child->parent == t);
	return child;
}

struct table *vm_table_create(struct space *space, struct table *parent, unsigned level,
			      vpn_t first)
{
	struct vmm *vmm = space->vmm;
	struct table *t = slab_alloc_wait(vmm->tables);
	if (!t)
		return NULL;
	paddr_t page = pmm_alloc(vmm->pmm, 0, PMM_ZERO | PMM_WAIT);
	if (page == PADDR_NONE) {
		slab_free(vmm->tables, t);
		return NULL;
	}
	memset(t, 0, sizeof(*t));
	t->level = (uint8_t)level;
	t->state = TABLE_LIVE;
	t->entries = paddr_to_ptr(page);
	t->runs = &t->own;
	t->run_capacity = 1;
	t->first = first;
	t->space = space;
	t->parent = parent;
	frame_init(vmm->pmm, page, FRAME_TABLE, t);
	atomic_count(&vmm->user_tables, 1);
	atomic_count(&space->tables, 1);
	return t;
}

void vm_table_free(struct vmm *vmm, struct table *t)
{
	mem_assert(!t->run_count);
	paddr_t page = ptr_to_paddr(t->entries);
	vm_runs_free(vmm, t);
	bool last = frame_put(vmm->pmm, page);
	mem_assert(last);
	pmm_free(vmm->pmm, page, 0);
	slab_free(vmm->tables, t);
	atomic_count(&vmm->user_tables, -1);
}

void vm_table_link(struct table *parent, struct table *child)
{
	unsigned index = vpn_index(child->first, parent->level);
	mem_debug_assert(!table_bit(parent, index));
	/* Access is decided in the leaf alone: tables allow everything. */
	table_entry_fill(parent, index,
			 ptr_to_paddr(child->entries) | PTE_PRESENT | PTE_WRITE | PTE_USER |
			     PTE_ACCESSED);
}

struct table *vm_table_make_child(struct table *parent, vpn_t vpn)
{
	unsigned level = parent->level - 1u;
	uint64_t span = vpn_entry_span(parent->level);
	vpn_t first = vpn & ~(span - 1), end = first + span;
	struct table *child = vm_table_create(parent->space, parent, level, first);
	if (!child)
		return NULL;

	unsigned from = vm_runs_lower(parent, first), until = from;
	while (until < parent->run_count && parent->runs[until].first < end)
		until++;
	if (!vm_runs_reserve(child, until - from) ||
	    !vm_runs_reserve(parent, vm_runs_after_cut(parent, first, end))) {
		atomic_count(&parent->space->tables, -1);
		vm_table_free(parent->space->vmm, child);
		return NULL;
	}
	for (unsigned i = from; i < until; i++) {
		const struct run *run = &parent->runs[i];
		struct run part = {mem_max(run->first, first), mem_min(run->end, end),
				   run->promise};
		/* The cut below drops one reference of a run that goes entirely and
		 * adds one for a second piece; the child's piece needs its own. */
		struct backing *b = part.promise.backing;
		if (b)
			vm_backing_ref(b, 1);
		child->runs[child->run_count++] = part;
	}
	atomic_count(&parent->space->runs, until - from);
	vm_runs_cut(NULL, parent, first, end);
	table_lock(child);
	vm_table_link(parent, child);
	return child;
}
