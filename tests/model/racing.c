/* SPDX-License-Identifier: MIT */
/*
 * Several CPUs on the same few pages at once.
 *
 * What such a page should be is not one value but a set: every read is checked
 * against the history of the page, in which each event has the moment it began
 * and the moment it was over. A value may be read if
 *
 *   - its write began before the read was over, and
 *   - nothing that replaced it (another write, a drop to zero) lies wholly
 *     between that write and the read.
 *
 *        write 7 |----|
 *        drop              |---|
 *        read                      |--|    0, not 7
 *        read        |-----------|         0 or 7
 *
 * Zero counts as written by the beginning and by every drop. In the same way a
 * write may not work if the page was made read-only wholly before it and not
 * made writable since; and a page that is always mapped never faults for good,
 * not even while its mapping is replaced.
 *
 * A fork is a read of every page at once: what the child then reads, and goes on
 * reading, must be a value that the page could have had during the fork.
 */
#include <string.h>

#include "tests/model/model.h"
#include "tests/test.h"

#define PAGES   6
#define EVENTS  3000
#define THREADS 5
#define ENDLESS UINT64_MAX

enum event_kind { EVENT_VALUE, EVENT_READONLY, EVENT_WRITABLE, EVENT_SHRUNK, EVENT_GROWN };

struct event {
	enum event_kind kind;
	uint64_t value;
	uint64_t start, end;
};

static struct history {
	struct event event[EVENTS];
	unsigned count;
} history[PAGES];

static struct space *space;
static struct vm_object *object; /* of the object tests */
static vaddr_t place[2];         /* where the pages are mapped; the second for objects only */
static uint64_t next_value, operations, reads;

/* ---- histories ------------------------------------------------------------------------- */

static struct event *event_begin(unsigned page, enum event_kind kind, uint64_t value)
{
	struct history *h = &history[page];
	if (h->count == EVENTS)
		machine_die("racing: history full");
	struct event *e = &h->event[h->count++];
	*e = (struct event){kind, value, machine_now(), ENDLESS};
	return e;
}

static void event_end(struct event *e)
{
	e->end = machine_now();
}

/* It did not happen. */
static void event_cancel(struct event *e)
{
	e->start = e->end = ENDLESS;
}

static bool replaced(const struct history *h, const struct event *by, uint64_t before)
{
	for (unsigned i = 0; i < h->count; i++) {
		const struct event *e = &h->event[i];
		if (e != by && e->kind == EVENT_VALUE && e->start > by->end && e->end < before)
			return true;
	}
	return false;
}

static bool may_read(unsigned page, uint64_t value, uint64_t start, uint64_t end)
{
	const struct history *h = &history[page];
	for (unsigned i = 0; i < h->count; i++) {
		const struct event *e = &h->event[i];
		if (e->kind == EVENT_VALUE && e->value == value && e->start < end &&
		    !replaced(h, e, start))
			return true;
	}
	return false;
}

static void print_history(unsigned page, uint64_t since)
{
	const struct history *h = &history[page];
	for (unsigned i = 0; i < h->count; i++) {
		const struct event *e = &h->event[i];
		static const char *const names[] = {"value", "read-only", "writable", "shrunk",
						    "grown"};
		if (e->start != ENDLESS && (e->end >= since || i + 12 > h->count))
			host_log(HOST_LOG_INFO, "%s %#llx from %llu to %lld", names[e->kind],
				 (unsigned long long)e->value, (unsigned long long)e->start,
				 (long long)e->end);
	}
}

/* Was the page in the state that `on` begins and `off` ends for all of [start, end]? */
static bool surely(unsigned page, enum event_kind on, enum event_kind off, uint64_t start,
		   uint64_t end)
{
	const struct history *h = &history[page];
	const struct event *last = NULL;
	for (unsigned i = 0; i < h->count; i++) {
		const struct event *e = &h->event[i];
		if (e->kind == on && e->end < start && (!last || e->start > last->start))
			last = e;
	}
	if (!last)
		return false;
	for (unsigned i = 0; i < h->count; i++) {
		const struct event *e = &h->event[i];
		if (e->kind == off && e->start < end && e->end > last->start)
			return false;
	}
	return true;
}

