/* SPDX-License-Identifier: MIT */
/*
 * The parts of /proc/PID that lead to other files: fd/, fdinfo/, cwd, root, exe;
 * and the directory of its tasks.
 */
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/fs/proc_pid.h"

/* ---- fd/N -------------------------------------------------------------------------------- */

/* The file behind a descriptor of the process, with a reference, for who may look into it. */
static struct file *file_of(const struct inode *inode, int *error)
{
	struct proc_view *v = proc_view_get(inode, NULL, error);
	if (!v)
		return NULL;
	struct file *f = v->files ? fd_table_file(v->files, (unsigned)inode->number2, NULL) : NULL;
	*error = f ? 0 : -ENOENT;
	proc_view_put(v);
	return f;
}

static ssize_t fd_readlink(struct dentry *d, char *to, size_t bytes)
{
	int error;
	struct file *f = file_of(d->inode, &error);
	if (!f)
		return error;
	ssize_t r = file_path(f, to, bytes);
	file_put(f);
	return r;
}

static int fd_follow(struct dentry *d, struct dentry **out)
{
	int error;
	struct file *f = file_of(d->inode, &error);
	if (!f)
		return error;
	*out = dentry_get(f->dentry);
	file_put(f);
	return 0;
}

static void fd_refresh(struct inode *inode)
{
	int error;
	struct file *f = file_of(inode, &error);
	proc_refresh(inode);
	if (!f)
		return;
	inode->mode = S_IFLNK | (file_can_read(f) ? 0500 : 0) | (file_can_write(f) ? 0300 : 0);
	file_put(f);
}

static const struct inode_ops fd_ops = {
    .readlink = fd_readlink, .follow = fd_follow, .refresh = fd_refresh};
static const struct proc_node fd_node = {
    .name = "fd", .mode = S_IFLNK | 0700, .right = RIGHT_LOOK, .ops = &fd_ops};

static int show_fdinfo(struct text *t, const struct proc_view *v)
{
	bool cloexec = false;
	struct file *f =
	    v->files ? fd_table_file(v->files, (unsigned)v->inode->number2, &cloexec) : NULL;
	if (!f)
		return -ENOENT;
	text_print(t, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n",
		   (unsigned long)f->position, f->flags | (cloexec ? O_CLOEXEC : 0),
		   f->inode->mount->id, (unsigned long)f->inode->ino);
	file_put(f);
	return 0;
}

static const struct proc_node fdinfo_node = {
    .name = "fdinfo", .mode = S_IFREG | 0444, .right = RIGHT_LOOK, .show_view = show_fdinfo};

static int lookup_fd(struct dentry *dir, const char *name, unsigned length,
		     const struct proc_node *node, struct dentry **out)
{
	uint64_t fd;
	int error;
	struct proc_view *v = proc_view_get(dir->inode, NULL, &error);
	struct file *f = NULL;
	if (!v)
		return error == -ESRCH ? -ENOENT : error;
	if (v->files && proc_parse_number(name, length, &fd))
		f = fd_table_file(v->files, (unsigned)fd, NULL);
	proc_view_put(v);
	if (!f)
		return -ENOENT;
	file_put(f);
	return proc_make(dir, name, length, node, dir->inode->process, fd, out);
}

