/* SPDX-License-Identifier: MIT */
/*
 * Mounts: which tree covers which place, and the calls that change it.
 *
 * Every mount is a file system of its own: memory file systems start empty,
 * and /proc is computed anyway, so none needs to be shared between places. A
 * mount can be taken away when nobody stands in it: no dentry of it has more
 * references than its own tree explains.
 *
 * Mounting proc or devtmpfs where it already is mounted succeeds and changes
 * nothing: the kernel has mounted both before the first program runs, and
 * start-up scripts written for others do it again.
 */
#include "kernel/fs/vfs.h"

#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/vmm.h>

#include "kernel/syscall/syscalls.h"

#define MS_RDONLY  1
#define MS_REMOUNT 32
#define MS_BIND    4096
#define MS_MOVE    8192
#define MS_REC     16384
#define MS_PRIVATE (1 << 18)
#define MS_SLAVE   (1 << 19)
#define MS_SHARED  (1 << 20)

struct dentry *root_dentry;
struct mount *dev_mount;
static struct list mounts = {&mounts, &mounts}; /* the tree lock */
static unsigned next_id;

struct mount *mount_new(const char *type, const char *source)
{
	struct mount *m = kzalloc(sizeof(*m));
	char *copy = kstrdup(source);
	if (!m || !copy) {
		kfree(m);
		kfree(copy);
		return NULL;
	}
	m->refs = 1;
	m->type = type;
	m->source = copy;
	m->id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
	m->dev = dev_make(0, m->id);
	list_init(&m->link);
	return m;
}

void mount_put(struct mount *m)
{
	if (atomic_sub(&m->refs, 1))
		return;
	kfree(m->source);
	kfree(m);
}

void mount_attach(struct mount *m, struct dentry *point)
{
	if (point) {
		m->point = dentry_get(point);
		point->mounted = m;
	}
	list_push_back(&mounts, &m->link);
}

void mount_for_each(void (*visit)(struct mount *m, void *arg), void *arg)
{
	tree_read();
	list_for_each (node, &mounts)
		visit(list_entry(node, struct mount, link), arg);
	tree_read_done();
}

int mount_tmpfs(struct dentry *point, const char *type, const char *source, uint32_t mode,
		struct mount **out)
{
	struct mount *m = mount_new(type, source);
	if (!m)
		return -ENOMEM;
	struct inode *inode;
	int r = tmpfs_inode(m, S_IFDIR | mode, 0, NULL, &inode);
	if (!r) {
		m->root = dentry_new(NULL, "", 0, inode);
		if (!m->root) {
			inode_put(inode);
			r = -ENOMEM;
		}
	}
	if (r) {
		mount_put(m);
		return r;
	}
	tree_write();
	mount_attach(m, point);
	tree_write_done();
	*out = m;
	return 0;
}

/* ---- taking away ------------------------------------------------------------ */

/* Programs make trees as deep and as large as they like: what goes through one does it
 * without recursion. */

/* The next of a tree, each before what is below it; NULL: that was the last. */
static struct dentry *tree_next(struct dentry *d, struct dentry *top)
{
	struct dentry *next = siblings_from(d, 0);
	while (!next && d != top) {
		next = siblings_next(d);
		d = d->parent;
	}
	return next;
}

/* Is anything in this tree held by more than the tree itself? Tree lock exclusive. */
static bool tree_in_use(struct dentry *top)
{
	for (struct dentry *d = top; d; d = tree_next(d, top)) {
		uint64_t own = 1 + d->child_count;
		if (atomic_read_acquire(&d->refs) != own || d->mounted)
			return true;
	}
	return false;
}

#define DROPPED_AT_ONCE 64

/* Take everything out of a tree that nobody finds any more, and now and then let others
 * have the tree lock. */
static void drop_tree(struct dentry *top)
{
	struct dentry *d = top;
	unsigned dropped = 0;
	tree_write();
	for (;;) {
		struct dentry *below = siblings_from(d, 0);
		if (below) {
			d = below;
			continue;
		}
		if (d == top)
			break;
		struct dentry *parent = d->parent;
		dentry_unhash(d);
		d = parent;
		if (++dropped % DROPPED_AT_ONCE == 0) {
			tree_write_done();
			tree_write();
		}
	}
	tree_write_done();
}

static int detach(struct mount *m)
{
	tree_write();
	int r = 0;
	if (!m->point)
		r = -EBUSY; /* the root */
	else if (tree_in_use(m->root))
		r = -EBUSY;
	if (r) {
		tree_write_done();
		return r;
	}
	struct dentry *point = m->point;
	point->mounted = NULL;
	m->point = NULL;
	list_remove(&m->link);
	tree_write_done();
	drop_tree(m->root);
	dentry_put(m->root);
	mount_put(m); /* objects that are still mapped keep it, by their inodes */
	dentry_put(point);
	return 0;
}

