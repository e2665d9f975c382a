/* SPDX-License-Identifier: MIT */
/* The oracle's operations, continued: accesses by programs and by the kernel, files. */
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/model/inside.h"
#include "tests/test.h"

/* ---- touching ---- */

static void do_write(struct page *p, unsigned word, uint64_t value)
{
	if (p->flags & VM_SHARED) {
		model.object[p->object].token[p->opage][word] = value;
		return;
	}
	if (!p->own) {
		p->token[0] = expected_word(p, 0);
		p->token[1] = expected_word(p, 1);
		p->own = true;
	}
	p->token[word] = value;
}

static void check_signal(unsigned s, unsigned c, enum verdict v, const struct machine_result *r)
{
	static const struct {
		int signal, code;
	} want[] = {[VERDICT_UNMAPPED] = {SIGSEGV, 1},
		    [VERDICT_FORBIDDEN] = {SIGSEGV, 2},
		    [VERDICT_BEYOND] = {SIGBUS, 2}};
	if (model.may_fail && r->signal == SIGKILL && inject_failures()) {
		model.refused++;
		return;
	}
	if (v == VERDICT_OK)
		model_fail("space %u cell %u: signal %d code %d, should work", s, c, r->signal,
			   r->code);
	if (r->signal != want[v].signal || r->code != want[v].code)
		model_fail("space %u cell %u: signal %d code %d, should be %d %d", s, c, r->signal,
			   r->code, want[v].signal, want[v].code);
	if (r->address >> PAGE_SHIFT != model.cell[c].touch >> PAGE_SHIFT)
		model_fail("signal for address %#llx, not %#llx", (unsigned long long)r->address,
			   (unsigned long long)model.cell[c].touch);
}

void model_touch(unsigned s, unsigned c, enum machine_access access, unsigned word)
{
	struct model_space *ms = &model.space[s];
	struct page *p = &ms->page[c];
	unsigned above;
	enum growth growth = p->mapped ? GROWTH_NONE : stack_growth(ms, c, &above);
	if (growth == GROWTH_UNKNOWN)
		return;
	if (host_current_space() != ms->space)
		machine_set_space(ms->space);
	model.touches++;
	model.operations++;
	struct page as = growth == GROWTH_DONE ? ms->page[above] : *p;
	as.own = p->own;
	enum verdict v = verdict(&as, access);
	uint64_t value = access == MACHINE_WRITE ? model.next_token++ : 0;
	model_note("%s space %u cell %u word %u",
		   access == MACHINE_WRITE ? "write" : (access == MACHINE_READ ? "read" : "fetch"),
		   s, c, word);
	struct machine_result r =
	    machine_access(model.cell[c].touch + (word ? PAGE_SIZE - 8 : 0), access, &value);
	/* The stack may have grown for an access that it then forbids. */
	if (growth == GROWTH_DONE && (r.ok || r.signal != SIGKILL))
		for (unsigned i = c; i < above; i++) {
			ms->page[i] = ms->page[above];
			ms->page[i].own = false;
		}
	if (!r.ok) {
		check_signal(s, c, v, &r);
		return;
	}
	if (v != VERDICT_OK)
		model_fail("space %u cell %u: the access works, should not (%d)", s, c, (int)v);
	if (access == MACHINE_WRITE) {
		do_write(p, word, value);
		return;
	}
	if (value != expected_word(p, word))
		model_fail("space %u cell %u word %u: reads %#llx, should be %#llx", s, c, word,
			   (unsigned long long)value, (unsigned long long)expected_word(p, word));
}

