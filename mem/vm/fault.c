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
 *    zero frame        (read-only),   exclusive: raise in place
 *    new zeroed frame  then as        else copy: clear, flush and wait,
 *    object page, and  present ---->   install the copy, drop the old one
 *    those around it
 *    copy of it
 *
 * One lock, no search but for the run, no allocation but the frame. What needs
 * more (filling a page of an object, growing a stack, waiting for a fork,
 * finding memory) lets the lock go, does it, and starts again: a retried write
 * is still a write, and nothing learnt before is believed.
 *
 * Write permission (I4): a private entry is made writable only if its frame is
 * anonymous and its only reference is this entry, read under this lock, which
 * fork needs for sharing it. A pinned anonymous frame is exclusive too: pinning
 * made it so, and fork copies it.
 */
#include "vm/area_walk.h"
#include "vm/gather.h"
#include "vm/objects.h"

/* Pages of an object that one fault may map: an aligned window of 64 KiB. They are in
 * memory, and mapping them takes none (entries hold no reference, I9). */
#define AROUND 16u

struct page_fault {
	struct space *space;
	vpn_t vpn;
	bool write;     /* has to end with a page that may be written */
	bool exclusive; /* has to end with a page that nobody else shares (private ones) */
	bool fetch, force;
	bool spurious;
	bool major;
	bool quiet, no_grow;
	enum vmm_cause cause;
};

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
	unsigned prot = f->force ? promise_maxprot(p) : promise_prot(p);
	/* A debugger writes to its own copy of whatever can be read; to what is shared only
	 * as the program could. */
	if (f->write && !(promise_prot(p) & VM_WRITE) && (!f->force || (p.bits & PROMISE_SHARED)))
		return false;
	if (f->fetch)
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

