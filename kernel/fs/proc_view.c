/* SPDX-License-Identifier: MIT */
/* Rights to the files of /proc/PID, and what they are about: see proc_pid.h. */
#include "kernel/fs/proc_pid.h"

#include <mem/heap.h>
#include <mem/object.h>
#include <mem/vmm.h>

static void take_space_locked(struct proc_view *v, struct mm_layout *mm)
{
	if (!mm || !mm->space)
		return;
	v->space = mm->space;
	vmm_space_get(v->space);
	mm_layout_copy_locked(mm, &v->mm);
}

static void take_process_locked(struct proc_view *v, struct process *p, bool memory)
{
	if (memory)
		take_space_locked(v, p->mm);
	v->exe = p->exe;
	if (v->exe)
		vm_object_get(v->exe);
	v->files = fd_table_get_locked(p);
	v->fs = context_get_locked(p);
}

/* To whom the files belong: to root, if who runs the process is not to see all of it. */
static void owner_locked(const struct process *p, uint32_t *uid, uint32_t *gid)
{
	bool his = p->mm && p->mm->dumpable;
	*uid = his ? p->id.euid : 0;
	*gid = his ? p->id.egid : 0;
}

static bool owns_locked(const struct process *p)
{
	uint32_t uid, gid, own_uid, own_gid;
	owner_locked(p, &uid, &gid);
	current_owner(&own_uid, &own_gid);
	return p == current_process() || uid == own_uid || capable(CAP_DAC_READ_SEARCH) ||
	       capable(CAP_DAC_OVERRIDE);
}

static int take_locked(struct proc_view *v, const struct proc_node *node, struct mm_layout *bound)
{
	struct process *p = v->process;
	if (node->bind == BIND_SPACE) {
		take_space_locked(v, bound);
		v->may_look = true;
		return 0;
	}
	if (process_is_gone_locked(p))
		return -ESRCH;
	v->may_look = !process_access_locked(p, ACCESS_BY_FILE_IDS);
	if (node->right == RIGHT_LOOK && !v->may_look)
		return -EACCES;
	if (node->right == RIGHT_OWNER && !owns_locked(p))
		return -EACCES;
	/* Links and directories are followed under the tree lock, where the last to let go of
	 * a space must not be. */
	take_process_locked(v, p, node->show_view != NULL);
	return 0;
}

struct proc_view *proc_view_get(const struct inode *inode, struct mm_layout *bound, int *error)
{
	struct proc_view *v = kzalloc(sizeof(*v));
	*error = -ENOMEM;
	if (!v)
		return NULL;
	v->inode = inode;
	v->process = inode->process;
	unsigned long irq = proc_lock();
	*error = take_locked(v, inode->data, bound);
	proc_unlock(irq);
	if (!*error)
		return v;
	kfree(v);
	return NULL;
}

void proc_view_put(struct proc_view *v)
{
	if (v->space)
		vmm_space_put(v->space);
	if (v->exe)
		vm_object_put(v->exe);
	fd_table_put(v->files);
	context_put(v->fs);
	kfree(v);
}

static bool has_memory(struct process *p)
{
	unsigned long irq = proc_lock();
	bool has = p->mm != NULL;
	proc_unlock(irq);
	return has;
}

int proc_bind(const struct inode *inode, struct mm_layout **out)
{
	const struct proc_node *node = inode->data;
	int error = 0;
	*out = NULL;
	if (node->bind == BIND_SPACE)
		*out = process_mm_access(inode->process, ACCESS_BY_FILE_IDS, &error);
	else if (node->bind == BIND_RUNNING && !has_memory(inode->process))
		error = -EINVAL;
	return error;
}

/* Directories that anybody may enter are his in any case, as on Linux. */
void proc_refresh(struct inode *inode)
{
	struct process *p = inode->process;
	if (!p)
		return;
	unsigned long irq = proc_lock();
	owner_locked(p, &inode->uid, &inode->gid);
	if (inode->mode == (S_IFDIR | 0555)) {
		inode->uid = p->id.euid;
		inode->gid = p->id.egid;
	}
	proc_unlock(irq);
}

bool proc_is_own(const struct inode *inode)
{
	return inode->process == current_process();
}
