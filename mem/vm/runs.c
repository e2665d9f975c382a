/* SPDX-License-Identifier: MIT */
/*
 * Runs: the promises of one table, in address order.
 *
 * Most tables have one or two runs, so the first has its place inside the descriptor. More
 * live in an array that grows by steps: 4 and 16 from slab caches, then whole blocks of
 * frames. A leaf has at most 512. Growing changes nothing that can be seen, so a change
 * reserves room in every table it will touch before it edits the first, and cannot fail
 * after that.
 *
 * Runs are kept merged: two neighbours that touch differ in their promise. A
 * rewrite may split first and merges when it is done.
 */
#include "vm/gather.h"
#include "vm/space.h"

#define RUNS_SMALL 4u
#define RUNS_LARGE 16u

/* The run capacity of 2^order pages. */
static unsigned order_capacity(unsigned order)
{
	return (unsigned)((PAGE_SIZE << order) / sizeof(struct run));
}

static struct run *array_alloc(struct vmm *vmm, unsigned wanted, unsigned *capacity)
{
	if (wanted <= RUNS_LARGE) {
		bool small = wanted <= RUNS_SMALL;
		*capacity = small ? RUNS_SMALL : RUNS_LARGE;
		return slab_alloc_wait(small ? vmm->runs4 : vmm->runs16);
	}
	unsigned order = 0;
	while (order_capacity(order) < wanted)
		if (++order > PMM_ORDER_HUGE)
			return NULL;
	*capacity = order_capacity(order);
	paddr_t pa = pmm_alloc(vmm->pmm, order, PMM_KERNEL | PMM_WAIT);
	return pa == PADDR_NONE ? NULL : paddr_to_ptr(pa);
}

static void array_free(struct vmm *vmm, struct run *runs, unsigned capacity)
{
	if (capacity == RUNS_SMALL) {
		slab_free(vmm->runs4, runs);
	} else if (capacity == RUNS_LARGE) {
		slab_free(vmm->runs16, runs);
	} else {
		unsigned order = 0;
		while (order_capacity(order) != capacity)
			order++;
		pmm_free(vmm->pmm, ptr_to_paddr(runs), order);
	}
}

void vm_runs_free(struct vmm *vmm, struct table *t)
{
	if (t->runs != &t->own)
		array_free(vmm, t->runs, t->run_capacity);
	t->runs = &t->own;
	t->run_capacity = 1;
}

bool vm_runs_reserve(struct table *t, unsigned capacity)
{
	if (capacity <= t->run_capacity)
		return true;
	unsigned got;
	struct run *runs = array_alloc(t->space->vmm, capacity, &got);
	if (!runs)
		return false;
	memcpy(runs, t->runs, t->run_count * sizeof(*runs));
	if (t->runs != &t->own)
		array_free(t->space->vmm, t->runs, t->run_capacity);
	t->runs = runs;
	t->run_capacity = got;
	return true;
}

