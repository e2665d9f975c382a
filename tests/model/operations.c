/* SPDX-License-Identifier: MIT */
/* The oracle's operations on spaces and mappings: the real thing, what should come of it,
 * and the array. Accesses and files: accesses.c. */
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/model/inside.h"
#include "tests/test.h"

bool model_expect(const char *what, mem_status got, mem_status want)
{
	model.operations++;
	machine_progress();
	if (got == want)
		return got == MEM_OK;
	if (model.may_fail && got == MEM_ENOMEM && inject_failures()) {
		model.refused++;
		return false;
	}
	model_fail("%s says %s, should say %s", what, mem_status_name(got), mem_status_name(want));
}

/* ---- spaces ------------------------------------------------------------------------- */

static void set_limits(struct space *space)
{
	struct vmm_space_limits limits = {UINT64_MAX, UINT64_MAX, STACK_LIMIT, UINT64_MAX, 65530};
	vmm_space_set_limits(space, &limits);
}

void model_create(unsigned s)
{
	model_note("create space %u", s);
	struct model_space *ms = &model.space[s];
	struct space *space = NULL;
	mem_status status = vmm_space_create(machine_vmm, &space);
	if (!model_expect("create", status, MEM_OK))
		return;
	memset(ms, 0, sizeof(*ms));
	for (unsigned c = 0; c < CELLS; c++)
		ms->page[c].object = -1;
	ms->space = space;
	set_limits(space);
}

void model_destroy(unsigned s)
{
	model_note("destroy space %u", s);
	struct model_space *ms = &model.space[s];
	if (host_current_space() == ms->space)
		machine_set_space(NULL);
	vmm_space_put(ms->space);
	ms->space = NULL;
	(void)model_expect("destroy", MEM_OK, MEM_OK);
}

void model_clear(unsigned s)
{
	model_note("clear space %u", s);
	vmm_space_clear(model.space[s].space);
	for (unsigned c = 0; c < CELLS; c++)
		model.space[s].page[c] = (struct page){.object = -1};
	(void)model_expect("clear", MEM_OK, MEM_OK);
}

bool model_fork(unsigned s, unsigned child)
{
	model_note("fork space %u to %u", s, child);
	struct space *space = NULL;
	mem_status status = vmm_space_fork(model.space[s].space, &space);
	if (!model_expect("fork", status, MEM_OK))
		return false;
	struct model_space *to = &model.space[child];
	memcpy(to, &model.space[s], sizeof(*to));
	to->space = space;
	for (unsigned c = 0; c < CELLS; c++) {
		struct page *p = &to->page[c];
		if (p->flags & VM_DONTFORK)
			*p = (struct page){.object = -1};
		p->flags &= ~VM_LOCKED;
		if (p->flags & VM_WIPEONFORK)
			p->own = false;
	}
	return true;
}

/* ---- mapping ------------------------------------------------------------------------- */

static bool wants_charge(unsigned prot, unsigned flags)
{
	return (prot & VM_WRITE) && !(flags & (VM_SHARED | VM_NORESERVE));
}

static int object_for(const struct model_map *m)
{
	if (m->object >= 0 || !(m->flags & VM_SHARED))
		return m->object;
	int o = free_object_slot();
	if (o < 0)
		return -2;
	model.object[o] =
	    (struct model_object){.used = true, .busy = true, .bytes = cells_bytes(m->from, m->to)};
	return o;
}

static void object_settled(int o)
{
	if (o >= 0)
		model.object[o].busy = false;
}

static void describe(unsigned s, unsigned from, unsigned to, const struct model_map *m, int object)
{
	for (unsigned c = from; c < to; c++) {
		model.space[s].page[c] = (struct page){
		    .mapped = true,
		    .charged = wants_charge(m->prot, m->flags),
		    .prot = (uint8_t)m->prot,
		    .maxprot = (uint8_t)m->maxprot,
		    .flags = (uint16_t)(m->flags & MODEL_FLAGS),
		    .object = (int16_t)object,
		    .opage = object < 0 ? 0
					: m->opage + ((model.cell[c].touch - model.cell[from].va) >>
						      PAGE_SHIFT),
		};
	}
}

static struct vm_map_args args_of(const struct model_map *m)
{
	return (struct vm_map_args){
	    .hint = model.cell[m->from].va,
	    .bytes = cells_bytes(m->from, m->to) - machine_random_below(4096),
	    .prot = m->prot,
	    .maxprot = m->maxprot,
	    .flags = m->flags,
	    .object = m->object >= 0 ? model.object[m->object].vm : NULL,
	    .offset = m->opage << PAGE_SHIFT,
	};
}

