/* SPDX-License-Identifier: MIT */
/* Spaces: placing, merging, limits, accounts, crowds of runs, moving, forking. */
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "tests/machine/boot.h"
#include "tests/test.h"

static struct space *start(unsigned ncpus)
{
	struct space *space;
	machine_boot_default(ncpus, 1);
	CHECK_OK(vmm_space_create(machine_vmm, &space));
	machine_set_space(space);
	return space;
}

static void end(struct space *space)
{
	CHECK(vmm_space_is_valid(space));
	machine_set_space(NULL);
	vmm_space_put(space);
	CHECK(vmm_is_valid(machine_vmm));
	struct vmm_stats stats;
	vmm_get_stats(machine_vmm, &stats);
	CHECK_EQ(stats.table_npages, stats.limbo_npages);
	CHECK_EQ(stats.commit_npages, 0);
	machine_end();
}

static mem_status map(struct space *space, vaddr_t hint, uint64_t npages, unsigned prot,
		      unsigned flags, vaddr_t *out)
{
	struct vm_map_args args = {
	    .hint = hint, .bytes = npages * PAGE_SIZE, .prot = prot, .maxprot = 7, .flags = flags};
	return vmm_map(space, &args, out);
}

static vaddr_t map_at(struct space *space, vaddr_t va, uint64_t npages, unsigned prot)
{
	vaddr_t out;
	CHECK_OK(map(space, va, npages, prot, VM_FIXED, &out));
	CHECK_EQ(out, va);
	return out;
}

static void write_to(vaddr_t va, uint64_t value)
{
	CHECK(machine_access(va, MACHINE_WRITE, &value).ok);
}

static uint64_t read_from(vaddr_t va)
{
	uint64_t value = 0;
	CHECK(machine_access(va, MACHINE_READ, &value).ok);
	return value;
}

static uint64_t area_count(struct space *space)
{
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	return stats.area_count;
}

#define BASE ((vaddr_t)0x40000000)

TEST(vm_space_a_byte_of_a_gigabyte_costs_little)
{
	struct space *space = start(1);
	vaddr_t va;
	struct vmm_space_stats before, after;
	vmm_space_stats(space, &before);
	CHECK_OK(map(space, 0, GIGA_SIZE / PAGE_SIZE, 3, 0, &va));
	vmm_space_stats(space, &after);
	CHECK_EQ(after.table_npages, before.table_npages);
	write_to(va + 0x12345678, 1);
	vmm_space_stats(space, &after);
	CHECK_EQ(after.resident_npages, 1);
	CHECK(after.table_npages - before.table_npages <= 3);
	CHECK_OK(vmm_unmap(space, va, GIGA_SIZE));
	vmm_space_stats(space, &after);
	CHECK_EQ(after.table_npages, before.table_npages);
	CHECK_EQ(after.resident_npages, 0);
	CHECK_EQ(after.virt_npages, 0);
	end(space);
}

TEST(vm_space_equal_neighbours_are_one_area)
{
	struct space *space = start(1);
	/* Across the border of two leaves, both of which exist. */
	vaddr_t border = BASE + HUGE_SIZE;
	map_at(space, border - 8 * PAGE_SIZE, 4, 3);
	map_at(space, border + 4 * PAGE_SIZE, 4, 3);
	write_to(border - 8 * PAGE_SIZE, 1);
	write_to(border + 4 * PAGE_SIZE, 1);
	CHECK_EQ(area_count(space), 2);
	map_at(space, border - 4 * PAGE_SIZE, 8, 3);
	CHECK_EQ(area_count(space), 1);
	struct vm_area area;
	/* Asked for in the middle it is found whole, both ways. */
	CHECK(vmm_next_area(space, border + PAGE_SIZE, &area));
	CHECK_EQ(area.start, border - 8 * PAGE_SIZE);
	CHECK_EQ(area.end, border + 8 * PAGE_SIZE);
	vm_area_done(&area);
	CHECK_OK(vmm_protect(space, border - PAGE_SIZE, 2 * PAGE_SIZE, VM_READ));
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_protect(space, border - PAGE_SIZE, 2 * PAGE_SIZE, 3));
	CHECK_EQ(area_count(space), 1);
	CHECK_EQ(read_from(border - 8 * PAGE_SIZE), 1);
	end(space);
}

