/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H
/*
 * The oracle: what user memory should be, remembered in the plainest way.
 *
 * The user half is divided into CELLS cells. Most are one page, in four zones
 * laid across the borders where page tables meet (2 MiB, 1 GiB, 512 GiB, and one
 * zone longer than a whole leaf table); the huge stretches between the zones are
 * one cell each. Every operation works on whole cells, so that an array with one
 * entry per cell says everything, reservations of terabytes included.
 *
 * Each model_* operation does the real thing, decides what should have come of
 * it, compares, and changes the array. A difference ends the run with the last
 * operations and the seed.
 */
#include <mem/vmm.h>

#include "tests/machine/boot.h"

#define ZONES          4
#define ZONE_PAGES     48
#define LONG_PAGES     700
#define CELLS          (3 * ZONE_PAGES + LONG_PAGES + ZONES + 1)
#define MODEL_SPACES   4
#define MODEL_OBJECTS  24
#define MODEL_FILES    4 /* of the objects: the first ones, made by the test */
#define OBJECT_PAGES   96
#define MODEL_MOVE_MAX 128
#define STACK_LIMIT    300 /* pages */
#define GUARD_GAP      256 /* pages below a stack that stay free */

struct cell {
	vaddr_t va;
	uint64_t npages;
	vaddr_t touch; /* the page that stands for the cell */
};

/* What one cell of one space should be. */
struct page {
	bool mapped;
	bool own;     /* private, and written: `token` is its content */
	bool charged; /* counted against the commit limit */
	uint8_t prot, maxprot;
	uint16_t flags; /* VM_SHARED, GROWSDOWN, LOCKED, NORESERVE, DONTFORK, WIPEONFORK */
	int16_t object; /* in model.object, or -1 */
	uint64_t opage; /* object page of `touch` */
	uint64_t token[2];
};

struct model_space {
	struct space *space; /* NULL: the slot is free */
	struct page page[CELLS];
};

struct model_object {
	struct vm_object *vm; /* the test's reference, or NULL */
	bool used;
	bool busy; /* about to be mapped: not to be collected */
	uint64_t bytes;
	uint64_t token[OBJECT_PAGES][2];
};

extern struct model {
	struct cell cell[CELLS];
	struct model_space space[MODEL_SPACES];
	struct model_object object[MODEL_OBJECTS];
	uint64_t operations, touches, checks;
	uint64_t next_token;
	bool may_fail; /* injected failures: MEM_ENOMEM is an answer, and changes nothing */
	bool many_backings;
	uint64_t refused;             /* how many were */
	uint64_t free_frames;         /* when it began */
	unsigned last_space, fashion; /* of model_step: which space and cells are used most */
} model;

MEM_NORETURN void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Remember an operation for the report. */
void model_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Begin on a booted machine; end, and compare the free frames (I7). */
void model_begin(void);
void model_end(void);

/* Everything of one space against the array: areas, totals, contents; and its
 * invariants. */
void model_check_space(unsigned s);
void model_check_all(void);

/* ---- operations: cells [from, to) of space s -------------------------------------- */

void model_create(unsigned s);
void model_destroy(unsigned s);
bool model_fork(unsigned s, unsigned child);
void model_clear(unsigned s);

struct model_map {
	unsigned from, to;
	unsigned prot, maxprot, flags;
	int object; /* -1: anonymous */
	uint64_t opage;
};
mem_status model_map(unsigned s, const struct model_map *m);
void model_map_anywhere(unsigned s, const struct model_map *m);
mem_status model_unmap(unsigned s, unsigned from, unsigned to);
mem_status model_protect(unsigned s, unsigned from, unsigned to, unsigned prot);
mem_status model_advise(unsigned s, unsigned from, unsigned to, enum vm_advice advice);
/* mremap of [from, to) to the cells at `at`, `count` of them. */
mem_status model_move(unsigned s, unsigned from, unsigned to, unsigned at, unsigned count,
		      unsigned flags);
/* One access to word 0 or 1 (the first, the last) of a cell's page. */
void model_touch(unsigned s, unsigned c, enum machine_access access, unsigned word);
/* As a debugger would (vmm_access). */
void model_kernel_touch(unsigned s, unsigned c, bool write, bool force, unsigned word);

/* Pin a page, fork under the pin, and use the frame as a device would: it stays the
 * parent's, and the child has a copy. */
void model_pin_and_fork(unsigned s, unsigned c, unsigned child, bool write);

void model_make_file(unsigned o, uint64_t bytes);
void model_drop_file(unsigned o);
mem_status model_resize(unsigned o, uint64_t bytes);
mem_status model_punch(unsigned o, uint64_t first, uint64_t npages);
void model_file_write(unsigned o, uint64_t page, unsigned word);
void model_file_read(unsigned o, uint64_t page, unsigned word);

/* One operation by chance (test_random). */
void model_step(void);
/* A cell of a zone, by chance. */
unsigned model_random_cell(void);
bool model_is_gap(unsigned c);

#endif
