/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/maps, smaps, numa_maps, pagemap and mem: a process's memory, seen from outside.
 *
 * maps and its like are a walk over the areas, one at a time, with nothing locked in between:
 * a process that changes its mappings meanwhile may show up half old and half
 * new, but each line was true when it was taken.
 */
#include <kernel/boot.h>
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/vmm.h>

#include "kernel/fs/proc_pid.h"

#define PATH_COLUMN 73

static const char *area_name(const struct vm_area *a, const struct mm_layout *mm, char *path,
			     size_t bytes)
{
	if (a->object && object_path(a->object, path, bytes))
		return path;
	if (a->name)
		return a->name;
	if (a->object)
		return (a->flags & VM_SHARED) ? "/dev/zero (deleted)" : "";
	if (mm->brk > mm->brk_start && a->start < mm->brk && a->end > mm->brk_start)
		return "[heap]";
	if (a->start < mm->stack_top && a->end >= mm->stack_top)
		return "[stack]";
	return "";
}

static void print_area(struct text *t, const struct vm_area *a, const struct mm_layout *mm,
		       char *path)
{
	uint64_t dev = 0, ino = 0;
	if (a->object)
		object_inode(a->object, &dev, &ino);
	size_t start = t->used;
	text_print(t, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", (unsigned long)a->start,
		   (unsigned long)a->end, (a->prot & VM_READ) ? 'r' : '-',
		   (a->prot & VM_WRITE) ? 'w' : '-', (a->prot & VM_EXEC) ? 'x' : '-',
		   (a->flags & VM_SHARED) ? 's' : 'p', (unsigned long)(a->object ? a->offset : 0),
		   dev_major(dev), dev_minor(dev), (unsigned long)ino);
	const char *name = area_name(a, mm, path, PATH_MAX);
	if (*name) {
		while (!t->failed && t->used - start < PATH_COLUMN)
			text_add(t, " ", 1);
		text_add(t, name, kstrlen(name));
	}
	text_add(t, "\n", 1);
}

static struct vmm_pages count_pages(struct space *space, const struct vm_area *a)
{
	struct vmm_pages pages = {0};
	for (vaddr_t va = a->start; va < a->end && !task_killed();)
		va = vmm_count_pages(space, va, a->end, &pages);
	return pages;
}

/* ---- smaps ----------------------------------------------------------------------------------- */

struct usage {                          /* pages, of one area or of all */
	uint64_t shared[2], private[2]; /* not dirty, dirty */
	uint64_t anonymous, locked;
};

static uint64_t usage_resident(const struct usage *u)
{
	return u->shared[0] + u->shared[1] + u->private[0] + u->private[1];
}

static void add_usage(struct usage *u, struct space *space, const struct vm_area *a)
{
	struct vmm_pages r = count_pages(space, a);
	uint64_t *to = (a->flags & VM_SHARED) ? u->shared : u->private;
	to[0] += r.resident - r.dirty;
	to[1] += r.dirty;
	u->anonymous += r.resident - r.object;
	u->locked += (a->flags & VM_LOCKED) ? r.resident : 0;
}

static void print_kb(struct text *t, const char *name, uint64_t npages)
{
	text_print(t, "%-15s %8lu kB\n", name, (unsigned long)npages * 4);
}

static void print_usage(struct text *t, const struct usage *u)
{
	print_kb(t, "Rss:", usage_resident(u));
	print_kb(t, "Shared_Clean:", u->shared[0]);
	print_kb(t, "Shared_Dirty:", u->shared[1]);
	print_kb(t, "Private_Clean:", u->private[0]);
	print_kb(t, "Private_Dirty:", u->private[1]);
	print_kb(t, "Anonymous:", u->anonymous);
	print_kb(t, "Swap:", 0);
	print_kb(t, "Locked:", u->locked);
}