/* What is said of a range splits it, stays with it when it moves and forks, and is taken
 * back. */
TEST(vm_space_what_is_said_of_a_range)
{
	static const struct {
		enum vm_advice set, unset;
		unsigned flag;
	} sayings[] = {
	    {VM_ADVICE_RANDOM, VM_ADVICE_NORMAL, VM_RANDOM},
	    {VM_ADVICE_SEQUENTIAL, VM_ADVICE_NORMAL, VM_SEQUENTIAL},
	    {VM_ADVICE_DONTDUMP, VM_ADVICE_DODUMP, VM_DONTDUMP},
	    {VM_ADVICE_DONTFORK, VM_ADVICE_DOFORK, VM_DONTFORK},
	};
	struct space *space = start(1);
	struct vm_area area;
	map_at(space, BASE, 9, 3);
	for (unsigned i = 0; i < 4; i++) {
		vaddr_t at = BASE + 4 * PAGE_SIZE;
		CHECK_OK(vmm_advise(space, at, PAGE_SIZE, sayings[i].set));
		CHECK_EQ(area_count(space), 3);
		CHECK(vmm_next_area(space, at, &area));
		CHECK_EQ(area.start, at);
		CHECK_EQ(area.flags, sayings[i].flag);
		CHECK_OK(vmm_advise(space, at, PAGE_SIZE, sayings[i].unset));
		CHECK_EQ(area_count(space), 1);
	}
	/* Of two that exclude each other the last one counts. */
	CHECK_OK(vmm_advise(space, BASE, 9 * PAGE_SIZE, VM_ADVICE_HUGE));
	CHECK_OK(vmm_advise(space, BASE, 9 * PAGE_SIZE, VM_ADVICE_NOHUGE));
	CHECK_OK(vmm_advise(space, BASE, 9 * PAGE_SIZE, VM_ADVICE_SEQUENTIAL));
	CHECK_OK(vmm_advise(space, BASE, 9 * PAGE_SIZE, VM_ADVICE_RANDOM));
	vaddr_t to;
	CHECK_OK(vmm_move(space, BASE, 9 * PAGE_SIZE, 9 * PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  2 * BASE, &to));
	struct space *child;
	CHECK_OK(vmm_space_fork(space, &child));
	CHECK(vmm_next_area(child, 0, &area));
	CHECK_EQ(area.start, 2 * BASE);
	CHECK_EQ(area.flags, VM_NOHUGE | VM_RANDOM);
	vmm_space_put(child);
	end(space);
}

TEST(vm_space_hints_and_fixed)
{
	struct space *space = start(1);
	vaddr_t va;
	map_at(space, BASE, 4, 3);
	CHECK_EQ(map(space, BASE + PAGE_SIZE, 1, 3, VM_FIXED_NOREPLACE, &va), MEM_EEXIST);
	CHECK_OK(map(space, BASE + 4 * PAGE_SIZE + 7, 1, 3, 0, &va));
	CHECK_EQ(va, BASE + 4 * PAGE_SIZE); /* a free hint, rounded down */
	CHECK_OK(map(space, BASE, 1, 3, 0, &va));
	CHECK(va > BASE + 5 * PAGE_SIZE); /* a taken one */
	CHECK_OK(map(space, 0, 1, 3, VM_BELOW_4G, &va));
	CHECK(va < (vaddr_t)1 << 31);
	CHECK_EQ(map(space, BASE + 1, 1, 3, VM_FIXED, &va), MEM_EINVAL);
	CHECK_EQ(map(space, USER_TOP, 1, 3, VM_FIXED, &va), MEM_ENOMEM);
	CHECK_EQ(map(space, 0, 0, 3, 0, &va), MEM_EINVAL);
	CHECK_EQ(map(space, 0, UINT64_MAX / PAGE_SIZE, 3, 0, &va), MEM_ENOMEM);
	CHECK_EQ(map(space, 0, 1, 8, 0, &va), MEM_EINVAL);
	CHECK_OK(map(space, USER_TOP - PAGE_SIZE, 1, 3, VM_FIXED, &va));
	write_to(va, 5);
	struct vm_map_args odd = {.bytes = PAGE_SIZE, .prot = 7, .maxprot = 5};
	CHECK_EQ(vmm_map(space, &odd, &va), MEM_EINVAL);
	end(space);
}

