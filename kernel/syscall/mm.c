/* SPDX-License-Identifier: MIT */
/*
 * Memory system calls: Linux's arguments and errors on top of vmm.h.
 *
 * What Linux checks here and mem/ does not know: alignment rules of each call,
 * which of two errors comes first, files' open modes, resource limits' errnos.
 * What a range is and whether it fits is decided in one place (page_range).
 */
#include "kernel/proc/internal.h"
#include <kernel/fs.h>
#include <kernel/uaccess.h>

#include "arch/x86_64/pte.h"
#include "kernel/syscall/syscalls.h"

#define PROT_READ      1u
#define PROT_WRITE     2u
#define PROT_EXEC      4u
#define PROT_SEM       8u
#define PROT_GROWSDOWN 0x01000000u
#define PROT_GROWSUP   0x02000000u

#define MAP_TYPE            0x0fu
#define MAP_SHARED          0x01u
#define MAP_PRIVATE         0x02u
#define MAP_SHARED_VALIDATE 0x03u
#define MAP_FIXED           0x10u
#define MAP_ANONYMOUS       0x20u
#define MAP_32BIT           0x40u
#define MAP_GROWSDOWN       0x100u
#define MAP_DENYWRITE       0x800u
#define MAP_EXECUTABLE      0x1000u
#define MAP_LOCKED          0x2000u
#define MAP_NORESERVE       0x4000u
#define MAP_POPULATE        0x8000u
#define MAP_NONBLOCK        0x10000u
#define MAP_STACK           0x20000u
#define MAP_HUGETLB         0x40000u
#define MAP_FIXED_NOREPLACE 0x100000u
#define MAP_KNOWN                                                                                  \
	(MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE |        \
	 MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK |   \
	 MAP_HUGETLB | MAP_FIXED_NOREPLACE)

uint64_t mmap_min_address = 65536;

bool mmap_address_ok(uint64_t at)
{
	return at >= mmap_min_address || capable(CAP_SYS_RAWIO);
}

static long status_result(mem_status status)
{
	return status == MEM_OK ? 0 : errno_from(status);
}

/* A page-aligned start and a length that is rounded up: false if it wraps or leaves
 * user space. Length 0 gives an empty range. */
static bool page_range(uint64_t at, uint64_t bytes, uint64_t *rounded)
{
	return align_up_checked(bytes, PAGE_SIZE, rounded) && at <= USER_TOP &&
	       *rounded <= USER_TOP - at;
}

static unsigned vm_prot(uint64_t prot)
{
	unsigned vm = VM_NONE;
	/* The CPU cannot grant writing or executing without reading. */
	if (prot & (PROT_READ | PROT_WRITE | PROT_EXEC))
		vm |= (prot & PROT_READ) ? VM_READ : 0u;
	if (prot & PROT_WRITE)
		vm |= VM_WRITE;
	if (prot & PROT_EXEC)
		vm |= VM_EXEC;
	return vm;
}

/* ---- mmap ---- */

/* Fill args from a file descriptor. On success *file holds a reference. */
static long map_file_args(int fd, uint64_t flags, struct vm_map_args *args, struct file **file)
{
	struct file *f = fd_get(fd);
	long error = 0;
	if (!f)
		return -EBADF;
	args->object = file_object(f);
	if (!(f->mode & FILE_READ))
		error = -EACCES;
	else if ((args->flags & VM_SHARED) && (args->prot & VM_WRITE) && !(f->mode & FILE_WRITE))
		error = -EACCES;
	else if (!args->object && !file_is_zero(f))
		error = -ENODEV; /* /dev/zero is anonymous memory, shared or private */
	if (error) {
		file_put(f);
		return error;
	}
	if ((args->flags & VM_SHARED) && !(f->mode & FILE_WRITE))
		args->maxprot &= ~(unsigned)VM_WRITE;
	*file = f;
	return 0;
}

