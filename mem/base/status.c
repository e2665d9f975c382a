/* SPDX-License-Identifier: MIT */
#include "base/util.h"

uintptr_t mem_direct_map_base;

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
