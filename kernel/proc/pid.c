/* SPDX-License-Identifier: MIT */
/*
 * Numbers of tasks, processes, groups and sessions.
 *
 * All four kinds share one space: a number is taken while any task, process,
 * member of a group or member of a session uses it, so that a group whose
 * leader is gone keeps its name. Each number in use has an entry with a count
 * of users. Numbers are given out in rising order and start again after 300, as
 * Linux does, so that a number is not used again soon.
 *
 * The entries are in a radix tree by number, 64 slots a node. Each node has a word that
 * says which slots are used and one that says which are full, so that the entry of a
 * number, the next number in use and the next free one are found in a few steps each,
 * however many are in use: all of it happens with interrupts off.
 *
 *   P1  a slot of a node is used exactly while there is something in it; below the root
 *       no node is empty
 *   P2  a slot is full while every number below it is in use
 *   P3  nodes come from a small stock, which is filled without the lock, and emptied when
 *       memory is to be given back (pid_nodes_drain)
 */
#include "kernel/proc/internal.h"
#include <mem/heap.h>

#define PID_RESERVED 300
#define SHIFT        6 /* 64 slots: the bits of a word */
#define LEVELS       4
#define NUMBERS      (1 << (SHIFT * LEVELS))
#define FULL         UINT64_MAX
#define STOCK_MOST   8

_Static_assert(PID_MAX_MOST <= NUMBERS, "every number has a place");

struct node {
	uint64_t used, full;
	void *slot[1 << SHIFT]; /* nodes; entries in the lowest level */
};

int32_t proc_pid_max = 32768;

static struct node root;
static struct node *stock[STOCK_MOST]; /* (L) P3 */
static unsigned stocked;               /* (L) */
static pid_t last_pid;

/* ---- the tree ----------------------------------------------------------------------- */

static unsigned slot_of(pid_t number, unsigned level)
{
	return (uint32_t)number >> (SHIFT * level) & ((1 << SHIFT) - 1);
}

struct pid_entry *pid_lookup(pid_t number)
{
	void *at = &root;
	if (number <= 0 || number >= NUMBERS)
		return NULL;
	for (unsigned level = LEVELS; level-- && at;)
		at = ((struct node *)at)->slot[slot_of(number, level)];
	return at;
}

/* The first number from `from` on that is in use, or that is not: `free`. NUMBERS: none. */
static pid_t search(pid_t from, bool free)
{
	const struct node *node = &root;
	for (unsigned level = LEVELS - 1; from < NUMBERS;) {
		unsigned slot = slot_of(from, level);
		uint64_t good = (free ? ~node->full : node->used) & (FULL << slot);
		if (!good) { /* on behind this node, from the top */
			from = ((from >> (SHIFT * (level + 1))) + 1) << (SHIFT * (level + 1));
			node = &root;
			level = LEVELS - 1;
			continue;
		}
		if (bit_lowest(good) != slot) {
			from = (from >> (SHIFT * (level + 1))) << (SHIFT * (level + 1));
			from |= (pid_t)bit_lowest(good) << (SHIFT * level);
			slot = bit_lowest(good);
		}
		if (!level || !node->slot[slot])
			return from;
		node = node->slot[slot];
		level--;
	}
	return NUMBERS;
}

struct pid_entry *pid_next(pid_t from)
{
	return pid_lookup(search(mem_max(from, 1), false));
}

/* The nodes on the way to a number, lowest first; *missing: what is not there. */
static void path_to(pid_t number, struct node *path[LEVELS], unsigned *missing)
{
	path[LEVELS - 1] = &root;
	*missing = 0;
	for (unsigned level = LEVELS - 1; level; level--) {
		struct node *above = path[level];
		path[level - 1] = above ? above->slot[slot_of(number, level)] : NULL;
		*missing += !path[level - 1];
	}
}