static long map_flags(uint64_t flags, struct vm_map_args *args)
{
	static const struct {
		uint64_t linux_flag;
		unsigned vm_flag;
	} pairs[] = {
	    {MAP_FIXED, VM_FIXED},   {MAP_32BIT, VM_BELOW_4G},      {MAP_GROWSDOWN, VM_GROWSDOWN},
	    {MAP_LOCKED, VM_LOCKED}, {MAP_NORESERVE, VM_NORESERVE}, {MAP_POPULATE, VM_POPULATE},
	};
	switch (flags & MAP_TYPE) {
	case MAP_SHARED_VALIDATE:
		if (flags & ~(uint64_t)MAP_KNOWN)
			return -EOPNOTSUPP;
		__attribute__((fallthrough));
	case MAP_SHARED:
		args->flags |= VM_SHARED;
		break;
	case MAP_PRIVATE:
		break;
	default:
		return -EINVAL;
	}
	for (unsigned i = 0; i < ARRAY_COUNT(pairs); i++)
		if (flags & pairs[i].linux_flag)
			args->flags |= pairs[i].vm_flag;
	if (flags & MAP_FIXED_NOREPLACE)
		args->flags = (args->flags & ~(unsigned)VM_FIXED) | VM_FIXED_NOREPLACE;
	if (flags & MAP_NONBLOCK)
		args->flags &= ~(unsigned)VM_POPULATE;
	return 0;
}

/* Advice that takes time for each page of a range that a program chooses: in steps, so
 * that it ends with the program. */
#define ADVICE_STEP (4ull << 20)

static long advise_in_steps(struct space *space, uint64_t at, uint64_t bytes, enum vm_advice advice)
{
	for (uint64_t done = 0; done < bytes;) {
		uint64_t step = mem_min(bytes - done, ADVICE_STEP);
		mem_status status = vmm_advise(space, at + done, step, advice);
		if (status != MEM_OK)
			return status_result(status);
		done += step;
		if (task_killed())
			return -EINTR;
	}
	return 0;
}

/* mlock: the whole range is locked or refused first, then what is missing is made. */
static long lock_range(struct space *space, uint64_t at, uint64_t bytes, enum vm_advice advice)
{
	bool fill = advice == VM_ADVICE_LOCK;
	mem_status status = vmm_advise(space, at, bytes, fill ? VM_ADVICE_ONFAULT : advice);
	if (status != MEM_OK)
		return status_result(status);
	return fill ? advise_in_steps(space, at, bytes, VM_ADVICE_LOCK) : 0;
}

static long do_map(struct process *p, struct vm_map_args *args)
{
	/* What is there at once is made after mapping it, for which the program may not wait. */
	bool locked = (args->flags & VM_LOCKED) && !(args->flags & VM_ONFAULT);
	bool populate = (args->flags & VM_POPULATE) && args->prot && !locked;
	args->flags &= ~(unsigned)VM_POPULATE;
	vaddr_t at;
	bool fixed = args->flags & (VM_FIXED | VM_FIXED_NOREPLACE);
	args->limit = fixed ? 0 : p->mm->mmap_top;
	mem_status status = vmm_map(p->space, args, &at);
	if (status == MEM_ENOMEM && !fixed) { /* above the usual place there may be room */
		args->limit = 0;
		status = vmm_map(p->space, args, &at);
	}
	if (status == MEM_OK && populate) /* as promised: failures are ignored */
		(void)advise_in_steps(p->space, at, args->bytes,
				      (args->prot & VM_WRITE) ? VM_ADVICE_POPULATE_WRITE
							      : VM_ADVICE_POPULATE_READ);
	return status == MEM_OK ? (long)at : errno_from(status);
}