void model_kernel_touch(unsigned s, unsigned c, bool write, bool force, unsigned word)
{
	struct page *p = &model.space[s].page[c], as = *p;
	unsigned above;
	if (!p->mapped && stack_growth(&model.space[s], c, &above) != GROWTH_NONE)
		return;
	uint64_t value = write ? model.next_token++ : 0, done = 0;
	if (force) { /* as a debugger: a private page can always be written, by a copy */
		unsigned own = as.prot & VM_WRITE;
		as.prot = as.maxprot;
		if (write && (as.flags & VM_SHARED))
			as.prot = (as.prot & ~(unsigned)VM_WRITE) | own;
		else if (write && as.maxprot)
			as.prot |= VM_WRITE;
	}
	enum verdict v = verdict(&as, write ? MACHINE_WRITE : MACHINE_READ);
	model_note("kernel %s%s space %u cell %u word %u", write ? "write" : "read",
		   force ? " by force" : "", s, c, word);
	mem_status status =
	    vmm_access(model.space[s].space, model.cell[c].touch + (word ? PAGE_SIZE - 8 : 0),
		       &value, 8, write, force, &done);
	if (model.may_fail && inject_failures() && status != MEM_OK) {
		model.operations++;
		model.refused++;
		return;
	}
	if (!model_expect("access", status, v == VERDICT_OK ? MEM_OK : MEM_EFAULT))
		return;
	if (done != 8)
		model_fail("access copied %llu bytes", (unsigned long long)done);
	if (write)
		do_write(p, word, value);
	else if (value != expected_word(p, word))
		model_fail("space %u cell %u word %u: access reads %#llx, should be %#llx", s, c,
			   word, (unsigned long long)value,
			   (unsigned long long)expected_word(p, word));
}

void model_pin_and_fork(unsigned s, unsigned c, unsigned child, bool write)
{
	struct model_space *ms = &model.space[s];
	struct page *p = &ms->page[c];
	paddr_t pa;
	unsigned above;
	if (!p->mapped && stack_growth(ms, c, &above) != GROWTH_NONE)
		return;
	enum verdict v = verdict(p, write ? MACHINE_WRITE : MACHINE_READ);
	static const mem_status wants[] = {[VERDICT_OK] = MEM_OK,
					   [VERDICT_UNMAPPED] = MEM_EFAULT,
					   [VERDICT_FORBIDDEN] = MEM_EFAULT,
					   [VERDICT_BEYOND] = MEM_EFAULT};
	model_note("pin space %u cell %u %s", s, c, write ? "to write" : "to read");
	mem_status status = vmm_pin(ms->space, model.cell[c].touch, write, &pa);
	if (status == MEM_EBUSY && model.may_fail && inject_failures())
		status = MEM_ENOMEM; /* the count was made to overflow */
	if (status != MEM_OK && wants[v] != MEM_OK && status != MEM_ENOMEM)
		status = wants[v]; /* which of EFAULT, EACCES, EBEYOND is not promised */
	if (!model_expect("pin", status, wants[v]) || v != VERDICT_OK)
		return;
	uint64_t *frame = paddr_to_ptr(pa);
	if (!(p->flags & VM_SHARED)) /* a pin gives a private page a frame of its own */
		do_write(p, 0, expected_word(p, 0));
	if (model_fork(s, child)) {
		uint64_t value = model.next_token++;
		if (frame[0] != expected_word(p, 0))
			model_fail("a pinned frame holds %#llx, should hold %#llx",
				   (unsigned long long)frame[0],
				   (unsigned long long)expected_word(p, 0));
		if (write) {
			frame[0] = value;
			do_write(p, 0, value);
		}
		model_touch(s, c, MACHINE_READ, 0);
		if (p->prot & VM_WRITE)
			model_touch(s, c, MACHINE_WRITE, 0);
		if (frame[0] != expected_word(p, 0))
			model_fail("a write to a pinned page went to another frame");
		model_touch(child, c, MACHINE_READ, 0);
	}
	vmm_unpin(machine_vmm, pa);
}

/* ---- files ---- */

void model_make_file(unsigned o, uint64_t bytes)
{
	model_note("make file %u, %llu bytes", o, (unsigned long long)bytes);
	struct vm_object *vm = NULL;
	mem_status status = vm_object_create(machine_vmm, NULL, NULL, bytes, &vm);
	if (!model_expect("object create", status, MEM_OK))
		return;
	model.object[o] = (struct model_object){.used = true, .vm = vm, .bytes = bytes};
}

