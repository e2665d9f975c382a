KERNEL_SRC += kernel/syscall/table.c kernel/syscall/mm.c kernel/syscall/time.c
KERNEL_SRC += kernel/syscall/itimer.c kernel/syscall/posix_timer.c kernel/syscall/futex.c
KERNEL_SRC += kernel/syscall/ids.c kernel/syscall/info.c kernel/syscall/sched.c
KERNEL_SRC += kernel/syscall/prctl.c kernel/syscall/capability.c kernel/syscall/access.c
