/* SPDX-License-Identifier: MIT */
#ifndef MEM_HOST_H
#define MEM_HOST_H
/*
 * The host contract: every function that mem/ needs and does not have. They
 * are ordinary functions, resolved when the host links. Each says from which
 * context mem/ calls it, and with which locks held.
 *
 * Frames, heap and raw page tables need the first two groups. The kernel's page tables
 * (vmm_init) add the third, user spaces and faults the fourth. The linker asks for no more
 * than that (./test port/hosts). mem/port.h has most of them ready to use.
 */
#include <mem/cpumask.h>
#include <mem/types.h>

MEM_BEGIN_DECLS

/* ---- 1. saying things ------------------------------------------------- */

enum host_log_level { HOST_LOG_DEBUG, HOST_LOG_INFO, HOST_LOG_WARN, HOST_LOG_ERROR };

/* Print one formatted line (no newline at its end; %s %d %u %x %lx %lu %llx
 * %llu %p %c and widths are used).
 * Context: any, interrupts in any state. Locks: any mem/ lock may be held.
 * Must not call into mem/. */
void host_log(enum host_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The caller broke a contract, or a structure is corrupt: stop the machine.
 * Never called because memory ran out. Context and locks: as host_log. */
MEM_NORETURN void host_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- 2. this CPU ------------------------------------------------------ */

/*
 * Every allocation and free calls three of these functions, which may be inline. Compile
 * mem/ with -DMEM_HOST_INLINE='"your/header.h"'. That header defines MEM_HOST_IS_INLINE,
 * and host_cpu, host_preempt_disable and host_preempt_enable as static inline functions
 * with the contracts below. It may use <mem/types.h> and C's own headers. Without it they
 * are functions like the rest. With MEM_HOST_IRQ_IS_INLINE it defines host_irq_save,
 * host_irq_restore and host_irq_enabled, too.
 */
#ifdef MEM_HOST_INLINE
#include MEM_HOST_INLINE
#endif

#ifndef MEM_HOST_IS_INLINE
/* The number of the running CPU, below host_cpu_count(). The caller has
 * preemption or interrupts off, or takes the answer as a hint. Any context. */
unsigned host_cpu(void);

/* Forbid and allow moving this thread to another CPU or switching it away;
 * nests. Interrupts stay as they are. host_preempt_enable may switch threads
 * when the count reaches zero with interrupts on. Context: any. */
void host_preempt_disable(void);
void host_preempt_enable(void);
#endif

/* CPUs that may ever run mem/ code, at least 1 and at most MEM_MAX_CPUS. It counts CPUs
 * that do not run yet, and is the same from the first call of mem/ on: everything per CPU
 * is sized by it. A host that cannot know yet says MEM_MAX_CPUS. Context: any. */
unsigned host_cpu_count(void);

#ifndef MEM_HOST_IRQ_IS_INLINE
/* Turn interrupts off on this CPU; returns what host_irq_restore wants. Any context. */
unsigned long host_irq_save(void);
void host_irq_restore(unsigned long state);
/* Are interrupts on? Any context. */
bool host_irq_enabled(void);
#endif
/* Is this an interrupt handler (page faults and system calls are not)? Context: any. */
bool host_in_interrupt(void);

/* One turn of a busy wait. Context: any, interrupts on unless the wait is for
 * a holder that has them off too. */
void host_relax(void);

/* Return after every CPU that runs mem/ code has passed a full memory barrier
 * since the call began. An interrupt to each that does nothing is enough (the
 * one behind host_flush_wait serves). CPUs that are not up yet do not count.
 * The slab reaper uses it so that the CPUs' own allocation paths need no
 * atomic operation. Context: thread, interrupts on; spin locks with interrupts
 * on may be held. */
void host_barrier_all(void);

/* ---- 3. translations -------------------------------------------------- */

/* Make every CPU in `cpus` call vmm_flush_pending(), and return when each has
 * returned from it. Never gives up. The calling CPU may be in the set: it is
 * called directly. Context: thread or fault, interrupts on, preemption off,
 * table locks may be held. */
void host_flush_wait(const struct cpumask *cpus);

/* ---- 4. user spaces --------------------------------------------------- */

struct space;
struct mem_trap;
struct vmm_fault;

/* Sleep while *word == expected; spurious returns are allowed.
 * host_wake wakes every sleeper on that word. Context: thread, no spin lock
 * held, preemption on; host_wake: any but an interrupt handler. */
void host_wait(const uint32_t *word, uint32_t expected);
void host_wake(const uint32_t *word);

/* The space that the running thread's user addresses belong to; NULL in a
 * kernel thread. Context: fault. */
struct space *host_current_space(void);

/* A user access that cannot be served: deliver fault->signal / fault->code to
 * the running thread (it may be handled there). Context: fault from user
 * mode, interrupts on, no lock. */
void host_user_fault(struct mem_trap *trap, const struct vmm_fault *fault);

/* A kernel access that cannot be served: continue at a fix-up if the faulting
 * instruction has one (return true), else return false: mem/ then calls
 * host_fatal_fault. Context: fault from kernel mode. */
bool host_fixup_fault(struct mem_trap *trap, const struct vmm_fault *fault);
MEM_NORETURN void host_fatal_fault(struct mem_trap *trap, const struct vmm_fault *fault);

/* Memory has run out, and everything that can be drained was drained. True if the host
 * freed some, or chose a program to end, so that another try is worth it. Context: thread
 * or fault, may sleep, no lock. */
bool host_out_of_memory(uint64_t npages);

MEM_END_DECLS
#endif
