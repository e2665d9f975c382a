/* SPDX-License-Identifier: MIT */
/* Capabilities: capget, capset, and prctl's bounding set. What they grant is decided where
 * it is used (capable); what they become, in kernel/proc/identity.c. */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"

#define CAP_VERSION_1 0x19980330u
#define CAP_VERSION_2 0x20071026u
#define CAP_VERSION_3 0x20080522u

struct cap_header_user {
	uint32_t version;
	int32_t pid;
};
struct cap_data_user { /* one of these for each 32 capabilities */
	uint32_t effective, permitted, inheritable;
};

static long read_header(uint64_t header_at, struct cap_header_user *h, unsigned *words)
{
	if (copy_from_user(&h->version, header_at, sizeof(h->version)))
		return -EFAULT;
	if (h->version == CAP_VERSION_1) {
		*words = 1;
	} else if (h->version == CAP_VERSION_2 || h->version == CAP_VERSION_3) {
		*words = 2;
	} else {
		uint32_t ours = CAP_VERSION_3;
		if (copy_to_user(header_at, &ours, sizeof(ours)))
			return -EFAULT;
		return -EINVAL;
	}
	return copy_from_user(h, header_at, sizeof(*h));
}

/* The identity behind a process's or thread's number; 0: the caller's. */
static bool find_identity(pid_t pid, struct identity *out)
{
	unsigned long irq = proc_lock();
	const struct process *p = pid ? process_of_number_locked(pid) : current_process();
	if (p)
		*out = p->id;
	proc_unlock(irq);
	return p != NULL;
}

long sys_capget(uint64_t header_at, uint64_t data_at)
{
	struct cap_header_user h;
	struct cap_data_user data[2];
	struct identity id;
	unsigned words;
	long error = read_header(header_at, &h, &words);
	if (error)
		return error == -EINVAL && !data_at ? 0 : error;
	if (h.pid < 0)
		return -EINVAL;
	if (!find_identity(h.pid, &id))
		return -ESRCH;
	for (unsigned i = 0; i < 2; i++)
		data[i] = (struct cap_data_user){(uint32_t)(id.effective >> (32 * i)),
						 (uint32_t)(id.permitted >> (32 * i)),
						 (uint32_t)(id.inheritable >> (32 * i))};
	return data_at ? copy_to_user(data_at, data, words * sizeof(data[0])) : 0;
}

struct cap_wish {
	uint64_t effective, permitted, inheritable;
};

static bool within(uint64_t some, uint64_t all)
{
	return !(some & ~all);
}

/* Nobody is permitted more than before, nor effective in what he is not permitted. */
static long set_capabilities(struct identity *id, void *arg)
{
	const struct cap_wish *w = arg;
	if (!capable(CAP_SETPCAP) && !within(w->inheritable, id->inheritable | id->permitted))
		return -EPERM;
	if (!within(w->inheritable, id->inheritable | id->bounding) ||
	    !within(w->permitted, id->permitted) || !within(w->effective, w->permitted))
		return -EPERM;
	id->effective = w->effective;
	id->permitted = w->permitted;
	id->inheritable = w->inheritable;
	return 0;
}

long sys_capset(uint64_t header_at, uint64_t data_at)
{
	struct cap_header_user h;
	struct cap_data_user data[2] = {{0, 0, 0}, {0, 0, 0}};
	unsigned words;
	long error = read_header(header_at, &h, &words);
	if (error)
		return error;
	if (h.pid != 0 && h.pid != current_task()->tid)
		return -EPERM;
	if (copy_from_user(data, data_at, words * sizeof(data[0])))
		return -EFAULT;
	struct cap_wish w = {
	    (data[0].effective | (uint64_t)data[1].effective << 32) & CAP_ALL,
	    (data[0].permitted | (uint64_t)data[1].permitted << 32) & CAP_ALL,
	    (data[0].inheritable | (uint64_t)data[1].inheritable << 32) & CAP_ALL,
	};
	return identity_change(set_capabilities, &w);
}

static long drop_bound(struct identity *id, void *arg)
{
	if (!capable(CAP_SETPCAP))
		return -EPERM;
	id->bounding &= ~CAP_BIT(*(const uint64_t *)arg);
	return 0;
}

long capability_bound_read(uint64_t cap)
{
	return cap > CAP_LAST ? -EINVAL : (long)(current_process()->id.bounding >> cap & 1);
}

long capability_bound_drop(uint64_t cap)
{
	if (!capable(CAP_SETPCAP))
		return -EPERM;
	return cap > CAP_LAST ? -EINVAL : identity_change(drop_bound, &cap);
}
