/* SPDX-License-Identifier: MIT */
/*
 * The software MMU: what each CPU has cached, walks, and user accesses.
 *
 * Per CPU one set of cached things (Intel SDM vol. 3, 4.10):
 *
 *   translations          page -> frame with the rights of the walk that made
 *                         it, for 4 KiB, 2 MiB and 1 GiB pages
 *   structure entries     what a PML4E, PDPTE or PDE said: the next table and
 *                         the rights so far; a walk may start at any of them
 *
 * Hardware may keep any of these until it is told otherwise, may hold several
 * for one address that say different things, and may make new ones at any time
 * by walking ahead. So this one keeps all that were ever made (1024 per CPU;
 * beyond that chance evicts), and for each access chance decides whether to use
 * some cached translation or to walk, and from which structure entry the walk
 * starts. What it never does is what hardware may not do: use something after
 * the invalidation that covers it was executed on that CPU, set a dirty bit
 * without looking at the entry in memory, cache what is not present or not
 * accessed, walk through reserved bits.
 *
 * Frames. `held` counts the cached things that lead to each frame. A frame that
 * is freed while one does is an error at once (I6 of mem/: references are
 * dropped after the flush), with one exception that kernels rely on: a CPU that
 * keeps a space loaded without running it may be left with stale *translations*
 * (nothing uses them), if it flushes before it runs user code again. Those are
 * marked doomed and end the run when used. Stale structure entries and a stale
 * root are errors there too: hardware walks ahead through them.
 */
#include <mem/vmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/ops.h"
#include "base/atomic.h"
#include "tests/machine/inside.h"
#include "tests/machine/registers.h"

#define SET_ENTRIES 1024
#define SET_BUCKETS 1024
#define NO_ENTRY    0xffffu
#define RECENT      64

enum { KIND_PAGE, KIND_TABLE }; /* a translation, a structure entry */

struct cached {
	vaddr_t key;   /* va with everything below the span cleared */
	paddr_t pa;    /* of the page, or of the next table */
	uint8_t kind;  /* KIND_ */
	uint8_t level; /* of the entry that it caches */
	bool write, user, nx, global, dirty;
	bool doomed;   /* its frame was freed while this CPU was not in the space */
	uint16_t next; /* in its bucket */
};

struct set {
	unsigned count;
	struct cached entry[SET_ENTRIES];
	uint16_t bucket[SET_BUCKETS];
};

struct tlb {
	paddr_t root;
	bool has_root;
	struct set pages, tables;
};

static struct tlb *tlbs;
static uint16_t *held; /* per frame: cached things and roots that lead to it */
static uint64_t frames;
static vaddr_t recent[RECENT];
static unsigned recent_count;
static struct machine_mmu_stats stats;

/* ---- the sets ------------------------------------------------------------------ */

static unsigned bucket_of(vaddr_t key, unsigned level)
{
	uint64_t h = (key >> PAGE_SHIFT) * 0x9e3779b97f4a7c15 + level;
	return (unsigned)(((h ^ (h >> 29)) * 0xbf58476d1ce4e5b9) >> 40) % SET_BUCKETS;
}

static vaddr_t key_of(vaddr_t va, unsigned level)
{
	return va & ~(pt_entry_span(level) - 1);
}

static void hold(paddr_t pa)
{
	if (pa >> PAGE_SHIFT < frames)
		held[pa >> PAGE_SHIFT]++;
}

static void let_go(paddr_t pa)
{
	if (pa >> PAGE_SHIFT < frames && held[pa >> PAGE_SHIFT]-- == 0)
		machine_die("machine: frame held less than never");
}

/* The direct map (hosted, it begins at KERNEL_BASE) leads to frames that come and go;
 * everything else owns what it leads to. */
static bool holds_frame(const struct cached *c)
{
	return c->kind == KIND_TABLE || c->key - KERNEL_BASE != c->pa;
}

static void unlink_entry(struct set *s, unsigned index)
{
	struct cached *c = &s->entry[index];
	uint16_t *link = &s->bucket[bucket_of(c->key, c->level)];
	while (*link != index)
		link = &s->entry[*link].next;
	*link = c->next;
}

