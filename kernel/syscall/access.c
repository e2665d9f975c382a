/* SPDX-License-Identifier: MIT */
/*
 * process_vm_readv and process_vm_writev: copying between two programs' memory
 * in one call, through a page of kernel memory, so that neither space needs the
 * other's to be present; and process_madvise.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/syscall/syscalls.h"

#define IOV_MAX 1024

struct iovec_user {
	uint64_t base, bytes;
};

/* Walks an array of ranges in user memory of the caller. */
struct cursor {
	uint64_t at; /* the next iovec */
	uint64_t left;
	struct iovec_user now;
};

/* The next stretch of at most `max` bytes: 0 at the end, or -EFAULT. */
static long stretch(struct cursor *c, uint64_t max)
{
	while (!c->now.bytes) {
		if (!c->left)
			return 0;
		if (copy_from_user(&c->now, c->at, sizeof(c->now)))
			return -EFAULT;
		c->at += sizeof(c->now);
		c->left--;
	}
	return (long)mem_min(c->now.bytes, max);
}

static void advance(struct cursor *c, uint64_t bytes)
{
	c->now.base += bytes;
	c->now.bytes -= bytes;
}

/* Copy one stretch through `page`; how many bytes, or -EFAULT. */
static long copy_stretch(struct space *other, uint64_t local, uint64_t remote, uint64_t bytes,
			 void *page, bool write)
{
	uint64_t done = 0;
	if (write) {
		size_t missed = copy_from_user_partial(page, local, bytes);
		bytes -= missed;
		if (!bytes)
			return -EFAULT;
	}
	mem_status status = vmm_access(other, remote, page, bytes, write, false, &done);
	if (status != MEM_OK && !done)
		return -EFAULT;
	if (!write)
		done -= copy_to_user_partial(local, page, done);
	return done ? (long)done : -EFAULT;
}

static long copy_all(struct space *other, struct cursor *local, struct cursor *remote, bool write)
{
	long total = 0, error = 0;
	void *page = kmalloc(PAGE_SIZE);
	if (!page)
		return -ENOMEM;
	for (;;) {
		long bytes = stretch(remote, PAGE_SIZE);
		if (bytes > 0)
			bytes = stretch(local, (uint64_t)bytes);
		if (bytes <= 0) {
			error = bytes;
			break;
		}
		long done = copy_stretch(other, local->now.base, remote->now.base, (uint64_t)bytes,
					 page, write);
		if (done < 0) {
			error = done;
			break;
		}
		total += done;
		advance(local, (uint64_t)done);
		advance(remote, (uint64_t)done);
		if (done < bytes || task_killed()) {
			error = -EFAULT;
			break;
		}
	}
	kfree(page);
	return total ? total : error;
}

/* Can all of a vector be read? How many of it are not empty, or an error. */
static long vector_check(uint64_t at, uint64_t count)
{
	long some = 0;
	for (uint64_t i = 0; i < count; i++) {
		struct iovec_user v;
		if (copy_from_user(&v, at + i * sizeof(v), sizeof(v)))
			return -EFAULT;
		if ((int64_t)v.bytes < 0)
			return -EINVAL;
		some += v.bytes != 0;
	}
	return some;
}

static long vm_copy(pid_t pid, uint64_t local, uint64_t local_count, uint64_t remote,
		    uint64_t remote_count, uint64_t flags, bool write)
{
	struct cursor from = {.at = local, .left = local_count};
	struct cursor to = {.at = remote, .left = remote_count};
	if (flags || local_count > IOV_MAX || remote_count > IOV_MAX)
		return -EINVAL;
	long some = vector_check(local, local_count);
	if (some > 0)
		some = vector_check(remote, remote_count);
	if (some <= 0)
		return some;
	int error;
	struct space *space = process_space_access(pid, ACCESS_BY_REAL_IDS, &error);
	if (!space)
		return error;
	long result = copy_all(space, &from, &to, write);
	vmm_space_put(space);
	return result;
}

long sys_process_vm_readv(uint64_t pid, uint64_t local, uint64_t local_count, uint64_t remote,
			  uint64_t remote_count, uint64_t flags)
{
	return vm_copy((pid_t)pid, local, local_count, remote, remote_count, flags, false);
}

long sys_process_vm_writev(uint64_t pid, uint64_t local, uint64_t local_count, uint64_t remote,
			   uint64_t remote_count, uint64_t flags)
{
	return vm_copy((pid_t)pid, local, local_count, remote, remote_count, flags, true);
}

/* Names a process by a pidfd, and there are none. */
long sys_process_madvise(uint64_t pidfd, uint64_t vec, uint64_t count, uint64_t advice,
			 uint64_t flags)
{
	if (flags || count > IOV_MAX)
		return -EINVAL;
	long some = vector_check(vec, count);
	return some < 0 ? some : -EBADF;
}
