/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_VFS_H
#define KERNEL_FS_VFS_H
/*
 * The inside of kernel/fs: names (dentries), files' bodies (inodes), mounts.
 *
 *   struct mount ──root──► dentry "/" ──children──► dentry "bin" ─► dentry "sh"
 *                             │                        │               │
 *                             ▼                        ▼               ▼
 *                           inode                    inode           inode ──► vm_object
 *
 * A dentry is one name of one inode. In memory file systems the tree of dentries
 * *is* the directory: there is nothing behind it. In /proc a directory's
 * entries are computed: lookup() makes a dentry that nobody else sees (not
 * hashed), which goes with its last reference.
 *
 * References: a dentry holds its inode and its parent; a hashed dentry is held
 * once by the tree; a mount holds its root. An inode of a regular file holds
 * one reference on its vm_object, and lives at least as long as the object, so
 * that a mapping's file can be named after everybody else forgot it.
 *
 * Locks, outermost first:
 *   tree lock (sleeping rwlock): names, parents, children, mounts, nlink.
 *       Shared for walking, exclusive for changing. Never held over a copy to
 *       or from user memory, nor while waiting for anything but memory.
 *   inode->lock (mutex): contents changes, size, attributes. May be held over
 *       user copies: page faults take no lock of this directory.
 *   position_lock (mutex, per open file): taken before inode->lock.
 *   FS_RANK_* spin locks: leaves.
 */
#include <kernel/fs.h>
#include <kernel/proc.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "kernel/fs/abi.h"

/* Spin locks; below MEM_RANK_FIRST, so mem/ may be called with them held. */
#define FS_RANK(n)      ((enum mem_rank)(n))
#define FS_RANK_CONTEXT FS_RANK(10) /* fs_context: cwd and root */
#define FS_RANK_FDS     FS_RANK(11) /* one descriptor table */
#define FS_RANK_ALIAS   FS_RANK(12) /* inode->alias of every inode */
#define FS_RANK_EVENT   FS_RANK(13) /* eventfd, timerfd */
#define FS_RANK_EPOLL   FS_RANK(14) /* which epoll items watch a file */

struct inode_ops;
struct pipe;
struct file_lock;
struct vmm_stats;

struct mount {
	struct list link; /* in order of mounting */
	const char *type;
	char *source;
	unsigned id;
	unsigned flags; /* MS_* */
	uint64_t dev;
	uint64_t next_ino;
	struct dentry *root;  /* with a reference */
	struct dentry *point; /* what it covers, with a reference; NULL: the root */
	uint64_t refs;        /* one while it is mounted, and one per inode */
};

struct inode {
	uint64_t refs;
	uint64_t writers;
	uint32_t mode, uid, gid;
	uint32_t nlink; /* under the tree lock */
	uint64_t rdev, ino;
	struct mount *mount;
	nsec_t atime, mtime, ctime, btime;
	struct mutex lock;
	const struct inode_ops *ops;
	const struct file_ops *fops; /* regular files, directories */
	struct vm_object *object;    /* regular files of memory file systems */
	char *link;                  /* symbolic links of memory file systems */
	struct pipe *pipe;           /* FIFOs, while open */
	struct dentry *alias;        /* some name of it, no reference: FS_RANK_ALIAS */
	char *dead_path;             /* its last name, once it has none */
	struct file_lock *locks;     /* under `lock` */
	struct waitq lock_wait;
	const void *data;        /* /proc: the node */
	struct process *process; /* /proc: what it is about, with a reference, or NULL */
	uint64_t number;         /* /proc: its number, for inode numbers alone */
	uint64_t number2;        /* /proc: descriptor or task */
	uint32_t held;           /* tmpfs: bytes that tmpfs_hold counts for it */
};

struct dentry {
	uint64_t refs;
	uint32_t hash;
	unsigned length;
	bool hashed; /* in its parent's table: the tree lock */
	char *name;
	struct dentry *parent; /* itself for a root */
	struct inode *inode;
	struct mount *mounted;               /* what covers it, the tree lock */
	struct dentry *hash_next;            /* bucket */
	uint64_t cookie;                     /* position in its directory, for getdents */
	struct dentry *left, *right, *above; /* among its parent's names (siblings.c) */
	struct dentry *names;                /* directories: the top of theirs */
	struct dentry **buckets;
	uint32_t bucket_count;
	uint64_t child_count;
	uint64_t next_cookie;
	uint32_t held; /* as an inode's */
};

typedef bool (*dir_emit)(void *arg, const char *name, unsigned length, uint64_t ino, unsigned type,
			 uint64_t next);
