/* SPDX-License-Identifier: MIT */
/*
 * Files that live in memory: contents in a vm_object and nowhere else, so that
 * read, write and mmap see the same frames.
 *
 * read() takes one frame at a time with a count of its own, and copies from
 * the direct map with no lock: truncate may free the page's place in the file
 * meanwhile, but not the frame. A hole reads as zero and stays a hole.
 *
 * write() below the size copies straight into frames. Beyond the size it goes
 * through a kernel buffer and vm_object_write, which publishes the new size
 * only for bytes that are there: a user copy that faults half way must not
 * leave a file longer than what was written.
 *
 * inode->lock is held by write, truncate and fallocate (they change the size or
 * depend on it), not by read: a read that runs beside a write sees any mix of
 * old and new pages, as on Linux.
 *
 * Files may take half of memory, as on Linux (tmpfs_may_grow): a file that only
 * grows must not end in programs being ended for want of memory. What was written
 * by then stays and counts; if nothing was, the answer is ENOSPC. The limit is one
 * for all mounts and counts shared anonymous memory too, which lies in objects as
 * well; what the kernel itself unpacks is let in.
 *
 * Bodies, names and the texts of links are the heap's and have a limit of their own, an
 * eighth of memory for all mounts (tmpfs_hold): Linux limits their number. They outlive
 * who made them, so no choice of a program to end would bring them back.
 */
#include "kernel/fs/vfs.h"

#include <kernel/boot.h>
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#define HELD_SHARE   8   /* of memory */
#define OBJECT_BYTES 256 /* about what an object without pages takes */
static uint64_t held_bytes;

bool tmpfs_hold(uint32_t bytes, uint32_t *held)
{
	static uint64_t limit;
	struct thread *t = current_thread();
	if (!__atomic_load_n(&limit, __ATOMIC_RELAXED)) {
		struct pmm_stats stats;
		pmm_get_stats(kernel_pmm, &stats);
		__atomic_store_n(&limit, stats.total * PAGE_SIZE / HELD_SHARE, __ATOMIC_RELAXED);
	}
	uint64_t now = __atomic_add_fetch(&held_bytes, bytes, __ATOMIC_RELAXED);
	if (now > __atomic_load_n(&limit, __ATOMIC_RELAXED) && t && t->user) {
		__atomic_sub_fetch(&held_bytes, bytes, __ATOMIC_RELAXED);
		return false;
	}
	*held += bytes;
	return true;
}

bool tmpfs_hold_name(struct dentry *d)
{
	return tmpfs_hold(sizeof(*d) + NAME_MAX + 1, &d->held);
}

void tmpfs_let_go(uint32_t held)
{
	__atomic_sub_fetch(&held_bytes, held, __ATOMIC_RELAXED);
}

static void object_release(struct vm_object *object)
{
	inode_free(vm_object_host_data(object));
}

static const struct vm_object_ops object_ops = {.release = object_release};

int tmpfs_inode(struct mount *mount, uint32_t mode, uint64_t rdev, const char *link,
		struct inode **out)
{
	uint32_t uid, gid;
	current_owner(&uid, &gid);
	struct inode *i = inode_new(mount, mode, uid, gid);
	if (!i)
		return -ENOMEM;
	uint32_t bytes = sizeof(*i) + (link ? (uint32_t)kstrlen(link) + 1 : 0) +
			 (inode_is(i, S_IFREG) ? OBJECT_BYTES : 0);
	if (!tmpfs_hold(bytes, &i->held)) {
		inode_free(i);
		return -ENOSPC;
	}
	i->rdev = rdev;
	if (inode_is(i, S_IFREG)) {
		i->fops = &tmpfs_file_ops;
		if (vm_object_create(kernel_vmm, &object_ops, i, 0, &i->object) != MEM_OK)
			goto no_memory;
	} else if (inode_is(i, S_IFDIR)) {
		i->fops = &dir_file_ops;
	} else if (inode_is(i, S_IFLNK)) {
		i->link = kstrdup(link);
		if (!i->link)
			goto no_memory;
	}
	*out = i;
	return 0;
no_memory:
	i->object = NULL;
	inode_free(i);
	return -ENOMEM;
}

