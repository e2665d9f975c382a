/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_UTIL_H
#define MEM_BASE_UTIL_H
/* Small arithmetic, bit and list helpers with no state. */
#include <mem/types.h>

#include "base/page.h"

#define ARRAY_COUNT(a)                  (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define mem_min(a, b)                                                                              \
	({                                                                                         \
		__auto_type a_ = (a);                                                              \
		__auto_type b_ = (b);                                                              \
		a_ < b_ ? a_ : b_;                                                                 \
	})
#define mem_max(a, b)                                                                              \
	({                                                                                         \
		__auto_type c_ = (a);                                                              \
		__auto_type d_ = (b);                                                              \
		c_ > d_ ? c_ : d_;                                                                 \
	})
#define likely(x)         __builtin_expect(!!(x), 1)
#define unlikely(x)       __builtin_expect(!!(x), 0)
#define MEM_CACHE_ALIGNED __attribute__((aligned(64)))
#define MEM_UNUSED        __attribute__((unused)) /* a parameter that others want */

static inline uint64_t align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

/* May wrap to 0 within `align` of 2^64; use align_up_checked where that matters. */
static inline uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static inline bool align_up_checked(uint64_t value, uint64_t align, uint64_t *out)
{
	uint64_t sum;
	if (__builtin_add_overflow(value, align - 1, &sum))
		return false;
	*out = sum & ~(align - 1);
	return true;
}

static inline bool is_pow2(uint64_t value)
{
	return value && !(value & (value - 1));
}

static inline unsigned bit_lowest(uint64_t word) /* word != 0 */
{
	return (unsigned)__builtin_ctzll(word);
}

static inline unsigned bit_highest(uint64_t word) /* word != 0 */
{
	return 63u - (unsigned)__builtin_clzll(word);
}

/* libgcc is not there in a kernel, and not every CPU has popcnt. */
static inline unsigned bit_count(uint64_t x)
{
	x -= (x >> 1) & 0x5555555555555555;
	x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (unsigned)((x * 0x0101010101010101) >> 56);
}

/* Circular doubly linked list; an empty head and an unlinked node point to themselves. */
struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_insert(struct list *node, struct list *prev, struct list *next)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_insert(node, head, head->next);
}

static inline void list_push_back(struct list *head, struct list *node)
{
	list_insert(node, head->prev, head);
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define list_for_each(node, head)                                                                  \
	for (struct list *node = (head)->next; node != (head); node = node->next)
/* The body may remove and free `node`. */
#define list_for_each_safe(node, head)                                                             \
	for (struct list *node = (head)->next, *node##_next = node->next; node != (head);          \
	     node = node##_next, node##_next = node->next)
#define list_entry(node, type, member) container_of(node, type, member)

/* Freestanding C needs these from somewhere; the host links its own. */
MEM_BEGIN_DECLS
void *memset(void *to, int byte, size_t bytes);
void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
MEM_END_DECLS

/* How many of n bytes are `byte` until the first that is not, eight at a time. */
static inline size_t bytes_equal(const void *from, size_t n, uint8_t byte)
{
	const uint8_t *p = (const uint8_t *)from;
	uint64_t want = byte * (uint64_t)0x0101010101010101, is;
	size_t i = 0;
	for (; i + sizeof(is) <= n; i += sizeof(is)) {
		__builtin_memcpy(&is, p + i, sizeof(is));
		if (is != want)
			break;
	}
	while (i < n && p[i] == byte)
		i++;
	return i;
}
#endif
