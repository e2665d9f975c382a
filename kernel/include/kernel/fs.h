/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_H
#define KERNEL_FS_H
/* Files and directories. Owner: kernel/fs. */
#include <kernel/sched.h>
#include <kernel/types.h>
#include <mem/object.h>

struct file;
struct inode;

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
	uint32_t refs;
	uint32_t flags; /* O_* */
	uint32_t mode;  /* bit 0 readable, bit 1 writable */
	off_t position;
	struct mutex position_lock;
	const struct file_ops *ops;
	struct inode *inode;
	void *data;
	char *path; /* as opened, for /proc/PID/fd, maps; may be NULL */
};

void file_get(struct file *f);
void file_put(struct file *f);
/* The file behind a descriptor of the running task, with a reference; NULL: EBADF. */
struct file *fd_get(int fd);

/* For exec and mmap: open a path (kernel string, relative to the cwd) for
 * reading; -errno in *error. `exec`: must be an executable regular file. */
struct file *file_open_kernel(const char *path, bool exec, int *error);
/* Read into a kernel buffer at a position. */
ssize_t file_read_kernel(struct file *f, void *buffer, size_t bytes, off_t at);
struct vm_object *file_object(struct file *f);
/* The path of the file behind an object ("/bin/busybox"), for maps; false: none. */
bool object_path(struct vm_object *object, char *to, size_t bytes);
void object_inode(struct vm_object *object, uint64_t *dev, uint64_t *ino);

/* Boot: mount the in-memory root, unpack a cpio newc archive, make /dev /proc. */
int fs_init(void);
int fs_unpack_cpio(const void *archive, size_t bytes);
/* A fully generic read of a whole small file (e.g. /etc/quire/argv) into kmalloc'd memory. */
int fs_read_file(const char *path, void **data, size_t *bytes);

/* dev/ registers character devices; fs shows them in /dev. */
int devfs_register(const char *name, unsigned major, unsigned minor, const struct file_ops *ops,
		   int (*open)(struct file *f));
#endif
