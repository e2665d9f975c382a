KERNEL_SRC += kernel/proc/pid.c kernel/proc/process.c kernel/proc/walk.c kernel/proc/tell.c kernel/proc/fork.c kernel/proc/exit.c
KERNEL_SRC += kernel/proc/wait.c kernel/proc/group.c kernel/proc/rlimit.c kernel/proc/oom.c
KERNEL_SRC += kernel/proc/access.c kernel/proc/identity.c kernel/proc/account.c
KERNEL_SRC += kernel/proc/exec.c kernel/proc/arguments.c kernel/proc/elf.c kernel/proc/stack.c
KERNEL_SRC += kernel/proc/signal_queue.c kernel/proc/signal_send.c kernel/proc/signal_deliver.c kernel/proc/signal_frame.c
KERNEL_SRC += kernel/proc/signal_calls.c kernel/proc/exception.c kernel/proc/start.c
