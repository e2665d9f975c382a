/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_PROMISE_H
#define MEM_VM_PROMISE_H
/*
 * A promise: eight bytes that say what a page will be when it is touched.
 *
 *   63                              20 19  16 15   14 13      6 5     3 2    0
 *  +----------------------------------+------+-------+---------+-------+------+
 *  | backing >> 4, sign-extended      | name | spare |  flags  |maxprot| prot |
 *  +----------------------------------+------+-------+---------+-------+------+
 *
 * Two promises are interchangeable if they are equal as numbers: a space has
 * one backing per (object, delta), so equal backings are one pointer. Merging
 * runs is therefore one comparison.
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

typedef uint64_t promise_t;

#define PROMISE_PROT      ((promise_t)7)
#define PROMISE_MAX_SHIFT 3
#define PROMISE_MAXPROT   ((promise_t)7 << PROMISE_MAX_SHIFT)
#define PROMISE_SHARED    ((promise_t)1 << 6)
#define PROMISE_GROWSDOWN ((promise_t)1 << 7)
#define PROMISE_LOCKED    ((promise_t)1 << 8)
#define PROMISE_NORESERVE ((promise_t)1 << 9)
#define PROMISE_DONTFORK  ((promise_t)1 << 10)
#define PROMISE_WIPE      ((promise_t)1 << 11)
/* Its pages are charged against the commit limit. Stays when the promise loses
 * VM_WRITE, since what was written stays too. */
#define PROMISE_CHARGED ((promise_t)1 << 12)
/* With PROMISE_LOCKED: touching ahead passes it over. */
#define PROMISE_ONFAULT       ((promise_t)1 << 13)
#define PROMISE_NAME_SHIFT    16
#define PROMISE_NAME          ((promise_t)15 << PROMISE_NAME_SHIFT)
#define PROMISE_BACKING_SHIFT 20
#define PROMISE_BITS          (((promise_t)1 << PROMISE_BACKING_SHIFT) - 1)

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
} __attribute__((aligned(16)));

static inline struct backing *promise_backing(promise_t p)
{
	return (struct backing *)(uintptr_t)((uint64_t)((int64_t)p >> PROMISE_BACKING_SHIFT) << 4);
}

static inline promise_t promise_with_backing(promise_t p, const struct backing *b)
{
	return (p & PROMISE_BITS) | ((uint64_t)(uintptr_t)b >> 4) << PROMISE_BACKING_SHIFT;
}

static inline unsigned promise_prot(promise_t p)
{
	return p & PROMISE_PROT;
}

static inline unsigned promise_maxprot(promise_t p)
{
	return (p & PROMISE_MAXPROT) >> PROMISE_MAX_SHIFT;
}

/* Private anonymous memory? */
static inline bool promise_is_anonymous(promise_t p)
{
	return !promise_backing(p) && !(p & PROMISE_SHARED);
}

/* Does a promise of these bits have to be charged against the commit limit? */
static inline bool promise_wants_charge(promise_t p)
{
	return (p & (VM_WRITE | PROMISE_SHARED | PROMISE_NORESERVE)) == VM_WRITE;
}
#endif
