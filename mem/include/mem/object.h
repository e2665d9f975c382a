/* SPDX-License-Identifier: MIT */
#ifndef MEM_OBJECT_H
#define MEM_OBJECT_H
/*
 * Objects: things with pages that can be mapped: files, shared anonymous
 * memory, devices. An object owns an index page -> frame; mappings of it refer
 * to it through backings (struct vm_backing, inside mem/vm).
 *
 * A file system that lives in memory keeps its file contents here and nowhere
 * else: read() and write() copy from and to the same frames that mmap() maps.
 */
#include <mem/types.h>

MEM_BEGIN_DECLS

struct vmm;
struct vm_object;

/* Contexts are those of mem/vmm.h: `thread` may sleep, holds no spin lock, and waits for
 * other CPUs unless the call says that it does not. Locks: none has to be held. Where
 * nothing else is said, a call that fails has changed nothing. */

/* Kinds of objects differ in these; any may be NULL. */
struct vm_object_ops {
	/* Fill the frame at pa with page `page` (a new page, zeroed when called). Called
	 * with the object's size held for a write that makes it longer, else with no lock;
	 * may sleep; must not resize, punch or write the object. Anything but MEM_OK and
	 * MEM_ENOMEM becomes MEM_EIO. NULL: new pages stay zero. */
	mem_status (*fill)(struct vm_object *object, uint64_t page, paddr_t pa);
	/* The last reference went: the host frees what `host_data` owns. Context: thread. */
	void (*release)(struct vm_object *object);
	/* Device memory: the physical page to map for `page`; such frames are not
	 * counted and never copied. PADDR_NONE: none (SIGBUS). Context: any, a table's
	 * lock is held: it must not call mem/. */
	paddr_t (*device_page)(struct vm_object *object, uint64_t page);
};

/* Make an object of `bytes` bytes with one reference; `ops` (NULL: all of them NULL) has
 * to outlive it. Context: thread; waits only when memory is short. Errors: MEM_ENOMEM;
 * MEM_EINVAL beyond 2^63 - 1. */
MEM_CHECKED mem_status vm_object_create(struct vmm *vmm, const struct vm_object_ops *ops,
					void *host_data, uint64_t bytes, struct vm_object **out);
/* One reference more; the caller has one already. Context: any. */
void vm_object_get(struct vm_object *object);
/* Drop a reference; the last one frees the pages. Context: thread, no lock; does not
 * wait. */
void vm_object_put(struct vm_object *object);

/* What vm_object_create was given. Context: any. */
void *vm_object_host_data(const struct vm_object *object);
/* Its size now; may be outdated at once. Context: any. */
uint64_t vm_object_bytes(const struct vm_object *object);
/* Pages resident in its index. Context: any. */
uint64_t vm_object_npages(const struct vm_object *object);

/* Change the size. Smaller: publishes the size first, zaps every mapping of
 * what went, zeroes the tail of the last page, frees the pages. Larger: the
 * new part reads as zero. Context: thread, may sleep, no lock.
 * Errors: MEM_EINVAL beyond 2^63 - 1. */
MEM_CHECKED mem_status vm_object_resize(struct vm_object *object, uint64_t bytes);

/* Make pages [first, first + npages) holes again (they read as zero), zapping
 * mappings. The size stays. Context: thread, may sleep, no lock. Errors: MEM_EINVAL
 * npages 0, or wrapping. */
MEM_CHECKED mem_status vm_object_punch(struct vm_object *object, uint64_t first, uint64_t npages);

/* The frame of `page`, created (zeroed, filled) if it is missing and `create`;
 * counted once for the caller, who drops it with vm_object_page_done.
 * Context: thread, may sleep, no lock. Errors: MEM_ENOMEM, MEM_EIO, MEM_EBEYOND
 * (page beyond the size), MEM_ENOENT (missing and !create). */
MEM_CHECKED mem_status vm_object_page(struct vm_object *object, uint64_t page, bool create,
				      paddr_t *out);
/* Drop the count that vm_object_page gave. Context: any. */
void vm_object_page_done(struct vm_object *object, paddr_t pa);

/* A stretch that begins with `page`: how many pages of it are there (*data), or are holes.
 * At least 1; there may be more of its kind after it. The size is not looked at: beyond
 * it all is a hole. Does the same work however long the hole is. Context: thread, no lock
 * that ranks after an object's page index; does not wait. */
uint64_t vm_object_run(struct vm_object *object, uint64_t page, bool *data);

/* Copy bytes between a kernel buffer and the object at byte `offset`; holes
 * read as zero without being filled in. Read stops at the size; write grows the
 * size as far as it got, and one that makes the object longer is alone with it.
 * `*done` always says how many bytes were copied.
 * For user buffers the host loops over vm_object_page itself, because a user
 * copy may fault. Context: thread, may sleep, no lock. Errors: MEM_ENOMEM, MEM_EIO
 * (what *done says is done); MEM_EINVAL a write beyond 2^63 - 1. */
MEM_CHECKED mem_status vm_object_read(struct vm_object *object, uint64_t offset, void *buffer,
				      uint64_t bytes, uint64_t *done);
MEM_CHECKED mem_status vm_object_write(struct vm_object *object, uint64_t offset,
				       const void *buffer, uint64_t bytes, uint64_t *done);

MEM_END_DECLS
#endif
