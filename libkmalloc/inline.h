/* SPDX-License-Identifier: MIT */
#ifndef LIBKMALLOC_INLINE_H
#define LIBKMALLOC_INLINE_H
/* What of the host contract is inline (mem/host.h): a thread has its CPU number to
 * itself, or holds the lock of the shared one, so there is nothing to forbid. */
#define MEM_HOST_IS_INLINE

extern __thread unsigned my_cpu __attribute__((tls_model("initial-exec"), visibility("hidden")));

static inline unsigned host_cpu(void)
{
	return my_cpu;
}

static inline void host_preempt_disable(void)
{
}

static inline void host_preempt_enable(void)
{
}

#endif
