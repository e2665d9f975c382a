/* SPDX-License-Identifier: MIT */
/*
 * The parts of /proc/PID that lead to other files: fd/, fdinfo/, cwd, root, exe;
 * and the directory of its tasks.
 */
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/fs/proc_pid.h"

static struct fd_table *table_of(const struct inode *inode)
{
	struct process *p = proc_of(inode);
	if (!p)
		return NULL;
	struct fd_table *t = fd_table_of(p);
	process_put(p);
	return t;
}

static struct file *file_of(const struct inode *inode, bool *cloexec)
{
	struct fd_table *t = table_of(inode);
	if (!t)
		return NULL;
	struct file *f = fd_table_file(t, (unsigned)inode->number2, cloexec);
	fd_table_put(t);
	return f;
}

/* ---- fd/N ---------------------------------------------------------------------------------------
 */

static ssize_t fd_readlink(struct dentry *d, char *to, size_t bytes)
{
	struct file *f = file_of(d->inode, NULL);
	if (!f)
		return -ENOENT;
	ssize_t r = file_path(f, to, bytes);
	file_put(f);
	return r;
}

static int fd_follow(struct dentry *d, struct dentry **out)
{
	struct file *f = file_of(d->inode, NULL);
	if (!f)
		return -ENOENT;
	*out = dentry_get(f->dentry);
	file_put(f);
	return 0;
}

static void fd_refresh(struct inode *inode)
{
	struct file *f = file_of(inode, NULL);
	if (!f)
		return;
	inode->mode = S_IFLNK | (file_can_read(f) ? 0500 : 0) | (file_can_write(f) ? 0300 : 0);
	file_put(f);
}

static const struct inode_ops fd_ops = {
    .readlink = fd_readlink, .follow = fd_follow, .refresh = fd_refresh};
static const struct proc_node fd_node = {.name = "fd", .mode = S_IFLNK | 0700, .ops = &fd_ops};

static int show_fdinfo(struct text *t, struct process *p, struct inode *inode)
{
	bool cloexec = false;
	struct file *f = file_of(inode, &cloexec);
	if (!f)
		return -ENOENT;
	text_print(t, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n",
		   (unsigned long)f->position, f->flags | (cloexec ? O_CLOEXEC : 0),
		   f->inode->mount->id, (unsigned long)f->inode->ino);
	file_put(f);
	return 0;
}

static const struct proc_node fdinfo_node = PROC_FILE("fdinfo", 0444, show_fdinfo);

static int lookup_fd(struct dentry *dir, const char *name, unsigned length,
		     const struct proc_node *node, struct dentry **out)
{
	uint64_t fd;
	struct fd_table *t = table_of(dir->inode);
	struct file *f = NULL;
	if (t && proc_parse_number(name, length, &fd))
		f = fd_table_file(t, (unsigned)fd, NULL);
	fd_table_put(t);
	if (!f)
		return -ENOENT;
	file_put(f);
	return proc_make(dir, name, length, node, dir->inode->number, fd, out);
}

static int iterate_fds(struct dentry *dir, const struct proc_node *node, uint64_t from,
		       dir_emit emit, void *arg)
{
	if (dir_emit_dots(dir, &from, emit, arg))
		return 0;
	struct fd_table *t = table_of(dir->inode);
	if (!t)
		return 0;
	int fd = (int)from - 2;
	while ((fd = fd_table_next(t, (unsigned)fd)) >= 0) {
		char name[16];
		int n = ksnprintf(name, sizeof(name), "%d", fd);
		if (!emit(arg, name, (unsigned)n, proc_ino(node, dir->inode->number, (uint64_t)fd),
			  node->mode >> 12, (uint64_t)fd + 3))
			break;
		fd++;
	}
	fd_table_put(t);
	return 0;
}

static int fd_dir_lookup(struct dentry *dir, const char *name, unsigned length, struct dentry **out)
{
	return lookup_fd(dir, name, length, &fd_node, out);
}

static int fd_dir_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	return iterate_fds(dir, &fd_node, from, emit, arg);
}

static int fdinfo_dir_lookup(struct dentry *dir, const char *name, unsigned length,
			     struct dentry **out)
{
	return lookup_fd(dir, name, length, &fdinfo_node, out);
}

static int fdinfo_dir_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	return iterate_fds(dir, &fdinfo_node, from, emit, arg);
}

static int dir_open(struct file *f)
{
	f->ops = &dir_file_ops;
	return 0;
}

