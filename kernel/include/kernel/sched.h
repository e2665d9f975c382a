/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SCHED_H
#define KERNEL_SCHED_H
/*
 * Threads, waiting, and time. Owner: kernel/sched.
 *
 * A thread is what a CPU runs: a kernel stack, saved registers, FPU state and
 * the space whose user addresses it uses. A user task (proc.h) embeds one.
 */
#include <kernel/cpu.h>
#include <kernel/types.h>
#include <mem/vmm.h>

#include "base/lock.h"

struct space;

enum thread_state {
	THREAD_NEW,
	THREAD_RUNNABLE,               /* on a run queue or running */
	THREAD_SLEEPING,               /* woken by thread_wake */
	THREAD_SLEEPING_INTERRUPTIBLE, /* also by thread_interrupt */
	THREAD_STOPPED,                /* job control; woken by thread_wake */
	THREAD_DEAD
};

/* thread->exit_work. The first two say where its floating-point state is (kernel/cpu/fpu.c). */
enum {
	EXIT_FPU = 1,   /* not in the registers: in thread->fpu */
	EXIT_FRESH = 2, /* nor there: it is the one that programs start with */
	EXIT_MASK = 4,  /* a temporary signal mask ends */
	EXIT_TICK = 8   /* a tick came: CPU timers may be due */
};

struct thread {
	struct list run_link;
	uint32_t state;
	unsigned cpu; /* where it runs or ran last */
	/* Either of these two: something is due before it goes back to user mode. */
	uint32_t interrupted; /* thread_interrupt happened: interruptible sleeps return
				 -EINTR/-ERESTARTSYS */
	uint32_t exit_work;   /* EXIT_*; only its own CPU sets bits */
	uint32_t on_cpu;      /* its registers are live on a CPU */
	void *stack;          /* lowest byte; THREAD_STACK_PAGES */
	uint64_t saved_rsp;
	struct space *space;       /* NULL for kernel threads; change with thread_set_space */
	uint64_t fs_base, gs_base; /* user values while not running; use thread_{get,set}_{fs,gs} */
	void *fpu;                 /* XSAVE area */
	bool user;                 /* has user state (fpu, fs, gs) */
	int8_t nice;
	uint8_t policy;
	uint64_t slice_left_ns;
	struct cpumask affinity;
	nsec_t user_ns, system_ns; /* CPU time */
	uint64_t switches_voluntary, switches_forced;
	char name[16];
	void (*entry)(void *arg);
	void *arg;
	void (*released)(struct thread *thread); /* after the last switch away; frees it */
	uint64_t accounted_at;

	/* The newest user fault that mem/ could not serve, for the report of a
	 * program that dies of it (vmm_explain_fault). Valid: fault.signal != 0. */
	struct vmm_fault fault;

	/* kernel/sched only. */
	struct waiter *waiters; /* what it waits on now, newest first */
	uint32_t poked;         /* thread_wake since the last sleep */
	uint32_t queued;        /* on a run queue; under that queue's lock */
	uint32_t fpu_cpu;       /* CPU whose registers hold this FPU state, or none */
	bool last_tick_user;    /* the newest tick found it in user mode */
	bool ending;            /* thread_exit_begins was called */
};

#define THREAD_STACK_PAGES 4

/* Prepare a caller-allocated (zeroed) thread: stack, and for user threads FPU
 * state. Does not start it. Errors: -ENOMEM. */
int thread_init(struct thread *thread, const char *name, bool user, void (*entry)(void *),
		void *arg);
/* Undo thread_init of a thread that never started. */
void thread_destroy(struct thread *thread);
void thread_start(struct thread *thread);
/* A kernel thread of its own memory, started. NULL: no memory. */
struct thread *kthread_create(const char *name, void (*entry)(void *), void *arg);
/* The running thread is about to tell others that it ends (a zombie that can be
 * waited for): from now on sched_drain() waits for it. Optional, once. */
void thread_exit_begins(void);
/* End the running thread; `released` is called on another stack, by a kernel
 * thread, and may sleep. */