long sys_mmap(uint64_t at, uint64_t bytes, uint64_t prot, uint64_t flags, uint64_t fd,
	      uint64_t offset)
{
	struct process *p = current_process();
	struct vm_map_args args = {
	    .prot = vm_prot(prot),
	    .maxprot = VM_READ | VM_WRITE | VM_EXEC,
	};
	struct file *file = NULL;
	uint64_t rounded, end;
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
	if (offset & PAGE_MASK)
		return -EINVAL;
	if (bytes == 0)
		return -EINVAL;
	if (!align_up_checked(bytes, PAGE_SIZE, &rounded) || rounded == 0 || rounded > USER_TOP)
		return -ENOMEM;
	if (fixed && (at & PAGE_MASK))
		return -EINVAL;
	if (fixed && !page_range(at, rounded, &end))
		return -ENOMEM;
	if (flags & MAP_HUGETLB)
		return -EINVAL; /* as a Linux without huge page pools */
	if (fixed && !mmap_address_ok(at))
		return -EPERM;
	if (!fixed) {
		at = align_down(at, PAGE_SIZE);
		if (at && at < mmap_min_address)
			at = align_up(mmap_min_address, PAGE_SIZE);
		if (at && !page_range(at, rounded, &end))
			at = 0;
	}
	long error = map_flags(flags, &args);
	if (!error && (flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == MAP_SHARED_VALIDATE)
		error = -EINVAL;
	/* A stack is private anonymous memory. */
	if (!error && (flags & MAP_GROWSDOWN) &&
	    (flags & (MAP_TYPE | MAP_ANONYMOUS)) != (MAP_PRIVATE | MAP_ANONYMOUS))
		error = -EINVAL;
	if (!error && !(flags & MAP_ANONYMOUS)) {
		if (__builtin_add_overflow(offset, rounded, &end) || end > INT64_MAX)
			return -EOVERFLOW;
		args.offset = offset;
		error = map_file_args((int)fd, flags, &args, &file);
	}
	if (error)
		return error;
	args.hint = at;
	args.bytes = rounded;
	args.flags |= p->mm->lock_future;
	long result = do_map(p, &args);
	if (file)
		file_put(file);
	return result;
}

long sys_munmap(uint64_t at, uint64_t bytes)
{
	uint64_t rounded;
	if ((at & PAGE_MASK) || !page_range(at, bytes, &rounded) || rounded == 0)
		return -EINVAL;
	return status_result(vmm_unmap(current_process()->space, at, rounded));
}

/* ---- mprotect ---- */

/* PROT_GROWSDOWN: down to the start of the stack mapping that holds `at`. */
static long extend_down(struct space *space, uint64_t *at, uint64_t *bytes)
{
	struct vm_area area;
	if (!vmm_next_area(space, *at, &area))
		return -ENOMEM;
	bool inside = area.start <= *at;
	bool stack = area.flags & VM_GROWSDOWN;
	vaddr_t start = area.start;
	vm_area_done(&area);
	if (!inside)
		return -ENOMEM;
	if (!stack)
		return -EINVAL;
	*bytes += *at - start;
	*at = start;
	return 0;
}

static long do_protect(uint64_t at, uint64_t bytes, uint64_t prot)
{
	struct space *space = current_process()->space;
	uint64_t grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
	uint64_t rounded;
	prot &= ~(uint64_t)(PROT_GROWSDOWN | PROT_GROWSUP);
	if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || (at & PAGE_MASK))
		return -EINVAL;
	if (bytes == 0)
		return 0;
	if (!align_up_checked(bytes, PAGE_SIZE, &rounded) || rounded == 0)
		return -ENOMEM;
	if (prot & ~(uint64_t)(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM))
		return -EINVAL;
	if (!page_range(at, rounded, &rounded))
		return -ENOMEM;
	if (grows & PROT_GROWSUP)
		return -EINVAL; /* no such mappings on this machine */
	if (grows & PROT_GROWSDOWN) {
		long error = extend_down(space, &at, &rounded);
		if (error)
			return error;
	}
	return status_result(vmm_protect(space, at, rounded, vm_prot(prot)));
}

long sys_mprotect(uint64_t at, uint64_t bytes, uint64_t prot)
{
	return do_protect(at, bytes, prot);
}

