/* SPDX-License-Identifier: MIT */
/*
 * /proc: the machinery. What the files say is in proc_system.c, proc_sys.c,
 * proc_pid.c and proc_maps.c.
 *
 * Nothing is stored: a look-up makes a dentry and an inode that live as long as
 * somebody holds them. Those below /proc/PID hold the process (proc_pid.h).
 *
 * A file's text is made when it is read at position 0 and kept until the next
 * such read or the close: a reader that takes it in pieces gets one consistent
 * text. Of a text without bound (maps, smaps) one piece is kept, and the next is
 * made when it is read; each piece is consistent. What is kept is on the account of
 * the process that opened the file.
 */
#include "kernel/fs/proc_pid.h"
#include "kernel/fs/secrets.h"

#include <kernel/account.h>
#include <kernel/boot.h>
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/pmm.h>

/* ---- text ---------------------------------------------------------------------------------- */

/* The first page of a text is a frame, not a block of the heap: most texts need
 * no more, and one who reads MemFree then changes it by the same one frame every
 * time, whatever state the heap is in. Longer texts go to the heap. */
static void text_free(struct text *t)
{
	if (t->room == PAGE_SIZE)
		pmm_free(kernel_pmm, ptr_to_paddr(t->buffer), 0);
	else
		kfree(t->buffer);
	*t = (struct text){0};
}

static bool text_reserve(struct text *t, size_t bytes)
{
	if (t->failed || t->used + bytes <= t->room)
		return !t->failed;
	size_t room = mem_max(t->room * 2, (size_t)PAGE_SIZE);
	while (room < t->used + bytes)
		room *= 2;
	char *bigger = NULL;
	if (room > PAGE_SIZE) {
		bigger = kmalloc(room);
	} else {
		paddr_t frame = pmm_alloc(kernel_pmm, 0, PMM_KERNEL | PMM_WAIT);
		if (frame != PADDR_NONE)
			bigger = paddr_to_ptr(frame);
	}
	if (!bigger) {
		t->failed = true;
		return false;
	}
	struct text old = *t;
	if (old.buffer) {
		memcpy(bigger, old.buffer, old.used);
		text_free(&old);
	}
	t->buffer = bigger;
	t->room = room;
	return true;
}

void text_add(struct text *t, const char *bytes, size_t count)
{
	if (!text_reserve(t, count))
		return;
	memcpy(t->buffer + t->used, bytes, count);
	t->used += count;
}

void text_print(struct text *t, const char *format, ...)
{
	for (int try = 0; try < 2; try++) {
		va_list args;
		size_t room = t->room - t->used;
		va_start(args, format);
		int n = kvsnprintf(t->buffer ? t->buffer + t->used : NULL, room, format, args);
		va_end(args);
		if ((size_t)n < room) {
			t->used += (size_t)n;
			return;
		}
		if (!text_reserve(t, (size_t)n + 1))
			return;
	}
}

/* ---- files ------------------------------------------------------------------------------------
 */

static const struct proc_node *node_of(const struct inode *inode)
{
	return inode->data;
}

static void charge_text(struct proc_file *pf)
{
	account_grow(pf->account, pf->text.room);
	account_shrink(pf->account, pf->charged);
	pf->charged = pf->text.room;
}

/* What the file says now, from t->next on, written over what it said before. */
static int make_piece(struct file *f)
{
	const struct proc_node *node = node_of(f->inode);
	struct proc_file *pf = f->data;
	struct text *t = &pf->text;
	int r;
	t->used = 0;
	t->more = false;
	t->addresses = pf->sees_addresses;
	if (node->show_view) {
		struct proc_view *v = proc_view_get(f->inode, pf->mm, &r);
		if (v) {
			r = node->show_view(t, v);
			proc_view_put(v);
		}
	} else {
		r = node->show(t, NULL, f->inode);
	}
	if (!r && t->failed)
		r = -ENOMEM;
	if (r)
		text_free(t);
	charge_text(pf);
	return r;
}

/* See that the text has what is at this position of the file, if the file has. */
static int make_text(struct file *f, uint64_t at)
{
	struct proc_file *pf = f->data;
	struct text *t = &pf->text;
	int r = 0;
	if (!at || !t->buffer || at < pf->text_at) {
		pf->text_at = t->next = 0;
		r = make_piece(f);
	}
	while (!r && t->more && at >= pf->text_at + t->used) {
		pf->text_at += t->used;
		r = task_killed() ? -EINTR : make_piece(f);
	}
	return r;
}

static ssize_t proc_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	const struct proc_node *node = node_of(f->inode);
	struct proc_file *pf = f->data;
	const struct text *t = &pf->text;
	if (!node->show && !node->show_view)
		return -EINVAL;
	mutex_lock(&f->inode->lock);
	ssize_t r = make_text(f, (uint64_t)*at);
	uint64_t from = (uint64_t)*at - pf->text_at;
	if (!r && from < t->used) {
		bytes = mem_min(bytes, t->used - from);
		size_t left = buffer_out(buffer, t->buffer + from, bytes);
		r = left == bytes && bytes ? -EFAULT : (ssize_t)(bytes - left);
		if (r > 0)
			*at += r;
	}
	mutex_unlock(&f->inode->lock);
	return r;
}

