/* SPDX-License-Identifier: MIT */
/*
 * Futexes: sleeping on a word of user memory.
 *
 * Waiters sit in a hash of buckets by the word's key (vmm_futex_key: the same
 * for everyone who shares the page, wherever it is mapped), each bucket a list
 * under a spin lock. User memory may fault and cannot be read under that lock,
 * so a waiter queues itself *first* and compares the word afterwards:
 *
 *     waiter                         waker
 *     queue itself                   change the word
 *     read the word                  lock the bucket, wake who is queued
 *     differs: leave the queue
 *
 * Either the waiter reads the changed word or the waker finds the waiter. A
 * waiter that leaves because the word differs may already have been chosen by a
 * waker; then it returns 0, for that waker has counted it.
 *
 * F1  waiter->bucket is the bucket whose list it is in, or was when it was
 *     woken; it changes only by requeue, under both buckets' locks.
 * F2  whoever wakes a waiter does all of it under the bucket's lock, and a
 *     waiter returns only after it has taken that lock: its struct is on its stack.
 *
 * CMP_REQUEUE and WAKE_OP look at or change the word just before the buckets are
 * locked. A wake or wait that slips between is one that could have come
 * before the call.
 *
 * Priority-inheritance operations are not there: ENOSYS, which the C libraries
 * report when such a mutex is made.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"
#include "kernel/syscall/time.h"

#define FUTEX_WAIT        0
#define FUTEX_WAKE        1
#define FUTEX_REQUEUE     3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAKE_OP     5
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_PRIVATE     128
#define FUTEX_CLOCK_REAL  256
#define FUTEX_ANY         0xffffffffu

#define FUTEX_WAITERS    0x80000000u
#define FUTEX_OWNER_DIED 0x40000000u
#define FUTEX_TID_MASK   0x3fffffffu

#define BUCKETS 256

struct bucket {
	struct mem_lock lock;
	struct list waiters;
} MEM_CACHE_ALIGNED;

struct futex_key {
	uint64_t word[2];
};

struct futex_waiter {
	struct list link;
	struct bucket *bucket; /* F1 */
	struct futex_key key;
	uint32_t bitset;
	uint32_t woken;
	struct waitq wait;
};

static struct bucket buckets[BUCKETS];

void futex_init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		list_init(&buckets[i].waiters);
}

static struct bucket *bucket_of(const struct futex_key *key)
{
	uint64_t mix = (key->word[0] >> 4) * 0x9e3779b97f4a7c15ull ^
		       (key->word[1] >> 2) * 0xc2b2ae3d27d4eb4full;
	return &buckets[(mix >> 32) % BUCKETS];
}

