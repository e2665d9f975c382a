/* SPDX-License-Identifier: MIT */
/*
 * Debug builds (MEM_DEBUG): what surrounds each object, and where freed ones
 * wait.
 *
 *     | object, bytes asked for | red zone ........ | struct record |
 *     |<------- object_bytes ------->|<-- 16 or more -->|
 *     |<----------------------- stride ------------------------------>|
 *
 * A fresh object is filled with ALLOC_BYTE, a freed one with FREE_BYTE (not if the cache
 * has a constructor: freed objects keep their state), the red zone always holds RED_BYTE. A
 * freed object waits in the cache's quarantine, so that a late write to it finds nobody
 * else's data. It is checked when it leaves that, and when it is allocated again. The
 * record says who allocated and who freed; that is also what the leak list is made from.
 */
#include "base/assert.h"
#include "slab/paths.h"

#ifdef MEM_DEBUG
#define ALLOC_BYTE 0xcb
#define FREE_BYTE  0xdb
#define RED_BYTE   0xbb
#define RED_BYTES  16

enum state { STATE_LIVE = 0x4556494c, STATE_FREE = 0x45455246 };

struct record {
	const void *alloc_site;
	const void *free_site;
	uint64_t bytes;
	uint32_t state;
	uint32_t check; /* of the fields above: who overwrites the record is found */
};

static struct record *record_of(const struct slab *slab, const void *block)
{
	uintptr_t at = (uintptr_t)block + slab->cache->stride - sizeof(struct record);
	return (struct record *)at; // NOLINT(performance-no-int-to-ptr)
}

static uint32_t record_sum(const struct record *r)
{
	uint64_t x = (uintptr_t)r->alloc_site * 3 + (uintptr_t)r->free_site * 5 + r->bytes * 7 +
		     r->state + (uintptr_t)r;
	x *= 0x9e3779b97f4a7c15;
	return (uint32_t)(x >> 32);
}

size_t slab_debug_extra(void)
{
	return RED_BYTES + align_up(sizeof(struct record), 16);
}

static bool all_bytes(const void *from, const void *to, uint8_t byte)
{
	size_t n = (size_t)((const char *)to - (const char *)from);
	return bytes_equal(from, n, byte) == n;
}

static void check_record(const struct slab *slab, const void *block)
{
	const struct record *r = record_of(slab, block);
	if (r->check != record_sum(r))
		slab_bad_block(slab, block,
			       "overflow: the record behind the object is overwritten");
	const char *from = (const char *)block + r->bytes;
	if (!all_bytes(from, r, RED_BYTE))
		host_panic("slab '%s': overflow: red zone of %p (%lu bytes) overwritten; "
			   "allocated at %p",
			   slab->cache->name, block, (unsigned long)r->bytes, r->alloc_site);
}

static void check_poison(const struct slab *slab, const void *block)
{
	const struct record *r = record_of(slab, block);
	if (slab->cache->construct)
		return;
	if (!all_bytes(block, (const char *)block + slab->cache->object_bytes, FREE_BYTE))
		host_panic("slab '%s': use after free: %p written after it was freed at %p; "
			   "allocated at %p",
			   slab->cache->name, block, r->free_site, r->alloc_site);
}

/* A block that leaves quarantine: was it written meanwhile? */
static void check_leaving(struct slab_cache *cache, const void *block)
{
	const struct slab *slab = slab_of(cache, block);
	check_record(slab, block);
	check_poison(slab, block);
}

static void poison(struct slab *slab, void *block)
{
	struct record *r = record_of(slab, block);
	r->bytes = slab->cache->object_bytes;
	r->state = STATE_FREE;
	r->check = record_sum(r);
	if (!slab->cache->construct)
		memset(block, FREE_BYTE, r->bytes);
	char *red = (char *)block + r->bytes;
	memset(red, RED_BYTE, (size_t)((char *)r - red));
}

void slab_debug_init(struct slab *slab, void *block)
{
	struct record *r = record_of(slab, block);
	r->alloc_site = r->free_site = NULL;
	poison(slab, block);
}

static void set_live(struct slab *slab, void *block, size_t bytes, const void *site)
{
	struct record *r = record_of(slab, block);
	r->alloc_site = site;
	r->bytes = bytes;
	r->state = STATE_LIVE;
	r->check = record_sum(r);
	char *red = (char *)block + bytes;
	memset(red, RED_BYTE, (size_t)((char *)r - red));
}

void slab_debug_alloc(struct slab *slab, void *block, size_t bytes, const void *site)
{
	check_record(slab, block);
	if (record_of(slab, block)->state != STATE_FREE)
		slab_bad_block(slab, block, "corrupt: a live object was handed out");
	check_poison(slab, block);
	if (!slab->cache->construct)
		memset(block, ALLOC_BYTE, bytes);
	set_live(slab, block, bytes, site);
}

