/* SPDX-License-Identifier: MIT */
/*
 * Asking about files: stat in its forms, access, readlink, getcwd.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

static void split_time(nsec_t t, uint64_t *sec, uint64_t *nsec)
{
	*sec = t / NSEC_PER_SEC;
	*nsec = t % NSEC_PER_SEC;
}

static uint64_t inode_blocks(const struct inode *i)
{
	return i->object ? vm_object_npages(i->object) * (PAGE_SIZE / 512) : 0;
}

static void fill_stat(struct dentry *d, struct user_stat *s)
{
	struct inode *i = d->inode;
	if (i->ops && i->ops->refresh)
		i->ops->refresh(i);
	memset(s, 0, sizeof(*s));
	s->dev = i->mount->dev;
	s->ino = i->ino;
	s->nlink = i->nlink;
	s->mode = i->mode;
	s->uid = i->uid;
	s->gid = i->gid;
	s->rdev = i->rdev;
	s->size = (int64_t)inode_bytes(i);
	if (inode_is(i, S_IFDIR) && !i->ops)
		s->size = 40 + 20 * (int64_t)d->child_count;
	s->blksize = i->ops ? 1024 : PAGE_SIZE;
	s->blocks = (int64_t)inode_blocks(i);
	split_time(i->atime, &s->atime, &s->atime_nsec);
	split_time(i->mtime, &s->mtime, &s->mtime_nsec);
	split_time(i->ctime, &s->ctime, &s->ctime_nsec);
}

/* Look up for the ...at calls: path and AT_* flags. */
static int lookup_at(uint64_t dirfd, uint64_t user_path, unsigned flags, struct dentry **out)
{
	int error = 0;
	unsigned walk = (flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW;
	if (flags & AT_EMPTY_PATH)
		walk |= WALK_EMPTY;
	char *path = path_from_user(user_path, flags & AT_EMPTY_PATH, &error);
	if (!path)
		return error;
	int r = path_lookup((int)dirfd, path, walk, out);
	kfree(path);
	return r;
}

static long stat_at(uint64_t dirfd, uint64_t path, uint64_t buffer, unsigned flags)
{
	struct dentry *d;
	struct user_stat s;
	int r = lookup_at(dirfd, path, flags, &d);
	if (r)
		return r;
	fill_stat(d, &s);
	dentry_put(d);
	return copy_to_user(buffer, &s, sizeof(s));
}

long sys_stat(uint64_t path, uint64_t buffer)
{
	return stat_at((uint64_t)AT_FDCWD, path, buffer, 0);
}

long sys_lstat(uint64_t path, uint64_t buffer)
{
	return stat_at((uint64_t)AT_FDCWD, path, buffer, AT_SYMLINK_NOFOLLOW);
}

long sys_fstat(uint64_t fd, uint64_t buffer)
{
	struct user_stat s;
	struct file *f = fd_get_any((int)fd);
	if (!f)
		return -EBADF;
	fill_stat(f->dentry, &s);
	file_put(f);
	return copy_to_user(buffer, &s, sizeof(s));
}

long sys_newfstatat(uint64_t dirfd, uint64_t path, uint64_t buffer, uint64_t flags)
{
	if (flags & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	return stat_at(dirfd, path, buffer, (unsigned)flags);
}

static struct user_statx_time statx_time(nsec_t t)
{
	return (struct user_statx_time){.sec = (int64_t)(t / NSEC_PER_SEC),
					.nsec = (uint32_t)(t % NSEC_PER_SEC)};
}

#define STATX_ALL 0xfffu
#define STATX_MNT 0x1000u

long sys_statx(uint64_t dirfd, uint64_t path, uint64_t flags, uint64_t mask, uint64_t buffer)
{
	struct dentry *d;
	struct user_stat s;
	if (flags & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | 0x6000))
		return -EINVAL;
	if ((flags & 0x6000) == 0x6000 || (mask & 0x80000000))
		return -EINVAL;
	int r = lookup_at(dirfd, path, (unsigned)flags, &d);
	if (r)
		return r;
	fill_stat(d, &s);
	struct user_statx x = {
	    .mask = STATX_ALL | STATX_MNT,
	    .blksize = (uint32_t)s.blksize,
	    .nlink = (uint32_t)s.nlink,
	    .uid = s.uid,
	    .gid = s.gid,
	    .mode = (uint16_t)s.mode,
	    .ino = s.ino,
	    .size = (uint64_t)s.size,
	    .blocks = (uint64_t)s.blocks,
	    .atime = statx_time(d->inode->atime),
	    .btime = statx_time(d->inode->btime),
	    .ctime = statx_time(d->inode->ctime),
	    .mtime = statx_time(d->inode->mtime),
	    .rdev_major = dev_major(s.rdev),
	    .rdev_minor = dev_minor(s.rdev),
	    .dev_major = dev_major(s.dev),
	    .dev_minor = dev_minor(s.dev),
	    .mnt_id = d->inode->mount->id,
	    .attributes_mask = 0x2000, /* STATX_ATTR_MOUNT_ROOT */
	    .attributes = d->parent == d ? 0x2000 : 0,
	};
	dentry_put(d);
	return copy_to_user(buffer, &x, sizeof(x));
}

/* ---- access ----------------------------------------------------------------------------- */

static long access_at(uint64_t dirfd, uint64_t path, uint64_t mode, unsigned flags)
{
	struct dentry *d;
	if (mode & ~7ull)
		return -EINVAL;
	if (flags & ~(unsigned)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	int r = lookup_at(dirfd, path, flags, &d);
	if (r)
		return r;
	/* As if the real numbers were the effective ones: root's may all that it could have. */
	const struct identity *id = &current_process()->id;
	struct file_user real = {id->uid, id->gid, id->uid ? 0 : id->permitted};
	if (mode)
		r = (flags & AT_EACCESS) ? inode_permission(d->inode, (unsigned)mode)
					 : inode_permission_as(d->inode, (unsigned)mode, &real);
	dentry_put(d);
	return r;
}

long sys_access(uint64_t path, uint64_t mode)
{
	return access_at((uint64_t)AT_FDCWD, path, mode, 0);
}

long sys_faccessat(uint64_t dirfd, uint64_t path, uint64_t mode)
{
	return access_at(dirfd, path, mode, 0);
}

long sys_faccessat2(uint64_t dirfd, uint64_t path, uint64_t mode, uint64_t flags)
{
	return access_at(dirfd, path, mode, (unsigned)flags);
}

/* ---- readlink, getcwd ---------------------------------------------------------------------- */

static ssize_t read_link(struct dentry *d, char *text)
{
	const struct inode_ops *ops = d->inode->ops;
	if (!inode_is(d->inode, S_IFLNK))
		return -EINVAL;
	if (ops && ops->readlink)
		return ops->readlink(d, text, PATH_MAX);
	return (ssize_t)kstrlcpy(text, d->inode->link, PATH_MAX);
}

long sys_readlinkat(uint64_t dirfd, uint64_t path, uint64_t buffer, uint64_t bytes)
{
	struct dentry *d;
	if ((int)bytes <= 0)
		return -EINVAL;
	int r = lookup_at(dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, &d);
	if (r)
		return r;
	char *text = kmalloc(PATH_MAX);
	ssize_t length = text ? read_link(d, text) : -ENOMEM;
	dentry_put(d);
	if (length > (ssize_t)(int)bytes)
		length = (int)bytes;
	if (length > 0 && copy_to_user(buffer, text, (size_t)length))
		length = -EFAULT;
	kfree(text);
	return length;
}

long sys_readlink(uint64_t path, uint64_t buffer, uint64_t bytes)
{
	char first;
	if ((int)bytes <= 0)
		return -EINVAL;
	if (copy_from_user(&first, path, 1))
		return -EFAULT;
	if (!first)
		return -ENOENT; /* only readlinkat takes "" */
	return sys_readlinkat((uint64_t)AT_FDCWD, path, buffer, bytes);
}

long sys_getcwd(uint64_t buffer, uint64_t bytes)
{
	char *text = kmalloc(PATH_MAX), *start;
	bool reachable, deleted;
	if (!text)
		return -ENOMEM;
	struct dentry *cwd = context_cwd(), *root = context_root();
	ssize_t length = dentry_path(cwd, root, text, PATH_MAX, &start, &reachable, &deleted);
	dentry_put(cwd);
	dentry_put(root);
	if (length >= 0) {
		if (!reachable)
			length = -ENOENT;
		else if ((uint64_t)length + 1 > bytes)
			length = -ERANGE;
		else if (copy_to_user(buffer, start, (size_t)length + 1))
			length = -EFAULT;
		else
			length++;
	}
	kfree(text);
	return length;
}
