/* SPDX-License-Identifier: MIT */
/*
 * Pipes and FIFOs: a ring of bytes between two ends.
 *
 *      tail (read here)            head (written here)
 *        │                           │
 *   ┌────▼────┬─────────┬─────────┬──▼──────┐
 *   │   page  │  page   │  page   │  page   │   slot = (position / 4096) % slots
 *   └─────────┴─────────┴─────────┴─────────┘
 *
 * head and tail are positions that only grow; head - tail bytes are in the
 * pipe, at most slots * 4096. A slot's page is made when the first byte goes
 * into it and freed when the last leaves it; the pipe keeps one for the next byte, so that
 * those who send each other a few do not ask the heap each time.
 *
 * One mutex per pipe guards everything; user copies happen under it (page
 * faults do not come here). Sleeping for room or for bytes happens without it.
 * Writes of up to PIPE_BUF bytes are all or nothing; longer ones go in as room
 * comes up and may mix with others.
 *
 * A pipe's slots count for the user who made it, whether they have pages or not, and its
 * pages are on the account of the process that made it (account.h). Beyond the user's
 * soft limit a new pipe gets LEAST_SLOTS, and no pipe becomes larger.
 *
 * Both ends count openings: no writer left means end of file, no reader left
 * means EPIPE and SIGPIPE. A FIFO's pipe hangs off its inode while it is open;
 * opening one end waits for the other. A nameless pipe can be opened again through
 * /proc; that waits for nobody.
 */
#include <kernel/access.h>
#include <kernel/account.h>
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/fd.h"
#include "kernel/syscall/syscalls.h"

#define SLOTS       16u
#define SLOTS_MAX   256u
#define LEAST_SLOTS 2u

uint32_t pipe_user_pages_soft = 16384, pipe_user_pages_hard; /* 0: no limit */

struct pipe {
	struct mutex lock;
	uint64_t head, tail;
	uint32_t slots; /* a power of two */
	uint64_t readers, writers;
	uint64_t opened_readers, opened_writers; /* ever; FIFOs wait for a change */
	uint64_t refs;                           /* open files; a FIFO's under fifo_lock */
	struct waitq readable, writable, opened;
	char **page;
	char *spare;       /* a page for the next slot that needs one, or NULL */
	struct user *user; /* NULL: made by the kernel */
	struct account *account;
};

static struct mutex fifo_lock; /* inode->pipe of every FIFO, and their refs */

/* ---- whose it is ------------------------------------------------------------------ */

/* `more` slots for the user, who has `less` at once; false: beyond a limit. */
static bool slots_charge(struct user *u, uint32_t more, uint32_t less, uint32_t limit)
{
	bool free = !limit || capable(CAP_SYS_RESOURCE) || capable(CAP_SYS_ADMIN);
	if (!u || more <= less) {
		if (u)
			user_uncharge(u, USER_PIPE_PAGES, less - more);
		return true;
	}
	return user_charge(u, USER_PIPE_PAGES, more - less, free ? UINT64_MAX : limit);
}

/* The slots of a new pipe: as many as its user may still have; 0: none. */
static uint32_t slots_take(struct user *u)
{
	if (slots_charge(u, SLOTS, 0, pipe_user_pages_soft))
		return SLOTS;
	return slots_charge(u, LEAST_SLOTS, 0, pipe_user_pages_hard) ? LEAST_SLOTS : 0;
}

static bool page_make(struct pipe *p, char **slot)
{
	if (*slot)
		return true;
	*slot = p->spare;
	p->spare = NULL;
	if (!*slot && (*slot = kmalloc(PAGE_SIZE)))
		account_grow(p->account, PAGE_SIZE);
	return *slot;
}

static void page_free(struct pipe *p, char *page)
{
	if (page)
		account_shrink(p->account, PAGE_SIZE);
	kfree(page);
}

static void page_drop(struct pipe *p, char **slot)
{
	char *surplus = p->spare;
	if (!*slot)
		return;
	p->spare = *slot;
	*slot = NULL;
	if (surplus)
		page_free(p, surplus);
}

/* *error: -ENFILE beyond what the user may have, -ENOMEM. */
static struct pipe *pipe_new(int *error)
{
	struct user *u = user_current();
	uint32_t slots = slots_take(u);
	struct pipe *p = slots ? account_alloc(sizeof(*p)) : NULL;
	char **page = p ? account_alloc(slots * sizeof(*page)) : NULL;
	*error = slots ? -ENOMEM : -ENFILE;
	if (!page) {
		account_free(p);
		(void)slots_charge(u, 0, slots, 0);
		user_put(u);
		return NULL;
	}
	p->slots = slots;
	p->page = page;
	p->user = u;
	p->account = account_take(0);
	return p;
}

