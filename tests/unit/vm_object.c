/* SPDX-License-Identifier: MIT */
/* Objects: contents, size, holes, filling, devices, the way back to mappings. */
#include <mem/vmm.h>
#include <string.h>

#include "arch/x86_64/pte.h"
#include "base/atomic.h"
#include "tests/machine/boot.h"
#include "tests/test.h"

static unsigned fills, releases;
static mem_status fill_status;

static mem_status fill(struct vm_object *object, uint64_t page, paddr_t pa)
{
	fills++;
	CHECK(vm_object_host_data(object) == &fills);
	uint64_t *words = paddr_to_ptr(pa);
	CHECK_EQ(words[511], 0);
	words[0] = 1000 + page;
	return fill_status;
}

static void release(struct vm_object *object)
{
	releases++;
}

static paddr_t device_page(struct vm_object *object, uint64_t page)
{
	return page < 4 ? 0x80000000 + page * PAGE_SIZE : PADDR_NONE;
}

static const struct vm_object_ops file_ops = {.fill = fill, .release = release};
static const struct vm_object_ops device_ops = {.device_page = device_page};

static uint64_t frames_before;

static struct space *start(void)
{
	struct space *space;
	machine_boot_default(2, 1);
	frames_before = machine_frames_at_rest();
	fills = releases = 0;
	fill_status = MEM_OK;
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	machine_set_space(space);
	return space;
}

static void end(struct space *space)
{
	CHECK(vmm_is_valid(machine_vmm));
	machine_set_space(NULL);
	vmm_space_put(space);
	CHECK(vmm_is_valid(machine_vmm));
	struct vmm_stats stats;
	vmm_get_stats(machine_vmm, &stats);
	CHECK_EQ(stats.object_npages, 0);
	CHECK_EQ(machine_frames_at_rest(), frames_before);
	machine_end();
}

static vaddr_t map_object(struct space *space, struct vm_object *object, uint64_t page,
			  uint64_t npages, unsigned flags)
{
	struct vm_map_args args = {.bytes = npages * PAGE_SIZE,
				   .prot = 3,
				   .maxprot = 7,
				   .flags = flags,
				   .object = object,
				   .offset = page * PAGE_SIZE};
	vaddr_t va;
	CHECK_OK(vmm_map(space, &args, &va));
	return va;
}

TEST(vm_object_contents)
{
	struct space *space = start();
	struct vm_object *object;
	static unsigned char data[5 * 4096], back[5 * 4096];
	uint64_t done;
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7 + i / 4096);
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 0, &object));
	CHECK_OK(vm_object_read(object, 0, back, 10, &done));
	CHECK_EQ(done, 0);
	/* A hole in front, an odd start, an odd end; one page very far away. */
	CHECK_OK(vm_object_write(object, 3 * PAGE_SIZE + 123, data, 4 * PAGE_SIZE, &done));
	CHECK_EQ(done, 4 * PAGE_SIZE);
	CHECK_EQ(vm_object_bytes(object), 7 * PAGE_SIZE + 123);
	CHECK_EQ(vm_object_npages(object), 5);
	CHECK_OK(vm_object_write(object, (uint64_t)1 << 50, "end", 3, &done));
	CHECK_EQ(vm_object_bytes(object), ((uint64_t)1 << 50) + 3);
	CHECK_OK(vm_object_read(object, ((uint64_t)1 << 50) + 1, back, 100, &done));
	CHECK_EQ(done, 2);
	CHECK(!memcmp(back, "nd", 2));
	memset(back, 1, sizeof(back));
	CHECK_OK(vm_object_read(object, 3 * PAGE_SIZE, back, sizeof(back), &done));
	CHECK_EQ(done, sizeof(back));
	for (unsigned i = 0; i < 123; i++)
		CHECK_EQ(back[i], 0);
	CHECK(!memcmp(back + 123, data, 4 * PAGE_SIZE));
	CHECK_EQ(vm_object_npages(object), 6); /* reading fills no hole */
	CHECK_EQ(vm_object_write(object, (uint64_t)INT64_MAX, "x", 1, &done), MEM_EINVAL);
	CHECK_EQ(vm_object_resize(object, UINT64_MAX), MEM_EINVAL);
	/* Shorter and longer again: what was cut off reads as zero. */
	CHECK_OK(vm_object_resize(object, 3 * PAGE_SIZE + 200));
	CHECK_EQ(vm_object_npages(object), 1);
	CHECK_OK(vm_object_resize(object, 8 * PAGE_SIZE));
	CHECK_OK(vm_object_read(object, 3 * PAGE_SIZE, back, 2 * PAGE_SIZE, &done));
	CHECK(!memcmp(back + 123, data, 77));
	for (unsigned i = 200; i < 2 * PAGE_SIZE; i++)
		CHECK_EQ(back[i], 0);
	vm_object_put(object);
	end(space);
}

