/* SPDX-License-Identifier: MIT */
/*
 * read, write, and everything that is a loop around them.
 *
 * Two functions carry all of it: file_read_at and file_write_at check what is
 * the same for every kind of file (mode, directory, the range of positions, at
 * most 2^31 - 4096 bytes per call, as on Linux) and call the file. Whoever uses
 * the shared position holds position_lock around the call, so that two
 * descriptors of one file cannot write to the same place.
 *
 * Vectors are copied in whole before the first byte moves, so a bad vector
 * moves nothing; a fault in the third buffer reports the bytes of the first two.
 */
#include <kernel/account.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

#define RW_MAX  ((size_t)0x7ffff000)
#define IOV_MAX 1024

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* What is the same for every kind of file, and then its own. */
static ALWAYS_INLINE ssize_t transfer(struct file *f, uint64_t buffer, size_t bytes, off_t *at,
				      bool write)
{
	ssize_t (*move)(struct file *, uint64_t, size_t, off_t *) =
	    write ? f->ops->write : f->ops->read;
	if (!(write ? file_can_write(f) : file_can_read(f)))
		return -EBADF;
	if (!write && inode_is(f->inode, S_IFDIR))
		return -EISDIR;
	if (!move || *at < 0)
		return -EINVAL;
	if (!user_range_ok(buffer, bytes))
		return -EFAULT;
	return move(f, buffer, mem_min(bytes, RW_MAX), at);
}

ssize_t file_read_at(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return transfer(f, buffer, bytes, at, false);
}

ssize_t file_write_at(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return transfer(f, buffer, bytes, at, true);
}

static bool has_position(const struct file *f)
{
	return !(f->mode & FILE_STREAM);
}

/* May a call name one? */
static bool takes_position(const struct file *f)
{
	return has_position(f) || (f->mode & FILE_ANYWHERE);
}

static off_t *position_take(struct file *f, off_t *none)
{
	*none = 0;
	if (!has_position(f))
		return none;
	mutex_lock(&f->position_lock);
	return &f->position;
}

static void position_give(struct file *f)
{
	if (has_position(f))
		mutex_unlock(&f->position_lock);
}

static ALWAYS_INLINE long call_here(uint64_t fd, uint64_t buffer, uint64_t bytes, bool write)
{
	struct file *f = fd_get((int)fd);
	off_t none;
	if (!f)
		return -EBADF;
	off_t *at = position_take(f, &none);
	ssize_t r = transfer(f, buffer, bytes, at, write);
	position_give(f);
	file_put(f);
	return r;
}

long sys_read(uint64_t fd, uint64_t buffer, uint64_t bytes)
{
	return call_here(fd, buffer, bytes, false);
}

long sys_write(uint64_t fd, uint64_t buffer, uint64_t bytes)
{
	return call_here(fd, buffer, bytes, true);
}

static long call_at(uint64_t fd, uint64_t buffer, uint64_t bytes, off_t at, bool write)
{
	if (at < 0)
		return -EINVAL;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	ssize_t r = -ESPIPE;
	if (takes_position(f))
		r = (write ? file_write_at : file_read_at)(f, buffer, bytes, &at);
	file_put(f);
	return r;
}

long sys_pread64(uint64_t fd, uint64_t buffer, uint64_t bytes, uint64_t offset)
{
	return call_at(fd, buffer, bytes, (off_t)offset, false);
}

long sys_pwrite64(uint64_t fd, uint64_t buffer, uint64_t bytes, uint64_t offset)
{
	return call_at(fd, buffer, bytes, (off_t)offset, true);
}

/* ---- vectors ------------------------------------------------------------------------ */

struct vector {
	struct user_iovec few[8], *v;
	size_t count;
};

static int vector_get(struct vector *vec, uint64_t user, uint64_t count)
{
	uint64_t total = 0;
	if (count > IOV_MAX)
		return -EINVAL;
	vec->count = count;
	vec->v = vec->few;
	if (count > ARRAY_COUNT(vec->few) && !(vec->v = account_alloc(count * sizeof(*vec->v))))
		return -ENOMEM;
	int r = copy_from_user(vec->v, user, count * sizeof(*vec->v)) ? -EFAULT : 0;
	for (size_t i = 0; !r && i < count; i++) {
		struct user_iovec *v = &vec->v[i];
		if ((int64_t)v->bytes < 0)
			r = -EINVAL;
		else if (!user_range_ok(v->base, v->bytes))
			r = -EFAULT;
		v->bytes = mem_min(v->bytes, RW_MAX - total);
		total += v->bytes;
	}
	if (r && vec->v != vec->few)
		account_free(vec->v);
	return r;
}

static ssize_t vector_run(struct file *f, struct vector *vec, off_t *at, bool write)
{
	ssize_t done = 0;
	for (size_t i = 0; i < vec->count; i++) {
		if (!vec->v[i].bytes && vec->count > 1)
			continue;
		ssize_t r =
		    (write ? file_write_at : file_read_at)(f, vec->v[i].base, vec->v[i].bytes, at);
		if (r < 0)
			return done ? done : r;
		done += r;
		if ((size_t)r < vec->v[i].bytes)
			break;
		/* What blocks must not block for more when it has some. */
		if (!write && (f->mode & FILE_STREAM) && i + 1 < vec->count && f->ops->poll &&
		    !(f->ops->poll(f, NULL) & POLLIN))
			break;
	}
	return done;
}

