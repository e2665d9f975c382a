/* SPDX-License-Identifier: MIT */
/* The kernel's way to user memory: exact counts at a hole, wild addresses are an
 * error and nothing else, strings end where user memory does. */
#include <kernel/boot.h>
#include <kernel/sched.h>
#include <kernel/uaccess.h>
#include <mem/vmm.h>

#include "arch/x86_64/pte.h"
#include "tests/test.h"

#define AT 0x50000000ull

/* Two pages of user memory at AT, a hole after them; the running thread uses it. */
static struct space *enter_space(void)
{
	struct space *space;
	CHECK_OK(vmm_space_create(kernel_vmm, &space));
	vaddr_t va;
	const struct vm_map_args args = {.hint = AT,
					 .bytes = 2 * PAGE_SIZE,
					 .prot = VM_READ | VM_WRITE,
					 .maxprot = VM_READ | VM_WRITE | VM_EXEC,
					 .flags = VM_FIXED};
	CHECK_OK(vmm_map(space, &args, &va));
	thread_set_space(space);
	return space;
}

static void leave_space(struct space *space)
{
	thread_set_space(NULL);
	vmm_space_put(space);
}

TEST(kernel_uaccess_counts_are_exact)
{
	struct space *space = enter_space();
	static uint8_t buffer[300], back[300];
	for (unsigned i = 0; i < sizeof(buffer); i++)
		buffer[i] = (uint8_t)(i * 7 + 1);
	uint64_t end = AT + 2 * PAGE_SIZE;
	for (unsigned inside = 0; inside <= 130; inside++) {
		uint64_t at = end - inside;
		CHECK_EQ(copy_to_user_partial(at, buffer, 200), 200 - inside);
		memset(back, 0, sizeof(back));
		CHECK_EQ(copy_from_user_partial(back, at, 200), 200 - inside);
		CHECK(!memcmp(back, buffer, inside));
		CHECK_EQ((unsigned)-clear_user(at, 200), EFAULT);
		CHECK_EQ(copy_from_user_partial(back, at, inside), 0);
		for (unsigned i = 0; i < inside; i++)
			CHECK_EQ(back[i], 0);
	}
	leave_space(space);
}

TEST(kernel_uaccess_wild_addresses)
{
	struct space *space = enter_space();
	static const uint64_t wild[] = {0,
					8,
					AT - 1,
					AT + 2 * PAGE_SIZE,
					USER_TOP - 1,
					USER_TOP,
					0x00007fffffffffffull,
					0x0000800000000000ull,
					0x8000000000000000ull,
					0xffff7fffffffffffull,
					0xffff800000000000ull,
					0xffffffff80000000ull,
					UINT64_MAX - 7,
					UINT64_MAX};
	uint8_t buffer[64] = {0};
	uint32_t word;
	for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
		CHECK_EQ((unsigned)-copy_from_user(buffer, wild[i], 32), EFAULT);
		CHECK_EQ((unsigned)-copy_to_user(wild[i], buffer, 32), EFAULT);
		CHECK_EQ((unsigned)-clear_user(wild[i], 32), EFAULT);
		CHECK_EQ((unsigned)-strncpy_from_user((char *)buffer, wild[i], 32), EFAULT);
		CHECK_EQ((unsigned)-user_load32(wild[i], &word), EFAULT);
		CHECK_EQ((unsigned)-user_cas32(wild[i], 0, 1, &word), EFAULT);
	}
	CHECK(!user_range_ok(AT, UINT64_MAX));
	CHECK(!user_range_ok(UINT64_MAX, 2));
	CHECK(user_range_ok(0, USER_TOP));
	CHECK(!user_range_ok(1, USER_TOP));
	leave_space(space);
}

TEST(kernel_uaccess_read_only_page)
{
	struct space *space = enter_space();
	uint64_t value = 42, back = 0;
	CHECK_EQ(copy_to_user(AT, &value, 8), 0);
	CHECK_OK(vmm_protect(space, AT, PAGE_SIZE, VM_READ));
	CHECK_EQ((unsigned)-copy_to_user(AT, &back, 8), EFAULT);
	CHECK_EQ(copy_from_user(&back, AT, 8), 0);
	CHECK_EQ(back, 42);
	CHECK_OK(vmm_protect(space, AT, PAGE_SIZE, VM_NONE));
	CHECK_EQ((unsigned)-copy_from_user(&back, AT, 8), EFAULT);
	leave_space(space);
}

TEST(kernel_uaccess_strings)
{
	struct space *space = enter_space();
	char text[64];
	uint64_t end = AT + 2 * PAGE_SIZE;
	CHECK_EQ(copy_to_user(end - 6, "quire", 6), 0);
	CHECK_EQ(strncpy_from_user(text, end - 6, sizeof(text)), 5);
	CHECK(!memcmp(text, "quire", 6));
	CHECK_EQ((unsigned)-strncpy_from_user(text, end - 6, 5), ENAMETOOLONG);
	CHECK_EQ(copy_to_user(end - 3, "abc", 3), 0); /* no NUL before the hole */
	CHECK_EQ((unsigned)-strncpy_from_user(text, end - 3, sizeof(text)), EFAULT);
	leave_space(space);
}

TEST(kernel_uaccess_words)
{
	struct space *space = enter_space();
	uint32_t old = 7, value;
	CHECK_EQ(user_cas32(AT, 0, 5, &old), 0);
	CHECK_EQ(old, 0);
	CHECK_EQ(user_cas32(AT, 0, 6, &old), 0);
	CHECK_EQ(old, 5);
	CHECK_EQ(user_load32(AT, &value), 0);
	CHECK_EQ(value, 5);
	leave_space(space);
}
