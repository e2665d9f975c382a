/* SPDX-License-Identifier: MIT */
/*
 * For tests of one thread that link with the machine's flavour of mem/: nothing happens
 * at its points. Mutations are linked with mem/vm too, whose host and MMU are not here:
 * who calls them dies.
 */
void machine_point(void);

void machine_point(void)
{
}

#define NOT_HERE(name) __asm__(".globl " #name "\n" #name ":\n\tud2\n")
NOT_HERE(host_current_space);
NOT_HERE(host_fatal_fault);
NOT_HERE(host_fixup_fault);
NOT_HERE(host_flush_wait);
NOT_HERE(host_out_of_memory);
NOT_HERE(host_user_fault);
NOT_HERE(machine_describe);
NOT_HERE(machine_flush_global);
NOT_HERE(machine_invlpg);
NOT_HERE(machine_load_root);
NOT_HERE(machine_root);
