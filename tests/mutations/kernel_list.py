# SPDX-License-Identifier: MIT
"""Small wrongs in kernel/, each of which some test must catch.

Each is (name, file, old text, new text, tests), as in list.py; a test is `kernel NAME`
or `program AREA/NAME` (kernel.py). Each costs a boot for every test that is tried: name
the one that catches it first, and one that takes a second rather than a minute.
"""

MUTATIONS = [
    # ---- rights ------------------------------------------------------------------
    ("user memory reaches to the top of the address space", "kernel/cpu/uaccess.c",
     "\treturn bytes <= USER_TOP && at <= USER_TOP - bytes;\n",
     "\treturn at + bytes >= at;\n",
     ["kernel kernel_uaccess_wild"]),
    ("anyone removes what lies in a sticky directory", "kernel/fs/namei.c",
     "\tif ((dir->inode->mode & S_ISVTX) && !inode_owner_ok(d->inode) &&\n",
     "\tif ((dir->inode->mode & S_ISVTX) && 0 && !inode_owner_ok(d->inode) &&\n",
     ["program files/files"]),
    # ---- values that the CPU checks --------------------------------------------------
    ("clone takes any base for the child's FS", "kernel/proc/fork.c",
     "(flags & CLONE_SETTLS) && !user_base_ok(r->tls)",
     "(flags & CLONE_SETTLS) && r->tls == 1",
     ["program signals/cpuvalues"]),
    ("a signal frame's selectors are not looked at", "kernel/proc/signal_frame.c",
     "pop_fpu(f.uc.mcontext.fpstate) || !good", "pop_fpu(f.uc.mcontext.fpstate)",
     ["program signals/cpuvalues"]),
    ("a signal frame names FPU components that there are not", "kernel/proc/signal_frame.c",
     "features &= software.features | ~cpu_features.xsave_mask;",
     "features &= software.features & cpu_features.xsave_mask;",
     ["program signals/cpuvalues"]),

    # ---- who holds a CPU -----------------------------------------------------------
    ("mincore does not look at SIGKILL", "kernel/syscall/mm.c",
     "\t\tdone += now;\n\t\tif (task_killed())\n\t\t\treturn -EINTR;\n",
     "\t\tdone += now;\n",
     ["program hostile/kills_more"]),
    ("populating does not look at SIGKILL", "kernel/syscall/mm.c",
     "\t\tdone += step;\n\t\tif (task_killed())\n\t\t\treturn -EINTR;\n",
     "\t\tdone += step;\n",
     ["program hostile/kills"]),
    ("process_vm_writev does not look at SIGKILL", "kernel/syscall/access.c",
     "\t\tif (done < bytes || task_killed()) {\n", "\t\tif (done < bytes) {\n",
     ["program hostile/kills"]),
    ("timers: the later one comes first", "kernel/sched/timer.c",
     "\t\tif (b->deadline < a->deadline) {\n", "\t\tif (b->deadline > a->deadline) {\n",
     ["kernel kernel_timers_fire_in_order"]),
    ("timers: a cancelled one takes a child along", "kernel/sched/timer.c",
     "\tinstead = merge(t->left, t->right);\n", "\tinstead = t->left;\n",
     ["kernel kernel_timers_fire_in_order"]),
    ("a dropped signal is never counted off", "kernel/proc/signal_queue.c",
     "\tqueued_infos--;\n\tstock_put(node);\n", "\tstock_put(node);\n",
     ["program signals/queue_again"]),
    ("epoll: a closed file stays in its sets", "kernel/fs/epoll.c",
     "\t\tif (s && s == held) {\n\t\t\tfree_item(s, first);\n",
     "\t\tif (s && s == held) {\n\t\t\tlist_remove(&first->file_link);\n",
     ["program files/events"]),
]
