/* SPDX-License-Identifier: MIT */
/*
 * execve.
 *
 *     1. strings into kernel memory (arguments.c)
 *     2. the file: opened, `#!` followed at most four times, headers checked
 *     3. a new space, with program, interpreter and first stack in it
 *     4. the other threads of the process are ended: the point of no return
 *     5. the new space replaces the old one; signals, files, timers, names and
 *        registers become a new program's
 *
 * Steps 1 to 3 change nothing of the running program, so every error that a
 * file, its arguments or want of memory can cause is an errno to the caller.
 * (Linux finds some of them after it has given the old program up, and kills
 * it.) Step 4 can only fail because the process is being killed itself; 5
 * cannot fail.
 */
#include "kernel/proc/exec.h"
#include <kernel/boot.h>
#include <kernel/syscall.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/object.h>

#include "kernel/syscall/syscalls.h"

#define SCRIPT_LINE  256 /* of a `#!` line this much is looked at */
#define SCRIPT_DEPTH 4
#define PATH_BYTES   4096

#define ADDR_NO_RANDOMIZE 0x0040000u

struct exec {
	struct arguments *args;
	struct file *file;
	char *name;   /* AT_EXECFN: the path as given; PATH_BYTES */
	char *script; /* the path of the file that is open now; PATH_BYTES */
	struct elf_file *elf;
	struct image image;
};

static void exec_free(struct exec *e)
{
	elf_close(e->elf);
	if (e->file)
		file_put(e->file);
	arguments_free(e->args);
	kfree(e->name);
	kfree(e->script);
	if (e->image.space)
		vmm_space_put(e->image.space);
	mm_layout_put(e->image.mm);
	if (e->image.exe)
		vm_object_put(e->image.exe);
	kfree(e);
}

static struct exec *exec_create(void)
{
	struct exec *e = kzalloc(sizeof(*e));
	if (!e)
		return NULL;
	e->args = arguments_create(current_process());
	e->name = kmalloc(PATH_BYTES);
	e->script = kmalloc(PATH_BYTES);
	if (!e->args || !e->name || !e->script) {
		exec_free(e);
		return NULL;
	}
	return e;
}

/* ---- step 2: scripts ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * `line` holds the file's first bytes, zero-padded. Splits it in place.
 * -ENOEXEC: no `#!`, or an interpreter name that is missing or cut off.
 */
static int parse_script(char line[SCRIPT_LINE + 1], char **interpreter, char **option)
{
	if (line[0] != '#' || line[1] != '!')
		return -ENOEXEC;
	char *end = kstrchr(line, '\n');
	bool whole_line = end != NULL;
	if (!end)
		end = line + kstrlen(line);
	*end = 0;
	while (end > line + 2 && is_blank(end[-1]))
		*--end = 0;
	char *at = line + 2;
	while (is_blank(*at))
		at++;
	if (!*at)
		return -ENOEXEC;
	*interpreter = at;
	while (*at && !is_blank(*at))
		at++;
	/* The name may have been longer than what we look at. */
	if (!*at && !whole_line && end >= line + SCRIPT_LINE)
		return -ENOEXEC;
	*option = NULL;
	if (*at) {
		*at++ = 0;
		while (is_blank(*at))
			at++;
		if (*at)
			*option = at;
	}
	return 0;
}

static int follow_script(struct exec *e, char line[SCRIPT_LINE + 1])
{
	char *interpreter, *option;
	int error = parse_script(line, &interpreter, &option);
	if (!error)
		error = arguments_prepend_script(e->args, interpreter, option, e->script);
	if (error)
		return error;
	struct file *file = file_open_kernel(interpreter, true, &error);
	if (!file)
		return error;
	file_put(e->file);
	e->file = file;
	kstrlcpy(e->script, interpreter, PATH_BYTES);
	return 0;
}

/* From the opened file to checked ELF headers. */
static int exec_read_file(struct exec *e)
{
	char line[SCRIPT_LINE + 1];
	for (unsigned depth = 0;; depth++) {
		memset(line, 0, sizeof(line));
		ssize_t got = file_read_kernel(e->file, line, SCRIPT_LINE, 0);
		if (got < 0)
			return (int)got;
		if (line[0] != '#' || line[1] != '!')
			break;
		if (depth > SCRIPT_DEPTH)
			return -ELOOP;
		int error = follow_script(e, line);
		if (error)
			return error;
	}
	return elf_open(e->file, &e->elf);
}

