/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_AREAS_H
#define MEM_VM_AREAS_H
/* Counting areas; see areas.c. */
#include "vm/space.h"

/* What [first, end) and the pages beside it are. */
struct areas {
	uint64_t begin;       /* areas that begin in [first, end], `end` itself included */
	uint64_t would_begin; /* the same after a rewrite */
	uint64_t npages;      /* of [first, end) that have a promise */
	bool left, right;     /* page first - 1 and page end have a promise: */
	promise_t left_promise, right_promise;
};

struct rewrite;

/* Look at [first, end), which may be empty of promises, and at what it would be after
 * `rewrite`, which notes it (NULL: would_begin is 0). Locks: every table that has a part of it
 * or of the pages beside it: vm_edit_begin's and vm_edit_lock_inner's. */
void vm_areas_look(struct table *top, vpn_t first, vpn_t end, struct rewrite *rewrite,
		   struct areas *out);
/* Only `begin` of it. */
uint64_t vm_areas_begin(struct table *top, vpn_t first, vpn_t end);
/* All areas of a space, counted. Nobody may edit it meanwhile. */
uint64_t vm_areas_of(struct space *space);

/* How many begin in [first, end] once it has no promise. */
static inline uint64_t areas_if_empty(const struct areas *a)
{
	return a->right;
}

/* How many begin in [first, end] once all of it has promise p. */
static inline uint64_t areas_if_filled(const struct areas *a, promise_t p)
{
	return !(a->left && promise_equal(a->left_promise, p)) +
	       (uint64_t)(a->right && !promise_equal(a->right_promise, p));
}

/* Instead of `was` areas there are `now`: may the space have them? Its count may pass
 * the limit by what is there already. */
static inline bool areas_allowed(const struct space *space, uint64_t was, uint64_t now)
{
	return now <= was ||
	       atomic_read_relaxed(&space->areas) + (now - was) <= space->limits.area_count;
}

static inline void areas_changed(struct space *space, uint64_t was, uint64_t now)
{
	if (was != now)
		atomic_count(&space->areas, now - was);
}
#endif
