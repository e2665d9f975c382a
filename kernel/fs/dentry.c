/* SPDX-License-Identifier: MIT */
/*
 * Dentries: the names of the tree, and its one lock.
 *
 * The tree is changed far less often than it is walked, a walk is a few hash
 * look-ups, and nothing under the lock waits for a device; so one sleeping
 * reader/writer lock covers all names. Finer locking (per directory, or
 * walks that check sequence counts) was left out: the machine this serves has
 * few CPUs, and what it measures is its memory manager.
 *
 * A directory finds children through a hash table of its own that doubles as
 * it fills. When it cannot grow, chains get longer; that is not an error. The
 * children are also in order of their cookies (siblings.c), which getdents uses
 * as positions: a name keeps its cookie, so entries that come and go while a
 * directory is read neither hide nor repeat others.
 *
 * Invariants:
 *   D1 hashed => parent is set, in the parent's bucket and among its names, one reference
 *      belongs to the tree.
 *   D2 d holds a reference on its parent until it is freed, hashed or not, so
 *      ".." and getcwd work in a directory that was removed.
 *   D3 a dentry that covers or is covered by a mount is hashed or a root.
 */
#include "kernel/fs/vfs.h"

#include <kernel/account.h>
#include <kernel/log.h>
#include <mem/heap.h>

struct mem_rwlock tree_lock;
static struct mem_lock alias_lock;

#define FIRST_BUCKETS 8
#define MOST_BUCKETS  (1u << 30)

static uint32_t name_hash(const char *name, unsigned length)
{
	uint32_t h = 2166136261u;
	for (unsigned i = 0; i < length; i++)
		h = (h ^ (uint8_t)name[i]) * 16777619u;
	return h ^ (h >> 15);
}

struct dentry *dentry_new(struct dentry *parent, const char *name, unsigned length,
			  struct inode *inode)
{
	struct dentry *d = kzalloc(sizeof(*d));
	char *copy = kmalloc(length + 1);
	if (!d || !copy) {
		kfree(d);
		kfree(copy);
		return NULL;
	}
	memcpy(copy, name, length);
	copy[length] = 0;
	d->refs = 1;
	d->name = copy;
	d->length = length;
	d->hash = name_hash(name, length);
	d->parent = parent ? dentry_get(parent) : d;
	d->inode = inode;
	d->next_cookie = 1;
	mem_lock(&alias_lock, FS_RANK_ALIAS);
	if (!inode->alias)
		inode->alias = d;
	mem_unlock(&alias_lock, FS_RANK_ALIAS);
	return d;
}

struct dentry *dentry_get(struct dentry *d)
{
	atomic_add(&d->refs, 1);
	return d;
}

void dentry_put(struct dentry *d)
{
	while (d) {
		/* The alias must not be found by somebody once the count is zero: the
		 * last reference goes under the lock that finding takes. */
		uint64_t refs = atomic_read_relaxed(&d->refs);
		if (refs > 1) {
			if (atomic_cas(&d->refs, &refs, refs - 1))
				return;
			continue;
		}
		mem_lock(&alias_lock, FS_RANK_ALIAS);
		bool last = atomic_sub(&d->refs, 1) == 0;
		if (last && d->inode->alias == d)
			d->inode->alias = NULL;
		mem_unlock(&alias_lock, FS_RANK_ALIAS);
		if (!last)
			return;
		kassert(!d->hashed && !d->names);
		struct dentry *parent = d->parent == d ? NULL : d->parent;
		tmpfs_let_go(d->held);
		inode_put(d->inode);
		kfree(d->buckets);
		kfree(d->name);
		kfree(d);
		d = parent;
	}
}

/* The inode's name as a new reference, or NULL. The inode must be kept from
 * going by the caller. */
static struct dentry *inode_alias(struct inode *inode)
{
	mem_lock(&alias_lock, FS_RANK_ALIAS);
	struct dentry *d = inode->alias;
	if (d)
		dentry_get(d); /* not zero: see dentry_put */
	mem_unlock(&alias_lock, FS_RANK_ALIAS);
	return d;
}

/* ---- children ------------------------------------------------------------- */

