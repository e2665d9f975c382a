/* SPDX-License-Identifier: MIT */
/*
 * One access to a user page: what vmm_fault does.
 *
 *            lock the deepest table of the page
 *                         |
 *            run? -- no --> grow a stack, again --> SEGV_MAPERR
 *                         |
 *            promise allows it? -- no --> SEGV_ACCERR
 *                         |
 *            make the missing tables (each takes over its runs)
 *                         |
 *      +---------- the leaf entry ----------------------+
 *      | zero            | parked        | present
 *      v                 v               v
 *   install:          make present    allows the access: spurious, done
 *    zero frame, new   (read-only),   exclusive: raise in place
 *    zeroed frame, and then as        else copy: clear, flush and wait,
 *    ahead (ahead.c)   present ---->   install the copy, drop the old one;
 *    object page, and                 zeros ahead with it
 *    those around it
 *    copy of it
 *
 * One lock, no search but for the run, no allocation but the frame. What needs more lets
 * the lock go, does it, and starts again: filling a page of an object, growing a stack,
 * waiting for a fork, finding memory. A retried write is still a write, and nothing learnt
 * before is believed.
 *
 * Write permission (I4): a private entry is made writable only if its frame is anonymous,
 * and its only reference is this entry. That is read under this lock, which fork needs for
 * sharing it. A pinned anonymous frame is exclusive too: pinning made it so, and fork
 * copies it.
 */
#include "vm/ahead.h"
#include "vm/area_walk.h"
#include "vm/gather.h"
#include "vm/objects.h"

struct page_fault {
	struct space *space;
	vpn_t vpn;
	vpn_t until; /* [vpn, until) is asked for, as far as it is easily done; 0: nobody says */
	vpn_t next;  /* out: [vpn, next) is served */
	unsigned access; /* FAULT_* */
	bool spurious;
	bool major;
	enum vmm_cause cause;
};

/* Has to end with a page that nobody else shares, if it is a private one. */
#define FAULT_EXCLUSIVE (FAULT_WRITE | FAULT_UNSHARE)
/* About one page and no other. */
#define FAULT_SINGLE (FAULT_QUIET | FAULT_FORCE)

enum step {
	STEP_DONE,
	STEP_AGAIN,
	STEP_NO_MEMORY,
	STEP_REFUSED, /* cause says why */
};

static enum step refuse(struct page_fault *f, enum vmm_cause cause)
{
	f->cause = cause;
	return STEP_REFUSED;
}

static bool allowed(const struct page_fault *f, promise_t p)
{
	unsigned prot = (f->access & FAULT_FORCE) ? promise_maxprot(p) : promise_prot(p);
	/* A debugger writes to its own copy of whatever can be read; to what is shared only
	 * as the program could. */
	if ((f->access & FAULT_WRITE) && !(promise_prot(p) & VM_WRITE) &&
	    (!(f->access & FAULT_FORCE) || (p.bits & PROMISE_SHARED)))
		return false;
	if (f->access & FAULT_FETCH)
		return prot & VM_EXEC;
	return prot != 0;
}

/* The bits of an entry that may be written, if the promise says so. */
static pte_t write_bits(promise_t p)
{
	return (p.bits & VM_WRITE) ? PTE_WRITE | PTE_DIRTY : 0;
}

/* Entry bits without PTE_WRITE; a debugger's page under a promise of nothing is
 * parked. */
static pte_t read_bits(const struct page_fault *f, promise_t p)
{
	return vm_entry_bits(f->space->vmm, p);
}

static void install(struct page_fault *f, struct table *t, unsigned index, pte_t pte)
{
	table_entry_fill(t, index, pte);
	vm_resident_add(f->space, pte, 1);
}

/* A new anonymous frame, count 1: zeroed, or a copy of `from`. */
static paddr_t new_anonymous(struct space *space, paddr_t from)
{
	struct pmm *pmm = space->vmm->pmm;
	paddr_t pa = pmm_alloc(pmm, 0, PMM_WAIT | (from == PADDR_NONE ? PMM_ZERO : 0));
	if (unlikely(pa == PADDR_NONE))
		return pa;
	if (from != PADDR_NONE)
		arch_copy_page(paddr_to_ptr(pa), paddr_to_ptr(from));
	frame_init(pmm, pa, FRAME_ANON, NULL);
	return pa;
}

