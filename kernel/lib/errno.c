/* SPDX-License-Identifier: MIT */
#include <kernel/types.h>

long errno_from(mem_status status)
{
	switch (status) {
	case MEM_OK:
		return 0;
	case MEM_ENOMEM:
		return -ENOMEM;
	case MEM_EINVAL:
		return -EINVAL;
	case MEM_EFAULT:
	case MEM_EBEYOND:
		return -EFAULT;
	case MEM_EACCES:
		return -EACCES;
	case MEM_EEXIST:
		return -EEXIST;
	case MEM_ENOENT:
		return -ENOENT;
	case MEM_EBUSY:
		return -EBUSY;
	case MEM_EAGAIN:
		return -EAGAIN;
	case MEM_EIO:
		return -EIO;
	case MEM_EPERM:
		return -EPERM;
	case MEM_STATUS_COUNT:
		break;
	}
	return -EINVAL;
}