/* What a program's path leads to, with a reference. */
static long place(uint64_t user_path, struct dentry **out)
{
	int error = 0;
	char *path = path_from_user(user_path, false, &error);
	if (!path)
		return error;
	error = path_lookup(AT_FDCWD, path, WALK_FOLLOW, out);
	kfree(path);
	return error;
}

/* ---- system calls -------------------------------------------------------------- */

static bool already_there(struct dentry *d, const char *type)
{
	return d->parent == d && d->inode->mount->point && !kstrcmp(d->inode->mount->type, type);
}

static int mount_fresh(struct dentry *d, const char *type, const char *source)
{
	struct mount *m;
	if (!inode_is(d->inode, S_IFDIR))
		return -ENOTDIR;
	if (!kstrcmp(type, "proc"))
		return already_there(d, type) ? 0 : procfs_mount(d, source);
	if (!kstrcmp(type, "devtmpfs"))
		return already_there(d, type) ? 0 : devfs_mount(d);
	if (!kstrcmp(type, "devpts"))
		return already_there(d, type) ? 0 : -ENODEV;
	if (!kstrcmp(type, "tmpfs") || !kstrcmp(type, "ramfs"))
		return mount_tmpfs(d, kstrcmp(type, "tmpfs") ? "ramfs" : "tmpfs", source, 01777,
				   &m);
	return -ENODEV;
}

long sys_mount(uint64_t source, uint64_t target, uint64_t type, uint64_t flags, uint64_t data)
{
	char kind[32], from[64] = "none";
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (flags & (MS_BIND | MS_MOVE))
		return -EINVAL;
	kind[0] = 0;
	if (type) {
		ssize_t r = strncpy_from_user(kind, type, sizeof(kind));
		if (r < 0)
			return r == -ENAMETOOLONG ? -ENODEV : r;
	}
	if (source) {
		ssize_t r = strncpy_from_user(from, source, sizeof(from));
		if (r == -EFAULT)
			return r;
		from[sizeof(from) - 1] = 0;
	}
	char option; /* there are none that would change anything, but it has to be readable */
	if (data && copy_from_user(&option, data, 1))
		return -EFAULT;
	struct dentry *d;
	long r = place(target, &d);
	if (r)
		return r;
	if (flags & MS_REMOUNT) {
		if (d->parent != d)
			r = -EINVAL;
		else
			d->inode->mount->flags = flags & MS_RDONLY;
	} else if (!(flags & (MS_PRIVATE | MS_SLAVE | MS_SHARED))) {
		r = kind[0] ? mount_fresh(d, kind, from) : -EINVAL;
		if (!r && (flags & MS_RDONLY) && d->mounted)
			d->mounted->flags = MS_RDONLY;
	}
	dentry_put(d);
	return r;
}

long sys_umount2(uint64_t target, uint64_t flags)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	struct dentry *d;
	long r = place(target, &d);
	if (r)
		return r;
	struct mount *m = d->inode->mount;
	bool top = m->root == d;
	dentry_put(d);
	return top ? detach(m) : -EINVAL;
}

long sys_pivot_root(uint64_t to, uint64_t old)
{
	struct dentry *d;
	long r = place(to, &d);
	if (r)
		return r;
	dentry_put(d);
	r = place(old, &d);
	if (r)
		return r;
	dentry_put(d);
	return -EINVAL; /* the root is the initramfs: Linux says the same there */
}

static long statfs_fill(struct dentry *d, uint64_t user)
{
	struct mount *m = d->inode->mount;
	struct user_statfs s = {.bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .namelen = NAME_MAX};
	if (!kstrcmp(m->type, "proc")) {
		s.type = 0x9fa0;
	} else if (!kstrcmp(m->type, "pipefs")) {
		s.type = 0x50495045;
	} else {
		struct vmm_stats v;
		vmm_get_stats(kernel_vmm, &v);
		uint64_t limit = tmpfs_limit_npages(&v);
		uint64_t room = limit - mem_min(limit, v.object_npages);
		s.type = kstrcmp(m->type, "ramfs") ? 0x01021994 : 0x858458f6;
		s.blocks = s.files = (int64_t)limit;
		s.bfree = s.bavail = s.ffree = (int64_t)room;
	}
	s.fsid[0] = (int32_t)m->dev;
	s.flags = 0x20 | (m->flags & MS_RDONLY);
	return copy_to_user(user, &s, sizeof(s));
}

long sys_statfs(uint64_t user_path, uint64_t buffer)
{
	struct dentry *d;
	long r = place(user_path, &d);
	if (r)
		return r;
	r = statfs_fill(d, buffer);
	dentry_put(d);
	return r;
}

long sys_fstatfs(uint64_t fd, uint64_t buffer)
{
	struct file *f = fd_get_any((int)fd);
	if (!f)
		return -EBADF;
	long r = statfs_fill(f->dentry, buffer);
	file_put(f);
	return r;
}