TEST(vm_object_mappings_see_writes_and_the_end)
{
	struct space *space = start();
	struct vm_object *object;
	uint64_t done, value = 5;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 3 * PAGE_SIZE + 10, &object));
	vaddr_t shared = map_object(space, object, 0, 6, VM_SHARED);
	vaddr_t private = map_object(space, object, 1, 4, 0);
	CHECK(machine_access(shared + PAGE_SIZE, MACHINE_WRITE, &value).ok);
	value = 0;
	CHECK(machine_access(private, MACHINE_READ, &value).ok);
	CHECK_EQ(value, 5);
	value = 6;
	CHECK_OK(vm_object_write(object, PAGE_SIZE, &value, 8, &done));
	CHECK(machine_access(private, MACHINE_READ, &value).ok && value == 6);
	value = 7;
	CHECK(machine_access(private, MACHINE_WRITE, &value).ok);
	CHECK(machine_access(shared + PAGE_SIZE, MACHINE_READ, &value).ok && value == 6);
	/* The page with the last byte is there, the next is not. */
	CHECK(machine_access(shared + 3 * PAGE_SIZE, MACHINE_READ, &value).ok);
	struct machine_result r = machine_access(shared + 4 * PAGE_SIZE, MACHINE_READ, &value);
	CHECK(!r.ok && r.signal == 7 && r.code == 2);
	/* Truncation takes every mapping down, private copies too. */
	CHECK_OK(vm_object_resize(object, PAGE_SIZE));
	CHECK(!vmm_page_info(space, private, NULL, NULL, NULL));
	r = machine_access(private, MACHINE_READ, &value);
	CHECK(!r.ok && r.signal == 7);
	CHECK_OK(vm_object_resize(object, 2 * PAGE_SIZE));
	CHECK(machine_access(private, MACHINE_READ, &value).ok && value == 0);
	vm_object_put(object);
	end(space);
}

TEST(vm_object_punch_spares_copies)
{
	struct space *space = start();
	struct vm_object *object;
	uint64_t value = 5;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 4 * PAGE_SIZE, &object));
	vaddr_t shared = map_object(space, object, 0, 4, VM_SHARED);
	vaddr_t private = map_object(space, object, 0, 4, 0);
	CHECK(machine_access(shared, MACHINE_WRITE, &value).ok);
	value = 6;
	CHECK(machine_access(private, MACHINE_WRITE, &value).ok);
	CHECK_OK(vm_object_punch(object, 0, 2));
	CHECK_EQ(vm_object_npages(object), 0);
	CHECK(machine_access(shared, MACHINE_READ, &value).ok && value == 0);
	CHECK(machine_access(private, MACHINE_READ, &value).ok && value == 6);
	CHECK_EQ(vm_object_punch(object, UINT64_MAX, 2), MEM_EINVAL);
	CHECK_EQ(vm_object_punch(object, 0, 0), MEM_EINVAL);
	vm_object_put(object);
	end(space);
}

