/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_REWRITE_H
#define MEM_VM_REWRITE_H
/* Changing promises in place: protection, locking, what fork does; rewrite.c. */
#include "vm/space.h"

struct rewrite {
	promise_t clear, set; /* new = (old & ~clear) | set */
	bool holes;           /* unmapped parts are passed over (else MEM_ENOMEM) */
	bool anonymous;       /* for private anonymous memory only (else MEM_EINVAL) */
	bool found_hole;      /* out, with holes */
};

promise_t vm_rewritten(const struct rewrite *r, promise_t p);

/* Rewrite [first, end): wholly or not at all. Errors: MEM_ENOMEM (also for a hole),
 * MEM_EINVAL not anonymous, MEM_EACCES above maxprot, MEM_EAGAIN the locked limit. Locks: the
 * space's, shared. */
mem_status vm_rewrite(struct space *space, vpn_t first, vpn_t end, struct rewrite *r);
#endif
