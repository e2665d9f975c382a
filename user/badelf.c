/* SPDX-License-Identifier: MIT */
/*
 * Hostile programs: a small correct ELF file with one field at a time made
 * wrong, and then many at random. Each is executed by a child. What may come of
 * it: it runs (exit 7), it runs and dies, execve says why not, or, where Linux
 * finds out only after it has given up the old program, the child is killed.
 * The last two print the same, `refused`, unless the errno is one of those that
 * both kernels find early.
 */
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wunused-parameter" /* cases that need no argument */
#include "check.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <sys/stat.h>

#define BASE   0x10000000ul
#define PATH   "/tmp/badelf.image"
#define LOADER "/tmp/badelf.loader"

struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	char interpreter[32];
	unsigned char code[32];
};

static const unsigned char exit_7[] = {0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05};

static void correct(struct image *i)
{
	memset(i, 0, sizeof(*i));
	memcpy(i->header.e_ident, "\177ELF\2\1\1", 7);
	i->header.e_type = ET_EXEC;
	i->header.e_machine = EM_X86_64;
	i->header.e_version = 1;
	i->header.e_entry = BASE + offsetof(struct image, code);
	i->header.e_phoff = offsetof(struct image, segment);
	i->header.e_ehsize = sizeof(Elf64_Ehdr);
	i->header.e_phentsize = sizeof(Elf64_Phdr);
	i->header.e_phnum = 2;
	i->segment[0] = (Elf64_Phdr){.p_type = PT_LOAD,
				     .p_flags = PF_R | PF_X,
				     .p_vaddr = BASE,
				     .p_paddr = BASE,
				     .p_filesz = sizeof(*i),
				     .p_memsz = sizeof(*i),
				     .p_align = 4096};
	i->segment[1] = (Elf64_Phdr){.p_type = PT_NULL, .p_flags = PF_R | PF_W};
	memcpy(i->code, exit_7, sizeof(exit_7));
}

static void write_image(const void *bytes, size_t count)
{
	unlink(PATH);
	int fd = open(PATH, O_WRONLY | O_CREAT | O_EXCL, 0755);
	if (fd < 0 || write(fd, bytes, count) != (ssize_t)count) {
		printf("cannot write %s: %s\n", PATH, strerrorname_np(errno));
		exit(1);
	}
	close(fd);
}

/* The child's errno comes back through memory that both share. */
static volatile int *child_errno;

