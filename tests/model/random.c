/* SPDX-License-Identifier: MIT */
/* One operation of the oracle, by chance. Ranges are mostly short, prefer zones
 * and their borders, and now and then span terabytes. */
#include "tests/model/inside.h"
#include "tests/test.h"

static unsigned below(unsigned n)
{
	return (unsigned)test_random_below(n);
}

static bool one_in(unsigned n)
{
	return below(n) == 0;
}

/* Mostly one of a few cells that are in fashion for a while, so that what a CPU
 * remembers of them is worth something. */
unsigned model_random_cell(void)
{
	unsigned c;
	if (one_in(300))
		model.fashion = one_in(2) ? below(CELLS) : below(3 * (ZONE_PAGES + 1));
	do {
		c = one_in(3) ? below(CELLS) : (model.fashion + below(20)) % CELLS;
	} while (model_is_gap(c) && !one_in(4));
	return c;
}

static void random_range(unsigned *from, unsigned *to)
{
	unsigned c = model_random_cell(), n = 1 + below(one_in(4) ? 40 : 6);
	if (one_in(60))
		n = 1 + below(CELLS);
	*from = c;
	*to = c + n < CELLS ? c + n : CELLS;
}

/* A range without gaps. */
static bool random_zone_range(unsigned *from, unsigned *to)
{
	random_range(from, to);
	while (*from < *to && model_is_gap(*from))
		++*from;
	for (unsigned c = *from; c < *to; c++)
		if (model_is_gap(c))
			*to = c;
	return *from < *to;
}

static unsigned random_prot(void)
{
	static const unsigned prots[] = {VM_READ | VM_WRITE, VM_READ | VM_WRITE,
					 VM_READ | VM_WRITE, VM_READ,
					 VM_READ | VM_EXEC,  VM_NONE,
					 VM_WRITE,           VM_READ | VM_WRITE | VM_EXEC};
	return prots[below(8)];
}

/* Mostly the space that was used last: a switch forgets what a CPU has cached. */
static int random_space(void)
{
	if (one_in(20))
		model.last_space = below(MODEL_SPACES);
	return model.space[model.last_space].space ? (int)model.last_space : -1;
}

static int random_file(void)
{
	int o = (int)below(MODEL_FILES);
	return model.object[o].vm ? o : -1;
}

static void step_map(unsigned s)
{
	struct model_map m = {.object = -1};
	unsigned kind = below(10);
	if (kind < 5)
		random_range(&m.from, &m.to);
	else if (!random_zone_range(&m.from, &m.to))
		return;
	m.prot = random_prot();
	m.maxprot = one_in(5) ? m.prot | below(8) : 7;
	bool gap = range_has_gap(m.from, m.to);
	if (kind >= 5 && kind < 7) { /* shared anonymous */
		m.flags = VM_SHARED;
		if (m.to - m.from > OBJECT_PAGES)
			m.to = m.from + OBJECT_PAGES;
	} else if (kind >= 7) { /* a file */
		m.object = random_file();
		if (m.object < 0)
			return;
		m.opage = below(OBJECT_PAGES / 2);
		m.flags = one_in(2) ? VM_SHARED : 0;
	} else if (one_in(8) && !gap) {
		m.flags = one_in(2) ? VM_WIPEONFORK : VM_GROWSDOWN;
	}
	if (one_in(12))
		m.flags |= VM_DONTFORK;
	if (one_in(8))
		m.flags |= VM_NORESERVE;
	if (one_in(10) && !gap && m.object < 0)
		m.flags |= one_in(2) ? VM_LOCKED : VM_POPULATE;
	if (one_in(6) && !gap && kind < 5) {
		model_map_anywhere(s, &m);
		return;
	}
	m.flags |= one_in(4) ? VM_FIXED_NOREPLACE : VM_FIXED;
	(void)model_map(s, &m);
}

static void step_move(unsigned s)
{
	unsigned from, to, at, at_end;
	if (!random_zone_range(&from, &to) || !random_zone_range(&at, &at_end))
		return;
	if (to - from > 64)
		to = from + 64;
	unsigned old = to - from, count = one_in(2) ? old : at_end - at;
	unsigned flags = VM_MOVE_MAY | VM_MOVE_FIXED;
	if (one_in(4)) { /* in place, smaller or larger */
		flags = 0;
		count = 1 + below(old + 4);
		at = from;
	} else if (one_in(8)) { /* larger, wherever */
		flags = VM_MOVE_MAY;
		count = old + 1 + below(4);
		if (at < to && at + count > from)
			return;
	} else if (one_in(6)) {
		for (unsigned c = from; c < to; c++)
			if (model.space[s].page[c].object >= 0)
				return;
		flags |= VM_MOVE_DONTUNMAP;
		count = old;
	}
	if (count > MODEL_MOVE_MAX || at + count > CELLS || range_has_gap(at, at + count))
		return;
	(void)model_move(s, from, to, at, count, flags);
}

/* Does the advice apply to every mapped page of the range, with an outcome that
 * the array can know? */
