/* SPDX-License-Identifier: MIT */
/*
 * The names of a directory in order of their cookies: a treap.
 *
 * Reading a directory goes on at a cookie, whatever was removed meanwhile, and a program
 * may seek to any: so the name at or behind a cookie is found in some steps, however many
 * names there are. The tree needs no memory but the names' own.
 *
 *   S1  from left to right cookies rise; a new name has the highest yet
 *   S2  a name's rank, which is its cookie mixed with a secret, is not below those of the
 *       names under it. So the tree is as if names had come in random order: 300,000 are
 *       some 40 levels deep, and who makes and removes names cannot make it deeper
 *
 * All of it is under the tree lock.
 */
#include "kernel/fs/vfs.h"

#include <kernel/random.h>

static uint64_t secret;

void siblings_init(void)
{
	random_bytes(&secret, sizeof(secret));
}

static uint64_t rank_of(const struct dentry *d)
{
	uint64_t x = (d->cookie ^ secret) * 0x9e3779b97f4a7c15ull;
	return (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
}

void siblings_add(struct dentry *dir, struct dentry *d)
{
	struct dentry **at = &dir->names, *above = NULL;
	uint64_t rank = rank_of(d);
	while (*at && rank_of(*at) >= rank) { /* S1: on the right edge */
		above = *at;
		at = &above->right;
	}
	d->left = *at;
	if (d->left)
		d->left->above = d;
	d->right = NULL;
	d->above = above;
	*at = d;
}

void siblings_remove(struct dentry *dir, struct dentry *d)
{
	struct dentry *a = d->left, *b = d->right, *above = d->above;
	struct dentry **at = !above ? &dir->names : above->left == d ? &above->left : &above->right;
	while (a && b) {
		struct dentry *top = rank_of(a) >= rank_of(b) ? a : b;
		*at = top;
		top->above = above;
		above = top;
		if (top == a)
			a = *(at = &top->right);
		else
			b = *(at = &top->left);
	}
	*at = a ? a : b;
	if (*at)
		(*at)->above = above;
	d->left = d->right = d->above = NULL;
}

struct dentry *siblings_from(const struct dentry *dir, uint64_t cookie)
{
	struct dentry *found = NULL;
	for (struct dentry *d = dir->names; d;) {
		if (d->cookie >= cookie) {
			found = d;
			d = d->left;
		} else {
			d = d->right;
		}
	}
	return found;
}

struct dentry *siblings_next(const struct dentry *d)
{
	if (d->right) {
		struct dentry *next = d->right;
		while (next->left)
			next = next->left;
		return next;
	}
	while (d->above && d->above->right == d)
		d = d->above;
	return d->above;
}