static enum step install_anonymous(struct page_fault *f, struct table *t, unsigned index,
				   promise_t p)
{
	if (!f->exclusive) {
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

/* The page, and with it what else is in memory of the aligned window around it. False: it
 * is not there. */
static bool install_window(struct page_fault *f, struct table *t, promise_t p)
{
	const struct run *run = vm_runs_find(t, f->vpn);
	const struct backing *b = p.backing;
	vpn_t window = f->vpn & ~(vpn_t)(AROUND - 1);
	vpn_t first = mem_max(window, run->first), end = mem_min(window + AROUND, run->end);
	paddr_t frame[AROUND];
	unsigned index = (unsigned)(first - t->first);
	uint64_t found = vm_object_frames(b->object, (uint64_t)((int64_t)first + b->delta),
					  (unsigned)(end - first), frame);
	if (!(found >> (f->vpn - first) & 1))
		return false;
	found &= ~(t->bits[index / 64] >> index % 64);
	pte_t bits = object_bits(f, p);
	vm_resident_add(f->space, PTE_OBJECT, bit_count(found));
	for (; found; found &= found - 1) {
		unsigned i = bit_lowest(found);
		bool asked = first + i == f->vpn;
		table_entry_fill(t, index + i,
				 frame[i] | bits | (asked && f->write ? PTE_DIRTY : 0));
	}
	return true;
}

static enum step install_object(struct page_fault *f, struct table *t, unsigned index, promise_t p,
				bool *unlocked)
{
	struct backing *b = p.backing;
	struct vm_object *object = b->object;
	uint64_t page = (uint64_t)((int64_t)f->vpn + b->delta);
	paddr_t pa;
	bool as_it_is = (p.bits & PROMISE_SHARED) || !f->exclusive; /* else a copy of it */
	if (as_it_is && !f->quiet && !object_is_device(object) && install_window(f, t, p))
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
		install(f, t, index, pa | object_bits(f, p) | (f->write ? PTE_DIRTY : 0));
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

/* Replace a shared page by a copy of our own. The old translation is gone from
 * every CPU before the new one can be read. */
static enum step copy_on_write(struct page_fault *f, struct table *t, unsigned index, promise_t p)
{
	struct vmm *vmm = f->space->vmm;
	pte_t old = atomic_read_relaxed(&t->entries[index]);
	paddr_t from = old & PTE_ADDR;
	paddr_t pa = new_anonymous(f->space, from == vmm->zero_frame ? PADDR_NONE : from);
	if (pa == PADDR_NONE)
		return STEP_NO_MEMORY;
	old = atomic_swap(&t->entries[index], (pte_t)0);
	if (old & PTE_PRESENT) {
		struct gather g;
		vm_gather_init(&g, f->space);
		vm_gather_page(&g, f->vpn);
		vm_gather_flush(&g);
	}
	pte_t pte = pa | read_bits(f, p) | write_bits(p);
	atomic_write_release(&t->entries[index], pte);
	struct drops drops = {0};
	vm_entry_drop(vmm->pmm, old, &drops);
	vm_resident_drop(f->space, &drops);
	vm_resident_add(f->space, pte, 1);
	return STEP_DONE;
}

/* Add what the promise allows and the entry lacks; the MMU may be setting bits. */
static void raise(struct table *t, unsigned index, pte_t set, pte_t clear)
{
	pte_t pte = atomic_read_relaxed(&t->entries[index]);
	while (!atomic_cas(&t->entries[index], &pte, (pte | set) & ~clear))
		;
}

static enum step serve_used(struct page_fault *f, struct table *t, unsigned index, promise_t p,
			    bool *unlocked)
{
	pte_t pte = atomic_read_relaxed(&t->entries[index]);
	pte_t base = read_bits(f, p);
	/* A page that a debugger made under a promise of nothing has no NX yet. */
	pte_t set = base & ~pte & (PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_NX);
	pte_t clear = (base & PTE_PRESENT) ? pte & ~base & PTE_NX : 0;

	if (p.bits & PROMISE_SHARED) {
		if (p.bits & VM_WRITE)
			set |= ~pte & PTE_WRITE;
		if (f->write)
			set |= ~pte & PTE_DIRTY;
	} else if (f->exclusive && !(pte & PTE_WRITE)) {
		if (pte & PTE_UNCOUNTED && !f->write &&
		    (pte & PTE_ADDR) != f->space->vmm->zero_frame)
			; /* device memory is never copied for a read */
		else if (!vm_is_exclusive(f->space, pte)) {
			if (atomic_read_acquire(&f->space->forking)) {
				table_unlock(t);
				*unlocked = true;
				host_wait(&f->space->forking, 1);
				return STEP_AGAIN;
			}
			return copy_on_write(f, t, index, p);
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
		if (f->no_grow)
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
	}
	unsigned index = vpn_index(f->vpn, 1);
	bool unlocked = false;
	enum step step;
	if (table_bit(t, index))
		step = serve_used(f, t, index, p, &unlocked);
	else if (p.backing)
		step = install_object(f, t, index, p, &unlocked);
	else
		step = install_anonymous(f, t, index, p);
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

mem_status vm_fault_page(struct space *space, vaddr_t va, unsigned access, struct vmm_fault *fault,
			 bool *spurious)
{
	struct page_fault f = {
	    .space = space,
	    .vpn = vpn_of(va),
	    .write = access & FAULT_WRITE,
	    .exclusive = access & (FAULT_WRITE | FAULT_UNSHARE),
	    .fetch = access & FAULT_FETCH,
	    .force = access & FAULT_FORCE,
	    .quiet = access & FAULT_QUIET,
	    .no_grow = access & FAULT_NO_GROW,
	};
	mem_debug_assert(host_irq_enabled());
	if (unlikely(va >= USER_TOP)) {
		f.cause = VMM_FAULT_KERNEL_RANGE;
		return report(&f, va, access, fault);
	}
	for (unsigned attempt = 0;;) {
		enum step step = serve(&f, vm_lock_deepest(space, f.vpn));
		if (likely(step == STEP_DONE))
			break;
		if (step == STEP_NO_MEMORY) {
			if (vm_relieve(space->vmm, attempt++))
				continue;
			f.cause = VMM_FAULT_NO_MEMORY;
		}
		if (step != STEP_AGAIN)
			return report(&f, va, access, fault);
	}
	if (likely(!f.quiet))
		atomic_count(f.major ? &space->faults_major : &space->faults_minor, 1);
	*spurious = f.spurious;
	return MEM_OK;
}

mem_status vmm_fault(struct space *space, vaddr_t va, unsigned access, struct vmm_fault *fault)
{
	bool spurious;
	mem_contract_thread();
	return vm_fault_page(space, va, access & (FAULT_WRITE | FAULT_FETCH | FAULT_USER), fault,
			     &spurious);
}