/* ---- the entry is zero -------------------------------------------------------------- */

/* How many pages this fault may serve together, from its own on. */
static unsigned ahead(const struct page_fault *f, const struct table *t, const struct run *run)
{
	if (f->access & FAULT_SINGLE)
		return 1;
	if (f->until)
		return vm_ahead_asked(t, run, f->vpn, f->access & FAULT_EXCLUSIVE, f->until);
	return vm_ahead(t, run, f->vpn, f->access & FAULT_EXCLUSIVE);
}

/* New zeroed frames, count 1: the first as the fault needs it, the others, up to n together,
 * only if nothing has to be given up for them. Returns how many; 0: not even one. */
static __attribute__((noinline)) unsigned new_zeroed(struct space *space, unsigned n, paddr_t *pa)
{
	struct pmm *pmm = space->vmm->pmm;
	unsigned got = pmm_alloc_many(pmm, n, PMM_ZERO, pa), done = 0;
	if (unlikely(!got)) { /* with one that is found more may come */
		pa[0] = new_anonymous(space, PADDR_NONE);
		if (pa[0] == PADDR_NONE)
			return 0;
		done = 1;
		got = 1 + pmm_alloc_many(pmm, n - 1, PMM_ZERO, pa + 1);
	}
	frame_init_many(pmm, pa + done, got - done, FRAME_ANON);
	return got;
}

/* The page, and with it others that are likely to be next (ahead.c). */
static __attribute__((noinline)) enum step install_many(struct page_fault *f, struct table *t,
							const struct run *run, unsigned n)
{
	unsigned index = vpn_index(f->vpn, 1);
	pte_t bits = read_bits(f, run->promise);
	paddr_t pa[AHEAD_PAGES];
	n = vm_table_next(t, index + 1, index + n) - index;
	if (f->access & FAULT_EXCLUSIVE) {
		bits |= write_bits(run->promise);
		n = new_zeroed(f->space, n, pa);
		if (unlikely(!n))
			return STEP_NO_MEMORY;
	} else {
		bits |= PTE_UNCOUNTED;
		for (unsigned i = 0; i < n; i++)
			pa[i] = f->space->vmm->zero_frame;
	}
	for (unsigned i = 0; i < n; i++)
		table_entry_fill(t, index + i, pa[i] | bits);
	vm_resident_add(f->space, bits, n);
	f->next = f->vpn + n;
	return STEP_DONE;
}

static enum step install_anonymous(struct page_fault *f, struct table *t, const struct run *run)
{
	promise_t p = run->promise;
	unsigned index = vpn_index(f->vpn, 1), n = ahead(f, t, run);
	if (n > 1)
		return install_many(f, t, run, n);
	if (!(f->access & FAULT_EXCLUSIVE)) {
		install(f, t, index, f->space->vmm->zero_frame | PTE_UNCOUNTED | read_bits(f, p));
		return STEP_DONE;
	}
	paddr_t pa = new_anonymous(f->space, PADDR_NONE);
	if (unlikely(pa == PADDR_NONE))
		return STEP_NO_MEMORY;
	install(f, t, index, pa | read_bits(f, p) | write_bits(p));
	return STEP_DONE;
}

/* The object says the page has to be filled, which may sleep: let go of the
 * table, have it filled, start again. Unlocks t. */
static enum step fill_and_retry(struct page_fault *f, struct table *t, struct backing *b,
				uint64_t page)
{
	vm_backing_ref(b, 1);
	table_unlock(t);
	paddr_t pa;
	mem_status status = vm_object_page(b->object, page, true, &pa);
	if (status == MEM_OK)
		vm_object_page_done(b->object, pa); /* the index keeps it */
	vm_backing_put(b);
	f->major = true;
	switch (status) {
	case MEM_OK:
		return STEP_AGAIN;
	case MEM_ENOMEM: /* after everything was drained */
		return STEP_NO_MEMORY;
	case MEM_EBEYOND:
		return refuse(f, VMM_FAULT_BEYOND);
	default:
		return refuse(f, VMM_FAULT_IO);
	}
}

/* Entry bits of an object's page that is mapped without a fault of its own, or read. */
static pte_t object_bits(const struct page_fault *f, promise_t p)
{
	const uint64_t both = VM_WRITE | PROMISE_SHARED;
	return PTE_OBJECT | read_bits(f, p) | ((p.bits & both) == both ? PTE_WRITE : 0);
}

