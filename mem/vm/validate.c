/* SPDX-License-Identifier: MIT */
/*
 * Validators: the invariants as code. Each check names the invariant it is
 * about; the first violation is logged and ends the check. Nobody else may use
 * what is checked.
 */
#include "vm/kernel_area.h"
#include "vm/objects.h"

struct check {
	struct space *space;
	struct space_totals totals;
	uint64_t resident, resident_file, tables, runs;
};

#define REQUIRE(condition, t, what)                                                                \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			host_log(HOST_LOG_ERROR, "invalid space: %s (level %u table at %llx)",     \
				 (what), (unsigned)(t)->level,                                     \
				 (unsigned long long)vpn_to_va((t)->first));                       \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static void count_run(struct check *c, const struct run *run)
{
	uint64_t n = run->end - run->first;
	promise_t p = run->promise;
	c->totals.virt += n;
	if (p.bits & PROMISE_GROWSDOWN)
		c->totals.stack += n;
	else if ((p.bits & (VM_WRITE | PROMISE_SHARED)) == VM_WRITE)
		c->totals.data += n;
	c->totals.exec += (p.bits & VM_EXEC) ? n : 0;
	c->totals.locked += (p.bits & PROMISE_LOCKED) ? n : 0;
	c->totals.charged += (p.bits & PROMISE_CHARGED) ? n : 0;
}

/* I1: runs are sorted, merged, in the span, and where no child is. */
static bool check_runs(struct check *c, const struct table *t)
{
	REQUIRE(t->run_count <= t->run_capacity, t, "more runs than room");
	for (unsigned i = 0; i < t->run_count; i++) {
		const struct run *run = &t->runs[i], *next = run + 1;
		REQUIRE(run->first < run->end && run->first >= t->first && run->end <= table_end(t),
			t, "a run leaves its table (I1)");
		REQUIRE(!(promise_prot(run->promise) & ~promise_maxprot(run->promise)), t,
			"prot above maxprot");
		REQUIRE(!promise_wants_charge(run->promise) ||
			    (run->promise.bits & PROMISE_CHARGED) || run->promise.backing,
			t, "private writable memory is not charged");
		if (i + 1 < t->run_count) {
			REQUIRE(run->end <= next->first, t, "runs overlap (I1)");
			REQUIRE(run->end < next->first ||
				    !promise_equal(run->promise, next->promise),
				t, "equal neighbours are not merged");
		}
		const struct backing *b = run->promise.backing;
		REQUIRE(!b || (b->mapper->space == c->space && b->mapper->object == b->object &&
			       atomic_read_relaxed(&b->refs)),
			t, "a run's backing is dead or another space's");
		REQUIRE(!b || (b->mapper->low <= run->first && run->end <= b->mapper->high &&
			       b->mapper->least <= b->delta && b->delta <= b->mapper->most),
			t, "a run is outside its mapper's box (I9)");
		REQUIRE(!(run->promise.bits & PROMISE_SHARED) || b, t, "shared without an object");
		if (t->level > 1)
			REQUIRE(vm_table_next(t, vpn_index(run->first, t->level),
					      vpn_index(run->end - 1, t->level) + 1) ==
				    vpn_index(run->end - 1, t->level) + 1,
				t, "a run overlaps a child table (I1)");
		c->runs++;
		count_run(c, run);
	}
	return true;
}

static bool check_bits(const struct table *t)
{
	unsigned used = 0, limit = t->level == PT_LEVELS ? PT_ENTRIES / 2 : PT_ENTRIES;
	for (unsigned i = 0; i < limit; i++) {
		bool bit = table_bit(t, i);
		used += bit;
		REQUIRE(bit == (atomic_read_relaxed(&t->entries[i]) != 0), t,
			"an entry and its bit differ");
	}
	REQUIRE(used == t->used, t, "the count of used entries is wrong");
	return true;
}

/* I2 and I4, and the frame behind the entry. */
static bool check_entry(struct check *c, const struct table *t, unsigned i)
{
	struct vmm *vmm = c->space->vmm;
	pte_t pte = atomic_read_relaxed(&t->entries[i]);
	paddr_t pa = pte & PTE_ADDR;
	const struct run *run = vm_runs_find(t, t->first + i);
	REQUIRE(run, t, "an entry is in no run");
	promise_t p = run->promise;
	bool present = pte & PTE_PRESENT, write = pte & PTE_WRITE;
	REQUIRE(!present || promise_prot(p), t, "present where nothing is allowed (I2)");
	REQUIRE(!write || (p.bits & VM_WRITE), t, "writable where writing is not promised (I2)");
	REQUIRE(!present || (p.bits & VM_EXEC) || !vmm->nx || (pte & vmm->nx), t,
		"executable where that is not promised (I2)");
	REQUIRE(!present || (pte & PTE_USER), t, "a user page without the user bit");
	if (pte & PTE_UNCOUNTED) {
		REQUIRE(pa != vmm->zero_frame || !write, t, "the zero frame is writable");
		REQUIRE(pa == vmm->zero_frame || p.backing, t, "uncounted frame");
		return true;
	}
	c->resident++;
	c->resident_file += (pte & PTE_OBJECT) != 0;
	enum frame_type type = frame_type(vmm->pmm, pa);
	REQUIRE(type == ((pte & PTE_OBJECT) ? FRAME_OBJECT : FRAME_ANON), t,
		"an entry and its frame differ in kind");
	REQUIRE(frame_count(vmm->pmm, pa) >= 1, t, "a mapped frame has no count");
	const struct backing *b = p.backing;
	REQUIRE(!(pte & PTE_OBJECT) ||
		    (b && vm_pages_lookup(b->object,
					  (uint64_t)((int64_t)(t->first + i) + b->delta)) == pa),
		t, "an entry is not the object's page (I9)");
	REQUIRE(!(p.bits & PROMISE_SHARED) || (pte & PTE_OBJECT), t, "shared anonymous frame");
	if (write && !(p.bits & PROMISE_SHARED))
		REQUIRE(!(pte & PTE_OBJECT) &&
			    (frame_count(vmm->pmm, pa) == 1 || frame_is_pinned(vmm->pmm, pa)),
			t, "a writable private page is shared (I4)");
	return true;
}

