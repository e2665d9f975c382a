/* SPDX-License-Identifier: MIT */
#ifndef TESTS_COROUTINE_H
#define TESTS_COROUTINE_H
/*
 * Coroutines: stacks that hand one host thread to each other. A switch saves
 * the six callee-saved registers and the stack pointer, no system call, so that
 * a model run can afford tens of millions of them. ASan is told of each switch.
 */
#include <stddef.h>

struct coroutine {
	void *sp;                /* saved stack pointer while it does not run */
	void *stack;             /* mmapped, lowest page is a guard; NULL: the host's stack */
	size_t stack_bytes;      /* with the guard */
	const void *asan_bottom; /* what ASan wants to know */
	size_t asan_bytes;
	void *asan_fake;
	void (*body)(void *arg); /* never returns */
	void *arg;
};

/* Make `c` ready to run body(arg) at the first switch to it. */
void coroutine_create(struct coroutine *c, void (*body)(void *), void *arg);
/* Describe the running host stack, so that it can be switched away from. */
void coroutine_adopt(struct coroutine *c);
/* Free the stack of a coroutine that will never run again. */
void coroutine_destroy(struct coroutine *c);
/* Save the running one in `from`, continue `to`. Returns when somebody
 * switches to `from`. */
void coroutine_switch(struct coroutine *from, struct coroutine *to);

#endif
