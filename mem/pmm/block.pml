/* SPDX-License-Identifier: MIT */
/*
 * A model of a block (block.c): three frames, two CPUs that take what is free in
 * it, take it whole, and give frames back one by one; one may keep the last.
 *
 * The bitmap is one word, the state (owner, whole) another; each changes in one
 * step. The hint is read and written in two, so that a change may be lost, and the
 * two summary bits are written one at a time. A frame's `user` is what its real
 * users would see. Memory is sequentially consistent here: that bits are seen
 * before their writer looks at the class is the locked operation in between.
 *
 * A block that is taken whole leaves its bits alone (B4).
 *
 * Checked: no frame has two users (B1, B4); at rest the class says free if and only
 * if all bits are clear (B3), whatever became of the hint.
 * Mutations: NO_OWNER NO_CHECK NO_SECOND_LOOK LOOK_FIRST TRUST_HINT
 */
#define FRAMES 3
#define ALL    7

byte bits;                /* 1: in use */
byte owner;               /* 0: nobody */
bool whole;
byte hint = FRAMES;       /* about how many are free */
bool a = true, b = false; /* class free */

byte user[FRAMES];        /* not part of the allocator */
byte done;

#ifdef TRUST_HINT
#define IS_FREE (!whole && hint == FRAMES)
#else
#define IS_FREE (!whole && bits == 0)
#endif

/* The class that block and hint call for: free 10, sparse 11, half 01, full 00. */
inline look()
{
	atomic {
		na = IS_FREE || (!whole && hint >= 2);
		nb = !IS_FREE && !whole && hint >= 1
	}
}

inline update_class()
{
	look();
	do
	:: true ->
		if
		:: a == na && b == nb -> break
		:: else
		fi;
		a = na;
		b = nb;
#ifdef NO_SECOND_LOOK
		break
#else
		look()
#endif
	od
}

inline use(f)
{
	assert(user[f] == 0);
	user[f] = _pid + 1
}

inline take_all()
{
	atomic { /* one exchange of the word */
		got = ALL & ~bits;
		bits = ALL;
		f = 0;
		do
		:: f < FRAMES && (got >> f & 1) -> use(f); f++
		:: f < FRAMES && !(got >> f & 1) -> f++
		:: f == FRAMES -> break
		od
	};
	hint = 0;
	update_class();
	owner = 0;
	update_class()
}

inline give_back()
{
	f = 0;
	do
	:: f == FRAMES -> break
	:: f < FRAMES && !(got >> f & 1) -> f++
	:: f == FRAMES - 1 && (got >> f & 1) && round == 2 -> f++ /* kept */
	:: f < FRAMES && (got >> f & 1) ->
		assert(user[f] == _pid + 1);
#ifdef LOOK_FIRST
		rest = bits & ~(1 << f);
#endif
		atomic { user[f] = 0; bits = bits & ~(1 << f) };
		h = hint;
		hint = (h < FRAMES -> h + 1 : h);
#ifndef LOOK_FIRST
		rest = bits;
#endif
		/* A border of the hint, or nothing in use. */
		if
		:: rest == 0 || h < 2 -> update_class()
		:: else
		fi;
		f++
	od
}

active [2] proctype cpu()
{
	byte got, f, round, h, rest;
	bool na, nb;
	do
	:: round == 2 -> break
	:: round < 2 ->
		round++;
		if
		:: atomic {
#ifdef NO_OWNER
			!whole && bits != ALL
#else
			owner == 0 && !whole && bits != ALL -> owner = _pid + 1
#endif
		   };
			take_all();
			give_back()
		:: atomic { owner == 0 && !whole && a && !b -> owner = _pid + 1 };
			if
#ifdef NO_CHECK
			:: true ->
#else
			:: bits == 0 ->
#endif
				atomic { use(0); use(1); use(2) };
				atomic { whole = true; hint = 0; owner = 0 };
				update_class();
				atomic { user[0] = 0; user[1] = 0; user[2] = 0 };
				atomic { whole = false; hint = FRAMES };
				update_class()
#ifndef NO_CHECK
			:: else -> owner = 0; update_class()
#endif
			fi
		:: true -> skip
		fi
	od;
	done++
}

active proctype at_rest()
{
	done == 2;
	assert(owner == 0 && !whole);
	assert((a && !b) == (bits == 0))
}