/* The page, and with it what else is in memory of the aligned window around it: mapping
 * that takes no memory (entries hold no reference, I9). False: it is not there. */
static bool install_window(struct page_fault *f, struct table *t, const struct run *run)
{
	promise_t p = run->promise;
	const struct backing *b = p.backing;
	vpn_t window = f->vpn & ~(vpn_t)(AHEAD_PAGES - 1);
	vpn_t first = mem_max(window, run->first), end = mem_min(window + AHEAD_PAGES, run->end);
	paddr_t frame[AHEAD_PAGES];
	unsigned index = (unsigned)(first - t->first);
	uint64_t found = vm_object_frames(b->object, (uint64_t)((int64_t)first + b->delta),
					  (unsigned)(end - first), frame);
	if (!(found >> (f->vpn - first) & 1))
		return false;
	found &= ~(t->bits[index / 64] >> index % 64);
	/* A stretch without a gap from the page on. */
	f->next = f->vpn + bit_lowest(~(found >> (f->vpn - first)));
	pte_t bits = object_bits(f, p);
	vm_resident_add(f->space, PTE_OBJECT, bit_count(found));
	for (; found; found &= found - 1) {
		unsigned i = bit_lowest(found);
		bool asked = first + i == f->vpn;
		table_entry_fill(t, index + i,
				 frame[i] | bits |
				     (asked && (f->access & FAULT_WRITE) ? PTE_DIRTY : 0));
	}
	return true;
}

static __attribute__((noinline)) enum step install_object(struct page_fault *f, struct table *t,
							  const struct run *run, bool *unlocked)
{
	promise_t p = run->promise;
	struct backing *b = p.backing;
	unsigned index = vpn_index(f->vpn, 1);
	struct vm_object *object = b->object;
	uint64_t page = (uint64_t)((int64_t)f->vpn + b->delta);
	paddr_t pa;
	bool as_it_is =
	    (p.bits & PROMISE_SHARED) || !(f->access & FAULT_EXCLUSIVE); /* else a copy of it */
	if (as_it_is && !(f->access & FAULT_QUIET) && !object_is_device(object) &&
	    install_window(f, t, run))
		return STEP_DONE;
	switch (vm_object_frame(object, page, &pa)) {
	case MEM_OK:
		break;
	case MEM_EAGAIN:
		*unlocked = true;
		return fill_and_retry(f, t, b, page);
	case MEM_ENOMEM:
		return STEP_NO_MEMORY;
	default:
		return refuse(f, VMM_FAULT_BEYOND);
	}
	if (object_is_device(object)) {
		pte_t cache = frame_has_record(f->space->vmm->pmm, pa) ? 0 : PTE_PCD;
		install(f, t, index,
			pa | PTE_UNCOUNTED | cache | read_bits(f, p) |
			    ((p.bits & PROMISE_SHARED) ? write_bits(p) : 0));
		return STEP_DONE;
	}
	if (as_it_is) {
		install(f, t, index,
			pa | object_bits(f, p) | ((f->access & FAULT_WRITE) ? PTE_DIRTY : 0));
		return STEP_DONE;
	}
	paddr_t copy = new_anonymous(f->space, pa);
	if (copy == PADDR_NONE)
		return STEP_NO_MEMORY;
	install(f, t, index, copy | read_bits(f, p) | write_bits(p));
	return STEP_DONE;
}

/* ---- the entry is in use ----------------------------------------------------------- */

bool vm_is_exclusive(struct space *space, pte_t pte)
{
	struct pmm *pmm = space->vmm->pmm;
	if (pte & (PTE_UNCOUNTED | PTE_OBJECT))
		return false;
	return frame_count(pmm, pte & PTE_ADDR) == 1 || frame_is_pinned(pmm, pte & PTE_ADDR);
}

/* The entries from `index` on, at most n, that are of the zero frame. */
static unsigned count_zero(const struct vmm *vmm, const struct table *t, unsigned index, unsigned n)
{
	unsigned i = 0;
	while (i < n && (atomic_read_relaxed(&t->entries[index + i]) & PTE_ADDR) == vmm->zero_frame)
		i++;
	return i;
}

/* Replace a shared page by a copy of our own, and with a page that is zero the next ones that
 * are. The old translations are gone from every CPU before the new ones can be read. */
