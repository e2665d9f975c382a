# SPDX-License-Identifier: MIT
KERNEL_SRC += kernel/fs/attr.c kernel/fs/cpio.c kernel/fs/dentry.c kernel/fs/devfs.c \
	kernel/fs/dir.c kernel/fs/epoll.c kernel/fs/events.c kernel/fs/fcntl.c kernel/fs/fd.c kernel/fs/fd_table.c kernel/fs/file.c kernel/fs/init.c \
	kernel/fs/inode.c kernel/fs/lock.c kernel/fs/misc.c kernel/fs/mount.c kernel/fs/namei.c kernel/fs/open.c \
	kernel/fs/path.c kernel/fs/pipe.c kernel/fs/poll.c kernel/fs/proc_view.c kernel/fs/proc_links.c \
	kernel/fs/proc_maps.c kernel/fs/proc_pid.c kernel/fs/proc_sys.c kernel/fs/proc_system.c \
	kernel/fs/procfs.c kernel/fs/rename.c kernel/fs/rw.c kernel/fs/secrets.c kernel/fs/siblings.c kernel/fs/socket.c kernel/fs/splice.c kernel/fs/stat.c kernel/fs/tmpfs.c
