/* SPDX-License-Identifier: MIT */
/*
 * Frame records: what a single frame is used for, and by how many.
 *
 * One word per frame, changed by compare-and-swap only, so that type, count,
 * pins and reference always belong together (layout: internal.h).
 *
 * A frame either can have many owners or refers to something. References of 37 bits, in
 * units of 16 bytes, are enough for 2 TiB of RAM; holes are not numbered. That is why the
 * allocator manages no more. Count 0 means that the frame has no owner; what else may stand
 * there then is the allocator's.
 *
 * Counts of 31 bits cannot be filled. An owner of an anonymous frame is a page table of a
 * space, or a thread in the middle of a call. A space has four tables at least, and 2^31
 * such spaces need 32 TiB for them. An object's frame is owned by its object, or by such a
 * thread. Should one fill all the same, who wants one more is refused.
 *
 * Who pins also owns a count, so a frame cannot go while it is pinned.
 */
#include "pmm/internal.h"

/* The record of a frame; NULL if it has none. Page tables are walked by it, so it
 * looks at segment 0 first. */
static inline uint64_t *find_record(const struct pmm *pmm, paddr_t pa)
{
	uint64_t d = paddr_to_pfn(pa) - pmm->low_first;
	if (unlikely(d >= fast_read(&pmm->low_ready))) {
		d = pfn_to_dense(pmm, paddr_to_pfn(pa));
		if (d == PFN_NONE || d >= atomic_read_acquire(&pmm->ready))
			return NULL;
	}
	uint32_t state = atomic_read_relaxed(&pmm->states[d / BLOCK_PAGES]);
	return likely(state & STATE_REC) ? frame_record(pa, state) : NULL;
}

MEM_NORETURN static __attribute__((noinline)) void no_record(paddr_t pa)
{
	host_panic("pmm: frame 0x%llx has no record", (unsigned long long)pa);
}

static inline uint64_t *record_of(const struct pmm *pmm, paddr_t pa)
{
	uint64_t *record = find_record(pmm, pa);
	if (unlikely(!record))
		no_record(pa);
	return record;
}

/* Can a frame of this record have more than one owner? */
static bool is_counted(uint64_t record)
{
	return (record & 3) >= FRAME_ANON - 1;
}

static uint32_t count_of(uint64_t record)
{
	return (uint32_t)(record >> RECORD_COUNT_SHIFT) &
	       (is_counted(record) ? RECORD_COUNT_MAX : 1);
}

static uint32_t pins_of(uint64_t record)
{
	return is_counted(record) ? (uint32_t)(record >> RECORD_PIN_SHIFT) : 0;
}

#define RECORD_ONE     ((uint64_t)1 << RECORD_COUNT_SHIFT)
#define RECORD_ONE_PIN ((uint64_t)1 << RECORD_PIN_SHIFT)

void frame_init(struct pmm *pmm, paddr_t pa, enum frame_type type, void *reference)
{
	uint64_t *record = record_of(pmm, pa);
	mem_contract(type > FRAME_NONE && type < FRAME_TYPE_COUNT, "no such type");
	mem_contract(atomic_read_relaxed(record) == 0,
		     "the frame has a record already, or is free");
	uint64_t value = (uint64_t)(type - 1) | RECORD_ONE;
	if (reference) {
		paddr_t target = ptr_to_paddr(reference);
		uint64_t d = pfn_to_dense(pmm, paddr_to_pfn(target));
		mem_contract(d != PFN_NONE && target % 16 == 0 && !is_counted(value),
			     "a frame of this type has no reference, or not to there");
		/* Frame 0's first 16 bytes are nobody's object: 0 stays "none". */
		value |= (d << PAGE_SHIFT | (target & PAGE_MASK)) / 16 << RECORD_REF_SHIFT;
	}
	atomic_write_release(record, value);
}

void frame_init_many(struct pmm *pmm, const paddr_t *pa, unsigned n, enum frame_type type)
{
	mem_assert(type == FRAME_ANON || type == FRAME_OBJECT);
	for (unsigned i = 0; i < n; i++) {
		uint64_t *record = record_of(pmm, pa[i]);
		mem_assert(atomic_read_relaxed(record) == 0);
		atomic_write_release(record, (uint64_t)(type - 1) | RECORD_ONE);
	}
}

