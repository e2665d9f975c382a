/* SPDX-License-Identifier: MIT */
/*
 * Walks of lists whose length a program chooses: processes, children, members of a
 * group, tasks.
 *
 * All of them are under proc_lock, which is held with interrupts off, so a walk lets it
 * go after some entries. Its place is kept by an entry of its own in the list, the
 * cursor: whatever is taken out or put in meanwhile, the walk goes on behind the cursor.
 * Others step over it.
 *
 *   W1  Each entry that is in the list from the beginning of a walk to its end is
 *       visited once. New entries come at the end: those that are put in during the
 *       walk are visited too.
 *   W2  What walk_next returned is good until it is called again, as the lock is held.
 *   W3  Who is taken out and put in again comes to the end again, and others are born:
 *       a walk that does not end them sets a limit, or might follow them for ever.
 *   W4  The list's head stays: the caller holds what it is in. That may be the next
 *       entry of an outer walk only if the caller has a reference.
 */
#include "kernel/proc/internal.h"

#define CURSORS_AT_ONCE 64 /* of other walks, stepped over like entries */

void walk_begin(struct walk *w, struct list *list, unsigned at_once, unsigned long *irq)
{
	*w = (struct walk){.list = list, .at_once = at_once, .irq = irq, .left = UINT32_MAX};
	list_push_front(list, &w->cursor.link);
}

void walk_end(struct walk *w)
{
	list_remove(&w->cursor.link);
	w->list = NULL;
}

/* Let others have the lock. */
static void breathe(struct walk *w)
{
	proc_unlock(*w->irq);
	signal_nodes_settle();
	*w->irq = proc_lock();
	w->taken = w->passed = 0;
}

void *walk_next(struct walk *w)
{
	if (!w->list)
		return NULL;
	if (w->taken == w->at_once)
		breathe(w);
	for (;;) {
		struct list *next = w->cursor.link.next;
		if (next == w->list || !w->left) {
			walk_end(w);
			return NULL;
		}
		void *owner = member_of(next)->owner;
		list_remove(&w->cursor.link);
		list_insert(&w->cursor.link, next, next->next);
		if (owner) {
			w->taken++;
			w->left--;
			return owner;
		}
		if (++w->passed == CURSORS_AT_ONCE)
			breathe(w);
	}
}

void *members_first(const struct list *list)
{
	for (struct list *link = list->next; link != list; link = link->next)
		if (member_of(link)->owner)
			return member_of(link)->owner;
	return NULL;
}