static bool any_mapped(unsigned s, unsigned from, unsigned to)
{
	for (unsigned c = from; c < to; c++)
		if (model.space[s].page[c].mapped)
			return true;
	return false;
}

static bool any_unmapped(unsigned s, unsigned from, unsigned to)
{
	for (unsigned c = from; c < to; c++)
		if (!model.space[s].page[c].mapped)
			return true;
	return false;
}

mem_status model_map(unsigned s, const struct model_map *m)
{
	struct vm_map_args args = args_of(m);
	int object = object_for(m);
	if (object == -2)
		return MEM_EBUSY; /* no slot: not done */
	model_note("map space %u cells %u-%u prot %u max %u flags %#x object %d page %llu", s,
		   m->from, m->to, m->prot, m->maxprot, m->flags, object,
		   (unsigned long long)m->opage);
	mem_status want = MEM_OK;
	if ((m->flags & VM_FIXED_NOREPLACE) && any_mapped(s, m->from, m->to))
		want = MEM_EEXIST;
	vaddr_t out = 0;
	mem_status status = vmm_map(model.space[s].space, &args, &out);
	if (!model_expect("map", status, want)) {
		object_settled(object);
		return status;
	}
	if (out != args.hint)
		model_fail("a fixed mapping went to %#llx", (unsigned long long)out);
	describe(s, m->from, m->to, m, object);
	object_settled(object);
	return status;
}

/* Without a fixed place: it may go anywhere that is free below the limit. If that
 * is not exactly some free cells, it is taken away again. */
void model_map_anywhere(unsigned s, const struct model_map *m)
{
	struct vm_map_args args = args_of(m);
	args.limit = cell_end(m->to - 1);
	if (machine_random_below(2))
		args.hint = 0;
	model_note("map space %u %u cells anywhere below %#llx, prot %u flags %#x", s,
		   m->to - m->from, (unsigned long long)args.limit, m->prot, m->flags);
	int object = object_for(m);
	if (object == -2)
		return;
	vaddr_t out = 0;
	uint64_t bytes = cells_bytes(m->from, m->to);
	mem_status status = vmm_map(model.space[s].space, &args, &out);
	object_settled(object);
	/* A gap below is always large enough unless it is mapped. */
	if (status == MEM_ENOMEM && !any_unmapped(s, 0, m->to))
		status = MEM_OK, out = 0;
	else if (status == MEM_ENOMEM && !model.may_fail) {
		for (unsigned c = 0; c < m->to; c++)
			if (model_is_gap(c) && !model.space[s].page[c].mapped)
				model_fail("no gap found, and cell %u is one", c);
		out = 0;
		status = MEM_OK;
	}
	if (!model_expect("map anywhere", status, MEM_OK) || !out)
		return;
	if (out & PAGE_MASK || out < 0x10000 || out + bytes > args.limit)
		model_fail("a mapping went to %#llx, its limit is %#llx", (unsigned long long)out,
			   (unsigned long long)args.limit);
	unsigned next = 0;
	while (next < CELLS && (!model.space[s].page[next].mapped || model.cell[next].va < out))
		next++;
	if (next < CELLS && (model.space[s].page[next].flags & VM_GROWSDOWN) && out != args.hint &&
	    out + bytes > model.cell[next].va - GUARD_GAP * PAGE_SIZE)
		model_fail("a mapping went to %#llx, into the guard gap of the stack at cell %u",
			   (unsigned long long)out, next);
	unsigned c = cell_at(out), count = m->to - m->from;
	if (c < CELLS && c + count <= CELLS && cells_bytes(c, c + count) == bytes) {
		if (any_mapped(s, c, c + count))
			model_fail("a mapping went to %#llx, which was taken",
				   (unsigned long long)out);
		describe(s, c, c + count, m, object);
		return;
	}
	for (unsigned i = 0; i < CELLS; i++)
		if (model.space[s].page[i].mapped && model.cell[i].va < out + bytes &&
		    cell_end(i) > out)
			model_fail("a mapping went to %#llx, over cell %u", (unsigned long long)out,
				   i);
	status = vmm_unmap(model.space[s].space, out, bytes);
	if (status != MEM_OK && model.may_fail) {
		inject_arm(INJECT_ALL, 0, false);
		status = vmm_unmap(model.space[s].space, out, bytes);
	}
	if (status != MEM_OK)
		model_fail("unmap of what map found says %s", mem_status_name(status));
}