TEST(vm_space_limits)
{
	struct space *space = start(1);
	vaddr_t va;
	struct vmm_space_limits limits = {100, 20, UINT64_MAX, 10, 65530};
	vmm_space_set_limits(space, &limits);
	CHECK_EQ(map(space, 0, 101, 0, 0, &va), MEM_ENOMEM);
	CHECK_OK(map(space, 0, 60, 1, 0, &va));
	CHECK_EQ(map(space, 0, 41, 1, 0, &va), MEM_ENOMEM);
	CHECK_EQ(map(space, 0, 21, 3, 0, &va), MEM_ENOMEM); /* data */
	CHECK_EQ(map(space, BASE, 11, 1, VM_FIXED | VM_LOCKED, &va), MEM_EAGAIN);
	CHECK_OK(map(space, BASE, 20, 3, VM_FIXED, &va));
	CHECK_OK(map(space, BASE, 20, 1, VM_FIXED, &va)); /* in place of it */
	CHECK_OK(vmm_protect(space, BASE, 20 * PAGE_SIZE, 3));
	CHECK_EQ(vmm_advise(space, BASE, 11 * PAGE_SIZE, VM_ADVICE_LOCK), MEM_EAGAIN);
	CHECK_OK(vmm_advise(space, BASE, 10 * PAGE_SIZE, VM_ADVICE_LOCK));
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.locked_npages, 10);
	CHECK_EQ(stats.resident_npages, 10);
	CHECK_EQ(stats.data_npages, 20);
	CHECK_EQ(stats.virt_npages, 80);
	end(space);
}

static void set_area_limit(struct space *space, uint64_t most)
{
	struct vmm_space_limits limits = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, most};
	vmm_space_set_limits(space, &limits);
}

TEST(vm_space_area_limit)
{
	struct space *space = start(1);
	vaddr_t va;
	set_area_limit(space, 10);
	for (unsigned i = 0; i < 10; i++)
		CHECK_OK(map(space, BASE + 2 * i * PAGE_SIZE, 1, 3, VM_FIXED, &va));
	CHECK_OK(map(space, 0, 1, 3, 0, &va)); /* one past it, as on Linux */
	CHECK_EQ(map(space, 0, 1, 3, 0, &va), MEM_ENOMEM);
	CHECK_EQ(area_count(space), 11);
	CHECK_OK(vmm_unmap(space, va, PAGE_SIZE));
	end(space);
}

/* At the limit nothing may cut one area into more, by whatever call; what leaves the
 * count as it is, or lowers it, goes on. */
