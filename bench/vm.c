/* SPDX-License-Identifier: MIT */
/*
 * What the memory operations that programs do cost: the guest's program `cost`.
 *
 *     ./run --icount -- cost                   all rows, this kernel
 *     ./run --icount --kernel linux -- cost    the same on Linux
 *     ./run --icount -- cost fork_1m sigsegv   these rows
 *     make bench-vm                            both, and the ratios (docs/PERFORMANCE.md)
 *
 * Under --icount the time-stamp counter counts instructions, user's and kernel's, so
 * that the numbers repeat to a fraction of a percent; without it only ratios mean
 * anything.
 *
 * A row has a unit, named in the table at the end: one call, one page, one trip. A
 * round makes ready, calls begin(), does its units, calls end(), and may do that
 * several times. What two rdtsc with nothing between them take is measured first (the
 * row `null`) and taken off at each end(); the loop around the units, some instructions
 * each, is not. A row is the median of ROUNDS rounds after one that warms up. Before
 * each row memory is touched and given back, so that no frame waits that was zeroed
 * while nobody looked.
 *
 * Ranges begin at a multiple of 2 MiB, so that as many page tables belong to them each
 * time. `cost --list` prints name, goal and title of each row for tools/bench_vm.py.
 */
#define _GNU_SOURCE
#include "vm.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#define ROUNDS 5

void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- measuring ----------------------------------------------------------------- */

/* Shared with children: some rows are measured in one. */
static struct {
	uint64_t begun, took, units;
} * sample;
static uint64_t null; /* begin() and end() with nothing between */

/* Not inline: tools/vm_profile.py counts, from the newest round on, what runs between. */
void round_begins(void);