TEST(vm_object_fills_once_a_page)
{
	struct space *space = start();
	struct vm_object *object;
	uint64_t value, done;
	CHECK_OK(vm_object_create(machine_vmm, &file_ops, &fills, 100 * PAGE_SIZE, &object));
	vaddr_t a = map_object(space, object, 10, 20, 0), b = map_object(space, object, 0, 100, 0);
	for (unsigned i = 0; i < 20; i += 3) {
		CHECK(machine_access(a + i * PAGE_SIZE, MACHINE_READ, &value).ok);
		CHECK_EQ(value, 1010 + i);
		CHECK(machine_access(b + (10 + i) * PAGE_SIZE, MACHINE_READ, &value).ok);
		CHECK_EQ(value, 1010 + i);
	}
	CHECK_EQ(fills, 7);
	CHECK_OK(vm_object_read(object, 50 * PAGE_SIZE, &value, 8, &done));
	CHECK_EQ(value, 1050);
	paddr_t pa, again;
	CHECK_OK(vm_object_page(object, 50, false, &pa));
	CHECK_OK(vm_object_page(object, 50, true, &again));
	CHECK_EQ(pa, again);
	vm_object_page_done(object, pa);
	vm_object_page_done(object, again);
	CHECK_EQ(vm_object_page(object, 51, false, &pa), MEM_ENOENT);
	CHECK_EQ(vm_object_page(object, 100, true, &pa), MEM_EBEYOND);
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.faults_major, 7);
	/* A fill that fails is an I/O error to the program, and leaves nothing. */
	fill_status = MEM_EIO;
	struct machine_result r = machine_access(b + 90 * PAGE_SIZE, MACHINE_READ, &value);
	CHECK(!r.ok && r.signal == 7);
	CHECK_EQ(vm_object_page(object, 90, true, &pa), MEM_EIO);
	fill_status = MEM_OK;
	CHECK(machine_access(b + 90 * PAGE_SIZE, MACHINE_READ, &value).ok && value == 1090);
	vm_object_put(object);
	CHECK_EQ(releases, 0);
	CHECK_OK(vmm_unmap(space, a, 20 * PAGE_SIZE));
	CHECK_OK(vmm_unmap(space, b, 100 * PAGE_SIZE));
	CHECK_EQ(releases, 1);
	end(space);
}

TEST(vm_object_device_pages_are_not_counted)
{
	struct space *space = start();
	struct vm_object *object;
	paddr_t pa;
	bool writable;
	CHECK_OK(vm_object_create(machine_vmm, &device_ops, NULL, 8 * PAGE_SIZE, &object));
	vaddr_t va = map_object(space, object, 0, 8, VM_SHARED);
	struct vmm_fault fault;
	CHECK_OK(vmm_fault(space, va + PAGE_SIZE, FAULT_USER | FAULT_WRITE, &fault));
	CHECK(vmm_page_info(space, va + PAGE_SIZE, &pa, &writable, NULL));
	CHECK_EQ(pa, 0x80001000);
	CHECK(writable);
	CHECK_EQ(vmm_fault(space, va + 4 * PAGE_SIZE, FAULT_USER, &fault), MEM_EBEYOND);
	CHECK_EQ(fault.signal, 7);
	CHECK_EQ(vmm_pin(space, va, true, &pa), MEM_EFAULT);
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.resident_npages, 0);
	struct space *child;
	CHECK_OK(vmm_space_fork(space, &child));
	CHECK(vmm_is_valid(machine_vmm));
	vmm_space_put(child);
	vm_object_put(object);
	end(space);
}

TEST(vm_object_shared_anonymous_is_charged)
{
	struct space *space = start();
	struct vmm_stats stats;
	struct vm_map_args args = {
	    .bytes = 10 * PAGE_SIZE, .prot = 3, .maxprot = 7, .flags = VM_SHARED};
	vaddr_t a, b;
	CHECK_OK(vmm_map(space, &args, &a));
	vmm_get_stats(machine_vmm, &stats);
	CHECK_EQ(stats.commit_npages, 10);
	/* A second mapping of the same: mremap of length zero. */
	CHECK_OK(vmm_move(space, a, 0, 10 * PAGE_SIZE, VM_MOVE_MAY, 0, &b));
	uint64_t value = 3;
	CHECK(machine_access(a + PAGE_SIZE, MACHINE_WRITE, &value).ok);
	value = 0;
	CHECK(machine_access(b + PAGE_SIZE, MACHINE_READ, &value).ok && value == 3);
	CHECK_OK(vmm_unmap(space, a, 10 * PAGE_SIZE));
	vmm_get_stats(machine_vmm, &stats);
	CHECK_EQ(stats.commit_npages, 10);
	CHECK_OK(vmm_unmap(space, b, 10 * PAGE_SIZE));
	vmm_get_stats(machine_vmm, &stats);
	CHECK_EQ(stats.commit_npages, 0);
	end(space);
}

