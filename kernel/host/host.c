/* SPDX-License-Identifier: MIT */
/* The host contract of mem/ (mem/host.h) on this kernel; flush.c has the one
 * that takes thought, panic.c the fatal fault. */
#undef MEM_HOST_INLINE /* here are the functions themselves */
#include <kernel/boot.h>
#include <kernel/host_inline.h>
#include <kernel/log.h>
#include <mem/host.h>

#include "arch/x86_64/pte.h"
#include "base/atomic.h"
#include "kernel/cpu/priv.h"
#include "kernel/lib/log.h"

/* ---- saying things ---------------------------------------------------------- */

void host_log(enum host_log_level level, const char *format, ...)
{
	static const enum log_level levels[] = {
	    [HOST_LOG_DEBUG] = LOG_DEBUG,
	    [HOST_LOG_INFO] = LOG_INFO,
	    [HOST_LOG_WARN] = LOG_WARN,
	    [HOST_LOG_ERROR] = LOG_ERROR,
	};
	va_list args;
	va_start(args, format);
	log_vline(levels[level], format, args);
	va_end(args);
}

void host_panic(const char *format, ...)
{
	char message[256];
	va_list args;
	va_start(args, format);
	kvsnprintf(message, sizeof(message), format, args);
	va_end(args);
	panic("%s", message);
}

/* ---- this CPU ------------------------------------------------------------------ */

unsigned host_cpu(void)
{
	unsigned id;
	__asm__ volatile("movl %%gs:32, %0" : "=r"(id));
	return id;
}

unsigned host_cpu_count(void)
{
	return cpu_possible();
}

unsigned long host_irq_save(void)
{
	return irq_save();
}

void host_irq_restore(unsigned long state)
{
	irq_restore(state);
}

bool host_irq_enabled(void)
{
	return irq_enabled();
}

bool host_in_interrupt(void)
{
	return in_interrupt();
}

void host_preempt_disable(void)
{
	preempt_disable();
}

void host_preempt_enable(void)
{
	preempt_enable();
}

/* What their inline forms need. */
_Static_assert(offsetof(struct cpu, id) == HOST_GS_CPU, "kernel/host_inline.h");
_Static_assert(offsetof(struct cpu, preempt_count) == HOST_GS_PREEMPT, "kernel/host_inline.h");
_Static_assert(offsetof(struct cpu, need_resched) == HOST_GS_DUE, "kernel/host_inline.h");

void host_preempt_due(void)
{
	preempt_check();
}

void host_relax(void)
{
	latency_relax();
	cpu_relax();
}

/* ---- sleeping on a word ----------------------------------------------------------- */

/* Sleepers share queues by the word's address; a wake may reach a few who wait
 * for another word, which the contract allows. */
#define WORD_QUEUES 64
static struct waitq word_queues[WORD_QUEUES];

static struct waitq *word_queue(const uint32_t *word)
{
	uint64_t hash = ((uint64_t)word >> 2) * 0x9e3779b97f4a7c15ull;
	return &word_queues[hash >> 58];
}

void host_wait(const uint32_t *word, uint32_t expected)
{
	struct waitq *q = word_queue(word);
	struct waiter w;
	waitq_add(q, &w);
	if (atomic_read_seq(word) == expected)
		(void)waitq_sleep_on(&w, false, NSEC_NEVER);
	waitq_remove(q, &w);
}

void host_wake(const uint32_t *word)
{
	waitq_wake_all(word_queue(word));
}

/* ---- faults ------------------------------------------------------------------------- */

struct space *host_current_space(void)
{
	return current_thread()->space;
}

void host_user_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	current_thread()->fault = *fault;
	proc_user_exception(trap->frame, fault->signal, fault->code, fault->address);
}

bool host_fixup_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	/* The table is for user addresses: a user copy that runs off its kernel
	 * buffer is as fatal as anything else that does. */
	struct trapframe *f = trap->frame;
	uintptr_t to = fault->address < USER_TOP ? extable_find(f->rip) : 0;
	if (!to)
		return false;
	f->rip = to;
	return true;
}