/* Could it have been in that state at some time of [start, end]? */
static bool perhaps(unsigned page, enum event_kind on, enum event_kind off, uint64_t start,
		    uint64_t end)
{
	const struct history *h = &history[page];
	for (unsigned i = 0; i < h->count; i++) {
		const struct event *e = &h->event[i];
		if (e->kind != on || e->start > end)
			continue;
		bool over = false;
		for (unsigned j = 0; j < h->count && !over; j++)
			over = h->event[j].kind == off && h->event[j].start > e->end &&
			       h->event[j].end < start;
		if (!over)
			return true;
	}
	return false;
}

/* ---- accesses ---------------------------------------------------------------------------- */

static void read_page(unsigned page, unsigned where)
{
	uint64_t value = 0, start = machine_now();
	struct machine_result r =
	    machine_access(place[where] + page * PAGE_SIZE, MACHINE_READ, &value);
	uint64_t end = machine_now();
	reads++;
	if (!r.ok) {
		if (r.signal == 7 && perhaps(page, EVENT_SHRUNK, EVENT_GROWN, start, end))
			return;
		machine_die("racing: a read of page %u fails with signal %d", page, r.signal);
	}
	if (surely(page, EVENT_SHRUNK, EVENT_GROWN, start, end))
		machine_die("racing: page %u reads %#llx although it is beyond the end", page,
			    (unsigned long long)value);
	if (!may_read(page, value, start, end)) {
		print_history(page, start);
		machine_die("racing: page %u reads %#llx between %llu and %llu", page,
			    (unsigned long long)value, (unsigned long long)start,
			    (unsigned long long)end);
	}
}

static void write_page(unsigned page, unsigned where)
{
	uint64_t value = ++next_value;
	struct event *e = event_begin(page, EVENT_VALUE, value);
	struct machine_result r =
	    machine_access(place[where] + page * PAGE_SIZE, MACHINE_WRITE, &value);
	uint64_t start = e->start, end = machine_now();
	if (!r.ok) {
		event_cancel(e);
		if (r.signal == 7 && perhaps(page, EVENT_SHRUNK, EVENT_GROWN, start, end))
			return;
		if (r.signal != 11 || r.code != 2 ||
		    !perhaps(page, EVENT_READONLY, EVENT_WRITABLE, start, end))
			machine_die("racing: a write to page %u fails with signal %d code %d", page,
				    r.signal, r.code);
		return;
	}
	if (surely(page, EVENT_READONLY, EVENT_WRITABLE, start, end)) {
		print_history(page, start);
		machine_die("racing: a write to page %u works between %llu and %llu, although it "
			    "is read-only",
			    page, (unsigned long long)start, (unsigned long long)end);
	}
	if (surely(page, EVENT_SHRUNK, EVENT_GROWN, start, end))
		machine_die("racing: a write to page %u works beyond the end", page);
	event_end(e);
}

static void access_some(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned page = machine_random_below(PAGES);
		unsigned where = place[1] ? machine_random_below(2) : 0;
		if (machine_random_below(2))
			write_page(page, where);
		else
			read_page(page, where);
	}
}

static void must(const char *what, mem_status status)
{
	operations++;
	if (status != MEM_OK)
		machine_die("racing: %s says %s", what, mem_status_name(status));
}

/* ---- private pages -------------------------------------------------------------------------- */

static void begin_all(struct event *e[PAGES], unsigned from, unsigned to, enum event_kind kind)
{
	for (unsigned p = from; p < to; p++)
		e[p] = event_begin(p, kind, 0);
}

static void end_all(struct event *e[PAGES], unsigned from, unsigned to)
{
	for (unsigned p = from; p < to; p++)
		event_end(e[p]);
}

static mem_status map_pages(unsigned from, unsigned to)
{
	vaddr_t out;
	struct vm_map_args args = {.hint = place[0] + from * PAGE_SIZE,
				   .bytes = (to - from) * PAGE_SIZE,
				   .prot = VM_READ | VM_WRITE,
				   .maxprot = 7,
				   .flags = VM_FIXED};
	return vmm_map(space, &args, &out);
}

