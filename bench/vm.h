/* SPDX-License-Identifier: MIT */
#ifndef BENCH_VM_H
#define BENCH_VM_H
/* Between the files of the program `cost` (vm.c). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE  4096ul
#define PAGES 512ul /* of a row that counts pages */
#define CALLS 100ul /* of a row that counts cheap calls */
#define TIMES 8ul   /* of a row that counts dear ones */
#define KIB   1024ul
#define MIB   (1024ul * KIB)
#define HUGE  (2 * MIB)

#define FILE_PATH "/tmp/cost.file" /* 4 MiB in memory */
#define TINY_PATH "/tmp/cost.tiny" /* a static program of three instructions */

struct row {
	const char *name;
	unsigned goal; /* instructions a unit */
	const char *title;
	void (*run)(const struct row *row);
	size_t bytes;
	int how;
};

/* row->how of run_touch: MAP_SHARED or MAP_PRIVATE, and this; of run_file. */
#define NO_HUGE (1 << 30)
enum { PRIVATE_READ, PRIVATE_WRITE, SHARED_READ, SHARED_WRITE };

/* Around the units of a row. */
void begin(void);
void end(uint64_t units);

/* Each ends the program where it fails. */
void die(const char *what);
char *map_at(void *at, size_t bytes, int flags);
char *map(size_t bytes);
void unmap(void *p, size_t bytes);
void touch(char *p, size_t npages);
void look(const char *p, size_t npages);
/* A free place of so many bytes from a multiple of 2 MiB. */
char *place(size_t bytes);
/* Memory at such a place, and all of it touched. Each row unmaps what it maps. */
char *range(size_t bytes);
char *touched(size_t bytes);

void run_getpid(const struct row *row);
void run_touch(const struct row *row);
void run_populate(const struct row *row);
void run_dontneed(const struct row *row);
void run_refault(const struct row *row);
void run_unmap(const struct row *row);
void run_zero_read(const struct row *row);
void run_zero_write(const struct row *row);
void run_file(const struct row *row);
void run_map_unmap(const struct row *row);
void run_map_unmap_many(const struct row *row);
void run_map_touch_unmap(const struct row *row);
void run_mprotect(const struct row *row);
void run_mremap_grow(const struct row *row);
void run_mremap_move(const struct row *row);
void run_brk(const struct row *row);
void run_sigsegv(const struct row *row);
void run_stack(const struct row *row);
void run_cow_child(const struct row *row);
void run_cow_reuse(const struct row *row);
void run_fork(const struct row *row);
void run_fork_exec(const struct row *row);
void run_vfork_exec(const struct row *row);
void run_spawn(const struct row *row);
void run_pipe(const struct row *row);
void run_threads(const struct row *row);
#endif