struct inode_ops {
	/* Computed directories: a new dentry with a reference. -ENOENT. */
	int (*lookup)(struct dentry *dir, const char *name, unsigned length, struct dentry **out);
	/* Computed directories: entries from `from` on; stops when emit says false. */
	int (*iterate)(struct dentry *dir, uint64_t from, dir_emit emit, void *arg);
	/* Symbolic links: text into a buffer, its length. NULL: inode->link. */
	ssize_t (*readlink)(struct dentry *d, char *to, size_t bytes);
	/* Links that lead to a place rather than to a text. NULL: by text. */
	int (*follow)(struct dentry *d, struct dentry **out);
	/* Opening: sets f->ops, f->data. NULL: nothing to do. */
	int (*open)(struct file *f);
	/* Just before stat and permission checks: bring mode, owner up to date. */
	void (*refresh)(struct inode *inode);
	/* Directories of /proc that a program may enter because they are its own. */
	bool (*is_own)(const struct inode *inode);
	void (*release)(struct inode *inode);
};

struct fs_context {
	uint32_t refs;
	uint32_t users;       /* tasks (L) */
	struct mem_lock lock; /* FS_RANK_CONTEXT */
	struct dentry *cwd, *root;
	uint32_t umask;
};

/* ---- dentry.c ---------------------------------------------------------- */
extern struct mem_rwlock tree_lock;
static inline void tree_read(void)
{
	mem_rwlock_read(&tree_lock);
}
static inline void tree_read_done(void)
{
	mem_rwlock_read_done(&tree_lock);
}
static inline void tree_write(void)
{
	mem_rwlock_write(&tree_lock);
}
static inline void tree_write_done(void)
{
	mem_rwlock_write_done(&tree_lock);
}
/* A new, unhashed dentry of `parent` (NULL: a root) with one reference. Takes
 * over a reference on the inode, on success only. NULL: no memory. */
struct dentry *dentry_new(struct dentry *parent, const char *name, unsigned length,
			  struct inode *inode);
struct dentry *dentry_get(struct dentry *d);
/* Context: thread, no spin lock; the tree lock may be held. */
void dentry_put(struct dentry *d);
/* Tree lock (shared for find): children of memory directories. */
struct dentry *dentry_find(struct dentry *dir, const char *name, unsigned length);
/* siblings.c: a directory's names in order of their cookies; the tree lock. */
void siblings_init(void);
void siblings_add(struct dentry *dir, struct dentry *d); /* its cookie is the highest */
void siblings_remove(struct dentry *dir, struct dentry *d);
struct dentry *siblings_from(const struct dentry *dir, uint64_t cookie); /* at or behind it */
struct dentry *siblings_next(const struct dentry *d);
/* The tree takes a reference of its own; false: no memory for a table. */
bool dentry_hash(struct dentry *d) MEM_CHECKED;
bool dentry_reserve(struct dentry *dir) MEM_CHECKED; /* the next hash or move will not fail */
void dentry_trim(struct dentry *dir);                /* an empty directory gives its table back */
void dentry_unhash(struct dentry *d);                /* drops it again: the caller holds another */
/* Put d elsewhere: new parent and name (kmalloc'd, taken over; NULL: keeps its own).
 * Room was reserved. Tree lock exclusive. */
void dentry_move(struct dentry *d, struct dentry *parent, char *name, unsigned length);
void dentry_swap(struct dentry *a, struct dentry *b);       /* each takes the other's place */
bool dentry_is_below(struct dentry *d, struct dentry *top); /* or equal; tree lock */
/* The path of d seen from `root`: returns its length, written at the *end* of the
 * buffer with *start set. -ENAMETOOLONG. Takes the tree lock. `reachable` (may be
 * NULL) says whether d lies below root and has not been deleted. */
ssize_t dentry_path(struct dentry *d, struct dentry *root, char *buffer, size_t bytes, char **start,
		    bool *reachable, bool *deleted);

/* As text, from the running task's root, with " (deleted)". Its length. */
ssize_t dentry_path_text(struct dentry *d, char *to, size_t bytes);
/* Some name of the file behind an object, a new reference, or NULL. */
struct dentry *object_dentry(struct vm_object *object);
void dentry_make_alias(struct dentry *d);    /* its inode can be named by it */
void dentry_remember_path(struct dentry *d); /* after its inode's last unlink */

