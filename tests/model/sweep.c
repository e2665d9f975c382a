/* SPDX-License-Identifier: MIT */
/*
 * Every allocation fails once: each public operation is run on the same state
 * again and again, with its first allocation failing, then its second, and so
 * on until none fails. Each time it is either done or refused; refused means
 * that nothing has changed (the oracle compares everything), and afterwards
 * every frame is accounted for. Once with one failure, after which a retry may
 * succeed; once with all allocations failing from then on.
 */
#include "tests/model/inside.h"
#include "tests/test.h"

/* A cell in the middle of the short zone z; the border runs through it. */
#define MIDDLE(z) (1 + (z) * (ZONE_PAGES + 1) + ZONE_PAGES / 2)
#define LONG      (4 + 3 * ZONE_PAGES)

static void map_cells(unsigned from, unsigned to, unsigned flags, int object, uint64_t opage)
{
	struct model_map m = {.from = from,
			      .to = to,
			      .prot = VM_READ | VM_WRITE,
			      .maxprot = 7,
			      .flags = flags | VM_FIXED,
			      .object = object,
			      .opage = opage};
	(void)model_map(0, &m);
}

/* Private, shared, file and huge mappings, touched and untouched; a child. */
static void build(void)
{
	model_create(0);
	model_make_file(0, 40 * PAGE_SIZE + 100);
	for (unsigned z = 0; z < 3; z++) {
		unsigned m = MIDDLE(z);
		map_cells(m - 8, m + 8, 0, -1, 0);
		map_cells(m - 14, m - 10, VM_SHARED, -1, 0);
		map_cells(m + 10, m + 14, 0, 0, 2 + z);
		for (unsigned c = m - 8; c < m + 8; c += 3)
			model_touch(0, c, MACHINE_WRITE, c % 2);
		model_touch(0, m - 7, MACHINE_READ, 0);
		model_touch(0, m - 12, MACHINE_WRITE, 0);
		model_touch(0, m + 11, MACHINE_WRITE, 1);
		model_touch(0, m + 12, MACHINE_READ, 0);
	}
	map_cells(LONG + 20, LONG + 650, 0, -1, 0);
	for (unsigned c = LONG + 20; c < LONG + 650; c += 90)
		model_touch(0, c, MACHINE_WRITE, 0);
	/* Several runs where no leaf table exists yet. */
	map_cells(LONG + 652, LONG + 655, VM_NORESERVE, -1, 0);
	map_cells(LONG + 656, LONG + 658, VM_DONTFORK, -1, 0);
	map_cells(LONG + 5, LONG + 15, VM_SHARED, 0, 1);
	model_touch(0, LONG + 6, MACHINE_WRITE, 0);
	map_cells(0, 1, VM_NORESERVE, -1, 0);
	(void)model_fork(0, 1);
	model_touch(1, MIDDLE(0) - 8, MACHINE_WRITE, 0);
}

