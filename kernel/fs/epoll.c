/* SPDX-License-Identifier: MIT */
/*
 * epoll: a set of files to wait for, kept between waits.
 *
 * A set is a list of items; a wait goes through all of them, as poll does. That
 * is linear where Linux keeps a list of what became ready; nothing that runs
 * here watches enough files for it to matter, and it needs no call-backs from
 * wait queues. For the same reason EPOLLET reports a file as often as it is
 * found ready, not once per change: a program written for edges reads until
 * EAGAIN and is not harmed by being told again.
 *
 * An item does not keep its file open. It is in a hash of its set, and on a list of
 * its file: when the file's last reference goes, epoll_forget() takes from their sets
 * the items on that list, and looks at nothing else. So closing costs a program what
 * its own file is watched by, whatever others watch.
 *
 *   E1  a set's lock covers its items and is held while they are looked at; files on
 *       them may then lose their last reference, but are not freed.
 *   E2  links_lock covers the lists of files, and is taken last. An item on a file's
 *       list keeps its set, and in the set's hash it is on its file's list.
 *   E3  nothing waits for readiness with a lock: a wait holds a reference on each file
 *       that it hangs a waiter on.
 *
 * A set cannot be watched itself: EPOLL_CTL_ADD of one says EINVAL, and poll()
 * of one says what is ready now.
 */
#include "kernel/fs/epoll.h"

#include <kernel/account.h>
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/vmm.h>

#include "kernel/fs/fd.h"
#include "kernel/syscall/syscalls.h"

#define EPOLL_CTL_ADD  1
#define EPOLL_CTL_DEL  2
#define EPOLL_CTL_MOD  3
#define EPOLLONESHOT   (1u << 30)
#define EPOLL_NOT_POLL (0xf0000000u) /* ET, ONESHOT, WAKEUP, EXCLUSIVE */
#define EVENTS_MAX     4096
#define FIRST_BUCKETS  8

/* A user's watches may take a part of memory, as on Linux: max_user_watches. */
#define WATCHES_SHARE 25
#define WATCH_BYTES   192

struct epoll_event { /* packed, as on x86-64 */
	uint32_t events;
	uint64_t data;
} __attribute__((packed));

struct item {
	struct list link;      /* set->items */
	struct list file_link; /* file->watchers (E2) */
	struct item *hash_next;
	struct set *set;
	struct file *file;       /* no reference */
	struct user *user;       /* whose watches it counts among */
	struct account *account; /* and on whose account it is */
	int fd;
	uint32_t events; /* 0 after EPOLLONESHOT fired */
	uint64_t data;
};

struct set {
	struct mutex lock;
	uint32_t refs; /* its file, and those in epoll_forget */
	struct list items;
	struct item **buckets;
	uint32_t bucket_count, count; /* the first is a power of two, or 0 */
	struct waitq changed;
	uint64_t version; /* of the list: waiters look again */
};

static struct mem_lock links_lock;
static const struct file_ops epoll_ops;

uint64_t epoll_user_watches(void)
{
	static uint64_t most; /* asked for once: the statistics look at every space */
	uint64_t known = atomic_read_relaxed(&most);
	if (!known) {
		struct vmm_stats stats;
		vmm_get_stats(kernel_vmm, &stats);
		known = (stats.commit_limit_npages / WATCHES_SHARE << PAGE_SHIFT) / WATCH_BYTES;
		atomic_write_relaxed(&most, known);
	}
	return known;
}

/* An item that counts for the user: ENOSPC beyond the limit. */
static int item_new(struct item **out)
{
	struct user *user = user_current();
	int error = -ENOMEM;
	struct item *i = kzalloc(sizeof(*i));
	if (i && !user_charge(user, USER_WATCHES, 1, epoll_user_watches()))
		error = -ENOSPC;
	else if (i)
		error = 0;
	if (error) {
		user_put(user);
		kfree(i);
		return error;
	}
	i->user = user;
	i->account = account_take(sizeof(*i));
	*out = i;
	return 0;
}

static void item_free(struct item *i)
{
	if (!i)
		return;
	user_uncharge(i->user, USER_WATCHES, 1);
	user_put(i->user);
	account_give(i->account, sizeof(*i));
	kfree(i);
}

static unsigned ready_now(const struct item *i)
{
	return i->events ? file_poll(i->file, NULL) & (i->events | POLLERR | POLLHUP) : 0;
}

/* Is any of them? Under s->lock. */
static bool any_ready(const struct set *s)
{
	list_for_each (node, &s->items)
		if (ready_now(list_entry(node, struct item, link)))
			return true;
	return false;
}

