/* SPDX-License-Identifier: MIT */
/*
 * Changing what is known about a file: mode, owner, times, size; and the
 * running task's places: cwd, root, umask.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

static int lookup_user(uint64_t dirfd, uint64_t user_path, unsigned walk, struct dentry **out)
{
	int error = 0;
	char *path = path_from_user(user_path, walk & WALK_EMPTY, &error);
	if (!path)
		return error;
	int r = path_lookup((int)dirfd, path, walk, out);
	kfree(path);
	return r;
}

static int writable_mount(const struct inode *inode)
{
	return (inode->mount->flags & 1) ? -EROFS : 0;
}

/* ---- mode ------------------------------------------------------------------------------ */

static int change_mode(struct inode *inode, uint32_t mode)
{
	int r = writable_mount(inode);
	if (r)
		return r;
	if (inode_is(inode, S_IFLNK))
		return -EOPNOTSUPP;
	mutex_lock(&inode->lock);
	if (inode->process || !inode_owner_ok(inode)) { /* /proc/PID: follows the process */
		mutex_unlock(&inode->lock);
		return -EPERM;
	}
	if (!in_group(inode->gid) && !capable(CAP_FSETID))
		mode &= ~(uint32_t)S_ISGID;
	inode->mode = (inode->mode & S_IFMT) | (mode & 07777);
	inode_touch(inode, false);
	mutex_unlock(&inode->lock);
	return 0;
}

long sys_fchmodat(uint64_t dirfd, uint64_t path, uint64_t mode)
{
	struct dentry *d;
	int r = lookup_user(dirfd, path, WALK_FOLLOW, &d);
	if (r)
		return r;
	r = change_mode(d->inode, (uint32_t)mode);
	dentry_put(d);
	return r;
}

long sys_chmod(uint64_t path, uint64_t mode)
{
	return sys_fchmodat((uint64_t)AT_FDCWD, path, mode);
}

long sys_fchmod(uint64_t fd, uint64_t mode)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	int r = change_mode(f->inode, (uint32_t)mode);
	file_put(f);
	return r;
}

/* ---- owner ------------------------------------------------------------------------------ */

/* The owner gives his files to his own groups only. */
static bool may_change_owner(const struct inode *inode, uint32_t uid, uint32_t gid)
{
	uint32_t own_uid, own_gid;
	current_owner(&own_uid, &own_gid);
	if (capable(CAP_CHOWN))
		return true;
	if (own_uid != inode->uid || (uid != UINT32_MAX && uid != inode->uid))
		return false;
	return gid == UINT32_MAX || gid == inode->gid || in_group(gid);
}

static int change_owner(struct inode *inode, uint32_t uid, uint32_t gid)
{
	int r = writable_mount(inode);
	if (r)
		return r;
	mutex_lock(&inode->lock);
	if (!may_change_owner(inode, uid, gid)) {
		mutex_unlock(&inode->lock);
		return -EPERM;
	}
	if (uid != UINT32_MAX)
		inode->uid = uid;
	if (gid != UINT32_MAX)
		inode->gid = gid;
	if (!inode_is(inode, S_IFDIR)) {
		inode->mode &= ~(uint32_t)S_ISUID;
		if ((inode->mode & 0010) || (!in_group(inode->gid) && !capable(CAP_FSETID)))
			inode->mode &= ~(uint32_t)S_ISGID;
	}
	inode_touch(inode, false);
	mutex_unlock(&inode->lock);
	return 0;
}

