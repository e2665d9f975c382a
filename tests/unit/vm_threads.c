/* SPDX-License-Identifier: MIT */
/*
 * Threads that do everything to a few spaces and objects at once. There is no
 * oracle (tests/model has one): what is looked for is what TSan and ASan see,
 * the validators at the end, and that every frame comes back.
 */
#include <mem/host.h>
#include <mem/pmm.h>
#include <mem/vmm.h>
#include <pthread.h>
#include <string.h>

#include "arch/x86_64/pte.h"
#include "tests/test.h"
#include "tests/unit/vm_host.h"

#define THREADS 4
#define STEPS   20000
#define OBJECTS 2
#define WINDOW  1200 /* pages: a few leaves */
#define BASE    ((vaddr_t)0x40000000 - 300 * PAGE_SIZE)

static struct pmm *pmm;
static struct vmm *vmm;
static struct space *shared;
static struct vm_object *objects[OBJECTS];

struct worker {
	pthread_t thread;
	unsigned cpu, steps;
	uint64_t state;
	uint64_t done[12];
};

static uint64_t draw(struct worker *w, uint64_t below)
{
	w->state += 0x9e3779b97f4a7c15;
	uint64_t z = w->state;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (z ^ (z >> 31)) % below;
}

static void switch_to(struct space *space)
{
	unsigned long irq = host_irq_save();
	vmm_switch(vmm, space);
	host_irq_restore(irq);
}

static void do_map(struct worker *w, struct space *space, vaddr_t va, uint64_t npages)
{
	static const unsigned prots[] = {VM_READ, 3, 3, 3, VM_NONE, 5};
	struct vm_map_args args = {.hint = va,
				   .bytes = npages * PAGE_SIZE,
				   .prot = prots[draw(w, 6)],
				   .maxprot = 7,
				   .flags = draw(w, 4) ? VM_FIXED : 0};
	unsigned kind = (unsigned)draw(w, 6);
	if (kind < OBJECTS) {
		args.object = objects[kind];
		args.offset = draw(w, 16) * PAGE_SIZE;
		args.flags |= draw(w, 2) ? VM_SHARED : 0;
	} else if (kind == 3) {
		args.flags |= VM_SHARED;
	}
	vaddr_t out;
	if (vmm_map(space, &args, &out) == MEM_OK && !(args.flags & VM_FIXED))
		CHECK_OK(vmm_unmap(space, out, args.bytes));
}

static void touch(struct worker *w, struct space *space, vaddr_t va, uint64_t npages)
{
	for (uint64_t i = 0; i < npages; i++)
		(void)!vmm_fault(space, va + i * PAGE_SIZE,
				 FAULT_USER | (draw(w, 2) ? FAULT_WRITE : 0), NULL);
}

static void fork_and_end(struct worker *w, struct space *space, vaddr_t va)
{
	struct space *child;
	CHECK_OK(vmm_space_fork(space, &child));
	switch_to(child);
	touch(w, child, va, 8);
	(void)!vmm_unmap(child, va, 20 * PAGE_SIZE);
	switch_to(draw(w, 2) ? space : NULL); /* lazily loaded as it ends */
	vmm_space_put(child);
	switch_to(space);
}

static void look(struct worker *w, struct space *space, vaddr_t va)
{
	struct vm_area area;
	struct vmm_space_stats stats;
	uint64_t key[2], word = 0, done;
	paddr_t pa;
	if (vmm_next_area(space, va, &area))
		vm_area_done(&area);
	vmm_space_stats(space, &stats);
	(void)!vmm_futex_key(space, va, false, key);
	(void)!vmm_access(space, va + 8, &word, 8, draw(w, 2), draw(w, 2), &done);
	if (vmm_pin(space, va, true, &pa) == MEM_OK)
		vmm_unpin(vmm, pa);
}

static void change_object(struct worker *w)
{
	struct vm_object *object = objects[draw(w, OBJECTS)];
	uint64_t done, page = draw(w, 24);
	char text[100];
	memset(text, 'x', sizeof(text));
	switch (draw(w, 4)) {
	case 0:
		CHECK_OK(vm_object_resize(object, draw(w, 32 * PAGE_SIZE)));
		break;
	case 1:
		CHECK_OK(vm_object_punch(object, page, 1 + draw(w, 8)));
		break;
	case 2:
		CHECK_OK(vm_object_write(object, page * PAGE_SIZE + 4050, text, 100, &done));
		break;
	default:
		CHECK_OK(vm_object_read(object, page * PAGE_SIZE + 4050, text, 100, &done));
	}
}

