/* SPDX-License-Identifier: MIT */
/* fcntl, ioctl for every kind of file, and the calls that flush nothing. */
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "kernel/fs/fd.h"
#include "kernel/fs/lock.h"
#include "kernel/syscall/syscalls.h"

#define FIONREAD    0x541b
#define FIONBIO     0x5421
#define FIONCLEX    0x5450
#define FIOCLEX     0x5451
#define FIOASYNC    0x5452
#define FIOQSIZE    0x5460
#define F_SETSIG    10
#define F_GETSIG    11
#define F_GETOWN_EX 16
#define F_GET_SEALS 1034

#define SETTABLE (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

static void set_file_flags(struct file *f, unsigned set, unsigned clear)
{
	uint32_t old = atomic_read_relaxed(&f->flags);
	while (!atomic_cas(&f->flags, &old, (old & ~clear) | set))
		;
}

static long fcntl_file(struct file *f, int fd, unsigned command, uint64_t arg)
{
	switch (command) {
	case F_GETFL:
		return f->flags;
	case F_SETFL:
		set_file_flags(f, (unsigned)arg & SETTABLE, SETTABLE);
		return 0;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return lock_fcntl(f, command, arg);
	case F_SETOWN:
		f->owner = (pid_t)arg;
		return 0;
	case F_GETOWN:
		return f->owner;
	case F_GETSIG:
		return 0;
	case F_SETSIG:
		return arg ? -EINVAL : 0;
	case F_SETPIPE_SZ:
		return pipe_set_size(f, (unsigned)arg);
	case F_GETPIPE_SZ:
		return pipe_get_size(f);
	default:
		return -EINVAL;
	}
}

long sys_fcntl(uint64_t fd, uint64_t command, uint64_t arg)
{
	unsigned c = (unsigned)command;
	if (c == F_DUPFD || c == F_DUPFD_CLOEXEC) {
		struct file *f = fd_get_any((int)fd);
		if (!f)
			return -EBADF;
		file_put(f);
		return fd_dup_from((int)fd, (unsigned)arg, c == F_DUPFD_CLOEXEC);
	}
	if (c == F_GETFD)
		return fd_flags((int)fd);
	if (c == F_SETFD)
		return fd_set_flags((int)fd, arg & FD_CLOEXEC);
	struct file *f = c == F_GETFL ? fd_get_any((int)fd) : fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r = fcntl_file(f, (int)fd, c, arg);
	file_put(f);
	return r;
}

static long ioctl_file(struct file *f, unsigned command, uint64_t arg)
{
	int on;
	if (command == FIONBIO || command == FIOASYNC) {
		if (copy_from_user(&on, arg, sizeof(on)))
			return -EFAULT;
		unsigned flag = command == FIONBIO ? O_NONBLOCK : O_ASYNC;
		set_file_flags(f, on ? flag : 0, flag);
		return 0;
	}
	if (command == FIONREAD && inode_is(f->inode, S_IFREG) && f->inode->object) {
		on = (int)(inode_bytes(f->inode) - (uint64_t)f->position);
		return copy_to_user(arg, &on, sizeof(on));
	}
	if (command == FIOQSIZE && (inode_is(f->inode, S_IFREG) || inode_is(f->inode, S_IFDIR))) {
		int64_t size = (int64_t)inode_bytes(f->inode);
		return copy_to_user(arg, &size, sizeof(size));
	}
	return f->ops->ioctl ? f->ops->ioctl(f, command, arg) : -ENOTTY;
}

long sys_ioctl(uint64_t fd, uint64_t command, uint64_t arg)
{
	unsigned c = (unsigned)command;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r;
	if (c == FIOCLEX || c == FIONCLEX)
		r = fd_set_flags((int)fd, c == FIOCLEX);
	else
		r = ioctl_file(f, c, arg);
	file_put(f);
	return r;
}

/* ---- memory is the storage: nothing to write back --------------------------------------- */

static long sync_fd(uint64_t fd, bool any)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	bool can = any || inode_is(f->inode, S_IFREG) || inode_is(f->inode, S_IFDIR);
	file_put(f);
	return can ? 0 : -EINVAL;
}

long sys_fsync(uint64_t fd)
{
	return sync_fd(fd, false);
}

long sys_fdatasync(uint64_t fd)
{
	return sync_fd(fd, false);
}

long sys_syncfs(uint64_t fd)
{
	return sync_fd(fd, true);
}

long sys_sync(void)
{
	return 0;
}

long sys_sync_file_range(uint64_t fd, uint64_t offset, uint64_t bytes, uint64_t flags)
{
	int64_t end;
	if ((flags & ~7ull) || (int64_t)offset < 0 || (int64_t)bytes < 0 ||
	    __builtin_add_overflow((int64_t)offset, (int64_t)bytes, &end))
		return -EINVAL;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	bool stream = f->mode & FILE_STREAM;
	file_put(f);
	return stream ? -ESPIPE : 0;
}

long sys_fadvise64(uint64_t fd, uint64_t offset, uint64_t bytes, uint64_t advice)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r = 0;
	if (inode_is(f->inode, S_IFIFO))
		r = -ESPIPE;
	else if ((int64_t)bytes < 0 || advice > 5)
		r = -EINVAL;
	file_put(f);
	return r;
}

long sys_readahead(uint64_t fd, uint64_t offset, uint64_t bytes)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r = !file_can_read(f) ? -EBADF : f->inode->object ? 0 : -EINVAL;
	file_put(f);
	return r;
}
