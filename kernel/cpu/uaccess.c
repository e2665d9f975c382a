/* SPDX-License-Identifier: MIT */
/*
 * User memory from the kernel: bounds, the exception table, SMAP.
 *
 * An access that mem/ cannot serve comes to host_fixup_fault, which looks the
 * instruction up here. Ranges are checked against USER_TOP once; the rest of
 * the address space, the non-canonical hole included, is then out of reach.
 */
#include <kernel/log.h>
#include <kernel/uaccess.h>

#include "arch/x86_64/pte.h"
#include "base/lock.h"
#include "kernel/cpu/priv.h"

struct extable_entry {
	uintptr_t at, to;
};
extern const struct extable_entry extable_start[], extable_end[];

struct smap_site {
	uintptr_t at;
	uint64_t open;
};
extern const struct smap_site smap_sites_start[], smap_sites_end[];

size_t user_copy(void *to, const void *from, size_t bytes);
size_t user_clear(void *to, size_t bytes);
ssize_t user_strncpy(char *to, const char *from, size_t bytes);
int user_load32_raw(const uint32_t *from, uint32_t *to);
int user_cas32_raw(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old);

uintptr_t extable_find(uintptr_t ip)
{
	for (const struct extable_entry *e = extable_start; e < extable_end; e++)
		if (e->at == ip)
			return e->to;
	return 0;
}

void cpu_patch_smap(uintptr_t text_alias)
{
	if (!cpu_features.smap)
		return;
	for (const struct smap_site *s = smap_sites_start; s < smap_sites_end; s++) {
		uint8_t *code = (uint8_t *)(s->at + text_alias);
		code[0] = 0x0f;
		code[1] = 0x01;
		code[2] = s->open ? 0xcb : 0xca;
	}
	/* Nothing stale may be executed: serialise. */
	__asm__ volatile("cpuid" ::"a"(0), "c"(0) : "rbx", "rdx", "memory");
}

/* User memory may have to be waited for: nothing that others spin on is held.
 * The kernel's side is kernel memory: a NULL there is a bug, not the user's. */
static inline void assert_may_fault(const void *kernel_side, size_t bytes)
{
	mem_assert_no_locks();
	kassert(!bytes || (vaddr_t)kernel_side >= KERNEL_BASE);
}

size_t copy_from_user_partial(void *to, uint64_t from, size_t bytes)
{
	assert_may_fault(to, bytes);
	if (!user_range_ok(from, bytes))
		return bytes;
	return user_copy(to, (const void *)from, bytes);
}

size_t copy_to_user_partial(uint64_t to, const void *from, size_t bytes)
{
	assert_may_fault(from, bytes);
	if (!user_range_ok(to, bytes))
		return bytes;
	return user_copy((void *)to, from, bytes);
}

int copy_from_user(void *to, uint64_t from, size_t bytes)
{
	return copy_from_user_partial(to, from, bytes) ? -EFAULT : 0;
}

int copy_to_user(uint64_t to, const void *from, size_t bytes)
{
	return copy_to_user_partial(to, from, bytes) ? -EFAULT : 0;
}

int clear_user(uint64_t to, size_t bytes)
{
	mem_assert_no_locks();
	if (!user_range_ok(to, bytes))
		return -EFAULT;
	return user_clear((void *)to, bytes) ? -EFAULT : 0;
}

ssize_t strncpy_from_user(char *to, uint64_t from, size_t bytes)
{
	assert_may_fault(to, bytes);
	if (from >= USER_TOP)
		return -EFAULT;
	/* A string may end before the top of user memory although `bytes` reach past it. */
	size_t reach = mem_min(bytes, (size_t)(USER_TOP - from));
	ssize_t n = user_strncpy(to, (const char *)from, reach);
	if (n < 0 || ((size_t)n == reach && reach < bytes))
		return -EFAULT;
	return (size_t)n == bytes ? -ENAMETOOLONG : n;
}

int user_load32(uint64_t at, uint32_t *value)
{
	assert_may_fault(value, 4);
	if (!user_range_ok(at, 4))
		return -EFAULT;
	return user_load32_raw((const uint32_t *)at, value) ? -EFAULT : 0;
}

int user_cas32(uint64_t at, uint32_t expected, uint32_t desired, uint32_t *old)
{
	assert_may_fault(old, 4);
	if (!user_range_ok(at, 4))
		return -EFAULT;
	return user_cas32_raw((uint32_t *)at, expected, desired, old) ? -EFAULT : 0;
}