mem_status model_unmap(unsigned s, unsigned from, unsigned to)
{
	model_note("unmap space %u cells %u-%u", s, from, to);
	mem_status status =
	    vmm_unmap(model.space[s].space, model.cell[from].va, cells_bytes(from, to));
	if (!model_expect("unmap", status, MEM_OK))
		return status;
	for (unsigned c = from; c < to; c++)
		model.space[s].page[c] = (struct page){.object = -1};
	return status;
}

mem_status model_protect(unsigned s, unsigned from, unsigned to, unsigned prot)
{
	model_note("protect space %u cells %u-%u prot %u", s, from, to, prot);
	mem_status want = MEM_OK;
	for (unsigned c = from; c < to; c++)
		if (model.space[s].page[c].mapped && (prot & ~model.space[s].page[c].maxprot))
			want = MEM_EACCES;
	bool holes = any_unmapped(s, from, to);
	mem_status status =
	    vmm_protect(model.space[s].space, model.cell[from].va, cells_bytes(from, to), prot);
	if (holes && (want == MEM_OK || status == MEM_ENOMEM))
		want = MEM_ENOMEM;
	if (!model_expect("protect", status, want) || status != MEM_OK)
		return status;
	for (unsigned c = from; c < to; c++) {
		struct page *p = &model.space[s].page[c];
		p->prot = (uint8_t)prot;
		p->charged |= wants_charge(prot, p->flags);
	}
	return status;
}

/* ---- mremap ----------------------------------------------------------------------------- */

static bool one_mapping(unsigned s, unsigned from, unsigned to)
{
	if (any_unmapped(s, from, to))
		return false;
	for (unsigned c = from; c + 1 < to; c++)
		if (!cells_continue(&model.space[s], c))
			return false;
	return true;
}

static struct page moved_page(const struct page *first, const struct page *old, unsigned i)
{
	struct page p = old ? *old : *first;
	if (!old) {
		p.own = false;
		p.opage = first->opage + i;
	}
	return p;
}

/* A mapping that grew found no room in place and went somewhere the array does
 * not know: look at what it holds there, and take it away. */
static void look_and_unmap(unsigned s, vaddr_t va, const struct page *moved, unsigned count)
{
	struct space *space = model.space[s].space;
	if (host_current_space() != space)
		machine_set_space(space);
	for (unsigned i = 0; i < count; i++) {
		uint64_t value = 0;
		bool works = verdict(&moved[i], MACHINE_READ) == VERDICT_OK;
		struct machine_result r = machine_access(va + i * PAGE_SIZE, MACHINE_READ, &value);
		if (r.ok != works && !(model.may_fail && r.signal == SIGKILL))
			model_fail("page %u of a moved mapping: signal %d", i, r.signal);
		if (r.ok && value != expected_word(&moved[i], 0))
			model_fail("page %u of a moved mapping reads %#llx", i,
				   (unsigned long long)value);
	}
	if (model.may_fail)
		inject_arm(INJECT_ALL, 0, false);
	mem_status status = vmm_unmap(space, va, count * PAGE_SIZE);
	if (status != MEM_OK)
		model_fail("unmap of a moved mapping says %s", mem_status_name(status));
}

mem_status model_move(unsigned s, unsigned from, unsigned to, unsigned at, unsigned count,
		      unsigned flags)
{
	struct page moved[MODEL_MOVE_MAX];
	struct model_space *ms = &model.space[s];
	unsigned old = to - from;
	if (count > MODEL_MOVE_MAX)
		model_fail("moves are limited to %d cells", MODEL_MOVE_MAX);
	bool fixed = flags & VM_MOVE_FIXED, stays = flags & VM_MOVE_DONTUNMAP;
	vaddr_t va = model.cell[from].va, new_va = model.cell[at].va, out = 0;
	uint64_t bytes = cells_bytes(at, at + count);
	model_note("move space %u cells %u-%u to %u-%u flags %u", s, from, to, at, at + count,
		   flags);
	mem_status want = MEM_OK;
	bool room = from + count <= CELLS && !range_has_gap(from, from + count) &&
		    (count <= old || !any_mapped(s, to, from + count));
	if (fixed && at < to && at + count > from)
		want = MEM_EINVAL;
	else if (!one_mapping(s, from, to))
		want = MEM_EFAULT;
	else if (!fixed && !stays && count > old && !room && !(flags & VM_MOVE_MAY))
		want = MEM_ENOMEM;
	mem_status status =
	    vmm_move(ms->space, va, cells_bytes(from, to), bytes, flags, fixed ? new_va : 0, &out);
	if (status == MEM_EFAULT && model.many_backings && ms->page[from].object >= 0)
		want = status; /* two areas that only look like one */
	if (!model_expect("move", status, want) || status != MEM_OK)
		return status;
	for (unsigned i = 0; i < count; i++)
		moved[i] = moved_page(&ms->page[from], i < old ? &ms->page[from + i] : NULL, i);
	/* It may have grown in place into a part of a gap, which is no cell. */
	bool into_gap = from + count > CELLS || range_has_gap(from, from + count);
	bool elsewhere = !fixed && (out != va || into_gap);
	if (!fixed && !elsewhere) {
		if (count > old && !room)
			model_fail("a mapping grew over its neighbour");
		at = from;
	} else if (fixed && out != new_va) {
		model_fail("a fixed move went to %#llx", (unsigned long long)out);
	}
	if (!stays)
		for (unsigned c = from; c < to; c++)
			ms->page[c] = (struct page){.object = -1};
	else
		for (unsigned c = from; c < to; c++) {
			ms->page[c].own = false;
			ms->page[c].flags &= ~VM_LOCKED;
		}
	if (elsewhere) {
		look_and_unmap(s, out, moved, count);
		return MEM_OK;
	}
	for (unsigned i = 0; i < count; i++)
		ms->page[at + i] = moved[i];
	return MEM_OK;
}

