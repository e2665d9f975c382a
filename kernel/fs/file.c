/* SPDX-License-Identifier: MIT */
/*
 * Open file descriptions: what a descriptor, or several, refer to.
 *
 * A file always has a dentry, nameless things too (a pipe's is a root of its
 * own, called "pipe:[7]"), so that /proc/PID/fd can lead to anything. What a
 * file does is in f->ops, chosen when it is opened from the inode's kind.
 *
 * A program's file cannot be opened for writing while a process runs it, nor
 * run while it is open for writing: inode->writers counts the second, and the
 * first asks the processes, which is rare enough.
 */
#include "kernel/fs/epoll.h"
#include "kernel/fs/vfs.h"

#include <kernel/account.h>
#include <kernel/log.h>
#include <mem/heap.h>

static char anonymous_source[] = "none";
static struct mount anonymous = {.refs = 1,
				 .type = "pipefs",
				 .source = anonymous_source,
				 .dev = 0xe,
				 .link = {&anonymous.link, &anonymous.link}};

static const struct file_ops path_ops;

void file_get(struct file *f)
{
	atomic_add(&f->refs, 1);
}

bool file_get_live(struct file *f)
{
	uint64_t refs = atomic_read_relaxed(&f->refs);
	while (refs)
		if (atomic_cas(&f->refs, &refs, refs + 1))
			return true;
	return false;
}

/* What an open file takes at most, if nothing else has a name or a body for it. */
#define FILE_BYTES (sizeof(struct file) + sizeof(struct dentry) + sizeof(struct inode))

void file_put(struct file *f)
{
	if (!f || atomic_sub(&f->refs, 1))
		return;
	if (f->watchers.next)
		epoll_forget(f);
	file_locks_release(f);
	if (f->ops->release)
		f->ops->release(f);
	if ((f->mode & FILE_WRITE) && inode_is(f->inode, S_IFREG))
		inode_write_end(f->inode);
	dentry_put(f->dentry);
	account_give(f->account, FILE_BYTES);
	kfree(f);
}

static struct file *file_new(struct dentry *d, unsigned flags)
{
	struct file *f = kzalloc(sizeof(*f));
	if (!f)
		return NULL;
	f->account = account_take(FILE_BYTES);
	f->refs = 1;
	f->flags = flags;
	f->dentry = dentry_get(d);
	f->inode = d->inode;
	f->ops = &path_ops;
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		f->mode = FILE_READ;
		break;
	case O_WRONLY:
		f->mode = FILE_WRITE;
		break;
	case O_RDWR:
		f->mode = FILE_READ | FILE_WRITE;
		break;
	}
	return f;
}

/* Does a process run this file's contents? */
static bool is_running_program(struct vm_object *object)
{
	struct process *p;
	pid_t from = 0;
	bool found = false;
	while (!found && (p = process_next(from))) {
		struct vm_object *exe = process_exe_get(p);
		found = exe == object;
		if (exe)
			vm_object_put(exe);
		from = p->pid + 1;
		process_put(p);
	}
	return found;
}

int inode_write_begin(struct inode *inode)
{
	/* Counted first, so that exec and we cannot both see nothing. */
	atomic_add(&inode->writers, 1);
	if (!(inode->mode & 0111) || !is_running_program(inode->object))
		return 0;
	inode_write_end(inode);
	return -ETXTBSY;
}

void inode_write_end(struct inode *inode)
{
	atomic_sub(&inode->writers, 1);
}

static int open_regular(struct file *f)
{
	f->ops = f->inode->fops;
	if (!f->inode->object || !(f->mode & FILE_WRITE))
		return 0;
	int r = inode_write_begin(f->inode);
	if (r)
		f->mode = 0;
	return r;
}

static int open_by_kind(struct file *f)
{
	struct inode *inode = f->inode;
	if (inode->ops && inode->ops->open)
		return inode->ops->open(f);
	switch (inode->mode & S_IFMT) {
	case S_IFREG:
		return open_regular(f);
	case S_IFDIR:
		f->ops = inode->fops;
		return 0;
	case S_IFCHR:
		return devfs_open(f);
	case S_IFIFO:
		return fifo_open(f);
	case S_IFLNK:
		return -ELOOP;
	default:
		return -ENXIO;
	}
}

struct file *file_open_dentry(struct dentry *d, unsigned flags, int *error)
{
	struct file *f = file_new(d, flags);
	if (!f) {
		*error = -ENOMEM;
		return NULL;
	}
	int r = 0;
	if (flags & O_PATH) {
		f->mode = FILE_PATH;
		f->flags = flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
	} else {
		r = open_by_kind(f);
		f->flags =
		    (flags & ~(unsigned)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)) |
		    O_LARGEFILE;
	}
	if (r) {
		/* Not opened: nothing to release but the file itself. */
		dentry_put(f->dentry);
		account_give(f->account, FILE_BYTES);
		kfree(f);
		*error = r;
		return NULL;
	}
	dentry_make_alias(d);
	return f;
}

