/* SPDX-License-Identifier: MIT */
/*
 * Flushing: making every CPU forget translations, and waiting until it has.
 *
 * A CPU's state is what it has loaded, and the generation of that up to which it has
 * forgotten. What it has loaded is a space, run or kept lazily while a kernel thread runs,
 * or nothing but the kernel root. A space has a generation, advanced by every flush, and a
 * mask of the CPUs that may hold its translations.
 *
 *   flush:   change entries; gen = ++space->generation; targets = space->cpus
 *   switch:  set own bit in space->cpus; read generation; load the root
 *
 * All four middle steps are sequentially consistent. Either the flusher sees the bit, or
 * the switcher sees the new generation and loads the root after the entries were changed,
 * which forgets everything.
 *
 * A request names its pages. A target that is exactly one generation behind forgets just
 * these. One that is further behind forgets everything and is up to date. One that is ahead
 * has done so already. A lazy CPU does not serve: it leaves, for the kernel root, and gets
 * no more requests.
 *
 * Each CPU has at most one request under way as flusher, as preemption is off. So it has
 * one place for a request; a target has a mask of flushers who want it. host_flush_wait
 * returns when every target has been through vmm_flush_pending, so the request may lie on
 * the stack.
 *
 * Targets change their own state in the interrupt or with interrupts off only.
 */
#include "vm/gather.h"
#include "vm/machine.h"
#include "vm/space.h"

enum flush_kind { FLUSH_SPACE, FLUSH_KERNEL, FLUSH_FORGET };

struct flush_request {
	enum flush_kind kind;
	struct space *space;
	uint64_t generation;
	unsigned count; /* pages; above GATHER_PAGES: everything */
	const vpn_t *pages;
	vaddr_t va; /* FLUSH_KERNEL: count pages from here */
};

static struct flush_cpu {
	struct space *loaded;                /* in CR3; NULL: the kernel root */
	uint64_t generation;                 /* of `loaded`, up to which this CPU has forgotten */
	bool lazy;                           /* `loaded` is not being run */
	const struct flush_request *request; /* as flusher */
	struct cpumask wanted;               /* as target: by which flushers */
} MEM_CACHE_ALIGNED flush_cpus[MEM_MAX_CPUS];

void vmm_cpu_online(struct vmm *vmm)
{
	mem_contract_interrupts_off();
	struct arch_setup setup;
	arch_describe(&setup);
	const char *lacks = vm_machine_lacks(&setup, vmm->nx != 0, vmm->giga_pages);
	mem_contract(!lacks, lacks);
	const char *loses = vm_machine_loses(&setup, vmm->kernel_root);
	mem_contract(!loses, loses);
	mem_contract(host_cpu() < vmm->ncpus && host_cpu_count() == vmm->ncpus,
		     "host_cpu_count() says other than it did to vmm_init, or host_cpu() is not "
		     "below it");
	struct flush_cpu *me = &flush_cpus[host_cpu()];
	memset(me, 0, sizeof(*me));
	cpumask_set_atomic(&vmm->online, host_cpu());
	arch_load_root(vmm->kernel_root);
	arch_flush_global();
	atomic_write_relaxed(&mem_direct_map_end, UINT64_MAX);
}

/* Leave the loaded space for the kernel root. Interrupts off. */
static void leave(struct flush_cpu *me)
{
	struct space *space = me->loaded;
	arch_load_root(space->vmm->kernel_root);
	me->loaded = NULL;
	me->lazy = false;
	cpumask_clear_atomic(&space->cpus, host_cpu());
}

static void serve_space(struct flush_cpu *me, const struct flush_request *r)
{
	if (me->loaded != r->space)
		return; /* it has left since; loading a root forgot everything */
	if (me->lazy) {
		leave(me);
		return;
	}
	if (me->generation >= r->generation)
		return;
	if (me->generation + 1 == r->generation && r->count <= GATHER_PAGES) {
		for (unsigned i = 0; i < r->count; i++)
			arch_invlpg(vpn_to_va(r->pages[i]));
		me->generation = r->generation;
		return;
	}
	/* Read before forgetting: later flushes come as requests of their own. */
	me->generation = atomic_read_seq(&r->space->generation);
	arch_flush_local();
}

