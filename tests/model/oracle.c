/* SPDX-License-Identifier: MIT */
/* The oracle's array, and comparing real spaces with it. See model.h. */
#include "tests/model/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/model/inside.h"
#include "tests/test.h"

struct model model;

/* ---- reports -------------------------------------------------------------------- */

#define NOTES 48
static char notes[NOTES][160];
static uint64_t note_count;

void model_note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *to = notes[note_count++ % NOTES];
	int n = snprintf(to, sizeof(notes[0]), "%llu: ", (unsigned long long)model.operations);
	vsnprintf(to + n, sizeof(notes[0]) - (size_t)n, format, args);
	va_end(args);
}

static void report(void)
{
	fprintf(stderr, "  the last operations:\n");
	uint64_t first = note_count > NOTES ? note_count - NOTES : 0;
	for (uint64_t i = first; i < note_count; i++)
		fprintf(stderr, "    %s\n", notes[i % NOTES]);
}

void model_fail(const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	machine_die("model: %s", text);
}

/* ---- cells ------------------------------------------------------------------------ */

/* Where each zone's middle lies: borders of a leaf table, of a 1 GiB table, of a
 * 512 GiB table; the long zone begins shortly before a 2 MiB border. */
static const struct {
	vaddr_t middle;
	unsigned before, after; /* pages */
} zones[ZONES] = {
    {0x40000000 - (21u << 21), ZONE_PAGES / 2, ZONE_PAGES / 2},
    {0x80000000, ZONE_PAGES / 2, ZONE_PAGES / 2},
    {(vaddr_t)3 << 39, ZONE_PAGES / 2, ZONE_PAGES / 2},
    {((vaddr_t)5 << 39) + (7u << 21), 100, LONG_PAGES - 100},
};

static void lay_out_cells(void)
{
	unsigned n = 0;
	vaddr_t at = 0x10000;
	for (unsigned z = 0; z < ZONES; z++) {
		vaddr_t start = zones[z].middle - zones[z].before * PAGE_SIZE;
		uint64_t gap = (start - at) >> PAGE_SHIFT;
		model.cell[n++] = (struct cell){at, gap, at + (gap / 3) * PAGE_SIZE};
		for (unsigned i = 0; i < zones[z].before + zones[z].after; i++) {
			vaddr_t va = start + i * PAGE_SIZE;
			model.cell[n++] = (struct cell){va, 1, va};
		}
		at = start + (zones[z].before + zones[z].after) * PAGE_SIZE;
	}
	uint64_t gap = (USER_TOP - at) >> PAGE_SHIFT;
	model.cell[n++] = (struct cell){at, gap, at + (gap / 3) * PAGE_SIZE};
	if (n != CELLS)
		model_fail("%u cells, not %u", n, CELLS);
}

bool model_is_gap(unsigned c)
{
	return model.cell[c].npages > 1;
}

vaddr_t cell_end(unsigned c)
{
	return model.cell[c].va + model.cell[c].npages * PAGE_SIZE;
}

uint64_t cells_bytes(unsigned from, unsigned to)
{
	return cell_end(to - 1) - model.cell[from].va;
}

bool range_has_gap(unsigned from, unsigned to)
{
	for (unsigned c = from; c < to; c++)
		if (model_is_gap(c))
			return true;
	return false;
}

/* The cell that begins at va, or CELLS. */
unsigned cell_at(vaddr_t va)
{
	unsigned low = 0, high = CELLS;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (model.cell[mid].va < va)
			low = mid + 1;
		else
			high = mid;
	}
	return low < CELLS && model.cell[low].va == va ? low : CELLS;
}

/* Cells c and c + 1 belong to one mapping: equal promises that continue. */
bool cells_continue(const struct model_space *ms, unsigned c)
{
	const struct page *a = &ms->page[c], *b = &ms->page[c + 1];
	if (!a->mapped || !b->mapped || a->prot != b->prot || a->maxprot != b->maxprot ||
	    a->flags != b->flags || a->charged != b->charged || a->object != b->object)
		return false;
	return a->object < 0 ||
	       b->opage - a->opage == (model.cell[c + 1].touch - model.cell[c].touch) >> PAGE_SHIFT;
}

/* ---- objects ----------------------------------------------------------------------- */

uint64_t object_npages(int o)
{
	return (model.object[o].bytes + PAGE_MASK) >> PAGE_SHIFT;
}

/* Slots of objects that nobody names any more can be used again. */
void collect_objects(void)
{
	bool named[MODEL_OBJECTS] = {false};
	for (unsigned s = 0; s < MODEL_SPACES; s++)
		for (unsigned c = 0; model.space[s].space && c < CELLS; c++)
			if (model.space[s].page[c].mapped && model.space[s].page[c].object >= 0)
				named[model.space[s].page[c].object] = true;
	for (unsigned o = 0; o < MODEL_OBJECTS; o++)
		if (model.object[o].used && !model.object[o].vm && !model.object[o].busy &&
		    !named[o])
			model.object[o].used = false;
}