unsigned vm_runs_lower(const struct table *t, vpn_t vpn)
{
	unsigned low = 0, high = t->run_count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (t->runs[middle].end > vpn)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct run *vm_runs_find(const struct table *t, vpn_t vpn)
{
	unsigned i = t->run_count == 1 ? 0 : vm_runs_lower(t, vpn);
	if (i < t->run_count && t->runs[i].first <= vpn && vpn < t->runs[i].end)
		return &t->runs[i];
	return NULL;
}

unsigned vm_runs_after_cut(const struct table *t, vpn_t first, vpn_t end)
{
	unsigned from = vm_runs_lower(t, first), until = from;
	while (until < t->run_count && t->runs[until].first < end)
		until++;
	unsigned left = t->run_count - (until - from);
	if (from < until) {
		left += t->runs[from].first < first;
		left += t->runs[until - 1].end > end;
	}
	return left;
}

/* Make room for, or close, a gap: what was at `at` is then at `to`, too. */
static void shift(struct table *t, unsigned at, unsigned to)
{
	if (at == to)
		return;
	mem_assert(t->run_count + to - at <= t->run_capacity);
	if (at < t->run_count)
		memmove(&t->runs[to], &t->runs[at], (t->run_count - at) * sizeof(*t->runs));
	t->run_count += to - at;
	atomic_count(&t->space->runs, (uint64_t)to - at);
}

/* [first, end) goes out of this run: its references and the totals. */
static void let_go(struct gather *g, struct table *t, const struct run *run, vpn_t first, vpn_t end)
{
	struct backing *b = run->promise.backing;
	bool left = run->first<first, right = run->end> end;
	if (b && left && right)
		vm_backing_ref(b, 1); /* it becomes two */
	else if (b && !left && !right && g)
		vm_gather_backing(g, b);
	else if (b && !left && !right)
		atomic_sub(&b->refs, 1); /* a child took it over: never the last */
	if (g)
		vm_account_sub(t->space, run->promise,
			       mem_min(run->end, end) - mem_max(run->first, first));
}

void vm_runs_cut(struct gather *g, struct table *t, vpn_t first, vpn_t end)
{
	unsigned from = vm_runs_lower(t, first), until = from;
	for (; until < t->run_count && t->runs[until].first < end; until++)
		let_go(g, t, &t->runs[until], first, end);
	if (from == until)
		return;
	bool left = t->runs[from].first<first, right = t->runs[until - 1].end> end;
	if (left && right && until == from + 1) {
		shift(t, from, from + 1);
		until++;
	}
	if (left)
		t->runs[from++].end = first;
	if (right)
		t->runs[--until].first = end;
	shift(t, until, from);
}

void vm_runs_insert(struct table *t, vpn_t first, vpn_t end, promise_t promise)
{
	mem_debug_assert(first >= t->first && end <= table_end(t) && first < end);
	struct backing *b = promise.backing;
	unsigned at = vm_runs_lower(t, first);
	mem_assert(at == t->run_count || t->runs[at].first >= end);
	bool join_left = at > 0 && t->runs[at - 1].end == first &&
			 promise_equal(t->runs[at - 1].promise, promise);
	bool join_right = at < t->run_count && t->runs[at].first == end &&
			  promise_equal(t->runs[at].promise, promise);
	if (b && (join_left || join_right))
		atomic_sub(&b->refs, join_left + join_right); /* neighbours hold theirs */
	if (join_left && join_right) {
		t->runs[at - 1].end = t->runs[at].end;
		shift(t, at + 1, at);
	} else if (join_left) {
		t->runs[at - 1].end = end;
	} else if (join_right) {
		t->runs[at].first = first;
	} else {
		shift(t, at, at + 1);
		t->runs[at] = (struct run){first, end, promise};
	}
}

void vm_runs_split(struct table *t, unsigned at, vpn_t vpn)
{
	mem_debug_assert(t->runs[at].first < vpn && vpn < t->runs[at].end);
	if (t->runs[at].promise.backing)
		vm_backing_ref(t->runs[at].promise.backing, 1);
	shift(t, at, at + 1);
	t->runs[at].end = vpn;
	t->runs[at + 1].first = vpn;
}

void vm_runs_merge(struct table *t, vpn_t first, vpn_t end)
{
	unsigned at = vm_runs_lower(t, first ? first - 1 : 0), to = at;
	if (at >= t->run_count)
		return;
	unsigned from = at + 1;
	for (; from < t->run_count && t->runs[from].first <= end; from++) {
		struct run *last = &t->runs[to], *run = &t->runs[from];
		if (last->end == run->first && promise_equal(last->promise, run->promise)) {
			last->end = run->end;
			if (run->promise.backing)
				atomic_sub(&run->promise.backing->refs, 1);
		} else {
			t->runs[++to] = *run;
		}
	}
	if (to + 1 < from)
		shift(t, from, to + 1);
}