static bool check_table(struct check *c, struct table *t)
{
	struct pmm *pmm = c->space->vmm->pmm;
	paddr_t page = ptr_to_paddr(t->entries);
	REQUIRE(t->state == TABLE_LIVE && t->space == c->space && !mem_lock_held(&t->lock), t,
		"a linked table is stale or foreign");
	REQUIRE(frame_type(pmm, page) == FRAME_TABLE && frame_reference(pmm, page) == t, t,
		"page and descriptor do not refer to each other");
	REQUIRE(!(t->first & (table_span(t) - 1)), t, "span is not aligned");
	c->tables++;
	if (!check_runs(c, t) || !check_bits(t))
		return false;
	table_for_each(i, t, 0, PT_ENTRIES)
	{
		if (t->level == 1) {
			if (!check_entry(c, t, i))
				return false;
			continue;
		}
		struct table *child = vm_table_child(t, i);
		REQUIRE(child->parent == t && child->level + 1 == t->level &&
			    child->first == t->first + i * vpn_entry_span(t->level),
			t, "a child is in the wrong place");
		REQUIRE(!table_is_empty(child), child, "an empty table is linked (I1)");
		if (!check_table(c, child))
			return false;
	}
	return true;
}

static bool same_totals(const struct space_totals *a, const struct space_totals *b)
{
	return a->virt == b->virt && a->data == b->data && a->stack == b->stack &&
	       a->exec == b->exec && a->locked == b->locked && a->charged == b->charged;
}

/* One by one, as maps shows them. */
static uint64_t count_areas(struct space *space)
{
	uint64_t count = 0;
	struct vm_area area;
	for (vaddr_t at = 0; vmm_next_area(space, at, &area); count++) {
		at = area.end;
		vm_area_done(&area);
	}
	return count;
}

bool vmm_space_is_valid(struct space *space)
{
	struct check c = {.space = space};
	struct table *root = space->root;
	const pte_t *kernel = paddr_to_ptr(space->vmm->kernel_root);
	if (!check_table(&c, root))
		return false;
	/* I8; the MMU may have noted that it used an entry. */
	for (unsigned i = PT_ENTRIES / 2; i < PT_ENTRIES; i++)
		REQUIRE(!((root->entries[i] ^ kernel[i]) & ~PTE_ACCESSED), root,
			"the upper half differs from the kernel's (I8)");
	REQUIRE(same_totals(&c.totals, &space->totals), root, "the totals are wrong");
	REQUIRE(c.resident == space->resident && c.resident_file == space->resident_file, root,
		"the resident counts are wrong");
	REQUIRE(c.tables == space->tables, root, "the count of tables is wrong");
	REQUIRE(c.runs == space->runs, root, "the count of runs is wrong");
	REQUIRE(count_areas(space) == space->areas, root, "the count of areas is wrong");
	REQUIRE(!space->forking, root, "forking for ever");
	return true;
}

#define REQUIRE_VMM(condition, what)                                                               \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			host_log(HOST_LOG_ERROR, "invalid vmm: %s", (what));                       \
			return false;                                                              \
		}                                                                                  \
	} while (0)

bool vmm_is_valid(struct vmm *vmm)
{
	uint64_t charged = 0, tables = 0, limbo = 0;
	list_for_each (node, &vmm->spaces) {
		struct space *space = list_entry(node, struct space, link);
		if (!vmm_space_is_valid(space))
			return false;
		charged += space->totals.charged;
		tables += space->tables;
	}
	for (struct table *t = vmm->limbo; t; t = t->next) {
		REQUIRE_VMM(t->state == TABLE_STALE && !t->run_count, "a table in limbo is alive");
		limbo++;
	}
	REQUIRE_VMM(limbo == vmm->limbo_npages, "the count of limbo is wrong");
	REQUIRE_VMM(tables + limbo == vmm->user_tables, "the count of user tables is wrong (I7)");
	REQUIRE_VMM(charged + vmm->object_charged == vmm->commit, "the commit total is wrong");
	for (unsigned i = 0; i < KERNEL_AREAS; i++)
		REQUIRE_VMM(vm_area_is_valid(&vmm->areas[i]), "a kernel area is not valid");
	struct slab_cache **caches[] = VM_CACHES(vmm);
	for (size_t i = 0; i < ARRAY_COUNT(caches); i++)
		REQUIRE_VMM(slab_is_valid(*caches[i]), "a slab cache is not valid");
	return true;
}