const struct inode_ops proc_fd_dir_ops = {
    .lookup = fd_dir_lookup, .iterate = fd_dir_iterate, .open = dir_open};
const struct inode_ops proc_fdinfo_dir_ops = {
    .lookup = fdinfo_dir_lookup, .iterate = fdinfo_dir_iterate, .open = dir_open};

/* ---- cwd, root, exe
 * ---------------------------------------------------------------------------------- */

static int place_of(struct dentry *d, bool root, struct dentry **out)
{
	struct process *p = proc_of(d->inode);
	struct fs_context *c = p ? context_of(p) : NULL;
	struct dentry *cwd, *top;
	if (p)
		process_put(p);
	if (!c)
		return -ENOENT;
	context_places(c, &cwd, &top);
	context_put(c);
	*out = root ? top : cwd;
	dentry_put(root ? cwd : top);
	return 0;
}

static ssize_t place_text(struct dentry *d, bool root, char *to, size_t bytes)
{
	struct dentry *place;
	int r = place_of(d, root, &place);
	if (r)
		return r;
	ssize_t n = dentry_path_text(place, to, bytes);
	dentry_put(place);
	return n;
}

static int cwd_follow(struct dentry *d, struct dentry **out)
{
	return place_of(d, false, out);
}
static ssize_t cwd_readlink(struct dentry *d, char *to, size_t bytes)
{
	return place_text(d, false, to, bytes);
}
static int root_follow(struct dentry *d, struct dentry **out)
{
	return place_of(d, true, out);
}
static ssize_t root_readlink(struct dentry *d, char *to, size_t bytes)
{
	return place_text(d, true, to, bytes);
}

static struct vm_object *exe_of(struct dentry *d)
{
	struct process *p = proc_of(d->inode);
	if (!p)
		return NULL;
	struct vm_object *exe = process_exe_get(p);
	process_put(p);
	return exe;
}

static int exe_follow(struct dentry *d, struct dentry **out)
{
	struct vm_object *exe = exe_of(d);
	if (!exe)
		return -ENOENT;
	*out = object_dentry(exe);
	vm_object_put(exe);
	return *out ? 0 : -ENOENT;
}

static ssize_t exe_readlink(struct dentry *d, char *to, size_t bytes)
{
	struct vm_object *exe = exe_of(d);
	if (!exe)
		return -ENOENT;
	bool known = object_path(exe, to, bytes);
	vm_object_put(exe);
	return known ? (ssize_t)kstrlen(to) : -ENOENT;
}

const struct inode_ops proc_cwd_ops = {.readlink = cwd_readlink, .follow = cwd_follow};
const struct inode_ops proc_root_ops = {.readlink = root_readlink, .follow = root_follow};
const struct inode_ops proc_exe_ops = {.readlink = exe_readlink, .follow = exe_follow};

/* ---- task/
 * ---------------------------------------------------------------------------------------------- */

static const struct proc_node task_node = {
    .name = "task", .mode = S_IFDIR | 0555, .children = proc_task_nodes};

static int task_lookup(struct dentry *dir, const char *name, unsigned length, struct dentry **out)
{
	uint64_t tid;
	struct task_info info;
	struct process *p = proc_of(dir->inode);
	if (!p)
		return -ENOENT;
	bool found = proc_parse_number(name, length, &tid) &&
		     process_task_info(p, (pid_t)tid, &info) && info.tid == (pid_t)tid;
	process_put(p);
	if (!found)
		return -ENOENT;
	return proc_make(dir, name, length, &task_node, dir->inode->number, tid, out);
}

static int task_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	if (dir_emit_dots(dir, &from, emit, arg))
		return 0;
	struct process *p = proc_of(dir->inode);
	struct task_info info;
	if (!p)
		return 0;
	for (pid_t tid = (pid_t)from - 2; process_task_info(p, tid, &info); tid = info.tid + 1) {
		char name[16];
		int n = ksnprintf(name, sizeof(name), "%d", info.tid);
		if (!emit(arg, name, (unsigned)n,
			  proc_ino(&task_node, dir->inode->number, (uint64_t)info.tid), DT_DIR,
			  (uint64_t)info.tid + 3))
			break;
	}
	process_put(p);
	return 0;
}

const struct inode_ops proc_task_dir_ops = {
    .lookup = task_lookup, .iterate = task_iterate, .open = dir_open};
