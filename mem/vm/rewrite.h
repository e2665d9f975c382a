/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_REWRITE_H
#define MEM_VM_REWRITE_H
/* Changing promises in place: protection, locking, what fork does; rewrite.c. */
#include "vm/space.h"

/* What a rewrite would do, summed up by vm_rewrite_note(). */
struct rewrite_sums {
	uint64_t charge;       /* pages to be charged */
	uint64_t data, locked; /* pages that join these totals */
	bool forbidden;        /* above maxprot */
	bool unfit;            /* not of the kind that is asked for */
};

struct rewrite {
	uint64_t clear, set; /* bits: new = (old & ~clear) | set */
	bool holes;          /* unmapped parts are passed over (else MEM_ENOMEM) */
	bool anonymous;      /* for private anonymous memory only (else MEM_EINVAL) */
	bool found_hole;     /* out, with holes */
	struct rewrite_sums would;
};

/* What becomes of promise p, which `npages` pages have; and what that means. */
promise_t vm_rewrite_note(struct rewrite *r, promise_t p, uint64_t npages);

/* Rewrite [first, end): wholly or not at all. Errors: MEM_ENOMEM (also for a hole),
 * MEM_EINVAL not anonymous, MEM_EACCES above maxprot, MEM_EAGAIN the locked limit. Locks: the
 * space's, shared. */
mem_status vm_rewrite(struct space *space, vpn_t first, vpn_t end, struct rewrite *r);
#endif