static void pipe_free(struct pipe *p)
{
	for (uint32_t i = 0; i < p->slots; i++)
		page_free(p, p->page[i]);
	page_free(p, p->spare);
	(void)slots_charge(p->user, 0, p->slots, 0);
	user_put(p->user);
	account_give(p->account, 0);
	account_free(p->page);
	account_free(p);
}

static size_t pipe_used(const struct pipe *p)
{
	return atomic_read_relaxed(&p->head) - atomic_read_relaxed(&p->tail);
}
static size_t pipe_room(const struct pipe *p)
{
	return p->slots * PAGE_SIZE - pipe_used(p);
}
static char **slot_of(struct pipe *p, uint64_t position)
{
	return &p->page[(position >> PAGE_SHIFT) & (p->slots - 1)];
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Take up to `bytes`; what was taken, *error if a copy failed. */
static size_t pipe_take(struct pipe *p, uint64_t buffer, size_t bytes, long *error)
{
	size_t done = 0;
	while (done < bytes && pipe_used(p)) {
		size_t offset = p->tail & PAGE_MASK;
		size_t chunk = mem_min(bytes - done, PAGE_SIZE - offset);
		chunk = mem_min(chunk, pipe_used(p));
		char **slot = slot_of(p, p->tail);
		size_t left = buffer_out(buffer + done, *slot + offset, chunk);
		chunk -= left;
		atomic_write_release(&p->tail, p->tail + chunk);
		done += chunk;
		/* The last byte of this page, or of the pipe; but a writer that has come
		 * round may have bytes in this slot already. */
		bool reused = p->head > p->tail + (p->slots - 1) * PAGE_SIZE;
		if (chunk && !reused && (!(p->tail & PAGE_MASK) || !pipe_used(p))) {
			page_drop(p, slot);
		}
		if (left) {
			*error = -EFAULT;
			break;
		}
	}
	return done;
}

/* Is there something to read, if only the end? A look without the lock. */
static bool may_read(struct pipe *p)
{
	return pipe_used(p) || !atomic_read_acquire(&p->writers);
}

static ssize_t pipe_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct pipe *p = f->data;
	long error = 0;
	if (!bytes)
		return 0;
	for (;;) {
		if (may_read(p)) {
			mutex_lock(&p->lock);
			size_t done = pipe_take(p, buffer, bytes, &error);
			bool ended = !p->writers;
			mutex_unlock(&p->lock);
			if (done) {
				waitq_wake_all(&p->writable);
				return (ssize_t)done;
			}
			if (error || ended)
				return error;
		}
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		int r = wait_event_interruptible(&p->readable, may_read(p), NSEC_NEVER);
		if (r)
			return r;
	}
}

/* ---- writing ---------------------------------------------------------------------------- */

/* Take back what a write put in beyond `head`, pages included. */
static void pipe_undo(struct pipe *p, uint64_t head)
{
	uint64_t end = p->head;
	atomic_write_release(&p->head, head);
	for (uint64_t at = align_up(head, PAGE_SIZE); at < end; at += PAGE_SIZE) {
		if (at > p->tail + (p->slots - 1) * PAGE_SIZE)
			continue; /* the reader is still in this slot, a lap behind */
		page_drop(p, slot_of(p, at));
	}
	if (!pipe_used(p) && (head & PAGE_MASK))
		page_drop(p, slot_of(p, head));
}

/* Put in up to `bytes`; a page's worth that cannot be read whole is not put in
 * at all, as on Linux. */
static size_t pipe_give(struct pipe *p, uint64_t buffer, size_t bytes, long *error)
{
	size_t done = 0;
	uint64_t start = p->head;
	while (done < bytes && pipe_room(p)) {
		char **slot = slot_of(p, p->head);
		size_t offset = p->head & PAGE_MASK;
		size_t chunk = mem_min(bytes - done, PAGE_SIZE - offset);
		chunk = mem_min(chunk, pipe_room(p));
		if (!page_make(p, slot)) {
			*error = -ENOMEM;
			break;
		}
		size_t left = buffer_in(*slot + offset, buffer + done, chunk);
		atomic_write_release(&p->head, p->head + chunk);
		if (left) {
			*error = -EFAULT;
			done = align_down(done + chunk - left, PAGE_SIZE);
			pipe_undo(p, start + done);
			break;
		}
		done += chunk;
	}
	return done;
}

static bool may_write(struct pipe *p, size_t bytes)
{
	size_t need = bytes <= PIPE_BUF ? bytes : 1;
	return pipe_room(p) >= need || !atomic_read_acquire(&p->readers);
}

