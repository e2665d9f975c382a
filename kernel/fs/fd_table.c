/* SPDX-License-Identifier: MIT */
/*
 * Descriptor tables.
 *
 * A table is an array of pointers to chunks of 64 slots, under a spin lock. A chunk has a
 * word that says which of its slots are taken and one that says which have a file, so that
 * the next free slot and the next open file are found 64 slots at a time; growing copies
 * pointers to chunks, not slots. What a program with a million descriptors makes long under
 * the lock is bounded by that: some ten thousand steps.
 *
 * open() and its like reserve a number first, so that a call that fails for want of one has
 * not created or truncated anything. A reserved slot is taken and has no file.
 *
 *   F1  c->used is the slots with a file, and c->taken includes them; c->cloexec has only
 *       used ones
 *   F2  every slot below `lowest` is taken
 *   F3  memory is asked for without the lock; who comes back with it looks again
 */
#include "kernel/fs/fd_table.h"

#include <kernel/account.h>
#include <kernel/log.h>
#include <mem/heap.h>

#define COPIED_AT_ONCE 8192 /* slots: nearly every table is copied in one step */

struct fd_table *table_new(struct account *account)
{
	struct fd_table *t = kzalloc(sizeof(*t));
	if (!t)
		return NULL;
	t->refs = 1;
	t->capacity = CHUNK_SLOTS;
	t->only = &t->first;
	t->chunk = &t->only;
	t->bytes = sizeof(*t);
	t->account = account ? account_hold(account, t->bytes) : NULL;
	return t;
}

void table_free(struct fd_table *t)
{
	for (uint32_t i = 0; i < t->capacity / CHUNK_SLOTS; i++)
		if (t->chunk[i] != &t->first)
			kfree(t->chunk[i]);
	if (t->chunk != &t->only)
		kfree(t->chunk);
	account_give(t->account, t->bytes);
	kfree(t);
}

/* ---- slots ------------------------------------------------------------------------- */

void slot_fill(struct fd_table *t, unsigned fd, struct file *f, bool cloexec)
{
	struct fd_chunk *c = slot_chunk(t, fd);
	c->file[fd % CHUNK_SLOTS] = f;
	c->taken |= slot_bit(fd);
	c->used |= slot_bit(fd);
	slot_set_cloexec(t, fd, cloexec);
}

void slot_set_cloexec(struct fd_table *t, unsigned fd, bool cloexec)
{
	struct fd_chunk *c = slot_chunk(t, fd);
	if (cloexec)
		c->cloexec |= slot_bit(fd);
	else
		c->cloexec &= ~slot_bit(fd);
}

struct file *slot_take(struct fd_table *t, unsigned fd)
{
	struct fd_chunk *c = slot_chunk(t, fd);
	struct file *f = c->file[fd % CHUNK_SLOTS];
	c->file[fd % CHUNK_SLOTS] = NULL;
	c->taken &= ~slot_bit(fd);
	c->used &= ~slot_bit(fd);
	c->cloexec &= ~slot_bit(fd);
	t->lowest = mem_min(t->lowest, fd);
	return f;
}

/* The first free slot from `from` on; it may lie beyond the table's end. */
static unsigned first_free(const struct fd_table *t, unsigned from)
{
	for (unsigned fd = from; fd < t->capacity; fd = (fd | (CHUNK_SLOTS - 1)) + 1) {
		const struct fd_chunk *c = slot_chunk(t, fd);
		uint64_t free = c ? ~c->taken & (UINT64_MAX << fd % CHUNK_SLOTS) : slot_bit(fd);
		if (free)
			return fd / CHUNK_SLOTS * CHUNK_SLOTS + bit_lowest(free);
	}
	return mem_max(from, t->capacity);
}

/* The first slot from `from` on that is used, or closed at exec; -1: none. */
static int next_slot(struct fd_table *t, unsigned from, bool cloexec)
{
	int found = -1;
	table_lock(t);
	for (unsigned fd = from; fd < t->capacity; fd = (fd | (CHUNK_SLOTS - 1)) + 1) {
		const struct fd_chunk *c = slot_chunk(t, fd);
		if (!c)
			continue;
		uint64_t word = (cloexec ? c->cloexec : c->used) & (UINT64_MAX << fd % CHUNK_SLOTS);
		if (!word)
			continue;
		found = (int)(fd / CHUNK_SLOTS * CHUNK_SLOTS + bit_lowest(word));
		break;
	}
	table_unlock(t);
	return found;
}

