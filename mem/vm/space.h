/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_SPACE_H
#define MEM_VM_SPACE_H
/* The virtual memory manager and its user spaces, as the files of vm/ see them. */
#include <mem/cpumask.h>
#include <mem/host.h>
#include <mem/slab.h>
#include <mem/vmm.h>

#include "arch/x86_64/ops.h"
#include "base/assert.h"
#include "base/lock.h"
#include "vm/table.h"

#define VM_NAMES 16

struct kernel_area;

/* Totals of a space, in pages; changed by atomic additions in the same
 * transaction as the runs they count (vm/commit.c). */
struct space_totals {
	uint64_t virt;
	uint64_t data;  /* private, writable, not a stack */
	uint64_t stack; /* grows-down */
	uint64_t exec;
	uint64_t locked;
	uint64_t charged; /* against the commit limit */
};

struct space {
	struct vmm *vmm;
	struct table *root; /* constant */
	paddr_t root_pa;
	uint64_t refs;
	uint32_t forking; /* 1 while fork copies: copy-on-write faults sleep on it */
	uint64_t id;      /* never reused */

	/* Orders the calls: structural ones shared; fork, clear, end exclusive.
	 * Faults and zaps do not take it. */
	struct mem_rwlock lock;

	/* Flushing: CPUs that may hold translations, and a count of flushes. */
	struct cpumask cpus;
	uint64_t generation;

	struct space_totals totals;
	uint64_t resident, resident_file, peak_resident, peak_virt; /* atomic */
	uint64_t tables, runs, areas;                               /* atomic */
	uint64_t faults_minor, faults_major;                        /* atomic */
	struct vmm_space_limits limits;

	struct mem_lock maps_lock;
	struct list mappers;            /* objects that it maps (vm/object_maps.c) */
	uint64_t maps_owner, maps_most; /* vmm_space_set_owner(); atomic */

	/* Hint for searches below gap_limit: no gap of more than gap_npages lies above
	 * gap_from, and no stack is near below gap_top (vm/area_walk.c). gap_turn counts
	 * how often the hint was forgotten. Under gap_lock. */
	struct mem_lock gap_lock;
	vpn_t gap_limit, gap_from, gap_top;
	uint64_t gap_npages, gap_turn;

	struct list link; /* vmm->spaces */
};

/* Descriptors of kernel ranges that are not in use, and the pages they lie in
 * (vm/range_pool.c). */
struct range_pool {
	struct mem_lock lock;     /* irq; everything below */
	struct range_page *pages; /* oldest first */
	uint64_t npages;
};

struct vm_walk {
	uint64_t active; /* 0, or the epoch at which this CPU's walk began */
} MEM_CACHE_ALIGNED;

struct vmm {
	struct pmm *pmm;
	paddr_t kernel_root;
	paddr_t zero_frame;
	pte_t nx; /* PTE_NX, or 0 on a CPU without it */
	bool giga_pages;
	unsigned ncpus;      /* host_cpu_count() at vmm_init */
	vaddr_t direct_base; /* where the direct map is in the kernel's tables */
	struct cpumask online;

	struct frame_source frames;
	struct slab_cache *tables, *mappers, *owners, *backings, *runs4, *runs16, *objects, *nodes,
	    *space_cache;
	struct range_pool ranges; /* descriptors of kernel address ranges */

	uint64_t commit, commit_limit; /* pages; commit is atomic */
	uint64_t object_charged;       /* part of commit that is objects'; atomic */
	uint64_t object_npages;        /* atomic */
	uint64_t user_tables;          /* atomic */
	uint64_t kernel_tables;        /* atomic */
	uint64_t flushes, flush_cpus, flush_full;

	uint64_t epoch; /* starts at 1 */
	struct mem_lock limbo_lock;
	struct table *limbo;
	uint64_t limbo_npages;

	struct mem_lock spaces_lock;
	struct list spaces;
	uint64_t next_id; /* of spaces and objects */

	struct mem_lock names_lock;
	const char *names[VM_NAMES]; /* 1 .. */

	struct kernel_area *areas; /* array of KERNEL_AREAS */

	struct vm_walk walks[MEM_MAX_CPUS];
};

/* Where the vmm keeps its caches. */
#define VM_CACHES(vmm)                                                                             \
	{                                                                                          \
		&(vmm)->tables, &(vmm)->mappers, &(vmm)->owners, &(vmm)->backings, &(vmm)->runs4,  \
		    &(vmm)->runs16, &(vmm)->objects, &(vmm)->nodes, &(vmm)->space_cache            \
	}

/* ---- walks (vm/walk.c) -------------------------------------------------------- */

/* Lock the deepest existing table on the path of vpn; live, and still the
 * deepest. Context: thread or fault, interrupts on. */
struct table *vm_lock_deepest(struct space *space, vpn_t vpn);
/* Lock the lowest existing table of at least `min_level` whose span holds
 * [first, end). */