long sys_pkey_mprotect(uint64_t at, uint64_t bytes, uint64_t prot, uint64_t key)
{
	return (int)key == -1 ? do_protect(at, bytes, prot) : -EINVAL;
}

/* ---- mremap ---- */

#define MREMAP_MAYMOVE   1u
#define MREMAP_FIXED     2u
#define MREMAP_DONTUNMAP 4u

long sys_mremap(uint64_t at, uint64_t old_bytes, uint64_t new_bytes, uint64_t flags,
		uint64_t new_at)
{
	uint64_t old_rounded, new_rounded, end;
	if ((flags & ~(uint64_t)(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) ||
	    (at & PAGE_MASK))
		return -EINVAL;
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if (!align_up_checked(old_bytes, PAGE_SIZE, &old_rounded) ||
	    !align_up_checked(new_bytes, PAGE_SIZE, &new_rounded) || new_rounded == 0)
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && old_rounded != new_rounded)
		return -EINVAL;
	if (new_rounded > USER_TOP)
		return (flags & MREMAP_FIXED) ? -EINVAL : -ENOMEM;
	if (!page_range(at, old_rounded, &end))
		return -EFAULT;
	if (flags & MREMAP_FIXED) {
		if ((new_at & PAGE_MASK) || !page_range(new_at, new_rounded, &end))
			return -EINVAL;
		if (at < new_at + new_rounded && new_at < at + old_rounded)
			return -EINVAL;
		if (!mmap_address_ok(new_at))
			return -EPERM;
	}
	unsigned vm = ((flags & MREMAP_MAYMOVE) ? VM_MOVE_MAY : 0u) |
		      ((flags & MREMAP_FIXED) ? VM_MOVE_FIXED : 0u) |
		      ((flags & MREMAP_DONTUNMAP) ? VM_MOVE_DONTUNMAP : 0u);
	struct process *p = current_process();
	vaddr_t out, to = (flags & MREMAP_FIXED) ? new_at : p->mm->mmap_top;
	mem_status status = vmm_move(p->space, at, old_rounded, new_rounded, vm, to, &out);
	return status == MEM_OK ? (long)out : errno_from(status);
}

/* ---- brk ---- */

static mem_status grow_break(struct process *p, uint64_t from, uint64_t to)
{
	struct vm_map_args args = {
	    .hint = from,
	    .bytes = to - from,
	    .prot = VM_READ | VM_WRITE,
	    .maxprot = VM_READ | VM_WRITE | VM_EXEC,
	    .flags = VM_FIXED_NOREPLACE | p->mm->lock_future,
	    .name = "[heap]",
	};
	vaddr_t at;
	return vmm_map(p->space, &args, &at);
}

/* Data, bss and heap together are bounded by RLIMIT_DATA. */
static bool break_within_limit(const struct process *p, uint64_t new)
{
	uint64_t limit = rlimit_soft(p, RLIMIT_DATA);
	uint64_t data = p->mm->data_end - p->mm->data_start;
	return limit == RLIM_INFINITY || (new - p->mm->brk_start) + data <= limit;
}

long sys_brk(uint64_t new)
{
	struct process *p = current_process();
	struct mm_layout *mm = p->mm;
	mutex_lock(&mm->lock);
	uint64_t result = mm->brk;
	if (new >= mm->brk_start &&new < USER_TOP && break_within_limit(p, new)) {
		uint64_t old_end = align_up(mm->brk, PAGE_SIZE);
		uint64_t new_end = align_up(new, PAGE_SIZE);
		mem_status status = MEM_OK;
		if (new_end > old_end && !mmap_address_ok(old_end))
			status =
			    MEM_EACCES; /* a program of root's, started there, that gave it up */
		else if (new_end > old_end)
			status = grow_break(p, old_end, new_end);
		else if (new_end < old_end)
			status = vmm_unmap(p->space, new_end, old_end - new_end);
		if (status == MEM_OK)
			result = mm->brk = new;
	}
	mutex_unlock(&mm->lock);
	return (long)result;
}