TEST(vm_space_area_limit_of_splits)
{
	struct space *space = start(1);
	vaddr_t va;
	map_at(space, BASE, 10, 3);
	map_at(space, BASE + 20 * PAGE_SIZE, 1, 1);
	set_area_limit(space, 2);
	CHECK_EQ(vmm_unmap(space, BASE + 4 * PAGE_SIZE, PAGE_SIZE), MEM_ENOMEM);
	CHECK_EQ(vmm_protect(space, BASE + 4 * PAGE_SIZE, PAGE_SIZE, 1), MEM_ENOMEM);
	CHECK_EQ(vmm_protect(space, BASE, 5 * PAGE_SIZE, 1), MEM_ENOMEM);
	CHECK_EQ(vmm_advise(space, BASE, 5 * PAGE_SIZE, VM_ADVICE_DONTFORK), MEM_ENOMEM);
	CHECK_EQ(vmm_advise(space, BASE, 5 * PAGE_SIZE, VM_ADVICE_LOCK), MEM_ENOMEM);
	CHECK_EQ(map(space, BASE + 4 * PAGE_SIZE, 1, 1, VM_FIXED, &va), MEM_ENOMEM);
	CHECK_EQ(vmm_move(space, BASE, PAGE_SIZE, PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  BASE + 100 * PAGE_SIZE, &va),
		 MEM_ENOMEM);
	CHECK_EQ(area_count(space), 2);
	CHECK_OK(vmm_protect(space, BASE, 10 * PAGE_SIZE, 1));
	CHECK_OK(vmm_protect(space, BASE, 10 * PAGE_SIZE, 3));
	CHECK_OK(vmm_unmap(space, BASE, PAGE_SIZE));
	CHECK_OK(vmm_unmap(space, BASE + 9 * PAGE_SIZE, PAGE_SIZE));
	CHECK_EQ(area_count(space), 2);
	/* Room for one: one split, not two. */
	set_area_limit(space, 3);
	CHECK_EQ(vmm_protect(space, BASE + 4 * PAGE_SIZE, PAGE_SIZE, 1), MEM_ENOMEM);
	CHECK_OK(vmm_protect(space, BASE + 4 * PAGE_SIZE, 5 * PAGE_SIZE, 1));
	CHECK_EQ(area_count(space), 3);
	/* The border moves, the count stays. */
	CHECK_OK(vmm_protect(space, BASE + 2 * PAGE_SIZE, 2 * PAGE_SIZE, 1));
	CHECK_EQ(area_count(space), 3);
	end(space);
}

/* Borders between tables: neighbours that meet there are one area, whichever comes
 * first and whatever lies in tables of its own. */
TEST(vm_space_areas_across_tables)
{
	struct space *space = start(1);
	vaddr_t va, border = BASE + HUGE_SIZE;
	map_at(space, border - 4 * PAGE_SIZE, 4, 3);
	write_to(border - PAGE_SIZE, 1); /* a leaf of its own */
	map_at(space, border, 4, 3);
	CHECK_EQ(area_count(space), 1);
	write_to(border, 2);
	CHECK_EQ(area_count(space), 1);
	CHECK_OK(vmm_unmap(space, border - PAGE_SIZE, PAGE_SIZE));
	CHECK_EQ(area_count(space), 2);
	map_at(space, border - PAGE_SIZE, 1, 1);
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_protect(space, border - PAGE_SIZE, PAGE_SIZE, 3));
	CHECK_EQ(area_count(space), 1);
	CHECK_OK(vmm_protect(space, border, PAGE_SIZE, 1));
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_move(space, border, PAGE_SIZE, PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  border + 4 * PAGE_SIZE, &va));
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_unmap(space, border - 4 * PAGE_SIZE, 4 * PAGE_SIZE));
	CHECK_EQ(area_count(space), 2);
	CHECK(vmm_space_is_valid(space));
	/* A whole table between two neighbours, filled and emptied. */
	map_at(space, border + HUGE_SIZE - PAGE_SIZE, 1, 3);
	map_at(space, border + 2 * HUGE_SIZE, 1, 3);
	CHECK_EQ(area_count(space), 4);
	map_at(space, border + HUGE_SIZE, PT_ENTRIES, 3);
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_unmap(space, border + HUGE_SIZE, HUGE_SIZE));
	CHECK_EQ(area_count(space), 4);
	end(space);
}