static void set_changed(struct set *s)
{
	atomic_add(&s->version, 1);
	waitq_wake_all(&s->changed);
}

static void set_put(struct set *s)
{
	if (atomic_sub(&s->refs, 1))
		return;
	kassert(list_empty(&s->items));
	account_free(s->buckets);
	account_free(s);
}

/* ---- the items of a set; its lock is held ------------------------------------------------ */

static struct item **bucket_of(const struct set *s, const struct file *f, int fd)
{
	uint64_t hash = ((uintptr_t)f >> 4 ^ (uint64_t)(unsigned)fd << 32) * 0x9e3779b97f4a7c15ull;
	return &s->buckets[hash >> 32 & (s->bucket_count - 1)];
}

static struct item *find_item(const struct set *s, const struct file *f, int fd)
{
	for (struct item *i = s->count ? *bucket_of(s, f, fd) : NULL; i; i = i->hash_next)
		if (i->file == f && i->fd == fd)
			return i;
	return NULL;
}

/* Room for one more: false only if there is no table at all. */
static bool make_room(struct set *s)
{
	if (s->count < s->bucket_count)
		return true;
	uint32_t count = s->bucket_count ? s->bucket_count * 2 : FIRST_BUCKETS;
	struct item **fresh = account_alloc(count * sizeof(struct item *));
	if (!fresh)
		return s->bucket_count;
	account_free(s->buckets);
	s->buckets = fresh;
	s->bucket_count = count;
	list_for_each (node, &s->items) {
		struct item *i = list_entry(node, struct item, link);
		struct item **at = bucket_of(s, i->file, i->fd);
		i->hash_next = *at;
		*at = i;
	}
	return true;
}

static void link_item(struct set *s, struct item *i)
{
	struct item **at = bucket_of(s, i->file, i->fd);
	i->set = s;
	i->hash_next = *at;
	*at = i;
	list_push_back(&s->items, &i->link);
	s->count++;
	mem_lock(&links_lock, FS_RANK_EPOLL);
	if (!i->file->watchers.next)
		list_init(&i->file->watchers);
	list_push_back(&i->file->watchers, &i->file_link);
	mem_unlock(&links_lock, FS_RANK_EPOLL);
}

static void free_item(struct set *s, struct item *i)
{
	struct item **at = bucket_of(s, i->file, i->fd);
	while (*at != i)
		at = &(*at)->hash_next;
	*at = i->hash_next;
	list_remove(&i->link);
	s->count--;
	mem_lock(&links_lock, FS_RANK_EPOLL);
	list_remove(&i->file_link);
	mem_unlock(&links_lock, FS_RANK_EPOLL);
	item_free(i);
}

/* ---- files and sets that go ---------------------------------------------------------------- */

/* The set of the first item that watches f, with a reference unless it is `held`, whose
 * item *first then stays: its lock is held. NULL: none watches it. */
static struct set *first_watcher(struct file *f, struct set *held, struct item **first)
{
	struct set *s = NULL;
	mem_lock(&links_lock, FS_RANK_EPOLL);
	if (!list_empty(&f->watchers)) {
		*first = list_entry(f->watchers.next, struct item, file_link);
		s = (*first)->set;
		if (s != held)
			atomic_add(&s->refs, 1);
	}
	mem_unlock(&links_lock, FS_RANK_EPOLL);
	return s;
}

/* Nobody can add an item: that takes a reference on the file. But a set may go and take
 * the item along until its lock is held, so that it is then looked for again. */
void epoll_forget(struct file *f)
{
	struct set *held = NULL, *s;
	struct item *first;
	while ((s = first_watcher(f, held, &first)) || held) {
		if (s && s == held) {
			free_item(s, first);
			continue;
		}
		if (held) {
			mutex_unlock(&held->lock);
			set_put(held);
		}
		if (s)
			mutex_lock(&s->lock);
		held = s;
	}
}

static unsigned epoll_poll(struct file *f, struct waitq *q[2])
{
	struct set *s = f->data;
	if (q) {
		q[0] = &s->changed;
		q[1] = NULL;
	}
	mutex_lock(&s->lock);
	bool any = any_ready(s);
	mutex_unlock(&s->lock);
	return any ? POLLIN | POLLRDNORM : 0;
}

static void epoll_release(struct file *f)
{
	struct set *s = f->data;
	mutex_lock(&s->lock);
	list_for_each_safe (node, &s->items)
		free_item(s, list_entry(node, struct item, link));
	mutex_unlock(&s->lock);
	set_put(s);
}

