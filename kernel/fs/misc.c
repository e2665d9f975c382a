/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes, which no file system here keeps, and the system log call.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/secrets.h"
#include "kernel/syscall/syscalls.h"

#define XATTR_NAME_MAX  255
#define XATTR_VALUE_MAX 65536

/* What a call on extended attributes names: read for the errors that it may have. */
struct xattr {
	bool named;
	uint64_t name, value, bytes;
};

static long check_xattr(const struct xattr *x)
{
	char name[XATTR_NAME_MAX + 1], piece[256];
	ssize_t n = x->named ? strncpy_from_user(name, x->name, sizeof(name)) : 1;
	if (n == -EFAULT)
		return -EFAULT;
	if (n <= 0)
		return -ERANGE;
	if (x->bytes > XATTR_VALUE_MAX)
		return -E2BIG;
	for (uint64_t at = 0; at < x->bytes; at += sizeof(piece))
		if (copy_from_user(piece, x->value + at,
				   mem_min(x->bytes - at, (uint64_t)sizeof(piece))))
			return -EFAULT;
	return 0;
}

/* Reach the file as the real call would, so that its errors come first. */
static long xattr_path(uint64_t user_path, unsigned walk, const struct xattr *x, long result)
{
	int error = 0;
	struct dentry *d;
	char *path = path_from_user(user_path, false, &error);
	if (!path)
		return error;
	long r = path_lookup(AT_FDCWD, path, walk, &d);
	kfree(path);
	if (r)
		return r;
	r = check_xattr(x);
	dentry_put(d);
	return r ? r : result;
}

static long xattr_fd(uint64_t fd, const struct xattr *x, long result)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	long r = check_xattr(x);
	file_put(f);
	return r ? r : result;
}

#define NO_XATTR       (&(const struct xattr){0})
#define XATTR_NAMED(n) (&(const struct xattr){.named = true, .name = (n)})
#define XATTR_SET(n, v, b)                                                                         \
	(&(const struct xattr){.named = true, .name = (n), .value = (v), .bytes = (b)})

long sys_setxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t bytes, uint64_t flags)
{
	return xattr_path(path, WALK_FOLLOW, XATTR_SET(name, value, bytes), -EOPNOTSUPP);
}
long sys_lsetxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t bytes, uint64_t flags)
{
	return xattr_path(path, 0, XATTR_SET(name, value, bytes), -EOPNOTSUPP);
}
long sys_fsetxattr(uint64_t fd, uint64_t name, uint64_t value, uint64_t bytes, uint64_t flags)
{
	return xattr_fd(fd, XATTR_SET(name, value, bytes), -EOPNOTSUPP);
}
long sys_getxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t bytes)
{
	return xattr_path(path, WALK_FOLLOW, XATTR_NAMED(name), -EOPNOTSUPP);
}
long sys_lgetxattr(uint64_t path, uint64_t name, uint64_t value, uint64_t bytes)
{
	return xattr_path(path, 0, XATTR_NAMED(name), -EOPNOTSUPP);
}
long sys_fgetxattr(uint64_t fd, uint64_t name, uint64_t value, uint64_t bytes)
{
	return xattr_fd(fd, XATTR_NAMED(name), -EOPNOTSUPP);
}

long sys_listxattr(uint64_t path, uint64_t list, uint64_t bytes)
{
	return xattr_path(path, WALK_FOLLOW, NO_XATTR, 0);
}
long sys_llistxattr(uint64_t path, uint64_t list, uint64_t bytes)
{
	return xattr_path(path, 0, NO_XATTR, 0);
}
long sys_flistxattr(uint64_t fd, uint64_t list, uint64_t bytes)
{
	return xattr_fd(fd, NO_XATTR, 0);
}
long sys_removexattr(uint64_t path, uint64_t name)
{
	return xattr_path(path, WALK_FOLLOW, XATTR_NAMED(name), -EOPNOTSUPP);
}
long sys_lremovexattr(uint64_t path, uint64_t name)
{
	return xattr_path(path, 0, XATTR_NAMED(name), -EOPNOTSUPP);
}
long sys_fremovexattr(uint64_t fd, uint64_t name)
{
	return xattr_fd(fd, XATTR_NAMED(name), -EOPNOTSUPP);
}

/* ---- the log: syslog(2) ---------------------------------------------------------------- */

enum {
	LOG_CLOSE,
	LOG_OPEN,
	LOG_READ,
	LOG_READ_ALL,
	LOG_READ_CLEAR,
	LOG_CLEAR,
	LOG_CONSOLE_OFF,
	LOG_CONSOLE_ON,
	LOG_CONSOLE_LEVEL,
	LOG_UNREAD,
	LOG_SIZE,
};
#define LOG_BYTES 65536

static uint64_t cleared_at, read_at; /* absolute positions */

/* The newest `bytes` bytes from *at on. */
static long log_copy(uint64_t *at, uint64_t buffer, uint64_t bytes, bool newest)
{
	char *text = kmalloc(LOG_BYTES);
	size_t used = 0, n;
	long r;
	if (!text)
		return -ENOMEM;
	while (used < LOG_BYTES && (n = klog_read(at, text + used, LOG_BYTES - used)))
		used += n;
	size_t give = mem_min(used, (size_t)bytes);
	r = (long)give;
	if (copy_to_user(buffer, newest ? text + used - give : text, give))
		r = -EFAULT;
	if (!newest)
		*at -= used - give;
	kfree(text);
	return r;
}

long sys_syslog(uint64_t action, uint64_t buffer, uint64_t bytes)
{
	uint64_t at = atomic_read_relaxed(&cleared_at);
	long r;
	bool harmless = action == LOG_READ_ALL || action == LOG_SIZE;
	if (!capable(CAP_SYSLOG) && !(harmless && secrets_log_shown()))
		return -EPERM;
	switch ((unsigned)action) {
	case LOG_CLOSE:
	case LOG_OPEN:
	case LOG_CONSOLE_OFF: /* the console is the log port, always on */
	case LOG_CONSOLE_ON:
		return 0;
	case LOG_CONSOLE_LEVEL:
		return bytes < 1 || bytes > 8 ? -EINVAL : 0;
	case LOG_SIZE:
		return LOG_BYTES;
	case LOG_UNREAD:
		return 0;
	case LOG_READ:
	case LOG_READ_ALL:
	case LOG_READ_CLEAR:
		if (!buffer || (int)bytes < 0)
			return -EINVAL;
		if (action == LOG_READ) {
			at = atomic_read_relaxed(&read_at);
			r = log_copy(&at, buffer, (uint32_t)bytes, false);
			atomic_write_relaxed(&read_at, at);
			return r;
		}
		r = log_copy(&at, buffer, (uint32_t)bytes, true);
		if (action == LOG_READ_CLEAR && r >= 0)
			atomic_write_relaxed(&cleared_at, at);
		return r;
	case LOG_CLEAR: {
		char chunk[256];
		while (klog_read(&at, chunk, sizeof(chunk)))
			;
		atomic_write_relaxed(&cleared_at, at);
		return 0;
	}
	default:
		return -EINVAL;
	}
}
