/* SPDX-License-Identifier: MIT */
/*
 * A model of a slot and who may be inside it (slot.c): its CPU, an interrupt
 * handler on that CPU, and another CPU that freezes the allocator.
 *
 * The CPU's memory is x86's: a store waits in a buffer before others see it, and
 * loads may overtake it. One entry is enough, because only the two stores to
 * `busy` matter and a second store pushes out the first. The interrupt that
 * host_barrier_all sends empties it.
 *
 * Checked: never two of them inside at once.
 * Mutations: NO_BARRIER LATE_STORE RUDE_HANDLER
 */
bool busy;             /* in memory */
bool buffered, stored; /* in the buffer of the CPU: a store of `stored` to busy */
bool revoked;
byte inside;

#define SEEN_BUSY (buffered -> stored : busy) /* by its own CPU */

inline store_busy(value)
{
	atomic {
		if
		:: buffered -> busy = stored
		:: else
		fi;
		buffered = true;
		stored = value
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
#ifndef RUDE_HANDLER
		if
		:: SEEN_BUSY -> skip /* the shared slot */
		:: else ->
#endif
			if
			:: buffered -> busy = stored
			:: else
			fi;
			buffered = true;
			stored = true;
			if
			:: revoked -> skip
			:: else -> be_inside()
			fi;
			busy = true;
			stored = false
#ifndef RUDE_HANDLER
		fi
#endif
	   }
	fi
}

active proctype cpu()
{
	bool go;
	do
	:: true ->
		interrupt();
		if
		:: SEEN_BUSY -> assert(false) /* nobody else sets it */
		:: else
		fi;
		interrupt();
#ifdef LATE_STORE
		go = !revoked;
		store_busy(true);
#else
		store_busy(true);
		interrupt();
		go = !revoked;
#endif
		if
		:: go ->
			inside++;
			assert(inside == 1);
			interrupt();
			inside--
		:: else
		fi;
		store_busy(false)
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
		!busy;
		be_inside();
		revoked = false
	od
}
