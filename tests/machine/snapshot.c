/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of the machine and of the test on it: see snapshot.h.
 *
 * What a branch can change, and how each part comes back:
 *
 *  - Memory of the machine (machine_map(): physical memory, what the MMU keeps) and the
 *    variables of the program (.data, .bss). It is write-protected when the first branch
 *    begins. The first write to a page copies it to `before` and lets writes through from
 *    then on, so that a page costs one fault a process however many branches there are.
 *    A snapshot copies the pages that have been written to so far, which are few.
 *  - The stacks of the machine's CPUs and threads, and of the host: the part in use, and
 *    with ASan its shadow, which says where the variables of each frame are.
 *  - Registers. Copying is done on a stack of its own, the keeper's, which no snapshot
 *    has; so every other coroutine has put its registers on its stack.
 *
 *      branch:   CPU's stack --switch--> keeper: copy      --switch--> CPU's stack
 *      return:   any stack   --switch--> keeper: copy back --switch--> CPU's stack
 *
 * Invariants:
 *  S1. A page that is not in `page` is what it was when the first branch began, and so
 *      what it was at each snapshot. One that came later than a snapshot is restored
 *      from `before`.
 *  S2. What this file itself writes to lies outside of what it watches: *keeper.
 *  S3. No kernel call writes to watched memory: it would fail instead of being seen. (The
 *      stacks, where results of calls usually lie, are copied and not watched.)
 *
 * What stays as it is: the C library's own state (nothing in the machine allocates there;
 * output is output) and memory that is shared between processes on purpose, such as
 * machine_totals. Stacks that are made in a branch are lost at its end.
 */
#define _GNU_SOURCE
#include "tests/machine/snapshot.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"
#include "tests/machine/inside.h"

#if HAVE_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define MOST_STACKS (MACHINE_MAX_CPUS + MACHINE_MAX_THREADS)
/* Address space for the copies of all open snapshots. */
#define COPIES_BYTES ((size_t)1 << 30)

extern char __data_start[], _end[];

struct region {
	char *start, *end;
};

struct snapshot {
	struct snapshot *older;
	size_t pages;
	unsigned stacks;
	struct saved_stack {
		char *sp, *bottom;
		size_t bytes;
	} stack[MOST_STACKS];
	/* Then the copies: the pages, the stacks. */
};

static struct keeper {
	struct coroutine co;
	bool restore; /* what it is asked to do */
	bool began;   /* what snapshot_branch returns */
	struct sigaction faults_were;
	struct region region[MACHINE_REGIONS + 1];
	unsigned regions;
	char **page; /* pages that were written to */
	char *before;
	size_t pages;
	struct snapshot *newest;
	char *copies, *top; /* the snapshots lie one upon the other */
	size_t shadow_scale, shadow_offset;
} * keeper;

/* ---- copying ------------------------------------------------------------------- */

/* Of anything: ASan is not asked. */
static void copy(void *to, const void *from, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

#if HAVE_ASAN
/* The byte of the shadow that speaks of these 8 bytes. */
static void *shadow_of(const void *at)
{
	return (void *)(((uintptr_t)at >> keeper->shadow_scale) + keeper->shadow_offset);
}
#endif

/* With ASan, memory is copied with its shadow, so that what is poisoned stays so. */
static size_t copied_bytes(size_t bytes)
{
	return bytes + bytes / 8 * HAVE_ASAN;
}

static char *keep(char *to, const char *from, size_t bytes)
{
	copy(to, from, bytes);
#if HAVE_ASAN
	copy(to + bytes, shadow_of(from), bytes / 8);
#endif
	return to + copied_bytes(bytes);
}

static const char *put_back(char *to, const char *from, size_t bytes)
{
	copy(to, from, bytes);
#if HAVE_ASAN
	copy(shadow_of(to), from + bytes, bytes / 8);
#endif
	return from + copied_bytes(bytes);
}

/* The part of a stack that is not in use: the branch has left frames there that nobody
 * returns from. No thread's calls go deeper than a coroutine's can. */
static void forget_frames(char *bottom, char *sp)
{
#if HAVE_ASAN
	size_t bytes = mem_min((size_t)(sp - bottom), COROUTINE_STACK_BYTES);
	__asan_unpoison_memory_region(sp - bytes, bytes);
#else
	(void)bottom, (void)sp;
#endif
}

/* ---- what is written to ---------------------------------------------------------- */

static char *page_of(const void *at)
{
	return (char *)((uintptr_t)at & ~(uintptr_t)(PAGE_SIZE - 1));
}

/* Is this the first write to a page that is watched? */
static bool is_first_write(const struct keeper *k, const char *page)
{
	bool watched = false;
	for (unsigned i = 0; i < k->regions; i++)
		watched |= page >= k->region[i].start && page < k->region[i].end;
	for (size_t i = 0; i < k->pages; i++)
		watched &= k->page[i] != page;
	return watched;
}

static void protect(char *start, size_t bytes, int protection)
{
	if (mprotect(start, bytes, protection)) {
		fprintf(stderr, "PANIC: snapshot: mprotect failed\n");
		abort();
	}
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	struct keeper *k = keeper;
	char *page = page_of(info->si_addr);
	(void)context;
	if (!is_first_write(k, page)) {
		sigaction(signal, &k->faults_were, NULL); /* it faults again, there */
		return;
	}
	(void)keep(k->before + k->pages * copied_bytes(PAGE_SIZE), page, PAGE_SIZE);
	k->page[k->pages++] = page;
	protect(page, PAGE_SIZE, PROT_READ | PROT_WRITE);
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		perror("snapshot");
		abort();
	}
	return p;
}

