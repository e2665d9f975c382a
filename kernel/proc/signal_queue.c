/* SPDX-License-Identifier: MIT */
/*
 * Queues of pending signals.
 *
 * A queue is a set of signals and, for each, a ring of what is to be told with it,
 * oldest first. A ring for each signal makes every step the same work whatever is
 * queued: adding, taking, and dropping a whole signal, which are all done with
 * interrupts off.
 *
 * What is dropped is put aside, on one chain for all, and let go of by threads a few at
 * a time. Nodes come from a small stock and go back to it: the heap may take long for
 * one block, so that threads ask it without the lock (signal_nodes_settle). Only who
 * finds the stock empty asks it under the lock.
 *
 * A queue has room for what one exception tells: its thread takes that at once, so that
 * there is never a second one, and no memory has to be found for it.
 *
 * A timer brings its own node, made with the timer, so that its signal is never
 * refused. It is freed when both are done with it: the timer gone and the signal taken.
 */
#include "kernel/proc/internal.h"
#include <kernel/account.h>
#include <mem/heap.h>

#define AT_ONCE     6 /* nodes under one taking of the lock */
#define STOCK_LEAST 64
#define STOCK_MOST  128

static struct siginfo_node *dropped; /* (L) a chain of nodes that still count */
static struct siginfo_node *stock;   /* (L) a chain of nodes of nobody */
static uint32_t stocked;             /* (L) */

void signal_queue_init(struct signal_queue *q)
{
	memset(q, 0, sizeof(*q));
}

/* ---- nodes ---------------------------------------------------------------------- */

static void stock_put(struct siginfo_node *node)
{
	node->next = stock;
	stock = node;
	stocked++;
}

static struct siginfo_node *stock_take(void)
{
	struct siginfo_node *node = stock;
	if (!node)
		return NULL;
	stock = node->next;
	stocked--;
	return node;
}

struct siginfo_node *signal_node_create_locked(struct process *p, bool beyond_limit)
{
	uint64_t limit = beyond_limit ? UINT64_MAX : rlimit_soft(p, RLIMIT_SIGPENDING);
	if (!user_charge(p->user, USER_SIGNALS, 1, limit))
		return NULL;
	struct siginfo_node *node = stock_take();
	if (!node && !(node = kmalloc(sizeof(*node)))) {
		user_uncharge(p->user, USER_SIGNALS, 1);
		return NULL;
	}
	memset(node, 0, sizeof(*node));
	node->user = user_hold(p->user);
	node->account = account_hold(p->account, sizeof(*node));
	return node;
}

static void node_free(struct siginfo_node *node)
{
	user_uncharge(node->user, USER_SIGNALS, 1);
	user_put(node->user);
	account_give(node->account, sizeof(*node));
	stock_put(node);
}

void signal_node_release_locked(struct siginfo_node *node)
{
	node->kept = false;
	if (!node->queued)
		node_free(node);
}

/* Let go of some of what was dropped, and take what the stock has too much: a chain. */
static struct siginfo_node *settle_some(void)
{
	struct siginfo_node *surplus = NULL;
	unsigned long irq = proc_lock();
	for (unsigned i = 0; i < AT_ONCE && dropped; i++) {
		struct siginfo_node *node = dropped;
		dropped = node->next;
		node->queued = false;
		if (!node->kept)
			node_free(node);
	}
	for (unsigned i = 0; i < AT_ONCE && stocked > STOCK_MOST; i++) {
		struct siginfo_node *node = stock_take();
		node->next = surplus;
		surplus = node;
	}
	proc_unlock(irq);
	return surplus;
}

void signal_nodes_settle(void)
{
	tasks_settle();
	while (__atomic_load_n(&dropped, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&stocked, __ATOMIC_RELAXED) > STOCK_MOST) {
		for (struct siginfo_node *next, *node = settle_some(); node; node = next) {
			next = node->next;
			kfree(node);
		}
	}
	while (__atomic_load_n(&stocked, __ATOMIC_RELAXED) < STOCK_LEAST) {
		struct siginfo_node *node = kmalloc(sizeof(*node));
		if (!node)
			return;
		unsigned long irq = proc_lock();
		stock_put(node);
		proc_unlock(irq);
	}
}

void signal_nodes_drain(void)
{
	for (struct siginfo_node *node = NULL;; kfree(node)) {
		unsigned long irq = proc_lock();
		node = stock_take();
		proc_unlock(irq);
		if (!node)
			return;
	}
}

/* ---- rings ------------------------------------------------------------------------ */

void signal_queue_add(struct signal_queue *q, int sig, struct siginfo_node *node)
{
	struct siginfo_node *newest = q->newest[sig - 1];
	node->info.signo = sig;
	node->queued = true;
	node->next = newest ? newest->next : node;
	if (newest)
		newest->next = node;
	q->newest[sig - 1] = node;
	q->set |= SIGSET(sig);
}

void signal_queue_force(struct signal_queue *q, int sig, const struct siginfo *info)
{
	q->set |= SIGSET(sig);
	q->forced = sig;
	if (info)
		q->forced_info = *info;
	else
		q->forced_info = (struct siginfo){.code = SI_KERNEL};
	q->forced_info.signo = sig;
}

int signal_queue_take(struct signal_queue *q, sigset_t set, struct siginfo *info)
{
	sigset_t ready = q->set & set;
	if (!ready)
		return 0;
	if (ready & SIGNALS_SYNCHRONOUS)
		ready &= SIGNALS_SYNCHRONOUS; /* an exception before what merely arrived */
	int sig = (int)bit_lowest(ready) + 1;
	struct siginfo_node *newest = q->newest[sig - 1];
	if (!newest && q->forced == sig) {
		*info = q->forced_info;
		q->forced = 0;
		q->set &= ~SIGSET(sig);
		return sig;
	}
	if (!newest) {
		memset(info, 0, sizeof(*info));
		info->signo = sig;
		q->set &= ~SIGSET(sig);
		return sig;
	}
	struct siginfo_node *oldest = newest->next;
	*info = oldest->info;
	newest->next = oldest->next;
	if (oldest == newest) {
		q->newest[sig - 1] = NULL;
		q->set &= ~SIGSET(sig);
	}
	oldest->queued = false;
	if (!oldest->kept)
		node_free(oldest);
	return sig;
}

void signal_queue_flush(struct signal_queue *q, sigset_t set)
{
	for (sigset_t left = q->set & set; left; left &= left - 1) {
		struct siginfo_node **newest = &q->newest[bit_lowest(left)];
		if (*newest) {
			struct siginfo_node *oldest = (*newest)->next;
			(*newest)->next = dropped;
			__atomic_store_n(&dropped, oldest, __ATOMIC_RELAXED);
		}
		*newest = NULL;
	}
	if (q->forced && (set & SIGSET(q->forced)))
		q->forced = 0;
	q->set &= ~set;
}
