# Threads, waiting, time.
KERNEL_SRC += kernel/sched/thread.c kernel/sched/sched.c kernel/sched/waitq.c kernel/sched/mutex.c \
	kernel/sched/timer.c kernel/sched/stats.c
