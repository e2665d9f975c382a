/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_PROCFS_H
#define KERNEL_FS_PROCFS_H
/*
 * /proc: a table of nodes. A node is a file that is written out when it is read
 * from its beginning, a link, or a directory with a table of its own. A node
 * below /proc/PID is the same for every process; the inode says which.
 */
#include "kernel/fs/vfs.h"

struct text { /* grows as it is printed to */
	char *buffer;
	size_t used, room;
	bool failed;    /* no memory */
	bool addresses; /* who opened the file may see those of the kernel */
	/* Texts without bound come in pieces of about TEXT_PIECE: the one who prints goes on
	 * at `next`, and says by `more` that there is something behind what it printed. */
	uint64_t next;
	bool more;
};
#define TEXT_PIECE 2048
void text_add(struct text *t, const char *bytes, size_t count);
void text_print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct proc_view; /* proc_pid.h */

struct proc_node {
	const char *name;
	uint32_t mode; /* with type */
	/* Below /proc/PID: what an open file is bound to, and the right that it takes. */
	enum { BIND_PROCESS, BIND_SPACE, BIND_RUNNING } bind;
	enum {
		RIGHT_ALL,   /* anybody's */
		RIGHT_PART,  /* anybody's, but for what only who may look into it sees */
		RIGHT_OWNER, /* whose the file is, as its mode says: checked again at each use */
		RIGHT_LOOK   /* who may look into the process (process_access_locked) */
	} right;
	/* Files: write it out. The second is for those below /proc/PID; `p` is NULL. */
	int (*show)(struct text *t, struct process *p, struct inode *inode);
	int (*show_view)(struct text *t, const struct proc_view *v);
	/* Files that can be written: the whole text, with a NUL behind. `p` is the process
	 * that the file is about, which may have been reaped, or NULL. */
	int (*store)(struct process *p, struct inode *inode, const char *text, size_t bytes);
	/* Links and directories of their own kind; files with their own reading. */
	const struct inode_ops *ops;
	const struct proc_node *children; /* directories: ended by a NULL name */
	const struct file_ops *fops;      /* files with positions of their own */
	const void *arg;
};

#define PROC_FILE(n, m, s)                                                                         \
	{                                                                                          \
		.name = (n), .mode = S_IFREG | (m), .show = (s)                                    \
	}
#define PROC_DIR(n, c)                                                                             \
	{                                                                                          \
		.name = (n), .mode = S_IFDIR | 0555, .children = (c)                               \
	}

/* What an open file of /proc has in f->data. */
struct proc_file {
	struct text text;
	uint64_t text_at; /* where in the file its first byte is */
	struct account *account;
	uint64_t charged;     /* bytes of the text */
	struct mm_layout *mm; /* BIND_SPACE: with a reference; NULL: it had ended */
	bool sees_frames;     /* who opened it may see physical addresses */
	bool sees_addresses;  /* and those of the kernel */
};

/* A dentry for `node` in dir; p (NULL: none) and number2 as in struct inode. */
int proc_make(struct dentry *dir, const char *name, unsigned length, const struct proc_node *node,
	      struct process *p, uint64_t number2, struct dentry **out);
void proc_release(struct file *f);
uint64_t proc_ino(const struct proc_node *node, uint64_t number, uint64_t number2);
bool proc_parse_number(const char *name, unsigned length, uint64_t *out);
int proc_lookup(struct dentry *dir, const char *name, unsigned length, struct dentry **out);
int proc_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg);
extern const struct inode_ops proc_dir_ops, proc_file_inode_ops;

extern const struct proc_node proc_root_nodes[]; /* proc_system.c */
extern const struct proc_node proc_sys_nodes[];  /* proc_sys.c */
extern const struct proc_node proc_pid_node;     /* proc_pid.c: the directory */
void proc_show_mounts(struct text *t);
void proc_show_mountinfo(struct text *t);
#endif
