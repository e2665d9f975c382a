/* SPDX-License-Identifier: MIT */
/* The file system as the first program finds it. */
#include <kernel/log.h>

#include "kernel/fs/vfs.h"

static int make_and_find(const char *path, struct dentry **out)
{
	int r = fs_make_node(path, S_IFDIR | 0755, 0, NULL);
	return r ? r : path_lookup(AT_FDCWD, path, WALK_FOLLOW, out);
}

int fs_init(void)
{
	struct mount *m;
	struct dentry *d;
	siblings_init();
	int r = mount_tmpfs(NULL, "rootfs", "rootfs", 0755, &m);
	if (r)
		return r;
	root_dentry = m->root;
	if (!(r = make_and_find("/dev", &d))) {
		r = devfs_mount(d);
		dentry_put(d);
	}
	if (!r && !(r = make_and_find("/proc", &d))) {
		r = procfs_mount(d, "proc");
		dentry_put(d);
	}
	if (!r)
		r = fs_make_node("/tmp", S_IFDIR | 01777, 0, NULL);
	return r;
}