static void drop_entry(struct set *s, unsigned index)
{
	unsigned last = s->count - 1;
	unlink_entry(s, index);
	if (holds_frame(&s->entry[index]))
		let_go(s->entry[index].pa);
	if (index != last) {
		unlink_entry(s, last);
		s->entry[index] = s->entry[last];
		struct cached *c = &s->entry[index];
		uint16_t *head = &s->bucket[bucket_of(c->key, c->level)];
		c->next = *head;
		*head = (uint16_t)index;
	}
	s->count--;
}

static bool same(const struct cached *a, const struct cached *b)
{
	return a->key == b->key && a->pa == b->pa && a->level == b->level && a->write == b->write &&
	       a->user == b->user && a->nx == b->nx && a->global == b->global &&
	       a->dirty == b->dirty && a->doomed == b->doomed;
}

static void keep(struct tlb *t, struct cached c)
{
	struct set *s = c.kind == KIND_PAGE ? &t->pages : &t->tables;
	uint16_t *head = &s->bucket[bucket_of(c.key, c.level)];
	for (unsigned i = *head; i != NO_ENTRY; i = s->entry[i].next)
		if (same(&s->entry[i], &c))
			return;
	if (s->count == SET_ENTRIES) {
		stats.evicted++;
		drop_entry(s, machine_random_below(SET_ENTRIES));
	}
	if (holds_frame(&c))
		hold(c.pa);
	c.next = *head;
	*head = (uint16_t)s->count;
	s->entry[s->count++] = c;
}

/* One of the entries of this level for va, by chance; NULL if there is none. */
static struct cached *find(struct set *s, vaddr_t va, unsigned level)
{
	struct cached *found = NULL;
	unsigned seen = 0;
	vaddr_t key = key_of(va, level);
	for (unsigned i = s->bucket[bucket_of(key, level)]; i != NO_ENTRY; i = s->entry[i].next) {
		struct cached *c = &s->entry[i];
		if (c->key == key && c->level == level && machine_random_below(++seen) == 0)
			found = c;
	}
	return found;
}

static void drop_address(struct set *s, vaddr_t va, unsigned lowest, unsigned highest)
{
	for (unsigned level = lowest; level <= highest; level++) {
		struct cached *c;
		while ((c = find(s, va, level)))
			drop_entry(s, (unsigned)(c - s->entry));
	}
}

static void drop_all(struct set *s, bool global_too)
{
	for (unsigned i = s->count; i-- > 0;)
		if (global_too || !s->entry[i].global)
			drop_entry(s, i);
}

static struct tlb *this_tlb(void)
{
	return &tlbs[machine.now_cpu];
}

/* ---- what ops.h asks for --------------------------------------------------------- */

void machine_invlpg(vaddr_t va)
{
	machine_point();
	drop_address(&this_tlb()->pages, va, 1, 3);
	drop_all(&this_tlb()->tables, true); /* whatever their address */
}

struct arch_setup machine_registers = REGISTERS_GOOD;

void machine_describe(struct arch_setup *setup)
{
	*setup = machine_registers;
}

void machine_load_root(paddr_t root)
{
	machine_point();
	struct tlb *t = this_tlb();
	if ((root & PAGE_MASK) || root >> PAGE_SHIFT >= frames)
		machine_die("load of root %#llx", (unsigned long long)root);
	drop_all(&t->pages, false);
	drop_all(&t->tables, true);
	if (t->has_root)
		let_go(t->root);
	hold(root);
	t->root = root;
	t->has_root = true;
	/* Nothing keeps hardware from walking the new tables at once. */
	machine_mmu_idle();
	machine_point();
}

paddr_t machine_root(void)
{
	return this_tlb()->root;
}

void machine_flush_global(void)
{
	machine_point();
	drop_all(&this_tlb()->pages, true);
	drop_all(&this_tlb()->tables, true);
}

/* ---- frees ------------------------------------------------------------------------- */

