/* SPDX-License-Identifier: MIT */
/*
 * A model of a cache and who may be inside it (cpu_cache.c): its CPU, an interrupt
 * handler on that CPU, and another CPU that freezes the allocator.
 *
 * The CPU's memory is x86's: a store waits in a buffer before others see it, and
 * loads may overtake it. One entry is enough, because only the stores to
 * `busy` matter and a second store pushes out the first. The interrupt that
 * host_barrier_all sends empties it.
 *
 * `busy` is 0 while nobody is inside. One instruction, which no handler divides, takes
 * one off and tells whether it was 0: then whoever did it is inside. Who is refused puts
 * the one back. It is a byte; here it has two bits, so that it wraps soon.
 *
 * Checked: never two of them inside at once.
 * Mutations: NO_BARRIER LATE_STORE RUDE_HANDLER NO_RETURN
 */
#define VALUES 4
byte busy;     /* in memory */
bool buffered; /* in the buffer of the CPU: ... */
byte stored;   /* ... a store of this to busy */
bool revoked;
byte inside;

#define SEEN_BUSY (buffered * stored + (1 - buffered) * busy) /* by its own CPU */

inline store_busy(value)
{
	atomic {
		if
		:: buffered -> busy = stored
		:: else
		fi;
		stored = value; /* may ask for SEEN_BUSY */
		buffered = true
	}
}

inline be_inside()
{
	inside++;
	assert(inside == 1);
	inside--
}

/* What a handler does between any two steps of what it interrupts. */
inline interrupt()
{
	if
	:: true
	:: atomic { /* it runs to its end as far as its own CPU can see */
		free = SEEN_BUSY == 0;
		store_busy((SEEN_BUSY + VALUES - 1) % VALUES);
		if
#ifndef RUDE_HANDLER
		:: !free -> /* the shared cache */
#ifndef NO_RETURN
			store_busy((SEEN_BUSY + 1) % VALUES)
#else
			skip
#endif
#endif
		:: else ->
			if
			:: revoked -> skip
			:: else -> be_inside()
			fi;
			store_busy(0)
		fi
	   }
	fi
}

active proctype cpu()
{
	bool go, free;
	do
	:: true ->
		interrupt();
#ifdef LATE_STORE
		go = !revoked;
#endif
		atomic {
			assert(SEEN_BUSY == 0); /* handlers end before */
			store_busy(VALUES - 1)
		};
#ifndef LATE_STORE
		interrupt();
		go = !revoked;
#endif
		if
		:: go ->
			inside++;
			assert(inside == 1);
			interrupt(); /* one after another, VALUES of them */
			interrupt();
			interrupt();
			interrupt();
			inside--
		:: else
		fi;
		store_busy(0)
	od
}

/* The buffer empties when it likes. */
active proctype memory()
{
	do
	:: atomic { buffered -> busy = stored; buffered = false }
	od
}

active proctype freezer()
{
	do
	:: true ->
		revoked = true; /* a locked operation */
#ifndef NO_BARRIER
		atomic {
			if
			:: buffered -> busy = stored; buffered = false
			:: else
			fi
		};
#endif
		busy == 0;
		be_inside();
		revoked = false
	od
}