int free_object_slot(void)
{
	for (int again = 0; again < 2; again++) {
		for (int o = MODEL_FILES; o < MODEL_OBJECTS; o++)
			if (!model.object[o].used)
				return o;
		collect_objects();
	}
	return -1;
}

/* ---- what an access should come to --------------------------------------------------- */

uint64_t expected_word(const struct page *p, unsigned word)
{
	if (p->own)
		return p->token[word];
	if (p->object >= 0)
		return model.object[p->object].token[p->opage][word];
	return 0;
}

enum growth stack_growth(const struct model_space *ms, unsigned c, unsigned *above)
{
	unsigned a = c, gaps = 0;
	while (a < CELLS && !ms->page[a].mapped)
		gaps += model_is_gap(a++);
	*above = a;
	if (a == CELLS || !(ms->page[a].flags & VM_GROWSDOWN))
		return GROWTH_NONE;
	if (gaps)
		return GROWTH_UNKNOWN;
	unsigned top = a;
	while (top < CELLS && ms->page[top].mapped && (ms->page[top].flags & VM_GROWSDOWN))
		top++;
	if (cells_bytes(c, top) > STACK_LIMIT * PAGE_SIZE)
		return GROWTH_REFUSED;
	/* The next one below counts, if somebody can reach it and it is no stack. */
	unsigned below = c;
	while (below > 0 && !ms->page[below - 1].mapped)
		below--;
	if (!below)
		return GROWTH_DONE;
	const struct page *next = &ms->page[below - 1];
	bool near = cell_end(below - 1) + GUARD_GAP * PAGE_SIZE > model.cell[c].va;
	return near && next->prot && !(next->flags & VM_GROWSDOWN) ? GROWTH_REFUSED : GROWTH_DONE;
}

enum verdict verdict(const struct page *p, enum machine_access access)
{
	if (!p->mapped)
		return VERDICT_UNMAPPED;
	if ((access == MACHINE_READ && !p->prot) ||
	    (access == MACHINE_WRITE && !(p->prot & VM_WRITE)) ||
	    (access == MACHINE_FETCH && !(p->prot & VM_EXEC)))
		return VERDICT_FORBIDDEN;
	if (p->object >= 0 && !p->own && p->opage >= object_npages(p->object))
		return VERDICT_BEYOND;
	return VERDICT_OK;
}

/* ---- comparing -------------------------------------------------------------------------- */

static void check_area(unsigned s, const struct vm_area *area, vaddr_t *done)
{
	struct model_space *ms = &model.space[s];
	unsigned c = cell_at(area->start);
	if (c == CELLS)
		model_fail("space %u: an area begins at %#llx, inside a cell", s,
			   (unsigned long long)area->start);
	for (unsigned before = c; before-- > 0 && model.cell[before].va >= *done;)
		if (ms->page[before].mapped)
			model_fail("space %u: cell %u at %#llx has lost its mapping", s, before,
				   (unsigned long long)model.cell[before].va);
	for (unsigned i = c;; i++) {
		const struct page *p = &ms->page[i];
		if (i == CELLS || model.cell[i].va >= area->end)
			model_fail("space %u: an area ends at %#llx, inside a cell", s,
				   (unsigned long long)area->end);
		if (!p->mapped || p->prot != area->prot || p->maxprot != area->maxprot)
			model_fail("space %u cell %u: area says prot %u max %u, should be %s %u %u",
				   s, i, area->prot, area->maxprot,
				   p->mapped ? "mapped" : "unmapped", p->prot, p->maxprot);
		if ((area->flags & MODEL_FLAGS) != p->flags)
			model_fail("space %u cell %u: area says flags %#x, should be %#x", s, i,
				   area->flags & MODEL_FLAGS, p->flags);
		if ((area->object != NULL) != (p->object >= 0) ||
		    (p->object >= 0 && model.object[p->object].vm &&
		     model.object[p->object].vm != area->object))
			model_fail("space %u cell %u: the wrong object", s, i);
		if (p->object >= 0 &&
		    area->offset + (model.cell[i].touch - area->start) != p->opage << PAGE_SHIFT)
			model_fail("space %u cell %u: the wrong offset", s, i);
		if (cell_end(i) != area->end)
			continue;
		*done = area->end;
		return;
	}
}

