/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: what the calls do with the slots of a table (fd_table.c), and whose
 * table it is.
 *
 * task->files and task->fs of a task are changed by itself only, under
 * proc_lock, so that /proc can take a reference on another process's table.
 */
#include "kernel/fs/fd.h"

#include <kernel/account.h>
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/fs/fd_table.h"
#include "kernel/syscall/syscalls.h"

#define SLOTS_MAX (1u << 20)

static unsigned fd_limit(void)
{
	uint64_t limit = rlimit_soft(current_process(), RLIMIT_NOFILE);
	return (unsigned)mem_min(limit, (uint64_t)SLOTS_MAX);
}

/* A table that is this task's alone nobody changes meanwhile: only those who have it do. */
static struct file *lookup(int fd, bool path_too)
{
	struct fd_table *t = current_task()->files;
	struct file *f = NULL;
	if (fd < 0 || !t)
		return NULL;
	bool shared = atomic_read_relaxed(&t->refs) != 1;
	if (shared)
		table_lock(t);
	f = slot_file(t, (unsigned)fd);
	if (f && (f->mode & FILE_PATH) && !path_too)
		f = NULL;
	if (f)
		file_get(f);
	if (shared)
		table_unlock(t);
	return f;
}

struct file *fd_get(int fd)
{
	return lookup(fd, false);
}

struct file *fd_get_any(int fd)
{
	return lookup(fd, true);
}

/* ---- putting in and taking out --------------------------------------------------- */

int fd_reserve(unsigned from)
{
	return table_reserve(current_task()->files, from, fd_limit());
}

void fd_fill(int fd, struct file *f, bool cloexec)
{
	struct fd_table *t = current_task()->files;
	table_lock(t);
	kassert(slot_is_reserved(t, (unsigned)fd));
	slot_fill(t, (unsigned)fd, f, cloexec);
	table_unlock(t);
}

void fd_unreserve(int fd)
{
	struct fd_table *t = current_task()->files;
	table_lock(t);
	(void)slot_take(t, (unsigned)fd);
	table_unlock(t);
}

int fd_install(struct file *f, bool cloexec, int from)
{
	int fd = fd_reserve((unsigned)from);
	if (fd >= 0)
		fd_fill(fd, f, cloexec);
	return fd;
}

/* A descriptor of this process went away: POSIX locks go with it. */
static void close_file(struct fd_table *t, struct file *f)
{
	file_locks_close(f, t);
	file_put(f);
}

int fd_close(unsigned fd)
{
	struct fd_table *t = current_task()->files;
	struct file *f = NULL;
	table_lock(t);
	if (slot_file(t, fd))
		f = slot_take(t, fd);
	table_unlock(t);
	if (!f)
		return -EBADF;
	close_file(t, f);
	return 0;
}

long sys_close(uint64_t fd)
{
	return fd_close((unsigned)fd);
}

/* Put f at exactly `fd`, closing what is there; takes over the reference. */
static int install_at(struct file *f, unsigned fd, bool cloexec)
{
	struct fd_table *t = current_task()->files;
	if (fd >= fd_limit())
		return -EBADF;
	int r = table_make_room(t, fd);
	if (r)
		return r;
	table_lock(t);
	if (slot_is_reserved(t, fd)) {
		table_unlock(t);
		return -EBUSY;
	}
	struct file *old = slot_file(t, fd);
	slot_fill(t, fd, f, cloexec);
	table_unlock(t);
	if (old)
		close_file(t, old);
	return 0;
}

static long dup_to(uint64_t from, uint64_t to, bool cloexec)
{
	struct file *f = fd_get_any((int)from);
	if (!f)
		return -EBADF;
	int r = install_at(f, (unsigned)to, cloexec);
	if (r) {
		file_put(f);
		return r;
	}
	return (long)(unsigned)to;
}