/* ---- inode.c ----------------------------------------------------------- */
/* A new inode with one reference, times now. NULL: no memory. */
struct inode *inode_new(struct mount *mount, uint32_t mode, uint32_t uid, uint32_t gid);
static inline struct inode *inode_get(struct inode *i)
{
	atomic_add(&i->refs, 1);
	return i;
}
void inode_put(struct inode *inode);
void inode_free(struct inode *inode); /* from the release of its object */
/* Effective owner of what the running thread creates; root in kernel threads. */
void current_owner(uint32_t *uid, uint32_t *gid);
uint64_t inode_bytes(const struct inode *inode);
static inline bool inode_is(const struct inode *i, uint32_t type)
{
	return (i->mode & S_IFMT) == type;
}
/* May the running task do this (R_OK | W_OK | X_OK)? 0, -EACCES, -EROFS. */
int inode_permission(struct inode *inode, unsigned want);
struct file_user { /* who asks, with the running task's groups */
	uint32_t uid, gid;
	uint64_t capabilities;
};
int inode_permission_as(struct inode *inode, unsigned want, const struct file_user *user);
bool inode_owner_ok(const struct inode *inode); /* owner, or CAP_FOWNER */
/* A writer of a regular file, counted until inode_write_end: -ETXTBSY if a program runs
 * from it. */
int inode_write_begin(struct inode *inode);
void inode_write_end(struct inode *inode);
void inode_touch(struct inode *inode, bool modified); /* ctime, and mtime */
void inode_accessed(struct file *f);

/* ---- path.c ------------------------------------------------------------ */
enum walk_flags {
	WALK_FOLLOW = 1,    /* the last component too, if it is a link */
	WALK_DIRECTORY = 2, /* must be a directory */
	WALK_EMPTY = 4,     /* AT_EMPTY_PATH: "" means dirfd itself */
	WALK_NO_LINKS = 8,  /* RESOLVE_NO_SYMLINKS */
	WALK_BENEATH = 16,  /* RESOLVE_BENEATH */
	WALK_IN_ROOT = 32,  /* RESOLVE_IN_ROOT */
	WALK_NO_MAGIC = 64, /* RESOLVE_NO_MAGICLINKS */
	WALK_NO_XDEV = 128, /* RESOLVE_NO_XDEV */
};
/* Look a path up. *out with a reference. */
int path_lookup(int dirfd, const char *path, unsigned flags, struct dentry **out);
struct path_last {             /* where a new name would go */
	struct dentry *parent; /* with a reference */
	struct dentry *found;  /* what is there, with a reference, or NULL */
	char name[NAME_MAX + 1];
	unsigned length;
	bool slash; /* the path ended in '/' */
	bool dots;  /* the last component was "." or ".." or there was none */
};
/* The parent of the last component, which is not followed if it is a link
 * (unless WALK_FOLLOW and it exists: then parent and name are the target's). */
int path_parent(int dirfd, const char *path, unsigned flags, struct path_last *out);
void path_last_put(struct path_last *last);
/* A path from the user in a kmalloc'd string: NULL with *error (-EFAULT,
 * -ENAMETOOLONG, -ENOENT for "" unless `empty_ok`, -ENOMEM). */
char *path_from_user(uint64_t user, bool empty_ok, int *error);
/* One step: the child of dir by this name, mounts and computed directories
 * included; tree lock held. *out with a reference. */
int dentry_step(struct dentry *dir, const char *name, unsigned length, struct dentry **out);
/* The top of what is mounted on d, as a new reference; drops d's. Tree lock held. */
struct dentry *dentry_over_mounts(struct dentry *d);
struct fs_context *context_current(void);
struct dentry *context_root(void); /* new reference */
struct dentry *context_cwd(void);  /* new reference */

/* ---- tmpfs.c ----------------------------------------------------------- */
/* Make an inode of this kind in `mount`; regular files get their object, links
 * their text. 0 or -ENOMEM. */
int tmpfs_inode(struct mount *mount, uint32_t mode, uint64_t rdev, const char *link,
		struct inode **out);
/* Create `name` in dir (tree lock exclusive, permission and absence checked). */
int tmpfs_create(struct dentry *dir, const char *name, unsigned length, uint32_t mode,
		 uint64_t rdev, const char *link, struct dentry **out);
/* Count `bytes` of the heap for files, in *held too; false: they have their share. */
MEM_CHECKED bool tmpfs_hold(uint32_t bytes, uint32_t *held);
/* The same for a name, which may become as long as any. */
MEM_CHECKED bool tmpfs_hold_name(struct dentry *d);
/* What was held until now is gone. */
void tmpfs_let_go(uint32_t held);
int tmpfs_resize(struct inode *inode, uint64_t bytes); /* inode->lock held */
/* Half of memory: what files may take. */
uint64_t tmpfs_limit_npages(const struct vmm_stats *stats);
/* May a file have one more page? Each page that is about to be made asks once. */
bool tmpfs_may_grow(void);
/* A page of a file, made if it is missing and there is room; counted for the caller
 * (vm_object_page_done). 0, -ENOSPC, or as vm_object_page. */
int tmpfs_fill_page(struct vm_object *object, uint64_t page, paddr_t *pa);
extern const struct file_ops tmpfs_file_ops, dir_file_ops;
void inode_drop_set_id(struct inode *inode);
/* Append from a kernel buffer, for cpio. */
int tmpfs_write_kernel(struct inode *inode, const void *data, size_t bytes);