void *slab_debug_free(struct slab *slab, void *block, const void *site)
{
	struct slab_cache *cache = slab->cache;
	struct record *r = record_of(slab, block);
	check_record(slab, block);
	if (r->state != STATE_LIVE)
		host_panic("slab '%s': double free: %p (%lu-byte objects) was freed at %p",
			   cache->name, block, (unsigned long)cache->object_bytes, r->free_site);
	r->free_site = site;
	poison(slab, block);

	struct slab_quarantine *q = &cache->quarantine;
	void *out = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	if (q->count == ARRAY_COUNT(q->block))
		out = q->block[q->head];
	else
		q->count++;
	q->block[q->head] = block;
	q->head = (q->head + 1) % ARRAY_COUNT(q->block);
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (out)
		check_leaving(cache, out);
	return out;
}

void *slab_debug_drain(struct slab_cache *cache)
{
	struct slab_quarantine *q = &cache->quarantine;
	void *out = NULL;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	if (q->count) {
		size_t size = ARRAY_COUNT(q->block);
		out = q->block[(q->head + size - q->count) % size];
		q->count--;
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	if (out)
		check_leaving(cache, out);
	return out;
}

uint64_t slab_debug_quarantined(struct slab_cache *cache)
{
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	uint64_t n = cache->quarantine.count;
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	return n;
}

size_t slab_debug_bytes(const struct slab *slab, const void *block)
{
	check_record(slab, block);
	if (record_of(slab, block)->state != STATE_LIVE)
		slab_bad_block(slab, block, "use after free: the size of a freed object");
	return record_of(slab, block)->bytes;
}

void slab_debug_resize(struct slab *slab, void *block, size_t bytes, const void *site)
{
	check_record(slab, block);
	set_live(slab, block, bytes, site);
}

bool slab_debug_is_valid(const struct slab *slab, unsigned index, bool in_use)
{
	const void *block = slab_block(slab, index);
	check_record(slab, block);
	if (record_of(slab, block)->state == STATE_FREE)
		check_poison(slab, block);
	else if (!in_use)
		return false;
	return true;
}

uint64_t slab_for_each_live(struct slab_cache *cache,
			    void (*visit)(void *object, size_t bytes, const void *site, void *arg),
			    void *arg)
{
	uint64_t n = 0;
	unsigned long irq = mem_lock_irq(&cache->lock, MEM_RANK_SLAB);
	list_for_each (node, &cache->slabs) {
		struct slab *slab = list_entry(node, struct slab, all);
		for (unsigned i = 0; i < slab->capacity; i++) {
			void *block = slab_block(slab, i);
			const struct record *r = record_of(slab, block);
			if (r->state != STATE_LIVE)
				continue;
			n++;
			if (visit)
				visit(block, r->bytes, r->alloc_site, arg);
		}
	}
	mem_unlock_irq(&cache->lock, MEM_RANK_SLAB, irq);
	return n;
}
#else
size_t slab_debug_extra(void)
{
	return 0;
}
void slab_debug_init(MEM_UNUSED struct slab *slab, MEM_UNUSED void *block)
{
}
void slab_debug_alloc(MEM_UNUSED struct slab *slab, MEM_UNUSED void *block, MEM_UNUSED size_t bytes,
		      MEM_UNUSED const void *site)
{
}
void *slab_debug_free(MEM_UNUSED struct slab *slab, void *block, MEM_UNUSED const void *site)
{
	return block;
}
void *slab_debug_drain(MEM_UNUSED struct slab_cache *cache)
{
	return NULL;
}
uint64_t slab_debug_quarantined(MEM_UNUSED struct slab_cache *cache)
{
	return 0;
}
size_t slab_debug_bytes(const struct slab *slab, MEM_UNUSED const void *block)
{
	return slab->cache->object_bytes;
}
void slab_debug_resize(MEM_UNUSED struct slab *slab, MEM_UNUSED void *block,
		       MEM_UNUSED size_t bytes, MEM_UNUSED const void *site)
{
}
bool slab_debug_is_valid(MEM_UNUSED const struct slab *slab, MEM_UNUSED unsigned index,
			 MEM_UNUSED bool in_use)
{
	return true;
}
uint64_t slab_for_each_live(struct slab_cache *cache,
			    MEM_UNUSED void (*visit)(void *object, size_t bytes, const void *site,
						     void *arg),
			    MEM_UNUSED void *arg)
{
	struct slab_stats stats;
	slab_get_stats(cache, &stats);
	return stats.live;
}
#endif

struct report {
	const char *name;
	unsigned left;
};

static void report_one(void *object, size_t bytes, const void *site, void *arg)
{
	struct report *report = arg;
	if (!report->left)
		return;
	report->left--;
	host_log(HOST_LOG_WARN, "slab '%s': live: %p, %lu bytes, allocated at %p", report->name,
		 object, (unsigned long)bytes, site);
}

void slab_report_live(struct slab_cache *cache, unsigned limit)
{
	struct report report = {cache->name, limit};
	slab_for_each_live(cache, report_one, &report);
}