void model_drop_file(unsigned o)
{
	model_note("drop file %u", o);
	vm_object_put(model.object[o].vm);
	model.object[o].vm = NULL;
	(void)model_expect("object put", MEM_OK, MEM_OK);
}

/* What lies at or behind `from_byte` is cleared, of a word that lies on both sides its
 * upper bytes. */
static void zero_file_words(unsigned o, uint64_t from_byte)
{
	for (uint64_t page = 0; page < OBJECT_PAGES; page++)
		for (unsigned word = 0; word < 2; word++) {
			uint64_t at = page * PAGE_SIZE + (word ? PAGE_SIZE - 8 : 0);
			uint64_t *token = &model.object[o].token[page][word];
			if (at >= from_byte)
				*token = 0;
			else if (from_byte - at < 8)
				*token &= ((uint64_t)1 << 8 * (from_byte - at)) - 1;
		}
}

mem_status model_resize(unsigned o, uint64_t bytes)
{
	model_note("resize file %u to %llu", o, (unsigned long long)bytes);
	mem_status status = vm_object_resize(model.object[o].vm, bytes);
	if (!model_expect("resize", status, MEM_OK))
		return status;
	if (bytes < model.object[o].bytes) {
		zero_file_words(o, bytes);
		/* Private copies of pages that are gone are gone too. */
		uint64_t first = (bytes + PAGE_MASK) >> PAGE_SHIFT;
		for (unsigned s = 0; s < MODEL_SPACES; s++)
			for (unsigned c = 0; model.space[s].space && c < CELLS; c++) {
				struct page *p = &model.space[s].page[c];
				if (p->mapped && p->object == (int)o && p->opage >= first)
					p->own = false;
			}
	}
	model.object[o].bytes = bytes;
	return status;
}

mem_status model_punch(unsigned o, uint64_t first, uint64_t npages)
{
	model_note("punch file %u pages %llu+%llu", o, (unsigned long long)first,
		   (unsigned long long)npages);
	mem_status status = vm_object_punch(model.object[o].vm, first, npages);
	if (!model_expect("punch", status, MEM_OK))
		return status;
	for (uint64_t page = first; page < first + npages && page < OBJECT_PAGES; page++)
		memset(model.object[o].token[page], 0, 16);
	return status;
}

void model_file_write(unsigned o, uint64_t page, unsigned word)
{
	uint64_t at = page * PAGE_SIZE + (word ? PAGE_SIZE - 8 : 0), done = 0;
	uint64_t value = model.next_token++;
	if (at + 8 > model.object[o].bytes)
		return; /* it would grow the file */
	model_note("file write %u page %llu word %u", o, (unsigned long long)page, word);
	mem_status status = vm_object_write(model.object[o].vm, at, &value, 8, &done);
	if (!model_expect("object write", status, MEM_OK))
		return;
	model.object[o].token[page][word] = value;
}

void model_file_read(unsigned o, uint64_t page, unsigned word)
{
	uint64_t at = page * PAGE_SIZE + (word ? PAGE_SIZE - 8 : 0), done = 0, value = 0;
	model_note("file read %u page %llu word %u", o, (unsigned long long)page, word);
	mem_status status = vm_object_read(model.object[o].vm, at, &value, 8, &done);
	if (!model_expect("object read", status, MEM_OK))
		return;
	uint64_t have = at < model.object[o].bytes ? model.object[o].bytes - at : 0;
	if (done != (have < 8 ? have : 8))
		model_fail("object read copied %llu bytes", (unsigned long long)done);
	if (done == 8 && value != model.object[o].token[page][word])
		model_fail("file %u page %llu word %u: reads %#llx, should be %#llx", o,
			   (unsigned long long)page, word, (unsigned long long)value,
			   (unsigned long long)model.object[o].token[page][word]);
}