static void freed_while_held(unsigned cpu, const struct cached *c, paddr_t pa)
{
	machine_die("frame %#llx freed while CPU %u may still hold %s for %#llx (level %u) to it",
		    (unsigned long long)pa, cpu,
		    c->kind == KIND_TABLE ? "a paging-structure entry" : "a translation",
		    (unsigned long long)c->key, c->level);
}

void machine_frame_freed(paddr_t pa)
{
	if (!machine.running || pa >> PAGE_SHIFT >= frames || !held[pa >> PAGE_SHIFT])
		return;
	for (unsigned cpu = 0; cpu < machine.config.ncpus; cpu++) {
		struct tlb *t = &tlbs[cpu];
		if (t->has_root && t->root == pa)
			machine_die("frame %#llx freed while it is the root of CPU %u",
				    (unsigned long long)pa, cpu);
		for (unsigned i = 0; i < t->tables.count; i++)
			if (t->tables.entry[i].pa == pa)
				freed_while_held(cpu, &t->tables.entry[i], pa);
		for (unsigned i = 0; i < t->pages.count; i++) {
			struct cached *c = &t->pages.entry[i];
			if (c->pa != pa || !holds_frame(c))
				continue;
			if (!c->user || machine.cpu[cpu].in_space)
				freed_while_held(cpu, c, pa);
			c->doomed = true;
			stats.doomed++;
		}
	}
}

uint64_t machine_tlb_entries(void)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		n += tlbs[i].pages.count + tlbs[i].tables.count;
	return n;
}

void machine_mmu_stats(struct machine_mmu_stats *to)
{
	*to = stats;
}

/* ---- walking -------------------------------------------------------------------------- */

struct request {
	vaddr_t va;
	enum machine_access access;
	bool user;
	bool ahead; /* speculative: caches, sets accessed bits, never faults, never dirties */
};

/* What a walk or a cached translation came to. */
struct outcome {
	bool ok;
	uint64_t error; /* FAULT_* of the fault, if not ok */
	paddr_t pa;     /* of the byte */
};

static uint64_t error_bits(const struct request *r, uint64_t more)
{
	return more | (r->user ? FAULT_USER : 0) | (r->access == MACHINE_WRITE ? FAULT_WRITE : 0) |
	       (r->access == MACHINE_FETCH ? FAULT_FETCH : 0);
}

static bool allowed(const struct request *r, bool write, bool user, bool nx)
{
	return (user || !r->user) && (write || r->access != MACHINE_WRITE) &&
	       (!nx || r->access != MACHINE_FETCH);
}

/* Bits that must be zero in a present entry: addresses beyond 2^52 are the
 * software bits' neighbours, so what is left is alignment of huge pages and
 * PS at levels that have none. Intel SDM vol. 3, tables 4-15 to 4-20. */
static bool reserved_bits(pte_t e, unsigned level)
{
	if (level == 4)
		return e & PTE_HUGE;
	if (level == 1 || !(e & PTE_HUGE))
		return false;
	return e & (pt_entry_span(level) - 1) & PTE_ADDR & ~PTE_PAT_HUGE;
}

/* Set bits in an entry as hardware does: only if it still is what was read. */
static bool set_bits(pte_t *slot, pte_t *seen, pte_t bits)
{
	if ((*seen & bits) == bits)
		return true;
	pte_t expected = *seen;
	if (!__atomic_compare_exchange_n(slot, &expected, *seen | bits, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST)) {
		*seen = expected;
		return false;
	}
	*seen |= bits;
	return true;
}

/* Where a walk starts: the root, or any structure entry cached for va. */
static void choose_start(struct tlb *t, vaddr_t va, struct cached *at)
{
	*at = (struct cached){.pa = t->root, .level = 5, .write = true, .user = true};
	unsigned seen = 1;
	for (unsigned level = 4; level >= 2; level--) {
		struct cached *c = find(&t->tables, va, level);
		if (c && (machine.explore.on || machine_random_below(++seen)))
			*at = *c;
	}
}

