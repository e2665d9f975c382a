/* SPDX-License-Identifier: MIT */
/*
 * Making and removing names: mkdir, mknod, symlink, link, unlink, rmdir.
 *
 * Each finds the parent under the shared lock, then takes the tree lock
 * exclusively, looks again, checks, and changes. Nothing in between can fail
 * half way: what needs memory is made before it is hooked in.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

/* May names be made in or taken from this directory? Tree lock held. */
int dir_may_change(struct dentry *dir)
{
	if (dir->inode->ops)
		return -EPERM; /* computed */
	if (!dir->hashed && dir->parent != dir)
		return -ENOENT; /* removed */
	return inode_permission(dir->inode, W_OK | X_OK);
}

/* The sticky bit: only owners remove names. */
int dir_may_remove(struct dentry *dir, struct dentry *d)
{
	int r = dir_may_change(dir);
	if (r)
		return r;
	if ((dir->inode->mode & S_ISVTX) && !inode_owner_ok(d->inode) &&
	    !inode_owner_ok(dir->inode))
		return -EPERM;
	return 0;
}

static int make_node(int dirfd, const char *path, uint32_t mode, uint64_t rdev, const char *link)
{
	struct path_last last;
	int r = path_parent(dirfd, path, 0, &last);
	if (r)
		return r;
	if (last.dots || last.found) {
		r = -EEXIST;
	} else if (last.parent->inode->ops || (last.slash && (mode & S_IFMT) != S_IFDIR)) {
		r = -ENOENT; /* computed directories know no names but their own */
	} else {
		tree_write();
		struct dentry *there;
		r = dentry_step(last.parent, last.name, last.length, &there);
		if (!r) {
			dentry_put(there);
			r = -EEXIST;
		} else if (r == -ENOENT) {
			r = dir_may_change(last.parent);
			if (!r)
				r = tmpfs_create(last.parent, last.name, last.length, mode, rdev,
						 link, NULL);
		}
		tree_write_done();
	}
	path_last_put(&last);
	return r;
}

int fs_make_node(const char *path, uint32_t mode, uint64_t rdev, const char *link)
{
	return make_node(AT_FDCWD, path, mode, rdev, link);
}

static long make_from_user(uint64_t dirfd, uint64_t user_path, uint32_t mode, uint64_t rdev,
			   const char *link)
{
	int error = 0;
	char *path = path_from_user(user_path, false, &error);
	if (!path)
		return error;
	long r = make_node((int)dirfd, path, mode, rdev, link);
	kfree(path);
	return r;
}

long sys_mkdirat(uint64_t dirfd, uint64_t path, uint64_t mode)
{
	uint32_t bits = (uint32_t)mode & 01777 & ~context_current()->umask;
	return make_from_user(dirfd, path, S_IFDIR | bits, 0, NULL);
}

long sys_mkdir(uint64_t path, uint64_t mode)
{
	return sys_mkdirat((uint64_t)AT_FDCWD, path, mode);
}