MEM_NORETURN void thread_exit(void);
/* The place for the user register frame: at the top of the stack. */
struct trapframe *thread_user_frame(struct thread *thread);
/* From a thread's entry: go to user mode with the registers in its user frame. */
MEM_NORETURN void thread_enter_user(void);
/* Copy FPU state, fs and gs of the running thread into a child being made. */
void thread_copy_user_state(struct thread *child);
/* Fresh FPU state (exec). */
void thread_reset_user_state(struct thread *thread);
/* The running thread's FPU state as an XSAVE area of cpu_features.xsave_bytes (512 without
 * XSAVE), for signal frames: to be read before the thread returns to user mode. */
const void *fpu_current(void);
/* That area, to be written: it counts from now on. Then fpu_edited() looks at it; -EINVAL:
 * hostile contents, the state is then the one that programs start with. */
void *fpu_edit(void);
int fpu_edited(void);
/* The state that programs start with; the rest of the thread is left. */
void fpu_reset_current(void);
/* Set bits of the running thread's exit_work. Context: any. */
static inline void exit_work_set(struct thread *current, uint32_t bits)
{
	__atomic_fetch_or(&current->exit_work, bits, __ATOMIC_RELAXED);
}
/* Switch the running thread to another space (exec, exit): takes no reference. */
void thread_set_space(struct space *space);
/* The bases of a thread, running or not. `base` is one that user_base_ok allows, or the
 * CPU would not load it (kernel/cpu/uservalues.h). */
void thread_set_fs(struct thread *thread, uint64_t base);
void thread_set_gs(struct thread *thread, uint64_t base);
uint64_t thread_get_fs(struct thread *thread);
uint64_t thread_get_gs(struct thread *thread);

/* Let others run; a thread that has set its state to THREAD_STOPPED stays away
 * until thread_wake. */
void sched_yield(void);
/* Where the thread may run (at least one online CPU, else -EINVAL); a running
 * thread that must move does so before this returns or soon after. */
int thread_set_affinity(struct thread *thread, const struct cpumask *mask);
/* Sleep until a monotonic deadline; 0, or -ERESTARTSYS if interruptible. */
int sched_sleep_until(nsec_t deadline, bool interruptible);
/* For drop_caches: wait until the memory of every thread that ended is freed.
 * Context: thread. */
void sched_drain(void);
/* Make a sleeping thread runnable. Any context. True if it was asleep. */
bool thread_wake(struct thread *thread);
/* A signal is pending: set thread->interrupted, wake an interruptible sleep,
 * and make its CPU pass through proc_return_to_user soon (IPI). Any context. */
void thread_interrupt(struct thread *thread);

/*
 * Wait queues. The usual loop:
 *     wait_event(queue, condition)              never interrupted
 *     r = wait_event_interruptible(queue, condition, deadline)
 * deadline: monotonic ns, or NSEC_NEVER. Results: 0 the condition held,
 * -ETIMEDOUT, -ERESTARTSYS a signal. The condition may be evaluated often and
 * with no lock held. waitq_wake_* : any context.
 */
#define NSEC_NEVER UINT64_MAX
struct waitq {
	struct mem_lock lock;
	struct list waiters; /* all-zero is also a valid empty queue: initialised on first use */
};
struct waiter {
	struct list link;
	struct thread *thread;
	uint32_t woken;
	struct waiter *next; /* the thread's other waiters */
};
void waitq_init(struct waitq *q);
void waitq_add(struct waitq *q, struct waiter *w); /* sets w->thread = current */
void waitq_remove(struct waitq *q, struct waiter *w);
/* Sleep until woken since the waiter(s) were added / last slept, a signal
 * (interruptible) or the deadline. A wake between waitq_add and here is not lost. */
int waitq_sleep(bool interruptible, nsec_t deadline);
/* As above for one of the waiters alone: a wake meant for another one (of an
 * outer loop, say) is kept for that one. */
int waitq_sleep_on(struct waiter *w, bool interruptible, nsec_t deadline);
/* Is nobody there? Asked after what waiters look at was changed; the fence pairs with
 * waitq_add's. */