/*
 * Two writers make an object longer at once, and the first page cannot be had. The one
 * that fails takes the size back; what the other has written stays. Every schedule.
 */
static struct vm_object *grown;
static bool written[2];
static uint64_t calls;

static mem_status fail_first(struct vm_object *object, uint64_t page, paddr_t pa)
{
	return calls++ ? MEM_OK : MEM_EIO;
}

static const struct vm_object_ops failing_ops = {.fill = fail_first};

static void write_words(unsigned self)
{
	uint64_t word = 70 + self, done;
	machine_explore(2, 1);
	written[self] = vm_object_write(grown, self * 8, &word, 8, &done) == MEM_OK;
	CHECK_EQ(done, written[self] ? 8 : 0);
}

static void write_first(void *arg)
{
	write_words(0);
}

static void write_second(void *arg)
{
	write_words(1);
}

static void grow_at_once(uint64_t i)
{
	uint64_t words[2] = {0, 0}, done;
	machine_boot_explored(2, 1, 0);
	CHECK_OK(vm_object_create(machine_vmm, &failing_ops, NULL, 0, &grown));
	calls = 0;
	machine_spawn(write_first, NULL, NULL);
	machine_spawn(write_second, NULL, NULL);
	machine_join();
	machine_explore_end();
	CHECK(written[0] + written[1] == 1); /* the first to fill fails */
	unsigned which = written[1];
	CHECK_EQ(vm_object_bytes(grown), which ? 16 : 8);
	CHECK_OK(vm_object_read(grown, 0, words, 16, &done));
	CHECK_EQ(words[which], 70 + which);
	CHECK_EQ(words[!which], 0);
	vm_object_put(grown);
	machine_end();
}

TEST(vm_object_failed_writes_take_nothing_away)
{
	machine_each(1, grow_at_once);
	machine_expect_schedules(143);
}

/* ---- who may map an object how often ---------------------------------------------- */

static mem_status map_page(struct space *space, struct vm_object *object, vaddr_t va, uint64_t page)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = va,
				   .bytes = PAGE_SIZE,
				   .prot = 3,
				   .maxprot = 7,
				   .flags = VM_FIXED,
				   .object = object,
				   .offset = page * PAGE_SIZE};
	return vmm_map(space, &args, &out);
}

static unsigned asked_for_memory;

static bool count_asking(uint64_t npages)
{
	asked_for_memory++;
	return false;
}

TEST(vm_object_maps_are_on_an_owners_account)
{
	struct space *space = start(), *other, *child;
	struct vm_object *object, *second;
	const vaddr_t base = 0x40000000;
	vaddr_t out;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 100 * PAGE_SIZE, &object));
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 100 * PAGE_SIZE, &second));
	CHECK_OK(vmm_space_create(machine_vmm, &other));
	vmm_space_set_owner(space, 7, 4);
	vmm_space_set_owner(other, 7, 4);
	machine_hooks.out_of_memory = count_asking;
	/* One page in many places: each at another distance. */
	for (unsigned n = 0; n < 3; n++)
		CHECK_OK(map_page(space, object, base + 2 * n * PAGE_SIZE, 0));
	CHECK_OK(map_page(other, object, base, 0));
	CHECK_EQ(map_page(space, object, base + 6 * PAGE_SIZE, 0), MEM_ENOMEM);
	CHECK_EQ(map_page(other, object, base + 6 * PAGE_SIZE, 0), MEM_ENOMEM);
	/* The same distance, another object, another owner. */
	CHECK_OK(map_page(space, object, base + 9 * PAGE_SIZE, 9));
	CHECK_OK(map_page(space, second, base + 6 * PAGE_SIZE, 0));
	vmm_space_set_owner(other, 8, 4);
	CHECK_OK(vmm_unmap(other, base, PAGE_SIZE));
	for (unsigned n = 0; n < 4; n++)
		CHECK_OK(map_page(other, object, base + 2 * n * PAGE_SIZE, 0));
	CHECK_EQ(map_page(other, object, base + 8 * PAGE_SIZE, 0), MEM_ENOMEM);
	/* A child has its parent's owner: three places and the second object's. */
	CHECK_EQ(vmm_space_fork(space, &child), MEM_ENOMEM);
	/* A moved mapping is at another distance while it moves. */
	CHECK_OK(map_page(space, object, base + 8 * PAGE_SIZE, 0));
	CHECK_EQ(vmm_move(space, base, PAGE_SIZE, PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  base + 20 * PAGE_SIZE, &out),
		 MEM_ENOMEM);
	CHECK_OK(vmm_unmap(space, base, 7 * PAGE_SIZE));
	CHECK_OK(vmm_move(space, base + 8 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
			  VM_MOVE_MAY | VM_MOVE_FIXED, base + 20 * PAGE_SIZE, &out));
	CHECK_OK(vmm_space_fork(space, &child));
	/* Memory was never short, and nobody had to be killed. */
	CHECK_EQ(asked_for_memory, 0);
	vmm_space_put(child);
	vmm_space_put(other);
	vm_object_put(object);
	vm_object_put(second);
	end(space);
}

