/* SPDX-License-Identifier: MIT */
/*
 * Stage 3: a program in user mode, whose pages come by faults; fork; and an end after which
 * every frame is free again. Written for it: going to user mode and back, and what becomes of
 * a program that touches what it may not (host_user_fault).
 */
#include "boot.h"

#include <mem/pmm.h>

enum { EXIT_VECTOR = 0x80, KILLED = 9 };
static const vaddr_t CODE = 0x400000, DATA = 0x500000;

/* Run from `ip` in user mode until it says INT 0x80: what it has in RAX. */
uint64_t user_run(vaddr_t ip, uint64_t argument);
void user_left(void);
__asm__(".globl user_run, user_left, user_code, user_wild, user_code_end, kernel_stack\n"
	".text\n"
	"user_run:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, kernel_stack(%rip)\n"
	"	pushq $0x1b; pushq $0; pushq $0x202; pushq $0x23; push %rdi\n"
	"	mov %rsi, %rdi\n"
	"	iretq\n"
	"user_left:\n"
	"	mov kernel_stack(%rip), %rsp\n"
	"	sti\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	/* The program: adds its argument to *DATA, twice, and ends with the sum. */
	"user_code:\n"
	"	mov $0x500000, %ebx\n"
	"	add %rdi, (%rbx)\n"
	"	add %rdi, 0x1000(%rbx)\n"
	"	mov (%rbx), %rax\n"
	"	add 0x1000(%rbx), %rax\n"
	"	int $0x80\n"
	"user_wild:\n"
	"	movl $1, 0x10\n"
	"	int $0x80\n"
	"user_code_end:\n"
	".bss\n.balign 8\nkernel_stack: .skip 8\n.text\n");
extern char user_code[], user_wild[], user_code_end[];
extern uint64_t kernel_stack;

/* It ends: the fault returns into the kernel, as INT 0x80 would have. */
void host_user_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	struct mem_port_frame *frame = trap->frame;
	host_log(HOST_LOG_INFO, "the program touches 0x%lx: %s", fault->address,
		 vmm_cause_name(fault->cause));
	frame->ip = (uintptr_t)user_left;
	frame->cs = KERNEL_CODE;
	frame->ss = KERNEL_DATA;
	frame->sp = kernel_stack;
	frame->flags = 2;
	frame->rax = KILLED;
}

static uint64_t run(struct vmm *vmm, struct space *space, vaddr_t ip, uint64_t argument)
{
	mem_port_run(vmm, space);
	uint64_t result = user_run(ip, argument);
	mem_port_run(vmm, NULL);
	return result;
}

static struct space *load(struct vmm *vmm)
{
	struct space *space;
	vaddr_t at;
	const uint64_t code_bytes = (uint64_t)(user_code_end - user_code);
	struct vm_map_args code = {.hint = CODE,
				   .bytes = code_bytes,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = VM_READ | VM_WRITE | VM_EXEC,
				   .flags = VM_FIXED};
	struct vm_map_args data = {.hint = DATA,
				   .bytes = 2 * MEM_PAGE_SIZE,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = VM_READ | VM_WRITE,
				   .flags = VM_FIXED};
	CHECK(vmm_space_create(vmm, &space) == MEM_OK);
	CHECK(vmm_map(space, &code, &at) == MEM_OK && at == CODE);
	CHECK(vmm_map(space, &data, &at) == MEM_OK && at == DATA);
	mem_port_run(vmm, space);
	CHECK(mem_port_copy_to_user(CODE, user_code, code_bytes) == 0);
	CHECK(mem_port_copy_to_user(0x10000, user_code, 5) == 5); /* nothing is there */
	mem_port_run(vmm, NULL);
	CHECK(vmm_protect(space, CODE, code_bytes, VM_READ | VM_EXEC) == MEM_OK);
	return space;
}

void kernel_main(void)
{
	struct pmm *frames;
	struct space *child;
	struct pmm_stats before, after;
	static uint8_t stack[16384] __attribute__((aligned(16)));
	interrupt_set(14, mem_port_page_fault, 0);
	interrupt_set(EXIT_VECTOR, user_left, 3);
	descriptors_load(stack + sizeof(stack));
	struct memmap *map = boot_frames(&frames);
	struct vmm *vmm = boot_tables(frames, map);
	interrupt_lines_off();
	__asm__ volatile("sti");
	CHECK(mem_selftest_vmm(&(struct mem_selftest){.pmm = frames, .vmm = vmm}) == 0);
	vmm_drain(vmm);
	pmm_get_stats(frames, &before);

	struct space *parent = load(vmm);
	CHECK(run(vmm, parent, CODE, 5) == 10);
	CHECK(vmm_space_fork(parent, &child) == MEM_OK);
	CHECK(run(vmm, child, CODE, 100) == 210); /* on copies */
	CHECK(run(vmm, parent, CODE, 1) == 12);   /* which the parent does not see */
	CHECK(run(vmm, child, CODE + (vaddr_t)(user_wild - user_code), 0) == KILLED);
	vmm_space_put(child);
	vmm_space_put(parent);

	vmm_drain(vmm);
	pmm_get_stats(frames, &after);
	host_log(HOST_LOG_INFO, "frames free before and after: %lu, %lu", before.free, after.free);
	CHECK(after.free == before.free);
	CHECK(vmm_is_valid(vmm) && pmm_is_valid(frames));
	host_log(HOST_LOG_INFO, "stage 3: all checks held");
}
