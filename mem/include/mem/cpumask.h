/* SPDX-License-Identifier: MIT */
#ifndef MEM_CPUMASK_H
#define MEM_CPUMASK_H
/* A set of CPUs. Plain operations are the caller's to order; the _atomic ones
 * are sequentially consistent and may race with each other. */
#include <mem/types.h>

#define CPUMASK_WORDS ((MEM_MAX_CPUS + 63) / 64)

struct cpumask {
	uint64_t word[CPUMASK_WORDS];
};

static inline bool cpumask_test(const struct cpumask *m, unsigned cpu)
{
	return (__atomic_load_n(&m->word[cpu / 64], __ATOMIC_SEQ_CST) >> (cpu % 64)) & 1;
}

static inline void cpumask_set(struct cpumask *m, unsigned cpu)
{
	m->word[cpu / 64] |= (uint64_t)1 << (cpu % 64);
}

static inline void cpumask_clear(struct cpumask *m, unsigned cpu)
{
	m->word[cpu / 64] &= ~((uint64_t)1 << (cpu % 64));
}

static inline void cpumask_set_atomic(struct cpumask *m, unsigned cpu)
{
	__atomic_fetch_or(&m->word[cpu / 64], (uint64_t)1 << (cpu % 64), __ATOMIC_SEQ_CST);
}

static inline void cpumask_clear_atomic(struct cpumask *m, unsigned cpu)
{
	__atomic_fetch_and(&m->word[cpu / 64], ~((uint64_t)1 << (cpu % 64)), __ATOMIC_SEQ_CST);
}

static inline bool cpumask_empty(const struct cpumask *m)
{
	for (unsigned i = 0; i < CPUMASK_WORDS; i++)
		if (__atomic_load_n(&m->word[i], __ATOMIC_SEQ_CST))
			return false;
	return true;
}

#endif
