/* SPDX-License-Identifier: MIT */
/*
 * execve.
 *
 *     1. strings into kernel memory (arguments.c)
 *     2. the file: opened, `#!` followed at most four times, headers checked
 *     3. a new space, with program, interpreter and first stack in it, for the
 *        identity that the program would have now
 *     4. the other threads of the process are ended: the point of no return
 *     5. the identity is decided, now that nobody else can change it, and with the
 *        new space it replaces the old one in one step; signals, files, timers, names
 *        and registers become a new program's
 *
 * Steps 1 to 3 change nothing of the running program, so every error that a
 * file, its arguments or want of memory can cause is an errno to the caller.
 * (Linux finds some of them after it has given the old program up, and kills
 * it.) Step 4 can only fail because the process is being killed itself. In 5 two
 * things need memory, and are rare: descriptors that are shared with another process
 * are copied, and an identity that has changed since 3 is written to the stack again.
 * Without that memory the process is killed, as on Linux.
 */
#include "kernel/proc/exec.h"
#include <kernel/account.h>
#include <kernel/boot.h>
#include <kernel/syscall.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/object.h>

#include "kernel/syscall/syscalls.h"

#define SCRIPT_LINE  256 /* of a `#!` line this much is looked at */
#define SCRIPT_DEPTH 4
#define PATH_BYTES   4096

/* Not for set-user-id programs: READ_IMPLIES_EXEC, ADDR_COMPAT_LAYOUT, MMAP_PAGE_ZERO too. */
#define PERSONALITY_UNSAFE (ADDR_NO_RANDOMIZE | 0x0400000u | 0x0200000u | 0x0100000u)

/* Who starts a program that is more than he chooses where its stack ends, within this: with
 * a limit of terabytes everything else would lie at guessable places far below. */
#define SECURE_STACK_MOST (8ull << 20)

struct exec {
	struct arguments *args;
	struct file *file;
	char *name;         /* AT_EXECFN: the path as given; PATH_BYTES */
	const char *script; /* the path of the file that is open now: name, or interpreter */
	char interpreter[SCRIPT_LINE + 1];
	struct elf_file *elf;
	struct program_owner owner; /* of the program, as it was read once */
	bool set_id;
	uint32_t personality;
	struct image image;
};

static void exec_free(struct exec *e)
{
	elf_close(e->elf);
	if (e->file)
		file_put(e->file);
	arguments_free(e->args);
	kfree(e->name);
	if (e->image.space)
		vmm_space_put(e->image.space);
	account_shrink(current_process()->account, e->image.charged);
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
	e->script = e->name = kmalloc(PATH_BYTES);
	if (!e->args || !e->name) {
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
	kstrlcpy(e->interpreter, interpreter, sizeof(e->interpreter));
	e->script = e->interpreter;
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

static uint64_t stack_limit(const struct process *p, bool secure)
{
	uint64_t limit = rlimit_soft(p, RLIMIT_STACK);
	return secure ? mem_min(limit, SECURE_STACK_MOST) : limit;
}

/* Who the program runs as, if it started now. Set-user-id and set-group-id bits count for
 * programs, not for scripts: e->owner is the program's. */
static struct identity identity_locked(struct exec *e, bool *secure)
{
	struct task *t = current_task();
	return identity_exec(&t->process->id, &e->owner, fs_is_shared_locked(t), &e->set_id,
			     secure);
}

static void choose_identity(struct exec *e)
{
	file_owner(e->file, &e->owner);
	unsigned long irq = proc_lock();
	e->image.id = identity_locked(e, &e->image.secure);
	e->image.stack_limit = stack_limit(current_process(), e->image.secure);
	proc_unlock(irq);
	e->personality = current_process()->personality;
	if (e->set_id)
		e->personality &= ~PERSONALITY_UNSAFE;
}

static int exec_build(struct exec *e)
{
	struct image *image = &e->image;
	choose_identity(e);
	image->random = !(e->personality & ADDR_NO_RANDOMIZE);
	image->mm = mm_layout_create(NULL);
	if (!image->mm)
		return -ENOMEM;
	mem_status status = vmm_space_create(kernel_vmm, &image->space);
	if (status != MEM_OK) {
		image->space = NULL;
		return (int)errno_from(status);
	}
	space_set_user(image->space, image->id.uid);
	image_place(image);
	int error = elf_load(e->elf, image);
	if (!error)
		error = image_make_stack(image, e->args, e->name);
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
	tasks_tell_locked(p);
	proc_unlock(irq);
	tasks_settle();
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

/* Nobody else changes the identity now, but it may have changed since the stack was made. */
static int settle_identity(struct exec *e)
{
	struct image *image = &e->image;
	bool secure;
	unsigned long irq = proc_lock();
	struct identity id = identity_locked(e, &secure);
	proc_unlock(irq);
	bool same = secure == image->secure && id.uid == image->id.uid &&
		    id.euid == image->id.euid && id.gid == image->id.gid &&
		    id.egid == image->id.egid;
	image->id = id;
	image->secure = secure;
	return same ? 0 : image_rewrite_identity(image);
}

/* The new program's memory and who it is, for all to see at once. */
static void swap_memory(struct task *t, struct exec *e)
{
	struct process *p = t->process;
	struct image *image = &e->image;
	struct memory memory = {image->space, image->mm, image->exe};
	if (p->space) {
		struct vmm_space_stats stats;
		vmm_space_stats(p->space, &stats);
		p->faults_minor += stats.faults_minor;
		p->faults_major += stats.faults_major;
		p->peak_resident = mem_max(p->peak_resident, stats.peak_resident);
	}
	unsigned long irq = proc_lock();
	process_swap_memory_locked(p, &memory);
	p->mm->dumpable = e->owner.readable && p->id.euid == p->id.uid && p->id.egid == p->id.gid;
	identity_set_locked(t, &image->id);
	if (image->secure)
		t->parent_death_signal = 0;
	p->rlimit[RLIMIT_STACK][0] = stack_limit(p, image->secure);
	p->personality = e->personality;
	p->execs++; /* what its children were to send was for the program that it was */
	proc_unlock(irq);
	image->space = NULL;
	image->mm = NULL;
	image->exe = NULL;
	thread_set_space(p->space);
	process_apply_limits(p);
	memory_put(&memory);
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

/* What of step 5 needs memory. Without it there is no program to go back to. */
static int exec_settle(struct exec *e)
{
	struct task *t = current_task();
	/* Nobody else's descriptors may become those of a program that is more than he. */
	int error = fs_exec_unshare(t);
	if (!error)
		error = settle_identity(e);
	if (error) {
		unsigned long irq = proc_lock();
		group_exit_locked(t->process, SIGKILL, NULL);
		proc_unlock(irq);
	}
	return error;
}

static void exec_commit(struct exec *e, struct signal_handlers *fresh)
{
	struct task *t = current_task();
	struct process *p = t->process;
	task_release_memory(t); /* clear_child_tid, robust list; lets a vfork parent go on */
	posix_timers_exec(p);
	swap_memory(t, e);
	fs_exec(t);
	reset_handlers(p, fresh);
	set_names(t, e);
	memset(&t->altstack, 0, sizeof(t->altstack));
	memset(&t->restart, 0, sizeof(t->restart));
	t->robust_list = t->robust_len = 0;
	t->set_child_tid = 0;
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
	if (!error)
		error = exec_settle(e);
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
