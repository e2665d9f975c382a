/* SPDX-License-Identifier: MIT */
/* /dev/null, zero, full and kmsg. */
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/sched.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>

#include "kernel/dev/dev.h"
#include "kernel/fs/abi.h"
#include "kernel/fs/secrets.h"

static ssize_t null_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return 0;
}

static ssize_t null_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return (ssize_t)bytes;
}

static ssize_t zero_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	size_t done = 0;
	while (done < bytes) {
		size_t chunk = mem_min(bytes - done, (size_t)PAGE_SIZE);
		size_t left = buffer_clear(buffer + done, chunk);
		if (left && chunk < 64) /* Linux clears less than that at once or not at all */
			left = chunk;
		done += chunk - left;
		if (left || thread_interrupted())
			break;
	}
	return done || !bytes ? (ssize_t)done : -EFAULT;
}

static ssize_t full_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return -ENOSPC;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write};
static const struct file_ops zero_ops = {.read = zero_read, .write = null_write};

bool file_is_zero(const struct file *f)
{
	return f->ops == &zero_ops;
}

static const struct file_ops full_ops = {.read = zero_read, .write = full_write};

/* ---- the kernel log ------------------------------------------------------------------ */

static int kmsg_open(struct file *f)
{
	return file_can_read(f) && !secrets_log_shown() ? -EPERM : 0;
}

static ssize_t kmsg_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	char *text = kmalloc(1024);
	if (!text)
		return -ENOMEM;
	uint64_t position = f->number;
	size_t got = klog_read(&position, text, mem_min(bytes, (size_t)1024));
	ssize_t r = (ssize_t)got;
	if (!got)
		r = -EAGAIN; /* nothing new: a log is not worth sleeping for */
	else if (buffer_out(buffer, text, got))
		r = -EFAULT;
	else
		f->number = position;
	kfree(text);
	return r;
}

static ssize_t kmsg_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	char line[256];
	size_t take = mem_min(bytes, sizeof(line) - 1);
	if (buffer_in(line, buffer, take))
		return -EFAULT;
	line[take] = 0;
	char *text = line;
	if (*text == '<') { /* a syslog priority */
		char *end = kstrchr(text, '>');
		text = end ? end + 1 : text;
	}
	size_t length = kstrlen(text);
	while (length && text[length - 1] == '\n')
		text[--length] = 0;
	klog(LOG_INFO, "%s", text);
	return (ssize_t)bytes;
}

static const struct file_ops kmsg_ops = {.read = kmsg_read, .write = kmsg_write};

int memory_devices_init(void)
{
	int r = devfs_register("null", 1, 3, &null_ops, device_open_anywhere);
	if (!r)
		r = devfs_register("zero", 1, 5, &zero_ops, device_open_anywhere);
	if (!r)
		r = devfs_register("full", 1, 7, &full_ops, device_open_anywhere);
	if (!r)
		r = devfs_register("kmsg", 1, 11, &kmsg_ops, kmsg_open);
	return r;
}