static void serve(const struct flush_request *r)
{
	struct flush_cpu *me = &flush_cpus[host_cpu()];
	switch (r->kind) {
	case FLUSH_SPACE:
		serve_space(me, r);
		break;
	case FLUSH_FORGET:
		if (me->loaded == r->space) {
			if (!me->lazy)
				host_panic("vmm_space_put: CPU %u runs user code in the space",
					   host_cpu());
			leave(me);
		}
		break;
	case FLUSH_KERNEL:
		if (r->count > GATHER_PAGES)
			arch_flush_global();
		else
			for (unsigned i = 0; i < r->count; i++)
				arch_invlpg(r->va + i * PAGE_SIZE);
		break;
	}
}

void vmm_flush_pending(void)
{
	struct flush_cpu *me = &flush_cpus[host_cpu()];
	for (unsigned word = 0; word < CPUMASK_WORDS; word++) {
		if (!atomic_read_relaxed(&me->wanted.word[word]))
			continue;
		uint64_t flushers = atomic_swap(&me->wanted.word[word], (uint64_t)0);
		while (flushers) {
			unsigned cpu = word * 64 + bit_lowest(flushers);
			flushers &= flushers - 1;
			serve(atomic_read_acquire(&flush_cpus[cpu].request));
		}
	}
}

/* Serve here, and on every CPU in `mask`. Preemption off, interrupts on: the others may be
 * spinning for what this CPU has to answer. */
static void send(struct vmm *vmm, const struct flush_request *r, const struct cpumask *mask)
{
	unsigned cpu = host_cpu(), count = 0;
	struct cpumask targets;
	for (unsigned i = 0; i < CPUMASK_WORDS; i++) {
		targets.word[i] = atomic_read_seq(&mask->word[i]);
		if (i == cpu / 64)
			targets.word[i] &= ~((uint64_t)1 << (cpu % 64));
		/* Counted by hand: the builtin may call libgcc. */
		for (uint64_t w = targets.word[i]; w; w &= w - 1)
			count++;
	}
	unsigned long irq = host_irq_save();
	serve(r);
	host_irq_restore(irq);
	atomic_count(&vmm->flushes, 1);
	if (r->count > GATHER_PAGES)
		atomic_count(&vmm->flush_full, 1);
	if (!count)
		return;
	atomic_count(&vmm->flush_cpus, count);
	atomic_write_release(&flush_cpus[cpu].request, r);
	for (unsigned i = 0; i < CPUMASK_WORDS; i++)
		for (uint64_t word = targets.word[i]; word; word &= word - 1)
			cpumask_set_atomic(&flush_cpus[i * 64 + bit_lowest(word)].wanted, cpu);
	host_flush_wait(&targets);
}

void vm_gather_flush(struct gather *g)
{
	if (!g->count)
		return;
	struct flush_request r = {
	    .kind = FLUSH_SPACE, .space = g->space, .count = g->count, .pages = g->pages};
	host_preempt_disable();
	r.generation = atomic_add(&g->space->generation, 1);
	send(g->space->vmm, &r, &g->space->cpus);
	host_preempt_enable();
	g->count = 0;
}

void vm_flush_forget(struct space *space)
{
	struct flush_request r = {.kind = FLUSH_FORGET, .space = space};
	host_preempt_disable();
	if (!cpumask_empty(&space->cpus))
		send(space->vmm, &r, &space->cpus);
	host_preempt_enable();
	mem_assert(cpumask_empty(&space->cpus));
}

void vmm_flush_kernel(struct vmm *vmm, vaddr_t va, uint64_t bytes)
{
	mem_contract_interrupts_on();
	uint64_t npages = align_up((va & PAGE_MASK) + bytes, PAGE_SIZE) >> PAGE_SHIFT;
	struct flush_request r = {.kind = FLUSH_KERNEL,
				  .va = align_down(va, PAGE_SIZE),
				  .count = (unsigned)mem_min(npages, GATHER_PAGES + UINT64_C(1))};
	host_preempt_disable();
	send(vmm, &r, &vmm->online);
	host_preempt_enable();
}

void vmm_switch(MEM_UNUSED struct vmm *vmm, struct space *next)
{
	mem_contract_interrupts_off();
	struct flush_cpu *me = &flush_cpus[host_cpu()];
	struct space *last = me->loaded;
	if (!next) {
		me->lazy = last != NULL;
		return;
	}
	if (last == next) {
		me->lazy = false;
		uint64_t generation = atomic_read_seq(&next->generation);
		if (me->generation != generation) {
			me->generation = generation;
			arch_flush_local();
		}
		return;
	}
	cpumask_set_atomic(&next->cpus, host_cpu());
	me->generation = atomic_read_seq(&next->generation);
	me->loaded = next;
	me->lazy = false;
	arch_load_root(next->root_pa);
	if (last)
		cpumask_clear_atomic(&last->cpus, host_cpu());
}