/* ---- step 3: the new space ---- */

#define S_ISUID 04000u
#define S_ISGID 02000u
#define S_IXGRP 00010u

/* Set-user-id and set-group-id bits count for programs, not for scripts: e->file is
 * the program by now. */
static void choose_identity(struct exec *e)
{
	struct process *p = current_process();
	struct image *image = &e->image;
	uint32_t mode, uid, gid;
	image->euid = p->euid;
	image->egid = p->egid;
	file_owner(e->file, &mode, &uid, &gid);
	if (p->no_new_privs)
		return;
	if (mode & S_ISUID)
		image->euid = uid;
	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		image->egid = gid;
	image->secure = image->euid != p->uid || image->egid != p->gid;
}

static int exec_build(struct exec *e)
{
	struct process *p = current_process();
	struct image *image = &e->image;
	image->random = !(p->personality & ADDR_NO_RANDOMIZE);
	choose_identity(e);
	image->mm = mm_layout_create(NULL);
	if (!image->mm)
		return -ENOMEM;
	mem_status status = vmm_space_create(kernel_vmm, &image->space);
	if (status != MEM_OK) {
		image->space = NULL;
		return (int)errno_from(status);
	}
	image_place(image, p);
	int error = elf_load(e->elf, image);
	if (!error)
		error = image_make_stack(image, p, e->args, e->name);
	return error;
}

/* ---- step 4: only this thread ---- */

static int end_other_threads(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = proc_lock();
	if (p->exiting || p->exec_task || t->must_exit) {
		proc_unlock(irq);
		return -EAGAIN;
	}
	p->exec_task = t;
	list_for_each (link, &p->tasks)
		if (task_of_link(link) != t)
			task_must_exit_locked(task_of_link(link));
	proc_unlock(irq);
	wait_event(&t->wait, __atomic_load_n(&p->task_count, __ATOMIC_ACQUIRE) == 1 ||
				 __atomic_load_n(&t->must_exit, __ATOMIC_ACQUIRE));
	irq = proc_lock();
	p->exec_task = NULL;
	int error = t->must_exit ? -EAGAIN : 0;
	if (!error && t->tid != p->pid) { /* the process keeps its number; we take it */
		pid_use(p->pid_entry);
		t->tid_entry->task = NULL;
		pid_drop(t->tid_entry);
		t->tid_entry = p->pid_entry;
		t->tid_entry->task = t;
		t->tid = p->pid;
	}
	proc_unlock(irq);
	return error;
}

/* ---- step 5: become it ---- */

static void reset_handlers(struct process *p, struct signal_handlers *fresh)
{
	unsigned long irq = proc_lock();
	struct signal_handlers *old = p->handlers;
	for (int sig = 1; sig < NSIG; sig++)
		if (old->action[sig].handler == SIG_IGN)
			fresh->action[sig].handler = SIG_IGN;
	p->handlers = fresh;
	proc_unlock(irq);
	signal_handlers_put(old);
}

static void set_names(struct task *t, struct exec *e)
{
	struct process *p = t->process;
	if (!object_path(p->exe, p->exe_path, sizeof(p->exe_path)))
		kstrlcpy(p->exe_path, e->script, sizeof(p->exe_path));
	/* A script is called by its own name, not its interpreter's. */
	const char *base = kstrrchr(e->name, '/');
	kstrlcpy(t->thread.name, base ? base + 1 : e->name, sizeof(t->thread.name));
	memcpy(p->name, t->thread.name, sizeof(p->name));
}

static void swap_memory(struct process *p, struct image *image)
{
	struct space *old_space = p->space;
	struct mm_layout *old_mm = p->mm;
	struct vm_object *old_exe = p->exe;
	if (old_space) {
		struct vmm_space_stats stats;
		vmm_space_stats(old_space, &stats);
		p->faults_minor += stats.faults_minor;
		p->faults_major += stats.faults_major;
		p->peak_resident = mem_max(p->peak_resident, stats.peak_resident);
	}
	unsigned long irq = proc_lock();
	p->space = image->space;
	p->mm = image->mm;
	p->exe = image->exe;
	proc_unlock(irq);
	image->space = NULL;
	image->mm = NULL;
	image->exe = NULL;
	thread_set_space(p->space);
	process_apply_limits(p);
	if (old_space)
		vmm_space_put(old_space);
	mm_layout_put(old_mm);
	if (old_exe)
		vm_object_put(old_exe);
}