#define STORE_MAX   4096
#define STORE_SMALL 32 /* numbers; drop_caches must not hold a block of the heap itself */

static ssize_t proc_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	const struct proc_node *node = node_of(f->inode);
	if (!node->store)
		return -EINVAL;
	if (!bytes)
		return 0;
	if (bytes >= STORE_MAX)
		return -EINVAL;
	char small[STORE_SMALL];
	char *text = bytes < sizeof(small) ? small : kmalloc(bytes + 1);
	int r = !text ? -ENOMEM : buffer_in(text, buffer, bytes) ? -EFAULT : 0;
	if (!r) {
		text[bytes] = 0;
		r = node->store(f->inode->process, f->inode, text, bytes);
	}
	if (text != small)
		kfree(text);
	if (r)
		return r;
	*at += (off_t)bytes;
	return (ssize_t)bytes;
}

void proc_release(struct file *f)
{
	struct proc_file *pf = f->data;
	text_free(&pf->text);
	charge_text(pf);
	account_give(pf->account, sizeof(*pf));
	mm_layout_put(pf->mm);
	kfree(pf);
}

static const struct file_ops proc_file_ops = {
    .read = proc_read,
    .write = proc_write,
    .release = proc_release,
};

static int open_file(struct file *f)
{
	const struct proc_node *node = node_of(f->inode);
	struct mm_layout *mm;
	int r = proc_bind(f->inode, &mm);
	if (r)
		return r;
	struct proc_file *pf = kzalloc(sizeof(*pf));
	if (!pf) {
		mm_layout_put(mm);
		return -ENOMEM;
	}
	pf->account = account_take(sizeof(*pf));
	pf->mm = mm;
	pf->sees_frames = capable(CAP_SYS_ADMIN);
	pf->sees_addresses = secrets_addresses_shown();
	f->data = pf;
	f->ops = node->fops ? node->fops : &proc_file_ops;
	return 0;
}

static int proc_open(struct file *f)
{
	if (inode_is(f->inode, S_IFLNK))
		return -ELOOP;
	if (!inode_is(f->inode, S_IFDIR))
		return open_file(f);
	f->ops = &dir_file_ops;
	return 0;
}

const struct inode_ops proc_file_inode_ops = {.open = proc_open, .refresh = proc_refresh};

/* ---- directories
 * --------------------------------------------------------------------------------- */

uint64_t proc_ino(const struct proc_node *node, uint64_t number, uint64_t number2)
{
	/* Counted from the kernel's beginning, or it would tell where that is. */
	uint64_t low = ((uintptr_t)node - KERNEL_LINK_BASE - boot_slide()) >> 3 & 0xfffff;
	return (number2 << 52 ^ number << 20 ^ low) | (uint64_t)1 << 51;
}

bool proc_parse_number(const char *name, unsigned length, uint64_t *out)
{
	uint64_t value = 0;
	if (!length || length > 9 || (name[0] == '0' && length > 1))
		return false;
	for (unsigned i = 0; i < length; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(name[i] - '0');
	}
	*out = value;
	return true;
}

int proc_make(struct dentry *dir, const char *name, unsigned length, const struct proc_node *node,
	      struct process *p, uint64_t number2, struct dentry **out)
{
	struct inode *inode = inode_new(dir->inode->mount, node->mode, 0, 0);
	if (!inode)
		return -ENOMEM;
	if (p)
		process_get(p);
	inode->data = node;
	inode->process = p;
	inode->number = p ? (uint64_t)p->pid : 0;
	inode->ino = proc_ino(node, inode->number, number2);
	inode->number2 = number2;
	inode->fops = &dir_file_ops;
	inode->ops = node->ops                  ? node->ops
		     : inode_is(inode, S_IFDIR) ? &proc_dir_ops
						: &proc_file_inode_ops;
	if (inode->ops->refresh)
		inode->ops->refresh(inode);
	*out = dentry_new(dir, name, length, inode);
	if (*out)
		return 0;
	inode_put(inode);
	return -ENOMEM;
}

static bool same_name(const char *a, const char *b, unsigned length)
{
	return !kstrncmp(a, b, length) && !a[length];
}

/* Is this below the directory of a process that has been reaped? */
static bool proc_is_gone(const struct inode *inode)
{
	if (!inode->process)
		return false;
	unsigned long irq = proc_lock();
	bool gone = process_is_gone_locked(inode->process);
	proc_unlock(irq);
	return gone;
}

int proc_lookup(struct dentry *dir, const char *name, unsigned length, struct dentry **out)
{
	const struct inode *i = dir->inode;
	if (proc_is_gone(i))
		return -ENOENT;
	for (const struct proc_node *n = node_of(i)->children; n && n->name; n++)
		if (same_name(n->name, name, length))
			return proc_make(dir, name, length, n, i->process, i->number2, out);
	return -ENOENT;
}

