/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes from file to file without the program: sendfile, splice, tee,
 * vmsplice, copy_file_range.
 *
 * Bytes go through one kernel page: the source reads into it, the destination
 * writes from it (kernel/iobuf.h). A destination that takes less than was read
 * is no loss where the source has positions: it is simply set back. So sendfile
 * and copy_file_range want a source with positions; splice from a pipe goes on
 * until the destination has taken the page, and what an error leaves over is
 * lost, as it is for a program that copies by itself.
 */
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

#define MOVE_MAX ((size_t)0x7ffff000)

static bool is_kernel(uint64_t buffer)
{
	return buffer >> 63;
}

size_t buffer_in(void *to, uint64_t buffer, size_t bytes)
{
	if (!is_kernel(buffer))
		return copy_from_user_partial(to, buffer, bytes);
	memcpy(to, (const void *)buffer, bytes);
	return 0;
}

size_t buffer_out(uint64_t buffer, const void *from, size_t bytes)
{
	if (!is_kernel(buffer))
		return copy_to_user_partial(buffer, from, bytes);
	memcpy((void *)buffer, from, bytes);
	return 0;
}

size_t buffer_clear(uint64_t buffer, size_t bytes)
{
	static const char zeros[PAGE_SIZE];
	if (!is_kernel(buffer)) /* clear_user cannot say how far it came */
		return copy_to_user_partial(buffer, zeros, bytes);
	memset((void *)buffer, 0, bytes);
	return 0;
}