static __attribute__((noinline)) enum step copy_on_write(struct page_fault *f, struct table *t,
							 const struct run *run)
{
	struct vmm *vmm = f->space->vmm;
	unsigned index = vpn_index(f->vpn, 1), n = 1;
	pte_t bits = read_bits(f, run->promise) | write_bits(run->promise);
	paddr_t from = atomic_read_relaxed(&t->entries[index]) & PTE_ADDR, pa[AHEAD_PAGES];
	if (from == vmm->zero_frame) {
		n = count_zero(vmm, t, index, ahead(f, t, run));
		from = PADDR_NONE;
	}
	if (n > 1)
		n = new_zeroed(f->space, n, pa);
	else if ((pa[0] = new_anonymous(f->space, from)) == PADDR_NONE)
		n = 0;
	if (unlikely(!n))
		return STEP_NO_MEMORY;
	struct gather g;
	struct drops drops = {0};
	vm_gather_init(&g, f->space);
	pte_t old = 0; /* only one if it has a frame of its own */
	for (unsigned i = 0; i < n; i++) {
		old = atomic_swap(&t->entries[index + i], (pte_t)0);
		if (old & PTE_PRESENT)
			vm_gather_page(&g, f->vpn + i);
	}
	vm_gather_flush(&g);
	for (unsigned i = 0; i < n; i++)
		atomic_write_release(&t->entries[index + i], pa[i] | bits);
	vm_entry_drop(vmm->pmm, old, &drops);
	vm_resident_drop(f->space, &drops);
	vm_resident_add(f->space, bits, n);
	f->next = f->vpn + n;
	return STEP_DONE;
}

/* Add what the promise allows and the entry lacks; the MMU may be setting bits. */
static void raise(struct table *t, unsigned index, pte_t set, pte_t clear)
{
	pte_t pte = atomic_read_relaxed(&t->entries[index]);
	while (!atomic_cas(&t->entries[index], &pte, (pte | set) & ~clear))
		;
}

static enum step serve_used(struct page_fault *f, struct table *t, const struct run *run,
			    bool *unlocked)
{
	promise_t p = run->promise;
	unsigned index = vpn_index(f->vpn, 1);
	pte_t pte = atomic_read_relaxed(&t->entries[index]);
	pte_t base = read_bits(f, p);
	/* A page that a debugger made under a promise of nothing has no NX yet. */
	pte_t set = base & ~pte & (PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_NX);
	pte_t clear = (base & PTE_PRESENT) ? pte & ~base & PTE_NX : 0;

	if (p.bits & PROMISE_SHARED) {
		if (p.bits & VM_WRITE)
			set |= ~pte & PTE_WRITE;
		if (f->access & FAULT_WRITE)
			set |= ~pte & PTE_DIRTY;
	} else if ((f->access & FAULT_EXCLUSIVE) && !(pte & PTE_WRITE)) {
		if (pte & PTE_UNCOUNTED && !(f->access & FAULT_WRITE) &&
		    (pte & PTE_ADDR) != f->space->vmm->zero_frame)
			; /* device memory is never copied for a read */
		else if (!vm_is_exclusive(f->space, pte)) {
			if (atomic_read_acquire(&f->space->forking)) {
				table_unlock(t);
				*unlocked = true;
				host_wait(&f->space->forking, 1);
				return STEP_AGAIN;
			}
			return copy_on_write(f, t, run);
		} else {
			set |= write_bits(p);
		}
	}
	/* Only accessed or dirty missing: the MMU would have set these. */
	f->spurious = !(set & (PTE_PRESENT | PTE_USER | PTE_WRITE)) && !clear;
	if (set || clear)
		raise(t, index, set, clear);
	return STEP_DONE;
}

/* ---- the whole ----------------------------------------------------------------------- */

