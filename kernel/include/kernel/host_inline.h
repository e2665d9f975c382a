/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_HOST_INLINE_H
#define KERNEL_HOST_INLINE_H
/*
 * What mem/ asks on every allocation and free, inline (mem/host.h): the same as in
 * kernel/cpu.h, without the rest of it, which is none of mem/'s business. host.c
 * asserts that the offsets agree.
 */
#include <mem/types.h>

#define HOST_GS_CPU     32
#define HOST_GS_PREEMPT 36
#define HOST_GS_DUE     40

MEM_BEGIN_DECLS
void host_preempt_due(void); /* switch threads, if that is allowed here */
MEM_END_DECLS

#ifdef MEM_HOST_INLINE
#define MEM_HOST_IS_INLINE
#define MEM_HOST_IRQ_IS_INLINE

static inline unsigned host_cpu(void)
{
	unsigned id;
	__asm__ volatile("movl %%gs:%c1, %0" : "=r"(id) : "i"(HOST_GS_CPU));
	return id;
}

static inline void host_preempt_disable(void)
{
	__asm__ volatile("incl %%gs:%c0" ::"i"(HOST_GS_PREEMPT) : "memory", "cc");
}

static inline void host_preempt_enable(void)
{
	bool zero, due;
	__asm__ volatile("decl %%gs:%c1" : "=@ccz"(zero) : "i"(HOST_GS_PREEMPT) : "memory");
	__asm__ volatile("cmpl $0, %%gs:%c1" : "=@ccnz"(due) : "i"(HOST_GS_DUE) : "memory");
	if (__builtin_expect(zero && due, 0))
		host_preempt_due();
}

static inline bool host_irq_enabled(void)
{
	unsigned long flags;
	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	return flags & 0x200;
}

static inline unsigned long host_irq_save(void)
{
	unsigned long flags;
	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags)::"memory");
	return flags;
}

static inline void host_irq_restore(unsigned long state)
{
	if (state & 0x200)
		__asm__ volatile("sti" ::: "memory");
}
#endif

#endif