/* Write all of a kernel buffer, as far as it goes. */
static ssize_t write_whole(struct file *out, const char *from, size_t bytes, off_t *at)
{
	size_t done = 0;
	while (done < bytes) {
		ssize_t n = out->ops->write(out, (uint64_t)(from + done), bytes - done, at);
		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Move up to `bytes` between two positions. */
static ssize_t move(struct file *in, off_t *in_at, struct file *out, off_t *out_at, size_t bytes)
{
	bool stream = in->mode & FILE_STREAM;
	char *page = kmalloc(PAGE_SIZE);
	size_t done = 0;
	ssize_t n = page ? 0 : -ENOMEM;
	while (!n && done < bytes) {
		off_t before = *in_at;
		size_t chunk = mem_min(bytes - done, (size_t)PAGE_SIZE);
		n = in->ops->read(in, (uint64_t)page, chunk, in_at);
		if (n <= 0)
			break;
		ssize_t wrote = write_whole(out, page, (size_t)n, out_at);
		if (wrote < n && !stream)
			*in_at = before + mem_max(wrote, (ssize_t)0);
		if (wrote < 0) {
			n = wrote;
			break;
		}
		done += (size_t)wrote;
		if (wrote < n || (stream && !(in->ops->poll && in->ops->poll(in, NULL) & POLLIN)))
			break;
		n = thread_interrupted() ? -EINTR : 0;
	}
	kfree(page);
	return done ? (ssize_t)done : n;
}

static int check_ends(struct file *in, struct file *out)
{
	if (!file_can_read(in) || !file_can_write(out))
		return -EBADF;
	if (inode_is(in->inode, S_IFDIR) || !in->ops->read || !out->ops->write)
		return -EINVAL;
	return 0;
}

/* The position that an end uses: its own, or a copy of the user's. */
struct end {
	struct file *file;
	uint64_t user; /* where the position goes back to; 0: the file's own */
	off_t at;
};

static int end_take(struct end *e, struct file *f, uint64_t user)
{
	*e = (struct end){.file = f, .user = user};
	if (user) {
		if (f->mode & FILE_STREAM)
			return -ESPIPE;
		if (copy_from_user(&e->at, user, sizeof(e->at)))
			return -EFAULT;
		return e->at < 0 ? -EINVAL : 0;
	}
	if (!(f->mode & FILE_STREAM)) {
		mutex_lock(&f->position_lock);
		e->at = f->position;
	}
	return 0;
}

static int end_give(struct end *e)
{
	if (e->user)
		return copy_to_user(e->user, &e->at, sizeof(e->at));
	if (!(e->file->mode & FILE_STREAM)) {
		e->file->position = e->at;
		mutex_unlock(&e->file->position_lock);
	}
	return 0;
}

/* Do both ends lie in one file, so that what is read would be written over? */
static bool overlaps(const struct end *from, const struct end *to, size_t bytes)
{
	uint64_t size = inode_bytes(from->file->inode), a = (uint64_t)from->at,
		 b = (uint64_t)to->at;
	uint64_t n = mem_min((uint64_t)bytes, size > a ? size - a : 0);
	return from->file->inode == to->file->inode && b + n > a && b < a + n;
}

/* `apart`: EINVAL if the two overlap. */
static ssize_t move_checked(struct file *in, uint64_t in_user, struct file *out, uint64_t out_user,
			    size_t bytes, bool apart)
{
	struct end from, to;
	bool same = in == out && !in_user && !out_user && !(in->mode & FILE_STREAM);
	if (same)
		return -EINVAL; /* one position cannot be both */
	int r = end_take(&from, in, in_user);
	if (r)
		return r;
	ssize_t done = end_take(&to, out, out_user);
	if (!done) {
		bytes = mem_min(bytes, MOVE_MAX);
		done = apart && overlaps(&from, &to, bytes)
			   ? -EINVAL
			   : move(in, &from.at, out, &to.at, bytes);
		if (end_give(&to) && done >= 0)
			done = -EFAULT;
	}
	if (end_give(&from) && done >= 0)
		done = -EFAULT;
	return done;
}

static long with_files(uint64_t in_fd, uint64_t out_fd, struct file *f[2])
{
	f[0] = fd_get((int)in_fd);
	f[1] = fd_get((int)out_fd);
	if (f[0] && f[1])
		return check_ends(f[0], f[1]);
	return -EBADF;
}

static void put_files(struct file *f[2])
{
	file_put(f[0]);
	file_put(f[1]);
}

long sys_sendfile(uint64_t out_fd, uint64_t in_fd, uint64_t offset, uint64_t bytes)
{
	struct file *f[2];
	long r = with_files(in_fd, out_fd, f);
	if (!r && (f[0]->mode & FILE_STREAM))
		r = -EINVAL;
	if (!r && (f[1]->flags & O_APPEND))
		r = -EINVAL;
	if (!r)
		r = move_checked(f[0], offset, f[1], 0, bytes, false);
	put_files(f);
	return r;
}

long sys_splice(uint64_t in_fd, uint64_t in_at, uint64_t out_fd, uint64_t out_at, uint64_t bytes,
		uint64_t flags)
{
	struct file *f[2];
	if (flags & ~15ull)
		return -EINVAL;
	long r = with_files(in_fd, out_fd, f);
	if (!r && !inode_is(f[0]->inode, S_IFIFO) && !inode_is(f[1]->inode, S_IFIFO))
		r = -EINVAL;
	if (!r)
		r = move_checked(f[0], in_at, f[1], out_at, bytes, false);
	put_files(f);
	return r;
}

long sys_tee(uint64_t in_fd, uint64_t out_fd, uint64_t bytes, uint64_t flags)
{
	return -EINVAL; /* not these two: programs then copy */
}

long sys_vmsplice(uint64_t fd, uint64_t vec, uint64_t count, uint64_t flags)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	bool pipe = inode_is(f->inode, S_IFIFO), write = file_can_write(f);
	file_put(f);
	if (!pipe)
		return -EBADF;
	return write ? sys_writev(fd, vec, count) : sys_readv(fd, vec, count);
}

long sys_copy_file_range(uint64_t in_fd, uint64_t in_at, uint64_t out_fd, uint64_t out_at,
			 uint64_t bytes, uint64_t flags)
{
	struct file *f[2];
	if (flags)
		return -EINVAL;
	long r = with_files(in_fd, out_fd, f);
	if (!r && (inode_is(f[0]->inode, S_IFDIR) || inode_is(f[1]->inode, S_IFDIR)))
		r = -EISDIR;
	if (!r && (!inode_is(f[0]->inode, S_IFREG) || !inode_is(f[1]->inode, S_IFREG)))
		r = -EINVAL;
	if (!r && (f[1]->flags & O_APPEND))
		r = -EBADF;
	if (!r)
		r = move_checked(f[0], in_at, f[1], out_at, bytes, true);
	put_files(f);
	return r;
}