/* ---- madvise and friends ---- */

static int advice_of(int linux_advice)
{
	switch (linux_advice) {
	case 0:
		return VM_ADVICE_NORMAL;
	case 1:
		return VM_ADVICE_RANDOM;
	case 2:
		return VM_ADVICE_SEQUENTIAL;
	case 4:
		return VM_ADVICE_DONTNEED;
	case 8:
		return VM_ADVICE_FREE;
	case 9:
		return VM_ADVICE_REMOVE;
	case 10:
		return VM_ADVICE_DONTFORK;
	case 11:
		return VM_ADVICE_DOFORK;
	case 14:
		return VM_ADVICE_HUGE;
	case 15:
		return VM_ADVICE_NOHUGE;
	case 16:
		return VM_ADVICE_DONTDUMP;
	case 17:
		return VM_ADVICE_DODUMP;
	case 3: /* WILLNEED, COLD, PAGEOUT: hints */
	case 20:
	case 21:
		return VM_ADVICE_NONE;
	case 18:
		return VM_ADVICE_WIPEONFORK;
	case 19:
		return VM_ADVICE_KEEPONFORK;
	case 22:
		return VM_ADVICE_POPULATE_READ;
	case 23:
		return VM_ADVICE_POPULATE_WRITE;
	case 24:
		return VM_ADVICE_DONTNEED_LOCKED;
	default:
		return -1;
	}
}

static long do_madvise(struct space *space, uint64_t at, uint64_t bytes, int linux_advice)
{
	uint64_t rounded;
	int advice = advice_of(linux_advice);
	if (advice < 0 || (at & PAGE_MASK) || !align_up_checked(bytes, PAGE_SIZE, &rounded) ||
	    (bytes && !rounded) || at + rounded < at)
		return -EINVAL;
	if (rounded == 0)
		return 0;
	if (!page_range(at, rounded, &rounded))
		return -ENOMEM;
	if (advice == VM_ADVICE_POPULATE_READ || advice == VM_ADVICE_POPULATE_WRITE)
		return advise_in_steps(space, at, rounded, (enum vm_advice)advice);
	return status_result(vmm_advise(space, at, rounded, (enum vm_advice)advice));
}

long sys_madvise(uint64_t at, uint64_t bytes, uint64_t advice)
{
	return do_madvise(current_process()->space, at, bytes, (int)advice);
}

/* The areas of [at, at + bytes): is every page in one, and what flags have they all
 * together? */
static bool all_mapped(struct space *space, uint64_t at, uint64_t bytes, unsigned *flags)
{
	uint64_t end = at + bytes;
	struct vm_area area;
	bool whole = true;
	*flags = 0;
	while (at < end && vmm_next_area(space, at, &area)) {
		whole &= area.start <= at;
		if (area.start < end)
			*flags |= area.flags;
		at = area.end;
		vm_area_done(&area);
	}
	return whole && at >= end;
}

#define MS_ASYNC      1u
#define MS_INVALIDATE 2u
#define MS_SYNC       4u

