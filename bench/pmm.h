/* SPDX-License-Identifier: MIT */
#ifndef BENCH_PMM_H
#define BENCH_PMM_H
/* Frame allocators behind one interface, so that every row runs the same code
 * over each. What stands for a frame is the peer's own matter: an address or a
 * number. The caller says which CPU it is and is not preempted. */
#include <mem/types.h>

#define BENCH_NONE UINT64_MAX

struct peer {
	const char *name;
	/* Manage `npages` frames for `ncpus` CPUs, afresh; what comes back is for the next two. */
	void *(*init)(uint64_t npages, unsigned ncpus);
	void (*fini)(void);
	uint64_t (*alloc)(void *of, unsigned cpu, unsigned order);
	void (*free)(void *of, unsigned cpu, uint64_t frame, unsigned order);
	/* Wholly free 2 MiB blocks, after giving back what CPUs hold. NULL: no row. */
	uint64_t (*free_huge)(void);
	uint64_t (*metadata)(void);
};

extern const struct peer peer_null, peer_quire, peer_quire_user, peer_buddy;
#ifdef BENCH_LLFREE
extern const struct peer peer_llfree;
#endif
#endif
