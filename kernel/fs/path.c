/* SPDX-License-Identifier: MIT */
/*
 * From a path to a dentry.
 *
 * One loop takes a component at a time, under the tree lock held shared. A
 * symbolic link that must be followed replaces what has been read of the path
 * by its text: the rest of the walk then runs over a new string, so there is
 * neither recursion nor a stack of remainders. At most 40 links are followed.
 *
 * "Parent" walks stop before the last component and say what is there now;
 * creating, removing and renaming start from them and check again under the
 * exclusive lock.
 */
#include "kernel/fs/vfs.h"

#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#define LINKS_MAX 40

struct walk {
	struct dentry *at; /* with a reference */
	struct dentry *root, *start;
	const char *rest; /* what is left of the path */
	char *owned;      /* the string that rest points into, if it is ours */
	unsigned flags, links;
	bool parent; /* stop before the last component */
	bool place;  /* a link of /proc led here, not a name */
};

static struct fs_context boot_context;

struct fs_context *context_current(void)
{
	struct thread *t = current_thread();
	return t && t->user && current_task()->fs ? current_task()->fs : &boot_context;
}

struct dentry *context_root(void)
{
	struct fs_context *c = context_current();
	mem_lock(&c->lock, FS_RANK_CONTEXT);
	struct dentry *d = dentry_get(c->root ? c->root : root_dentry);
	mem_unlock(&c->lock, FS_RANK_CONTEXT);
	return d;
}

struct dentry *context_cwd(void)
{
	struct fs_context *c = context_current();
	mem_lock(&c->lock, FS_RANK_CONTEXT);
	struct dentry *d = dentry_get(c->cwd ? c->cwd : root_dentry);
	mem_unlock(&c->lock, FS_RANK_CONTEXT);
	return d;
}

/* Most paths are short, and a short block is had for less than a page. */
static ssize_t copy_path(uint64_t user, char **path)
{
	char few[128];
	ssize_t length = strncpy_from_user(few, user, sizeof(few));
	if (length < 0 && length != -ENAMETOOLONG)
		return length;
	*path = kmalloc(length < 0 ? PATH_MAX : (size_t)length + 1);
	if (!*path)
		return -ENOMEM;
	if (length < 0)
		return strncpy_from_user(*path, user, PATH_MAX);
	memcpy(*path, few, (size_t)length + 1);
	return length;
}

char *path_from_user(uint64_t user, bool empty_ok, int *error)
{
	char *path = NULL;
	ssize_t length = copy_path(user, &path);
	if (length == 0 && !empty_ok)
		length = -ENOENT;
	if (length < 0) {
		kfree(path);
		*error = (int)length;
		return NULL;
	}
	return path;
}

struct dentry *dentry_over_mounts(struct dentry *d)
{
	while (d->mounted) {
		struct dentry *top = dentry_get(d->mounted->root);
		dentry_put(d);
		d = top;
	}
	return d;
}

/* The parent of d: through mount points, but not above `root`. New reference. */
static struct dentry *step_up(struct dentry *d, struct dentry *root)
{
	while (d != root && d->parent == d && d->inode->mount->point)
		d = d->inode->mount->point;
	if (d == root)
		return dentry_get(d);
	return dentry_over_mounts(dentry_get(d->parent));
}

int dentry_step(struct dentry *dir, const char *name, unsigned length, struct dentry **out)
{
	struct dentry *d = NULL;
	const struct inode_ops *ops = dir->inode->ops;
	if (ops && ops->lookup) {
		int r = ops->lookup(dir, name, length, &d);
		if (r)
			return r;
	} else {
		d = dentry_find(dir, name, length);
		if (!d)
			return -ENOENT;
		dentry_get(d);
	}
	*out = dentry_over_mounts(d);
	return 0;
}

/* Replace the path by a link's text and what followed the link. */
static int splice_link(struct walk *w, const char *text, size_t text_bytes, const char *rest)
{
	size_t rest_bytes = kstrlen(rest);
	if (!text_bytes)
		return -ENOENT;
	if (text_bytes + rest_bytes + 2 > 4 * PATH_MAX)
		return -ENAMETOOLONG;
	char *path = kmalloc(text_bytes + rest_bytes + 2);
	if (!path)
		return -ENOMEM;
	memcpy(path, text, text_bytes);
	memcpy(path + text_bytes, rest, rest_bytes + 1);
	kfree(w->owned);
	w->owned = path;
	w->rest = path;
	if (*path != '/')
		return 0;
	if (w->flags & WALK_BENEATH)
		return -EXDEV;
	struct dentry *old = w->at;
	w->at = dentry_get((w->flags & WALK_IN_ROOT) ? w->start : w->root);
	dentry_put(old);
	return 0;
}

/* Go where link `d` leads; `rest` is the path behind it. */
static int follow_link(struct walk *w, struct dentry *d, const char *rest)
{
	const struct inode_ops *ops = d->inode->ops;
	if (++w->links > LINKS_MAX || (w->flags & WALK_NO_LINKS))
		return -ELOOP;
	if (ops && ops->follow) {
		struct dentry *to;
		if (w->flags & WALK_NO_MAGIC)
			return -ELOOP;
		int r = ops->follow(d, &to);
		if (r)
			return r;
		dentry_put(w->at);
		w->at = to;
		w->rest = rest;
		w->place = true;
		return 0;
	}
	if (!ops || !ops->readlink)
		return splice_link(w, d->inode->link, kstrlen(d->inode->link), rest);
	char text[128];
	ssize_t bytes = ops->readlink(d, text, sizeof(text));
	return bytes < 0 ? (int)bytes : splice_link(w, text, (size_t)bytes, rest);
}

