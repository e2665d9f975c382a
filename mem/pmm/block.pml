/* SPDX-License-Identifier: MIT */
/*
 * A model of a block (block.c): four frames, two CPUs that take what is free in
 * it, take it whole, and give frames back one by one.
 *
 * The bitmap is one word, the state (owner, whole, count) another; each changes
 * in one step, the two summary bits one at a time. A frame's `user` is what its
 * real users would see.
 *
 * Checked: no frame has two users (B1, B4); at rest the count is that of the
 * clear bits (B2) and the class that of the count (B3).
 * Mutations: NO_OWNER RELEASE_FIRST NO_SECOND_LOOK ADD_FIRST
 */
#define FRAMES 4
#define ALL    15

byte bits;                /* 1: in use */
byte owner;               /* 0: nobody */
bool whole;
short count = FRAMES;
bool a = true, b = false; /* class free */

byte user[FRAMES];        /* not part of the allocator */
byte done;

#define A_OF(c) ((c) >= 3 && (c) <= FRAMES)
#define B_OF(c) ((c) >= 1 && (c) <= 3)
#define CROSSES(c, d) (A_OF(c) != A_OF(d) || B_OF(c) != B_OF(d))

inline update_class()
{
	do
	:: true ->
		c = count;
		a = A_OF(c);
		b = B_OF(c);
#ifdef NO_SECOND_LOOK
		break
#else
		d = count;
		if
		:: CROSSES(c, d) -> skip
		:: else ->
			if
			:: a != A_OF(c) -> skip
			:: else ->
				if
				:: b != B_OF(c) -> skip
				:: else -> break
				fi
			fi
		fi
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
		taken = 0;
		f = 0;
		do
		:: f < FRAMES && (got >> f & 1) -> use(f); taken++; f++
		:: f < FRAMES && !(got >> f & 1) -> f++
		:: f == FRAMES -> break
		od
	};
#ifdef RELEASE_FIRST
	owner = 0;
	atomic { c = count; count = count - taken; d = count };
#else
	atomic { c = count; count = count - taken; d = count; owner = 0 };
#endif
	if
	:: CROSSES(c, d) -> update_class()
	:: else
	fi
}

inline give_back()
{
	f = 0;
	do
	:: f == FRAMES -> break
	:: f < FRAMES && !(got >> f & 1) -> f++
	:: f < FRAMES && (got >> f & 1) ->
		assert(user[f] == _pid + 1);
#ifdef ADD_FIRST
		atomic { c = count; count++; d = count };
		atomic { user[f] = 0; bits = bits & ~(1 << f) };
#else
		atomic { user[f] = 0; bits = bits & ~(1 << f) };
		atomic { c = count; count++; d = count };
#endif
		if
		:: CROSSES(c, d) -> update_class()
		:: else
		fi;
		f++
	od
}

active [2] proctype cpu()
{
	byte got, taken, f, round;
	short c, d;
	do
	:: round == 2 -> break
	:: round < 2 ->
		round++;
		if
		:: atomic {
#ifdef NO_OWNER
			!whole && count > 0
#else
			owner == 0 && !whole && count > 0 -> owner = _pid + 1
#endif
		   };
			take_all();
			give_back()
		:: atomic { owner == 0 && !whole && count == FRAMES -> whole = true; count = 0 };
			assert(bits == 0);
			bits = ALL;
			atomic { use(0); use(1); use(2); use(3) };
			update_class();
			atomic { user[0] = 0; user[1] = 0; user[2] = 0; user[3] = 0 };
			bits = 0;
			atomic { whole = false; count = FRAMES };
			update_class()
		:: true -> skip
		fi
	od;
	done++
}

active proctype at_rest()
{
	done == 2;
	assert(owner == 0 && !whole && bits == 0);
	assert(count == FRAMES);
	assert(a == A_OF(count) && b == B_OF(count))
}
