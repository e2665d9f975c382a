/* SPDX-License-Identifier: MIT */
/*
 * The strings of execve.
 *
 * They are copied once, from the old program's memory into chunks of kernel
 * memory, before anything is decided; the new stack is written from there. So
 * the program cannot change them behind our back, and a failed exec has touched
 * nothing but these chunks.
 *
 * The chunks are on the account of the one who executes, and are gone when it has.
 *
 * Limits are Linux's: one string up to 128 KiB; strings and their pointers
 * together up to a quarter of RLIMIT_STACK, at least 128 KiB, at most 6 MiB.
 */
#include "kernel/proc/exec.h"
#include <kernel/account.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#define TOTAL_MIN (128ull << 10)

struct arguments *arguments_create(struct process *p)
{
	struct arguments *a = kzalloc(sizeof(*a));
	if (!a)
		return NULL;
	uint64_t limit = rlimit_soft(p, RLIMIT_STACK) / 4;
	limit = mem_max(mem_min(limit, ARG_BYTES_MAX), TOTAL_MIN);
	a->argv.limit = a->envp.limit = a->spare.limit = limit;
	return a;
}

static void free_strings(struct arg_strings *s)
{
	for (uint32_t i = 0; i < s->chunks; i++)
		kfree(s->chunk[i]);
	account_shrink(current_process()->account, s->chunks * (uint64_t)ARG_CHUNK);
	kfree(s->chunk);
}

void arguments_free(struct arguments *a)
{
	if (!a)
		return;
	free_strings(&a->argv);
	free_strings(&a->envp);
	free_strings(&a->spare);
	kfree(a);
}

static bool add_chunk(struct arg_strings *s)
{
	if (s->chunks == s->capacity) {
		uint32_t capacity = s->capacity ? s->capacity * 2 : 8;
		char **larger = krealloc(s->chunk, capacity * sizeof(*larger));
		if (!larger)
			return false;
		s->chunk = larger;
		s->capacity = capacity;
	}
	s->chunk[s->chunks] = kmalloc(ARG_CHUNK);
	if (!s->chunk[s->chunks])
		return false;
	account_grow(current_process()->account, ARG_CHUNK);
	s->chunks++;
	return true;
}

/* Where the next byte goes and how many fit there; NULL: no memory. */
static char *room(struct arg_strings *s, uint64_t *bytes)
{
	uint64_t chunk = s->bytes / ARG_CHUNK, at = s->bytes % ARG_CHUNK;
	if (chunk == s->chunks && !add_chunk(s))
		return NULL;
	*bytes = ARG_CHUNK - at;
	return s->chunk[chunk] + at;
}

/* May `more` bytes and one string be added? */
static bool fits(const struct arg_strings *s, uint64_t more)
{
	return s->bytes + more + (s->count + 1) * sizeof(uint64_t) <= s->limit;
}

static int append_user(struct arg_strings *s, uint64_t from)
{
	uint64_t length = 0;
	for (;;) {
		uint64_t space;
		if (!fits(s, 1))
			return -E2BIG;
		char *to = room(s, &space);
		if (!to)
			return -ENOMEM;
		ssize_t got = strncpy_from_user(to, from, space);
		if (got == -EFAULT)
			return -EFAULT;
		bool ended = got >= 0;
		uint64_t bytes = ended ? (uint64_t)got + 1 : space;
		length += bytes;
		if (length > ARG_STRING_MAX || !fits(s, bytes))
			return -E2BIG;
		s->bytes += bytes;
		from += bytes;
		if (ended)
			break;
	}
	s->count++;
	return 0;
}

static int append_bytes(struct arg_strings *s, const char *from, uint64_t bytes)
{
	if (!fits(s, bytes))
		return -E2BIG;
	while (bytes) {
		uint64_t space;
		char *to = room(s, &space);
		if (!to)
			return -ENOMEM;
		uint64_t now = mem_min(space, bytes);
		memcpy(to, from, now);
		s->bytes += now;
		from += now;
		bytes -= now;
	}
	return 0;
}

int arg_append_kernel(struct arg_strings *s, const char *string)
{
	int error = append_bytes(s, string, kstrlen(string) + 1);
	if (!error)
		s->count++;
	return error;
}

static int vector_from_user(struct arg_strings *s, uint64_t vector)
{
	for (uint64_t i = 0; vector; i++) {
		uint64_t string;
		if (copy_from_user(&string, vector + i * sizeof(string), sizeof(string)))
			return -EFAULT;
		if (!string)
			return 0;
		int error = append_user(s, string);
		if (!error && task_killed()) /* there may be a million of them */
			error = -EINTR;
		if (error)
			return error;
	}
	return 0;
}

static uint64_t total(const struct arg_strings *s)
{
	return s->bytes + s->count * sizeof(uint64_t);
}

static int finish(struct arguments *a)
{
	if (a->argv.count == 0) { /* Linux gives such a program one empty argument */
		int error = arg_append_kernel(&a->argv, "");
		if (error)
			return error;
	}
	return total(&a->argv) + total(&a->envp) > a->argv.limit ? -E2BIG : 0;
}

int arguments_from_user(struct arguments *a, uint64_t argv, uint64_t envp)
{
	int error = vector_from_user(&a->argv, argv);
	if (!error)
		error = vector_from_user(&a->envp, envp);
	return error ? error : finish(a);
}

int arguments_from_kernel(struct arguments *a, const char *const argv[], const char *const envp[])
{
	int error = 0;
	for (unsigned i = 0; argv[i] && !error; i++)
		error = arg_append_kernel(&a->argv, argv[i]);
	for (unsigned i = 0; envp[i] && !error; i++)
		error = arg_append_kernel(&a->envp, envp[i]);
	return error ? error : finish(a);
}

/* Append all strings of `from` but the first. */
static int append_rest(struct arg_strings *to, const struct arg_strings *from)
{
	bool in_first = true;
	int error = 0;
	for (uint64_t done = 0; done < from->bytes && !error;) {
		const char *chunk = from->chunk[done / ARG_CHUNK];
		uint64_t bytes = mem_min((uint64_t)ARG_CHUNK, from->bytes - done);
		uint64_t at = 0;
		while (in_first && at < bytes)
			in_first = chunk[at++] != 0;
		error = append_bytes(to, chunk + at, bytes - at);
		done += bytes;
	}
	to->count += from->count - 1;
	return error;
}

int arguments_prepend_script(struct arguments *a, const char *interpreter, const char *option,
			     const char *path)
{
	struct arg_strings *new = &a->spare;
	new->bytes = new->count = 0;
	int error = arg_append_kernel(new, interpreter);
	if (!error && option)
		error = arg_append_kernel(new, option);
	if (!error)
		error = arg_append_kernel(new, path);
	if (!error)
		error = append_rest(new, &a->argv);
	if (error)
		return error;
	struct arg_strings old = a->argv;
	a->argv = *new;
	*new = old;
	return finish(a);
}