long sys_mknodat(uint64_t dirfd, uint64_t path, uint64_t mode, uint64_t dev)
{
	uint32_t kind = (uint32_t)mode & S_IFMT;
	uint32_t bits = (uint32_t)mode & 07777 & ~context_current()->umask;
	switch (kind) {
	case 0:
		kind = S_IFREG;
		break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	case S_IFCHR:
	case S_IFBLK:
		if (!capable(CAP_MKNOD))
			return -EPERM;
		break;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
	/* The 32-bit encoding of user space: 12 bits major, 20 minor. */
	uint64_t rdev = dev_make((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00));
	return make_from_user(dirfd, path, kind | bits,
			      kind == S_IFCHR || kind == S_IFBLK ? rdev : 0, NULL);
}

long sys_mknod(uint64_t path, uint64_t mode, uint64_t dev)
{
	return sys_mknodat((uint64_t)AT_FDCWD, path, mode, dev);
}

long sys_symlinkat(uint64_t user_text, uint64_t dirfd, uint64_t path)
{
	int error = 0;
	char *text = path_from_user(user_text, false, &error);
	if (!text)
		return error;
	long r = make_from_user(dirfd, path, S_IFLNK | 0777, 0, text);
	kfree(text);
	return r;
}

long sys_symlink(uint64_t text, uint64_t path)
{
	return sys_symlinkat(text, (uint64_t)AT_FDCWD, path);
}

/* ---- link -------------------------------------------------------------------------- */

static int link_locked(struct dentry *from, struct path_last *last)
{
	struct inode *inode = from->inode;
	struct dentry *there;
	int r = dentry_step(last->parent, last->name, last->length, &there);
	if (!r) {
		dentry_put(there);
		return -EEXIST;
	}
	if (r != -ENOENT)
		return r;
	if (inode->mount != last->parent->inode->mount)
		return -EXDEV;
	r = dir_may_change(last->parent);
	if (r)
		return r;
	if (!inode->nlink && !inode->number)
		return -ENOENT; /* gone, and no O_TMPFILE file that may be named */
	if (inode->nlink >= 65000)
		return -EMLINK;
	struct dentry *d = dentry_new(last->parent, last->name, last->length, inode_get(inode));
	if (!d) {
		inode_put(inode);
		return -ENOMEM;
	}
	bool fits = tmpfs_hold_name(d), done = fits && dentry_hash(d);
	if (done) {
		inode->nlink++;
		inode->number = 0;
		inode_touch(inode, false);
		inode_touch(last->parent->inode, true);
	}
	dentry_put(d);
	return done ? 0 : fits ? -ENOMEM : -ENOSPC;
}

static int link_paths(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	struct dentry *d;
	struct path_last last;
	unsigned walk = (flags & AT_SYMLINK_FOLLOW) ? WALK_FOLLOW : 0;
	if (flags & AT_EMPTY_PATH)
		walk |= WALK_EMPTY;
	int r = path_lookup(from_fd, from, walk, &d);
	if (r)
		return r;
	r = path_parent(to_fd, to, 0, &last);
	if (!r) {
		if (last.dots || last.found) {
			r = -EEXIST;
		} else if (inode_is(d->inode, S_IFDIR)) {
			r = -EPERM;
		} else if (last.slash || last.parent->inode->ops) {
			r = -ENOENT;
		} else {
			tree_write();
			r = link_locked(d, &last);
			tree_write_done();
		}
		path_last_put(&last);
	}
	dentry_put(d);
	return r;
}

int fs_link(const char *from, const char *to)
{
	return link_paths(AT_FDCWD, from, AT_FDCWD, to, 0);
}

long sys_linkat(uint64_t from_fd, uint64_t user_from, uint64_t to_fd, uint64_t user_to,
		uint64_t flags)
{
	int error = 0;
	if (flags & ~(uint64_t)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	char *from = path_from_user(user_from, flags & AT_EMPTY_PATH, &error);
	char *to = from ? path_from_user(user_to, false, &error) : NULL;
	if (to)
		error = link_paths((int)from_fd, from, (int)to_fd, to, (unsigned)flags);
	kfree(from);
	kfree(to);
	return error;
}

long sys_link(uint64_t from, uint64_t to)
{
	return sys_linkat((uint64_t)AT_FDCWD, from, (uint64_t)AT_FDCWD, to, 0);
}

/* ---- unlink, rmdir -------------------------------------------------------------------- */

/* Take d's name away; its inode loses a link. Checked by the caller; tree lock
 * exclusive; the caller holds d. */
void name_remove(struct dentry *d)
{
	struct dentry *dir = d->parent;
	struct inode *inode = d->inode;
	bool is_dir = inode_is(inode, S_IFDIR);
	dentry_unhash(d);
	inode->nlink -= is_dir ? 2 : 1;
	if (is_dir)
		dir->inode->nlink--;
	inode_touch(inode, false);
	inode_touch(dir->inode, true);
}

static int remove_locked(struct path_last *last, bool directory, struct dentry **gone)
{
	struct dentry *d = dentry_find(last->parent, last->name, last->length);
	if (last->parent->inode->ops)
		return last->found ? -EPERM : -ENOENT;
	if (!d)
		return -ENOENT;
	int r = dir_may_remove(last->parent, d);
	if (r)
		return r;
	if (d->mounted)
		return -EBUSY;
	if (directory) {
		if (!inode_is(d->inode, S_IFDIR))
			return -ENOTDIR;
		if (d->child_count)
			return -ENOTEMPTY;
	} else if (inode_is(d->inode, S_IFDIR)) {
		return -EISDIR;
	}
	*gone = dentry_get(d);
	name_remove(d);
	dentry_trim(last->parent);
	return 0;
}

static int remove_path(int dirfd, const char *path, bool directory)
{
	struct path_last last;
	struct dentry *gone = NULL;
	int r = path_parent(dirfd, path, 0, &last);
	if (r)
		return r;
	if (last.dots) {
		if (!directory)
			r = -EISDIR;
		else if (!last.length)
			r = -EBUSY; /* "/" */
		else
			r = last.length == 1 ? -EINVAL : -ENOTEMPTY;
	} else if (!directory && last.slash) {
		r = !last.found                            ? -ENOENT
		    : inode_is(last.found->inode, S_IFDIR) ? -EISDIR
							   : -ENOTDIR;
	} else {
		tree_write();
		r = remove_locked(&last, directory, &gone);
		tree_write_done();
	}
	path_last_put(&last);
	if (gone)
		dentry_remember_path(gone);
	dentry_put(gone);
	return r;
}

static long remove_from_user(uint64_t dirfd, uint64_t user_path, bool directory)
{
	int error = 0;
	char *path = path_from_user(user_path, false, &error);
	if (!path)
		return error;
	long r = remove_path((int)dirfd, path, directory);
	kfree(path);
	return r;
}

long sys_unlinkat(uint64_t dirfd, uint64_t path, uint64_t flags)
{
	if ((unsigned)flags & ~(unsigned)AT_REMOVEDIR)
		return -EINVAL;
	return remove_from_user(dirfd, path, flags & AT_REMOVEDIR);
}

long sys_unlink(uint64_t path)
{
	return remove_from_user((uint64_t)AT_FDCWD, path, false);
}

long sys_rmdir(uint64_t path)
{
	return remove_from_user((uint64_t)AT_FDCWD, path, true);
}