/* Advice that fits one kind of area is refused for the others, and changes nothing. */
TEST(vm_space_advice_by_kind)
{
	struct space *space = start(1);
	vaddr_t shared, va;
	map_at(space, BASE, 4, 3);
	CHECK_OK(map(space, 0, 4, 3, VM_SHARED, &shared));
	write_to(shared, 7);
	CHECK_EQ(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_WIPEONFORK), MEM_EINVAL);
	CHECK_EQ(vmm_advise(space, BASE, PAGE_SIZE, VM_ADVICE_REMOVE), MEM_EINVAL);
	CHECK_OK(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_LOCK));
	CHECK_EQ(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_REMOVE), MEM_EINVAL);
	CHECK_EQ(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_DONTNEED), MEM_EINVAL);
	CHECK_EQ(read_from(shared), 7);
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_DONTNEED_LOCKED));
	CHECK_OK(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_UNLOCK));
	CHECK_OK(vmm_advise(space, shared, PAGE_SIZE, VM_ADVICE_REMOVE));
	CHECK_EQ(read_from(shared), 0);
	/* Locked, but not touched; touching ahead passes it over. */
	CHECK_OK(vmm_advise(space, BASE, 2 * PAGE_SIZE, VM_ADVICE_ONFAULT));
	CHECK(!vmm_page_info(space, BASE, NULL, NULL, NULL));
	CHECK_OK(map(space, 0, 4, 3, VM_LOCKED | VM_ONFAULT, &va));
	CHECK(!vmm_page_info(space, va, NULL, NULL, NULL));
	CHECK_OK(vmm_advise(space, BASE, PAGE_SIZE, VM_ADVICE_LOCK));
	CHECK(vmm_page_info(space, BASE, NULL, NULL, NULL));
	end(space);
}

/* What is there of a range, without asking for each page. */
TEST(vm_space_pages_of_a_range)
{
	struct space *space = start(1);
	const uint64_t npages = 16ull << 28; /* 16 TiB */
	uint8_t seen[8];
	vaddr_t va, end_of = 0;
	CHECK_OK(map(space, 0, npages, 3, VM_NORESERVE, &va));
	write_to(va + 3 * PAGE_SIZE, 1);
	read_from(va + 4 * PAGE_SIZE); /* the shared zero page: there, but not its own */
	write_to(va + npages / 2 * PAGE_SIZE, 1);
	vmm_mark_pages(space, va, 8, seen);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(seen[i], i == 3 || i == 4);
	struct vmm_pages pages = {0};
	unsigned calls = 0;
	for (end_of = va; end_of < va + npages * PAGE_SIZE; calls++)
		end_of = vmm_count_pages(space, end_of, va + npages * PAGE_SIZE, &pages);
	CHECK_EQ(end_of, va + npages * PAGE_SIZE);
	CHECK_EQ(pages.resident, 2);
	CHECK(calls < 100);
	end(space);
}

/* What tells two areas apart may not be inherited. */
TEST(vm_space_areas_of_a_child)
{
	struct space *space = start(1), *child;
	map_at(space, BASE, 10, 3);
	CHECK_OK(vmm_advise(space, BASE, 2 * PAGE_SIZE, VM_ADVICE_LOCK));
	CHECK_OK(vmm_advise(space, BASE + 8 * PAGE_SIZE, 2 * PAGE_SIZE, VM_ADVICE_DONTFORK));
	CHECK_EQ(area_count(space), 3);
	CHECK_OK(vmm_space_fork(space, &child));
	CHECK_EQ(area_count(child), 1);
	CHECK(vmm_space_is_valid(child));
	vmm_space_put(child);
	end(space);
}