static ssize_t pipe_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	struct pipe *p = f->data;
	size_t done = 0;
	long error = 0;
	if (!bytes)
		return 0;
	for (;;) {
		mutex_lock(&p->lock);
		size_t now = 0;
		if (!p->readers)
			error = -EPIPE;
		else if (may_write(p, bytes - done) || done)
			now = pipe_give(p, buffer + done, bytes - done, &error);
		mutex_unlock(&p->lock);
		done += now;
		if (now)
			waitq_wake_all(&p->readable);
		if (error || done == bytes)
			break;
		if (f->flags & O_NONBLOCK) {
			error = -EAGAIN;
			break;
		}
		size_t want = done ? PIPE_BUF + 1 : bytes;
		error = wait_event_interruptible(&p->writable, may_write(p, want), NSEC_NEVER);
		if (error)
			break;
	}
	if (error == -EPIPE) /* also where something had been taken: as on Linux */
		signal_send_task(current_task(), SIGPIPE, NULL);
	return done ? (ssize_t)done : error;
}

/* ---- the rest of a file ---------------------------------------------------------------------- */

static unsigned pipe_poll(struct file *f, struct waitq *q[2])
{
	struct pipe *p = f->data;
	unsigned events = 0;
	if (q) {
		q[0] = (f->mode & FILE_READ) ? &p->readable : NULL;
		q[1] = (f->mode & FILE_WRITE) ? &p->writable : NULL;
	}
	if (f->mode & FILE_READ) {
		if (pipe_used(p))
			events |= POLLIN | POLLRDNORM;
		if (!atomic_read_acquire(&p->writers) &&
		    f->number != atomic_read_acquire(&p->opened_writers))
			events |= POLLHUP;
	}
	if (f->mode & FILE_WRITE) {
		if (pipe_room(p) >= PIPE_BUF)
			events |= POLLOUT | POLLWRNORM;
		if (!atomic_read_acquire(&p->readers))
			events |= POLLERR;
	}
	return events;
}

static long pipe_ioctl(struct file *f, unsigned command, uint64_t arg)
{
	if (command == 0x541b) { /* FIONREAD */
		int n = (int)pipe_used(f->data);
		return copy_to_user(arg, &n, sizeof(n));
	}
	return -ENOTTY;
}

/* Drop a reference of the ring; the last one frees it. */
static void pipe_put(struct pipe *p, struct inode *inode)
{
	mutex_lock(&fifo_lock);
	bool last = --p->refs == 0;
	if (last)
		inode->pipe = NULL;
	mutex_unlock(&fifo_lock);
	if (last)
		pipe_free(p);
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->data;
	mutex_lock(&p->lock);
	if (f->mode & FILE_READ)
		atomic_sub(&p->readers, 1);
	if (f->mode & FILE_WRITE)
		atomic_sub(&p->writers, 1);
	mutex_unlock(&p->lock);
	waitq_wake_all(&p->readable);
	waitq_wake_all(&p->writable);
	pipe_put(p, f->inode);
}

static const struct file_ops pipe_ops = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
};

/* A file on the ring behind `d`'s inode, counted. NULL: no memory. */
static struct file *pipe_file(struct dentry *d, unsigned flags)
{
	struct pipe *p = d->inode->pipe;
	struct file *f = file_on_dentry(d, flags, &pipe_ops, p);
	if (!f)
		return NULL;
	f->number = UINT64_MAX;
	mutex_lock(&fifo_lock);
	p->refs++;
	mutex_unlock(&fifo_lock);
	if (f->mode & FILE_READ)
		atomic_add(&p->readers, 1);
	if (f->mode & FILE_WRITE)
		atomic_add(&p->writers, 1);
	return f;
}

static int pipe_pair(unsigned flags, struct file *end[2])
{
	int error;
	struct dentry *d = dentry_anonymous("pipe", S_IFIFO | 0600, &error);
	if (!d)
		return error;
	struct pipe *p = pipe_new(&error);
	end[0] = end[1] = NULL;
	if (p) {
		p->refs = 1;
		d->inode->pipe = p;
		end[0] = pipe_file(d, O_RDONLY | flags);
		end[1] = pipe_file(d, O_WRONLY | flags);
		pipe_put(p, d->inode);
	}
	dentry_put(d);
	if (end[0] && end[1])
		return 0;
	file_put(end[0]);
	file_put(end[1]);
	return p ? -ENOMEM : error;
}