static inline bool waitq_idle(const struct waitq *q)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	const struct list *first = __atomic_load_n(&q->waiters.next, __ATOMIC_RELAXED);
	return !first || first == &q->waiters;
}
void waitq_wake_waiters(struct waitq *q, bool all);
static inline void waitq_wake_one(struct waitq *q)
{
	if (!waitq_idle(q))
		waitq_wake_waiters(q, false);
}
static inline void waitq_wake_all(struct waitq *q)
{
	if (!waitq_idle(q))
		waitq_wake_waiters(q, true);
}
bool thread_interrupted(void); /* of the running thread */

#define wait_event_common(q, condition, interruptible, deadline)                                   \
	({                                                                                         \
		int r_ = 0;                                                                        \
		struct waiter w_;                                                                  \
		waitq_add((q), &w_);                                                               \
		while (!(condition)) {                                                             \
			r_ = waitq_sleep_on(&w_, (interruptible), (deadline));                     \
			if (r_) {                                                                  \
				if (condition)                                                     \
					r_ = 0;                                                    \
				break;                                                             \
			}                                                                          \
		}                                                                                  \
		waitq_remove((q), &w_);                                                            \
		r_;                                                                                \
	})
#define wait_event(q, condition) ((void)wait_event_common(q, condition, false, NSEC_NEVER))
#define wait_event_interruptible(q, condition, deadline)                                           \
	wait_event_common(q, condition, true, deadline)

/* A sleeping mutex. Context: thread. */
struct mutex {
	uint32_t held;
	struct thread *owner;
	struct waitq waiters;
};
void mutex_lock_slowly(struct mutex *m);
MEM_NORETURN void mutex_not_held(void); /* it is given back by who does not have it */
static inline bool mutex_trylock(struct mutex *m)
{
	uint32_t expected = 0;
	if (!__atomic_compare_exchange_n(&m->held, &expected, 1, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	m->owner = current_thread();
	return true;
}
static inline void mutex_lock(struct mutex *m)
{
	mem_assert_no_locks();
	if (unlikely(!mutex_trylock(m)))
		mutex_lock_slowly(m);
}
/* 0, or -ERESTARTSYS without the mutex: a signal came. For what may be held for as long as
 * a user likes. */
int mutex_lock_interruptible(struct mutex *m) MEM_CHECKED;
/* The word is cleared before waiters are looked for, a waiter is on the queue before it tries
 * the word: one of them sees the other. */
static inline void mutex_unlock(struct mutex *m)
{
	if (unlikely(m->owner != current_thread()))
		mutex_not_held();
	m->owner = NULL;
	__atomic_store_n(&m->held, 0, __ATOMIC_RELEASE);
	waitq_wake_one(&m->waiters);
}

/* Time. */
nsec_t time_monotonic(void); /* since boot; any context */
nsec_t time_realtime(void);  /* since 1970 */
void time_set_realtime(nsec_t now);
/* Call fn(arg) in interrupt context at `deadline` (monotonic). */
struct ktimer {
	struct ktimer *left, *right, *parent; /* kernel/sched/timer.c */
	uint32_t rank;
	nsec_t deadline;
	void (*fn)(void *arg);
	void *arg;
	uint32_t armed;
	unsigned cpu;
};
void ktimer_arm(struct ktimer *t, nsec_t deadline, void (*fn)(void *), void *arg);
/* Repeating timers of programs are not armed for sooner than this after they fired;
 * what they missed is counted. Else a period of a nanosecond would leave the CPU time
 * for nothing but its interrupts. */
#define KTIMER_PERIOD_MIN (100 * 1000ull)
/* After this returns fn is not running and will not run. True if it was armed. */
bool ktimer_cancel(struct ktimer *t);

/* For /proc. */
struct sched_stats {
	nsec_t user_ns, system_ns, idle_ns;
	uint64_t switches, interrupts;
	uint32_t runnable;
};
void sched_get_stats(unsigned cpu, struct sched_stats *out);
void sched_get_loadavg(uint32_t avg[3]); /* fixed point, 1/2048 */
#endif
