/* SPDX-License-Identifier: MIT */
/*
 * Numbers of tasks, processes, groups and sessions.
 *
 * All four kinds share one space: a number is taken while any task, process,
 * member of a group or member of a session uses it, so that a group whose
 * leader is gone keeps its name. Each number in use has an entry with a count
 * of users, in a hash by number. Numbers are given out in rising order and
 * start again after 300, as Linux does, so that a number is not used again soon.
 */
#include "kernel/proc/internal.h"
#include <mem/heap.h>

#define PID_BUCKETS  512
#define PID_RESERVED 300

int32_t proc_pid_max = 32768;

static struct list buckets[PID_BUCKETS];
static pid_t last_pid;
static uint32_t numbers_used;

void pid_init(void)
{
	for (unsigned i = 0; i < PID_BUCKETS; i++)
		list_init(&buckets[i]);
}

static struct list *bucket_of(pid_t number)
{
	return &buckets[(uint32_t)number % PID_BUCKETS];
}

struct pid_entry *pid_lookup(pid_t number)
{
	list_for_each (link, bucket_of(number)) {
		struct pid_entry *entry = list_entry(link, struct pid_entry, hash_link);
		if (entry->number == number)
			return entry;
	}
	return NULL;
}

struct pid_entry *pid_allocate(int *error)
{
	struct pid_entry *entry = kzalloc(sizeof(*entry));
	if (!entry) {
		*error = -ENOMEM;
		return NULL;
	}
	unsigned long irq = proc_lock();
	pid_t max = __atomic_load_n(&proc_pid_max, __ATOMIC_RELAXED);
	pid_t number = last_pid;
	bool found = false;
	for (pid_t tried = 0; tried < max && numbers_used < (uint32_t)max; tried++) {
		number++;
		if (number >= max)
			number = last_pid >= PID_RESERVED ? PID_RESERVED : 1;
		if (!pid_lookup(number)) {
			found = true;
			break;
		}
	}
	if (found) {
		last_pid = number;
		numbers_used++;
		entry->number = number;
		entry->users = 1;
		list_push_front(bucket_of(number), &entry->hash_link);
	}
	proc_unlock(irq);
	if (!found) {
		kfree(entry);
		*error = -EAGAIN;
		return NULL;
	}
	return entry;
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
	list_remove(&entry->hash_link);
	numbers_used--;
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
