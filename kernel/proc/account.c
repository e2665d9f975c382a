/* SPDX-License-Identifier: MIT */
/*
 * Accounts of users and of processes: see account.h.
 *
 * Users are found through a small hash table under one spin lock. Counting, and taking
 * and dropping any but the last reference, need no lock: who charges adds first and takes
 * back what is beyond the limit.
 */
#include <kernel/account.h>
#include <mem/heap.h>

#include "kernel/proc/internal.h"

#define RANK_USERS                                                                                 \
	((enum mem_rank)41) /* below proc_lock, under which users are held and dropped             \
			     */
#define BUCKETS 64

struct user {
	struct user *next;
	uint64_t refs; /* atomic; it reaches 0, and is found by number, under users_lock */
	uint32_t uid;
	uint64_t count[USER_COUNTS];
};

struct account {
	uint64_t refs, bytes;
};

static struct mem_lock users_lock;
static struct user *users[BUCKETS];

static struct user **find(uint32_t uid)
{
	struct user **at = &users[uid % BUCKETS];
	while (*at && (*at)->uid != uid)
		at = &(*at)->next;
	return at;
}

struct user *user_get(uint32_t uid)
{
	struct user *fresh = kzalloc(sizeof(*fresh));
	if (!fresh)
		return NULL;
	*fresh = (struct user){.uid = uid};
	unsigned long irq = mem_lock_irq(&users_lock, RANK_USERS);
	struct user **at = find(uid), *u = *at;
	if (!u) {
		u = *at = fresh;
		fresh = NULL;
	}
	__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
	mem_unlock_irq(&users_lock, RANK_USERS, irq);
	kfree(fresh);
	return u;
}

struct user *user_hold(struct user *u)
{
	__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
	return u;
}

void user_put(struct user *u)
{
	if (!u)
		return;
	uint64_t refs = __atomic_load_n(&u->refs, __ATOMIC_RELAXED);
	while (refs > 1)
		if (__atomic_compare_exchange_n(&u->refs, &refs, refs - 1, false, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return;
	unsigned long irq = mem_lock_irq(&users_lock, RANK_USERS);
	bool last = !__atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL);
	if (last)
		*find(u->uid) = u->next;
	mem_unlock_irq(&users_lock, RANK_USERS, irq);
	if (!last)
		return;
	for (unsigned i = 0; i < USER_COUNTS; i++)
		kassert(!u->count[i]);
	kfree(u);
}

uint32_t user_number(const struct user *u)
{
	return u->uid;
}

bool user_charge(struct user *u, enum user_count which, uint64_t n, uint64_t limit)
{
	uint64_t now = __atomic_add_fetch(&u->count[which], n, __ATOMIC_RELAXED);
	if (now <= limit)
		return true;
	user_uncharge(u, which, n);
	return false;
}

void user_uncharge(struct user *u, enum user_count which, uint64_t n)
{
	kassert(__atomic_fetch_sub(&u->count[which], n, __ATOMIC_RELAXED) >= n);
}

uint64_t user_charged(const struct user *u, enum user_count which)
{
	return __atomic_load_n(&u->count[which], __ATOMIC_RELAXED);
}

struct user *user_current(void)
{
	struct thread *t = current_thread();
	if (!t || !t->user)
		return NULL;
	unsigned long irq = proc_lock();
	struct user *u = user_hold(current_process()->user);
	proc_unlock(irq);
	return u;
}

struct account *account_create(void)
{
	struct account *a = kzalloc(sizeof(*a));
	if (a)
		a->refs = 1;
	return a;
}

void account_put(struct account *a)
{
	if (a && !__atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL))
		kfree(a);
}

struct account *account_hold(struct account *a, uint64_t bytes)
{
	__atomic_add_fetch(&a->refs, 1, __ATOMIC_RELAXED);
	account_grow(a, bytes);
	return a;
}

struct account *account_take(uint64_t bytes)
{
	struct thread *t = current_thread();
	if (!t || !t->user)
		return NULL;
	return account_hold(current_process()->account, bytes);
}

void account_give(struct account *a, uint64_t bytes)
{
	account_shrink(a, bytes);
	account_put(a);
}

void account_grow(struct account *a, uint64_t bytes)
{
	if (a)
		__atomic_add_fetch(&a->bytes, bytes, __ATOMIC_RELAXED);
}

void account_shrink(struct account *a, uint64_t bytes)
{
	if (a)
		kassert(__atomic_fetch_sub(&a->bytes, bytes, __ATOMIC_RELAXED) >= bytes);
}

uint64_t account_bytes(const struct account *a)
{
	return __atomic_load_n(&a->bytes, __ATOMIC_RELAXED);
}

/* In front of a block: whose it is. */
struct charge {
	struct account *account;
	uint64_t bytes;
};

void *account_alloc(size_t bytes)
{
	size_t whole;
	if (__builtin_add_overflow(bytes, sizeof(struct charge), &whole))
		return NULL;
	struct charge *c = kzalloc(whole);
	if (!c)
		return NULL;
	*c = (struct charge){account_take(whole), whole};
	return c + 1;
}

void account_free(void *block)
{
	if (!block)
		return;
	struct charge *c = (struct charge *)block - 1;
	account_give(c->account, c->bytes);
	kfree(c);
}