/* False: the stock has too few nodes. */
static bool insert(struct pid_entry *entry)
{
	struct node *path[LEVELS];
	unsigned missing;
	pid_t number = entry->number;
	path_to(number, path, &missing);
	if (missing > stocked)
		return false;
	for (unsigned level = LEVELS - 1; level; level--) {
		unsigned slot = slot_of(number, level);
		if (!path[level - 1]) {
			path[level - 1] = path[level]->slot[slot] = stock[--stocked];
			path[level]->used |= 1ull << slot;
		}
	}
	path[0]->slot[slot_of(number, 0)] = entry;
	path[0]->used |= 1ull << slot_of(number, 0);
	path[0]->full = path[0]->used;
	for (unsigned level = 1; level < LEVELS && path[level - 1]->full == FULL; level++)
		path[level]->full |= 1ull << slot_of(number, level);
	return true;
}

static void node_put(struct node *node)
{
	if (stocked < STOCK_MOST)
		stock[stocked++] = node; /* empty, so all-zero */
	else
		kfree(node);
}

static void erase(pid_t number)
{
	struct node *path[LEVELS];
	unsigned missing;
	path_to(number, path, &missing);
	kassert(!missing);
	bool empty = true;
	for (unsigned level = 0; level < LEVELS; level++) {
		uint64_t bit = 1ull << slot_of(number, level);
		path[level]->full &= ~bit;
		if (!empty)
			continue;
		path[level]->used &= ~bit;
		path[level]->slot[slot_of(number, level)] = NULL;
		empty = level < LEVELS - 1 && !path[level]->used;
		if (empty)
			node_put(path[level]);
	}
}

/* ---- giving out ------------------------------------------------------------------------ */

/* The next free number; 0: none. */
static pid_t choose_number(void)
{
	pid_t max = __atomic_load_n(&proc_pid_max, __ATOMIC_RELAXED);
	pid_t number = search(last_pid + 1, true);
	if (number >= max)
		number = search(last_pid >= PID_RESERVED ? PID_RESERVED : 1, true);
	return number < max ? number : 0;
}

/* What one number needs at most. */
static bool fill_stock(void)
{
	while (__atomic_load_n(&stocked, __ATOMIC_RELAXED) < LEVELS - 1) {
		struct node *node = kzalloc(sizeof(*node));
		if (!node)
			return false;
		unsigned long irq = proc_lock();
		node_put(node);
		proc_unlock(irq);
	}
	return true;
}

void pid_nodes_drain(void)
{
	struct node *node;
	do {
		unsigned long irq = proc_lock();
		node = stocked ? stock[--stocked] : NULL;
		proc_unlock(irq);
		kfree(node);
	} while (node);
}

struct pid_entry *pid_allocate(int *error)
{
	struct pid_entry *entry = kzalloc(sizeof(*entry));
	bool done = false;
	if (entry) {
		entry->users = 1;
		list_init(&entry->group);
		list_init(&entry->due_link);
	}
	while (entry && !done) {
		*error = -ENOMEM;
		if (!fill_stock())
			break;
		unsigned long irq = proc_lock();
		entry->number = choose_number();
		*error = entry->number ? 0 : -EAGAIN;
		done = entry->number && insert(entry);
		if (done)
			last_pid = entry->number;
		proc_unlock(irq);
		if (*error)
			break;
	}
	if (done)
		return entry;
	kfree(entry);
	return NULL;
}

void pid_use(struct pid_entry *entry)
{
	entry->users++;
}

void pid_drop(struct pid_entry *entry)
{
	kassert(entry->users > 0);
	if (--entry->users)
		return;
	kassert(!entry->stopped && !entry->anchors);
	erase(entry->number);
	kfree(entry);
}

void process_counts(uint32_t *processes, uint32_t *tasks, pid_t *last)
{
	unsigned long irq = proc_lock();
	if (processes)
		*processes = process_total;
	if (tasks)
		*tasks = task_total;
	if (last)
		*last = last_pid;
	proc_unlock(irq);
}