/* Thousands of areas in one table: arrays grow, then children take over. */
TEST(vm_space_crowd)
{
	struct space *space = start(1);
	const unsigned count = 6000;
	for (unsigned i = 0; i < count; i++) {
		unsigned at = (i * 2531) % count; /* in no order */
		map_at(space, BASE + 2 * (uint64_t)at * PAGE_SIZE, 1, at & 1 ? 1 : 3);
	}
	CHECK(vmm_space_is_valid(space));
	CHECK_EQ(area_count(space), count);
	for (unsigned i = 0; i < count; i += 97)
		write_to(BASE + 4 * (uint64_t)(i / 2) * PAGE_SIZE, i);
	for (unsigned i = 0; i < count; i += 97)
		CHECK_EQ(read_from(BASE + 4 * (uint64_t)(i / 2) * PAGE_SIZE), i);
	for (unsigned i = 0; i < count; i++) {
		unsigned at = (i * 2531) % count;
		CHECK_OK(vmm_unmap(space, BASE + 2 * (uint64_t)at * PAGE_SIZE, PAGE_SIZE));
	}
	CHECK_EQ(area_count(space), 0);
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.table_npages, 1);
	end(space);
}

TEST(vm_space_whole_user_half_as_one_promise)
{
	struct space *space = start(1);
	vaddr_t va;
	CHECK_OK(
	    map(space, 0x10000, (USER_TOP - 0x10000) / PAGE_SIZE, 3, VM_FIXED | VM_NORESERVE, &va));
	CHECK_EQ(map(space, 0, 1, 3, 0, &va), MEM_ENOMEM);
	for (unsigned i = 0; i < 47; i++)
		if (((vaddr_t)1 << i) >= 0x10000)
			write_to((vaddr_t)1 << i, i);
	CHECK(vmm_space_is_valid(space));
	CHECK_EQ(area_count(space), 1);
	CHECK_OK(vmm_protect(space, 0x10000, USER_TOP - 0x10000, VM_READ));
	for (unsigned i = 16; i < 47; i++)
		CHECK_EQ(read_from((vaddr_t)1 << i), i);
	CHECK_OK(vmm_unmap(space, 0x10000, USER_TOP - 0x10000));
	end(space);
}

TEST(vm_space_fork_copies_on_write)
{
	struct space *space = start(2), *child;
	map_at(space, BASE, 4, 3);
	map_at(space, BASE + 8 * PAGE_SIZE, 1, 3);
	vaddr_t shared;
	CHECK_OK(map(space, BASE + 16 * PAGE_SIZE, 2, 3, VM_FIXED | VM_SHARED, &shared));
	CHECK_OK(vmm_advise(space, BASE + 8 * PAGE_SIZE, PAGE_SIZE, VM_ADVICE_WIPEONFORK));
	CHECK_OK(vmm_advise(space, BASE + 3 * PAGE_SIZE, PAGE_SIZE, VM_ADVICE_DONTFORK));
	for (unsigned i = 0; i < 4; i++)
		write_to(BASE + i * PAGE_SIZE, 10 + i);
	write_to(BASE + 8 * PAGE_SIZE, 20);
	write_to(shared, 30);
	CHECK_OK(vmm_space_fork(space, &child));
	CHECK(vmm_is_valid(machine_vmm));
	write_to(BASE, 11);
	write_to(shared, 31);
	machine_set_space(child);
	CHECK_EQ(read_from(BASE), 10);
	CHECK_EQ(read_from(BASE + PAGE_SIZE), 11);
	write_to(BASE + PAGE_SIZE, 99);
	CHECK_EQ(read_from(BASE + 8 * PAGE_SIZE), 0); /* wiped */
	uint64_t value;
	CHECK(!machine_access(BASE + 3 * PAGE_SIZE, MACHINE_READ, &value).ok); /* not forked */
	CHECK_EQ(read_from(shared), 31);
	write_to(shared + PAGE_SIZE, 32);
	machine_set_space(space);
	CHECK_EQ(read_from(BASE), 11);
	CHECK_EQ(read_from(BASE + PAGE_SIZE), 11);
	CHECK_EQ(read_from(BASE + 8 * PAGE_SIZE), 20);
	CHECK_EQ(read_from(shared + PAGE_SIZE), 32);
	CHECK(vmm_is_valid(machine_vmm));
	vmm_space_put(child);
	/* Alone again: the next write reuses the frame in place. */
	paddr_t was, now;
	CHECK(vmm_page_info(space, BASE + 2 * PAGE_SIZE, &was, NULL, NULL));
	write_to(BASE + 2 * PAGE_SIZE, 40);
	CHECK(vmm_page_info(space, BASE + 2 * PAGE_SIZE, &now, NULL, NULL));
	CHECK_EQ(was, now);
	end(space);
}

