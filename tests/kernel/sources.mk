KERNEL_TEST_SRC += tests/kernel/every_cpu.c tests/kernel/frames.c tests/kernel/heap.c \
	tests/kernel/protection.c tests/kernel/space.c tests/kernel/shootdown.c tests/kernel/pitfalls.c \
	tests/kernel/sched.c tests/kernel/uaccess.c tests/kernel/text.c tests/kernel/crashes.c \
	tests/kernel/victims.c
