/* SPDX-License-Identifier: MIT */
/*
 * open(2) and its relatives.
 *
 * Order of events, so that a call that fails has done nothing: flags are
 * checked, a descriptor number is reserved, the name is found or made (under
 * the exclusive tree lock, looking again), the file is opened, and only then is
 * it truncated. What can still fail after that is nothing.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/fd.h"
#include "kernel/syscall/syscalls.h"

#define OPEN_FLAGS                                                                                 \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC |      \
	 O_ASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC |     \
	 O_PATH | O_TMPFILE)

static unsigned access_wanted(unsigned flags)
{
	static const uint8_t want[4] = {R_OK, W_OK, R_OK | W_OK, R_OK | W_OK};
	unsigned w = want[flags & O_ACCMODE];
	return (flags & O_TRUNC) ? w | W_OK : w;
}

static int check_open(struct dentry *d, unsigned flags)
{
	struct inode *inode = d->inode;
	if (inode_is(inode, S_IFLNK))
		return (flags & O_PATH) ? 0 : -ELOOP;
	if ((flags & O_DIRECTORY) && !inode_is(inode, S_IFDIR))
		return -ENOTDIR;
	if (flags & O_PATH)
		return 0;
	if (inode_is(inode, S_IFDIR) && ((access_wanted(flags) & W_OK) || (flags & O_CREAT)))
		return -EISDIR;
	if ((flags & O_NOATIME) && !inode_owner_ok(inode))
		return -EPERM;
	return inode_permission(inode, access_wanted(flags));
}

/* Make the file that `last` names, unless somebody was faster. */
static int create_in(struct path_last *last, uint32_t mode, bool exclusive, struct dentry **out,
		     bool *created)
{
	int r = 0;
	tree_write();
	struct dentry *there = NULL;
	if (!last->parent->hashed && last->parent->parent != last->parent)
		r = -ENOENT; /* the directory was removed meanwhile */
	else
		r = dentry_step(last->parent, last->name, last->length, &there);
	if (!r && exclusive) {
		dentry_put(there);
		r = -EEXIST;
	} else if (!r) {
		*out = there;
	} else if (r == -ENOENT &&
		   (last->parent->inode->ops ||
		    (!last->parent->hashed && last->parent->parent != last->parent))) {
		/* /proc has no room for names of others; and see above. */
	} else if (r == -ENOENT) {
		r = inode_permission(last->parent->inode, W_OK | X_OK);
		if (!r)
			r = tmpfs_create(last->parent, last->name, last->length, S_IFREG | mode, 0,
					 NULL, out);
		*created = !r;
	}
	tree_write_done();
	return r;
}

static int find_or_create(int dirfd, const char *path, unsigned flags, uint32_t mode, unsigned walk,
			  struct dentry **out, bool *created)
{
	struct path_last last;
	int r;
	if (!(flags & O_CREAT)) {
		if (!(flags & O_NOFOLLOW))
			walk |= WALK_FOLLOW;
		return path_lookup(dirfd, path, walk, out);
	}
	if (!(flags & (O_EXCL | O_NOFOLLOW)))
		walk |= WALK_FOLLOW;
	r = path_parent(dirfd, path, walk, &last);
	if (r)
		return r;
	if (last.dots || last.slash) {
		r = -EISDIR;
		if (last.found && (flags & O_EXCL))
			r = -EEXIST;
	} else if (last.found) {
		r = (flags & O_EXCL) ? -EEXIST : 0;
		if (!r)
			*out = dentry_get(last.found);
	} else {
		r = create_in(&last, mode & 07777 & ~context_current()->umask, flags & O_EXCL, out,
			      created);
	}
	path_last_put(&last);
	return r;
}

/* O_TMPFILE: a file without a name in this directory's mount. */
static int make_nameless(int dirfd, const char *path, unsigned flags, uint32_t mode, unsigned walk,
			 struct dentry **out)
{
	struct dentry *dir;
	struct inode *inode;
	char name[32];
	int r = path_lookup(dirfd, path, walk | WALK_FOLLOW | WALK_DIRECTORY, &dir);
	if (r)
		return r;
	r = inode_permission(dir->inode, W_OK | X_OK);
	if (!r && dir->inode->ops)
		r = -EOPNOTSUPP;
	if (!r)
		r = tmpfs_inode(dir->inode->mount,
				S_IFREG | (mode & 07777 & ~context_current()->umask), 0, NULL,
				&inode);
	if (!r) {
		int n = ksnprintf(name, sizeof(name), "#%lu", (unsigned long)inode->ino);
		*out = dentry_new(dir, name, (unsigned)n, inode);
		if (!*out) {
			inode_put(inode);
			r = -ENOMEM;
		} else {
			inode->nlink = 0;
			inode->number = (flags & O_EXCL) ? 0 : 1; /* may be linked later */
		}
	}
	dentry_put(dir);
	return r;
}

static int truncate_opened(struct file *f)
{
	struct inode *inode = f->inode;
	if (!inode_is(inode, S_IFREG) || !inode->object)
		return 0;
	mutex_lock(&inode->lock);
	int r = tmpfs_resize(inode, 0);
	if (!r) {
		inode_drop_set_id(inode);
		inode_touch(inode, true);
	}
	mutex_unlock(&inode->lock);
	return r;
}

