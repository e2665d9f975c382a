/* SPDX-License-Identifier: MIT */
/* Is it the program's memory? Then usercopy.S copies. */
#include <mem/port.h>

/* The first address above the user half's last page, which is never mapped. */
#define USER_END (((vaddr_t)1 << 47) - MEM_PAGE_SIZE)

uint64_t mem_port_copy_raw(void *to, const void *from, uint64_t bytes);

static bool is_user(vaddr_t va, uint64_t bytes)
{
	return bytes <= USER_END && va <= USER_END - bytes;
}

uint64_t mem_port_copy_from_user(void *to, vaddr_t from, uint64_t bytes)
{
	return is_user(from, bytes) ? mem_port_copy_raw(to, (const void *)from, bytes) : bytes;
}

uint64_t mem_port_copy_to_user(vaddr_t to, const void *from, uint64_t bytes)
{
	return is_user(to, bytes) ? mem_port_copy_raw((void *)to, from, bytes) : bytes;
}