static bool same_key(const struct futex_key *a, const struct futex_key *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* -EINVAL misaligned, -EFAULT not user memory. */
static long key_of(uint64_t at, bool private, struct futex_key *key)
{
	if (at & 3)
		return -EINVAL;
	if (!user_range_ok(at, 4))
		return -EFAULT;
	/* A word that others may share must be there; a private one is just an address. */
	uint32_t value;
	if (!private && user_load32(at, &value))
		return -EFAULT;
	mem_status status = vmm_futex_key(current_process()->space, at, private, key->word);
	if (status == MEM_OK)
		return 0;
	return status == MEM_ENOMEM ? -ENOMEM : -EFAULT;
}

static void wake_waiter_locked(struct futex_waiter *w)
{
	list_remove(&w->link);
	__atomic_store_n(&w->woken, 1, __ATOMIC_RELEASE);
	waitq_wake_all(&w->wait);
}

/* ---- going through buckets ---- */

static void lock_both(struct bucket *a, struct bucket *b)
{
	if (a > b) {
		struct bucket *t = a;
		a = b;
		b = t;
	}
	mem_lock(&a->lock, RANK_FUTEX);
	if (a != b)
		mem_lock(&b->lock, (enum mem_rank)(RANK_FUTEX + 1));
}

static void unlock_both(struct bucket *a, struct bucket *b)
{
	if (a > b) {
		struct bucket *t = a;
		a = b;
		b = t;
	}
	if (a != b)
		mem_unlock(&b->lock, (enum mem_rank)(RANK_FUTEX + 1));
	mem_unlock(&a->lock, RANK_FUTEX);
}

/*
 * A program may have thousands of waiters in one bucket. Who goes through it lets others
 * have the lock now and then, and keeps its place by a mark: a waiter for no word, which
 * nobody wakes or moves. Another mark is where the queue ended at the beginning: who comes
 * later is not meant, or waiters that come again would keep it going.
 */
struct scan {
	struct bucket *from, *to; /* both locked; `to` may be the same */
	struct futex_waiter place, end;
	unsigned work; /* under this taking of the lock */
};
#define WORK_AT_ONCE 256 /* waiters that are looked at */
#define WORK_OF_WAKE 8   /* is waking or moving one */

static void scan_begin(struct scan *s, struct bucket *from, struct bucket *to)
{
	memset(s, 0, sizeof(*s));
	s->from = from;
	s->to = to;
	lock_both(from, to);
	list_push_front(&from->waiters, &s->place.link);
	list_push_back(&from->waiters, &s->end.link);
}

/* The next waiter, or somebody's mark; NULL: there are no more. */
static struct futex_waiter *scan_next(struct scan *s)
{
	if (s->work >= WORK_AT_ONCE) {
		unlock_both(s->from, s->to);
		lock_both(s->from, s->to);
		s->work = 0;
	}
	struct list *next = s->place.link.next;
	if (next == &s->end.link)
		return NULL;
	s->work++;
	list_remove(&s->place.link);
	list_insert(&s->place.link, next, next->next);
	return list_entry(next, struct futex_waiter, link);
}

static void scan_end(struct scan *s)
{
	list_remove(&s->place.link);
	list_remove(&s->end.link);
	unlock_both(s->from, s->to);
}

static long wake_key(const struct futex_key *key, uint32_t count, uint32_t bitset)
{
	struct bucket *b = bucket_of(key);
	struct futex_waiter *w;
	struct scan s;
	uint32_t woken = 0;
	scan_begin(&s, b, b);
	while (woken < count && (w = scan_next(&s))) {
		if (!same_key(&w->key, key) || !(w->bitset & bitset))
			continue;
		wake_waiter_locked(w);
		woken++;
		s.work += WORK_OF_WAKE;
	}
	scan_end(&s);
	return woken;
}

static long futex_wake(uint64_t at, bool private, uint32_t count, uint32_t bitset)
{
	struct futex_key key;
	if (!bitset)
		return -EINVAL;
	long error = key_of(at, private, &key);
	return error ? error : wake_key(&key, count, bitset);
}

/* Linux wakes one for a count of 0 or less. */
static uint32_t wake_count(uint64_t value)
{
	return (int32_t)value < 1 ? 1 : (uint32_t)value;
}

void futex_wake_address(uint64_t address, uint32_t count)
{
	/* Whoever waits for it may have used either kind. */
	if (futex_wake(address, false, count, FUTEX_ANY) == 0)
		(void)futex_wake(address, true, count, FUTEX_ANY);
}

/* ---- waiting ---- */

static void enqueue(struct futex_waiter *w)
{
	w->bucket = bucket_of(&w->key);
	mem_lock(&w->bucket->lock, RANK_FUTEX);
	list_push_back(&w->bucket->waiters, &w->link);
	mem_unlock(&w->bucket->lock, RANK_FUTEX);
}

/* Leave the queue; true if it had been woken already. F2. */
static bool dequeue(struct futex_waiter *w)
{
	for (;;) {
		struct bucket *b = __atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE);
		mem_lock(&b->lock, RANK_FUTEX);
		if (b == w->bucket) {
			bool woken = w->woken;
			if (!woken)
				list_remove(&w->link);
			mem_unlock(&b->lock, RANK_FUTEX);
			return woken;
		}
		mem_unlock(&b->lock, RANK_FUTEX);
	}
}

static long do_wait(uint64_t at, bool private, uint32_t expected, nsec_t deadline, uint32_t bitset)
{
	struct futex_waiter w;
	memset(&w, 0, sizeof(w));
	waitq_init(&w.wait);
	w.bitset = bitset;
	long error = key_of(at, private, &w.key);
	if (error)
		return error;
	enqueue(&w);
	uint32_t value;
	if (user_load32(at, &value))
		error = -EFAULT;
	else if (value != expected)
		error = -EAGAIN;
	else
		error = wait_event_interruptible(
		    &w.wait, __atomic_load_n(&w.woken, __ATOMIC_ACQUIRE), deadline);
	return dequeue(&w) ? 0 : error;
}

/* arg: address, expected | private << 32 | (has deadline) << 33, deadline, bitset */
static long wait_again(struct restart_block *block)
{
	long result = do_wait(block->arg[0], (block->arg[1] >> 32) & 1, (uint32_t)block->arg[1],
			      block->arg[2], (uint32_t)block->arg[3]);
	return result == -ERESTARTSYS ? -ERESTART_RESTARTBLOCK : result;
}

