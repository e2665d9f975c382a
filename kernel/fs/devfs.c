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
	const char *name;
	uint64_t number;
	const struct file_ops *ops;
	int (*open)(struct file *f);
};

static struct device *devices; /* only grows; published with release */

static int add_node(struct dentry *root, const struct device *d)
{
	/* pts/0 and the like: the directory comes first. */
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

int devfs_register(const char *name, unsigned major, unsigned minor, const struct file_ops *ops,
		   int (*open)(struct file *f))
{
	struct device *d = kmalloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d =
	    (struct device){atomic_read_acquire(&devices), name, dev_make(major, minor), ops, open};
	if (dev_mount) {
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

int devfs_open(struct file *f)
{
	for (struct device *d = atomic_read_acquire(&devices); d; d = d->next) {
		if (d->number != f->inode->rdev)
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
		r = add_node(m->root, d);
	static const char *const links[][2] = {{"fd", "/proc/self/fd"},
					       {"stdin", "/proc/self/fd/0"},
					       {"stdout", "/proc/self/fd/1"},
					       {"stderr", "/proc/self/fd/2"}};
	for (size_t i = 0; i < ARRAY_COUNT(links) && !r; i++)
		r = add_entry(m->root, links[i][0], S_IFLNK | 0777, links[i][1]);
	if (!r)
		r = add_entry(m->root, "shm", S_IFDIR | 01777, NULL);
	if (!dev_mount)
		dev_mount = m;
	return r;
}