static struct dentry **bucket_of(struct dentry *dir, uint32_t hash)
{
	return &dir->buckets[hash & (dir->bucket_count - 1)];
}

struct dentry *dentry_find(struct dentry *dir, const char *name, unsigned length)
{
	if (!dir->bucket_count)
		return NULL;
	uint32_t hash = name_hash(name, length);
	for (struct dentry *d = *bucket_of(dir, hash); d; d = d->hash_next)
		if (d->hash == hash && d->length == length && !memcmp(d->name, name, length))
			return d;
	return NULL;
}

static void grow_buckets(struct dentry *dir)
{
	if (dir->bucket_count >= MOST_BUCKETS)
		return;
	uint32_t count = dir->bucket_count ? dir->bucket_count * 2 : FIRST_BUCKETS;
	struct dentry **fresh = kcalloc(count, sizeof(*fresh));
	if (!fresh)
		return;
	for (uint32_t i = 0; i < dir->bucket_count; i++) {
		struct dentry *next;
		for (struct dentry *d = dir->buckets[i]; d; d = next) {
			next = d->hash_next;
			d->hash_next = fresh[d->hash & (count - 1)];
			fresh[d->hash & (count - 1)] = d;
		}
	}
	kfree(dir->buckets);
	dir->buckets = fresh;
	dir->bucket_count = count;
}

/* Room for one more name in dir: false only if it has no table at all. */
static bool make_room(struct dentry *dir)
{
	if (dir->child_count >= 2 * dir->bucket_count)
		grow_buckets(dir);
	return dir->bucket_count;
}

static void link_child(struct dentry *d)
{
	struct dentry *dir = d->parent;
	struct dentry **bucket = bucket_of(dir, d->hash);
	d->hash_next = *bucket;
	*bucket = d;
	d->cookie = dir->next_cookie++;
	siblings_add(dir, d);
	dir->child_count++;
	d->hashed = true;
}

static void unlink_child(struct dentry *d)
{
	struct dentry **at = bucket_of(d->parent, d->hash);
	while (*at != d)
		at = &(*at)->hash_next;
	*at = d->hash_next;
	d->hash_next = NULL;
	siblings_remove(d->parent, d);
	d->parent->child_count--;
	d->hashed = false;
}

bool dentry_hash(struct dentry *d)
{
	if (!make_room(d->parent))
		return false;
	link_child(dentry_get(d));
	return true;
}

void dentry_unhash(struct dentry *d)
{
	kassert(d->hashed);
	unlink_child(d);
	dentry_put(d);
}

void dentry_trim(struct dentry *dir)
{
	if (dir->child_count || !dir->bucket_count)
		return;
	kfree(dir->buckets);
	dir->buckets = NULL;
	dir->bucket_count = 0;
}

bool dentry_reserve(struct dentry *dir)
{
	return make_room(dir);
}

void dentry_move(struct dentry *d, struct dentry *parent, char *name, unsigned length)
{
	struct dentry *old = d->parent;
	unlink_child(d);
	if (name) {
		kfree(d->name);
		d->name = name;
		d->length = length;
		d->hash = name_hash(name, length);
	}
	d->parent = dentry_get(parent);
	link_child(d);
	dentry_put(old);
}

void dentry_swap(struct dentry *a, struct dentry *b)
{
	struct dentry *a_parent = a->parent;
	unlink_child(a);
	unlink_child(b);
	char *name = a->name;
	unsigned length = a->length;
	uint32_t hash = a->hash;
	a->name = b->name;
	a->length = b->length;
	a->hash = b->hash;
	a->parent = b->parent;
	b->name = name;
	b->length = length;
	b->hash = hash;
	b->parent = a_parent;
	link_child(a);
	link_child(b);
}

bool dentry_is_below(struct dentry *d, struct dentry *top)
{
	for (;;) {
		if (d == top)
			return true;
		if (d->parent == d)
			return false;
		d = d->parent;
	}
}

/* ---- paths ------------------------------------------------------------------ */

static bool put_front(char *buffer, char **at, const char *text, size_t bytes)
{
	if ((size_t)(*at - buffer) < bytes)
		return false;
	*at -= bytes;
	memcpy(*at, text, bytes);
	return true;
}