bool frame_has_record(struct pmm *pmm, paddr_t pa)
{
	return find_record(pmm, pa) != NULL;
}

enum frame_type frame_type(struct pmm *pmm, paddr_t pa)
{
	uint64_t *record = find_record(pmm, pa);
	uint64_t value = record ? atomic_read_acquire(record) : 0;
	return count_of(value) ? (enum frame_type)((value & 3) + 1) : FRAME_NONE;
}

void *frame_reference(struct pmm *pmm, paddr_t pa)
{
	uint64_t value = atomic_read_acquire(record_of(pmm, pa));
	uint64_t at = (value >> RECORD_REF_SHIFT) * 16;
	if (is_counted(value) || !count_of(value) || !at)
		return NULL;
	if (likely(at >> PAGE_SHIFT < fast_read(&pmm->low_ready)))
		return (char *)paddr_to_ptr(at + pfn_to_paddr(pmm->low_first));
	return (char *)paddr_to_ptr(dense_to_paddr(pmm, at >> PAGE_SHIFT)) + (at & PAGE_MASK);
}

uint32_t frame_count(struct pmm *pmm, paddr_t pa)
{
	return count_of(atomic_read_acquire(record_of(pmm, pa)));
}

mem_status frame_get(struct pmm *pmm, paddr_t pa)
{
	uint64_t *record = record_of(pmm, pa);
	uint64_t value = atomic_read_relaxed(record);
	do {
		if (unlikely(count_of(value) == 0 || !is_counted(value)))
			host_panic("pmm: frame_get of frame 0x%llx, which nobody may share",
				   (unsigned long long)pa);
		if (unlikely(count_of(value) == RECORD_COUNT_MAX))
			return MEM_EBUSY;
	} while (!atomic_cas(record, &value, value + RECORD_ONE));
	return MEM_OK;
}

bool frame_put(struct pmm *pmm, paddr_t pa)
{
	uint64_t *record = record_of(pmm, pa);
	uint64_t value = atomic_read_relaxed(record), after;
	do {
		if (unlikely(count_of(value) == 0))
			host_panic("pmm: frame_put of frame 0x%llx, which nobody owns",
				   (unsigned long long)pa);
		if (unlikely(count_of(value) <= pins_of(value)))
			host_panic("pmm: frame 0x%llx: the last owner goes while it is pinned",
				   (unsigned long long)pa);
		after = count_of(value) == 1 ? 0 : value - RECORD_ONE;
	} while (!atomic_cas(record, &value, after));
	return after == 0;
}

mem_status frame_pin(struct pmm *pmm, paddr_t pa)
{
	uint64_t *record = record_of(pmm, pa);
	uint64_t value = atomic_read_relaxed(record);
	do {
		if (unlikely(count_of(value) == 0 || !is_counted(value)))
			host_panic("pmm: frame_pin of frame 0x%llx, which nobody may share",
				   (unsigned long long)pa);
		if (unlikely(count_of(value) == RECORD_COUNT_MAX)) /* pins are fewer */
			return MEM_EBUSY;
	} while (!atomic_cas(record, &value, value + RECORD_ONE + RECORD_ONE_PIN));
	return MEM_OK;
}

bool frame_unpin(struct pmm *pmm, paddr_t pa)
{
	uint64_t *record = record_of(pmm, pa);
	uint64_t value = atomic_read_relaxed(record), after;
	do {
		if (unlikely(pins_of(value) == 0))
			host_panic("pmm: frame_unpin of frame 0x%llx, which is not pinned",
				   (unsigned long long)pa);
		after = count_of(value) == 1 ? 0 : value - RECORD_ONE - RECORD_ONE_PIN;
	} while (!atomic_cas(record, &value, after));
	return after == 0;
}

bool frame_is_pinned(struct pmm *pmm, paddr_t pa)
{
	return pins_of(atomic_read_acquire(record_of(pmm, pa))) != 0;
}
