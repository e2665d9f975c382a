/* SPDX-License-Identifier: MIT */
#ifndef MEM_VM_OBJECTS_H
#define MEM_VM_OBJECTS_H
/*
 * Objects as the files of vm/ see them; mem/object.h is their public face.
 *
 * Two things hang on an object: its pages (a radix tree page -> frame, each
 * frame counted once for the index) and its mappers (who may map it, and where).
 * The pages are under `pages_lock`, which may be taken under a table lock; the
 * mappers under `maps_lock`, never together with a table lock.
 */
#include <mem/object.h>

#include "vm/space.h"

struct object_node;

/* Pages that are being taken back from everybody: what a zap is after. */
struct zap {
	const struct vm_object *object; /* NULL: whatever there is */
	uint64_t first, end;            /* pages of it */
	bool copies;                    /* private copies of them, too */
};

/* Those who map one object on one owner's account. */
struct map_owner {
	uint64_t owner;     /* as vmm_space_set_owner said; constant */
	uint64_t nmappers;  /* under object->maps_lock */
	uint64_t nbackings; /* of all these; atomic */
	struct list link;   /* object->owners: object->maps_lock */
};

/* One space that maps one object (object_maps.c). */
struct mapper {
	struct space *space;      /* constant; it outlives its mappers */
	struct vm_object *object; /* constant; backings hold the references */
	struct map_owner *owner;  /* on whose account; constant */
	struct list of_space;     /* space->mappers, last used first: space->maps_lock */
	struct list of_object;    /* object->mappers, newest first: object->maps_lock */
	struct list backings;     /* newest first, not empty: space->maps_lock */
	/* The box: runs lie in [low, high), deltas in [least, most]. Read without a lock. */
	vpn_t low, high;
	int64_t least, most;
};

struct vm_object {
	uint64_t refs;
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
	/* 1 while `zap` says which pages nobody may get: sleep on it. Written under
	 * pages_lock. */
	uint32_t zapping;
	struct zap zap;

	struct mem_lock maps_lock;
	struct list mappers;   /* newest first */
	struct list owners;    /* of mappers */
	struct map_owner own;  /* the first of them, and usually the only one */
	struct list *zap_next; /* the mapper that the zap under way visits next */
	uint64_t charged;      /* pages charged against the commit limit */
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

/* The frame of `page`, for an entry of a leaf whose lock is held: not counted (I9).
 * MEM_EBEYOND; MEM_EAGAIN it has to be filled, or is being taken back: vm_object_page,
 * which may sleep, is to be called; MEM_ENOMEM. */
mem_status vm_object_frame(struct vm_object *object, uint64_t page, paddr_t *out);

/* The frames that there are of `n` (up to 64) pages and may be mapped, as vm_object_frame
 * gives one; bit i of the result: out[i] is that of page + i. */
uint64_t vm_object_frames(struct vm_object *object, uint64_t page, unsigned n, paddr_t *out);

/* An anonymous shared object, charged against the commit limit unless `charge`
 * is false. */
mem_status vm_object_create_shared(struct vmm *vmm, uint64_t bytes, bool charge,
				   struct vm_object **out);

/* The radix tree (vm/object_pages.c), under pages_lock. */
extern const size_t vm_object_node_bytes;
paddr_t vm_pages_lookup(const struct vm_object *object, uint64_t page);
/* The frames of `n` (up to 64) pages; bit i of the result: there is one for page + i. */
uint64_t vm_pages_lookup_many(const struct vm_object *object, uint64_t page, unsigned n,
			      paddr_t *out);
/* As vm_object_run. */
uint64_t vm_pages_run(const struct vm_object *object, uint64_t page, bool *data);
/* MEM_ENOMEM: nothing has changed. The page is not in the tree. */
mem_status vm_pages_insert(struct vm_object *object, uint64_t page, paddr_t pa);
/* Take out the first page in [from, end) at or after `from`: its frame and
 * number, or PADDR_NONE. Frees nodes left empty. */
paddr_t vm_pages_take(struct vm_object *object, uint64_t from, uint64_t end, uint64_t *page);

/* ---- zaps (vm/object_zap.c) ------------------------------------------------------- */

/* Take down the entries of [first, end) in one locked leaf that the zap is after, flush,
 * drop them. */
void vm_zap_leaf(struct space *space, struct table *t, const struct zap *zap, vpn_t first,
		 vpn_t end);

/* Pages [first, end) go: from now on nobody finds them, and when this returns nobody
 * has them mapped, nor private copies if `copies`. Locks: the object's size. */
void vm_object_zap_begin(struct vm_object *object, uint64_t first, uint64_t end, bool copies);
/* They are out of the index. */
void vm_object_zap_end(struct vm_object *object);

/* Is a zap under way, and what is it after? For who moves or copies entries: the leaves
 * of both places are locked, and the new one is in its mapper's box. */
bool vm_object_zapping(struct vm_object *object, struct zap *out);

/* Is the zap after this entry of backing b at vpn? */
static inline bool vm_zap_takes(const struct zap *zap, const struct backing *b, vpn_t vpn,
				pte_t pte)
{
	uint64_t page = (uint64_t)((int64_t)vpn + b->delta);
	return zap->first <= page && page < zap->end &&
	       (zap->copies || (pte & (PTE_OBJECT | PTE_UNCOUNTED)));
}

/* The box of m covers [first, end) from now on. */
void vm_mapper_extend(struct mapper *m, vpn_t first, vpn_t end);
bool vm_get_unless_zero(uint64_t *refs);
#endif