long sys_fchownat(uint64_t dirfd, uint64_t path, uint64_t uid, uint64_t gid, uint64_t flags)
{
	struct dentry *d;
	if (flags & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	unsigned walk = (flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW;
	int r = lookup_user(dirfd, path, walk | ((flags & AT_EMPTY_PATH) ? WALK_EMPTY : 0), &d);
	if (r)
		return r;
	r = change_owner(d->inode, (uint32_t)uid, (uint32_t)gid);
	dentry_put(d);
	return r;
}

long sys_chown(uint64_t path, uint64_t uid, uint64_t gid)
{
	return sys_fchownat((uint64_t)AT_FDCWD, path, uid, gid, 0);
}

long sys_lchown(uint64_t path, uint64_t uid, uint64_t gid)
{
	return sys_fchownat((uint64_t)AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

long sys_fchown(uint64_t fd, uint64_t uid, uint64_t gid)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	int r = change_owner(f->inode, (uint32_t)uid, (uint32_t)gid);
	file_put(f);
	return r;
}

/* ---- times -------------------------------------------------------------------------------- */

#define UTIME_NOW  0x3fffffff
#define UTIME_OMIT 0x3ffffffe

static int change_times(struct inode *inode, const struct user_timespec *t)
{
	bool now = !t || (t[0].nsec == UTIME_NOW && t[1].nsec == UTIME_NOW);
	if (t && t[0].nsec == UTIME_OMIT && t[1].nsec == UTIME_OMIT)
		return 0;
	int r = writable_mount(inode);
	if (r)
		return r;
	if (!inode_owner_ok(inode)) {
		if (!now)
			return -EPERM;
		r = inode_permission(inode, W_OK);
		if (r)
			return r;
	}
	nsec_t *to[2] = {&inode->atime, &inode->mtime}, stamp = fs_now();
	mutex_lock(&inode->lock);
	for (int i = 0; i < 2; i++) {
		if (now || t[i].nsec == UTIME_NOW)
			*to[i] = stamp;
		else if (t[i].nsec != UTIME_OMIT)
			*to[i] = (nsec_t)t[i].sec * NSEC_PER_SEC + (nsec_t)t[i].nsec;
	}
	inode_touch(inode, false);
	mutex_unlock(&inode->lock);
	return 0;
}

static bool good_time(struct user_timespec *t)
{
	if (t->nsec == UTIME_NOW || t->nsec == UTIME_OMIT)
		return true;
	if (t->nsec < 0 || t->nsec >= (int64_t)NSEC_PER_SEC)
		return false;
	/* Times are kept in 64 bits of nanoseconds since 1970: clamp to what fits,
	 * as file systems do with times they cannot hold. */
	t->sec = mem_max(t->sec, (int64_t)0);
	t->sec = mem_min(t->sec, (int64_t)18000000000);
	return true;
}

static long set_times(uint64_t dirfd, uint64_t path, struct user_timespec *t, unsigned flags)
{
	if (t && (!good_time(&t[0]) || !good_time(&t[1])))
		return -EINVAL;
	if (!path && (int)dirfd != AT_FDCWD) { /* futimens */
		struct file *f = fd_get((int)dirfd);
		if (!f)
			return -EBADF;
		long r = change_times(f->inode, t);
		file_put(f);
		return r;
	}
	struct dentry *d;
	unsigned walk = (flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW;
	int r = lookup_user(dirfd, path, walk | ((flags & AT_EMPTY_PATH) ? WALK_EMPTY : 0), &d);
	if (r)
		return r;
	r = change_times(d->inode, t);
	dentry_put(d);
	return r;
}

long sys_utimensat(uint64_t dirfd, uint64_t path, uint64_t times, uint64_t flags)
{
	struct user_timespec t[2];
	if (flags & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (times && copy_from_user(t, times, sizeof(t)))
		return -EFAULT;
	return set_times(dirfd, path, times ? t : NULL, (unsigned)flags);
}

long sys_futimesat(uint64_t dirfd, uint64_t path, uint64_t times)
{
	struct user_timeval v[2];
	struct user_timespec t[2];
	if (times) {
		if (copy_from_user(v, times, sizeof(v)))
			return -EFAULT;
		for (int i = 0; i < 2; i++) {
			if (v[i].usec < 0 || v[i].usec >= 1000000)
				return -EINVAL;
			t[i] = (struct user_timespec){v[i].sec, v[i].usec * 1000};
		}
	}
	return set_times(dirfd, path, times ? t : NULL, 0);
}

long sys_utimes(uint64_t path, uint64_t times)
{
	return sys_futimesat((uint64_t)AT_FDCWD, path, times);
}

long sys_utime(uint64_t path, uint64_t times)
{
	int64_t v[2];
	struct user_timespec t[2] = {{0, 0}, {0, 0}};
	if (times) {
		if (copy_from_user(v, times, sizeof(v)))
			return -EFAULT;
		t[0].sec = v[0];
		t[1].sec = v[1];
	}
	return set_times((uint64_t)AT_FDCWD, path, times ? t : NULL, 0);
}

/* ---- size ----------------------------------------------------------------------------------- */

static int change_size(struct inode *inode, uint64_t bytes)
{
	if (bytes > rlimit_soft(current_process(), RLIMIT_FSIZE)) {
		signal_send_task(current_task(), SIGXFSZ, NULL);
		return -EFBIG;
	}
	mutex_lock(&inode->lock);
	int r = tmpfs_resize(inode, bytes);
	if (!r) {
		inode_drop_set_id(inode);
		inode_touch(inode, true);
	}
	mutex_unlock(&inode->lock);
	return r;
}

long sys_truncate(uint64_t path, uint64_t bytes)
{
	struct dentry *d;
	if ((int64_t)bytes < 0)
		return -EINVAL;
	int r = lookup_user((uint64_t)AT_FDCWD, path, WALK_FOLLOW, &d);
	if (r)
		return r;
	if (inode_is(d->inode, S_IFDIR))
		r = -EISDIR;
	else if (!inode_is(d->inode, S_IFREG) || !d->inode->object)
		r = -EINVAL;
	else
		r = inode_permission(d->inode, W_OK);
	if (!r)
		r = inode_write_begin(d->inode);
	if (!r) {
		r = change_size(d->inode, bytes);
		inode_write_end(d->inode);
	}
	dentry_put(d);
	return r;
}

long sys_ftruncate(uint64_t fd, uint64_t bytes)
{
	if ((int64_t)bytes < 0)
		return -EINVAL;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	int r = -EINVAL;
	if (inode_is(f->inode, S_IFREG) && f->inode->object && file_can_write(f))
		r = change_size(f->inode, bytes);
	file_put(f);
	return r;
}

#define FALLOC_KEEP_SIZE  1
#define FALLOC_PUNCH_HOLE 2
#define FALLOC_ZERO_RANGE 16

static int zero_bytes(struct inode *inode, uint64_t from, uint64_t to)
{
	while (from < to) {
		paddr_t pa;
		uint64_t chunk = mem_min(to - from, PAGE_SIZE - (from & PAGE_MASK));
		mem_status s = vm_object_page(inode->object, from >> PAGE_SHIFT, false, &pa);
		if (s == MEM_OK) {
			memset((char *)paddr_to_ptr(pa) + (from & PAGE_MASK), 0, chunk);
			vm_object_page_done(inode->object, pa);
		} else if (s != MEM_ENOENT) {
			return s == MEM_EBEYOND ? 0 : (int)errno_from(s);
		}
		from += chunk;
	}
	return 0;
}

static int punch(struct inode *inode, uint64_t from, uint64_t to)
{
	uint64_t first = align_up(from, PAGE_SIZE), last = align_down(to, PAGE_SIZE);
	to = mem_min(to, inode_bytes(inode));
	if (from >= to)
		return 0;
	if (first >= last)
		return zero_bytes(inode, from, to);
	int r = zero_bytes(inode, from, mem_min(first, to));
	if (!r && last < to)
		r = zero_bytes(inode, last, to);
	last = mem_min(last, align_up(to, PAGE_SIZE));
	if (r || first >= last)
		return r;
	return (int)errno_from(
	    vm_object_punch(inode->object, first >> PAGE_SHIFT, (last - first) >> PAGE_SHIFT));
}

/* Make the pages of [from, to) be there; on failure those that were made go. */
static int preallocate(struct inode *inode, uint64_t from, uint64_t to, bool keep_size)
{
	uint64_t old = inode_bytes(inode);
	uint64_t end = keep_size ? mem_min(to, old) : to;
	int r = 0;
	if (end > old)
		r = tmpfs_resize(inode, end);
	for (uint64_t page = from >> PAGE_SHIFT; !r && page << PAGE_SHIFT < end; page++) {
		paddr_t pa;
		r = tmpfs_fill_page(inode->object, page, &pa);
		if (!r)
			vm_object_page_done(inode->object, pa);
		if (!r && thread_interrupted())
			r = -EINTR;
	}
	if (r && end > old)
		(void)tmpfs_resize(inode, old);
	return r;
}

long sys_fallocate(uint64_t fd, uint64_t mode, uint64_t offset, uint64_t bytes)
{
	uint64_t end;
	if ((int64_t)offset < 0 || (int64_t)bytes <= 0)
		return -EINVAL;
	if (mode & ~(uint64_t)(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_PUNCH_HOLE) &&
	    (!(mode & FALLOC_KEEP_SIZE) || (mode & FALLOC_ZERO_RANGE)))
		return -EOPNOTSUPP;
	if (__builtin_add_overflow(offset, bytes, &end) || (int64_t)end < 0)
		return -EFBIG;
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	int r = 0;
	if (!file_can_write(f))
		r = -EBADF;
	else if (inode_is(f->inode, S_IFIFO))
		r = -ESPIPE;
	else if (!inode_is(f->inode, S_IFREG) || !f->inode->object)
		r = -ENODEV;
	else if (end > rlimit_soft(current_process(), RLIMIT_FSIZE) && !(mode & FALLOC_KEEP_SIZE))
		r = -EFBIG;
	if (!r) {
		struct inode *i = f->inode;
		mutex_lock(&i->lock);
		if (mode & (FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE))
			r = punch(i, offset, end);
		if (!r && !(mode & FALLOC_PUNCH_HOLE))
			r = preallocate(i, offset, end, mode & FALLOC_KEEP_SIZE);
		if (!r)
			inode_touch(i, true);
		mutex_unlock(&i->lock);
	}
	file_put(f);
	return r;
}

/* ---- the task's places ------------------------------------------------------------------------
 */

static int set_place(struct dentry *d, bool root)
{
	struct fs_context *c = context_current();
	if (!inode_is(d->inode, S_IFDIR)) {
		dentry_put(d);
		return -ENOTDIR;
	}
	int r = inode_permission(d->inode, X_OK);
	if (r) {
		dentry_put(d);
		return r;
	}
	mem_lock(&c->lock, FS_RANK_CONTEXT);
	struct dentry **place = root ? &c->root : &c->cwd, *old = *place;
	*place = d;
	mem_unlock(&c->lock, FS_RANK_CONTEXT);
	dentry_put(old);
	return 0;
}

long sys_chdir(uint64_t path)
{
	struct dentry *d;
	int r = lookup_user((uint64_t)AT_FDCWD, path, WALK_FOLLOW, &d);
	return r ? r : set_place(d, false);
}

long sys_fchdir(uint64_t fd)
{
	struct file *f = fd_get_any((int)fd);
	if (!f)
		return -EBADF;
	struct dentry *d = dentry_get(f->dentry);
	file_put(f);
	return set_place(d, false);
}

long sys_chroot(uint64_t path)
{
	struct dentry *d;
	int r = lookup_user((uint64_t)AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &d);
	if (r)
		return r;
	if (!capable(CAP_SYS_CHROOT)) {
		dentry_put(d);
		return -EPERM;
	}
	return set_place(d, true);
}

long sys_umask(uint64_t mask)
{
	struct fs_context *c = context_current();
	return (long)atomic_swap(&c->umask, (uint32_t)mask & 0777);
}
