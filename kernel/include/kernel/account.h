/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_ACCOUNT_H
#define KERNEL_ACCOUNT_H
/*
 * Whose what the kernel holds is: two kinds of accounts.
 *
 * A *user* is one for each real user number that has processes. It counts what Linux
 * limits per user, so that one user's load leaves the others their share: tasks
 * (RLIMIT_NPROC), queued signals (RLIMIT_SIGPENDING), pages of pipes
 * (/proc/sys/fs/pipe-user-pages-soft and -hard), items watched by epoll
 * (/proc/sys/fs/epoll/max_user_watches).
 *
 * An *account* is one for each process. It adds up the bytes of kernel memory that the
 * process has made the kernel hold: tasks with their stacks, open files, what is in pipes,
 * watched items, locks, timers, texts of /proc, what calls keep while they sleep. When memory runs
 * out the choice counts them as it counts the process's own pages (oom.c).
 *
 *   1. Whatever is charged remembers the account or user that it was charged to, and
 *      gives back there, whoever holds it by then. What is held after its process has
 *      ended, because others hold it too, is on nobody's account.
 *   2. A limit is looked at in the step that charges: two who charge at once do not both
 *      fit where one does.
 *   3. The user of a process is that of its real user number at any time (p->user, (L)):
 *      both change in one step.
 */
#include <kernel/types.h>

struct account;
struct process;
struct user;

enum user_count { USER_TASKS, USER_SIGNALS, USER_PIPE_PAGES, USER_WATCHES, USER_COUNTS };

/* The user with this number, made if there is none, with a reference; NULL: no memory.
 * Context: thread, no lock that is taken with interrupts off. */
struct user *user_get(uint32_t uid);
/* One reference more. Context: any. */
struct user *user_hold(struct user *u);
/* Drop one; NULL is fine. Context: any. */
void user_put(struct user *u);
uint32_t user_number(const struct user *u);
/* `n` more of `which`, if they are at most `limit` then. Context: any. */
MEM_CHECKED bool user_charge(struct user *u, enum user_count which, uint64_t n, uint64_t limit);
void user_uncharge(struct user *u, enum user_count which, uint64_t n);
uint64_t user_charged(const struct user *u, enum user_count which);
/* The user of the running program, with a reference; NULL in a kernel thread. */
struct user *user_current(void);

/* A new account with one reference; NULL: no memory. */
struct account *account_create(void);
void account_put(struct account *a);
/* Put `bytes` on the running program's account; with a reference that account_give drops.
 * NULL in a kernel thread: nothing is charged. Context: thread. */
struct account *account_take(uint64_t bytes);
/* The same, on this account. Context: any. */
struct account *account_hold(struct account *a, uint64_t bytes);
/* The end of what account_take or account_hold charged. NULL is fine. Context: any. */
void account_give(struct account *a, uint64_t bytes);
/* More and less of what is charged already. */
void account_grow(struct account *a, uint64_t bytes);
void account_shrink(struct account *a, uint64_t bytes);
uint64_t account_bytes(const struct account *a);
/* Zeroed memory on the running program's account until account_free: for whatever a program
 * decides the size, the number or the length of stay of. NULL: no memory. Context: thread. */
void *account_alloc(size_t bytes);
/* NULL is fine. Context: any. */
void account_free(void *block);
#endif