/* ---- pages that come with others ----------------------------------------------------- */

static uint64_t resident(struct space *space)
{
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK(vmm_space_is_valid(space));
	return stats.resident_npages;
}

static bool is_present(struct space *space, vaddr_t va, bool *writable, bool *dirty)
{
	return vmm_page_info(space, va, NULL, writable, dirty);
}

TEST(vm_object_pages_come_with_a_fault)
{
	struct space *space = start(), *child;
	struct vm_object *object;
	bool writable, dirty;
	uint64_t done, word = 5;
	vaddr_t out;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, 40 * PAGE_SIZE, &object));
	for (unsigned page = 0; page < 40; page++)
		if (page != 9)
			CHECK_OK(vm_object_write(object, page * PAGE_SIZE, &word, 8, &done));
	/* Shared, from page 2 on, in the middle of a window and up to beyond the end. */
	const vaddr_t base = 0x40000000, va = base + 4 * PAGE_SIZE;
	struct vm_map_args args = {.hint = va,
				   .bytes = 60 * PAGE_SIZE,
				   .prot = 3,
				   .maxprot = 7,
				   .flags = VM_FIXED | VM_SHARED,
				   .object = object,
				   .offset = 2 * PAGE_SIZE};
	CHECK_OK(vmm_map(space, &args, &out));
	CHECK_OK(vmm_fault(space, va, FAULT_USER | FAULT_WRITE, NULL));
	/* 12 pages are left of the first window; one of them is a hole. */
	CHECK_EQ(resident(space), 11);
	CHECK(is_present(space, va, &writable, &dirty) && writable && dirty);
	CHECK(is_present(space, va + 11 * PAGE_SIZE, &writable, &dirty) && writable && !dirty);
	CHECK(!is_present(space, va + 7 * PAGE_SIZE, NULL, NULL));
	CHECK(!is_present(space, va + 12 * PAGE_SIZE, NULL, NULL));
	/* The hole is filled when it is asked for; 26 pages later the object ends. */
	CHECK_OK(vmm_fault(space, va + 7 * PAGE_SIZE, FAULT_USER, NULL));
	CHECK_EQ(resident(space), 12);
	CHECK_OK(vmm_fault(space, va + 37 * PAGE_SIZE, FAULT_USER, NULL));
	CHECK_EQ(resident(space), 22);
	CHECK_EQ(vmm_fault(space, va + 38 * PAGE_SIZE, FAULT_USER, NULL), MEM_EBEYOND);
	/* A child finds them for itself, and they cost it nothing before. */
	CHECK_OK(vmm_space_fork(space, &child));
	CHECK_EQ(resident(child), 0);
	CHECK_OK(vmm_fault(child, va, FAULT_USER, NULL));
	CHECK_EQ(resident(child), 12);
	vmm_space_put(child);
	CHECK_OK(vmm_unmap(space, va, 60 * PAGE_SIZE));
	/* Private: a read maps what is there, and a write copies one page alone. */
	args.flags = VM_FIXED;
	args.bytes = 3 * PAGE_SIZE;
	CHECK_OK(vmm_map(space, &args, &out));
	CHECK_OK(vmm_fault(space, va + PAGE_SIZE, FAULT_USER | FAULT_WRITE, NULL));
	CHECK_EQ(resident(space), 1);
	CHECK_OK(vmm_fault(space, va, FAULT_USER, NULL));
	CHECK_EQ(resident(space), 3);
	CHECK(is_present(space, va, &writable, &dirty) && !writable);
	CHECK(is_present(space, va + PAGE_SIZE, &writable, &dirty) && writable);
	vm_object_put(object);
	end(space);
}

