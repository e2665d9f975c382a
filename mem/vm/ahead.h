/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_AHEAD_H
#define MEM_VM_AHEAD_H
/* Serving pages before they are touched; see ahead.c. */
#include "vm/space.h"

/* The most pages that one fault serves: 64 KiB. */
#define AHEAD_PAGES 16u

/* How many pages from vpn on, which `run` of leaf t describes, a fault at vpn may serve
 * together: at least 1, none beyond the run and the leaf. `write`: they are to be written,
 * else read. Locks: t's. */
unsigned vm_ahead(const struct table *t, const struct run *run, vpn_t vpn, bool write);
/* The same where [vpn, until) is asked for. */
unsigned vm_ahead_asked(const struct table *t, const struct run *run, vpn_t vpn, bool write,
			vpn_t until);

/* Touch [first, end) ahead, as `access` (FAULT_WRITE or 0); what grows down stays as it
 * is. Errors: as vmm_fault. Context: thread, no lock. (vm/fault.c) */
mem_status vm_populate(struct space *space, vpn_t first, vpn_t end, unsigned access);
#endif