TEST(vm_space_pinned_pages_are_copied_by_fork)
{
	struct space *space = start(1), *child;
	paddr_t pinned, now;
	map_at(space, BASE, 2, 3);
	write_to(BASE, 1);
	CHECK_OK(vmm_pin(space, BASE + 8, true, &pinned));
	CHECK_OK(vmm_space_fork(space, &child));
	/* The kernel's write to the pinned frame is the parent's alone. */
	*(uint64_t *)paddr_to_ptr(pinned) = 2;
	CHECK_EQ(read_from(BASE), 2);
	write_to(BASE, 3);
	CHECK(vmm_page_info(space, BASE, &now, NULL, NULL));
	CHECK_EQ(now, pinned);
	machine_set_space(child);
	CHECK_EQ(read_from(BASE), 1);
	machine_set_space(space);
	vmm_unpin(machine_vmm, pinned);
	vmm_space_put(child);
	/* A pin outlives the mapping. */
	CHECK_OK(vmm_pin(space, BASE, false, &pinned));
	CHECK_OK(vmm_unmap(space, BASE, PAGE_SIZE));
	CHECK_EQ(*(uint64_t *)paddr_to_ptr(pinned), 3);
	vmm_unpin(machine_vmm, pinned);
	end(space);
}

TEST(vm_space_futex_keys)
{
	struct space *space = start(1), *child;
	uint64_t a[2], b[2];
	vaddr_t shared, again;
	map_at(space, BASE, 2, 3);
	CHECK_OK(map(space, 0, 4, 3, VM_SHARED, &shared));
	CHECK_OK(vmm_space_fork(space, &child));
	CHECK_OK(vmm_futex_key(space, BASE + 4, false, a));
	CHECK_OK(vmm_futex_key(child, BASE + 4, false, b));
	CHECK(a[0] != b[0]);
	CHECK_OK(vmm_futex_key(space, BASE + 4, true, b));
	CHECK(a[0] == b[0] && a[1] == b[1]);
	/* The same word of one object, at another address. */
	CHECK_OK(vmm_move(child, shared, 4 * PAGE_SIZE, 4 * PAGE_SIZE, VM_MOVE_FIXED | VM_MOVE_MAY,
			  BASE + 100 * PAGE_SIZE, &again));
	CHECK_OK(vmm_futex_key(space, shared + PAGE_SIZE + 8, false, a));
	CHECK_OK(vmm_futex_key(child, again + PAGE_SIZE + 8, false, b));
	CHECK(a[0] == b[0] && a[1] == b[1]);
	CHECK_OK(vmm_futex_key(child, again + PAGE_SIZE + 12, false, b));
	CHECK(a[1] != b[1]);
	CHECK_EQ(vmm_futex_key(space, 0x5000, false, a), MEM_EFAULT);
	CHECK_EQ(vmm_futex_key(space, KERNEL_BASE, true, a), MEM_EFAULT);
	vmm_space_put(child);
	end(space);
}