/* In the order in which Linux has them. */
static void print_flags(struct text *t, const struct vm_area *a)
{
	static const struct {
		unsigned prot, flag;
		const char *name;
	} names[] = {
	    {VM_READ, 0, " rd"},       {VM_WRITE, 0, " wr"},      {VM_EXEC, 0, " ex"},
	    {0, VM_SHARED, " sh"},     {0, VM_GROWSDOWN, " gd"},  {0, VM_LOCKED, " lo"},
	    {0, VM_SEQUENTIAL, " sr"}, {0, VM_RANDOM, " rr"},     {0, VM_DONTFORK, " dc"},
	    {0, VM_NORESERVE, " nr"},  {0, VM_WIPEONFORK, " wf"}, {0, VM_DONTDUMP, " dd"},
	    {0, VM_HUGE, " hg"},       {0, VM_NOHUGE, " nh"},
	};
	text_print(t, "VmFlags:");
	for (unsigned i = 0; i < ARRAY_COUNT(names); i++)
		if ((a->prot & names[i].prot) || (a->flags & names[i].flag))
			text_add(t, names[i].name, 3);
	text_add(t, "\n", 1);
}

static void print_smaps(struct text *t, const struct proc_view *v, const struct vm_area *a,
			char *path)
{
	struct usage u = {0};
	add_usage(&u, v->space, a);
	print_area(t, a, &v->mm, path);
	print_kb(t, "Size:", (a->end - a->start) >> PAGE_SHIFT);
	print_kb(t, "KernelPageSize:", 1);
	print_kb(t, "MMUPageSize:", 1);
	print_usage(t, &u);
	print_flags(t, a);
}

/* ---- numa_maps: all memory is one node's ------------------------------------------------------
 */

/* Blanks and what ends a field as octal numbers. */
static void print_escaped(struct text *t, const char *label, const char *name)
{
	text_print(t, "%s", label);
	for (; *name; name++) {
		if (kstrchr("\n\t= ", *name))
			text_print(t, "\\%03o", *name);
		else
			text_add(t, name, 1);
	}
}

static void print_place(struct text *t, const struct vm_area *a, const struct mm_layout *mm,
			char *path)
{
	const char *name = area_name(a, mm, path, PATH_MAX);
	if (a->object)
		print_escaped(t, " file=", name);
	else if (!kstrcmp(name, "[heap]"))
		text_print(t, " heap");
	else if (!kstrcmp(name, "[stack]"))
		text_print(t, " stack");
}

static void print_count(struct text *t, const char *name, uint64_t npages)
{
	if (npages)
		text_print(t, " %s=%lu", name, (unsigned long)npages);
}

static void print_numa(struct text *t, const struct proc_view *v, const struct vm_area *a,
		       char *path)
{
	struct vmm_pages r = count_pages(v->space, a);
	uint64_t anonymous = r.resident - r.object;
	text_print(t, "%08lx default", (unsigned long)a->start);
	print_place(t, a, &v->mm, path);
	print_count(t, "anon", anonymous);
	print_count(t, "dirty", r.dirty);
	if (r.resident != anonymous && r.resident != r.dirty)
		print_count(t, "mapped", r.resident);
	print_count(t, "N0", r.resident);
	text_print(t, r.resident ? " kernelpagesize_kB=4\n" : "\n");
}

/* ---- area by area ------------------------------------------------------------------------------
 */

static void print_maps(struct text *t, const struct proc_view *v, const struct vm_area *a,
		       char *path)
{
	print_area(t, a, &v->mm, path);
}

static int show_areas(struct text *t, const struct proc_view *v,
		      void (*print)(struct text *t, const struct proc_view *v,
				    const struct vm_area *a, char *path))
{
	if (!v->space)
		return 0; /* it has ended: no memory */
	char *path = kmalloc(PATH_MAX);
	int r = path ? 0 : -ENOMEM;
	struct vm_area a;
	t->more = true;
	while (!r && !t->failed && t->used < TEXT_PIECE &&
	       (t->more = vmm_next_area(v->space, t->next, &a))) {
		print(t, v, &a, path);
		t->next = a.end;
		vm_area_done(&a);
		if (task_killed())
			r = -EINTR;
	}
	kfree(path);
	return r;
}