static void do_create(void)
{
	model_create(2);
}
static void do_map_new_table(void)
{
	map_cells(LONG - 2, LONG - 1, 0, -1, 0);
}
static void do_map_over(void)
{
	map_cells(MIDDLE(1) - 3, MIDDLE(1) + 3, VM_NORESERVE, -1, 0);
}
static void do_map_shared(void)
{
	map_cells(MIDDLE(1) - 3, MIDDLE(1) + 12, VM_SHARED, -1, 0);
}
static void do_map_file(void)
{
	map_cells(MIDDLE(2) - 3, MIDDLE(2) + 12, VM_SHARED, 0, 7);
}
static void do_map_everything(void)
{
	map_cells(0, CELLS, VM_NORESERVE, -1, 0);
}
static void do_map_locked(void)
{
	map_cells(MIDDLE(1) - 3, MIDDLE(1) + 3, VM_LOCKED, -1, 0);
}
static void do_map_anywhere(void)
{
	struct model_map m = {
	    .from = MIDDLE(1), .to = MIDDLE(1) + 5, .prot = VM_READ, .maxprot = 7, .object = -1};
	model_map_anywhere(0, &m);
}
static void do_unmap_middle(void)
{
	(void)model_unmap(0, MIDDLE(0) - 2, MIDDLE(0) + 2);
}
static void do_unmap_across(void)
{
	(void)model_unmap(0, MIDDLE(0) - 2, MIDDLE(2) + 2);
}
static void do_unmap_in_huge(void)
{
	map_cells(0, 1, VM_NORESERVE, -1, 0);
	(void)model_unmap(0, LONG + 100, LONG + 101);
}
static void do_protect(void)
{
	(void)model_protect(0, MIDDLE(1) - 5, MIDDLE(1) + 1, VM_READ);
}
static void do_protect_long(void)
{
	(void)model_protect(0, LONG + 25, LONG + 600, VM_READ);
}
static void do_move(void)
{
	(void)model_move(0, MIDDLE(0) - 8, MIDDLE(0) + 8, LONG + 660, 16,
			 VM_MOVE_MAY | VM_MOVE_FIXED);
}
static void do_move_grow(void)
{
	(void)model_move(0, MIDDLE(0) - 8, MIDDLE(0) + 8, LONG + 100, 20,
			 VM_MOVE_MAY | VM_MOVE_FIXED);
}
static void do_move_part(void)
{
	(void)model_move(0, MIDDLE(0) - 4, MIDDLE(0) + 4, MIDDLE(1) - 4, 8,
			 VM_MOVE_MAY | VM_MOVE_FIXED);
}
static void do_grow_in_place(void)
{
	(void)model_move(0, MIDDLE(0) - 8, MIDDLE(0) + 8, MIDDLE(0) - 8, 18, 0);
}
static void do_fork(void)
{
	(void)model_fork(0, 2);
}
static void do_fork_child(void)
{
	(void)model_fork(1, 2);
}
static void do_destroy(void)
{
	model_destroy(1);
}
static void do_clear(void)
{
	model_clear(0);
}
static void do_touch_new(void)
{
	model_touch(0, LONG + 300, MACHINE_WRITE, 0);
}
static void do_touch_among_runs(void)
{
	model_touch(0, LONG + 653, MACHINE_WRITE, 0);
}
static void do_touch_read(void)
{
	model_touch(0, 0, MACHINE_READ, 0);
}
static void do_touch_gap(void)
{
	model_touch(0, 0, MACHINE_WRITE, 0);
}
static void do_touch_cow(void)
{
	model_touch(1, MIDDLE(0) - 5, MACHINE_WRITE, 1);
}
static void do_touch_file(void)
{
	model_touch(0, MIDDLE(1) + 13, MACHINE_WRITE, 1);
}
static void do_touch_shared(void)
{
	model_touch(0, MIDDLE(1) - 11, MACHINE_WRITE, 1);
}
static void do_touch_kernel(void)
{
	model_kernel_touch(1, MIDDLE(2) - 5, true, true, 1);
}
static void do_dontneed(void)
{
	(void)model_advise(0, MIDDLE(1) - 8, MIDDLE(1) + 8, VM_ADVICE_DONTNEED);
}
static void do_dontfork(void)
{
	(void)model_advise(0, MIDDLE(1) - 3, MIDDLE(1) + 1, VM_ADVICE_DONTFORK);
}
static void do_wipeonfork(void)
{
	(void)model_advise(0, LONG + 30, LONG + 600, VM_ADVICE_WIPEONFORK);
}
static void do_remove(void)
{
	(void)model_advise(0, LONG + 5, LONG + 10, VM_ADVICE_REMOVE);
}
static void do_unlock(void)
{
	(void)model_advise(0, MIDDLE(1) - 3, MIDDLE(1) + 1, VM_ADVICE_UNLOCK);
}
static void do_make_file(void)
{
	model_make_file(1, 10 * PAGE_SIZE);
}
static void do_file_write(void)
{
	model_file_write(0, 30, 1);
}
static void do_file_read(void)
{
	model_file_read(0, 30, 1);
}
static void do_resize_small(void)
{
	(void)model_resize(0, 3 * PAGE_SIZE + 50);
}
static void do_resize_large(void)
{
	(void)model_resize(0, 90 * PAGE_SIZE);
}
static void do_punch(void)
{
	(void)model_punch(0, 1, 10);
}
static void do_stack_and_device(void)
{
	void *stack, *device, *dma;
	paddr_t pa;
	if (model_expect("stack", vmm_alloc_stack(machine_vmm, 4, &stack), MEM_OK))
		vmm_free_stack(machine_vmm, stack, 4);
	if (model_expect(
		"device",
		vmm_map_device(machine_vmm, 0xfee00000, 5000, VM_READ | VM_WRITE, VM_UC, &device),
		MEM_OK))
		vmm_unmap_device(machine_vmm, device, 5000);
	if (model_expect(
		"dma",
		vmm_alloc_dma(machine_vmm, 3 * PAGE_SIZE, (paddr_t)16 << 20, VM_WB, &dma, &pa),
		MEM_OK))
		vmm_free_dma(machine_vmm, dma, 3 * PAGE_SIZE);
}

