/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_OBJECTS_H
#define MEM_VM_OBJECTS_H
/*
 * Objects as the files of vm/ see them; mem/object.h is their public face.
 *
 * Two things hang on an object: its pages (a radix tree page -> frame, each
 * frame counted once for the index) and its maps (backings: who may map it, at
 * which distance). The pages are under `pages_lock`, which may be taken under a
 * table lock; the maps under `maps_lock`, never together with a table lock.
 */
#include <mem/object.h>

#include "vm/space.h"

struct object_node;

struct vm_object {
	uint32_t refs;
	struct vmm *vmm;
	const struct vm_object_ops *ops; /* never NULL */
	void *host_data;
	uint64_t id;    /* never reused */
	uint64_t bytes; /* atomic; changed under size_lock */
	/* Shared: writes inside the size; exclusive: growth, truncation, punching. */
	struct mem_rwlock size_lock;

	struct mem_lock pages_lock;
	struct object_node *root;
	unsigned height;
	uint64_t npages;
	/* Pages that nobody may get while they are being punched out: sleep on
	 * `punching` (1 meanwhile). Under pages_lock. */
	uint32_t punching;
	uint64_t punch_first, punch_end;

	struct mem_lock maps_lock;
	struct list maps; /* backings, oldest first */
	uint64_t moves;   /* times that entries went from one backing to another; atomic */
	uint64_t charged; /* pages charged against the commit limit */
};

static inline uint64_t object_size_npages(const struct vm_object *object)
{
	uint64_t bytes = atomic_read_seq(&object->bytes);
	return (bytes >> PAGE_SHIFT) + ((bytes & PAGE_MASK) != 0);
}

static inline bool object_is_device(const struct vm_object *object)
{
	return object->ops->device_page != NULL;
}

/* The frame of `page` with one more count. MEM_EBEYOND; MEM_EAGAIN it has to be
 * filled, or is being punched out: vm_object_page, which may sleep, is to be called;
 * MEM_ENOMEM. Any lock up to
 * tables may be held. */
mem_status vm_object_page_now(struct vm_object *object, uint64_t page, paddr_t *out);

/* An anonymous shared object, charged against the commit limit unless `charge`
 * is false. */
mem_status vm_object_create_shared(struct vmm *vmm, uint64_t bytes, bool charge,
				   struct vm_object **out);

/* The radix tree (vm/object_pages.c), under pages_lock. */
extern const size_t vm_object_node_bytes;
paddr_t vm_pages_lookup(const struct vm_object *object, uint64_t page);
/* MEM_ENOMEM: nothing has changed. The page is not in the tree. */
mem_status vm_pages_insert(struct vm_object *object, uint64_t page, paddr_t pa);
/* Take out the first page in [from, end) at or after `from`: its frame and
 * number, or PADDR_NONE. Frees nodes left empty. */
paddr_t vm_pages_take(struct vm_object *object, uint64_t from, uint64_t end, uint64_t *page);

/* Lock the first leaf that has pages in [*vpn, end) and set *vpn to where it begins
 * in the range; NULL: none is left. */
struct table *vm_next_leaf(struct space *space, vpn_t *vpn, vpn_t end);
/* Take down the entries of [first, end) in one locked leaf, flush, drop them: those of
 * backing b (NULL: all), private copies too if `copies`. */
void vm_zap_leaf(struct space *space, struct table *t, const struct backing *b, vpn_t first,
		 vpn_t end, bool copies);

/* Take down every mapping of pages [first, end) in every space; private copies
 * too if `copies`. No lock. */
void vm_object_zap(struct vm_object *object, uint64_t first, uint64_t end, bool copies);
#endif
