/* SPDX-License-Identifier: MIT */
/* Coroutines by hand: see coroutine.h. System V x86-64 only, like mem/ itself. */
#define _GNU_SOURCE
#include "tests/machine/coroutine.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if HAVE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES COROUTINE_STACK_BYTES
#define GUARD_BYTES ((size_t)4096)

void coroutine_swap_stacks(void **save_sp, void *load_sp);
__asm__(".text\n"
	".globl coroutine_swap_stacks\n"
	".type coroutine_swap_stacks, @function\n"
	"coroutine_swap_stacks:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size coroutine_swap_stacks, . - coroutine_swap_stacks\n");

static struct coroutine *arriving; /* the one being switched to */

static void announce_leave(struct coroutine *from, struct coroutine *to)
{
#if HAVE_ASAN
	__sanitizer_start_switch_fiber(&from->asan_fake, to->bottom, to->bytes);
#endif
	arriving = to;
}

static void announce_arrival(struct coroutine *self)
{
#if HAVE_ASAN
	__sanitizer_finish_switch_fiber(self->asan_fake, NULL, NULL);
#endif
}

static void coroutine_first(void)
{
	struct coroutine *self = arriving;
	announce_arrival(self);
	self->body(self->arg);
	fprintf(stderr, "PANIC: a coroutine returned\n");
	abort();
}

void coroutine_create(struct coroutine *c, void (*body)(void *), void *arg)
{
	void *stack = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE)) {
		perror("coroutine stack");
		exit(1);
	}
#if HAVE_ASAN
	/* An earlier coroutine may have lived, and died, at these addresses. */
	__asan_unpoison_memory_region(stack, STACK_BYTES + GUARD_BYTES);
#endif
	*c = (struct coroutine){
	    .mapping = stack,
	    .bottom = (char *)stack + GUARD_BYTES,
	    .bytes = STACK_BYTES,
	    .body = body,
	    .arg = arg,
	};
	/* What coroutine_swap_stacks pops: six registers, then its return address;
	 * one more word keeps the stack aligned as after a call. */
	uintptr_t *sp = (uintptr_t *)(void *)(c->bottom + c->bytes) - 8;
	for (int i = 0; i < 6; i++)
		sp[i] = 0;
	sp[6] = (uintptr_t)coroutine_first;
	sp[7] = 0;
	c->sp = sp;
}

void coroutine_adopt(struct coroutine *c)
{
	pthread_attr_t attr;
	void *bottom;
	size_t bytes;
	*c = (struct coroutine){0};
	if (pthread_getattr_np(pthread_self(), &attr) ||
	    pthread_attr_getstack(&attr, &bottom, &bytes)) {
		fprintf(stderr, "PANIC: cannot find the host's stack\n");
		abort();
	}
	pthread_attr_destroy(&attr);
	c->bottom = bottom;
	c->bytes = bytes;
}

void coroutine_destroy(struct coroutine *c)
{
	if (c->mapping)
		munmap(c->mapping, STACK_BYTES + GUARD_BYTES);
	c->mapping = NULL;
}

void coroutine_switch(struct coroutine *from, struct coroutine *to)
{
	announce_leave(from, to);
	coroutine_swap_stacks(&from->sp, to->sp);
	announce_arrival(from);
}
