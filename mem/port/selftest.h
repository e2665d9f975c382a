/* SPDX-License-Identifier: MIT */
#ifndef MEM_PORT_SELFTEST_H
#define MEM_PORT_SELFTEST_H
/* What the two files of the self-test share. */
#include <mem/host.h>
#include <mem/port.h>

#include "base/atomic.h"
#include "base/util.h"

enum mem_selftest_phase { JOIN, HOLD, LOOK, LOOK_AGAIN, END };

extern struct mem_selftest_state {
	uint32_t phase;
	bool returned; /* the caller's barrier has */
	unsigned wrong;
	unsigned long patience, hold;
	vaddr_t look_at;
	struct {
		bool here;
		uint32_t done; /* the last phase that it is through with */
		bool holds;    /* interrupts off */
		uint64_t seen;
	} cpu[MEM_MAX_CPUS];
} mem_selftest_state;

#define FAIL(...)                                                                                  \
	(mem_selftest_state.wrong++, host_log(HOST_LOG_ERROR, "selftest: FAIL: " __VA_ARGS__))

/* Begin a phase, and wait for the helpers to be through it; `held`: until all hold. False:
 * one does not get there, and that is said. */
bool mem_selftest_enter(enum mem_selftest_phase phase, bool held);
/* The whole test, and `more` while the helpers are there, if all came. */
unsigned mem_selftest_with(const struct mem_selftest *what,
			   void (*more)(const struct mem_selftest *what));
#endif