int tmpfs_create(struct dentry *dir, const char *name, unsigned length, uint32_t mode,
		 uint64_t rdev, const char *link, struct dentry **out)
{
	struct inode *inode;
	bool inherits = dir->inode->mode & S_ISGID;
	if (inherits && (mode & S_IFMT) == S_IFDIR)
		mode |= S_ISGID;
	else if (inherits && (mode & 0010) && !in_group(dir->inode->gid) && !capable(CAP_FSETID))
		mode &= ~(uint32_t)S_ISGID; /* no program of a group that he is not in */
	int r = tmpfs_inode(dir->inode->mount, mode, rdev, link, &inode);
	if (r)
		return r;
	if (inherits)
		inode->gid = dir->inode->gid;
	struct dentry *d = dentry_new(dir, name, length, inode);
	if (!d) {
		inode_put(inode);
		return -ENOMEM;
	}
	if (!tmpfs_hold_name(d)) {
		dentry_put(d);
		return -ENOSPC;
	}
	if (!dentry_hash(d)) {
		dentry_put(d);
		return -ENOMEM;
	}
	if (inode_is(inode, S_IFDIR))
		dir->inode->nlink++;
	inode_touch(dir->inode, true);
	if (out)
		*out = d;
	else
		dentry_put(d);
	return 0;
}

static long write_error(mem_status status)
{
	return status == MEM_ENOMEM ? -ENOSPC : errno_from(status);
}

/* How many more pages files may have before somebody counts again: counting looks
 * at every space, so it is done once for many pages. */
static int64_t grow_credit;
#define CREDIT_SHARE 64 /* of the limit, at most, is given out at a time */

bool tmpfs_may_grow(void)
{
	struct vmm_stats stats;
	if (__atomic_sub_fetch(&grow_credit, 1, __ATOMIC_RELAXED) >= 0)
		return true;
	vmm_get_stats(kernel_vmm, &stats);
	uint64_t limit = tmpfs_limit_npages(&stats);
	uint64_t room = limit > stats.object_npages ? limit - stats.object_npages : 0;
	uint64_t credit = mem_min(room, limit / CREDIT_SHARE + 1);
	__atomic_store_n(&grow_credit, (int64_t)credit - 1, __ATOMIC_RELAXED);
	return room > 0;
}

uint64_t tmpfs_limit_npages(const struct vmm_stats *stats)
{
	return stats->commit_limit_npages / 2;
}

static bool has_page(struct vm_object *object, uint64_t page)
{
	paddr_t pa;
	if (vm_object_page(object, page, false, &pa) != MEM_OK)
		return false;
	vm_object_page_done(object, pa);
	return true;
}

int tmpfs_fill_page(struct vm_object *object, uint64_t page, paddr_t *pa)
{
	mem_status s = vm_object_page(object, page, false, pa);
	if (s == MEM_ENOENT)
		s = tmpfs_may_grow() ? vm_object_page(object, page, true, pa) : MEM_ENOMEM;
	return (int)write_error(s);
}

int tmpfs_resize(struct inode *inode, uint64_t bytes)
{
	mem_status status = vm_object_resize(inode->object, bytes);
	if (status != MEM_OK)
		return (int)write_error(status);
	return 0;
}

int tmpfs_write_kernel(struct inode *inode, const void *data, size_t bytes)
{
	uint64_t done;
	mem_status status = vm_object_write(inode->object, inode_bytes(inode), data, bytes, &done);
	return status == MEM_OK ? 0 : (int)write_error(status);
}

/* ---- read ---------------------------------------------------------------------- */

/* Copy from one page: bytes copied; *status if it cannot be had. */
static size_t read_page(struct vm_object *object, uint64_t at, uint64_t buffer, size_t bytes,
			long *status)
{
	paddr_t pa;
	mem_status s = vm_object_page(object, at >> PAGE_SHIFT, false, &pa);
	if (s == MEM_ENOENT) {
		size_t left = buffer_clear(buffer, bytes);
		if (left)
			*status = -EFAULT;
		return bytes - left;
	}
	if (s != MEM_OK) {
		*status = s == MEM_EBEYOND ? 0 : errno_from(s);
		return 0;
	}
	const char *page = paddr_to_ptr(pa);
	size_t left = buffer_out(buffer, page + (at & PAGE_MASK), bytes);
	vm_object_page_done(object, pa);
	if (left)
		*status = -EFAULT;
	return bytes - left;
}

static ssize_t tmpfs_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct vm_object *object = f->inode->object;
	size_t done = 0;
	long status = 0;
	while (done < bytes) {
		uint64_t size = vm_object_bytes(object), position = (uint64_t)*at + done;
		if (position >= size)
			break;
		size_t chunk = mem_min(bytes - done, PAGE_SIZE - (position & PAGE_MASK));
		chunk = mem_min(chunk, size - position);
		size_t copied = read_page(object, position, buffer + done, chunk, &status);
		done += copied;
		if (copied < chunk || task_killed())
			break;
	}
	*at += (off_t)done;
	inode_accessed(f);
	return done ? (ssize_t)done : status;
}

/* ---- write --------------------------------------------------------------------- */

