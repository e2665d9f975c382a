/* SPDX-License-Identifier: MIT */
#ifndef TESTS_PLAIN_INLINE_H
#define TESTS_PLAIN_INLINE_H
/* The plain host's inline functions (mem/host.h), as benchmarks are built: a thread is a
 * CPU, and no other thread is ever that CPU, so there is nothing to forbid. */
#define MEM_HOST_IS_INLINE

extern _Thread_local unsigned plain_cpu __attribute__((tls_model("local-exec")));

static inline unsigned host_cpu(void)
{
	return plain_cpu;
}

static inline void host_preempt_disable(void)
{
}

static inline void host_preempt_enable(void)
{
}

#endif