static struct outcome walk(const struct request *r)
{
	struct tlb *t = this_tlb();
	struct cached at;
	if (!t->has_root)
		machine_die("walk without a root");
	stats.walks++;
	choose_start(t, r->va, &at);
	for (unsigned level = at.level - 1u;; level--) {
		paddr_t table = at.pa;
		machine_point();
		if (machine_hooks.check_table)
			machine_hooks.check_table(table, r->va);
		pte_t *slot = (pte_t *)paddr_to_ptr(table) + pt_index(r->va, level);
		pte_t e = __atomic_load_n(slot, __ATOMIC_SEQ_CST);
		for (;;) {
			if (!(e & PTE_PRESENT))
				return (struct outcome){.error = error_bits(r, 0)};
			if (reserved_bits(e, level))
				return (struct outcome){
				    .error = error_bits(r, FAULT_PRESENT | FAULT_RESERVED)};
			bool leaf = level == 1 || (e & PTE_HUGE);
			bool write = at.write && (e & PTE_WRITE), user = at.user && (e & PTE_USER);
			bool nx = at.nx || (e & PTE_NX);
			pte_t bits = PTE_ACCESSED;
			if (leaf && !allowed(r, write, user, nx))
				return (struct outcome){.error = error_bits(r, FAULT_PRESENT)};
			if (leaf && r->access == MACHINE_WRITE && !r->ahead)
				bits |= PTE_DIRTY;
			machine_point();
			if (!set_bits(slot, &e, bits))
				continue; /* it changed: look again */
			paddr_t pa = e & PTE_ADDR;
			if (leaf && level > 1)
				pa &= ~(pt_entry_span(level) - 1);
			at = (struct cached){
			    .key = key_of(r->va, level),
			    .pa = pa,
			    .kind = leaf ? KIND_PAGE : KIND_TABLE,
			    .level = (uint8_t)level,
			    .write = write,
			    .user = user,
			    .nx = nx,
			    .global = leaf && (e & PTE_GLOBAL),
			    .dirty = leaf && (e & PTE_DIRTY),
			};
			keep(t, at);
			if (leaf)
				return (struct outcome){
				    .ok = true, .pa = pa + (r->va & (pt_entry_span(level) - 1))};
			break;
		}
	}
}

/* A page fault makes the CPU forget what it has for the address. */
static void forget(struct tlb *t, vaddr_t va)
{
	drop_address(&t->pages, va, 1, 3);
	drop_address(&t->tables, va, 2, 4);
}

static struct outcome translate(const struct request *r)
{
	struct tlb *t = this_tlb();
	if (machine_random_below(100) < machine.config.stale_percent) {
		struct cached *c = NULL;
		unsigned seen = 0;
		for (unsigned level = 1; level <= 3; level++) {
			struct cached *one = find(&t->pages, r->va, level);
			if (one && machine_random_below(++seen) == 0)
				c = one;
		}
		/* A write through a translation that is not dirty has to look at the
		 * entry in memory: a walk. */
		if (c && allowed(r, c->write, c->user, c->nx)) {
			if (r->access != MACHINE_WRITE || c->dirty) {
				stats.cached++;
				if (c->doomed)
					machine_die(
					    "CPU %u uses a translation of %#llx to frame %#llx "
					    "that was freed while the CPU was lazy",
					    machine.now_cpu, (unsigned long long)r->va,
					    (unsigned long long)c->pa);
				return (struct outcome){
				    .ok = true,
				    .pa = c->pa + (r->va & (pt_entry_span(c->level) - 1))};
			}
		} else if (c) {
			/* Rights that were raised since: hardware may fault, and forgets
			 * what it had for the address when it does. */
			stats.stale++;
			forget(t, r->va);
			return (struct outcome){.error = error_bits(r, FAULT_PRESENT)};
		}
	}
	struct outcome o = walk(r);
	if (!o.ok)
		forget(t, r->va);
	return o;
}

static void walk_ahead(void)
{
	if (!recent_count || !this_tlb()->has_root)
		return;
	vaddr_t va = recent[machine_random_below(recent_count)];
	struct request r = {
	    .va = va, .access = MACHINE_READ, .user = va < KERNEL_BASE, .ahead = true};
	stats.speculative++;
	(void)walk(&r);
}

