/* SPDX-License-Identifier: MIT */
/*
 * Sampling: a few blocks get a page of their own between pages that are not mapped.
 *
 * The problem. Overflows and uses after free are found at once only by the hardware, which
 * costs a page and a flush a block. That is too much for all, and nothing for one in
 * thousands. A fleet of machines, or one that runs long enough, finds the rest.
 *
 *      guard | canary canary | block | guard        at the end: overflow faults
 *      guard | block | canary canary canary | guard at the start: underflow faults
 *
 * The block lies at either end of its page, by lot; the rest of the page holds a canary
 * that is checked when the block is freed. A freed page is filled with another pattern. The
 * next reap, which may wait for a flush, checks that pattern and decommits the page.
 * Whoever still uses the block faults then, and heap_find_trap() tells the host's fault
 * report whose block that was.
 *
 *     READY --alloc--> LIVE --free--> FREED --reap--> GONE --reap, oldest first--> READY
 *
 * A list for each state but LIVE has its slots, oldest first.
 *
 * Half of the slots are traps (GONE): a freed block stays one for as long as it takes to
 * free as many others. Pages held are constant after each reap. An area that cannot
 * decommit pages has no traps: FREED becomes READY, found out by pattern only.
 *
 * Which blocks: each CPU counts the allocations that leave the fast path (a refill in
 * the fast profile, every one in the hardened) and takes every `interval`th. So the
 * fast path costs nothing, and all slots are made beforehand: any context may be
 * sampled.
 *
 * Lock: heap->sample_lock (MEM_RANK_HEAP, interrupts off), for states and lists. A slot in
 * CHANGING belongs to who frees or reaps it, who checks and fills its page without the lock.
 */
#include "heap/internal.h"

#define READY_BYTE 0x5c
#define FREED_BYTE 0xdb

enum sample_state { SAMPLE_READY, SAMPLE_LIVE, SAMPLE_FREED, SAMPLE_GONE, SAMPLE_CHANGING };

struct sample {
	struct list node; /* of its state's list, if that has one */
	char *page;
	char *block;
	size_t bytes;
	const void *alloc_site, *free_site;
	enum sample_state state;
};

static struct list *list_of(struct heap *heap, enum sample_state state)
{
	switch (state) {
	case SAMPLE_READY:
		return &heap->sample_ready;
	case SAMPLE_FREED:
		return &heap->sample_freed;
	case SAMPLE_GONE:
		return &heap->sample_gone;
	default:
		return NULL;
	}
}

/* Take the slot that is in this state longest; NULL: there is none. Locks: sample_lock. */
static struct sample *take(struct heap *heap, enum sample_state state, enum sample_state to)
{
	struct list *list = list_of(heap, state);
	if (list_empty(list))
		return NULL;
	struct sample *s = list_entry(list->next, struct sample, node);
	list_remove(&s->node);
	s->state = to;
	return s;
}

static void put(struct heap *heap, struct sample *s, enum sample_state state)
{
	s->state = state;
	list_push_back(list_of(heap, state), &s->node);
}

/* ---- making ---------------------------------------------------------------------- */

static uint64_t array_npages(unsigned slots)
{
	return align_up(slots * sizeof(struct sample), PAGE_SIZE) / PAGE_SIZE;
}

static void unmap_all(struct heap *heap, struct sample *samples, unsigned n, unsigned slots)
{
	for (unsigned i = 0; i < n; i++)
		heap->area->unmap(heap->area, samples[i].page, 1);
	heap->area->unmap(heap->area, samples, array_npages(slots));
}

static void set_interval(struct heap *heap, unsigned interval)
{
	atomic_write_release(&heap->sample_interval, interval);
	for (unsigned cpu = 0; cpu < host_cpu_count(); cpu++)
		atomic_write_relaxed(&heap->guards[cpu]->until_sample, 0);
}