static const struct file_ops epoll_ops = {.poll = epoll_poll, .release = epoll_release};

long sys_epoll_create1(uint64_t flags)
{
	int error = -ENOMEM;
	if (flags & ~(uint64_t)O_CLOEXEC)
		return -EINVAL;
	int fd = fd_reserve(0);
	if (fd < 0)
		return fd;
	struct set *s = account_alloc(sizeof(*s));
	struct file *f = s ? file_anonymous("[eventpoll]", 0, O_RDWR, &epoll_ops, s, &error) : NULL;
	if (!f) {
		account_free(s);
		fd_unreserve(fd);
		return error;
	}
	list_init(&s->items);
	s->refs = 1;
	fd_fill(fd, f, flags & O_CLOEXEC);
	return fd;
}

long sys_epoll_create(uint64_t size)
{
	return (int)size <= 0 ? -EINVAL : sys_epoll_create1(0);
}

/* ---- changing a set ---------------------------------------------------------------------- */

static int change(struct set *s, struct file *f, int fd, int operation,
		  const struct epoll_event *event, struct item **spare)
{
	struct item *i = find_item(s, f, fd);
	if (operation == EPOLL_CTL_ADD) {
		if (i)
			return -EEXIST;
		if (!make_room(s))
			return -ENOMEM;
		i = *spare;
		*spare = NULL;
		i->file = f;
		i->fd = fd;
		i->events = event->events;
		i->data = event->data;
		link_item(s, i);
		return 0;
	}
	if (!i)
		return -ENOENT;
	if (operation == EPOLL_CTL_MOD) {
		i->events = event->events;
		i->data = event->data;
		return 0;
	}
	free_item(s, i);
	return 0;
}

static long control(struct file *e, struct file *f, int fd, int operation, uint64_t user)
{
	struct epoll_event event = {0, 0};
	if (operation < EPOLL_CTL_ADD || operation > EPOLL_CTL_MOD || e->ops != &epoll_ops ||
	    f->ops == &epoll_ops)
		return -EINVAL;
	if (operation != EPOLL_CTL_DEL && copy_from_user(&event, user, sizeof(event)))
		return -EFAULT;
	if (!f->ops->poll)
		return -EPERM;
	struct item *spare = NULL;
	if (operation == EPOLL_CTL_ADD) {
		int error = item_new(&spare);
		if (error)
			return error;
	}
	struct set *s = e->data;
	mutex_lock(&s->lock);
	int r = change(s, f, fd, operation, &event, &spare);
	mutex_unlock(&s->lock);
	item_free(spare);
	if (!r)
		set_changed(s);
	return r;
}

