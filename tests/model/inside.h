/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_INSIDE_H
#define TESTS_MODEL_INSIDE_H
/* What the files of the oracle share. */
#include "tests/model/model.h"

/* Flags of an area that the array remembers. */
#define MODEL_FLAGS                                                                                \
	(VM_SHARED | VM_GROWSDOWN | VM_LOCKED | VM_NORESERVE | VM_DONTFORK | VM_WIPEONFORK |       \
	 VM_RANDOM | VM_SEQUENTIAL | VM_HUGE | VM_NOHUGE | VM_DONTDUMP)

/* Linux's numbers, as mem/ gives them. */
#define SIGBUS  7
#define SIGKILL 9
#define SIGSEGV 11

enum verdict { VERDICT_OK, VERDICT_UNMAPPED, VERDICT_FORBIDDEN, VERDICT_BEYOND };

vaddr_t cell_end(unsigned c);
uint64_t cells_bytes(unsigned from, unsigned to);
bool range_has_gap(unsigned from, unsigned to);
unsigned cell_at(vaddr_t va);
bool cells_continue(const struct model_space *ms, unsigned c);
uint64_t object_npages(int o);
void collect_objects(void);
int free_object_slot(void);
uint64_t expected_word(const struct page *p, unsigned word);
/* Cell c is not mapped: would a touch grow a stack down to it? *above: the cell
 * where the stack begins now. GROWTH_UNKNOWN: through a gap between zones. */
enum growth { GROWTH_NONE, GROWTH_REFUSED, GROWTH_DONE, GROWTH_UNKNOWN };
enum growth stack_growth(const struct model_space *ms, unsigned c, unsigned *above);
enum verdict verdict(const struct page *p, enum machine_access access);

/* Compare a status with what it should be. A refusal is an answer while
 * failures are injected. True: it was done. */
bool model_expect(const char *what, mem_status got, mem_status want);

#endif