int proc_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	const struct inode *i = dir->inode;
	uint64_t position = 2;
	if (proc_is_gone(i))
		return -ENOENT;
	if (dir_emit_dots(dir, &from, emit, arg))
		return 0;
	for (const struct proc_node *n = node_of(i)->children; n && n->name; n++, position++) {
		if (position < from)
			continue;
		if (!emit(arg, n->name, (unsigned)kstrlen(n->name),
			  proc_ino(n, i->number, i->number2), n->mode >> 12, position + 1))
			return 0;
	}
	return 0;
}

const struct inode_ops proc_dir_ops = {
    .lookup = proc_lookup,
    .iterate = proc_iterate,
    .open = proc_open,
    .refresh = proc_refresh,
};

/* ---- the root: fixed names and processes
 * ------------------------------------------------------------ */

static int root_lookup(struct dentry *dir, const char *name, unsigned length, struct dentry **out)
{
	uint64_t pid;
	if (!proc_parse_number(name, length, &pid))
		return proc_lookup(dir, name, length, out);
	struct process *p = pid ? process_find((pid_t)pid) : NULL;
	if (!p)
		return -ENOENT;
	int r = proc_make(dir, name, length, &proc_pid_node, p, 0, out);
	process_put(p);
	return r;
}

#define PROCESS_POSITION 256 /* of pid 0; names come before */

static bool stopped_short(void *arg, const char *name, unsigned length, uint64_t ino, unsigned type,
			  uint64_t next);

struct watch_emit {
	dir_emit emit;
	void *arg;
	bool stopped;
};

static bool stopped_short(void *arg, const char *name, unsigned length, uint64_t ino, unsigned type,
			  uint64_t next)
{
	struct watch_emit *w = arg;
	w->stopped = !w->emit(w->arg, name, length, ino, type, next);
	return !w->stopped;
}

static int root_iterate(struct dentry *dir, uint64_t from, dir_emit emit, void *arg)
{
	struct watch_emit w = {emit, arg, false};
	if (from < PROCESS_POSITION)
		(void)proc_iterate(dir, from, stopped_short, &w);
	if (w.stopped)
		return 0;
	pid_t next = from > PROCESS_POSITION ? (pid_t)(from - PROCESS_POSITION) : 1;
	struct process *p;
	while ((p = process_next(next))) {
		char name[16];
		pid_t pid = p->pid;
		process_put(p);
		int n = ksnprintf(name, sizeof(name), "%d", pid);
		if (!emit(arg, name, (unsigned)n, proc_ino(&proc_pid_node, (uint64_t)pid, 0),
			  DT_DIR, PROCESS_POSITION + (uint64_t)pid + 1))
			break;
		next = pid + 1;
	}
	return 0;
}

static const struct inode_ops root_ops = {
    .lookup = root_lookup,
    .iterate = root_iterate,
    .open = proc_open,
};

static const struct proc_node root_node = {
    .name = "proc", .mode = S_IFDIR | 0555, .ops = &root_ops, .children = proc_root_nodes};

int procfs_mount(struct dentry *point, const char *source)
{
	struct mount *m = mount_new("proc", source);
	struct inode *inode = m ? inode_new(m, root_node.mode, 0, 0) : NULL;
	if (inode) {
		inode->ops = &root_ops;
		inode->fops = &dir_file_ops;
		inode->data = &root_node;
		m->root = dentry_new(NULL, "", 0, inode);
		if (!m->root)
			inode_put(inode);
	}
	if (!m || !m->root) {
		if (m)
			mount_put(m);
		return -ENOMEM;
	}
	tree_write();
	mount_attach(m, point);
	tree_write_done();
	return 0;
}

/* ---- the list of mounts
 * ---------------------------------------------------------------------------------- */

/* The place of a mount, seen from the absolute root; tree lock held. */
static void mount_place(struct mount *m, char *to, size_t bytes)
{
	size_t at = bytes - 1;
	to[at] = 0;
	for (struct dentry *d = m->point; d;) {
		if (d->parent == d) {
			d = d->inode->mount->point;
			continue;
		}
		if (d->length + 1 > at)
			break;
		at -= d->length;
		memcpy(to + at, d->name, d->length);
		to[--at] = '/';
		d = d->parent;
	}
	if (at == bytes - 1)
		to[--at] = '/';
	memmove(to, to + at, bytes - at);
}

static void show_mount(struct mount *m, void *arg)
{
	char place[512];
	mount_place(m, place, sizeof(place));
	text_print(arg, "%s %s %s %s,relatime 0 0\n", m->source, place, m->type,
		   (m->flags & 1) ? "ro" : "rw");
}

static void show_mountinfo(struct mount *m, void *arg)
{
	char place[512];
	const char *mode = (m->flags & 1) ? "ro" : "rw";
	mount_place(m, place, sizeof(place));
	text_print(arg, "%u %u %u:%u / %s %s,relatime - %s %s %s\n", m->id,
		   m->point ? m->point->inode->mount->id : m->id, dev_major(m->dev),
		   dev_minor(m->dev), place, mode, m->type, m->source, mode);
}

void proc_show_mounts(struct text *t)
{
	mount_for_each(show_mount, t);
}

void proc_show_mountinfo(struct text *t)
{
	mount_for_each(show_mountinfo, t);
}
