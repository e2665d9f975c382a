/* SPDX-License-Identifier: MIT */
/*
 * An object's pages: a radix tree from page number to frame.
 *
 * Nodes have 64 slots, so a file of up to 256 KiB is one node. The tree is as high as its
 * highest page needs, and grows at the root. A node that becomes empty is freed at once, so
 * an object without pages has no nodes.
 */
#include "vm/objects.h"

#define NODE_BITS  6u
#define NODE_SLOTS (1u << NODE_BITS)

struct object_node {
	uint64_t slots[NODE_SLOTS]; /* a node, or at the bottom frame address + 1; 0: none */
	uint32_t used;
};

const size_t vm_object_node_bytes = sizeof(struct object_node);

static bool fits(unsigned height, uint64_t page)
{
	return height * NODE_BITS >= 64 || (page >> (height * NODE_BITS)) == 0;
}

static unsigned slot_of(uint64_t page, unsigned level)
{
	return (page >> (level * NODE_BITS)) & (NODE_SLOTS - 1);
}

static struct object_node *node_at(uint64_t slot)
{
	return (struct object_node *)(uintptr_t)slot;
}

/* The bottom node on the path of `page`, or NULL. */
static const struct object_node *bottom_of(const struct vm_object *object, uint64_t page)
{
	if (!object->height || !fits(object->height, page))
		return NULL;
	const struct object_node *node = object->root;
	for (unsigned level = object->height - 1; node && level > 0; level--)
		node = node_at(node->slots[slot_of(page, level)]);
	return node;
}

paddr_t vm_pages_lookup(const struct vm_object *object, uint64_t page)
{
	const struct object_node *node = bottom_of(object, page);
	return node ? node->slots[slot_of(page, 0)] - 1 : PADDR_NONE;
}

uint64_t vm_pages_lookup_many(const struct vm_object *object, uint64_t page, unsigned n,
			      paddr_t *out)
{
	uint64_t found = 0;
	for (unsigned i = 0; i < n;) {
		const struct object_node *node = bottom_of(object, page + i);
		unsigned slot = slot_of(page + i, 0), until = mem_min(n, i + NODE_SLOTS - slot);
		if (!node)
			i = until;
		for (; i < until; i++, slot++) {
			out[i] = node->slots[slot] - 1;
			found |= (uint64_t)(node->slots[slot] != 0) << i;
		}
	}
	return found;
}

static struct object_node *node_create(struct vm_object *object)
{
	struct object_node *node = slab_alloc_wait(object->vmm->nodes);
	if (node)
		memset(node, 0, sizeof(*node));
	return node;
}

/* Free the nodes on the path of `page` that are empty. */
static void prune(struct vm_object *object, uint64_t page)
{
	while (object->height) {
		struct object_node *node = object->root, *parent = NULL;
		unsigned level = object->height - 1;
		while (level > 0 && node_at(node->slots[slot_of(page, level)])) {
			parent = node;
			node = node_at(node->slots[slot_of(page, level--)]);
		}
		if (node->used)
			return;
		if (parent) {
			parent->slots[slot_of(page, level + 1)] = 0;
			parent->used--;
		} else {
			object->root = NULL;
			object->height = 0;
		}
		slab_free(object->vmm->nodes, node);
	}
}

mem_status vm_pages_insert(struct vm_object *object, uint64_t page, paddr_t pa)
{
	if (!object->height) {
		object->root = node_create(object);
		if (!object->root)
			return MEM_ENOMEM;
		for (object->height = 1; !fits(object->height, page);)
			object->height++;
	}
	while (!fits(object->height, page)) {
		struct object_node *root = node_create(object);
		if (!root)
			goto no_memory;
		root->slots[0] = (uintptr_t)object->root;
		root->used = 1;
		object->root = root;
		object->height++;
	}
	struct object_node *node = object->root;
	for (unsigned level = object->height - 1; level > 0; level--) {
		uint64_t *slot = &node->slots[slot_of(page, level)];
		if (!*slot) {
			struct object_node *child = node_create(object);
			if (!child)
				goto no_memory;
			*slot = (uintptr_t)child;
			node->used++;
		}
		node = node_at(*slot);
	}
	mem_assert(!node->slots[slot_of(page, 0)]);
	node->slots[slot_of(page, 0)] = pa + 1;
	node->used++;
	object->npages++;
	atomic_count(&object->vmm->object_npages, 1);
	return MEM_OK;
no_memory:
	/* A higher root than needed may stay: it is not empty. */
	prune(object, page);
	return MEM_ENOMEM;
}

/* The first page at or after `from` below `node`; its level is `level`. */
static bool find_from(const struct object_node *node, unsigned level, uint64_t base, uint64_t from,
		      uint64_t *page)
{
	uint64_t span = (uint64_t)1 << (level * NODE_BITS);
	unsigned i = from > base ? (unsigned)((from - base) >> (level * NODE_BITS)) : 0;
	for (; i < NODE_SLOTS; i++) {
		if (!node->slots[i])
			continue;
		uint64_t at = base + i * span;
		if (level == 0) {
			*page = at;
			return true;
		}
		if (find_from(node_at(node->slots[i]), level - 1, at, from, page))
			return true;
	}
	return false;
}

uint64_t vm_pages_run(const struct vm_object *object, uint64_t page, bool *data)
{
	uint64_t next;
	*data = false;
	if (!object->height || !fits(object->height, page) ||
	    !find_from(object->root, object->height - 1, 0, page, &next))
		return UINT64_MAX - page;
	if (next > page)
		return next - page;
	*data = true;
	const struct object_node *node = object->root;
	for (unsigned level = object->height - 1; level > 0; level--)
		node = node_at(node->slots[slot_of(page, level)]);
	unsigned i = slot_of(page, 0), first = i;
	while (i < NODE_SLOTS && node->slots[i])
		i++;
	return i - first;
}

paddr_t vm_pages_take(struct vm_object *object, uint64_t from, uint64_t end, uint64_t *page)
{
	if (!object->height || !fits(object->height, from) ||
	    !find_from(object->root, object->height - 1, 0, from, page) || *page >= end)
		return PADDR_NONE;
	struct object_node *node = object->root;
	for (unsigned level = object->height - 1; level > 0; level--)
		node = node_at(node->slots[slot_of(*page, level)]);
	uint64_t *slot = &node->slots[slot_of(*page, 0)];
	paddr_t pa = *slot - 1;
	*slot = 0;
	node->used--;
	object->npages--;
	atomic_count(&object->vmm->object_npages, -1);
	prune(object, *page);
	return pa;
}