struct table *vm_lock_covering(struct space *space, vpn_t first, vpn_t end, unsigned min_level);

static inline void table_lock(struct table *t)
{
	mem_lock_flushable(&t->lock, MEM_RANK_TABLE);
}

static inline void table_unlock(struct table *t)
{
	mem_unlock(&t->lock, MEM_RANK_TABLE);
}

/* Lock t if the edit that looks at it has not: edge tables are locked, inner ones are
 * not. False: it was locked. */
static inline bool table_borrow(struct table *t)
{
	bool held = mem_lock_held(&t->lock);
	if (!held)
		table_lock(t);
	return !held;
}

/* Copy the first run that ends above vpn, together with equal neighbours that
 * touch it, into *out; its backing (if any) gets a reference for the caller. */
bool vm_find_area(struct space *space, vpn_t vpn, struct run *out);
/* Copy the first run that ends above vpn, unmerged, no reference. */
bool vm_find_run(struct space *space, vpn_t vpn, struct run *out);

/* Copy the last run that begins below vpn. */
bool vm_find_before(struct space *space, vpn_t vpn, struct run *out);

/* ---- ranges --------------------------------------------------------------------- */

/* The one constructor of page ranges from what a caller gave: va page-aligned,
 * bytes > 0 rounded up, no wrap, inside the user half. */
static inline bool vm_range(vaddr_t va, uint64_t bytes, vpn_t *first, vpn_t *end)
{
	uint64_t rounded, last;
	if ((va & PAGE_MASK) || !bytes || !align_up_checked(bytes, PAGE_SIZE, &rounded) ||
	    __builtin_add_overflow(va, rounded, &last) || last > USER_TOP)
		return false;
	*first = vpn_of(va);
	*end = vpn_of(last);
	return true;
}

/* ---- accounting (vm/commit.c) ----------------------------------------------------- */

/* Charge against / give back to the commit limit. */
bool vm_commit_charge(struct vmm *vmm, uint64_t npages);
void vm_commit_uncharge(struct vmm *vmm, uint64_t npages);
/* Runs of `npages` pages with this promise came or went (the commit charge that
 * goes with them is given back on the way out, and was made by the caller on the
 * way in). */
void vm_account_add(struct space *space, promise_t promise, uint64_t npages);
void vm_account_sub(struct space *space, promise_t promise, uint64_t npages);
/* A run's promise changed; charges are the caller's. */
void vm_account_change(struct space *space, promise_t was, promise_t now, uint64_t npages);
/* n entries like this one came. */
void vm_resident_add(struct space *space, pte_t pte, uint64_t n);

/* Give memory back after an allocation failed, holding no lock: false if nothing
 * more can be expected on another try. `attempt` counts from 0. */
bool vm_relieve(struct vmm *vmm, unsigned attempt);

/* ---- faults (vm/fault.c) -------------------------------------------------------- */

/* The part of vmm_fault that others build on: FAULT_* bits plus these. */
#define FAULT_FORCE   (1u << 16) /* as a debugger: prot is ignored within maxprot */
#define FAULT_UNSHARE (1u << 17) /* break copy-on-write even for a read */
#define FAULT_QUIET   (1u << 18) /* do not count it */
#define FAULT_NO_GROW (1u << 19) /* no access of the program: never grow a stack */

mem_status vm_fault_page(struct space *space, vaddr_t va, unsigned access, struct vmm_fault *fault,
			 bool *spurious);

/* Is the frame of this entry of a private mapping nobody else's? Under the table's
 * lock. */
bool vm_is_exclusive(struct space *space, pte_t pte);

/* Entry bits that a promise allows; never PTE_WRITE for private pages that may be
 * shared: the caller adds it. Not present for no access. */
static inline pte_t vm_entry_bits(const struct vmm *vmm, promise_t p)
{
	if (!(p.bits & PROMISE_PROT))
		return PTE_USED;
	return PTE_USED | PTE_PRESENT | PTE_USER | PTE_ACCESSED |
	       ((p.bits & VM_EXEC) ? 0 : vmm->nx);
}

/* ---- backings and objects (vm/object_maps.c) --------------------------------------- */

/* The backing of (space, object, delta) with one more reference, made if there is
 * none. Locks: none. Errors: MEM_ENOMEM; MEM_EBUSY the owner maps the object too often. */
mem_status vm_backing_get(struct space *space, struct vm_object *object, int64_t delta,
			  struct backing **out);
void vm_backing_ref(struct backing *b, uint64_t n);
/* Drop one; the last takes it out of the object's set, after a flush if that is needed.
 * Context: thread or fault, interrupts on. Locks: none. */
void vm_backing_put(struct backing *b);
/* refs is 0 already, and its pages are forgotten. */
void vm_backing_free(struct backing *b);

/* The static string of a promise's name, or NULL; and the other way round. */
const char *vm_name_of(struct vmm *vmm, promise_t promise);
uint64_t vm_name_bits(struct vmm *vmm, const char *name);
#endif