static long futex_wait(uint64_t at, bool private, uint32_t expected, nsec_t deadline,
		       uint32_t bitset)
{
	if (!bitset)
		return -EINVAL;
	long result = do_wait(at, private, expected, deadline, bitset);
	if (result != -ERESTARTSYS || deadline == NSEC_NEVER)
		return result;
	/* Its timeout was relative to the first call: restart with the deadline. */
	struct restart_block *block = &current_task()->restart;
	block->fn = wait_again;
	block->arg[0] = at;
	block->arg[1] = expected | (uint64_t) private << 32;
	block->arg[2] = deadline;
	block->arg[3] = bitset;
	return -ERESTART_RESTARTBLOCK;
}

/* ---- two words at once ---- */

static long futex_requeue(uint64_t at, uint64_t to_at, bool private, int32_t wake, int32_t move,
			  const uint32_t *expected)
{
	struct futex_key from, to;
	if (wake < 0 || move < 0)
		return -EINVAL;
	long error = key_of(at, private, &from);
	if (!error)
		error = key_of(to_at, private, &to);
	if (error)
		return error;
	if (expected) {
		uint32_t value;
		if (user_load32(at, &value))
			return -EFAULT;
		if (value != *expected)
			return -EAGAIN;
	}
	struct bucket *b = bucket_of(&to);
	struct futex_waiter *w;
	struct scan s;
	long woken = 0, moved = 0;
	scan_begin(&s, bucket_of(&from), b);
	while ((woken < wake || moved < move) && (w = scan_next(&s))) {
		if (!same_key(&w->key, &from))
			continue;
		s.work += WORK_OF_WAKE;
		if (woken < wake) {
			wake_waiter_locked(w);
			woken++;
			continue;
		}
		moved++;
		if (same_key(&from, &to))
			continue; /* it is where it should be */
		list_remove(&w->link);
		list_push_back(&b->waiters, &w->link);
		w->key = to;
		__atomic_store_n(&w->bucket, b, __ATOMIC_RELEASE);
	}
	scan_end(&s);
	return woken + (expected ? moved : 0);
}

/* The arithmetic of FUTEX_WAKE_OP, on the second word. */
static long apply_op(uint64_t at, uint32_t op, bool *condition)
{
	unsigned kind = (op >> 28) & 7, compare = (op >> 24) & 15;
	int32_t argument = (int32_t)(op << 8) >> 20, against = (int32_t)(op << 20) >> 20;
	if (op & (8u << 28)) {
		if (argument < 0 || argument > 31)
			argument &= 31;
		argument = (int32_t)(1u << argument);
	}
	if (kind > 4 || compare > 5)
		return -ENOSYS;
	uint32_t old, new, seen;
	if (user_load32(at, &old))
		return -EFAULT;
	for (;;) {
		switch (kind) {
		case 0:
			new = (uint32_t)argument;
			break;
		case 1:
			new = old + (uint32_t)argument;
			break;
		case 2:
			new = old | (uint32_t)argument;
			break;
		case 3:
			new = old & ~(uint32_t)argument;
			break;
		default:
			new = old ^ (uint32_t)argument;
			break;
		}
		if (user_cas32(at, old, new, &seen))
			return -EFAULT;
		if (seen == old)
			break;
		old = seen;
	}
	int32_t value = (int32_t)old;
	*condition = compare == 0   ? value == against
		     : compare == 1 ? value != against
		     : compare == 2 ? value < against
		     : compare == 3 ? value <= against
		     : compare == 4 ? value > against
				    : value >= against;
	return 0;
}

static long futex_wake_op(uint64_t at, uint64_t second, bool private, uint32_t count,
			  uint32_t second_count, uint32_t op)
{
	struct futex_key first_key, second_key;
	bool condition = false;
	long error = key_of(at, private, &first_key);
	if (!error)
		error = key_of(second, private, &second_key);
	if (!error)
		error = apply_op(second, op, &condition);
	if (error)
		return error;
	long woken = wake_key(&first_key, count, FUTEX_ANY);
	if (condition)
		woken += wake_key(&second_key, second_count, FUTEX_ANY);
	return woken;
}

static long timeout_deadline(unsigned command, bool real, uint64_t at, nsec_t *deadline)
{
	nsec_t ns;
	*deadline = NSEC_NEVER;
	if (!at)
		return 0;
	int error = nsec_from_user(at, &ns);
	if (error)
		return error;
	return deadline_on_clock(real ? CLOCK_REALTIME : CLOCK_MONOTONIC, ns,
				 command == FUTEX_WAIT_BITSET, deadline);
}