static void change_private(void)
{
	struct event *drop[PAGES], *right[PAGES];
	unsigned from = machine_random_below(PAGES);
	unsigned to = from + 1 + machine_random_below(PAGES - from);
	vaddr_t va = place[0] + from * PAGE_SIZE;
	uint64_t bytes = (to - from) * PAGE_SIZE;
	switch (machine_random_below(4)) {
	case 0:
		begin_all(drop, from, to, EVENT_VALUE);
		must("dontneed", vmm_advise(space, va, bytes, VM_ADVICE_DONTNEED));
		end_all(drop, from, to);
		break;
	case 1: /* replaced by a new mapping, in one step */
		begin_all(drop, from, to, EVENT_VALUE);
		begin_all(right, from, to, EVENT_WRITABLE);
		must("map", map_pages(from, to));
		end_all(drop, from, to);
		end_all(right, from, to);
		break;
	case 2:
		begin_all(right, from, to, EVENT_READONLY);
		must("protect", vmm_protect(space, va, bytes, VM_READ));
		end_all(right, from, to);
		break;
	default:
		begin_all(right, from, to, EVENT_WRITABLE);
		must("protect", vmm_protect(space, va, bytes, VM_READ | VM_WRITE));
		end_all(right, from, to);
	}
}

/* A child: a value of each page that it could have had during the fork, and that
 * stays; and what the child writes stays its own. */
static void fork_and_look(void)
{
	struct space *child;
	uint64_t seen[PAGES], mine = 0;
	uint64_t start = machine_now();
	must("fork", vmm_space_fork(space, &child));
	uint64_t end = machine_now();
	machine_set_space(child);
	for (unsigned p = 0; p < PAGES; p++) {
		if (!machine_access(place[0] + p * PAGE_SIZE, MACHINE_READ, &seen[p]).ok)
			machine_die("racing: page %u of a child does not read", p);
		if (!may_read(p, seen[p], start, end)) {
			print_history(p, start);
			machine_die("racing: page %u of a child reads %#llx, forked between %llu "
				    "and %llu",
				    p, (unsigned long long)seen[p], (unsigned long long)start,
				    (unsigned long long)end);
		}
	}
	unsigned written = machine_random_below(PAGES);
	mine = (uint64_t)0xc << 60 | ++next_value;
	if (machine_access(place[0] + written * PAGE_SIZE, MACHINE_WRITE, &mine).ok)
		seen[written] = mine;
	for (unsigned i = 0; i < 2 * PAGES; i++) {
		unsigned p = machine_random_below(PAGES);
		uint64_t again;
		if (!machine_access(place[0] + p * PAGE_SIZE, MACHINE_READ, &again).ok ||
		    again != seen[p])
			machine_die("racing: page %u of a child reads %#llx, then %#llx", p,
				    (unsigned long long)seen[p], (unsigned long long)again);
	}
	machine_set_space(space);
	vmm_space_put(child);
}

static unsigned steps_each;
static bool with_forks, with_resize, with_punch;

static void private_body(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg;
	for (unsigned i = 0; i < steps_each; i++) {
		if (thread == 0)
			change_private();
		else if (thread == 1 && with_forks && machine_random_below(3) == 0)
			fork_and_look();
		access_some(1 + machine_random_below(3));
	}
}

/* ---- pages of an object, mapped twice -----------------------------------------------------------
 */

static void resize_to(unsigned pages, unsigned now)
{
	struct event *drop[PAGES], *end[PAGES];
	unsigned from = pages < now ? pages : now, to = pages < now ? now : pages;
	bool smaller = pages < now;
	if (smaller)
		begin_all(drop, from, to, EVENT_VALUE);
	begin_all(end, from, to, smaller ? EVENT_SHRUNK : EVENT_GROWN);
	must("resize", vm_object_resize(object, pages * PAGE_SIZE));
	end_all(end, from, to);
	if (smaller)
		end_all(drop, from, to);
}

