/* SPDX-License-Identifier: MIT */
/*
 * A model of blocks given back by other CPUs (slab.c, S1 and S2): one slab of two blocks,
 * or two words of them that come from magazines, a freer for each, and the owner, who takes over its notify stack and releases the slab when all
 * of it is free.
 *
 * All steps are locked operations, so memory is sequentially consistent here.
 *
 * Checked: who touches the slab finds it there; it is on the stack once at most; what
 * was freed comes back, by the stack or by the last look.
 * Mutations: BIT_FIRST RELEASE_ANNOUNCED FORGET_TO_CLEAR
 */
#define BLOCKS 2

bool announced, released;
byte on_stack;
bool remote[BLOCKS], free[BLOCKS];
byte done;

#define THERE assert(!released)

inline set_bit(block)
{
	atomic { THERE; assert(!remote[block]); remote[block] = true }
}

inline announce()
{
	bool was;
	atomic { THERE; was = announced };
	if
	:: !was ->
		atomic { THERE; was = announced; announced = true };
		if
		:: !was -> atomic { THERE; on_stack++; assert(on_stack == 1) }
		:: else
		fi
	:: else
	fi
}

proctype freer(byte block)
{
#ifdef BIT_FIRST
	set_bit(block);
	announce();
#else
	announce();
	set_bit(block); /* the last access */
#endif
	done++
}

inline fold()
{
	byte i = 0;
	do
	:: i < BLOCKS ->
		atomic {
			if
			:: remote[i] -> remote[i] = false; free[i] = true
			:: else
			fi
		};
		i++
	:: else -> i = 0; break
	od
}

proctype owner()
{
	do
	:: on_stack > 0 ->
		on_stack = 0; /* the whole stack, in one exchange */
#ifndef FORGET_TO_CLEAR
		announced = false;
#endif
		fold()
	:: done == BLOCKS && on_stack == 0 && !(free[0] && free[1]) ->
		fold() /* the sweep, or the reaper */
	:: free[0] && free[1] ->
		if
#ifdef RELEASE_ANNOUNCED
		:: true
#else
		:: !announced
#endif
			-> released = true; break
#ifndef RELEASE_ANNOUNCED
		:: announced && on_stack > 0 -> skip
		:: announced && on_stack == 0 && done == BLOCKS -> assert(false) /* for ever */
		:: announced && done < BLOCKS && on_stack == 0 -> skip
#endif
		fi
	od;
	assert(on_stack == 0)
}

init
{
	atomic { run freer(0); run freer(1); run owner() }
}