TEST(vm_space_move)
{
	struct space *space = start(1);
	vaddr_t va;
	map_at(space, BASE, 4, 3);
	for (unsigned i = 0; i < 4; i++)
		write_to(BASE + i * PAGE_SIZE, 1 + i);
	/* In place, then against a neighbour. */
	CHECK_OK(vmm_move(space, BASE, 4 * PAGE_SIZE, 8 * PAGE_SIZE, 0, 0, &va));
	CHECK_EQ(va, BASE);
	map_at(space, BASE + 8 * PAGE_SIZE, 1, 1);
	CHECK_EQ(vmm_move(space, BASE, 8 * PAGE_SIZE, 9 * PAGE_SIZE, 0, 0, &va), MEM_ENOMEM);
	CHECK_OK(vmm_move(space, BASE, 8 * PAGE_SIZE, 600 * PAGE_SIZE, VM_MOVE_MAY, 0, &va));
	CHECK(va != BASE);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(read_from(va + i * PAGE_SIZE), 1 + i);
	CHECK_EQ(read_from(va + 599 * PAGE_SIZE), 0);
	CHECK_EQ(vmm_move(space, BASE, PAGE_SIZE, PAGE_SIZE, 0, 0, &va), MEM_EFAULT);
	CHECK_EQ(vmm_move(space, va, PAGE_SIZE, 0, 0, 0, &va), MEM_EINVAL);
	CHECK_OK(vmm_move(space, va, 600 * PAGE_SIZE, 2 * PAGE_SIZE, 0, 0, &va));
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	CHECK_EQ(stats.virt_npages, 3);
	CHECK_EQ(stats.resident_npages, 2);
	CHECK_EQ(vmm_move(space, va, 2 * PAGE_SIZE, 2 * PAGE_SIZE, VM_MOVE_MAY | VM_MOVE_FIXED,
			  va + PAGE_SIZE, &va),
		 MEM_EINVAL);
	end(space);
}

TEST(vm_space_access_from_outside)
{
	struct space *space = start(1);
	uint64_t done, words[3 * 512], value = 7;
	map_at(space, BASE, 2, 3);
	map_at(space, BASE + 2 * PAGE_SIZE, 1, 1);
	for (unsigned i = 0; i < 3 * 512; i++)
		words[i] = i;
	CHECK_EQ(vmm_access(space, BASE, words, sizeof(words), true, false, &done), MEM_EFAULT);
	CHECK_EQ(done, 2 * PAGE_SIZE);
	CHECK_OK(vmm_access(space, BASE, words, sizeof(words), true, true, &done));
	CHECK_EQ(done, sizeof(words));
	CHECK_EQ(read_from(BASE + 2 * PAGE_SIZE + 8), 1025);
	CHECK(!machine_access(BASE + 2 * PAGE_SIZE, MACHINE_WRITE, &value).ok);
	CHECK_EQ(vmm_access(space, BASE + 3 * PAGE_SIZE - 4, words, 8, false, true, &done),
		 MEM_EFAULT);
	CHECK_EQ(done, 4);
	CHECK_EQ(vmm_access(space, UINT64_MAX - 3, words, 8, false, true, &done), MEM_EFAULT);
	CHECK_EQ(done, 0);
	end(space);
}

/* By force a program's own copy is written, never what others share and it may only read. */
TEST(vm_space_access_by_force_spares_shared_pages)
{
	struct space *space = start(1);
	uint64_t done, word = 7;
	struct vm_map_args args = {.hint = BASE,
				   .bytes = 2 * PAGE_SIZE,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = VM_READ | VM_WRITE,
				   .flags = VM_SHARED | VM_FIXED};
	vaddr_t va;
	CHECK_OK(vmm_map(space, &args, &va));
	CHECK_OK(vmm_access(space, BASE, &word, 8, true, true, &done));
	CHECK_OK(vmm_protect(space, BASE, 2 * PAGE_SIZE, VM_READ));
	word = 8;
	for (unsigned page = 0; page < 2; page++) { /* one that is there, one that is not */
		vaddr_t at = BASE + page * PAGE_SIZE;
		CHECK_EQ(vmm_access(space, at, &word, 8, true, true, &done), MEM_EFAULT);
		CHECK_EQ(done, 0);
		CHECK_EQ(read_from(at), page ? 0 : 7);
	}
	CHECK_OK(vmm_protect(space, BASE, PAGE_SIZE, VM_NONE));
	CHECK_OK(
	    vmm_access(space, BASE, &word, 8, false, true, &done)); /* to read, prot is ignored */
	CHECK_EQ(word, 7);
	end(space);
}