long fd_dup_from(int fd, unsigned from, bool cloexec)
{
	if (from >= fd_limit())
		return -EINVAL;
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	int r = fd_install(f, cloexec, (int)from);
	if (r < 0)
		file_put(f);
	return r;
}

long sys_dup(uint64_t fd)
{
	return fd_dup_from((int)fd, 0, false);
}

long sys_dup2(uint64_t from, uint64_t to)
{
	if ((unsigned)from == (unsigned)to) {
		struct file *f = fd_get_any((int)from);
		if (!f)
			return -EBADF;
		file_put(f);
		return (long)(unsigned)to;
	}
	return dup_to(from, to, false);
}

long sys_dup3(uint64_t from, uint64_t to, uint64_t flags)
{
	if ((unsigned)from == (unsigned)to || ((unsigned)flags & ~(unsigned)O_CLOEXEC))
		return -EINVAL;
	return dup_to(from, to, flags & O_CLOEXEC);
}

int fd_flags(int fd)
{
	struct fd_table *t = current_task()->files;
	table_lock(t);
	int r = fd >= 0 && slot_file(t, (unsigned)fd) ? slot_cloexec(t, (unsigned)fd) : -EBADF;
	table_unlock(t);
	return r;
}

int fd_set_flags(int fd, bool cloexec)
{
	struct fd_table *t = current_task()->files;
	int r = -EBADF;
	table_lock(t);
	if (fd >= 0 && slot_file(t, (unsigned)fd)) {
		slot_set_cloexec(t, (unsigned)fd, cloexec);
		r = 0;
	}
	table_unlock(t);
	return r;
}

/* ---- whole tables ------------------------------------------------------------------ */

void fd_table_put(struct fd_table *t)
{
	if (!t || atomic_sub(&t->refs, 1))
		return;
	for (int fd = -1; (fd = fd_table_next(t, (unsigned)(fd + 1))) >= 0;)
		close_file(t, slot_file(t, (unsigned)fd)); /* nobody else uses it: no lock */
	table_free(t);
}

/* The task's use of both becomes that of t and fs (NULL: none). */
static void set_files(struct task *task, struct fd_table *t, struct fs_context *fs)
{
	unsigned long irq = proc_lock();
	if (t)
		t->users++;
	if (fs)
		fs->users++;
	if (task->files)
		task->files->users--;
	if (task->fs)
		task->fs->users--;
	task->files = t;
	task->fs = fs;
	proc_unlock(irq);
}

bool fs_is_shared_locked(const struct task *task)
{
	return task->process->task_count == 1 && task->fs->users > 1;
}

/* This task alone uses its table from now on. 0, -ENOMEM. */
static int unshare_files(struct task *task)
{
	struct fd_table *old = task->files;
	unsigned long irq = proc_lock();
	bool alone = old->users == 1;
	proc_unlock(irq);
	if (alone)
		return 0;
	struct fd_table *t = table_copy(old, current_process()->account);
	if (!t)
		return -ENOMEM;
	set_files(task, t, task->fs);
	fd_table_put(old);
	return 0;
}

int fd_close_range(unsigned first, unsigned last, bool unshare, bool cloexec)
{
	if (unshare) {
		int r = unshare_files(current_task());
		if (r)
			return r;
	}
	struct fd_table *t = current_task()->files;
	for (int fd; (fd = fd_table_next(t, first)) >= 0 && (unsigned)fd <= last;) {
		first = (unsigned)fd + 1;
		if (cloexec)
			(void)fd_set_flags(fd, true);
		else
			(void)fd_close((unsigned)fd);
		if (task_killed()) /* all are closed soon */
			break;
	}
	return 0;
}

long sys_close_range(uint64_t first, uint64_t last, uint64_t flags)
{
	if (((unsigned)flags & ~6u) || (unsigned)first > (unsigned)last)
		return -EINVAL;
	return fd_close_range((unsigned)first, (unsigned)last, flags & 2, flags & 4);
}