/* What goes out in one piece must come from one piece: the bytes of a short
 * vector are gathered first, and then written as by one write(). */
static ssize_t vector_write_gathered(struct file *f, struct vector *vec, size_t bytes, off_t *at)
{
	char *whole = kmalloc(bytes);
	size_t used = 0;
	ssize_t r = whole ? 0 : -ENOMEM;
	for (size_t i = 0; !r && i < vec->count; i++) {
		if (copy_from_user(whole + used, vec->v[i].base, vec->v[i].bytes))
			r = -EFAULT;
		used += vec->v[i].bytes;
	}
	if (!r)
		r = f->ops->write ? f->ops->write(f, (uint64_t)whole, bytes, at) : -EINVAL;
	kfree(whole);
	return r;
}

static ssize_t vector_write(struct file *f, struct vector *vec, off_t *at)
{
	size_t bytes = 0;
	for (size_t i = 0; i < vec->count; i++)
		bytes += vec->v[i].bytes;
	if ((f->mode & FILE_STREAM) && vec->count > 1 && bytes && bytes <= PIPE_BUF)
		return vector_write_gathered(f, vec, bytes, at);
	return vector_run(f, vec, at, true);
}

static ssize_t vector_call(uint64_t fd, uint64_t user, uint64_t count, const off_t *offset,
			   bool write)
{
	struct vector vec;
	off_t none, at = offset ? *offset : 0;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	ssize_t r = !(f->mode & (write ? FILE_WRITE : FILE_READ)) ? -EBADF : 0;
	if (!r && offset && !takes_position(f))
		r = -ESPIPE;
	if (!r)
		r = vector_get(&vec, user, count);
	if (r) {
		file_put(f);
		return r;
	}
	if (offset) {
		r = write ? vector_write(f, &vec, &at) : vector_run(f, &vec, &at, false);
	} else {
		off_t *own = position_take(f, &none);
		r = write ? vector_write(f, &vec, own) : vector_run(f, &vec, own, false);
		position_give(f);
	}
	if (vec.v != vec.few)
		account_free(vec.v);
	file_put(f);
	return r;
}

long sys_readv(uint64_t fd, uint64_t vec, uint64_t count)
{
	return vector_call(fd, vec, count, NULL, false);
}

long sys_writev(uint64_t fd, uint64_t vec, uint64_t count)
{
	return vector_call(fd, vec, count, NULL, true);
}

static long vector_call_at(uint64_t fd, uint64_t vec, uint64_t count, off_t at, bool write)
{
	return at < 0 ? -EINVAL : vector_call(fd, vec, count, &at, write);
}

long sys_preadv(uint64_t fd, uint64_t vec, uint64_t count, uint64_t low, uint64_t high)
{
	return vector_call_at(fd, vec, count, (off_t)low, false);
}

long sys_pwritev(uint64_t fd, uint64_t vec, uint64_t count, uint64_t low, uint64_t high)
{
	return vector_call_at(fd, vec, count, (off_t)low, true);
}

/* Flags: RWF_HIPRI, DSYNC and SYNC change nothing here; the rest is refused. */
#define RWF_HARMLESS 7ull

static long vector_call_2(uint64_t fd, uint64_t vec, uint64_t count, off_t at, uint64_t flags,
			  bool write)
{
	if (flags & ~RWF_HARMLESS)
		return -EOPNOTSUPP;
	if (at == -1) /* the file's own position */
		return vector_call(fd, vec, count, NULL, write);
	return vector_call_at(fd, vec, count, at, write);
}

long sys_preadv2(uint64_t fd, uint64_t vec, uint64_t count, uint64_t low, uint64_t high,
		 uint64_t flags)
{
	return vector_call_2(fd, vec, count, (off_t)low, flags, false);
}

long sys_pwritev2(uint64_t fd, uint64_t vec, uint64_t count, uint64_t low, uint64_t high,
		  uint64_t flags)
{
	return vector_call_2(fd, vec, count, (off_t)low, flags, true);
}

/* ---- position ------------------------------------------------------------------------- */

static off_t seek_to(struct file *f, off_t offset, int whence)
{
	off_t base = 0, to;
	switch (whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		base = f->position;
		break;
	case SEEK_END:
		if (inode_is(f->inode, S_IFDIR))
			base = 0;
		else
			base = (off_t)inode_bytes(f->inode);
		break;
	case SEEK_DATA:
	case SEEK_HOLE:
		to = f->ops->seek ? f->ops->seek(f, offset, whence) : -EINVAL;
		if (to >= 0)
			f->position = to;
		return to;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, offset, &to))
		return -EOVERFLOW;
	if (to < 0)
		return -EINVAL;
	f->position = to;
	return to;
}

long sys_lseek(uint64_t fd, uint64_t offset, uint64_t whence)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	off_t r = (f->mode & FILE_ANYWHERE) ? 0 : -ESPIPE;
	if (has_position(f)) {
		mutex_lock(&f->position_lock);
		r = seek_to(f, (off_t)offset, (int)whence);
		mutex_unlock(&f->position_lock);
	}
	file_put(f);
	return r;
}