/* t is the locked deepest table; unlocks it. */
static enum step serve(struct page_fault *f, struct table *t)
{
	const struct run *run = vm_runs_find(t, f->vpn);
	if (unlikely(!run)) {
		table_unlock(t);
		if (f->access & FAULT_NO_GROW)
			return refuse(f, VMM_FAULT_NO_MAPPING);
		switch (vm_grow_stack(f->space, f->vpn)) {
		case MEM_OK:
			return STEP_AGAIN;
		case MEM_EACCES:
			return refuse(f, VMM_FAULT_GUARD);
		case MEM_ENOMEM:
			return refuse(f, VMM_FAULT_NO_MEMORY);
		default:
			return refuse(f, VMM_FAULT_NO_MAPPING);
		}
	}
	promise_t p = run->promise;
	if (unlikely(!allowed(f, p))) {
		table_unlock(t);
		return refuse(f, VMM_FAULT_PROTECTION);
	}
	while (unlikely(t->level > 1)) {
		struct table *child = vm_table_make_child(t, f->vpn);
		table_unlock(t);
		if (!child)
			return STEP_NO_MEMORY;
		t = child;
		run = vm_runs_find(t, f->vpn);
	}
	bool unlocked = false;
	enum step step;
	f->next = f->vpn + 1;
	if (table_bit(t, vpn_index(f->vpn, 1)))
		step = serve_used(f, t, run, &unlocked);
	else if (p.backing)
		step = install_object(f, t, run, &unlocked);
	else
		step = install_anonymous(f, t, run);
	if (!unlocked)
		table_unlock(t);
	return step;
}

static mem_status report(const struct page_fault *f, vaddr_t va, unsigned access,
			 struct vmm_fault *fault)
{
	static const struct {
		uint8_t signal, code, status;
	} results[VMM_FAULT_CAUSE_COUNT] = {
	    [VMM_FAULT_NO_MAPPING] = {11, 1, MEM_EFAULT},
	    [VMM_FAULT_PROTECTION] = {11, 2, MEM_EACCES},
	    [VMM_FAULT_KERNEL_RANGE] = {11, 1, MEM_EFAULT},
	    [VMM_FAULT_GUARD] = {11, 1, MEM_EFAULT},
	    [VMM_FAULT_BEYOND] = {7, 2, MEM_EBEYOND},
	    [VMM_FAULT_IO] = {7, 2, MEM_EIO},
	    [VMM_FAULT_RESERVED_BIT] = {9, 0, MEM_EFAULT},
	    [VMM_FAULT_NO_MEMORY] = {9, 0, MEM_ENOMEM},
	};
	if (fault)
		*fault = (struct vmm_fault){
		    .address = va,
		    .error = access,
		    .cause = f->cause,
		    .signal = results[f->cause].signal,
		    .code = results[f->cause].code,
		};
	return (mem_status)results[f->cause].status;
}

/* Serve the access at va. On failure f->cause says why. */
static bool run_fault(struct page_fault *f, vaddr_t va, unsigned access)
{
	struct space *space = f->space;
	mem_debug_assert(host_irq_enabled());
	f->vpn = vpn_of(va);
	f->access = access;
	if (unlikely(va >= USER_TOP)) {
		f->cause = VMM_FAULT_KERNEL_RANGE;
		return false;
	}
	for (unsigned attempt = 0;;) {
		enum step step = serve(f, vm_lock_deepest(space, f->vpn));
		if (likely(step == STEP_DONE))
			break;
		if (step == STEP_NO_MEMORY) {
			if (vm_relieve(space->vmm, attempt++))
				continue;
			f->cause = VMM_FAULT_NO_MEMORY;
		}
		if (step != STEP_AGAIN)
			return false;
	}
	if (likely(!(f->access & FAULT_QUIET)))
		atomic_count(f->major ? &space->faults_major : &space->faults_minor, 1);
	return true;
}

mem_status vm_fault_page(struct space *space, vaddr_t va, unsigned access, struct vmm_fault *fault,
			 bool *spurious)
{
	struct page_fault f = {.space = space};
	if (unlikely(!run_fault(&f, va, access)))
		return report(&f, va, access, fault);
	*spurious = f.spurious;
	return MEM_OK;
}

mem_status vm_populate(struct space *space, vpn_t first, vpn_t end, unsigned access)
{
	access |= FAULT_USER | FAULT_NO_GROW;
	for (vpn_t vpn = first, next; vpn < end; vpn = next) {
		struct page_fault f = {.space = space, .until = end};
		if (!run_fault(&f, vpn_to_va(vpn), access))
			return report(&f, vpn_to_va(vpn), access, NULL);
		next = f.next;
	}
	return MEM_OK;
}

mem_status vmm_fault(struct space *space, vaddr_t va, unsigned access, struct vmm_fault *fault)
{
	bool spurious;
	mem_contract_thread();
	return vm_fault_page(space, va, access & (FAULT_WRITE | FAULT_FETCH | FAULT_USER), fault,
			     &spurious);
}