struct mount *anonymous_mount(void)
{
	return &anonymous;
}

struct dentry *dentry_anonymous(const char *kind, uint32_t mode, int *error)
{
	char name[48];
	struct inode *inode = inode_new(&anonymous, mode, 0, 0);
	*error = -ENOMEM;
	if (!inode)
		return NULL;
	current_owner(&inode->uid, &inode->gid);
	int length = kind[0] == '[' ? ksnprintf(name, sizeof(name), "anon_inode:%s", kind)
				    : ksnprintf(name, sizeof(name), "%s:[%lu]", kind,
						(unsigned long)inode->ino);
	struct dentry *d = dentry_new(NULL, name, (unsigned)length, inode);
	if (!d)
		inode_put(inode);
	return d;
}

struct file *file_anonymous(const char *kind, uint32_t mode_type, unsigned flags,
			    const struct file_ops *ops, void *data, int *error)
{
	struct dentry *d = dentry_anonymous(kind, mode_type | 0600, error);
	if (!d)
		return NULL;
	struct file *f = file_on_dentry(d, flags, ops, data);
	dentry_put(d);
	if (!f)
		*error = -ENOMEM;
	return f;
}

struct file *file_on_dentry(struct dentry *d, unsigned flags, const struct file_ops *ops,
			    void *data)
{
	struct file *f = file_new(d, flags);
	if (!f)
		return NULL;
	f->ops = ops;
	f->data = data;
	f->mode |= FILE_STREAM;
	return f;
}

/* ---- for exec and the kernel itself ------------------------------------------- */

static int check_executable(struct file *f)
{
	if (!inode_is(f->inode, S_IFREG) || !f->inode->object)
		return -EACCES;
	int r = inode_permission(f->inode, X_OK);
	if (r)
		return r;
	return atomic_read_seq(&f->inode->writers) ? -ETXTBSY : 0;
}

struct file *file_open_kernel_at(int dirfd, const char *path, unsigned at_flags, bool exec,
				 int *error)
{
	struct dentry *d;
	unsigned flags = (at_flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW;
	if (at_flags & AT_EMPTY_PATH)
		flags |= WALK_EMPTY;
	int r = path_lookup(dirfd, path, flags, &d);
	if (!r && inode_is(d->inode, S_IFLNK)) {
		dentry_put(d);
		r = -ELOOP;
	}
	if (r) {
		*error = r;
		return NULL;
	}
	struct file *f = NULL;
	if (!inode_is(d->inode, S_IFREG))
		r = exec ? -EACCES : inode_is(d->inode, S_IFDIR) ? -EISDIR : -EACCES;
	else if (!exec)
		r = inode_permission(d->inode, R_OK);
	if (!r)
		f = file_open_dentry(d, O_RDONLY, &r);
	dentry_put(d);
	if (f && exec && (r = check_executable(f))) {
		file_put(f);
		f = NULL;
	}
	*error = r;
	return f;
}

struct file *file_open_kernel(const char *path, bool exec, int *error)
{
	return file_open_kernel_at(AT_FDCWD, path, 0, exec, error);
}

ssize_t file_read_kernel(struct file *f, void *buffer, size_t bytes, off_t at)
{
	uint64_t done;
	if (!f->inode->object || at < 0)
		return -EINVAL;
	mem_status s = vm_object_read(f->inode->object, (uint64_t)at, buffer, bytes, &done);
	return s == MEM_OK || done ? (ssize_t)done : errno_from(s);
}

struct vm_object *file_object(struct file *f)
{
	return f->ops->object ? f->ops->object(f) : NULL;
}

void file_owner(struct file *f, struct program_owner *out)
{
	struct inode *i = f->inode;
	mutex_lock(&i->lock); /* a change of owner takes the bits away in the same step */
	*out = (struct program_owner){i->mode, i->uid, i->gid, !inode_permission(i, R_OK)};
	mutex_unlock(&i->lock);
}

ssize_t file_path(struct file *f, char *to, size_t bytes)
{
	return dentry_path_text(f->dentry, to, bytes);
}

int fs_read_file(const char *path, void **data, size_t *bytes)
{
	int r = 0;
	struct file *f = file_open_kernel(path, false, &r);
	if (!f)
		return r;
	uint64_t size = inode_bytes(f->inode);
	char *text = size > (64u << 20) ? NULL : kmalloc(size + 1);
	ssize_t got = text ? file_read_kernel(f, text, size, 0) : -ENOMEM;
	file_put(f);
	if (got < 0) {
		kfree(text);
		return (int)got;
	}
	text[got] = 0;
	*data = text;
	*bytes = (size_t)got;
	return 0;
}
