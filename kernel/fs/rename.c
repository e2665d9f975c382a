/* SPDX-License-Identifier: MIT */
/*
 * rename(2): one name takes the place of another, atomically.
 *
 * Under the exclusive tree lock the rest is order of checks. What Linux says,
 * and in which order, is what programs were written against:
 *   - both parents on one file system, else EXDEV;
 *   - old must be there; "." and ".." cannot move: EBUSY;
 *   - a directory cannot move below itself (EINVAL), nor a new name be an
 *     ancestor of the old one (ENOTEMPTY);
 *   - same inode under both names: nothing happens, successfully;
 *   - directories replace only empty directories, others only others;
 *   - nothing that is mounted on moves or is replaced: EBUSY.
 */
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

static int check_kinds(struct dentry *old, struct dentry *new, unsigned flags)
{
	bool old_dir = inode_is(old->inode, S_IFDIR), new_dir = inode_is(new->inode, S_IFDIR);
	if (flags & RENAME_EXCHANGE)
		return 0;
	if (old_dir && !new_dir)
		return -ENOTDIR;
	if (!old_dir && new_dir)
		return -EISDIR;
	return new_dir && new->child_count ? -ENOTEMPTY : 0;
}

static int check_tree(struct dentry *old, struct dentry *new, struct path_last *from,
		      struct path_last *to, unsigned flags)
{
	bool old_dir = inode_is(old->inode, S_IFDIR);
	if (dentry_is_below(to->parent, old))
		return -EINVAL;
	if (new &&dentry_is_below(from->parent, new))
		return (flags & RENAME_EXCHANGE) ? -EINVAL : -ENOTEMPTY;
	if (!old_dir && from->slash)
		return -ENOTDIR;
	if (to->slash &&
	    !((flags & RENAME_EXCHANGE) ? new &&inode_is(new->inode, S_IFDIR) : old_dir))
		return -ENOTDIR;
	return 0;
}

static void count_moved_dirs(struct dentry *a, struct inode *from, struct inode *to)
{
	if (inode_is(a->inode, S_IFDIR) && from != to) {
		from->nlink--;
		to->nlink++;
	}
}

static void exchange(struct dentry *old, struct dentry *new)
{
	struct inode *a = old->parent->inode, *b = new->parent->inode;
	count_moved_dirs(old, a, b);
	count_moved_dirs(new, b, a);
	dentry_swap(old, new);
	inode_touch(new->inode, false);
	inode_touch(a, true);
	inode_touch(b, true);
	inode_touch(old->inode, false);
}

static int move(struct dentry *old, struct dentry *new, struct path_last *to,
		struct dentry **replaced)
{
	char *name = kstrdup(to->name);
	if (!name || !dentry_reserve(to->parent)) {
		kfree(name);
		return -ENOMEM;
	}
	struct inode *from_dir = old->parent->inode;
	if (new) {
		*replaced = dentry_get(new);
		name_remove(new);
	}
	count_moved_dirs(old, from_dir, to->parent->inode);
	struct dentry *from_parent = old->parent;
	dentry_move(old, to->parent, name, to->length);
	dentry_trim(from_parent);
	inode_touch(old->inode, false);
	inode_touch(from_dir, true);
	inode_touch(to->parent->inode, true);
	return 0;
}

static int rename_locked(struct path_last *from, struct path_last *to, unsigned flags,
			 struct dentry **replaced)
{
	if (from->parent->inode->ops || to->parent->inode->ops)
		return from->found ? -EPERM : -ENOENT;
	struct dentry *old = dentry_find(from->parent, from->name, from->length);
	struct dentry *new = dentry_find(to->parent, to->name, to->length);
	if (!old)
		return -ENOENT;
	if (new && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!new && (flags & RENAME_EXCHANGE))
		return -ENOENT;
	int r = check_tree(old, new, from, to, flags);
	if (!r && new && old->inode == new->inode)
		return 0;
	if (!r)
		r = dir_may_remove(from->parent, old);
	if (!r)
		r = new ? dir_may_remove(to->parent, new) : dir_may_change(to->parent);
	if (!r && new)
		r = check_kinds(old, new, flags);
	if (!r && from->parent != to->parent && inode_is(old->inode, S_IFDIR))
		r = inode_permission(old->inode, W_OK);
	if (!r && (old->mounted || (new &&new->mounted)))
		r = -EBUSY;
	if (r)
		return r;
	if (flags & RENAME_EXCHANGE) {
		exchange(old, new);
		return 0;
	}
	return move(old, new, to, replaced);
}

static int rename_paths(int from_fd, const char *from_path, int to_fd, const char *to_path,
			unsigned flags)
{
	struct path_last *from = kmalloc(2 * sizeof(*from)), *to = from + 1;
	struct dentry *replaced = NULL;
	if (!from)
		return -ENOMEM;
	int r = path_parent(from_fd, from_path, 0, from);
	if (r)
		goto out_free;
	r = path_parent(to_fd, to_path, 0, to);
	if (r)
		goto out_from;
	if (from->parent->inode->mount != to->parent->inode->mount)
		r = -EXDEV;
	else if (from->dots)
		r = -EBUSY;
	else if (to->dots)
		r = (flags & RENAME_NOREPLACE) ? -EEXIST : -EBUSY;
	if (!r) {
		tree_write();
		r = rename_locked(from, to, flags, &replaced);
		tree_write_done();
	}
	if (replaced)
		dentry_remember_path(replaced);
	dentry_put(replaced);
	path_last_put(to);
out_from:
	path_last_put(from);
out_free:
	kfree(from);
	return r;
}

long sys_renameat2(uint64_t from_fd, uint64_t user_from, uint64_t to_fd, uint64_t user_to,
		   uint64_t flags)
{
	int error = 0;
	if ((flags & ~3ull) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	char *from = path_from_user(user_from, false, &error);
	char *to = from ? path_from_user(user_to, false, &error) : NULL;
	if (to)
		error = rename_paths((int)from_fd, from, (int)to_fd, to, (unsigned)flags);
	kfree(from);
	kfree(to);
	return error;
}

long sys_renameat(uint64_t from_fd, uint64_t from, uint64_t to_fd, uint64_t to)
{
	return sys_renameat2(from_fd, from, to_fd, to, 0);
}

long sys_rename(uint64_t from, uint64_t to)
{
	return sys_renameat2((uint64_t)AT_FDCWD, from, (uint64_t)AT_FDCWD, to, 0);
}
