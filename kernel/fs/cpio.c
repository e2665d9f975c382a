/* SPDX-License-Identifier: MIT */
/*
 * Unpacking cpio "newc" archives: the initramfs.
 *
 *   header (110 ASCII bytes: "070701", then 13 numbers of 8 hex digits)
 *   name, NUL, padding to 4 │ data, padding to 4 │ next header ...
 *
 * The archive is input like any other: every length is checked against what is
 * left before it is used, names are walked by the ordinary path code (so ".."
 * stays in the root), and what is malformed ends the unpacking with an error
 * that says where. Hard links: entries with the same inode number share one
 * file; the data comes with the last of them.
 *
 * Several archives may follow each other, with zero bytes in between, as with
 * Linux's initramfs.
 */
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"

#define HEADER_BYTES 110
#define LINK_BUCKETS 64

struct entry {
	uint32_t ino, mode, uid, gid, nlink, mtime, size, dev_major, dev_minor, rdev_major,
	    rdev_minor, name_bytes, check;
};

struct hard_link {
	struct hard_link *next;
	uint32_t ino, dev_major, dev_minor;
	char *path;
};

struct late_time { /* unpacking into a directory changes its time: set it at the end */
	struct late_time *next;
	uint32_t mtime;
	struct dentry *dir; /* with a reference */
};

struct unpack {
	struct late_time *late;
	const uint8_t *base;
	size_t bytes, at;
	struct hard_link *links[LINK_BUCKETS];
	unsigned files;
};

static bool hex8(const uint8_t *from, uint32_t *out)
{
	uint32_t value = 0;
	for (int i = 0; i < 8; i++) {
		uint8_t c = from[i];
		uint32_t digit;
		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10u;
		else if (c >= 'A' && c <= 'F')
			digit = c - 'A' + 10u;
		else
			return false;
		value = value << 4 | digit;
	}
	*out = value;
	return true;
}

static bool parse_header(const uint8_t *h, struct entry *e)
{
	if (memcmp(h, "070701", 6) && memcmp(h, "070702", 6))
		return false;
	uint32_t *field[13] = {&e->ino,       &e->mode,       &e->uid,        &e->gid,
			       &e->nlink,     &e->mtime,      &e->size,       &e->dev_major,
			       &e->dev_minor, &e->rdev_major, &e->rdev_minor, &e->name_bytes,
			       &e->check};
	for (int i = 0; i < 13; i++)
		if (!hex8(h + 6 + 8 * i, field[i]))
			return false;
	return true;
}

/* ---- hard links ----------------------------------------------------------------------------- */

static struct hard_link *link_find(struct unpack *u, const struct entry *e)
{
	for (struct hard_link *l = u->links[e->ino % LINK_BUCKETS]; l; l = l->next)
		if (l->ino == e->ino && l->dev_major == e->dev_major &&
		    l->dev_minor == e->dev_minor)
			return l;
	return NULL;
}

static int link_add(struct unpack *u, const struct entry *e, const char *path)
{
	struct hard_link *l = kmalloc(sizeof(*l));
	char *copy = kstrdup(path);
	if (!l || !copy) {
		kfree(l);
		kfree(copy);
		return -ENOMEM;
	}
	*l = (struct hard_link){u->links[e->ino % LINK_BUCKETS], e->ino, e->dev_major, e->dev_minor,
				copy};
	u->links[e->ino % LINK_BUCKETS] = l;
	return 0;
}

static void links_free(struct unpack *u)
{
	for (int i = 0; i < LINK_BUCKETS; i++) {
		while (u->links[i]) {
			struct hard_link *l = u->links[i];
			u->links[i] = l->next;
			kfree(l->path);
			kfree(l);
		}
	}
}

/* ---- entries -----------------------------------------------------------------------------------
 */

static int set_attributes(struct unpack *u, const char *path, const struct entry *e)
{
	struct dentry *d;
	int r = path_lookup(AT_FDCWD, path, 0, &d);
	if (r)
		return r;
	struct inode *i = d->inode;
	if (d->parent == d && d != root_dentry) { /* /dev, /proc: mounted already */
		dentry_put(d);
		return 0;
	}
	i->uid = e->uid;
	i->gid = e->gid;
	if (!inode_is(i, S_IFLNK))
		i->mode = (i->mode & S_IFMT) | (e->mode & 07777);
	i->mtime = i->atime = i->ctime = (nsec_t)e->mtime * NSEC_PER_SEC;
	struct late_time *late = inode_is(i, S_IFDIR) ? kmalloc(sizeof(*late)) : NULL;
	if (late) {
		*late = (struct late_time){u->late, e->mtime, d};
		u->late = late;
	} else {
		dentry_put(d);
	}
	return 0;
}