/* ---- advice ------------------------------------------------------------------------------- */

static void advise_page(struct page *p, enum vm_advice advice)
{
	switch (advice) {
	case VM_ADVICE_DONTNEED:
	case VM_ADVICE_FREE:
		p->own = false;
		break;
	case VM_ADVICE_DONTFORK:
		p->flags |= VM_DONTFORK;
		break;
	case VM_ADVICE_DOFORK:
		p->flags &= ~VM_DONTFORK;
		break;
	case VM_ADVICE_WIPEONFORK:
		p->flags |= VM_WIPEONFORK;
		break;
	case VM_ADVICE_KEEPONFORK:
		p->flags &= ~VM_WIPEONFORK;
		break;
	case VM_ADVICE_REMOVE:
		if (p->opage < OBJECT_PAGES)
			memset(model.object[p->object].token[p->opage], 0, 16);
		break;
	case VM_ADVICE_LOCK:
		p->flags |= VM_LOCKED;
		break;
	case VM_ADVICE_UNLOCK:
		p->flags &= ~VM_LOCKED;
		break;
	case VM_ADVICE_NORMAL:
		p->flags &= ~(VM_RANDOM | VM_SEQUENTIAL);
		break;
	case VM_ADVICE_RANDOM:
		p->flags = (p->flags & ~VM_SEQUENTIAL) | VM_RANDOM;
		break;
	case VM_ADVICE_SEQUENTIAL:
		p->flags = (p->flags & ~VM_RANDOM) | VM_SEQUENTIAL;
		break;
	case VM_ADVICE_HUGE:
		p->flags = (p->flags & ~VM_NOHUGE) | VM_HUGE;
		break;
	case VM_ADVICE_NOHUGE:
		p->flags = (p->flags & ~VM_HUGE) | VM_NOHUGE;
		break;
	case VM_ADVICE_DONTDUMP:
		p->flags |= VM_DONTDUMP;
		break;
	case VM_ADVICE_DODUMP:
		p->flags &= ~VM_DONTDUMP;
		break;
	default:
		break;
	}
}

/* The caller chose a range where the advice applies to every mapped page. */
mem_status model_advise(unsigned s, unsigned from, unsigned to, enum vm_advice advice)
{
	model_note("advise space %u cells %u-%u advice %d", s, from, to, (int)advice);
	mem_status want = any_unmapped(s, from, to) ? MEM_ENOMEM : MEM_OK;
	mem_status status =
	    vmm_advise(model.space[s].space, model.cell[from].va, cells_bytes(from, to), advice);
	/* ENOMEM for a hole: the rest has been done. For want of memory: nothing. */
	if (want == MEM_ENOMEM && model.may_fail && inject_failures())
		model_fail("an advice over a hole while failures are injected: ambiguous");
	/* As on Linux, what could not be populated is locked all the same, if it was the
	 * populating that failed. */
	struct vm_area area;
	if (advice == VM_ADVICE_LOCK && status == MEM_ENOMEM && model.may_fail &&
	    vmm_next_area(model.space[s].space, model.cell[from].va, &area)) {
		if (area.flags & VM_LOCKED)
			status = want;
		vm_area_done(&area);
	}
	if (!model_expect("advise", status, want) && status != want)
		return status;
	for (unsigned c = from; c < to; c++)
		if (model.space[s].page[c].mapped)
			advise_page(&model.space[s].page[c], advice);
	return status;
}