static void set_registers(struct trapframe *frame, const struct image *image)
{
	memset(frame, 0, sizeof(*frame));
	frame->rip = image->entry;
	frame->rsp = image->stack_pointer;
	frame->rflags = USER_FLAGS_INITIAL;
	frame->cs = USER_CS;
	frame->ss = USER_SS;
	frame->vector = TRAP_SIGRETURN; /* all registers are to be loaded */
}

static void exec_commit(struct exec *e, struct signal_handlers *fresh)
{
	struct task *t = current_task();
	struct process *p = t->process;
	task_release_memory(t); /* clear_child_tid, robust list; lets a vfork parent go on */
	posix_timers_exec(p);
	p->euid = p->suid = p->fsuid = e->image.euid;
	p->egid = p->sgid = p->fsgid = e->image.egid;
	swap_memory(p, &e->image);
	fs_exec(t);
	reset_handlers(p, fresh);
	set_names(t, e);
	memset(&t->altstack, 0, sizeof(t->altstack));
	memset(&t->restart, 0, sizeof(t->restart));
	t->robust_list = t->robust_len = 0;
	t->set_child_tid = 0;
	t->parent_death_signal = 0;
	p->execed = true;
	p->exit_signal = SIGCHLD;
	thread_reset_user_state(&t->thread);
	set_registers(thread_user_frame(&t->thread), &e->image);
}

/* Arguments are in e->args, the file is open. */
static int exec_run(struct exec *e)
{
	int error = exec_read_file(e);
	if (!error)
		error = exec_build(e);
	if (error)
		return error;
	struct signal_handlers *fresh = signal_handlers_create(NULL);
	if (!fresh)
		return -ENOMEM;
	error = end_other_threads(current_task());
	if (error) {
		signal_handlers_put(fresh);
		return error;
	}
	exec_commit(e, fresh);
	return 0;
}

int exec_first(const char *path, const char *const argv[], const char *const envp[])
{
	struct exec *e = exec_create();
	if (!e)
		return -ENOMEM;
	kstrlcpy(e->name, path, PATH_BYTES);
	kstrlcpy(e->script, path, PATH_BYTES);
	int error = arguments_from_kernel(e->args, argv, envp);
	if (!error)
		e->file = file_open_kernel(path, true, &error);
	if (e->file)
		error = exec_run(e);
	exec_free(e);
	return error;
}

/* ---- the calls ---- */

#define AT_FDCWD            (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_EMPTY_PATH       0x1000

static int open_program(struct exec *e, int dirfd, unsigned flags)
{
	int error = 0;
	bool relative = e->name[0] != '/';
	if (e->name[0] == 0 && !(flags & AT_EMPTY_PATH))
		return -ENOENT;
	if ((dirfd == AT_FDCWD || !relative) && !(flags & AT_SYMLINK_NOFOLLOW) && e->name[0])
		e->file = file_open_kernel(e->name, true, &error);
	else
		e->file = file_open_kernel_at(dirfd, e->name, flags, true, &error);
	if (!e->file)
		return error;
	/* What a script's interpreter is told to open. */
	if (dirfd != AT_FDCWD && relative) {
		char *rest = kstrdup(e->name);
		if (!rest)
			return -ENOMEM;
		ksnprintf(e->name, PATH_BYTES, rest[0] ? "/dev/fd/%d/%s" : "/dev/fd/%d%s", dirfd,
			  rest);
		kfree(rest);
	}
	kstrlcpy(e->script, e->name, PATH_BYTES);
	return 0;
}

static long do_execve(int dirfd, uint64_t path, uint64_t argv, uint64_t envp, unsigned flags)
{
	struct exec *e = exec_create();
	if (!e)
		return -ENOMEM;
	ssize_t length = strncpy_from_user(e->name, path, PATH_BYTES);
	int error = length < 0 ? (int)length : arguments_from_user(e->args, argv, envp);
	if (!error)
		error = open_program(e, dirfd, flags);
	if (!error)
		error = exec_run(e);
	exec_free(e);
	return error;
}

long sys_execve(uint64_t path, uint64_t argv, uint64_t envp)
{
	return do_execve(AT_FDCWD, path, argv, envp, 0);
}

long sys_execveat(uint64_t dirfd, uint64_t path, uint64_t argv, uint64_t envp, uint64_t flags)
{
	if ((unsigned)flags & ~(unsigned)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return do_execve((int)dirfd, path, argv, envp, (unsigned)flags);
}