int fd_table_next(struct fd_table *t, unsigned from)
{
	return next_slot(t, from, false);
}

int table_next_cloexec(struct fd_table *t, unsigned from)
{
	return next_slot(t, from, true);
}

/* ---- growing ------------------------------------------------------------------------- */

static void charge(struct fd_table *t, uint64_t bytes)
{
	t->bytes += bytes;
	account_grow(t->account, bytes);
}

/* More pointers to chunks, for `capacity` slots. */
static int grow(struct fd_table *t, uint32_t capacity)
{
	uint32_t count = capacity / CHUNK_SLOTS;
	struct fd_chunk **more = kcalloc(count, sizeof(*more)), **old = NULL;
	if (!more)
		return -ENOMEM;
	table_lock(t);
	if (t->capacity < capacity) {
		memcpy(more, t->chunk, t->capacity / CHUNK_SLOTS * sizeof(*more));
		charge(t, (capacity - t->capacity) / CHUNK_SLOTS * sizeof(*more));
		old = t->chunk;
		t->chunk = more;
		t->capacity = capacity;
		more = NULL;
	}
	table_unlock(t);
	kfree(more);
	if (old != &t->only)
		kfree(old);
	return 0;
}

static int add_chunk(struct fd_table *t, unsigned fd)
{
	struct fd_chunk *c = kzalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	table_lock(t);
	struct fd_chunk **at = &t->chunk[fd / CHUNK_SLOTS];
	if (!*at) {
		*at = c;
		c = NULL;
		charge(t, sizeof(**at));
	}
	table_unlock(t);
	kfree(c);
	return 0;
}

int table_make_room(struct fd_table *t, unsigned fd)
{
	uint32_t capacity = CHUNK_SLOTS;
	int r = 0;
	while (capacity <= fd)
		capacity *= 2;
	if (atomic_read_relaxed(&t->capacity) < capacity)
		r = grow(t, capacity);
	table_lock(t);
	bool there = r || slot_chunk(t, fd);
	table_unlock(t);
	return there ? r : add_chunk(t, fd);
}

int table_reserve(struct fd_table *t, unsigned from, unsigned limit)
{
	for (;;) {
		table_lock(t);
		unsigned fd = first_free(t, mem_max(from, t->lowest));
		struct fd_chunk *c = slot_chunk(t, fd);
		if (c && fd < limit) {
			c->taken |= slot_bit(fd);
			if (from <= t->lowest)
				t->lowest = fd + 1;
		}
		table_unlock(t);
		if (fd >= limit)
			return -EMFILE;
		if (c)
			return (int)fd;
		int r = table_make_room(t, fd);
		if (r)
			return r;
	}
}

/* ---- copying -------------------------------------------------------------------------- */

/* From slot `fd` on, until there is a chunk that has no room in t yet, or enough is done:
 * where to go on. */
static unsigned copy_some(struct fd_table *t, struct fd_table *from, unsigned fd, bool *room)
{
	unsigned stop = fd + COPIED_AT_ONCE;
	*room = true;
	table_lock(from);
	for (; fd < from->capacity && fd < stop; fd += CHUNK_SLOTS) {
		const struct fd_chunk *c = slot_chunk(from, fd);
		struct fd_chunk *to = slot_chunk(t, fd);
		if (!c || !c->used)
			continue;
		*room = to;
		if (!to)
			break;
		to->taken = to->used = c->used;
		to->cloexec = c->cloexec;
		for (uint64_t left = c->used; left; left &= left - 1) {
			unsigned i = bit_lowest(left);
			to->file[i] = c->file[i];
			file_get(to->file[i]);
		}
	}
	table_unlock(from);
	return fd;
}

/* Room for what a table has now: then most copies need one step. */
static int make_room_like(struct fd_table *t, struct fd_table *from)
{
	int r = 0;
	for (int fd = -1; !r && (fd = fd_table_next(from, (unsigned)(fd + 1))) >= 0;) {
		r = table_make_room(t, (unsigned)fd);
		fd |= CHUNK_SLOTS - 1;
	}
	return r;
}

struct fd_table *table_copy(struct fd_table *from, struct account *account)
{
	struct fd_table *t = table_new(account);
	bool room = true;
	int r = t ? make_room_like(t, from) : -ENOMEM;
	for (unsigned fd = 0; !r && fd < atomic_read_relaxed(&from->capacity);) {
		fd = copy_some(t, from, fd, &room);
		if (!room)
			r = table_make_room(t, fd);
	}
	if (r) {
		fd_table_put(t);
		return NULL;
	}
	return t;
}