static int go_up(struct walk *w)
{
	struct dentry *top = (w->flags & (WALK_BENEATH | WALK_IN_ROOT)) ? w->start : w->root;
	if (w->at == top && (w->flags & WALK_BENEATH))
		return -EXDEV;
	struct dentry *up = step_up(w->at, top);
	dentry_put(w->at);
	w->at = up;
	return 0;
}

static void record_last(struct path_last *last, struct walk *w, const char *name, unsigned length,
			bool slash, struct dentry *found)
{
	last->parent = w->at;
	w->at = NULL;
	last->found = found;
	memcpy(last->name, name, length);
	last->name[length] = 0;
	last->length = length;
	last->slash = slash;
}

/* Take one component. 1: the parent walk is complete. */
static int walk_component(struct walk *w, struct path_last *last)
{
	const char *name = w->rest;
	unsigned length = 0;
	while (name[length] && name[length] != '/')
		length++;
	const char *rest = name + length;
	const char *after = rest;
	while (*after == '/')
		after++;
	bool is_last = !*after, slash = after != rest;

	if (!inode_is(w->at->inode, S_IFDIR))
		return -ENOTDIR;
	int r = inode_permission(w->at->inode, X_OK);
	if (r)
		return r;
	if (length > NAME_MAX)
		return -ENAMETOOLONG;
	bool dot = length == 1 && name[0] == '.';
	bool dotdot = length == 2 && name[0] == '.' && name[1] == '.';
	if (dot || dotdot) {
		if (dotdot && (r = go_up(w)))
			return r;
		w->rest = after;
		if (is_last && last) {
			last->dots = true;
			record_last(last, w, name, length, slash, NULL);
			last->found = dentry_get(last->parent);
			return 1;
		}
		return 0;
	}
	struct dentry *next = NULL;
	r = dentry_step(w->at, name, length, &next);
	if (r && !(r == -ENOENT && is_last && last))
		return r;
	if (next && (w->flags & WALK_NO_XDEV) && next->inode->mount != w->at->inode->mount) {
		dentry_put(next);
		return -EXDEV;
	}
	bool link = next && inode_is(next->inode, S_IFLNK);
	if (link && (!is_last || (w->flags & WALK_FOLLOW) || (slash && !last))) {
		r = follow_link(w, next, rest);
		dentry_put(next);
		return r;
	}
	if (is_last && last) {
		record_last(last, w, name, length, slash, next);
		return 1;
	}
	dentry_put(w->at);
	w->at = next;
	w->rest = rest;
	if (is_last && slash && !inode_is(next->inode, S_IFDIR))
		return -ENOTDIR;
	return 0;
}

static int walk_start(struct walk *w, int dirfd, const char *path)
{
	w->root = context_root();
	if (*path == '/' && !(w->flags & (WALK_BENEATH | WALK_IN_ROOT))) {
		w->at = dentry_get(w->root);
	} else if (dirfd == AT_FDCWD) {
		w->at = context_cwd();
	} else if (*path == '/' && (w->flags & WALK_BENEATH)) {
		return -EXDEV;
	} else {
		struct file *f = fd_get_any(dirfd);
		if (!f)
			return -EBADF;
		w->at = dentry_get(f->dentry);
		file_put(f);
		if (*path && !inode_is(w->at->inode, S_IFDIR))
			return -ENOTDIR;
	}
	w->start = dentry_get(w->at);
	w->rest = path;
	return 0;
}

static void walk_end(struct walk *w)
{
	dentry_put(w->at);
	dentry_put(w->start);
	dentry_put(w->root);
	kfree(w->owned);
}

static int walk_run(struct walk *w, struct path_last *last)
{
	bool slash;
	for (;;) {
		slash = *w->rest == '/';
		while (*w->rest == '/')
			w->rest++;
		if (!*w->rest)
			break;
		w->place = false;
		int r = walk_component(w, last);
		if (r)
			return r < 0 ? r : 0;
	}
	if (!last)
		return 0;
	/* "/": a directory without a name; or a file that a link of /proc led to. */
	last->dots = slash || !w->place;
	record_last(last, w, "", 0, last->dots, NULL);
	last->found = dentry_get(last->parent);
	return 0;
}

int path_lookup(int dirfd, const char *path, unsigned flags, struct dentry **out)
{
	struct walk w = {.flags = flags};
	if (!*path && !(flags & WALK_EMPTY))
		return -ENOENT;
	int r = walk_start(&w, dirfd, path);
	if (!r) {
		tree_read();
		r = walk_run(&w, NULL);
		tree_read_done();
	}
	if (!r && (flags & WALK_DIRECTORY) && !inode_is(w.at->inode, S_IFDIR))
		r = -ENOTDIR;
	if (!r) {
		*out = w.at;
		w.at = NULL;
	}
	walk_end(&w);
	return r;
}

int path_parent(int dirfd, const char *path, unsigned flags, struct path_last *last)
{
	struct walk w = {.flags = flags, .parent = true};
	last->parent = last->found = NULL;
	last->dots = false;
	if (!*path)
		return -ENOENT;
	int r = walk_start(&w, dirfd, path);
	if (!r) {
		tree_read();
		r = walk_run(&w, last);
		tree_read_done();
	}
	walk_end(&w);
	if (r)
		path_last_put(last);
	return r;
}

void path_last_put(struct path_last *last)
{
	dentry_put(last->found);
	dentry_put(last->parent);
	last->found = last->parent = NULL;
}