static void do_pin(void)
{
	/* The child's page is shared with the parent: pinning makes a copy. */
	paddr_t pa;
	mem_status status =
	    vmm_pin(model.space[1].space, model.cell[MIDDLE(1) - 5].touch, true, &pa);
	if (status == MEM_EBUSY && inject_failures())
		status = MEM_ENOMEM; /* the count was made to overflow */
	if (model_expect("pin", status, MEM_OK))
		vmm_unpin(machine_vmm, pa);
}
static void do_pin_and_fork(void)
{
	model_pin_and_fork(0, MIDDLE(0) - 8, 2, true);
}
static void do_move_file(void)
{
	(void)model_move(0, MIDDLE(1) + 10, MIDDLE(1) + 14, LONG + 662, 6,
			 VM_MOVE_MAY | VM_MOVE_FIXED);
}
static void do_move_and_keep(void)
{
	(void)model_move(0, MIDDLE(1) - 8, MIDDLE(1) + 8, LONG + 662, 16,
			 VM_MOVE_MAY | VM_MOVE_FIXED | VM_MOVE_DONTUNMAP);
}
static void do_lock(void)
{
	(void)model_advise(0, MIDDLE(1) - 3, MIDDLE(1) + 1, VM_ADVICE_LOCK);
}
static void do_populate(void)
{
	(void)model_advise(0, LONG + 300, LONG + 310, VM_ADVICE_POPULATE_WRITE);
}
static void do_read_by_access(void)
{
	model_kernel_touch(0, LONG + 301, false, false, 1);
}
static void do_object_page(void)
{
	paddr_t pa;
	mem_status status = vm_object_page(model.object[0].vm, 25, true, &pa);
	if (model_expect("object page", status, MEM_OK))
		vm_object_page_done(model.object[0].vm, pa);
}
static void do_futex_key(void)
{
	uint64_t key[2];
	mem_status status =
	    vmm_futex_key(model.space[0].space, model.cell[LONG + 12].touch, false, key);
	(void)model_expect("futex key", status, MEM_OK);
}
static void do_heap_area(void)
{
	struct heap_area *area = vmm_heap_area(machine_vmm);
	void *pages = area->map(area, 5, 1, false);
	if (model_expect("heap area", pages ? MEM_OK : MEM_ENOMEM, MEM_OK))
		area->unmap(area, pages, 5);
}
/* Tables of the raw layer stay where they are: whoever owns the root frees them. */
static void free_raw(paddr_t page, unsigned level)
{
	const uint64_t *entries = paddr_to_ptr(page);
	for (unsigned i = 0; level > 1 && i < 512; i++)
		if (entries[i] & 1)
			free_raw(entries[i] & ~(uint64_t)0xfff, level - 1);
	pmm_free(machine_pmm, page, 0);
}

static void do_raw_map(void)
{
	/* In a root of the test's own: a page of zeroes. */
	paddr_t own = pmm_alloc(machine_pmm, 0, PMM_ZERO | PMM_KERNEL);
	if (!model_expect("frame", own == PADDR_NONE ? MEM_ENOMEM : MEM_OK, MEM_OK))
		return;
	mem_status status = pt_map(machine_pmm, own, 0x40000000, 0x100000, 3 * PAGE_SIZE, 7);
	bool mapped = model_expect("raw map", status, MEM_OK);
	if (pt_translate(own, 0x40000000, NULL, NULL, NULL) != mapped)
		model_fail("a refused raw mapping is there, or a made one is not");
	free_raw(own, 4);
}

#define OPERATION(f)                                                                               \
	{                                                                                          \
#f, do_##f                                                                         \
	}