/* ---- namei.c ----------------------------------------------------------- */
/* 0, -EACCES, -EPERM (computed, sticky), -ENOENT (removed). Tree lock held. */
int dir_may_change(struct dentry *dir);
int dir_may_remove(struct dentry *dir, struct dentry *d);
void name_remove(struct dentry *d); /* tree lock exclusive; checked; d is held */
/* For the kernel itself: make a node by path, link two paths. */
int fs_make_node(const char *path, uint32_t mode, uint64_t rdev, const char *link);
int fs_link(const char *from, const char *to);

/* ---- mount.c ----------------------------------------------------------- */
struct mount *mount_new(const char *type, const char *source);
void mount_put(struct mount *m);
void mount_attach(struct mount *m, struct dentry *point); /* tree lock exclusive */
int mount_tmpfs(struct dentry *point, const char *type, const char *source, uint32_t mode,
		struct mount **out);
int procfs_mount(struct dentry *point, const char *source);
/* Call visit for every mount with the tree lock held shared. */
void mount_for_each(void (*visit)(struct mount *m, void *arg), void *arg);
extern struct dentry *root_dentry; /* the absolute root, after fs_init */
extern struct mount *dev_mount;

/* ---- file.c ------------------------------------------------------------ */
/* An open file of this dentry (a new reference is taken), not in any table.
 * Opens devices, FIFOs (may sleep), computed files. */
struct file *file_open_dentry(struct dentry *d, unsigned flags, int *error);
/* A file of a nameless inode: pipes, eventfd: shown as e.g. "pipe:[12]". */
struct file *file_anonymous(const char *kind, uint32_t mode_type, unsigned flags,
			    const struct file_ops *ops, void *data, int *error);
struct dentry *dentry_anonymous(const char *kind, uint32_t mode, int *error);
/* A stream file on a given dentry. NULL: no memory. */
struct file *file_on_dentry(struct dentry *d, unsigned flags, const struct file_ops *ops,
			    void *data);
struct mount *anonymous_mount(void);
void file_locks_close(struct file *f, struct fd_table *owner);
void file_locks_release(struct file *f);
/* EBADF, EISDIR, EINVAL checks done once. */
static inline bool file_can_read(const struct file *f)
{
	return f->mode & FILE_READ;
}
static inline bool file_can_write(const struct file *f)
{
	return f->mode & FILE_WRITE;
}
ssize_t file_read_at(struct file *f, uint64_t buffer, size_t bytes, off_t *at);
ssize_t file_write_at(struct file *f, uint64_t buffer, size_t bytes, off_t *at);

/* ---- dir.c ------------------------------------------------------------- */
unsigned inode_dtype(const struct inode *i);
/* Emit "." and ".." if *from is at them. 1: emit said stop. */
int dir_emit_dots(struct dentry *dir, uint64_t *from, dir_emit emit, void *arg);

/* ---- devfs.c ------------------------------------------------------------ */
int devfs_open(struct file *f); /* by f->inode->rdev; -ENXIO */
int devfs_mount(struct dentry *point);

/* ---- pipe.c ------------------------------------------------------------- */
int fifo_open(struct file *f);
long pipe_set_size(struct file *f, size_t bytes); /* -EBADF: not a pipe */
long pipe_get_size(struct file *f);
/* Slots that the pipes of one user may have; 0: no limit (pipe(7)). */
extern uint32_t pipe_user_pages_soft, pipe_user_pages_hard;

/* ---- fd.c ---------------------------------------------------------------- */
struct fd_table;
/* Under proc_lock: another process's table and places with a reference, or NULL. */
struct fd_table *fd_table_get_locked(struct process *p);
struct fs_context *context_get_locked(struct process *p);
/* One file of a table. */
void fd_table_put(struct fd_table *t);
struct file *fd_table_file(struct fd_table *t, unsigned fd, bool *cloexec); /* with a reference */
/* The first used descriptor >= from, or -1. */
int fd_table_next(struct fd_table *t, unsigned from);
uint32_t fd_table_slots(struct fd_table *t);
void context_put(struct fs_context *c);
void context_places(struct fs_context *c, struct dentry **cwd, struct dentry **root);

/* ---- poll.c --------------------------------------------------------------- */
unsigned file_poll(struct file *f, struct waitq *q[2]);
/* A mask for the length of a wait: 0, -EINVAL, -EFAULT; *set says if there is one. */
int poll_mask_begin(uint64_t at, uint64_t bytes, bool *set);
long poll_mask_done(long r, bool masked);

/* ---- small shared helpers ------------------------------------------------- */
nsec_t fs_now(void);
int nsec_from_user_timespec(uint64_t at, nsec_t *relative, bool *given);
#endif