/* Files live in memory and nowhere else: what is written is where it belongs. */
long sys_msync(uint64_t at, uint64_t bytes, uint64_t flags)
{
	uint64_t rounded;
	if ((flags & ~(uint64_t)(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (at & PAGE_MASK) ||
	    (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC))
		return -EINVAL;
	if (!page_range(at, bytes, &rounded))
		return -ENOMEM;
	unsigned all;
	bool whole = all_mapped(current_process()->space, at, rounded, &all);
	if ((flags & MS_INVALIDATE) && (all & VM_LOCKED))
		return -EBUSY; /* how a program asks whether memory is locked */
	return whole ? 0 : -ENOMEM;
}

long sys_mincore(uint64_t at, uint64_t bytes, uint64_t vec)
{
	struct space *space = current_process()->space;
	uint64_t rounded;
	uint8_t chunk[256];
	if (at & PAGE_MASK)
		return -EINVAL;
	if (!page_range(at, bytes, &rounded))
		return -ENOMEM;
	uint64_t npages = rounded / PAGE_SIZE;
	if (!user_range_ok(vec, npages))
		return -EFAULT;
	unsigned flags;
	if (!all_mapped(space, at, rounded, &flags))
		return -ENOMEM;
	for (uint64_t done = 0; done < npages;) {
		uint64_t now = mem_min((uint64_t)sizeof(chunk), npages - done);
		vmm_mark_pages(space, at + done * PAGE_SIZE, now, chunk);
		if (copy_to_user(vec + done, chunk, now))
			return -EFAULT;
		done += now;
		if (task_killed())
			return -EINTR;
	}
	return 0;
}

/* ---- locking ---- */

#define MCL_CURRENT   1u
#define MCL_FUTURE    2u
#define MCL_ONFAULT   4u
#define MLOCK_ONFAULT 1u

static long do_lock(uint64_t at, uint64_t bytes, enum vm_advice advice)
{
	uint64_t rounded, end;
	if (__builtin_add_overflow(bytes, at & PAGE_MASK, &end))
		return -ENOMEM;
	at = align_down(at, PAGE_SIZE);
	if (!align_up_checked(end, PAGE_SIZE, &rounded))
		return -ENOMEM;
	if (!page_range(at, end, &rounded))
		return at + rounded < at ? -EINVAL : -ENOMEM;
	if (rounded == 0)
		return 0;
	struct process *p = current_process();
	if (advice != VM_ADVICE_UNLOCK && !capable(CAP_IPC_LOCK) &&
	    rlimit_soft(p, RLIMIT_MEMLOCK) == 0)
		return -EPERM;
	long result = lock_range(p->space, at, rounded, advice);
	return result == -EAGAIN ? -ENOMEM : result;
}

long sys_mlock(uint64_t at, uint64_t bytes)
{
	return do_lock(at, bytes, VM_ADVICE_LOCK);
}

long sys_mlock2(uint64_t at, uint64_t bytes, uint64_t flags)
{
	if (flags & ~(uint64_t)MLOCK_ONFAULT)
		return -EINVAL;
	return do_lock(at, bytes, flags ? VM_ADVICE_ONFAULT : VM_ADVICE_LOCK);
}

long sys_munlock(uint64_t at, uint64_t bytes)
{
	return do_lock(at, bytes, VM_ADVICE_UNLOCK);
}

static long advise_all(enum vm_advice advice)
{
	struct space *space = current_process()->space;
	struct vm_area area;
	long result = 0;
	for (vaddr_t at = 0; vmm_next_area(space, at, &area);) {
		long error = lock_range(space, area.start, area.end - area.start, advice);
		if (error && error != -EFAULT)
			result = error;
		at = area.end;
		vm_area_done(&area);
		if (task_killed())
			break;
	}
	return result;
}

long sys_mlockall(uint64_t flags)
{
	struct process *p = current_process();
	if (!flags || (flags & ~(uint64_t)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) ||
	    flags == MCL_ONFAULT)
		return -EINVAL;
	if (!capable(CAP_IPC_LOCK) && rlimit_soft(p, RLIMIT_MEMLOCK) == 0)
		return -EPERM;
	bool onfault = flags & MCL_ONFAULT;
	p->mm->lock_future =
	    (flags & MCL_FUTURE) ? VM_LOCKED | (onfault ? (unsigned)VM_ONFAULT : 0u) : 0u;
	/* Pages that cannot be had are not an error here (PROT_NONE reservations). */
	if (flags & MCL_CURRENT)
		return advise_all(onfault ? VM_ADVICE_ONFAULT : VM_ADVICE_LOCK) == -EAGAIN ? -ENOMEM
											   : 0;
	return 0;
}

long sys_munlockall(void)
{
	current_process()->mm->lock_future = 0;
	return advise_all(VM_ADVICE_UNLOCK);
}
