/* SPDX-License-Identifier: MIT */
/*
 * Inodes: the bodies behind names.
 *
 * The life of a regular file's inode: its references come from dentries and
 * open files. When the last goes, the inode gives up its reference on the
 * object and nothing else; the object lives on while anything maps it, and its
 * release, whenever that is, frees the inode. So object_path() and friends may
 * read the inode of any object somebody holds. Other inodes are freed at once.
 */
#include "kernel/fs/vfs.h"

#include <kernel/account.h>
#include <kernel/log.h>
#include <mem/heap.h>

nsec_t fs_now(void)
{
	return time_realtime();
}

struct inode *inode_new(struct mount *mount, uint32_t mode, uint32_t uid, uint32_t gid)
{
	struct inode *i = kzalloc(sizeof(*i));
	if (!i)
		return NULL;
	i->refs = 1;
	i->mode = mode;
	i->uid = uid;
	i->gid = gid;
	i->nlink = inode_is(i, S_IFDIR) ? 2 : 1;
	i->mount = mount;
	atomic_add(&mount->refs, 1);
	i->ino = __atomic_add_fetch(&mount->next_ino, 1, __ATOMIC_RELAXED);
	i->atime = i->mtime = i->ctime = i->btime = fs_now();
	return i;
}

void inode_free(struct inode *i)
{
	kassert(!i->locks && !i->pipe);
	tmpfs_let_go(i->held);
	mount_put(i->mount);
	process_put(i->process);
	kfree(i->link);
	account_free(i->dead_path);
	kfree(i);
}

void inode_put(struct inode *inode)
{
	if (!inode || atomic_sub(&inode->refs, 1))
		return;
	if (inode->ops && inode->ops->release)
		inode->ops->release(inode);
	if (inode->object)
		vm_object_put(inode->object); /* its release frees the inode */
	else
		inode_free(inode);
}

uint64_t inode_bytes(const struct inode *inode)
{
	if (inode->object)
		return vm_object_bytes(inode->object);
	if (inode->link)
		return kstrlen(inode->link);
	return 0;
}

static bool running_user(void)
{
	struct thread *t = current_thread();
	return t && t->user;
}

void current_owner(uint32_t *uid, uint32_t *gid)
{
	*uid = running_user() ? current_process()->id.fsuid : 0;
	*gid = running_user() ? current_process()->id.fsgid : 0;
}

/* May this capability stand in for what the mode does not grant? */
static bool overrides(const struct inode *inode, unsigned want, uint64_t capabilities)
{
	bool directory = inode_is(inode, S_IFDIR), reads = want == R_OK;
	if (directory)
		reads = !(want & W_OK);
	if (reads && (capabilities & CAP_BIT(CAP_DAC_READ_SEARCH)))
		return true;
	if ((want & X_OK) && !directory && !(inode->mode & 0111))
		return false;
	return capabilities & CAP_BIT(CAP_DAC_OVERRIDE);
}

int inode_permission_as(struct inode *inode, unsigned want, const struct file_user *user)
{
	if (inode->ops && inode->ops->refresh)
		inode->ops->refresh(inode);
	uint32_t mode = inode->mode;
	if ((want & W_OK) && (inode->mount->flags & 1 /* MS_RDONLY */) &&
	    (inode_is(inode, S_IFREG) || inode_is(inode, S_IFDIR) || inode_is(inode, S_IFLNK)))
		return -EROFS;
	if (user->uid == inode->uid)
		mode >>= 6;
	else if (user->gid == inode->gid || in_supplementary_group(inode->gid))
		mode >>= 3;
	if (!(want & ~mode & 7) || overrides(inode, want, user->capabilities))
		return 0;
	bool own = inode->ops && inode->ops->is_own && inode->ops->is_own(inode);
	return own ? 0 : -EACCES;
}

int inode_permission(struct inode *inode, unsigned want)
{
	struct file_user user = {.capabilities = CAP_ALL};
	if (running_user()) {
		const struct identity *id = &current_process()->id;
		user = (struct file_user){id->fsuid, id->fsgid, id->effective};
	}
	return inode_permission_as(inode, want, &user);
}

bool inode_owner_ok(const struct inode *inode)
{
	uint32_t uid, gid;
	current_owner(&uid, &gid);
	return uid == inode->uid || capable(CAP_FOWNER);
}

void inode_touch(struct inode *inode, bool modified)
{
	nsec_t now = fs_now();
	inode->ctime = now;
	if (modified)
		inode->mtime = now;
}

/* Access times as "relatime" keeps them: only when the old one says nothing. */
void inode_accessed(struct file *f)
{
	struct inode *i = f->inode;
	if (f->flags & O_NOATIME)
		return;
	nsec_t now = fs_now();
	if (i->atime <= i->mtime || i->atime <= i->ctime || now - i->atime > 86400 * NSEC_PER_SEC)
		i->atime = now;
}
