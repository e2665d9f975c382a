/* SPDX-License-Identifier: MIT */
#ifndef TESTS_COROUTINE_H
#define TESTS_COROUTINE_H
/*
 * Coroutines: stacks that hand one host thread to each other. A switch saves
 * the six callee-saved registers and the stack pointer, no system call, so that
 * a model run can afford tens of millions of them. ASan is told of each switch.
 */
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifndef HAVE_ASAN
#define HAVE_ASAN 0
#endif

/* Of each but the host's. */
#define COROUTINE_STACK_BYTES ((size_t)512 << 10)

struct coroutine {
	void *sp;      /* saved stack pointer while it does not run */
	void *mapping; /* the stack, mmapped, under it a guard page; NULL: the host's */
	char *bottom;  /* of the stack, without the guard */
	size_t bytes;
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
