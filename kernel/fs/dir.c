/* SPDX-License-Identifier: MIT */
/*
 * Reading directories.
 *
 * Positions: 0 is ".", 1 is "..", and every name has a cookie from 2 on that it
 * keeps while it is there, so that reading continues after the name it stopped
 * at whatever was added or removed meanwhile. Entries are gathered in a kernel
 * buffer under the tree lock and copied out after it: user memory may fault.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

#define GATHER_MAX 32768

struct gather {
	char *buffer;
	size_t used, room;
	uint64_t next;   /* the position after the last entry taken */
	bool old_layout; /* getdents: the type is the last byte */
	bool full, some;
};

static bool take_entry(void *arg, const char *name, unsigned length, uint64_t ino, unsigned type,
		       uint64_t next)
{
	struct gather *g = arg;
	size_t fixed = g->old_layout ? 18 + 2 : 19 + 1;
	size_t bytes = align_up(fixed + length, 8);
	g->some = true;
	if (g->used + bytes > g->room) {
		g->full = true;
		return false;
	}
	char *at = g->buffer + g->used;
	uint16_t record = (uint16_t)bytes;
	memset(at, 0, bytes);
	memcpy(at, &ino, 8);
	memcpy(at + 8, &next, 8);
	memcpy(at + 16, &record, 2);
	if (g->old_layout) {
		memcpy(at + 18, name, length);
		at[bytes - 1] = (char)type;
	} else {
		at[18] = (char)type;
		memcpy(at + 19, name, length);
	}
	g->used += bytes;
	g->next = next;
	return true;
}

unsigned inode_dtype(const struct inode *i)
{
	return (i->mode & S_IFMT) >> 12;
}

static struct inode *parent_inode(struct dentry *d)
{
	while (d->parent == d && d->inode->mount->point)
		d = d->inode->mount->point;
	return d->parent->inode;
}

int dir_emit_dots(struct dentry *dir, uint64_t *from, dir_emit emit, void *arg)
{
	if (*from == 0) {
		if (!emit(arg, ".", 1, dir->inode->ino, DT_DIR, 1))
			return 1;
		*from = 1;
	}
	if (*from == 1) {
		if (!emit(arg, "..", 2, parent_inode(dir)->ino, DT_DIR, 2))
			return 1;
		*from = 2;
	}
	return 0;
}

static int iterate_children(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	if (dir_emit_dots(dir, &from, emit, arg))
		return 0;
	for (struct dentry *d = siblings_from(dir, from - 1); d; d = siblings_next(d)) {
		struct inode *i = d->inode; /* a name's position is its cookie and 1 */
		if (!emit(arg, d->name, d->length, i->ino, inode_dtype(i), d->cookie + 2))
			break;
	}
	return 0;
}

static int dir_iterate(struct file *f, void *context)
{
	struct gather *g = context;
	struct dentry *dir = f->dentry;
	const struct inode_ops *ops = dir->inode->ops;
	int r = 0;
	tree_read();
	if (ops && ops->iterate)
		r = ops->iterate(dir, g->next, take_entry, g);
	else if (dir->hashed || dir->parent == dir)
		r = iterate_children(dir, g->next, take_entry, g);
	else
		r = -ENOENT; /* removed */
	tree_read_done();
	return r;
}

const struct file_ops dir_file_ops = {.iterate = dir_iterate};

static long read_dir(uint64_t fd, uint64_t buffer, uint64_t bytes, bool old_layout)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	if (!f->ops->iterate) {
		file_put(f);
		return -ENOTDIR;
	}
	struct gather g = {.room = mem_min((size_t)(unsigned)bytes, (size_t)GATHER_MAX),
			   .old_layout = old_layout};
	g.buffer = kmalloc(g.room);
	if (!g.buffer) {
		file_put(f);
		return -ENOMEM;
	}
	mutex_lock(&f->position_lock);
	g.next = (uint64_t)f->position;
	long r = f->ops->iterate(f, &g);
	if (!r && !g.used && g.full)
		r = -EINVAL; /* not even one fits */
	if (!r && g.used && copy_to_user(buffer, g.buffer, g.used))
		r = -EFAULT;
	if (!r) {
		f->position = (off_t)g.next;
		r = (long)g.used;
	}
	mutex_unlock(&f->position_lock);
	kfree(g.buffer);
	inode_accessed(f);
	file_put(f);
	return r;
}

long sys_getdents64(uint64_t fd, uint64_t buffer, uint64_t bytes)
{
	return read_dir(fd, buffer, bytes, false);
}

long sys_getdents(uint64_t fd, uint64_t buffer, uint64_t bytes)
{
	return read_dir(fd, buffer, bytes, true);
}