long sys_futex(uint64_t at, uint64_t op, uint64_t value, uint64_t timeout, uint64_t second,
	       uint64_t value3)
{
	bool private = op & FUTEX_PRIVATE, real = op & FUTEX_CLOCK_REAL;
	unsigned command = (unsigned)op & ~(unsigned)(FUTEX_PRIVATE | FUTEX_CLOCK_REAL);
	uint32_t expected = (uint32_t)value3;
	nsec_t deadline;
	long error;
	if (real && command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET)
		return -ENOSYS;
	switch (command) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		error = timeout_deadline(command, real, timeout, &deadline);
		if (error)
			return error;
		return futex_wait(at, private, (uint32_t)value, deadline,
				  command == FUTEX_WAIT ? FUTEX_ANY : (uint32_t)value3);
	case FUTEX_WAKE:
		return futex_wake(at, private, wake_count(value), FUTEX_ANY);
	case FUTEX_WAKE_BITSET:
		return futex_wake(at, private, wake_count(value), (uint32_t)value3);
	case FUTEX_REQUEUE:
		return futex_requeue(at, second, private, (int32_t)value, (int32_t)timeout, NULL);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(at, second, private, (int32_t)value, (int32_t)timeout,
				     &expected);
	case FUTEX_WAKE_OP:
		return futex_wake_op(at, second, private, (uint32_t)value, (uint32_t)timeout,
				     expected);
	default:
		return -ENOSYS;
	}
}

/* ---- robust lists ---- */

#define ROBUST_HEAD_BYTES 24
#define ROBUST_MAX        2048 /* entries looked at: the list is the program's, and may loop */

struct robust_head {
	uint64_t next;
	int64_t futex_offset;
	uint64_t pending;
};

long sys_set_robust_list(uint64_t head, uint64_t bytes)
{
	struct task *t = current_task();
	if (bytes != ROBUST_HEAD_BYTES)
		return -EINVAL;
	t->robust_list = head;
	t->robust_len = bytes;
	return 0;
}

long sys_get_robust_list(uint64_t pid, uint64_t head_at, uint64_t bytes_at)
{
	uint64_t head = 0, bytes = ROBUST_HEAD_BYTES;
	long error = 0;
	unsigned long irq = proc_lock();
	struct task *t = (pid_t)pid ? task_find_locked((pid_t)pid) : current_task();
	if (!t)
		error = -ESRCH;
	else
		error = process_access_locked(t->process, ACCESS_BY_REAL_IDS);
	if (!error)
		head = t->robust_list;
	proc_unlock(irq);
	if (error)
		return error;
	if (copy_to_user(bytes_at, &bytes, sizeof(bytes)) ||
	    copy_to_user(head_at, &head, sizeof(head)))
		return -EFAULT;
	return 0;
}

/* The dead thread held (or was taking) the lock at `at`: say so and wake one waiter. */
static void robust_release(uint64_t at, pid_t tid, bool pending)
{
	uint32_t value, seen;
	if ((at & 3) || user_load32(at, &value))
		return;
	/* It died between unlocking and waking: pass the wake on. */
	if (pending && value == 0) {
		futex_wake_address(at, 1);
		return;
	}
	while ((value & FUTEX_TID_MASK) == (uint32_t)tid) {
		uint32_t dead = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
		if (user_cas32(at, value, dead, &seen))
			return;
		if (seen == value) {
			if (value & FUTEX_WAITERS)
				futex_wake_address(at, 1);
			return;
		}
		value = seen;
	}
}

void futex_robust_exit(struct task *t)
{
	struct robust_head head;
	uint64_t list = t->robust_list;
	t->robust_list = 0;
	if (!list || copy_from_user(&head, list, sizeof(head)))
		return;
	uint64_t pending = head.pending & ~1ull; /* bit 0 marks PI futexes */
	uint64_t entry = head.next & ~1ull;
	for (unsigned i = 0; entry != list && i < ROBUST_MAX; i++) {
		uint64_t next;
		bool more = !copy_from_user(&next, entry, sizeof(next));
		if (entry != pending)
			robust_release(entry + (uint64_t)head.futex_offset, t->tid, false);
		if (!more)
			return;
		entry = next & ~1ull;
	}
	if (pending)
		robust_release(pending + (uint64_t)head.futex_offset, t->tid, true);
}