static struct file *open_path(int dirfd, const char *path, unsigned flags, uint32_t mode,
			      unsigned walk, int *error)
{
	struct dentry *d = NULL;
	struct file *f = NULL;
	bool created = false;
	int r;
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		r = make_nameless(dirfd, path, flags, mode, walk, &d);
		created = !r;
	} else {
		r = find_or_create(dirfd, path, flags, mode, walk, &d, &created);
	}
	if (!r && !created)
		r = check_open(d, flags);
	if (!r) {
		unsigned open_flags = flags;
		if ((flags & O_TMPFILE) == O_TMPFILE)
			open_flags &= ~(unsigned)O_DIRECTORY;
		f = file_open_dentry(d, open_flags, &r);
	}
	if (f && (flags & O_TRUNC) && !created && !(flags & O_PATH))
		r = truncate_opened(f);
	dentry_put(d);
	if (r && f) {
		file_put(f);
		f = NULL;
	}
	*error = r;
	return f;
}

static long open_checked(int dirfd, uint64_t user_path, unsigned flags, uint32_t mode,
			 unsigned walk)
{
	int error = 0;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if ((flags & 020000000) && ((flags & O_TMPFILE) != O_TMPFILE ||
				    (flags & O_ACCMODE) == O_RDONLY || (flags & O_CREAT)))
		return -EINVAL;
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		return -EINVAL;
	char *path = path_from_user(user_path, false, &error);
	if (!path)
		return error;
	int fd = fd_reserve(0);
	if (fd < 0) {
		kfree(path);
		return fd;
	}
	struct file *f = open_path(dirfd, path, flags, mode, walk, &error);
	kfree(path);
	if (!f) {
		fd_unreserve(fd);
		return error;
	}
	fd_fill(fd, f, flags & O_CLOEXEC);
	return fd;
}

long sys_open(uint64_t path, uint64_t flags, uint64_t mode)
{
	return open_checked(AT_FDCWD, path, (unsigned)flags & OPEN_FLAGS, (uint32_t)mode, 0);
}

long sys_openat(uint64_t dirfd, uint64_t path, uint64_t flags, uint64_t mode)
{
	return open_checked((int)dirfd, path, (unsigned)flags & OPEN_FLAGS, (uint32_t)mode, 0);
}

long sys_creat(uint64_t path, uint64_t mode)
{
	return open_checked(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, (uint32_t)mode, 0);
}

/* Struct open_how: three 64-bit words; longer ones must be zero behind. */
long sys_openat2(uint64_t dirfd, uint64_t path, uint64_t user_how, uint64_t bytes)
{
	uint64_t how[3], extra;
	if (bytes < sizeof(how))
		return -EINVAL;
	if (bytes > PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(how, user_how, sizeof(how)))
		return -EFAULT;
	for (uint64_t at = sizeof(how); at < bytes; at += 8) {
		size_t n = mem_min(bytes - at, (uint64_t)8);
		extra = 0;
		if (copy_from_user(&extra, user_how + at, n))
			return -EFAULT;
		if (extra)
			return -E2BIG;
	}
	uint64_t flags = how[0], resolve = how[2];
	bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	if ((flags & ~(uint64_t)OPEN_FLAGS) || (resolve & ~0x3full) || (how[1] & ~07777ull) ||
	    (how[1] && !creates) || (resolve & 0x18) == 0x18)
		return -EINVAL;
	if (resolve & 0x20) /* RESOLVE_CACHED: as if nothing ever is */
		return -EAGAIN;
	unsigned walk = 0;
	walk |= (resolve & 0x01) ? WALK_NO_XDEV : 0;
	walk |= (resolve & 0x02) ? WALK_NO_MAGIC : 0;
	walk |= (resolve & 0x04) ? WALK_NO_LINKS : 0;
	walk |= (resolve & 0x08) ? WALK_BENEATH : 0;
	walk |= (resolve & 0x10) ? WALK_IN_ROOT : 0;
	return open_checked((int)dirfd, path, (unsigned)flags, (uint32_t)how[1], walk);
}

/* ---- a file of memory ---------------------------------------------------------- */

long sys_memfd_create(uint64_t user_name, uint64_t flags)
{
	char name[260] = "memfd:";
	if (flags & ~3ull) /* MFD_CLOEXEC, MFD_ALLOW_SEALING */
		return -EINVAL;
	ssize_t length = strncpy_from_user(name + 6, user_name, 250);
	if (length < 0)
		return length == -ENAMETOOLONG ? -EINVAL : length;
	int fd = fd_reserve(0), r = 0;
	if (fd < 0)
		return fd;
	struct inode *inode;
	struct dentry *d = NULL;
	struct file *f = NULL;
	r = tmpfs_inode(root_dentry->inode->mount, S_IFREG | 0777, 0, NULL, &inode);
	if (!r) {
		inode->nlink = 0;
		d = dentry_new(root_dentry, name, (unsigned)kstrlen(name), inode);
		if (!d) {
			inode_put(inode);
			r = -ENOMEM;
		}
	}
	if (!r)
		f = file_open_dentry(d, O_RDWR, &r);
	dentry_put(d);
	if (!f) {
		fd_unreserve(fd);
		return r;
	}
	fd_fill(fd, f, flags & 1);
	return fd;
}