static void set_late_times(struct unpack *u)
{
	while (u->late) {
		struct late_time *l = u->late;
		u->late = l->next;
		l->dir->inode->mtime = (nsec_t)l->mtime * NSEC_PER_SEC;
		dentry_put(l->dir);
		kfree(l);
	}
}

static int write_data(const char *path, const uint8_t *data, size_t bytes)
{
	struct dentry *d;
	int r = path_lookup(AT_FDCWD, path, 0, &d);
	if (r)
		return r;
	if (!d->inode->object) {
		r = -EINVAL;
	} else if (bytes) {
		r = tmpfs_resize(d->inode, 0);
		if (!r)
			r = tmpfs_write_kernel(d->inode, data, bytes);
	}
	dentry_put(d);
	return r;
}

static int unpack_regular(struct unpack *u, const struct entry *e, const char *path,
			  const uint8_t *data)
{
	int r;
	struct hard_link *l = e->nlink > 1 ? link_find(u, e) : NULL;
	if (l) {
		r = fs_link(l->path, path);
		if (r == -EEXIST)
			r = 0;
	} else {
		r = fs_make_node(path, S_IFREG | 0600, 0, NULL);
		if (r == -EEXIST)
			r = 0;
		if (!r && e->nlink > 1)
			r = link_add(u, e, path);
	}
	return r ? r : write_data(path, data, e->size);
}

static int unpack_link(const char *path, const uint8_t *data, size_t bytes)
{
	if (!bytes || bytes >= PATH_MAX)
		return -EINVAL;
	char *text = kmalloc(bytes + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, data, bytes);
	text[bytes] = 0;
	int r = kstrlen(text) == bytes ? fs_make_node(path, S_IFLNK | 0777, 0, text) : -EINVAL;
	kfree(text);
	return r;
}

static int unpack_entry(struct unpack *u, const struct entry *e, const char *path,
			const uint8_t *data)
{
	int r;
	switch (e->mode & S_IFMT) {
	case S_IFREG:
		r = unpack_regular(u, e, path, data);
		break;
	case S_IFDIR:
		r = fs_make_node(path, S_IFDIR | 0700, 0, NULL);
		break;
	case S_IFLNK:
		r = unpack_link(path, data, e->size);
		break;
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		r = fs_make_node(path, e->mode & (S_IFMT | 07777),
				 dev_make(e->rdev_major, e->rdev_minor), NULL);
		break;
	default:
		return -EINVAL;
	}
	if (r == -EEXIST)
		r = 0; /* "." , or a name that the kernel made before */
	return r ? r : set_attributes(u, path, e);
}

/* One header, name and data. 1: the trailer. */
static int unpack_next(struct unpack *u)
{
	struct entry e;
	const uint8_t *header = u->base + u->at;
	size_t left = u->bytes - u->at;
	if (left < HEADER_BYTES || !parse_header(header, &e))
		return -EINVAL;
	left -= HEADER_BYTES;
	if (e.name_bytes < 2 || e.name_bytes > PATH_MAX || e.name_bytes > left)
		return -EINVAL;
	const char *name = (const char *)header + HEADER_BYTES;
	if (name[e.name_bytes - 1] || kstrlen(name) != e.name_bytes - 1)
		return -EINVAL;
	size_t data_at = align_up(HEADER_BYTES + e.name_bytes, 4);
	if (data_at > u->bytes - u->at || e.size > u->bytes - u->at - data_at)
		return -EINVAL;
	const uint8_t *data = header + data_at;
	size_t next = align_up(data_at + e.size, 4);
	u->at += mem_min(next, u->bytes - u->at);
	if (!kstrcmp(name, "TRAILER!!!"))
		return 1;
	u->files++;
	int r = unpack_entry(u, &e, name, data);
	if (r)
		klog(LOG_ERROR, "initramfs: %s: error %d", name, -r);
	return r == -ENOMEM || r == -ENOSPC ? r : 0;
}

int fs_unpack_cpio(const void *archive, size_t bytes)
{
	struct unpack *u = kzalloc(sizeof(*u));
	int r = u ? 0 : -ENOMEM;
	if (r)
		return r;
	u->base = archive;
	u->bytes = bytes;
	while (u->at < bytes && r >= 0) {
		if (!u->base[u->at]) {
			u->at++;
			continue;
		}
		size_t at = u->at;
		r = unpack_next(u);
		if (r < 0)
			klog(LOG_ERROR, "initramfs: bad entry at byte %zu of %zu (error %d)", at,
			     bytes, -r);
		if (r == 1)
			links_free(u);
	}
	links_free(u);
	set_late_times(u);
	klog(LOG_INFO, "initramfs: %u entries, %zu KiB", u->files, bytes >> 10);
	kfree(u);
	return r < 0 ? r : 0;
}