mem_status heap_sample_start(struct heap *heap, unsigned slots, unsigned interval)
{
	mem_contract_thread();
	mem_contract(slots >= 2 && slots <= 4096 && interval,
		     "slots have to be 2 to 4096, interval 1 or more");
	if (heap->sample_count) {
		set_interval(heap, interval);
		return MEM_OK;
	}
	struct heap_area *area = heap->area;
	struct sample *samples = area->map(area, array_npages(slots), 1, false);
	if (!samples)
		return MEM_ENOMEM;
	memset(samples, 0, slots * sizeof(*samples));
	uintptr_t low = UINTPTR_MAX, high = 0;
	for (unsigned i = 0; i < slots; i++) {
		char *page = samples[i].page = area->map(area, 1, 1, false);
		if (!page) {
			unmap_all(heap, samples, i, slots);
			return MEM_ENOMEM;
		}
		memset(page, READY_BYTE, PAGE_SIZE);
		low = mem_min(low, (uintptr_t)page);
		high = mem_max(high, (uintptr_t)page + PAGE_SIZE);
	}
	heap->sample_pages = slots;
	list_init(&heap->sample_ready);
	list_init(&heap->sample_freed);
	list_init(&heap->sample_gone);
	for (unsigned i = 0; i < slots; i++) {
		bool gone =
		    i >= slots / 2 && area->decommit && area->decommit(area, samples[i].page, 1);
		put(heap, &samples[i], gone ? SAMPLE_GONE : SAMPLE_READY);
		heap->sample_pages -= gone;
	}
	heap->samples = samples;
	heap->sample_low = low;
	heap->sample_high = high;
	heap->sample_count = slots;
	set_interval(heap, interval);
	return MEM_OK;
}

void heap_sample_end(struct heap *heap)
{
	unsigned slots = heap->sample_count;
	if (!slots)
		return;
	heap->sample_interval = heap->sample_count = 0;
	unmap_all(heap, heap->samples, slots, slots);
}

/* ---- finding --------------------------------------------------------------------- */

/* The slot whose page `address` is in; NULL: none. */
static struct sample *find(struct heap *heap, uintptr_t address)
{
	if (address - heap->sample_low >= heap->sample_high - heap->sample_low)
		return NULL;
	for (unsigned i = 0; i < heap->sample_count; i++)
		if (address - (uintptr_t)heap->samples[i].page < PAGE_SIZE)
			return &heap->samples[i];
	return NULL;
}

bool heap_is_sample(struct heap *heap, const void *block)
{
	return find(heap, (uintptr_t)block) != NULL;
}

/* ---- checking -------------------------------------------------------------------- */

static void check_bytes(const struct sample *s, const char *from, const char *to, uint8_t byte,
			const char *what)
{
	const char *p = from + bytes_equal(from, (size_t)(to - from), byte);
	if (p != to)
		host_panic("heap: %s: sampled block %p (%lu bytes) at offset %ld; allocated "
			   "at %p, freed at %p",
			   what, (void *)s->block, (unsigned long)s->bytes, (long)(p - s->block),
			   s->alloc_site, s->free_site);
}

/* A slot in this state, or that was until its owner took it. */
static void check_slot(const struct sample *s, enum sample_state state)
{
	const char *end = s->page + PAGE_SIZE;
	switch (state) {
	case SAMPLE_READY:
		check_bytes(s, s->page, end, READY_BYTE, "write to memory that is nobody's");
		break;
	case SAMPLE_LIVE:
		check_bytes(s, s->page, s->block, READY_BYTE, "underflow");
		check_bytes(s, s->block + s->bytes, end, READY_BYTE, "overflow");
		break;
	case SAMPLE_FREED:
		check_bytes(s, s->page, end, FREED_BYTE, "use after free");
		break;
	default:
		break;
	}
}

/* ---- alloc and free ----------------------------------------------------------------- */

/* Is it this CPU's turn? A hint: a handler in between may lose a count. */
static bool is_due(struct heap *heap)
{
	struct slab_guard *guard = heap->guards[host_cpu()];
	uint32_t n = atomic_read_relaxed(&guard->until_sample);
	atomic_write_relaxed(&guard->until_sample, n ? n - 1 : heap->sample_interval - 1);
	return !n;
}

