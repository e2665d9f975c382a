/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_H
#define KERNEL_FS_H
/* Files and directories. Owner: kernel/fs. */
#include <kernel/access.h>
#include <kernel/sched.h>
#include <kernel/types.h>
#include <mem/object.h>

struct file;
struct inode;
struct dentry;
struct task;

struct file_ops {
	/* Results: bytes or -errno. `at`: position, advanced by the callee. User
	 * buffers: `buffer` is a user address. */
	ssize_t (*read)(struct file *f, uint64_t buffer, size_t bytes, off_t *at);
	ssize_t (*write)(struct file *f, uint64_t buffer, size_t bytes, off_t *at);
	long (*ioctl)(struct file *f, unsigned command, uint64_t arg);
	/* Events ready now (POLLIN ...). If `q` is not NULL store the queue to wait on
	 * (up to two: read side and write side; NULL where none). */
	unsigned (*poll)(struct file *f, struct waitq *q[2]);
	int (*iterate)(struct file *f, void *context); /* directories: fs-internal */
	/* The object that mmap maps, without a new reference, or NULL: -ENODEV. */
	struct vm_object *(*object)(struct file *f);
	off_t (*seek)(struct file *f, off_t offset, int whence);
	void (*release)(struct file *f); /* last reference */
};

struct file { /* an open file description */
	uint64_t refs;
	uint32_t flags; /* O_* */
	uint32_t mode;  /* FILE_READ | FILE_WRITE | ... */
	off_t position;
	struct mutex position_lock;
	const struct file_ops *ops;
	struct inode *inode;   /* dentry's, with a reference */
	struct dentry *dentry; /* with a reference; never NULL */
	void *data;
	uint64_t number;      /* a second word for ops (directory cursor, generation) */
	pid_t owner;          /* F_SETOWN */
	struct list watchers; /* items of epoll sets; all-zero: none ever (kernel/fs/epoll.c) */
	struct account *account; /* that it is on: kernel/account.h */
};
enum file_mode {
	FILE_READ = 1,
	FILE_WRITE = 2,
	FILE_STREAM = 4, /* no position: lseek and pread say ESPIPE */
	FILE_PATH = 8,   /* O_PATH: names a place, cannot be read or written */
	/* A stream that is the same everywhere (null, zero, random): lseek says 0, and
	 * pread and pwrite work. */
	FILE_ANYWHERE = 16,
};

void file_get(struct file *f);
/* As file_get, for a pointer without a reference that is known not to be freed
 * yet; false: its last reference has gone. */
bool file_get_live(struct file *f) MEM_CHECKED;
/* Drop a reference; the last one releases. Context: thread, no lock. */
void file_put(struct file *f);
/* The file behind a descriptor of the running task, with a reference; NULL: EBADF
 * (O_PATH descriptors included: they cannot be read, written or mapped). */
struct file *fd_get(int fd);
/* As fd_get, O_PATH descriptors too. */
struct file *fd_get_any(int fd);
/* Put a file at the lowest free descriptor >= `from`; takes over the caller's
 * reference on success only. -EMFILE, -ENOMEM. */
int fd_install(struct file *f, bool cloexec, int from);

/* For exec and mmap: open a path (kernel string, relative to the cwd) for
 * reading; -errno in *error. `exec`: must be an executable regular file. */
struct file *file_open_kernel(const char *path, bool exec, int *error);
/* Read into a kernel buffer at a position. */
ssize_t file_read_kernel(struct file *f, void *buffer, size_t bytes, off_t at);
/* The object that holds a regular file's pages, or the device's; no new reference. */
struct vm_object *file_object(struct file *f);
/* Is it /dev/zero? Mapping that means anonymous memory. */
bool file_is_zero(const struct file *f);
/* The path by which f can be reached now, with " (deleted)" if it cannot. Returns
 * its length; -ENAMETOOLONG. */
ssize_t file_path(struct file *f, char *to, size_t bytes);
/* Set-user-ID and set-group-ID bits and owners, for exec: as they are at one moment. */
void file_owner(struct file *f, struct program_owner *out);
/* execveat and friends: as file_open_kernel, relative to a directory descriptor;
 * flags: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW. */
struct file *file_open_kernel_at(int dirfd, const char *path, unsigned flags, bool exec,
				 int *error);
/* The path of the file behind an object ("/bin/busybox"), for maps; false: none. */
bool object_path(struct vm_object *object, char *to, size_t bytes);
/* Device and inode number of the file behind an object; zeros if there is none. */
void object_inode(struct vm_object *object, uint64_t *dev, uint64_t *ino);

/* Boot: mount the in-memory root, make /dev /proc. Context: thread. -ENOMEM. */
int fs_init(void);
/* Unpack a cpio newc archive (several, concatenated, are fine) into the root.
 * Untrusted input: -EINVAL with the offending offset in the log; what came
 * before it stays. */
int fs_unpack_cpio(const void *archive, size_t bytes);
/* A fully generic read of a whole small file (e.g. /etc/quire/argv) into kmalloc'd memory. */
int fs_read_file(const char *path, void **data, size_t *bytes);

/* What writing to /proc/sys/vm/drop_caches does. Context: thread, no lock. */
void fs_drop_caches(void);

/* The minor number of the device that f was opened by. */
unsigned file_minor(const struct file *f);
/* Every minor number of a major, without names in /dev. */
int device_open_anywhere(struct file *f); /* an `open` for FILE_ANYWHERE */
int devfs_register_major(unsigned major, const struct file_ops *ops, int (*open)(struct file *f));
/* /dev/pts/N comes and goes. -ENOMEM, -EEXIST. Context: thread. */
int devpts_add(unsigned number);
void devpts_remove(unsigned number);
/* dev/ registers character devices; fs shows them in /dev. `open` may be NULL. */
int devfs_register(const char *name, unsigned major, unsigned minor, const struct file_ops *ops,
		   int (*open)(struct file *f));
#endif
