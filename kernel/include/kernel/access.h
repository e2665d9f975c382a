/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_ACCESS_H
#define KERNEL_ACCESS_H
/*
 * Who a program is and what that lets it do.
 *
 * An identity is numbers of users and groups and sets of capabilities, with Linux's
 * meaning (credentials(7), capabilities(7)). It belongs to the process and changes
 * as one value under proc_lock: by the set*id calls, capset and prctl
 * (kernel/syscall) and by exec, which changes the memory in the same step.
 *
 *   1. A right to something that belongs to another process is decided under
 *      proc_lock, and what it is the right to is taken before that lock is let go.
 *      Who asks first and takes later may get what a set-user-id program has put
 *      in its place.
 *   2. Looking into a process (its memory, files, directories; Linux calls it a
 *      ptrace access check) is decided by one function, process_access_locked.
 *   3. What is decided when a file is opened holds for what the file was bound to
 *      then, never for what comes after it.
 */
#include <kernel/types.h>

#define GROUPS_MAX 32 /* supplementary groups kept per process */

enum capability { /* the numbers of Linux 6.1; all not named are kept, and grant nothing */
		  CAP_CHOWN,
		  CAP_DAC_OVERRIDE,
		  CAP_DAC_READ_SEARCH,
		  CAP_FOWNER,
		  CAP_FSETID,
		  CAP_KILL,
		  CAP_SETGID,
		  CAP_SETUID,
		  CAP_SETPCAP,
		  CAP_LINUX_IMMUTABLE,
		  CAP_IPC_LOCK = 14,
		  CAP_SYS_RAWIO = 17,
		  CAP_SYS_CHROOT,
		  CAP_SYS_PTRACE,
		  CAP_SYS_ADMIN = 21,
		  CAP_SYS_BOOT,
		  CAP_SYS_NICE,
		  CAP_SYS_RESOURCE,
		  CAP_SYS_TIME,
		  CAP_SYS_TTY_CONFIG,
		  CAP_MKNOD,
		  CAP_MAC_OVERRIDE = 32,
		  CAP_SYSLOG = 34,
		  CAP_LAST = 40
};
#define CAP_BIT(cap) (1ull << (cap))
#define CAP_ALL      (CAP_BIT(CAP_LAST + 1) - 1)

struct identity {
	uint32_t uid, euid, suid, fsuid;
	uint32_t gid, egid, sgid, fsgid;
	uint32_t groups[GROUPS_MAX], group_count;
	uint64_t effective, permitted, inheritable, bounding; /* capabilities: CAP_BIT */
	bool keep_caps, no_new_privs;
};

struct process;
struct task;
struct space;
struct mm_layout;

/* Has the running program this capability? Kernel threads have all. Context: thread. */
bool capable(enum capability cap);
/* Is this the running program's group for files, or one of the supplementary ones? Is it
 * one of the latter? Context: thread. */
bool in_group(uint32_t gid);
bool in_supplementary_group(uint32_t gid);

/* The whole identity of a process, as it is at one moment. Context: any, no lock. */
struct identity identity_now(const struct process *p);
/* Make a new identity of the old one by `rule` and become it, in one step; a rule that
 * says -errno has changed nothing. Context: the running task's thread, no lock; the rule
 * runs under proc_lock. */
long identity_change(long (*rule)(struct identity *id, void *arg), void *arg);
/* Under proc_lock: t's process becomes `new`. One that others knew less of can be looked
 * into by its owner no more. */
void identity_set_locked(struct task *t, const struct identity *new);
/* What capabilities become when user numbers have changed from old to *new. */
void identity_fix_capabilities(const struct identity *old, struct identity *new);

/* What a program's file says about who runs it, read in one step. */
struct program_owner {
	uint32_t mode, uid, gid;
	bool readable; /* by the one who starts it */
};
/* The identity that a program starts with. `shared`: another process uses the same
 * directory and umask. *set_id: the file's bits counted; *secure: AT_SECURE. */
struct identity identity_exec(const struct identity *old, const struct program_owner *owner,
			      bool shared, bool *set_id, bool *secure);

/* Whose numbers count in a decision: those for files (a file of /proc) or the real ones
 * (a call that names a process). */
enum access_ids { ACCESS_BY_FILE_IDS, ACCESS_BY_REAL_IDS };
/* May the running program look into p? 0, -EPERM. Locks: proc_lock held. What it is the
 * right to is taken before the lock is let go. */
MEM_CHECKED int process_access_locked(const struct process *p, enum access_ids ids);
/* The same for p's memory: to those who run in it the door is open. */
MEM_CHECKED int process_memory_access_locked(const struct process *p, enum access_ids ids);
/* The space of the process or thread with this number, decided on and taken in one
 * step, with a reference; NULL: *error is -ESRCH or -EPERM. Context: thread, no lock. */
struct space *process_space_access(int pid, enum access_ids ids, int *error);
/* The layout of p, to hold on to it, with a reference. NULL with *error 0: it has ended;
 * -EACCES: no right. Context: thread, no lock. */
struct mm_layout *process_mm_access(struct process *p, enum access_ids ids, int *error);
#endif