void *heap_sample_alloc(struct heap *heap, size_t bytes, const void *site)
{
	size_t align = is_pow2(bytes) ? mem_max(bytes, (size_t)16) : 16;
	struct sample *s = NULL;
	if (bytes > PAGE_SIZE || !is_due(heap))
		return NULL;
	unsigned long irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	s = take(heap, SAMPLE_READY, SAMPLE_LIVE);
	if (s) {
		uint64_t lot = (++heap->sample_clock ^ heap->secret) * 0x9e3779b97f4a7c15;
		size_t taken = align_up(mem_max(bytes, (size_t)1), align);
		s->block = lot >> 63 ? s->page : s->page + PAGE_SIZE - taken;
		s->bytes = bytes;
		s->alloc_site = site;
		s->free_site = NULL;
		heap->sample_live++;
		heap->sample_live_bytes += bytes;
		heap->sample_allocs++;
	}
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
	return s ? s->block : NULL;
}

/* The slot of a live block; anything else is the caller's mistake. */
static struct sample *find_live(struct heap *heap, const void *block)
{
	struct sample *s = find(heap, (uintptr_t)block);
	mem_assert(s);
	if (s->state != SAMPLE_LIVE)
		host_panic("heap: double free or use after free: sampled block %p (%lu bytes), "
			   "allocated at %p, freed at %p",
			   block, (unsigned long)s->bytes, s->alloc_site, s->free_site);
	if (s->block != block)
		host_panic("heap: invalid free: %p is inside a sampled block, %p (%lu bytes)",
			   block, (void *)s->block, (unsigned long)s->bytes);
	return s;
}

void heap_sample_free(struct heap *heap, void *block, const void *site)
{
	unsigned long irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	struct sample *s = find_live(heap, block);
	s->state = SAMPLE_CHANGING;
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
	check_slot(s, SAMPLE_LIVE);
	memset(s->page, FREED_BYTE, PAGE_SIZE);
	irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	s->free_site = site;
	heap->sample_live--;
	heap->sample_live_bytes -= s->bytes;
	put(heap, s, SAMPLE_FREED);
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
}

size_t heap_sample_bytes(struct heap *heap, const void *block)
{
	unsigned long irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	struct sample *s = find_live(heap, block);
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
	check_slot(s, SAMPLE_LIVE); /* it stays so: its user asks */
	return s->bytes;
}

/* ---- with a reap ---------------------------------------------------------------------- */

/* Take a slot for the reaper; NULL: there is none. */
static struct sample *claim(struct heap *heap, enum sample_state state)
{
	unsigned long irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	struct sample *s = take(heap, state, SAMPLE_CHANGING);
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
	if (s)
		check_slot(s, state);
	return s;
}

static void settle(struct heap *heap, struct sample *s, enum sample_state state, int pages)
{
	unsigned long irq = mem_lock_irq(&heap->sample_lock, MEM_RANK_HEAP);
	put(heap, s, state);
	heap->sample_pages += (uint64_t)(int64_t)pages;
	mem_unlock_irq(&heap->sample_lock, MEM_RANK_HEAP, irq);
}

/* A trap of what was freed; false: there is nothing. */
static bool make_trap(struct heap *heap)
{
	struct heap_area *area = heap->area;
	struct sample *s = claim(heap, SAMPLE_FREED);
	if (!s)
		return false;
	if (area->decommit && area->decommit(area, s->page, 1)) {
		settle(heap, s, SAMPLE_GONE, -1);
	} else {
		memset(s->page, READY_BYTE, PAGE_SIZE);
		settle(heap, s, SAMPLE_READY, 0);
	}
	return true;
}

/* A page for the next block: there are always as many, of live ones or ready. */
static bool make_ready(struct heap *heap)
{
	struct heap_area *area = heap->area;
	if (!area->decommit || heap->sample_pages >= heap->sample_count / 2)
		return false;
	struct sample *s = claim(heap, SAMPLE_GONE);
	if (!s)
		return false;
	if (!area->recommit(area, s->page, 1, false)) {
		settle(heap, s, SAMPLE_GONE, 0);
		return false;
	}
	memset(s->page, READY_BYTE, PAGE_SIZE);
	settle(heap, s, SAMPLE_READY, 1);
	return true;
}