static void object_body(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg, pages = PAGES;
	for (unsigned i = 0; i < steps_each; i++) {
		if (thread == 0 && with_resize) {
			unsigned to = machine_random_below(PAGES + 1);
			if (to != pages)
				resize_to(to, pages);
			pages = to;
		} else if (thread == 1 && with_punch && machine_random_below(3) == 0) {
			struct event *drop[PAGES];
			unsigned from = machine_random_below(PAGES);
			begin_all(drop, from, from + 1, EVENT_VALUE);
			must("punch", vm_object_punch(object, from, 1));
			end_all(drop, from, from + 1);
		}
		access_some(1 + machine_random_below(3));
	}
}

/* ---- runs
 * -------------------------------------------------------------------------------------------- */

static void begin(unsigned cpus)
{
	machine_boot_default(cpus, test_random());
	memset(history, 0, sizeof(history));
	for (unsigned p = 0; p < PAGES; p++)
		event_end(event_begin(p, EVENT_VALUE, 0));
	must("create", vmm_space_create(machine_vmm, &space));
	/* Across the border of two leaf tables. */
	place[0] = 0x40000000 - 3 * PAGE_SIZE;
	place[1] = 0;
}

static void end(uint64_t free_frames)
{
	if (!vmm_space_is_valid(space))
		machine_die("racing: the space is not valid");
	vmm_space_put(space);
	uint64_t now = machine_frames_at_rest();
	if (now != free_frames)
		machine_die("racing: %llu frames were free, %llu are",
			    (unsigned long long)free_frames, (unsigned long long)now);
	machine_end();
}

static void account(void)
{
	machine_totals[0] += operations;
	machine_totals[1] += reads;
	machine_totals[2] += machine_switches();
}

static void print_totals(uint64_t seeds)
{
	test_note("%llu seeds, %llu changes, %llu checked reads, %llu switches",
		  (unsigned long long)seeds, (unsigned long long)machine_totals[0],
		  (unsigned long long)machine_totals[1], (unsigned long long)machine_totals[2]);
}

static unsigned ncpus;

static void private_run(uint64_t i)
{
	begin(ncpus);
	vmm_space_put(space);
	uint64_t frames = machine_frames_at_rest();
	must("create", vmm_space_create(machine_vmm, &space));
	must("map", map_pages(0, PAGES));
	for (unsigned t = 0; t < THREADS; t++)
		machine_spawn(private_body, (void *)(uintptr_t)t, space);
	machine_join();
	account();
	end(frames);
}

static void run_private(unsigned seeds, bool forks, unsigned cpus)
{
	steps_each = 60;
	with_forks = forks;
	ncpus = cpus;
	machine_each(seeds, private_run);
	print_totals(seeds);
}

TEST(racing_private_pages)
{
	run_private(120, false, 4);
}

TEST(racing_forks)
{
	run_private(120, true, 4);
}

TEST(racing_crowded)
{
	run_private(60, true, 2);
}

static void object_run(uint64_t i)
{
	begin(ncpus);
	vmm_space_put(space);
	uint64_t frames = machine_frames_at_rest();
	must("create", vmm_space_create(machine_vmm, &space));
	must("object", vm_object_create(machine_vmm, NULL, NULL, PAGES * PAGE_SIZE, &object));
	place[1] = 0x80000000 - 2 * PAGE_SIZE;
	for (int w = 0; w < 2; w++) {
		vaddr_t out;
		struct vm_map_args args = {.hint = place[w],
					   .bytes = PAGES * PAGE_SIZE,
					   .prot = VM_READ | VM_WRITE,
					   .maxprot = 7,
					   .flags = VM_FIXED | VM_SHARED,
					   .object = object};
		must("map", vmm_map(space, &args, &out));
	}
	for (unsigned t = 0; t < THREADS; t++)
		machine_spawn(object_body, (void *)(uintptr_t)t, space);
	machine_join();
	vm_object_put(object);
	account();
	end(frames);
}

static void run_object(bool resizing, bool punching)
{
	steps_each = 60;
	with_resize = resizing;
	with_punch = punching;
	ncpus = 4;
	machine_each(120, object_run);
	print_totals(120);
}

TEST(racing_object_resize)
{
	run_object(true, false);
}

TEST(racing_object_punch)
{
	run_object(false, true);
}

TEST(racing_object_both)
{
	run_object(true, true);
}