static void check_areas(unsigned s)
{
	struct model_space *ms = &model.space[s];
	struct vm_area area;
	vaddr_t done = 0;
	uint64_t count = 0, npages = 0, expected_count = 0, expected_npages = 0, joins = 0;
	while (vmm_next_area(ms->space, done, &area)) {
		if (area.start < done || area.end <= area.start)
			model_fail("space %u: areas out of order", s);
		check_area(s, &area, &done);
		npages += (area.end - area.start) >> PAGE_SHIFT;
		count++;
		vm_area_done(&area);
	}
	for (unsigned c = 0; c < CELLS; c++) {
		if (!ms->page[c].mapped)
			continue;
		if (model.cell[c].va >= done)
			model_fail("space %u: cell %u has lost its mapping", s, c);
		expected_npages += model.cell[c].npages;
		bool joined = c > 0 && cells_continue(ms, c - 1);
		expected_count += !joined;
		joins += joined && ms->page[c].object >= 0 && model.many_backings;
	}
	struct vmm_space_stats stats;
	vmm_space_stats(ms->space, &stats);
	if (npages != expected_npages || stats.virt_npages != npages)
		model_fail("space %u: %llu pages promised, %llu in its statistics, should be %llu",
			   s, (unsigned long long)npages, (unsigned long long)stats.virt_npages,
			   (unsigned long long)expected_npages);
	if (count < expected_count || count > expected_count + joins || stats.area_count != count)
		model_fail("space %u: %llu areas, %llu in its statistics, should be %llu", s,
			   (unsigned long long)count, (unsigned long long)stats.area_count,
			   (unsigned long long)expected_count);
}

static void check_statistics(unsigned s)
{
	const struct model_space *ms = &model.space[s];
	uint64_t charged = 0, locked = 0, data = 0, stack = 0;
	for (unsigned c = 0; c < CELLS; c++) {
		const struct page *p = &ms->page[c];
		uint64_t n = p->mapped ? model.cell[c].npages : 0;
		charged += p->charged ? n : 0;
		locked += p->flags & VM_LOCKED ? n : 0;
		stack += p->flags & VM_GROWSDOWN ? n : 0;
		data += (p->prot & VM_WRITE) && !(p->flags & (VM_SHARED | VM_GROWSDOWN)) ? n : 0;
	}
	struct vmm_space_stats stats;
	vmm_space_stats(ms->space, &stats);
	if (stats.commit_npages != charged || stats.locked_npages != locked ||
	    stats.data_npages != data || stats.stack_npages != stack)
		model_fail("space %u: commit %llu locked %llu data %llu stack %llu, should be %llu "
			   "%llu %llu %llu",
			   s, (unsigned long long)stats.commit_npages,
			   (unsigned long long)stats.locked_npages,
			   (unsigned long long)stats.data_npages,
			   (unsigned long long)stats.stack_npages, (unsigned long long)charged,
			   (unsigned long long)locked, (unsigned long long)data,
			   (unsigned long long)stack);
}

void model_check_space(unsigned s)
{
	if (!model.space[s].space)
		return;
	model.checks++;
	machine_progress();
	if (!vmm_space_is_valid(model.space[s].space))
		model_fail("space %u is not valid", s);
	check_areas(s);
	check_statistics(s);
}

void model_check_all(void)
{
	for (unsigned s = 0; s < MODEL_SPACES; s++)
		model_check_space(s);
	if (!vmm_is_valid(machine_vmm))
		model_fail("the vmm is not valid");
}

/* ---- begin and end --------------------------------------------------------------------------- */

void model_begin(void)
{
	memset(&model, 0, sizeof(model));
	note_count = 0;
	machine_hooks.report = report;
	lay_out_cells();
	model.next_token = 1;
	model.free_frames = machine_frames_at_rest();
}

void model_end(void)
{
	machine_set_space(NULL);
	for (unsigned s = 0; s < MODEL_SPACES; s++)
		if (model.space[s].space)
			model_destroy(s);
	for (unsigned o = 0; o < MODEL_OBJECTS; o++)
		if (model.object[o].vm)
			model_drop_file(o);
	if (!vmm_is_valid(machine_vmm))
		model_fail("the vmm is not valid at the end");
	uint64_t now = machine_frames_at_rest();
	if (now != model.free_frames)
		model_fail("%llu frames were free before, %llu are at the end",
			   (unsigned long long)model.free_frames, (unsigned long long)now);
	if (!pmm_is_valid(machine_pmm))
		model_fail("the pmm is not valid at the end");
	struct vmm_stats stats;
	vmm_get_stats(machine_vmm, &stats);
	if (stats.commit_npages || stats.table_npages || stats.object_npages || stats.anon_npages ||
	    stats.limbo_npages)
		model_fail(
		    "left at the end: commit %llu, tables %llu, object %llu, anonymous %llu, "
		    "limbo %llu",
		    (unsigned long long)stats.commit_npages, (unsigned long long)stats.table_npages,
		    (unsigned long long)stats.object_npages, (unsigned long long)stats.anon_npages,
		    (unsigned long long)stats.limbo_npages);
}
