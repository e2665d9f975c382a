/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_PROC_EXEC_H
#define KERNEL_PROC_EXEC_H
/*
 * What the files of exec share: arguments.c gathers strings, elf.c maps a
 * program, stack.c lays out its first stack, exec.c puts them together.
 */
#include "kernel/proc/internal.h"
#include <kernel/fs.h>

/* ---- arguments.c ---- */

#define ARG_STRING_MAX (32 * PAGE_SIZE) /* one string with its NUL */
#define ARG_CHUNK      4096
#define ARG_BYTES_MAX  (6ull << 20) /* three quarters of the default stack */

/* Strings with their NULs one after another, in chunks of kernel memory. */
struct arg_strings {
	uint64_t bytes; /* so far */
	uint64_t limit; /* strings and pointers together */
	uint64_t count; /* strings */
	char **chunk;   /* ARG_CHUNK bytes each */
	uint32_t chunks, capacity;
};
struct arguments {
	struct arg_strings argv, envp;
	struct arg_strings spare; /* scripts: the new argv is built here */
};
/* NULL: no memory. The limit follows from RLIMIT_STACK. */
struct arguments *arguments_create(struct process *p);
void arguments_free(struct arguments *a);
/* Errors: -E2BIG, -EFAULT, -ENOMEM. */
int arguments_from_user(struct arguments *a, uint64_t argv, uint64_t envp);
int arguments_from_kernel(struct arguments *a, const char *const argv[], const char *const envp[]);
int arg_append_kernel(struct arg_strings *s, const char *string);
/* `#! interpreter [option]`: argv becomes interpreter [option] path argv[1..]. */
int arguments_prepend_script(struct arguments *a, const char *interpreter, const char *option,
			     const char *path);

/* ---- elf.c ---- */

#define ADDR_NO_RANDOMIZE 0x0040000u

struct image { /* a program being built in a space that nobody runs yet */
	struct space *space;
	struct mm_layout *mm;
	struct vm_object *exe; /* with a reference */
	bool executable_stack;
	bool random;            /* personality ADDR_NO_RANDOMIZE is off */
	uint64_t entry;         /* where to start: the program's or its interpreter's */
	uint64_t program_entry; /* AT_ENTRY */
	uint64_t header_address, header_count; /* AT_PHDR, AT_PHNUM */
	uint64_t base;                         /* AT_BASE: the interpreter's */
	uint64_t stack_pointer, auxv_at;
	struct identity id;   /* what the program will run as */
	bool secure;          /* that differs from who started it: AT_SECURE */
	uint64_t stack_limit; /* RLIMIT_STACK that the program starts with */
	uint64_t charged;     /* bytes of the new space, on the account of who builds it */
};

/* Read and check everything in the file that does not need a space: -ENOEXEC etc. */
struct elf_file;
int elf_open(struct file *file, struct elf_file **out);
void elf_close(struct elf_file *elf);
/* Map the program (and its interpreter) into image->space. */
int elf_load(struct elf_file *elf, struct image *image);

/* ---- stack.c ---- */

/* Choose the places of stack and mmap area; before elf_load. */
void image_place(struct image *image);
/* Map and fill the first stack; after elf_load. */
int image_make_stack(struct image *image, struct arguments *a, const char *exec_name);
/* The identity that was written to the stack is not image->id any more: write it again.
 * -EFAULT, -ENOMEM. */
int image_rewrite_identity(struct image *image);
/* A random multiple of a page below `bytes` (a power of two). */
uint64_t random_pages(uint64_t bytes);

/* ---- exec.c ---- */
int exec_first(const char *path, const char *const argv[], const char *const envp[]);
#endif