static void remember(vaddr_t va)
{
	if (recent_count < RECENT)
		recent[recent_count++] = va;
	else
		recent[machine_random_below(RECENT)] = va;
}

void machine_mmu_idle(void)
{
	if (machine_random_below(100) < machine.config.speculate_percent) {
		machine_instruction_begin();
		walk_ahead();
		machine_instruction_end();
	}
}

/* ---- accesses ------------------------------------------------------------------------------ */

/* One try: translated and done, or a fault. */
static struct outcome try_once(const struct request *r, uint64_t *value)
{
	machine_instruction_begin();
	struct outcome o = translate(r);
	if (o.ok) {
		machine_point();
		if (r->user && machine_hooks.check_frame)
			machine_hooks.check_frame(o.pa & ~PAGE_MASK, r->va,
						  r->access == MACHINE_WRITE);
		uint64_t *word = paddr_to_ptr(o.pa);
		if (r->access == MACHINE_WRITE)
			__atomic_store_n(word, *value, __ATOMIC_SEQ_CST);
		else
			*value = __atomic_load_n(word, __ATOMIC_SEQ_CST);
	}
	if (machine_random_below(100) < machine.config.speculate_percent)
		walk_ahead();
	machine_instruction_end();
	machine_point();
	return o;
}

struct machine_result machine_access(vaddr_t va, enum machine_access access, uint64_t *value)
{
	struct thread *self = this_cpu()->current;
	struct request r = {.va = va, .access = access, .user = true};
	struct machine_result result = {0};
	if (va % 8)
		machine_die("unaligned access");
	if (this_cpu()->preempt || this_cpu()->irq_off)
		machine_die("user access with preemption or interrupts off");
	stats.accesses++;
	remember(va);
	machine_progress();
	for (unsigned tries = 0; tries < 1000; tries++) {
		struct outcome o = {.error = error_bits(&r, 0)};
		if (vaddr_is_canonical(va))
			o = try_once(&r, value);
		if (o.ok) {
			result.ok = true;
			return result;
		}
		stats.faults++;
		result.faults++;
		struct mem_trap trap = {.address = va, .error = o.error, .ip = 0x400000};
		machine_hooks.page_fault(&trap);
		if (this_cpu()->preempt || this_cpu()->irq_off)
			machine_die("the fault handler returned with preemption or interrupts off");
		if (self->has_signal) {
			self->has_signal = false;
			self->signal.faults = result.faults;
			return self->signal;
		}
	}
	machine_die("access to %#llx faults again and again: served, and never done",
		    (unsigned long long)va);
}

struct machine_result machine_kernel_access(vaddr_t va, enum machine_access access, uint64_t *value)
{
	struct request r = {.va = va, .access = access};
	remember(va);
	struct outcome o = try_once(&r, value);
	return (struct machine_result){.ok = o.ok, .code = (int)o.error, .address = va};
}

/* ---- start and end --------------------------------------------------------------------------- */

void machine_mmu_reset(void)
{
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		drop_all(&tlbs[i].pages, true);
		drop_all(&tlbs[i].tables, true);
		if (tlbs[i].has_root)
			let_go(tlbs[i].root);
		tlbs[i].has_root = false;
	}
}

void machine_mmu_init(void)
{
	frames = machine.config.bytes >> PAGE_SHIFT;
	tlbs = machine_map(machine.config.ncpus * sizeof(*tlbs));
	held = machine_map(frames * sizeof(*held));
	for (unsigned i = 0; i < machine.config.ncpus; i++)
		for (unsigned b = 0; b < SET_BUCKETS; b++)
			tlbs[i].pages.bucket[b] = tlbs[i].tables.bucket[b] = NO_ENTRY;
	recent_count = 0;
	memset(&stats, 0, sizeof(stats));
}

void machine_mmu_describe(unsigned cpu, char *to, size_t bytes)
{
	snprintf(to, bytes, "root %#llx, caches %u translations, %u structure entries",
		 tlbs[cpu].has_root ? (unsigned long long)tlbs[cpu].root : 0ull,
		 tlbs[cpu].pages.count, tlbs[cpu].tables.count);
}