static size_t write_in_place(struct vm_object *object, uint64_t at, uint64_t buffer, size_t bytes,
			     long *status)
{
	paddr_t pa;
	*status = tmpfs_fill_page(object, at >> PAGE_SHIFT, &pa);
	if (*status)
		return 0;
	char *page = paddr_to_ptr(pa);
	size_t left = buffer_in(page + (at & PAGE_MASK), buffer, bytes);
	vm_object_page_done(object, pa);
	if (left)
		*status = -EFAULT;
	return bytes - left;
}

static size_t write_at_end(struct vm_object *object, uint64_t at, uint64_t buffer, size_t bytes,
			   char *bounce, long *status)
{
	size_t got = bytes - buffer_in(bounce, buffer, bytes);
	if (got < bytes)
		*status = -EFAULT;
	uint64_t done = 0;
	bool known = (at & PAGE_MASK) && has_page(object, at >> PAGE_SHIFT);
	if (got && !known && !tmpfs_may_grow()) {
		*status = -ENOSPC;
	} else if (got) {
		mem_status s = vm_object_write(object, at, bounce, got, &done);
		if (s != MEM_OK)
			*status = write_error(s);
	}
	return done;
}

static ssize_t write_locked(struct file *f, uint64_t buffer, size_t bytes, uint64_t position)
{
	struct vm_object *object = f->inode->object;
	char *bounce = NULL;
	size_t done = 0;
	long status = 0;
	while (done < bytes && !status) {
		uint64_t at = position + done, size = vm_object_bytes(object);
		size_t chunk = mem_min(bytes - done, PAGE_SIZE - (at & PAGE_MASK));
		if (at + chunk <= size) {
			done += write_in_place(object, at, buffer + done, chunk, &status);
			continue;
		}
		if (!bounce && !(bounce = kmalloc(PAGE_SIZE))) {
			status = -ENOSPC;
			break;
		}
		done += write_at_end(object, at, buffer + done, chunk, bounce, &status);
	}
	kfree(bounce);
	return done ? (ssize_t)done : status;
}

/* How much of a write RLIMIT_FSIZE and the largest offset allow. */
static ssize_t limit_write(uint64_t position, size_t bytes)
{
	struct process *p = current_process();
	uint64_t limit = p->rlimit[RLIMIT_FSIZE][0];
	if (limit > INT64_MAX)
		limit = INT64_MAX;
	if (position >= limit) {
		if (limit != INT64_MAX)
			signal_send_task(current_task(), SIGXFSZ, NULL);
		return -EFBIG;
	}
	return (ssize_t)mem_min(bytes, limit - position);
}

/* A write by somebody else takes set-ID bits away. */
void inode_drop_set_id(struct inode *inode)
{
	uint32_t drop = inode->mode & (S_ISUID | S_ISGID);
	if (!drop || capable(CAP_FSETID))
		return;
	if ((drop & S_ISGID) && !(inode->mode & 0010))
		drop &= ~(uint32_t)S_ISGID;
	inode->mode &= ~drop;
}

static ssize_t tmpfs_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct inode *inode = f->inode;
	if (!bytes)
		return 0;
	mutex_lock(&inode->lock);
	uint64_t position = (f->flags & O_APPEND) ? inode_bytes(inode) : (uint64_t)*at;
	ssize_t r = limit_write(position, bytes);
	if (r > 0)
		r = write_locked(f, buffer, (size_t)r, position);
	if (r > 0) {
		*at = (off_t)position + r;
		inode_drop_set_id(inode);
		inode_touch(inode, true);
	}
	mutex_unlock(&inode->lock);
	return r;
}

static struct vm_object *tmpfs_object(struct file *f)
{
	return f->inode->object;
}

/* SEEK_DATA and SEEK_HOLE; the rest is the caller's. */
static off_t tmpfs_seek(struct file *f, off_t offset, int whence)
{
	struct vm_object *object = f->inode->object;
	uint64_t size = vm_object_bytes(object);
	if (offset < 0 || (uint64_t)offset >= size)
		return -ENXIO;
	uint64_t page = (uint64_t)offset >> PAGE_SHIFT, end = (size + PAGE_MASK) >> PAGE_SHIFT;
	for (uint64_t p = page; p < end;) {
		bool data;
		uint64_t run = vm_object_run(object, p, &data);
		if (data == (whence == SEEK_DATA))
			return p == page ? offset : (off_t)(p << PAGE_SHIFT);
		if (run >= end - p)
			break;
		p += run;
		if (task_killed())
			return -EINTR;
	}
	return whence == SEEK_DATA ? -ENXIO : (off_t)size;
}

const struct file_ops tmpfs_file_ops = {
    .read = tmpfs_read,
    .write = tmpfs_write,
    .object = tmpfs_object,
    .seek = tmpfs_seek,
};