static uint64_t now(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

__attribute__((noinline)) void round_begins(void)
{
	sample->took = sample->units = 0;
}

__attribute__((noinline)) void begin(void)
{
	sample->begun = now();
}

__attribute__((noinline)) void end(uint64_t units)
{
	sample->took += now() - sample->begun - null;
	sample->units += units;
}

static void run_null(const struct row *row)
{
	(void)row;
	begin();
	end(1);
}

/* ---- the table ------------------------------------------------------------------- */

#define FILE_ROWS(name, goal, title, how)                                                          \
	{name "_64k", goal, title ", 64 KiB", run_file, 64 * KIB, how},                            \
	    {name "_1m", goal, title ", 1 MiB", run_file, MIB, how},                               \
	{                                                                                          \
		name "_4m", goal, title ", 4 MiB", run_file, 4 * MIB, how                          \
	}

static const struct row rows[] = {
    {"getpid", 100, "getpid", run_getpid, 0, 0},
    {"touch", 700, "first touch, per page (MADV_NOHUGEPAGE)", run_touch, 0, MAP_PRIVATE | NO_HUGE},
    {"touch_default", 560, "first touch in order, per page", run_touch, 0, MAP_PRIVATE},
    {"populate", 620, "mmap with MAP_POPULATE, per page", run_populate, 0, 0},
    {"refault", 700, "touch after MADV_DONTNEED, per page", run_refault, 0, 0},
    {"dontneed", 120, "MADV_DONTNEED, per touched page", run_dontneed, 0, 0},
    {"munmap", 120, "munmap, per touched page", run_unmap, 0, 0},
    {"zero_read", 230, "read of the zero page, per page", run_zero_read, 0, 0},
    {"zero_write", 850, "write after that read, per page", run_zero_write, 0, 0},
    {"touch_shared", 900, "first touch of shared memory, per page", run_touch, 0, MAP_SHARED},
    {"mmap_munmap", 1500, "mmap and munmap of a page", run_map_unmap, 0, 0},
    {"mmap_munmap_1000", 1500, "the same beside 1,000 areas", run_map_unmap_many, 0, 0},
    {"mmap_touch_page", 3500, "mmap, touch, munmap: one page", run_map_touch_unmap, PAGE, 0},
    {"mmap_touch_1m", 180000, "mmap, touch, munmap: 1 MiB", run_map_touch_unmap, MIB, 0},
    {"mprotect", 1000, "mprotect inside 1 MiB, untouched", run_mprotect, 0, 0},
    {"mprotect_touched", 1300, "mprotect inside 1 MiB, touched", run_mprotect, 0, 1},
    {"mremap_grow", 1500, "mremap, 64 KiB grow in place", run_mremap_grow, 0, 0},
    {"mremap_64k", 3000, "mremap, 64 KiB move", run_mremap_move, 64 * KIB, 0},
    {"mremap_1m", 6000, "mremap, 1 MiB moves", run_mremap_move, MIB, 0},
    {"brk", 14000, "brk up by 64 KiB, touch, down", run_brk, 0, 0},
    {"stack", 700, "stack growth, per page", run_stack, 0, 0},
    {"cow_child", 1200, "copy-on-write in the child, per page", run_cow_child, 0, 0},
    {"cow_reuse", 250, "write in the parent afterwards, per page", run_cow_reuse, 0, 0},
    {"fork", 25000, "fork, exit, wait: small", run_fork, 0, 0},
    {"fork_1m", 35000, "fork, exit, wait: 1 MiB resident", run_fork, MIB, 0},
    {"fork_64m", 100000, "fork, exit, wait: 64 MiB resident", run_fork, 64 * MIB, 0},
    {"fork_exec", 75000, "fork, exec, wait", run_fork_exec, 0, 0},
    {"vfork_exec", 45000, "vfork, exec, wait", run_vfork_exec, 0, 0},
    {"spawn", 65000, "posix_spawn, wait", run_spawn, 0, 0},
    {"pipe", 2500, "pipe ping-pong, there and back", run_pipe, 0, 0},
    {"threads", 2500, "futex ping-pong of threads, the same", run_threads, 0, 0},
    FILE_ROWS("private_read", 100, "file, private read", PRIVATE_READ),
    FILE_ROWS("private_write", 1100, "file, private write", PRIVATE_WRITE),
    FILE_ROWS("shared_read", 100, "file, shared read", SHARED_READ),
    FILE_ROWS("shared_write", 300, "file, shared write", SHARED_WRITE),
    {"sigsegv", 2200, "SIGSEGV handler that mprotects and returns", run_sigsegv, 0, 0},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void drain_zeroed(void)
{
	unmap(touched(16 * MIB), 16 * MIB);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t measure(const struct row *row)
{
	uint64_t cost[ROUNDS];
	drain_zeroed();
	for (unsigned i = 0; i <= ROUNDS; i++) {
		round_begins();
		row->run(row);
		if (i)
			cost[i - 1] = (sample->took + sample->units / 2) / sample->units;
	}
	qsort(cost, ROUNDS, sizeof(cost[0]), compare);
	return cost[ROUNDS / 2];
}

static void write_file(const char *path, const void *bytes, size_t count, mode_t mode)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, mode);
	if (fd < 0 || write(fd, bytes, count) != (ssize_t)count || close(fd))
		die(path);
}

/* The file of the file rows; and a static program of three instructions: _exit(0). */
static void make_files(void)
{
	static const uint8_t code[] = {0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05};
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		uint8_t code[sizeof(code)];
	} tiny = {
	    .header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				   EV_CURRENT},
		       .e_type = ET_EXEC,
		       .e_machine = EM_X86_64,
		       .e_version = EV_CURRENT,
		       .e_entry = 0x400000 + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
		       .e_phoff = sizeof(Elf64_Ehdr),
		       .e_ehsize = sizeof(Elf64_Ehdr),
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_phnum = 1},
	    .segment = {.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_vaddr = 0x400000,
			.p_filesz = sizeof(tiny),
			.p_memsz = sizeof(tiny),
			.p_align = PAGE},
	};
	memcpy(tiny.code, code, sizeof(code));
	write_file(TINY_PATH, &tiny, sizeof(tiny), 0700);
	char *bytes = map(4 * MIB);
	memset(bytes, 1, 4 * MIB);
	write_file(FILE_PATH, bytes, 4 * MIB, 0600);
	unmap(bytes, 4 * MIB);
}

static const struct row *find(const char *name)
{
	for (size_t i = 0; i < ROWS; i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	fprintf(stderr, "cost: there is no row %s (see cost --list)\n", name);
	exit(2);
}

static void show(const struct row *row)
{
	printf("%-18s %9llu  %s\n", row->name, (unsigned long long)measure(row), row->title);
}

/* Where memory lies decides how many tables it needs: the same each time, for this program.
 * Those that the rows execute lie where the kernel likes. */
static void fix_addresses(char **argv)
{
	int now = personality(0xffffffff);
	if (now == -1)
		die("personality");
	if (!(now & ADDR_NO_RANDOMIZE)) {
		personality((unsigned long)now | ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
		die("/proc/self/exe");
	}
	personality((unsigned long)now & ~(unsigned long)ADDR_NO_RANDOMIZE);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; i < ROWS; i++)
			printf("%s\t%u\t%s\n", rows[i].name, rows[i].goal, rows[i].title);
		return 0;
	}
	fix_addresses(argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	sample = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sample == MAP_FAILED)
		die("mmap");
	make_files();
	null = measure(&(struct row){.name = "null", .run = run_null});
	for (int i = 1; i < argc; i++)
		show(find(argv[i]));
	for (size_t i = 0; i < ROWS && argc == 1; i++)
		show(&rows[i]);
	unlink(FILE_PATH);
	unlink(TINY_PATH);
	return 0;
}
