/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_FD_TABLE_H
#define KERNEL_FS_FD_TABLE_H
/*
 * Descriptor tables: see fd_table.c. Of the files of kernel/fs, fd.c alone looks inside.
 */
#include "kernel/fs/vfs.h"

#define CHUNK_SLOTS 64u

struct fd_chunk {
	uint64_t taken;   /* reserved or used */
	uint64_t used;    /* there is a file */
	uint64_t cloexec; /* of those that are used */
	struct file *file[CHUNK_SLOTS];
};

struct fd_table {
	uint32_t refs;
	uint32_t users; /* tasks (L) */
	struct mem_lock lock;
	uint32_t capacity;       /* slots, a power of two */
	uint32_t lowest;         /* no free slot below */
	struct fd_chunk **chunk; /* capacity / CHUNK_SLOTS; NULL: nothing was ever there */
	struct account *account;
	uint64_t bytes;        /* that are on it */
	struct fd_chunk *only; /* `chunk` of a small table */
	struct fd_chunk first;
};

static inline void table_lock(struct fd_table *t)
{
	mem_lock(&t->lock, FS_RANK_FDS);
}
static inline void table_unlock(struct fd_table *t)
{
	mem_unlock(&t->lock, FS_RANK_FDS);
}

/* All of these under the table's lock. */
static inline struct fd_chunk *slot_chunk(const struct fd_table *t, unsigned fd)
{
	return fd < t->capacity ? t->chunk[fd / CHUNK_SLOTS] : NULL;
}
static inline uint64_t slot_bit(unsigned fd)
{
	return 1ull << fd % CHUNK_SLOTS;
}
/* NULL: it is empty or reserved. */
static inline struct file *slot_file(const struct fd_table *t, unsigned fd)
{
	const struct fd_chunk *c = slot_chunk(t, fd);
	return c ? c->file[fd % CHUNK_SLOTS] : NULL;
}
static inline bool slot_is_reserved(const struct fd_table *t, unsigned fd)
{
	const struct fd_chunk *c = slot_chunk(t, fd);
	return c && c->taken & ~c->used & slot_bit(fd);
}
static inline bool slot_cloexec(const struct fd_table *t, unsigned fd)
{
	const struct fd_chunk *c = slot_chunk(t, fd);
	return c && c->cloexec & slot_bit(fd);
}
/* Put a file where there is room for it: table_make_room(). */
void slot_fill(struct fd_table *t, unsigned fd, struct file *f, bool cloexec);
void slot_set_cloexec(struct fd_table *t, unsigned fd, bool cloexec); /* it is used */
/* Empty it; what was in it, for the caller to put. */
struct file *slot_take(struct fd_table *t, unsigned fd);

/* The rest takes the lock itself. */
/* An empty table on this account (NULL: on none), with a reference; NULL: no memory. */
struct fd_table *table_new(struct account *account);
/* Without its files, which the caller has put. */
void table_free(struct fd_table *t);
/* The same files, with references, and what is to be closed at exec. */
struct fd_table *table_copy(struct fd_table *from, struct account *account);
/* There is a place for slot `fd` then. 0, -ENOMEM. */
int table_make_room(struct fd_table *t, unsigned fd);
/* The first from `from` on that is closed at exec; -1: none. */
int table_next_cloexec(struct fd_table *t, unsigned from);
/* Take the lowest free slot from `from` on, below `limit`. -EMFILE, -ENOMEM. */
int table_reserve(struct fd_table *t, unsigned from, unsigned limit);
#endif