ssize_t dentry_path(struct dentry *d, struct dentry *root, char *buffer, size_t bytes, char **start,
		    bool *reachable, bool *deleted)
{
	char *at = buffer + bytes - 1;
	bool met_root = false, fits = true, gone = false;
	*at = 0;
	tree_read();
	struct dentry *first = d;
	for (;;) {
		if (d == root) {
			met_root = true;
			break;
		}
		if (d->parent == d) { /* the root of a mount */
			struct dentry *point = d->inode->mount->point;
			if (!point)
				break;
			d = point;
			continue;
		}
		if (!d->hashed && !d->inode->ops)
			gone = true;
		fits = fits && put_front(buffer, &at, d->name, d->length) &&
		       put_front(buffer, &at, "/", 1);
		d = d->parent;
	}
	if (first->parent == first && !first->inode->mount->point && first != root &&
	    first != root_dentry) {
		/* A pipe and the like: its whole name is in the dentry. */
		at = buffer + bytes - 1;
		fits = put_front(buffer, &at, first->name, first->length);
	} else if (!*at) {
		fits = put_front(buffer, &at, "/", 1);
	}
	tree_read_done();
	if (reachable)
		*reachable = met_root && !gone;
	if (deleted)
		*deleted = gone;
	*start = at;
	return fits ? buffer + bytes - 1 - at : -ENAMETOOLONG;
}

struct dentry *object_dentry(struct vm_object *object)
{
	struct inode *inode = vm_object_host_data(object);
	return inode ? inode_alias(inode) : NULL;
}

bool object_path(struct vm_object *object, char *to, size_t bytes)
{
	struct inode *inode = vm_object_host_data(object);
	if (!inode || !bytes)
		return false;
	struct dentry *d = inode_alias(inode);
	if (!d) {
		const char *dead = atomic_read_acquire(&inode->dead_path);
		if (!dead)
			return false;
		kstrlcpy(to, dead, bytes);
		return true;
	}
	char *start;
	bool deleted;
	ssize_t length = dentry_path(d, root_dentry, to, bytes, &start, NULL, &deleted);
	dentry_put(d);
	if (length < 0)
		return false;
	memmove(to, start, (size_t)length + 1);
	if (deleted)
		kstrlcpy(to + length, " (deleted)", bytes - (size_t)length);
	return true;
}

void object_inode(struct vm_object *object, uint64_t *dev, uint64_t *ino)
{
	struct inode *inode = vm_object_host_data(object);
	*dev = inode ? inode->mount->dev : 0;
	*ino = inode ? inode->ino : 0;
}

void dentry_make_alias(struct dentry *d)
{
	mem_lock(&alias_lock, FS_RANK_ALIAS);
	if (!d->inode->alias)
		d->inode->alias = d;
	mem_unlock(&alias_lock, FS_RANK_ALIAS);
}

ssize_t dentry_path_text(struct dentry *d, char *to, size_t bytes)
{
	char *start;
	bool deleted;
	struct dentry *root = context_root();
	ssize_t length = dentry_path(d, root, to, bytes, &start, NULL, &deleted);
	dentry_put(root);
	if (length < 0)
		return length;
	memmove(to, start, (size_t)length + 1);
	if (deleted) {
		kstrlcpy(to + length, " (deleted)", bytes - (size_t)length);
		length = (ssize_t)kstrlen(to);
	}
	return length;
}

/* The name is gone for good: keep its text for mappings that outlive it. */
void dentry_remember_path(struct dentry *d)
{
	struct inode *inode = d->inode;
	if (!inode->object || inode->nlink || inode->dead_path)
		return;
	char *text = kmalloc(PATH_MAX);
	if (!text)
		return; /* maps then shows no name */
	size_t bytes = dentry_path_text(d, text, PATH_MAX) > 0 ? kstrlen(text) + 1 : 0;
	char *copy = bytes ? account_alloc(bytes) : NULL;
	if (copy) {
		memcpy(copy, text, bytes);
		atomic_write_release(&inode->dead_path, copy);
	}
	kfree(text);
}