int proc_show_maps(struct text *t, const struct proc_view *v)
{
	return show_areas(t, v, print_maps);
}

int proc_show_smaps(struct text *t, const struct proc_view *v)
{
	return show_areas(t, v, print_smaps);
}

int proc_show_numa_maps(struct text *t, const struct proc_view *v)
{
	return show_areas(t, v, print_numa);
}

int proc_show_smaps_rollup(struct text *t, const struct proc_view *v)
{
	struct usage u = {0};
	struct vm_area a;
	vaddr_t first = 0, end = 0;
	if (!v->space)
		return -ESRCH; /* as on Linux, other than for the files with a line for each */
	while (vmm_next_area(v->space, end, &a)) {
		first = first ? first : a.start;
		end = a.end;
		add_usage(&u, v->space, &a);
		vm_area_done(&a);
		if (task_killed())
			return -EINTR;
	}
	struct vm_area all = {.start = first, .end = end, .name = "[rollup]"};
	print_area(t, &all, &v->mm, NULL);
	print_usage(t, &u);
	return 0;
}

/* The space that an open file was bound to, with a reference; NULL: nobody runs in it. */
static struct space *space_of(struct file *f)
{
	struct proc_file *pf = f->data;
	return pf->mm ? mm_space_get(pf->mm) : NULL;
}

/* ---- mem: the bytes themselves --------------------------------------------------------------- */

static ssize_t mem_copy(struct file *f, uint64_t buffer, size_t bytes, off_t *at, bool write)
{
	struct space *space = space_of(f);
	if (!space)
		return 0;
	char *page = kmalloc(PAGE_SIZE);
	size_t done = 0;
	long error = page ? 0 : -ENOMEM;
	while (done < bytes && !error) {
		vaddr_t va = (vaddr_t)*at;
		uint64_t moved = 0, chunk = mem_min(bytes - done, PAGE_SIZE - (va & PAGE_MASK));
		if (write && buffer_in(page, buffer + done, chunk)) {
			error = -EFAULT;
			break;
		}
		if (vmm_access(space, va, page, chunk, write, true, &moved) != MEM_OK)
			error = -EIO;
		if (!write && moved && buffer_out(buffer + done, page, moved)) {
			error = -EFAULT;
			break;
		}
		done += moved;
		*at += (off_t)moved;
		if (thread_interrupted())
			break;
	}
	kfree(page);
	vmm_space_put(space);
	return done ? (ssize_t)done : error;
}

static ssize_t mem_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return mem_copy(f, buffer, bytes, at, false);
}

static ssize_t mem_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return mem_copy(f, buffer, bytes, at, true);
}

const struct file_ops proc_mem_ops = {
    .read = mem_read, .write = mem_write, .release = proc_release};

/* ---- pagemap: 8 bytes per page ------------------------------------------------------------------
 */

static ssize_t pagemap_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	const struct proc_file *pf = f->data;
	if ((*at | bytes) & 7)
		return -EINVAL;
	struct space *space = space_of(f);
	if (!space)
		return 0;
	size_t done = 0;
	long error = 0;
	while (done < bytes && (uint64_t)*at >> 3 < (uint64_t)1 << 35) {
		vaddr_t va = ((uint64_t)*at >> 3) << PAGE_SHIFT;
		paddr_t pa = 0;
		uint64_t entry = 0;
		if (vmm_page_info(space, va, &pa, NULL, NULL))
			entry = (uint64_t)1 << 63 | (pf->sees_frames ? paddr_to_pfn(pa) : 0);
		if (buffer_out(buffer + done, &entry, 8)) {
			error = -EFAULT;
			break;
		}
		done += 8;
		*at += 8;
		if (thread_interrupted())
			break;
	}
	vmm_space_put(space);
	return done ? (ssize_t)done : error;
}

const struct file_ops proc_pagemap_ops = {.read = pagemap_read, .release = proc_release};
