/* SPDX-License-Identifier: MIT */
/*
 * Character devices and /dev.
 *
 * /dev is a memory file system with a node per registered device and the usual
 * links; programs may add and remove names there. What a node does is decided
 * when it is opened, by its number, so a node made with mknod elsewhere works.
 */
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"

struct device {
	struct device *next;
	const char *name; /* NULL: every minor of number's major */
	uint64_t number;
	const struct file_ops *ops;
	int (*open)(struct file *f);
};

static struct device *devices; /* only grows; published with release */
static struct mount *pts_mount;

static int add_node(struct dentry *root, const struct device *d)
{
	uint32_t mode = S_IFCHR | 0666;
	if (!kstrncmp(d->name, "tty", 3) || !kstrcmp(d->name, "console"))
		mode = S_IFCHR | (kstrcmp(d->name, "tty") ? 0620 : 0666);
	if (!kstrcmp(d->name, "kmsg"))
		mode = S_IFCHR | 0644;
	tree_write();
	int r = dentry_find(root, d->name, (unsigned)kstrlen(d->name))
		    ? 0
		    : tmpfs_create(root, d->name, (unsigned)kstrlen(d->name), mode, d->number, NULL,
				   NULL);
	tree_write_done();
	return r;
}

static int register_device(const struct device *like)
{
	struct device *d = kmalloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = *like;
	d->next = atomic_read_acquire(&devices);
	if (dev_mount && d->name) {
		int r = add_node(dev_mount->root, d);
		if (r) {
			kfree(d);
			return r;
		}
	}
	while (!atomic_cas(&devices, &d->next, d))
		;
	return 0;
}

int devfs_register(const char *name, unsigned major, unsigned minor, const struct file_ops *ops,
		   int (*open)(struct file *f))
{
	return register_device(&(struct device){NULL, name, dev_make(major, minor), ops, open});
}

int device_open_anywhere(struct file *f)
{
	f->mode |= FILE_ANYWHERE;
	return 0;
}

int devfs_register_major(unsigned major, const struct file_ops *ops, int (*open)(struct file *f))
{
	return register_device(&(struct device){NULL, NULL, dev_make(major, 0), ops, open});
}

unsigned file_minor(const struct file *f)
{
	return dev_minor(f->inode->rdev);
}

static bool device_is(const struct device *d, uint64_t number)
{
	return d->name ? d->number == number : dev_major(d->number) == dev_major(number);
}

int devfs_open(struct file *f)
{
	for (struct device *d = atomic_read_acquire(&devices); d; d = d->next) {
		if (!device_is(d, f->inode->rdev))
			continue;
		f->ops = d->ops;
		f->mode |= FILE_STREAM;
		return d->open ? d->open(f) : 0;
	}
	return -ENXIO;
}

static int add_entry(struct dentry *root, const char *name, uint32_t mode, const char *link)
{
	tree_write();
	int r = tmpfs_create(root, name, (unsigned)kstrlen(name), mode, 0, link, NULL);
	tree_write_done();
	return r;
}

int devfs_mount(struct dentry *point)
{
	struct mount *m;
	int r = mount_tmpfs(point, "devtmpfs", "devtmpfs", 0755, &m);
	if (r)
		return r;
	for (struct device *d = atomic_read_acquire(&devices); d && !r; d = d->next)
		if (d->name)
			r = add_node(m->root, d);
	static const char *const links[][2] = {{"fd", "/proc/self/fd"},
					       {"stdin", "/proc/self/fd/0"},
					       {"stdout", "/proc/self/fd/1"},
					       {"stderr", "/proc/self/fd/2"}};
	for (size_t i = 0; i < ARRAY_COUNT(links) && !r; i++)
		r = add_entry(m->root, links[i][0], S_IFLNK | 0777, links[i][1]);
	if (!r)
		r = add_entry(m->root, "shm", S_IFDIR | 01777, NULL);
	if (!r)
		r = add_entry(m->root, "pts", S_IFDIR | 0755, NULL);
	if (!r && !dev_mount) {
		dev_mount = m;
		r = mount_tmpfs(dentry_find(m->root, "pts", 3), "devpts", "devpts", 0755,
				&pts_mount);
	}
	return r;
}

/* ---- /dev/pts ------------------------------------------------------------------------------- */

int devpts_add(unsigned number)
{
	char name[16];
	struct dentry *d;
	unsigned length = (unsigned)ksnprintf(name, sizeof(name), "%u", number);
	tree_write();
	int r = dentry_find(pts_mount->root, name, length)
		    ? -EEXIST
		    : tmpfs_create(pts_mount->root, name, length, S_IFCHR | 0620,
				   dev_make(136, number), NULL, &d);
	if (!r)
		dentry_put(d);
	tree_write_done();
	return r;
}

void devpts_remove(unsigned number)
{
	char name[16];
	unsigned length = (unsigned)ksnprintf(name, sizeof(name), "%u", number);
	tree_write();
	struct dentry *d = dentry_find(pts_mount->root, name, length);
	if (d) {
		dentry_get(d);
		name_remove(d);
		dentry_trim(pts_mount->root);
		dentry_put(d);
	}
	tree_write_done();
}