long sys_epoll_ctl(uint64_t epfd, uint64_t operation, uint64_t fd, uint64_t event)
{
	struct file *e = fd_get((int)epfd), *f = fd_get((int)fd);
	long r = e && f ? control(e, f, (int)fd, (int)operation, event) : -EBADF;
	file_put(e);
	file_put(f);
	return r;
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

/* What is ready, up to `most`; items that were reported go to the end of the list,
 * so that all get their turn. */
static size_t harvest(struct set *s, struct epoll_event *out, size_t most)
{
	size_t n = 0;
	mutex_lock(&s->lock);
	size_t left = s->count;
	for (struct list *node = s->items.next; left && n < most; left--) {
		struct item *i = list_entry(node, struct item, link);
		node = node->next;
		unsigned ready = ready_now(i);
		if (!ready)
			continue;
		out[n++] = (struct epoll_event){ready, i->data};
		if (i->events & EPOLLONESHOT)
			i->events = 0;
		list_remove(&i->link);
		list_push_back(&s->items, &i->link);
	}
	mutex_unlock(&s->lock);
	return n;
}

struct hook {
	struct file *file; /* with a reference while hooked */
	struct waitq *queue[2];
	struct waiter waiter[2];
};

/* Hang waiters on every file of the set. NULL: no memory. */
static struct hook *hook_all(struct set *s, size_t *count)
{
	for (size_t room = 16;; room *= 2) {
		struct hook *h = account_alloc(room * sizeof(*h));
		size_t n = 0;
		bool fits = true;
		if (!h)
			return NULL;
		mutex_lock(&s->lock);
		list_for_each (node, &s->items) {
			struct item *i = list_entry(node, struct item, link);
			if (!i->events)
				continue;
			if (n == room) {
				fits = false;
				break;
			}
			if (!file_get_live(i->file))
				continue; /* it is just going */
			h[n++].file = i->file;
		}
		mutex_unlock(&s->lock);
		for (size_t k = 0; fits && k < n; k++) {
			(void)file_poll(h[k].file, h[k].queue);
			for (int q = 0; q < 2; q++)
				if (h[k].queue[q])
					waitq_add(h[k].queue[q], &h[k].waiter[q]);
		}
		*count = n;
		if (fits)
			return h;
		for (size_t k = 0; k < n; k++)
			file_put(h[k].file);
		account_free(h);
	}
}

static void unhook_all(struct hook *h, size_t count)
{
	for (size_t k = 0; k < count; k++) {
		for (int q = 0; q < 2; q++)
			if (h[k].queue[q])
				waitq_remove(h[k].queue[q], &h[k].waiter[q]);
		file_put(h[k].file);
	}
	account_free(h);
}

/* Sleep until something may be ready. 0: look again; -ETIMEDOUT, -EINTR, -ENOMEM. */
static int wait_for_set(struct set *s, nsec_t deadline)
{
	size_t count;
	struct waiter self;
	uint64_t version = atomic_read_acquire(&s->version);
	waitq_add(&s->changed, &self);
	struct hook *h = hook_all(s, &count);
	int r = h ? 0 : -ENOMEM;
	bool ready = false;
	if (h) {
		mutex_lock(&s->lock);
		ready = any_ready(s);
		mutex_unlock(&s->lock);
		if (!ready && version == atomic_read_acquire(&s->version))
			r = waitq_sleep(true, deadline);
		unhook_all(h, count);
	}
	waitq_remove(&s->changed, &self);
	return r == -ERESTARTSYS ? -EINTR : r;
}

static long epoll_wait_until(uint64_t epfd, uint64_t user, uint64_t most, nsec_t deadline)
{
	int count = (int)most;
	if (count <= 0 || count > INT32_MAX / 12)
		return -EINVAL;
	if (!user_range_ok(user, (size_t)count * sizeof(struct epoll_event)))
		return -EFAULT;
	struct file *f = fd_get((int)epfd);
	if (!f)
		return -EBADF;
	size_t room = mem_min((size_t)count, (size_t)EVENTS_MAX), n = 0;
	struct epoll_event *out = NULL;
	long r = f->ops == &epoll_ops ? 0 : -EINVAL;
	if (!r && !(out = account_alloc(room * sizeof(*out))))
		r = -ENOMEM;
	while (!r && !(n = harvest(f->data, out, room))) {
		if (!deadline)
			break;
		r = wait_for_set(f->data, deadline);
	}
	if (r == -ETIMEDOUT)
		r = 0;
	if (n && copy_to_user(user, out, n * sizeof(*out)))
		r = -EFAULT;
	account_free(out);
	file_put(f);
	return r ? r : (long)n;
}

static nsec_t deadline_ms(uint64_t timeout)
{
	int ms = (int)timeout;
	return ms < 0 ? NSEC_NEVER : ms ? time_monotonic() + (nsec_t)ms * 1000000 : 0;
}

long sys_epoll_wait(uint64_t epfd, uint64_t events, uint64_t most, uint64_t timeout)
{
	return epoll_wait_until(epfd, events, most, deadline_ms(timeout));
}

static long wait_masked(uint64_t epfd, uint64_t events, uint64_t most, nsec_t deadline,
			uint64_t mask, uint64_t bytes)
{
	bool masked = false;
	int r = poll_mask_begin(mask, bytes, &masked);
	if (r)
		return r;
	return poll_mask_done(epoll_wait_until(epfd, events, most, deadline), masked);
}

long sys_epoll_pwait(uint64_t epfd, uint64_t events, uint64_t most, uint64_t timeout, uint64_t mask,
		     uint64_t bytes)
{
	return wait_masked(epfd, events, most, deadline_ms(timeout), mask, bytes);
}

long sys_epoll_pwait2(uint64_t epfd, uint64_t events, uint64_t most, uint64_t timeout,
		      uint64_t mask, uint64_t bytes)
{
	nsec_t relative = 0, deadline = NSEC_NEVER;
	bool given;
	int r = nsec_from_user_timespec(timeout, &relative, &given);
	if (r)
		return r;
	if (given && (!relative || __builtin_add_overflow(time_monotonic(), relative, &deadline)))
		deadline = relative ? NSEC_NEVER : 0;
	return wait_masked(epfd, events, most, deadline, mask, bytes);
}