static int execute(void)
{
	int status = 0;
	*child_errno = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		char *argv[] = {"badelf", NULL}, *none[] = {NULL};
		alarm(5);
		execve(PATH, argv, none);
		*child_errno = errno;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

static const char *verdict(int status)
{
	int error = *child_errno;
	if (error == ENOEXEC || error == ELIBBAD || error == EIO || error == ENOENT ||
	    error == EACCES)
		return strerrorname_np(error);
	if (error || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) ||
	    (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return "refused";
	return outcome(status);
}

static void try(const char *name, const struct image *i)
{
	write_image(i, sizeof(*i));
	int status = execute();
	printf("%s: %s\n", name, verdict(status));
}

#define TRY(field, value)                                                                          \
	do {                                                                                       \
		struct image i_;                                                                   \
		correct(&i_);                                                                      \
		i_.field = (__typeof(i_.field))(value);                                            \
		try(#field " = " #value, &i_);                                                     \
	} while (0)

static void header_fields(void)
{
	TRY(header.e_ident[0], 0);
	TRY(header.e_ident[1], 'e');
	TRY(header.e_ident[2], 'l');
	TRY(header.e_ident[3], 'G');
	TRY(header.e_ident[EI_CLASS], ELFCLASS32);
	TRY(header.e_ident[EI_CLASS], 77);
	TRY(header.e_ident[EI_DATA], ELFDATA2MSB);
	TRY(header.e_ident[EI_VERSION], 9);
	TRY(header.e_ident[EI_OSABI], 200);
	TRY(header.e_ident[EI_ABIVERSION], 200);
	TRY(header.e_ident[EI_PAD], 200);
	TRY(header.e_type, ET_NONE);
	TRY(header.e_type, ET_REL);
	TRY(header.e_type, ET_CORE);
	TRY(header.e_type, 0xffff);
	TRY(header.e_type, ET_DYN);
	TRY(header.e_machine, EM_386);
	TRY(header.e_machine, EM_AARCH64);
	TRY(header.e_machine, 0xffff);
	TRY(header.e_version, 0);
	TRY(header.e_version, 0xffffffff);
	TRY(header.e_entry, 0);
	TRY(header.e_entry, 1);
	TRY(header.e_entry, BASE + 0x100000);
	TRY(header.e_entry, 0x7fffffffffff);
	TRY(header.e_entry, 0x800000000000);
	TRY(header.e_entry, 0xffffffff80000000);
	TRY(header.e_entry, ULONG_MAX);
	TRY(header.e_phoff, 0);
	TRY(header.e_phoff, 1);
	TRY(header.e_phoff, 0x1000000);
	TRY(header.e_phoff, 0x7fffffffffffffff);
	TRY(header.e_phoff, ULONG_MAX);
	TRY(header.e_phoff, ULONG_MAX - 55);
	TRY(header.e_shoff, ULONG_MAX);
	TRY(header.e_flags, 0xffffffff);
	TRY(header.e_ehsize, 0);
	TRY(header.e_ehsize, 0xffff);
	TRY(header.e_phentsize, 0);
	TRY(header.e_phentsize, 55);
	TRY(header.e_phentsize, 57);
	TRY(header.e_phentsize, 0xffff);
	TRY(header.e_phnum, 0);
	TRY(header.e_phnum, 1);
	TRY(header.e_phnum, 3);
	TRY(header.e_phnum, 1170);
	TRY(header.e_phnum, 1171);
	TRY(header.e_phnum, 0xffff);
	TRY(header.e_shentsize, 0xffff);
	TRY(header.e_shnum, 0xffff);
	TRY(header.e_shstrndx, 0xffff);
}

static void segment_fields(void)
{
	TRY(segment[0].p_type, PT_NULL);
	TRY(segment[0].p_type, 0xffffffff);
	TRY(segment[0].p_flags, 0);
	TRY(segment[0].p_flags, PF_R);
	TRY(segment[0].p_flags, PF_R | PF_W);
	TRY(segment[0].p_flags, PF_W | PF_X);
	TRY(segment[0].p_flags, 0xffffffff);
	TRY(segment[0].p_offset, 1);
	TRY(segment[0].p_offset, 4096);
	TRY(segment[0].p_offset, 0x7ffffffffffff000);
	TRY(segment[0].p_offset, ULONG_MAX);
	TRY(segment[0].p_offset, ULONG_MAX - 4095);
	TRY(segment[0].p_vaddr, 0);
	TRY(segment[0].p_vaddr, 0x800000000000);
	TRY(segment[0].p_vaddr, 0x7ffffffff000);
	TRY(segment[0].p_vaddr, 0xffff800000000000);
	TRY(segment[0].p_vaddr, ULONG_MAX - 4095);
	TRY(segment[0].p_vaddr, BASE + 8);
	TRY(segment[0].p_paddr, ULONG_MAX);
	TRY(segment[0].p_filesz, 0);
	TRY(segment[0].p_filesz, sizeof(struct image) + 1);
	TRY(segment[0].p_filesz, ULONG_MAX);
	TRY(segment[0].p_filesz, 1ul << 63);
	TRY(segment[0].p_memsz, 0);
	TRY(segment[0].p_memsz, 10);
	TRY(segment[0].p_memsz, 1ul << 46);
	TRY(segment[0].p_memsz, 1ul << 47);
	TRY(segment[0].p_memsz, 1ul << 63);
	TRY(segment[0].p_memsz, ULONG_MAX);
	TRY(segment[0].p_align, 0);
	TRY(segment[0].p_align, 3);
	TRY(segment[0].p_align, ULONG_MAX);
}

/* What needs more than one field. */
static void combinations(void)
{
	struct image i;
	correct(&i); /* longer than its file: the rest is zero, if it can be written */
	i.segment[0].p_flags = PF_R | PF_W | PF_X;
	i.segment[0].p_memsz += 3 * 4096;
	try("long, writable", &i);
	correct(&i);
	i.segment[1] = i.segment[0]; /* the same place twice */
	try("two segments at one place", &i);
	correct(&i);
	i.segment[1] = i.segment[0];
	i.segment[1].p_vaddr = 0x7ffffffff000 - 4096;
	try("second segment at the top", &i);
	correct(&i);
	i.segment[1] = i.segment[0];
	i.segment[1].p_vaddr = BASE + 0x100000000;
	i.segment[1].p_filesz = 0;
	i.segment[1].p_memsz = 1ul << 40;
	i.segment[1].p_flags = PF_R;
	try("a terabyte of nothing", &i);
	correct(&i);
	i.header.e_type = ET_DYN;
	i.segment[0].p_vaddr = 0;
	i.header.e_entry -= BASE;
	try("position-independent", &i);
	i.segment[0].p_memsz = 1ul << 47;
	try("position-independent, all of memory", &i);
	correct(&i);
	i.header.e_type = ET_DYN;
	i.segment[0].p_align = 1ul << 21;
	try("position-independent, aligned to 2 MiB", &i);
}

static void interpreter(const char *name, const char *path, uint64_t bytes)
{
	struct image i;
	correct(&i);
	i.segment[1] = (Elf64_Phdr){.p_type = PT_INTERP,
				    .p_offset = offsetof(struct image, interpreter),
				    .p_filesz = bytes,
				    .p_memsz = bytes};
	strncpy(i.interpreter, path, sizeof(i.interpreter) - 1);
	try(name, &i);
}

/* The interpreter is hostile too: each of these is the correct program but for a field. */
static void bad_interpreter(const char *name, const struct image *wrong)
{
	int fd = open(LOADER, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	if (fd < 0 || write(fd, wrong, sizeof(*wrong)) != (ssize_t)sizeof(*wrong))
		printf("cannot write %s\n", LOADER);
	close(fd);
	interpreter(name, LOADER, sizeof(LOADER));
	unlink(LOADER);
}

#define TRY_LOADER(field, value)                                                                   \
	do {                                                                                       \
		struct image l_;                                                                   \
		correct(&l_);                                                                      \
		l_.header.e_type = ET_DYN;                                                         \
		l_.header.e_entry -= BASE;                                                         \
		l_.segment[0].p_vaddr = 0;                                                         \
		l_.segment[0].p_flags = PF_R | PF_W | PF_X;                                        \
		l_.field = (__typeof(l_.field))(value);                                            \
		bad_interpreter("interpreter: " #field " = " #value, &l_);                         \
	} while (0)

static void bad_interpreters(void)
{
	TRY_LOADER(header.e_flags, 0); /* nothing wrong */
	TRY_LOADER(header.e_ident[0], 0);
	TRY_LOADER(header.e_type, ET_REL);
	TRY_LOADER(header.e_machine, EM_386);
	TRY_LOADER(header.e_entry, ULONG_MAX);
	TRY_LOADER(header.e_entry, 0x800000000000);
	TRY_LOADER(header.e_phoff, ULONG_MAX);
	TRY_LOADER(header.e_phentsize, 55);
	TRY_LOADER(header.e_phnum, 0);
	TRY_LOADER(header.e_phnum, 0xffff);
	TRY_LOADER(segment[0].p_type, PT_NULL);
	TRY_LOADER(segment[0].p_offset, 1);
	TRY_LOADER(segment[0].p_vaddr, ULONG_MAX - 4095);
	TRY_LOADER(segment[0].p_filesz, ULONG_MAX);
	TRY_LOADER(segment[0].p_memsz, 1ul << 47);
	TRY_LOADER(segment[0].p_memsz, 10);
	TRY_LOADER(segment[0].p_align, 3);
}

/* The stack's segment says only whether it may be executed. */
static void stack_segments(void)
{
	struct image i;
	correct(&i);
	i.segment[1] = (Elf64_Phdr){.p_type = PT_GNU_STACK,
				    .p_flags = PF_R | PF_W,
				    .p_offset = ULONG_MAX,
				    .p_vaddr = ULONG_MAX,
				    .p_filesz = ULONG_MAX,
				    .p_memsz = ULONG_MAX,
				    .p_align = ULONG_MAX};
	try("stack segment of nonsense", &i);
	i.segment[1].p_flags = PF_X;
	try("stack segment for execution only", &i);
}

static void interpreters(void)
{
	interpreter("interpreter that is not there", "/nowhere/ld.so", 15);
	interpreter("interpreter without a name", "", 0);
	interpreter("interpreter of one byte", "", 1);
	interpreter("interpreter without its end", "/bin/sh/", 5);
	interpreter("interpreter with a long name", "/x", 5000);
	interpreter("interpreter with a huge name", "/x", ULONG_MAX);
	interpreter("interpreter that is a folder", "/tmp", 5);
	interpreter("interpreter that is no program", "/etc/passwd", 12);
}

static void truncated(void)
{
	struct image i;
	static const size_t lengths[] = {0, 1, 3, 4, 16, 63, 64, 65, 100, 119, 120, 175, 176, 200};
	correct(&i);
	for (size_t n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++) {
		write_image(&i, lengths[n]);
		int status = execute();
		printf("first %zu bytes: %s\n", lengths[n], verdict(status));
	}
}

/* Anything may come of these but harm to anyone else. */
static void at_random(unsigned rounds)
{
	uint64_t seed = 0x5eed;
	unsigned bad = 0;
	for (unsigned round = 0; round < rounds; round++) {
		struct image i;
		correct(&i);
		unsigned changes = 1 + round % 4;
		while (changes--) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			size_t at = (seed >> 33) % offsetof(struct image, interpreter);
			((unsigned char *)&i)[at] = (unsigned char)(seed >> 24);
		}
		write_image(&i, sizeof(i));
		int status = execute();
		bad += WIFSTOPPED(status);
	}
	printf("%u at random: %u strange\n", rounds, bad);
}

int main(int argc, char **argv)
{
	child_errno = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct image i;
	correct(&i);
	try("correct", &i);
	header_fields();
	segment_fields();
	combinations();
	interpreters();
	bad_interpreters();
	stack_segments();
	truncated();
	at_random(argc > 1 ? (unsigned)atoi(argv[1]) : 300);
	try("correct", &i);
	unlink(PATH);
	return 0;
}
