/* SPDX-License-Identifier: MIT */
#include "base/assert.h"

uintptr_t mem_direct_map_base;
uint64_t mem_direct_map_end = UINT64_MAX;

const char *mem_status_name(mem_status status)
{
	static const char *const names[MEM_STATUS_COUNT] = {
	    [MEM_OK] = "OK",         [MEM_ENOMEM] = "ENOMEM",   [MEM_EINVAL] = "EINVAL",
	    [MEM_EFAULT] = "EFAULT", [MEM_EACCES] = "EACCES",   [MEM_EEXIST] = "EEXIST",
	    [MEM_ENOENT] = "ENOENT", [MEM_EBUSY] = "EBUSY",     [MEM_EAGAIN] = "EAGAIN",
	    [MEM_EIO] = "EIO",       [MEM_EBEYOND] = "EBEYOND", [MEM_EPERM] = "EPERM",
	};
	return (unsigned)status < MEM_STATUS_COUNT ? names[status] : "?";
}

unsigned mem_cpu_count(const char *who)
{
	unsigned count = host_cpu_count();
	if (count && count <= MEM_MAX_CPUS)
		return count;
	(void)mem_refuse(
	    "%s: host_cpu_count() says %u: this build is for 1 to %u CPUs (MEM_MAX_CPUS)", who,
	    count, (unsigned)MEM_MAX_CPUS);
	return 0;
}