void heap_sample_reap(struct heap *heap)
{
	static bool (*const steps[])(struct heap *) = {make_trap, make_ready};
	for (unsigned i = 0; i < ARRAY_COUNT(steps); i++) {
		bool more = heap->sample_count != 0;
		for (unsigned n = 0; more && n < heap->sample_count; n++) {
			mem_lock_flushable(&heap->reap_lock, MEM_RANK_HEAP_REAP);
			more = steps[i](heap);
			mem_unlock(&heap->reap_lock, MEM_RANK_HEAP_REAP);
		}
	}
}

/* ---- saying what is known ------------------------------------------------------------ */

/* Bytes from the slot's block to `address` in a guard page beside it; SIZE_MAX: it is not
 * beside it. */
static size_t distance(const struct sample *s, uintptr_t address)
{
	uintptr_t page = (uintptr_t)s->page, block = (uintptr_t)s->block;
	if (!block)
		return SIZE_MAX;
	if (page - address <= PAGE_SIZE)
		return block - address;
	if (address - page - PAGE_SIZE < PAGE_SIZE)
		return address - (block + s->bytes);
	return SIZE_MAX;
}

bool heap_find_trap(struct heap *heap, uintptr_t address, struct heap_trap *out)
{
	/* No lock: this is for a report at the end. */
	struct sample *s = find(heap, address);
	const char *what = "use after free of";
	if (s && (s->state == SAMPLE_LIVE || !s->block))
		return false; /* it is there, or never was: the fault has another reason */
	size_t nearest = SIZE_MAX;
	for (unsigned i = 0; i < heap->sample_count && (!s || nearest < SIZE_MAX); i++) {
		struct sample *at = &heap->samples[i];
		if (distance(at, address) >= nearest)
			continue;
		nearest = distance(at, address);
		s = at;
		what = address < (uintptr_t)at->page ? "access before" : "access behind the end of";
	}
	if (!s)
		return false;
	*out = (struct heap_trap){.what = what,
				  .block = s->block,
				  .bytes = s->bytes,
				  .alloc_site = s->alloc_site,
				  .free_site = s->free_site};
	return true;
}

void heap_report_samples(struct heap *heap, unsigned limit)
{
	for (unsigned i = 0; i < heap->sample_count && limit; i++) {
		const struct sample *s = &heap->samples[i];
		if (s->state != SAMPLE_LIVE)
			continue;
		limit--;
		host_log(HOST_LOG_WARN, "heap: live: %p, %lu bytes, allocated at %p",
			 (void *)s->block, (unsigned long)s->bytes, s->alloc_site);
	}
}

uint64_t heap_sample_npages(struct heap *heap)
{
	return heap->sample_count ? heap->sample_pages + array_npages(heap->sample_count) : 0;
}

bool heap_samples_are_valid(struct heap *heap)
{
	for (unsigned i = 0; i < heap->sample_count; i++)
		check_slot(&heap->samples[i], heap->samples[i].state);
	unsigned n[SAMPLE_CHANGING + 1] = {0}, listed = 0;
	for (unsigned i = 0; i < heap->sample_count; i++)
		n[heap->samples[i].state]++;
	for (unsigned state = 0; heap->sample_count && state <= SAMPLE_CHANGING; state++) {
		struct list *list = list_of(heap, (enum sample_state)state);
		if (!list)
			continue;
		list_for_each (node, list) {
			if (list_entry(node, struct sample, node)->state != state)
				return false;
			listed++;
		}
	}
	return listed + n[SAMPLE_LIVE] == heap->sample_count &&
	       n[SAMPLE_LIVE] == heap->sample_live &&
	       heap->sample_count - n[SAMPLE_GONE] == heap->sample_pages;
}