/* ---- tasks ----------------------------------------------------------------------------- */

static struct fs_context *context_copy(struct fs_context *from)
{
	struct fs_context *c = kzalloc(sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->umask = from ? from->umask : 022;
	if (from) {
		context_places(from, &c->cwd, &c->root);
	} else {
		c->cwd = dentry_get(root_dentry);
		c->root = dentry_get(root_dentry);
	}
	return c;
}

void context_places(struct fs_context *c, struct dentry **cwd, struct dentry **root)
{
	mem_lock(&c->lock, FS_RANK_CONTEXT);
	*cwd = dentry_get(c->cwd);
	*root = dentry_get(c->root);
	mem_unlock(&c->lock, FS_RANK_CONTEXT);
}

void context_put(struct fs_context *c)
{
	if (!c || atomic_sub(&c->refs, 1))
		return;
	dentry_put(c->cwd);
	dentry_put(c->root);
	kfree(c);
}

int fs_fork(struct task *child, struct task *parent, bool share_files, bool share_fs)
{
	struct fd_table *files = parent->files;
	struct fs_context *fs = parent->fs;
	if (share_files)
		atomic_add(&files->refs, 1);
	else if (!(files = table_copy(files, child->process->account)))
		return -ENOMEM;
	if (share_fs) {
		atomic_add(&fs->refs, 1);
	} else if (!(fs = context_copy(fs))) {
		fd_table_put(files);
		return -ENOMEM;
	}
	set_files(child, files, fs);
	return 0;
}

int fs_exec_unshare(struct task *task)
{
	return unshare_files(task);
}

void fs_exec(struct task *task)
{
	struct fd_table *t = task->files;
	for (int fd = -1; (fd = table_next_cloexec(t, (unsigned)(fd + 1))) >= 0;)
		(void)fd_close((unsigned)fd);
}

void fs_exit(struct task *task)
{
	struct fd_table *files = task->files;
	struct fs_context *fs = task->fs;
	set_files(task, NULL, NULL);
	fd_table_put(files);
	context_put(fs);
}

int fs_init_task(struct task *task)
{
	struct dentry *d = NULL;
	struct file *f = NULL;
	struct fd_table *t = table_new(task->process->account);
	struct fs_context *c = context_copy(NULL);
	int r = t && c ? path_lookup(AT_FDCWD, "/dev/console", WALK_FOLLOW, &d) : -ENOMEM;
	if (!r)
		f = file_open_dentry(d, O_RDWR | O_NOCTTY, &r);
	dentry_put(d);
	for (int fd = 0; f && fd < 3; fd++) {
		file_get(f);
		slot_fill(t, (unsigned)fd, f, false);
	}
	file_put(f);
	if (r) {
		fd_table_put(t);
		context_put(c);
		return r;
	}
	t->lowest = 3;
	set_files(task, t, c);
	return 0;
}

/* ---- for /proc ---------------------------------------------------------------------------- */

struct fd_table *fd_table_get_locked(struct process *p)
{
	struct task *task = process_first_task(p);
	struct fd_table *t = task ? task->files : NULL;
	if (t)
		atomic_add(&t->refs, 1);
	return t;
}

struct fs_context *context_get_locked(struct process *p)
{
	struct task *task = process_first_task(p);
	struct fs_context *c = task ? task->fs : NULL;
	if (c)
		atomic_add(&c->refs, 1);
	return c;
}

struct file *fd_table_file(struct fd_table *t, unsigned fd, bool *cloexec)
{
	struct file *f = NULL;
	table_lock(t);
	f = slot_file(t, fd);
	if (f)
		file_get(f);
	if (f && cloexec)
		*cloexec = slot_cloexec(t, fd);
	table_unlock(t);
	return f;
}

uint32_t fd_table_slots(struct fd_table *t)
{
	return atomic_read_relaxed(&t->capacity);
}