static void check_run(struct vm_object *object, uint64_t page, bool data, uint64_t least,
		      uint64_t most)
{
	bool is;
	uint64_t n = vm_object_run(object, page, &is);
	CHECK_EQ(is, data);
	CHECK(n >= least && n <= most);
}

TEST(vm_object_runs_of_data_and_holes)
{
	struct vm_object *object;
	struct space *space = start();
	const uint64_t far = (uint64_t)1 << 50;
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, INT64_MAX, &object));
	check_run(object, 0, false, far + 100, UINT64_MAX);
	check_run(object, far, false, 100, UINT64_MAX);
	static const uint64_t made[] = {5, 6, 7, 63, 64, 4096};
	for (unsigned i = 0; i <= sizeof(made) / sizeof(made[0]); i++) {
		paddr_t pa;
		uint64_t page = i < sizeof(made) / sizeof(made[0]) ? made[i] : far;
		CHECK_OK(vm_object_page(object, page, true, &pa));
		vm_object_page_done(object, pa);
	}
	check_run(object, 0, false, 5, 5);
	check_run(object, 4, false, 1, 1);
	check_run(object, 5, true, 1, 3);
	check_run(object, 7, true, 1, 1);
	check_run(object, 8, false, 55, 55);
	check_run(object, 63, true, 1, 2);
	check_run(object, 64, true, 1, 1);
	check_run(object, 65, false, 4096 - 65, 4096 - 65);
	check_run(object, 4097, false, far - 4097, far - 4097);
	check_run(object, far, true, 1, 1);
	check_run(object, far + 1, false, 1, UINT64_MAX);
	CHECK_OK(vm_object_punch(object, far, 1));
	check_run(object, 4097, false, far, UINT64_MAX);
	vm_object_put(object);
	end(space);
}

/* ---- a zap ends --------------------------------------------------------------------- */

#define ZAP_PLACES 48

static struct space *moving_in;
static unsigned moves;
static uint32_t zapped;

static void truncate_body(void *arg)
{
	while (atomic_read_acquire(&moves) < 3)
		machine_yield();
	unsigned before = atomic_read_acquire(&moves);
	CHECK_OK(vm_object_resize(arg, 0));
	atomic_write_seq(&zapped, 1);
	test_note("%u moves while the object was truncated", moves - before);
	/* It visits ZAP_PLACES leaves once; a move takes about as long as some of them. */
	CHECK(moves - before < 10 * ZAP_PLACES);
}

static void move_body(void *arg)
{
	vaddr_t from = 0x200000000, to = from + PAGE_SIZE, out;
	while (!atomic_read_acquire(&zapped) && moves < 100 * ZAP_PLACES) {
		machine_progress();
		CHECK_OK(vmm_move(moving_in, from, PAGE_SIZE, PAGE_SIZE,
				  VM_MOVE_MAY | VM_MOVE_FIXED, to, &out));
		from = from ^ to, to = from ^ to, from = from ^ to;
		atomic_add(&moves, 1u);
	}
}

TEST(vm_object_a_zap_ends_while_others_move_pages)
{
	struct vm_object *object;
	moving_in = start();
	CHECK_OK(vm_object_create(machine_vmm, NULL, NULL, PAGE_SIZE, &object));
	for (unsigned n = 0; n < ZAP_PLACES; n++) {
		vaddr_t va = 0x40000000 + n * HUGE_SIZE;
		CHECK_OK(map_page(moving_in, object, va, 0));
		CHECK_OK(vmm_fault(moving_in, va, FAULT_USER, NULL));
	}
	CHECK_OK(map_page(moving_in, object, 0x200000000, 0));
	machine_spawn(truncate_body, object, moving_in);
	machine_spawn(move_body, NULL, moving_in);
	machine_join();
	CHECK(atomic_read_acquire(&zapped));
	vm_object_put(object);
	end(moving_in);
}
