/* SPDX-License-Identifier: MIT */
/* What the sweep does to spaces and objects: see sweep.c. */
#include "tests/model/sweep.h"

#include "arch/x86_64/pte.h"
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

void sweep_build(void)
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
static void do_pin(void)
{
	/* The child's page is shared with the parent: pinning makes a copy. */
	paddr_t pa;
	mem_status status =
	    vmm_pin(model.space[1].space, model.cell[MIDDLE(1) - 5].touch, true, &pa);
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
static void do_map_noreplace(void)
{
	struct model_map m = {.from = LONG - 6,
			      .to = LONG - 3,
			      .prot = VM_READ | VM_WRITE,
			      .maxprot = 7,
			      .flags = VM_FIXED_NOREPLACE,
			      .object = -1};
	(void)model_map(0, &m);
}
static void do_map_populate(void)
{
	map_cells(MIDDLE(1) - 3, MIDDLE(1) + 3, VM_POPULATE, -1, 0);
}
static void do_grow_stack(void)
{
	map_cells(LONG + 690, LONG + 692, VM_GROWSDOWN, -1, 0);
	model_touch(0, LONG + 690, MACHINE_WRITE, 0);
	(void)model_unmap(0, LONG + 640, LONG + 660);
	model_touch(0, LONG + 688, MACHINE_WRITE, 0);
}
static void do_shrink(void)
{
	(void)model_move(0, MIDDLE(0) - 8, MIDDLE(0) + 8, MIDDLE(0) - 8, 5, 0);
}
static void do_move_anywhere(void)
{
	/* It cannot grow where it is: a file mapping begins two pages behind. */
	(void)model_move(0, MIDDLE(0) - 8, MIDDLE(0) + 8, LONG + 662, 20, VM_MOVE_MAY);
}
static void do_move_twice(void)
{
	/* A second mapping of shared pages, which goes again. */
	struct space *space = model.space[0].space;
	vaddr_t out;
	mem_status status =
	    vmm_move(space, model.cell[LONG + 5].touch, 0, 3 * PAGE_SIZE, VM_MOVE_MAY, 0, &out);
	if (!model_expect("duplicate", status, MEM_OK))
		return;
	(void)inject_disarm();
	(void)model_expect("unmap", vmm_unmap(space, out, 3 * PAGE_SIZE), MEM_OK);
}
static void do_free(void)
{
	(void)model_advise(0, MIDDLE(1) - 8, MIDDLE(1) + 8, VM_ADVICE_FREE);
}
static void do_populate_read(void)
{
	(void)model_advise(0, LONG + 300, LONG + 310, VM_ADVICE_POPULATE_READ);
}
static void do_dofork(void)
{
	(void)model_advise(0, LONG + 656, LONG + 657, VM_ADVICE_DOFORK);
}
static void do_keeponfork(void)
{
	(void)model_advise(0, LONG + 30, LONG + 600, VM_ADVICE_KEEPONFORK);
}
static void do_write_by_access(void)
{
	model_kernel_touch(1, MIDDLE(1) - 5, true, false, 1);
}
static void do_pin_for_reading(void)
{
	paddr_t pa;
	mem_status status = vmm_pin(model.space[0].space, model.cell[LONG + 301].touch, false, &pa);
	if (model_expect("pin", status, MEM_OK))
		vmm_unpin(machine_vmm, pa);
}
static void do_drop_file(void)
{
	model_drop_file(0);
}
static void do_limits(void)
{
	struct vmm_space_limits limits = {UINT64_MAX, UINT64_MAX, STACK_LIMIT, UINT64_MAX, 65530};
	vmm_space_set_limits(model.space[0].space, &limits);
}

/* Objects that the array does not know: filled pages, device pages. */
static mem_status fill(struct vm_object *object, uint64_t page, paddr_t pa)
{
	*(uint64_t *)paddr_to_ptr(pa) = 100 + page;
	return MEM_OK;
}
static paddr_t device_page(struct vm_object *object, uint64_t page)
{
	return 0x80000000 + page * PAGE_SIZE;
}
static const struct vm_object_ops file_ops = {.fill = fill},
				  device_ops = {.device_page = device_page};

static void map_object_and_touch(const struct vm_object_ops *ops, unsigned flags)
{
	struct space *space;
	struct vm_object *object;
	vaddr_t out;
	mem_status status = vm_object_create(machine_vmm, ops, NULL, 3 * PAGE_SIZE, &object);
	if (!model_expect("object", status, MEM_OK))
		return;
	if (model_expect("space", vmm_space_create(machine_vmm, &space), MEM_OK)) {
		struct vm_map_args args = {.bytes = 3 * PAGE_SIZE,
					   .prot = VM_READ | VM_WRITE,
					   .maxprot = 7,
					   .flags = flags,
					   .object = object};
		if (model_expect("map", vmm_map(space, &args, &out), MEM_OK)) {
			(void)model_expect("read", vmm_fault(space, out, FAULT_USER, NULL), MEM_OK);
			(void)model_expect(
			    "write",
			    vmm_fault(space, out + PAGE_SIZE, FAULT_USER | FAULT_WRITE, NULL),
			    MEM_OK);
		}
		vmm_space_put(space);
	}
	vm_object_put(object);
}
static void do_filled_shared(void)
{
	map_object_and_touch(&file_ops, VM_SHARED);
}
static void do_filled_private(void)
{
	map_object_and_touch(&file_ops, 0);
}
static void do_device_object(void)
{
	map_object_and_touch(&device_ops, VM_SHARED);
}

/* What only looks asks for no memory: it has to work when there is none. */
static void print_nothing(void *arg, const char *line)
{
}
static void do_look(void)
{
	struct space *space = model.space[0].space;
	struct vm_area area;
	struct vmm_space_stats of_space;
	struct vmm_stats stats;
	struct vmm_fault fault = {.address = model.cell[0].touch, .signal = 11, .code = 1};
	for (vaddr_t at = 0; vmm_next_area(space, at, &area); at = area.end)
		vm_area_done(&area);
	vmm_space_stats(space, &of_space);
	vmm_get_stats(machine_vmm, &stats);
	vmm_explain_fault(space, &fault, print_nothing, NULL);
	(void)vmm_page_info(space, model.cell[LONG + 20].touch, NULL, NULL, NULL);
	if (inject_disarm())
		model_fail("looking at a space allocates");
}

const struct sweep_operation sweep_spaces[] = {
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
    OPERATION(pin),
    OPERATION(pin_and_fork),
    OPERATION(move_file),
    OPERATION(move_and_keep),
    OPERATION(lock),
    OPERATION(populate),
    OPERATION(read_by_access),
    OPERATION(object_page),
    OPERATION(futex_key),
    OPERATION(map_noreplace),
    OPERATION(map_populate),
    OPERATION(grow_stack),
    OPERATION(shrink),
    OPERATION(move_anywhere),
    OPERATION(move_twice),
    OPERATION(free),
    OPERATION(populate_read),
    OPERATION(dofork),
    OPERATION(keeponfork),
    OPERATION(write_by_access),
    OPERATION(pin_for_reading),
    OPERATION(drop_file),
    OPERATION(limits),
    OPERATION(filled_shared),
    OPERATION(filled_private),
    OPERATION(device_object),
    OPERATION(look),
    {NULL, NULL},
};