static bool advice_fits(unsigned s, unsigned from, unsigned to, enum vm_advice advice)
{
	for (unsigned c = from; c < to; c++) {
		const struct page *p = &model.space[s].page[c];
		if (!p->mapped)
			continue;
		bool anon = p->object < 0, shared = p->flags & VM_SHARED;
		switch (advice) {
		case VM_ADVICE_DONTNEED:
			if (p->flags & VM_LOCKED)
				return false;
			break;
		case VM_ADVICE_FREE:
			if (!anon || (p->flags & VM_LOCKED))
				return false;
			break;
		case VM_ADVICE_WIPEONFORK:
		case VM_ADVICE_KEEPONFORK:
			if (!anon)
				return false;
			break;
		case VM_ADVICE_REMOVE:
			if (!shared || !(p->prot & VM_WRITE) || !(p->maxprot & VM_WRITE) ||
			    (p->flags & VM_LOCKED))
				return false;
			break;
		case VM_ADVICE_LOCK:
		case VM_ADVICE_POPULATE_READ:
		case VM_ADVICE_POPULATE_WRITE:
			if (model_is_gap(c) || !anon || p->prot != (VM_READ | VM_WRITE))
				return false;
			break;
		default:
			break;
		}
	}
	return true;
}

static void step_advise(unsigned s)
{
	static const enum vm_advice advices[] = {
	    VM_ADVICE_DONTNEED,   VM_ADVICE_DONTNEED,      VM_ADVICE_DONTNEED,
	    VM_ADVICE_FREE,       VM_ADVICE_POPULATE_READ, VM_ADVICE_POPULATE_WRITE,
	    VM_ADVICE_DONTFORK,   VM_ADVICE_DOFORK,        VM_ADVICE_WIPEONFORK,
	    VM_ADVICE_KEEPONFORK, VM_ADVICE_REMOVE,        VM_ADVICE_LOCK,
	    VM_ADVICE_UNLOCK,     VM_ADVICE_NONE,          VM_ADVICE_NORMAL,
	    VM_ADVICE_RANDOM,     VM_ADVICE_SEQUENTIAL,    VM_ADVICE_HUGE,
	    VM_ADVICE_NOHUGE,     VM_ADVICE_DONTDUMP,      VM_ADVICE_DODUMP};
	enum vm_advice advice = advices[below(sizeof(advices) / sizeof(advices[0]))];
	unsigned from, to;
	random_range(&from, &to);
	if (!advice_fits(s, from, to, advice))
		return;
	if (advice == VM_ADVICE_POPULATE_READ || advice == VM_ADVICE_POPULATE_WRITE ||
	    advice == VM_ADVICE_REMOVE || advice == VM_ADVICE_LOCK)
		for (unsigned c = from; c < to; c++)
			if (!model.space[s].page[c].mapped)
				return;
	(void)model_advise(s, from, to, advice);
}

static void step_touch(unsigned s)
{
	unsigned c = model_random_cell(), n = 1 + below(6);
	for (int again = 0; again < 6 && !model.space[s].page[c].mapped; again++)
		c = model_random_cell();
	for (unsigned i = 0; i < n && c + i < CELLS; i++) {
		unsigned how = below(16);
		model_touch(s, c + i,
			    how < 8 ? MACHINE_WRITE : (how < 15 ? MACHINE_READ : MACHINE_FETCH),
			    below(2));
	}
	if (one_in(8))
		model_kernel_touch(s, c, one_in(2), one_in(3), below(2));
}

static void step_file(void)
{
	unsigned o = below(MODEL_FILES);
	if (!model.object[o].vm) {
		/* The slot of a file that only mappings keep is still taken. */
		collect_objects();
		if (!model.object[o].used)
			model_make_file(o, test_random_below(OBJECT_PAGES * PAGE_SIZE));
		return;
	}
	switch (below(10)) {
	case 0:
		(void)model_resize(o, test_random_below(OBJECT_PAGES * PAGE_SIZE + 1));
		break;
	case 1: /* on a border, or through a word that is looked at beside one */
		(void)model_resize(o, below(OBJECT_PAGES - 1) * PAGE_SIZE +
					  (one_in(2) ? 0 : PAGE_SIZE - 8 + below(16)));
		break;
	case 2:
		(void)model_punch(o, below(OBJECT_PAGES), 1 + below(20));
		break;
	case 3:
		if (one_in(6))
			model_drop_file(o);
		break;
	case 4:
	case 5:
		model_file_read(o, below(OBJECT_PAGES), below(2));
		break;
	default:
		model_file_write(o, below(OBJECT_PAGES), below(2));
	}
}

static void step_spaces(void)
{
	unsigned s = below(MODEL_SPACES), other = below(MODEL_SPACES);
	if (!model.space[s].space)
		model_create(s);
	else if (other != s && !model.space[other].space && one_in(3))
		model_pin_and_fork(s, model_random_cell(), other, one_in(2));
	else if (other != s && !model.space[other].space)
		(void)model_fork(s, other);
	else if (one_in(4))
		one_in(4) ? model_clear(s) : model_destroy(s);
}

void model_step(void)
{
	unsigned kind = below(100);
	if (one_in(8))
		machine_yield(); /* perhaps on another CPU from here on */
	int s = random_space();
	if (s < 0 || kind < 2)
		step_spaces();
	else if (kind < 13)
		step_map((unsigned)s);
	else if (kind < 18) {
		unsigned from, to;
		random_range(&from, &to);
		(void)model_unmap((unsigned)s, from, to);
	} else if (kind < 26) {
		unsigned from, to;
		random_range(&from, &to);
		(void)model_protect((unsigned)s, from, to, random_prot());
	} else if (kind < 32)
		step_move((unsigned)s);
	else if (kind < 39)
		step_advise((unsigned)s);
	else if (kind < 45)
		step_file();
	else
		step_touch((unsigned)s);
}