static const struct {
	const char *name;
	void (*run)(void);
} table[] = {
    OPERATION(create),
    OPERATION(map_new_table),
    OPERATION(map_over),
    OPERATION(map_shared),
    OPERATION(map_file),
    OPERATION(map_everything),
    OPERATION(map_locked),
    OPERATION(map_anywhere),
    OPERATION(unmap_middle),
    OPERATION(unmap_across),
    OPERATION(unmap_in_huge),
    OPERATION(protect),
    OPERATION(protect_long),
    OPERATION(move),
    OPERATION(move_grow),
    OPERATION(move_part),
    OPERATION(grow_in_place),
    OPERATION(fork),
    OPERATION(fork_child),
    OPERATION(destroy),
    OPERATION(clear),
    OPERATION(touch_new),
    OPERATION(touch_among_runs),
    OPERATION(touch_read),
    OPERATION(touch_gap),
    OPERATION(touch_cow),
    OPERATION(touch_file),
    OPERATION(touch_shared),
    OPERATION(touch_kernel),
    OPERATION(dontneed),
    OPERATION(dontfork),
    OPERATION(wipeonfork),
    OPERATION(remove),
    OPERATION(unlock),
    OPERATION(make_file),
    OPERATION(file_write),
    OPERATION(file_read),
    OPERATION(resize_small),
    OPERATION(resize_large),
    OPERATION(punch),
    OPERATION(stack_and_device),
    OPERATION(pin),
    OPERATION(pin_and_fork),
    OPERATION(move_file),
    OPERATION(move_and_keep),
    OPERATION(lock),
    OPERATION(populate),
    OPERATION(read_by_access),
    OPERATION(object_page),
    OPERATION(futex_key),
    OPERATION(heap_area),
    OPERATION(raw_map),
};

/* All words of all cells that were ever touched. */
static void look_at_everything(void)
{
	model_check_all();
	for (unsigned s = 0; s < MODEL_SPACES; s++)
		for (unsigned c = 0; model.space[s].space && c < CELLS; c++)
			if (model.space[s].page[c].mapped &&
			    (model.space[s].page[c].own || c % 7 == 0))
				for (unsigned word = 0; word < 2; word++)
					model_touch(s, c, MACHINE_READ, word);
}

static bool run_one(unsigned which, uint64_t n, bool from_then)
{
	model_begin();
	build();
	model.may_fail = true;
	inject_arm(INJECT_ALL, n, from_then);
	table[which].run();
	uint64_t failures = inject_failures();
	(void)inject_disarm();
	model.may_fail = false;
	look_at_everything();
	model_end();
	return failures;
}

static void sweep(bool from_then)
{
	unsigned points = 0, refused = 0;
	machine_boot_default(1, 1);
	for (unsigned which = 0; which < sizeof(table) / sizeof(table[0]); which++) {
		uint64_t n = 1;
		while (run_one(which, n, from_then)) {
			n++;
			points++;
			refused += model.refused > 0;
		}
	}
	test_note("%u operations, %u failure points, %u refusals",
		  (unsigned)(sizeof(table) / sizeof(table[0])), points, refused);
	machine_end();
	CHECK(points > 60);
}

TEST_TIMED(sweep_one_failure, 300)
{
	sweep(false);
}

TEST_TIMED(sweep_all_fail_from_then, 300)
{
	sweep(true);
}

/* Starting up: vmm_init with its nth allocation failing takes nothing. */
static void start_up(uint64_t i)
{
	struct pmm_stats before, after;
	struct machine_config config = {.bytes = (uint64_t)64 << 20, .ncpus = 1, .seed = i};
	machine_boot_frames(&config);
	pmm_drain(machine_pmm);
	pmm_get_stats(machine_pmm, &before);
	inject_arm(INJECT_ALL, i + 1, i % 2);
	mem_status status = machine_boot_vmm();
	uint64_t failures = inject_failures();
	(void)inject_disarm();
	machine_totals[failures ? 0 : 1]++;
	CHECK(status == (failures ? MEM_ENOMEM : MEM_OK));
	if (status == MEM_OK)
		return;
	pmm_drain(machine_pmm);
	pmm_get_stats(machine_pmm, &after);
	CHECK_EQ(after.free + after.records, before.free + before.records);
	CHECK(pmm_is_valid(machine_pmm));
}

TEST_TIMED(sweep_start_up, 300)
{
	machine_each(100, start_up);
	test_note("vmm_init: %llu failure points", (unsigned long long)machine_totals[0]);
	CHECK(machine_totals[0] > 8);
	CHECK(machine_totals[1] > 0); /* the last ones ran to the end */
}
