/* SPDX-License-Identifier: MIT */
/*
 * A model of a CPU's guard (fast.h) and of the reaper that closes it (reap.c).
 *
 * The CPU uses its cpus in two ways. Long: take busy, look at `revoked`, use anything,
 * hand out `fast` again. Short: take busy, look at `fast` (the limits in the header), use
 * what they bound. Both end with busy = 0. A handler on the CPU may do either
 * between any two steps.
 *
 * The CPU's memory is x86's: stores wait in a queue before others see them, loads may
 * overtake them. The interrupt that host_barrier_all sends empties the queue.
 *
 * Checked: nobody uses the cpus while the reaper does, nor a handler inside what it
 * interrupted.
 * Mutations: NO_FIRST_BARRIER NO_SECOND_BARRIER NO_FIRST_WAIT NO_SECOND_WAIT NO_HIDE RUDE_HANDLER LATE_STORE
 */
#define BUSY 0
#define FAST 1

bool mem_busy, mem_fast = true, revoked;
bool own_busy;          /* only the CPU stores to busy: what it sees */
bool own_fast = true;   /* the last that it stored to fast ... */
byte fast_waits;        /* ... while this many of those wait */
chan queue = [6] of { bit, bool };
byte inside;            /* the CPU, its handler, the reaper */

#define SEEN_FAST (fast_waits > 0 -> own_fast : mem_fast)

inline store_busy(value)
{
	d_step { own_busy = value; queue!BUSY, value }
}

inline store_fast(value)
{
	d_step { own_fast = value; fast_waits++; queue!FAST, value }
}

inline drain_one()
{
	if
	:: queue?BUSY, v -> mem_busy = v
	:: queue?FAST, v -> mem_fast = v; fast_waits--
	fi
}

inline use()
{
	inside++;
	assert(inside == 1);
	inside--
}

/* One visit, long or short, with what a handler may do between its steps. */
inline visit(go)
{
#ifdef LATE_STORE
	go = SEEN_FAST; far = false;
	store_busy(true);
#else
	store_busy(true);
	handler();
	if
	:: go = SEEN_FAST; far = false
	:: go = !revoked; far = true
#endif
#ifndef LATE_STORE
	fi;
#endif
	handler();
	if
	:: go ->
		inside++;
		assert(inside == 1);
		handler();
		if
		:: far -> store_fast(true)
		:: true
		fi;
		inside--
	:: else
	fi;
	store_busy(false)
}

inline handler()
{
	if
	:: true
	:: atomic {
#ifndef RUDE_HANDLER
		!own_busy ->
#else
		true ->
#endif
		if
		:: SEEN_FAST && nfull(queue) -> use()
		:: else
		fi
	   }
	:: atomic { /* finds it busy: counts that in and out again, so that it is never 0 */
		own_busy && len(queue) < 3 -> store_busy(true)
	   }
	fi
}

active proctype cpu()
{
	bool go, far;
	do
	:: len(queue) < 3 -> handler(); visit(go)
	od
}

/* The queue empties when it likes. */
active proctype memory()
{
	bool v;
	do
	:: atomic { nempty(queue) -> drain_one() }
	od
}

inline barrier()
{
	atomic {
		do
		:: nempty(queue) -> drain_one()
		:: empty(queue) -> break
		od
	}
}

active proctype reaper()
{
	bool v;
	do
	:: true ->
		revoked = true;
#ifndef NO_FIRST_BARRIER
		barrier();
#endif
#ifndef NO_FIRST_WAIT
		!mem_busy;
#endif
#ifndef NO_HIDE
		mem_fast = false;
#endif
#ifndef NO_SECOND_BARRIER
		barrier();
#endif
#ifndef NO_SECOND_WAIT
		!mem_busy;
#endif
		use();
		revoked = false
	od
}