static int iterate_fds(struct dentry *dir, const struct proc_node *node, uint64_t from,
		       dir_emit emit, void *arg)
{
	int error;
	struct proc_view *v = proc_view_get(dir->inode, NULL, &error);
	if (!v)
		return error == -ESRCH ? -ENOENT : error;
	if (dir_emit_dots(dir, &from, emit, arg) || !v->files) {
		proc_view_put(v);
		return 0;
	}
	int fd = (int)from - 2;
	while ((fd = fd_table_next(v->files, (unsigned)fd)) >= 0) {
		char name[16];
		int n = ksnprintf(name, sizeof(name), "%d", fd);
		if (!emit(arg, name, (unsigned)n, proc_ino(node, dir->inode->number, (uint64_t)fd),
			  node->mode >> 12, (uint64_t)fd + 3))
			break;
		fd++;
	}
	proc_view_put(v);
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

/* Who may not list the descriptors may not open the list. */
static int fds_open(struct file *f)
{
	int error;
	struct proc_view *v = proc_view_get(f->inode, NULL, &error);
	if (!v)
		return error;
	proc_view_put(v);
	return dir_open(f);
}

const struct inode_ops proc_fd_dir_ops = {.lookup = fd_dir_lookup,
					  .iterate = fd_dir_iterate,
					  .open = fds_open,
					  .refresh = proc_refresh,
					  .is_own = proc_is_own};
const struct inode_ops proc_fdinfo_dir_ops = {.lookup = fdinfo_dir_lookup,
					      .iterate = fdinfo_dir_iterate,
					      .open = fds_open,
					      .refresh = proc_refresh,
					      .is_own = proc_is_own};

/* ---- cwd, root, exe ---------------------------------------------------------------------- */

static struct dentry *cwd_of(struct proc_view *v)
{
	struct dentry *cwd = NULL, *root = NULL;
	if (v->fs)
		context_places(v->fs, &cwd, &root);
	dentry_put(root);
	return cwd;
}

static struct dentry *root_of(struct proc_view *v)
{
	struct dentry *cwd = NULL, *root = NULL;
	if (v->fs)
		context_places(v->fs, &cwd, &root);
	dentry_put(cwd);
	return root;
}

static struct dentry *exe_of(struct proc_view *v)
{
	return v->exe ? object_dentry(v->exe) : NULL;
}

/* Where a link leads, for who may look into the process. */
static int place_of(struct dentry *d, struct dentry *(*of)(struct proc_view *), struct dentry **out)
{
	int error;
	struct proc_view *v = proc_view_get(d->inode, NULL, &error);
	if (!v)
		return error;
	*out = of(v);
	proc_view_put(v);
	return *out ? 0 : -ENOENT;
}

static ssize_t place_text(struct dentry *d, struct dentry *(*of)(struct proc_view *), char *to,
			  size_t bytes)
{
	struct dentry *place = NULL;
	int r = place_of(d, of, &place);
	if (r)
		return r;
	ssize_t n = dentry_path_text(place, to, bytes);
	dentry_put(place);
	return n;
}

static int cwd_follow(struct dentry *d, struct dentry **out)
{
	return place_of(d, cwd_of, out);
}
static ssize_t cwd_readlink(struct dentry *d, char *to, size_t bytes)
{
	return place_text(d, cwd_of, to, bytes);
}
static int root_follow(struct dentry *d, struct dentry **out)
{
	return place_of(d, root_of, out);
}
static ssize_t root_readlink(struct dentry *d, char *to, size_t bytes)
{
	return place_text(d, root_of, to, bytes);
}
static int exe_follow(struct dentry *d, struct dentry **out)
{
	return place_of(d, exe_of, out);
}

static ssize_t exe_readlink(struct dentry *d, char *to, size_t bytes)
{
	int error;
	struct proc_view *v = proc_view_get(d->inode, NULL, &error);
	if (!v)
		return error;
	bool known = v->exe && object_path(v->exe, to, bytes);
	proc_view_put(v);
	return known ? (ssize_t)kstrlen(to) : -ENOENT;
}

const struct inode_ops proc_cwd_ops = {
    .readlink = cwd_readlink, .follow = cwd_follow, .refresh = proc_refresh};
const struct inode_ops proc_root_ops = {
    .readlink = root_readlink, .follow = root_follow, .refresh = proc_refresh};
const struct inode_ops proc_exe_ops = {
    .readlink = exe_readlink, .follow = exe_follow, .refresh = proc_refresh};

/* ---- task/
 * ---------------------------------------------------------------------------------------------- */

static const struct proc_node task_node = {
    .name = "task", .mode = S_IFDIR | 0555, .children = proc_task_nodes};

static int task_lookup(struct dentry *dir, const char *name, unsigned length, struct dentry **out)
{
	uint64_t tid;
	struct task_info info;
	struct process *p = dir->inode->process;
	bool found = proc_parse_number(name, length, &tid) &&
		     process_task_info(p, (pid_t)tid, &info) && info.tid == (pid_t)tid;
	if (!found)
		return -ENOENT;
	return proc_make(dir, name, length, &task_node, p, tid, out);
}

static int task_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	if (dir_emit_dots(dir, &from, emit, arg))
		return 0;
	struct process *p = dir->inode->process;
	struct task_info info;
	for (pid_t tid = (pid_t)from - 2; process_task_info(p, tid, &info); tid = info.tid + 1) {
		char name[16];
		int n = ksnprintf(name, sizeof(name), "%d", info.tid);
		if (!emit(arg, name, (unsigned)n,
			  proc_ino(&task_node, dir->inode->number, (uint64_t)info.tid), DT_DIR,
			  (uint64_t)info.tid + 3))
			break;
	}
	return 0;
}

const struct inode_ops proc_task_dir_ops = {
    .lookup = task_lookup, .iterate = task_iterate, .open = dir_open, .refresh = proc_refresh};
