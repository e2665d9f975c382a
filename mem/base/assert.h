/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_ASSERT_H
#define MEM_BASE_ASSERT_H
/*
 * What must hold, checked in every build:
 *
 *     mem_contract   what the contract of a public call asks of its caller; checked where
 *                    the call is entered, and reported in the contract's words
 *     mem_assert     facts inside mem/; what is reported is the condition itself
 *     mem_refuse     set-up cannot go on: says why, and is the status to return
 *
 * mem_debug_assert is for dearer checks, on with MEM_DEBUG only.
 */
#include <mem/host.h>

#define MEM_STRING_(x) #x
#define MEM_STRING(x)  MEM_STRING_(x)

#define mem_assert(condition)                                                                      \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			host_panic("%s:%d: %s: assertion failed: %s", __FILE__, __LINE__,          \
				   __func__, #condition);                                          \
	} while (0)

/* `words` go on after the call's name: "vmm_drain: needs interrupts on; called from ...". */
#define mem_contract(holds, words)                                                                 \
	do {                                                                                       \
		if (__builtin_expect(!(holds), 0))                                                 \
			host_panic("%s: %s; called from %p", __func__, words,                      \
				   __builtin_return_address(0));                                   \
	} while (0)

#define mem_contract_interrupts_on()  mem_contract(host_irq_enabled(), "needs interrupts on")
#define mem_contract_interrupts_off() mem_contract(!host_irq_enabled(), "needs interrupts off")
/* What contracts call a thread (mem/vmm.h), as far as a host can say. */
#define mem_contract_thread()                                                                      \
	do {                                                                                       \
		mem_contract(!host_in_interrupt(), "not from an interrupt handler");               \
		mem_contract_interrupts_on();                                                      \
	} while (0)

#define mem_refuse(...) (host_log(HOST_LOG_ERROR, __VA_ARGS__), MEM_EINVAL)

/* host_cpu_count(), if this build can be for so many; else 0, and the log says why `who`
 * refuses. */
MEM_BEGIN_DECLS
unsigned mem_cpu_count(const char *who);
MEM_END_DECLS

#ifdef MEM_DEBUG
#define mem_debug_assert(condition) mem_assert(condition)
#else
#define mem_debug_assert(condition) ((void)sizeof(!(condition)))
#endif
#endif