static void step(struct worker *w)
{
	vaddr_t va = BASE + draw(w, WINDOW) * PAGE_SIZE, out;
	uint64_t npages = 1 + draw(w, draw(w, 8) ? 8 : 600);
	uint64_t bytes = npages * PAGE_SIZE;
	unsigned what = (unsigned)draw(w, 12);
	w->done[what]++;
	switch (what) {
	case 0:
	case 1:
		do_map(w, shared, va, npages);
		break;
	case 2:
		CHECK_OK(vmm_unmap(shared, va, bytes));
		break;
	case 3:
		(void)!vmm_protect(shared, va, bytes, draw(w, 4));
		break;
	case 4:
		(void)!vmm_move(shared, va, bytes, (1 + draw(w, npages + 3)) * PAGE_SIZE,
				VM_MOVE_MAY | VM_MOVE_FIXED, BASE + draw(w, WINDOW) * PAGE_SIZE,
				&out);
		break;
	case 5:
		(void)!vmm_advise(shared, va, bytes, VM_ADVICE_DONTNEED);
		break;
	case 6:
		if (draw(w, 4) == 0)
			fork_and_end(w, shared, va);
		break;
	case 7:
		look(w, shared, va);
		break;
	case 8:
		change_object(w);
		break;
	case 9: {
		void *stack;
		CHECK_OK(vmm_alloc_stack(vmm, 2, &stack));
		vmm_free_stack(vmm, stack, 2);
		break;
	}
	default:
		touch(w, shared, va, npages < 16 ? npages : 16);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	vm_host_set_cpu(w->cpu);
	unsigned long irq = host_irq_save();
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
	switch_to(shared);
	for (unsigned i = 0; i < w->steps; i++) {
		step(w);
		if (i % 64 == 0)
			test_step();
	}
	switch_to(NULL);
	return NULL;
}

static void boot(void)
{
	static struct memmap_region regions[16];
	struct memmap map = {.regions = regions, .capacity = 16};
	const struct memmap_entry entry = {0x100000, 63 << 20, MEMMAP_USABLE};
	vm_host_init(64 << 20, THREADS + 1);
	vm_host_set_cpu(THREADS);
	CHECK_OK(memmap_sanitise(&map, &entry, 1, (pfn_t)1 << 40));
	CHECK_OK(pmm_init(&pmm, &map));
	const struct vmm_config config = {.pmm = pmm,
					  .map = &map,
					  .has_giga_pages = true,
					  .has_nx = true,
					  .commit_limit_npages = (uint64_t)1 << 40};
	CHECK_OK(vmm_init(&vmm, &config));
	unsigned long irq = host_irq_save();
	vmm_cpu_online(vmm);
	host_irq_restore(irq);
}

TEST(vm_threads_everything_at_once)
{
	static struct worker workers[THREADS];
	boot();
	CHECK_OK(vmm_space_create(vmm, &shared));
	for (unsigned i = 0; i < OBJECTS; i++)
		CHECK_OK(vm_object_create(vmm, NULL, NULL, 20 * PAGE_SIZE, &objects[i]));
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.cpu = i, .steps = STEPS, .state = test_random()};
		CHECK(!pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	uint64_t steps = 0;
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		for (unsigned k = 0; k < 12; k++)
			steps += workers[i].done[k];
	}
	CHECK_EQ(steps, THREADS * STEPS);
	CHECK(vmm_is_valid(vmm));
	vmm_space_put(shared);
	for (unsigned i = 0; i < OBJECTS; i++)
		vm_object_put(objects[i]);
	vmm_drain(vmm);
	CHECK(vmm_is_valid(vmm));
	struct vmm_stats stats;
	vmm_get_stats(vmm, &stats);
	CHECK_EQ(stats.table_npages, 0);
	CHECK_EQ(stats.object_npages, 0);
	CHECK_EQ(stats.commit_npages, 0);
	CHECK_EQ(stats.limbo_npages, 0);
	CHECK(stats.flush_cpus > 0);
	test_note("%llu steps, %llu flushes to %llu CPUs, %llu of them of everything",
		  (unsigned long long)steps, (unsigned long long)stats.flushes,
		  (unsigned long long)stats.flush_cpus, (unsigned long long)stats.flush_full);
	CHECK(pmm_is_valid(pmm));
}
