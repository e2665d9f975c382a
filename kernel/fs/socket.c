/* SPDX-License-Identifier: MIT */
/*
 * There are no sockets. socket() says that the address family is not supported,
 * as a kernel built without networking does, and what wants a socket says
 * whether it was given a descriptor at all.
 */
#include <kernel/uaccess.h>

#include "kernel/fs/vfs.h"
#include "kernel/syscall/syscalls.h"

static long no_socket(uint64_t fd)
{
	struct file *f = fd_get((int)fd);
	if (!f)
		return -EBADF;
	file_put(f);
	return -ENOTSOCK;
}

long sys_socket(uint64_t family, uint64_t type, uint64_t protocol)
{
	return -EAFNOSUPPORT;
}
long sys_socketpair(uint64_t family, uint64_t type, uint64_t protocol, uint64_t fds)
{
	return -EAFNOSUPPORT;
}
long sys_connect(uint64_t fd, uint64_t address, uint64_t bytes)
{
	char copy[128]; /* the address is looked at before the descriptor is */
	long r = no_socket(fd);
	if (r == -ENOTSOCK && (int)bytes >= 0 && bytes <= sizeof(copy) &&
	    copy_from_user(copy, address, bytes))
		return -EFAULT;
	return r;
}
long sys_accept(uint64_t fd, uint64_t address, uint64_t bytes)
{
	return no_socket(fd);
}
long sys_accept4(uint64_t fd, uint64_t address, uint64_t bytes, uint64_t flags)
{
	return no_socket(fd);
}
long sys_sendto(uint64_t fd, uint64_t buffer, uint64_t bytes, uint64_t flags, uint64_t address,
		uint64_t address_bytes)
{
	return user_range_ok(buffer, bytes) ? no_socket(fd) : -EFAULT;
}
long sys_recvfrom(uint64_t fd, uint64_t buffer, uint64_t bytes, uint64_t flags, uint64_t address,
		  uint64_t address_bytes)
{
	return user_range_ok(buffer, bytes) ? no_socket(fd) : -EFAULT;
}
long sys_sendmsg(uint64_t fd, uint64_t message, uint64_t flags)
{
	return no_socket(fd);
}
long sys_recvmsg(uint64_t fd, uint64_t message, uint64_t flags)
{
	return no_socket(fd);
}
long sys_shutdown(uint64_t fd, uint64_t how)
{
	return no_socket(fd);
}
long sys_bind(uint64_t fd, uint64_t address, uint64_t bytes)
{
	return no_socket(fd);
}
long sys_listen(uint64_t fd, uint64_t backlog)
{
	return no_socket(fd);
}
long sys_getsockname(uint64_t fd, uint64_t address, uint64_t bytes)
{
	return no_socket(fd);
}
long sys_getpeername(uint64_t fd, uint64_t address, uint64_t bytes)
{
	return no_socket(fd);
}
long sys_setsockopt(uint64_t fd, uint64_t level, uint64_t option, uint64_t value, uint64_t bytes)
{
	return no_socket(fd);
}
long sys_getsockopt(uint64_t fd, uint64_t level, uint64_t option, uint64_t value, uint64_t bytes)
{
	return no_socket(fd);
}
