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
]