long sys_pipe2(uint64_t user, uint64_t flags)
{
	struct file *end[2] = {NULL, NULL};
	int fd[2];
	if ((unsigned)flags & ~(unsigned)(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	if (flags & O_DIRECT) /* packet mode */
		return -EINVAL;
	int r = pipe_pair((unsigned)flags & O_NONBLOCK, end);
	if (r)
		return r;
	fd[0] = fd_reserve(0);
	fd[1] = fd[0] < 0 ? fd[0] : fd_reserve(0);
	r = fd[1] < 0 ? fd[1] : copy_to_user(user, fd, sizeof(fd));
	if (!r) {
		fd_fill(fd[0], end[0], flags & O_CLOEXEC);
		fd_fill(fd[1], end[1], flags & O_CLOEXEC);
		return 0;
	}
	if (fd[0] >= 0)
		fd_unreserve(fd[0]);
	if (fd[1] >= 0)
		fd_unreserve(fd[1]);
	file_put(end[0]);
	file_put(end[1]);
	return r;
}

long sys_pipe(uint64_t user)
{
	return sys_pipe2(user, 0);
}

/* ---- FIFOs -------------------------------------------------------------------------------- */

/* The ring of a FIFO, made if this is the first opening; counted. */
static struct pipe *fifo_get(struct inode *inode, int *error)
{
	struct pipe *fresh = pipe_new(error);
	mutex_lock(&fifo_lock);
	struct pipe *p = inode->pipe;
	if (!p && fresh) {
		p = inode->pipe = fresh;
		fresh = NULL;
	}
	if (p)
		p->refs++;
	mutex_unlock(&fifo_lock);
	if (fresh)
		pipe_free(fresh);
	return p;
}

static int fifo_wait(struct file *f, struct pipe *p, uint64_t *opened, uint64_t seen)
{
	return wait_event_interruptible(&p->opened, atomic_read_acquire(opened) != seen,
					NSEC_NEVER);
}

int fifo_open(struct file *f)
{
	int r;
	struct pipe *p = fifo_get(f->inode, &r);
	if (!p)
		return r;
	r = 0;
	f->ops = &pipe_ops;
	f->data = p;
	f->mode |= FILE_STREAM;
	mutex_lock(&p->lock);
	uint64_t seen_readers = p->opened_readers, seen_writers = p->opened_writers;
	bool had_readers = p->readers, had_writers = p->writers;
	bool read = f->mode & FILE_READ, write = f->mode & FILE_WRITE;
	if (write && !read && !had_readers && (f->flags & O_NONBLOCK)) {
		mutex_unlock(&p->lock);
		pipe_put(p, f->inode);
		return -ENXIO;
	}
	if (read) {
		atomic_add(&p->readers, 1);
		atomic_add(&p->opened_readers, 1);
	}
	if (write) {
		atomic_add(&p->writers, 1);
		atomic_add(&p->opened_writers, 1);
	}
	/* Hang-up is reported once a writer has come and gone. */
	f->number = had_writers || write ? UINT64_MAX : seen_writers;
	mutex_unlock(&p->lock);
	waitq_wake_all(&p->opened);
	if (f->inode->mount == anonymous_mount())
		return 0; /* a pipe has had both ends; through /proc nobody waits for them */
	if (read && !write && !had_writers && !(f->flags & O_NONBLOCK))
		r = fifo_wait(f, p, &p->opened_writers, seen_writers);
	else if (write && !read && !had_readers)
		r = fifo_wait(f, p, &p->opened_readers, seen_readers);
	if (r)
		pipe_release(f);
	return r;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

long pipe_get_size(struct file *f)
{
	struct pipe *p = f->data;
	return f->ops == &pipe_ops ? (long)(p->slots * PAGE_SIZE) : -EBADF;
}

long pipe_set_size(struct file *f, size_t bytes)
{
	struct pipe *p = f->data;
	uint32_t slots = 1, soft = pipe_user_pages_soft, hard = pipe_user_pages_hard;
	uint32_t limit = soft && hard ? mem_min(soft, hard) : soft + hard;
	if (f->ops != &pipe_ops)
		return -EBADF;
	if (bytes > SLOTS_MAX * PAGE_SIZE)
		return -EPERM;
	while (slots * PAGE_SIZE < bytes)
		slots *= 2;
	char **page = account_alloc(slots * sizeof(*page));
	if (!page)
		return -ENOMEM;
	mutex_lock(&p->lock);
	uint32_t had = p->slots;
	if (!slots_charge(p->user, slots, had, limit)) {
		mutex_unlock(&p->lock);
		account_free(page);
		return -EPERM;
	}
	uint64_t first = p->tail >> PAGE_SHIFT;
	uint64_t used = pipe_used(p) ? ((p->head - 1) >> PAGE_SHIFT) - first + 1 : 0;
	if (used > slots) {
		(void)slots_charge(p->user, had, slots, 0);
		mutex_unlock(&p->lock);
		account_free(page);
		return -EBUSY;
	}
	for (uint64_t i = first; i < first + used; i++) {
		char **from = &p->page[i & (p->slots - 1)];
		page[i & (slots - 1)] = *from;
		*from = NULL;
	}
	for (uint32_t i = 0; i < p->slots; i++)
		page_drop(p, &p->page[i]);
	char **old = p->page;
	p->page = page;
	p->slots = slots;
	mutex_unlock(&p->lock);
	account_free(old);
	waitq_wake_all(&p->writable);
	return (long)(slots * PAGE_SIZE);
}
