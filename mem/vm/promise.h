/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_PROMISE_H
#define MEM_VM_PROMISE_H
/*
 * A promise: what a page will be when it is touched. Two words:
 *
 *   bits      63    50 49    40 39 36 35   28 27  26 25         6 5     3 2    0
 *            +--------+--------+-----+-------+---+---+-----------+-------+------+
 *            |   0    |   0    |  0  | name  | 0 | C |   flags   |maxprot| prot |
 *            +--------+--------+-----+-------+---+---+-----------+-------+------+
 *   backing  the object the pages come from, and where in it; NULL: none
 *
 * The flags are those of enum vm_flags that stay with a mapping, shifted. What the bits that
 * are 0 in every promise are kept for stands in docs/decisions/promise-layout.md, which also
 * says who owns the software bits of leaf entries.
 *
 * Two promises are interchangeable if they are equal (promise_equal): a space has one
 * backing per (object, delta), so equal backings are one pointer. Merging runs is
 * therefore one comparison.
 *
 * A backing says which object the pages come from, and by how much page
 * numbers differ: object page = virtual page + delta. It is immutable and does
 * not know a range: splitting a mapping copies nothing. It belongs to one space.
 * References: one per run. All backings that a space has of one object hang on a
 * mapper, which is the way back from the object to who maps it (object_maps.c).
 */
#include <mem/types.h>
#include <mem/vmm.h>

#include "base/atomic.h"
#include "base/util.h"

typedef struct promise {
	uint64_t bits;
	struct backing *backing;
} promise_t;

#define PROMISE_PROT        ((uint64_t)7)
#define PROMISE_MAX_SHIFT   3
#define PROMISE_MAXPROT     ((uint64_t)7 << PROMISE_MAX_SHIFT)
#define PROMISE_FLAGS_SHIFT 6
#define PROMISE_FLAG(vm)    ((uint64_t)(vm) << PROMISE_FLAGS_SHIFT)
#define PROMISE_SHARED      PROMISE_FLAG(VM_SHARED)
#define PROMISE_GROWSDOWN   PROMISE_FLAG(VM_GROWSDOWN)
#define PROMISE_LOCKED      PROMISE_FLAG(VM_LOCKED)
#define PROMISE_NORESERVE   PROMISE_FLAG(VM_NORESERVE)
#define PROMISE_DONTFORK    PROMISE_FLAG(VM_DONTFORK)
#define PROMISE_WIPE        PROMISE_FLAG(VM_WIPEONFORK)
#define PROMISE_ONFAULT     PROMISE_FLAG(VM_ONFAULT) /* only together with PROMISE_LOCKED */
#define PROMISE_RANDOM      PROMISE_FLAG(VM_RANDOM)
#define PROMISE_SEQUENTIAL  PROMISE_FLAG(VM_SEQUENTIAL)
#define PROMISE_HUGE        PROMISE_FLAG(VM_HUGE)
#define PROMISE_NOHUGE      PROMISE_FLAG(VM_NOHUGE)
#define PROMISE_DONTDUMP    PROMISE_FLAG(VM_DONTDUMP)
/* Its pages are charged against the commit limit. Stays when the promise loses
 * VM_WRITE, since what was written stays too. */
#define PROMISE_CHARGED    ((uint64_t)1 << 26)
#define PROMISE_NAME_SHIFT 28
#define PROMISE_NAME       ((uint64_t)255 << PROMISE_NAME_SHIFT)
/* The flags that stay with a mapping. */
#define VM_KEPT_FLAGS                                                                              \
	((unsigned)(VM_SHARED | VM_GROWSDOWN | VM_LOCKED | VM_NORESERVE | VM_DONTFORK |            \
		    VM_WIPEONFORK | VM_ONFAULT | VM_RANDOM | VM_SEQUENTIAL | VM_HUGE | VM_NOHUGE | \
		    VM_DONTDUMP))

struct mapper;

struct backing {
	uint64_t refs;            /* one per run that names it, one per temporary user; atomic */
	int64_t delta;            /* object page = virtual page + delta; constant */
	struct vm_object *object; /* holds a reference; constant */
	struct mapper *mapper;    /* of the space whose promises name it; constant */
	struct list link;         /* mapper->backings, under the space's maps lock */
	struct backing *dead;     /* refs 0: the gather's list */
	bool let_go;              /* a change let go of it and was not the last; atomic */
	/* While its space forks (exclusive space lock): the child's, and the list. */
	struct backing *twin, *fork_next;
	bool forking;
};

static inline bool promise_equal(promise_t a, promise_t b)
{
	return !((a.bits ^ b.bits) | ((uintptr_t)a.backing ^ (uintptr_t)b.backing));
}

static inline unsigned promise_flags(promise_t p)
{
	return (unsigned)(p.bits >> PROMISE_FLAGS_SHIFT) & VM_KEPT_FLAGS;
}

static inline unsigned promise_prot(promise_t p)
{
	return p.bits & PROMISE_PROT;
}

static inline unsigned promise_maxprot(promise_t p)
{
	return (p.bits & PROMISE_MAXPROT) >> PROMISE_MAX_SHIFT;
}

/* Private anonymous memory? */
static inline bool promise_is_anonymous(promise_t p)
{
	return !p.backing && !(p.bits & PROMISE_SHARED);
}

/* Does a promise of these bits have to be charged against the commit limit? */
static inline bool promise_wants_charge(promise_t p)
{
	return (p.bits & (VM_WRITE | PROMISE_SHARED | PROMISE_NORESERVE)) == VM_WRITE;
}
#endif