/* ---- the keeper --------------------------------------------------------------------- */

/* The ith stack that somebody will go on with; NULL if it is none. */
static const struct coroutine *stack_in_use(unsigned i)
{
	if (i < MACHINE_MAX_CPUS)
		return i < machine.config.ncpus ? &machine.cpu[i].idle : NULL;
	const struct thread *t = &machine.thread[i - MACHINE_MAX_CPUS];
	return t->state != THREAD_FREE && t->state != THREAD_DONE ? &t->co : NULL;
}

static void take(struct keeper *k)
{
	struct snapshot *s = (struct snapshot *)(void *)k->top;
	char *to = (char *)(s + 1);
	if (k->pages * copied_bytes(PAGE_SIZE) + MOST_STACKS * copied_bytes(COROUTINE_STACK_BYTES) >
	    (size_t)(k->copies + COPIES_BYTES - to))
		machine_die("too many snapshots at once");
	s->older = k->newest;
	s->pages = k->pages;
	s->stacks = 0;
	for (size_t i = 0; i < s->pages; i++)
		to = keep(to, k->page[i], PAGE_SIZE);
	for (unsigned i = 0; i < MOST_STACKS; i++) {
		const struct coroutine *c = stack_in_use(i);
		if (!c)
			continue;
		struct saved_stack *saved = &s->stack[s->stacks++];
		saved->sp = c->sp;
		saved->bottom = c->bottom;
		saved->bytes = (size_t)(c->bottom + c->bytes - saved->sp);
		to = keep(to, saved->sp, saved->bytes);
	}
	k->newest = s;
	k->top = (char *)align_up((uintptr_t)to, 16);
}

static void restore(struct keeper *k)
{
	struct snapshot *s = k->newest;
	const char *from = (const char *)(s + 1);
	for (size_t i = 0; i < s->pages; i++)
		from = put_back(k->page[i], from, PAGE_SIZE);
	for (size_t i = s->pages; i < k->pages; i++) /* S1 */
		(void)put_back(k->page[i], k->before + i * copied_bytes(PAGE_SIZE), PAGE_SIZE);
	for (unsigned i = 0; i < s->stacks; i++) {
		const struct saved_stack *saved = &s->stack[i];
		forget_frames(saved->bottom, saved->sp);
		from = put_back(saved->sp, from, saved->bytes);
	}
	k->newest = s->older;
	k->top = (char *)s;
}

static void keeper_body(void *arg)
{
	struct keeper *k = arg;
	for (;;) {
		if (k->restore)
			restore(k);
		else
			take(k);
		k->began = !k->restore;
		coroutine_switch(&k->co, machine_running());
	}
}

static void watch(struct keeper *k, char *start, char *end)
{
	k->region[k->regions++] = (struct region){start, end};
}

static void start(void)
{
	struct keeper *k = map(sizeof(*k));
	size_t bytes = 0;
	for (unsigned i = 0; i < machine.regions; i++)
		watch(k, machine.region[i].start,
		      machine.region[i].start + machine.region[i].bytes);
	watch(k, page_of(__data_start), page_of(_end + PAGE_SIZE - 1));
	for (unsigned i = 0; i < k->regions; i++)
		bytes += (size_t)(k->region[i].end - k->region[i].start);
	k->before = map(copied_bytes(bytes));
	k->page = map(bytes / PAGE_SIZE * sizeof(*k->page));
	k->copies = k->top = map(COPIES_BYTES);
#if HAVE_ASAN
	__asan_get_shadow_mapping(&k->shadow_scale, &k->shadow_offset);
#endif
	coroutine_create(&k->co, keeper_body, k);
	keeper = k;
	struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGSEGV, &ours, &k->faults_were);
	for (unsigned i = 0; i < k->regions; i++)
		protect(k->region[i].start, (size_t)(k->region[i].end - k->region[i].start),
			PROT_READ);
}

static void ask_keeper(bool restore_it)
{
	keeper->restore = restore_it;
	coroutine_switch(machine_running(), &keeper->co);
}

bool snapshot_branch(void)
{
	if (!keeper)
		start();
	ask_keeper(false);
	return keeper->began;
}

void snapshot_return(void)
{
	if (keeper && keeper->newest)
		ask_keeper(true);
}

bool snapshot_taken(void)
{
	return keeper != NULL;
}
