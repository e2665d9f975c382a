/* SPDX-License-Identifier: MIT */
/*
 * Measuring stretches without interrupts and without preemption (latency.h).
 *
 * The hooks stand in irq_save and its kin, in preempt_disable and preempt_enable
 * (kernel/cpu.h), and where traps come and go. They are compiled into test builds only:
 * a reading of the clock at each lock is more than many locks cost.
 *
 * Each CPU keeps its own records, so that keeping them takes no lock. They are read
 * while they change: a record that is just being written may come out torn, which a
 * test sees as a short stretch and not as a long one, since `cycles` is written last.
 *
 * Who ended a stretch is read from the frame pointers, which every function keeps.
 */
#include "kernel/cpu/latency.h"

#ifdef KERNEL_LATENCY
#include <kernel/proc.h>
#include <kernel/trap.h>

#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

#define THRESHOLD 500  /* cycles: shorter ones are not kept */
#define ONE_WAIT  5000 /* turns of a spin loop further apart are of two waits */

extern const char text_start[], text_end[], text_vm_start[], text_vm_end[];
static bool measuring;

void latency_start(void)
{
	measuring = true;
}

static bool is_text(uintptr_t address)
{
	return address >= (uintptr_t)text_start && address < (uintptr_t)text_end;
}

/* Return addresses above the hook, as long as the chain stays on this stack. */
static void callers(uintptr_t who[LATENCY_CALLERS])
{
	const uintptr_t *frame = __builtin_frame_address(0);
	const uintptr_t *stack = frame;
	unsigned n = 0, skip = 2; /* finish and its hook */
	while (n < LATENCY_CALLERS && frame >= stack && frame < stack + 2048 && is_text(frame[1])) {
		if (skip)
			skip--;
		else
			who[n++] = frame[1];
		if (frame[0] <= (uintptr_t)frame)
			break;
		frame = (const uintptr_t *)frame[0];
	}
	while (n < LATENCY_CALLERS)
		who[n++] = 0;
}

static bool same(const struct latency_record *a, const uintptr_t who[LATENCY_CALLERS])
{
	return a->cycles && !memcmp(a->who, who, sizeof(a->who));
}

static uint32_t running_call(void)
{
	struct thread *t = current_thread();
	if (!t->user)
		return LATENCY_NO_CALL;
	const struct trapframe *f = thread_user_frame(t);
	return f->vector == TRAP_SYSCALL ? (uint32_t)f->error : LATENCY_NO_CALL;
}

static __attribute__((noinline)) void keep(struct latency *l, enum latency_kind kind,
					   uint64_t cycles)
{
	struct latency_record *least = &l->kept[kind][0];
	uintptr_t who[LATENCY_CALLERS];
	callers(who);
	for (unsigned i = 0; i < LATENCY_KEPT; i++) {
		struct latency_record *r = &l->kept[kind][i];
		if (same(r, who)) {
			r->count++;
			if (cycles > r->cycles) {
				r->call = running_call();
				r->cycles = cycles;
			}
			return;
		}
		if (r->cycles < least->cycles)
			least = r;
	}
	if (cycles <= least->cycles)
		return;
	least->cycles = 0;
	memcpy(least->who, who, sizeof(who));
	least->count = 1;
	least->call = running_call();
	__atomic_store_n(&least->cycles, cycles, __ATOMIC_RELEASE);
}

static void begin(enum latency_kind kind)
{
	struct latency *l = &this_private()->latency;
	if (!l->since[kind])
		l->since[kind] = rdtsc() - l->waited;
}

static __attribute__((noinline)) void finish(enum latency_kind kind)
{
	struct latency *l = &this_private()->latency;
	uint64_t since = l->since[kind];
	if (!since)
		return;
	uint64_t cycles = rdtsc() - l->waited - since;
	if (cycles > THRESHOLD && cycles >> 63 == 0)
		keep(l, kind, cycles);
	l->since[kind] = 0;
}

void latency_irq_off(void)
{
	if (measuring)
		begin(LATENCY_IRQ);
}

void latency_irq_on(void)
{
	if (measuring)
		finish(LATENCY_IRQ);
	__asm__ volatile(""); /* not a tail call: finish skips this frame */
}

void latency_preempt_off(void)
{
	if (measuring && this_cpu()->preempt_count == 1)
		begin(LATENCY_PREEMPT);
}

void latency_preempt_on(void)
{
	if (measuring && this_cpu()->preempt_count == 1)
		finish(LATENCY_PREEMPT);
	__asm__ volatile("");
}

void latency_waited(uint64_t cycles)
{
	this_private()->latency.waited += cycles;
}

void latency_relax(void)
{
	if (!measuring)
		return;
	struct latency *l = &this_private()->latency;
	uint64_t now = rdtsc();
	if (now - l->relaxed_at < ONE_WAIT)
		l->waited += now - l->relaxed_at;
	l->relaxed_at = now;
}

/* ---- reading -------------------------------------------------------------------- */

void latency_reset(void)
{
	for (unsigned i = 0; i < cpu_possible(); i++)
		if (cpu_table[i])
			memset(cpu_table[i]->latency.kept, 0, sizeof(cpu_table[i]->latency.kept));
}

static bool in_memory(const struct latency_record *r)
{
	for (unsigned i = 0; i < LATENCY_CALLERS; i++)
		if (r->who[i] >= (uintptr_t)text_vm_start && r->who[i] < (uintptr_t)text_vm_end)
			return true;
	return false;
}

/* a before b: longer, or as long and on a lower address. */
static bool before(const struct latency_record *a, const struct latency_record *b)
{
	return a->cycles != b->cycles ? a->cycles > b->cycles : a < b;
}

bool latency_get(enum latency_kind kind, unsigned n, struct latency_record *out, bool *memory)
{
	const struct latency_record *last = NULL;
	for (unsigned found = 0; found <= n; found++) {
		const struct latency_record *next = NULL;
		for (unsigned i = 0; i < cpu_possible() * LATENCY_KEPT; i++) {
			struct cpu_private *c = cpu_table[i / LATENCY_KEPT];
			if (!c)
				continue;
			const struct latency_record *r = &c->latency.kept[kind][i % LATENCY_KEPT];
			if (r->cycles && (!last || before(last, r)) && (!next || before(r, next)))
				next = r;
		}
		if (!next)
			return false;
		last = next;
	}
	*out = *last;
	*memory = in_memory(out);
	return true;
}
#endif
