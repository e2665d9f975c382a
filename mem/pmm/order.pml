/* SPDX-License-Identifier: MIT */
/*
 * A model of a block of an order (order.c, and what block.c does for it): two order-n blocks of
 * two bits each, two CPUs that take units into their stacks and give them back, each to
 * whoever takes it next; the block gets its order and loses it again.
 *
 * An order-n block is free (00), cached (the first bit clear: 10) or in use (11). The bitmap is one
 * word, the state (owner, order) another; each changes in one step, and looking at one is
 * a step apart from looking at the other. The summaries are `room`, a block of an order
 * with a free block, and `free`, a block that is wholly free.
 *
 * Checked: no order-n block has two users or lies in two stacks (B1); a free finds the first bit
 * set; the block loses its order only when nothing is in it (B6); at rest it has lost it
 * if all units are free, and both summaries agree with bits and state (B3).
 * Mutations: NO_OWNER ALL_CLEAR NO_SECOND_LOOK NO_LAST_LOOK RASH_DISMANTLE
 */
#define FIRST(u) (1 << (2 * (u)))
#define REST(u)  (2 << (2 * (u)))
#define BOTH(u)  (3 << (2 * (u)))
#define IS_CLEAR(u) ((bits & BOTH(u)) == 0)

byte bits;  /* 1: in use */
byte owner; /* 0: nobody */
bool order; /* is a block of the order; else of none */
bool room, free = true;

/* Not part of the allocator: where each is. 0 free, 1 in use, 2 + n cached by n. */
byte where[2];
byte done;

/* ---- summaries: write what is seen, until what is seen stays so ------------------- */

inline update_room()
{
	do
	:: true ->
		look = order;
		look = look && (IS_CLEAR(0) || IS_CLEAR(1));
		if
		:: room == look -> break
		:: else -> room = look
		fi;
#ifdef NO_SECOND_LOOK
		break
#endif
	od
}

inline update_free()
{
	do
	:: true ->
		look = !order;
		look = look && bits == 0;
		if
		:: free == look -> break
		:: else -> free = look
		fi
	od
}

/* ---- the owner lets go ------------------------------------------------------------ */

/* If nothing is in use or cached, the order goes. Who owns it meanwhile does this when he
 * lets go. Again and again only because the owner may have found that it is not so. */
inline try_dismantle()
{
	do
	:: true ->
		atomic { look = owner == 0 && order };
		if
		:: look -> look = bits == 0
		:: else
		fi;
		if
		:: !look -> break
		:: else
		fi;
		if
		:: atomic { owner == 0 && order -> owner = _pid + 1 };
#ifdef RASH_DISMANTLE
			if
			:: true ->
#else
			if
			:: bits == 0 ->
#endif
				assert(where[0] == 0 && where[1] == 0);
				atomic { order = false; owner = 0 };
				update_free();
				break
#ifndef RASH_DISMANTLE
			:: else -> owner = 0
#endif
			fi
		:: atomic { owner != 0 || !order -> skip }
		fi
	od;
	update_room()
}

inline release()
{
	owner = 0;
#ifndef NO_LAST_LOOK
	if
	:: order && bits == 0 -> try_dismantle()
	:: else -> update_room()
	fi;
#endif
	update_free()
}

/* ---- stacks ----------------------------------------------------------------------- */

/* Up to `want` free order-n blocks of the own block become cached. */
inline take_runs()
{
	u = 0;
	do
	:: u < 2 && want > 0 && IS_CLEAR(u) ->
		/* B1: still clear */
		atomic {
			assert(where[u] == 0);
			where[u] = 2 + _pid;
#ifndef ALL_CLEAR
			bits = bits | REST(u)
#endif
		};
		stack = stack | 1 << u;
		want--;
		u++
	:: u < 2 && !(want > 0 && IS_CLEAR(u)) -> u++
	:: u >= 2 -> break
	od
}

inline refill()
{
	if
	:: room ->
		if
#ifdef NO_OWNER
		:: order ->
#else
		:: atomic { owner == 0 && order -> owner = _pid + 1 };
#endif
			take_runs();
			release()
		:: atomic { owner != 0 || !order -> skip }
		fi
	:: free ->
		if
		:: atomic { owner == 0 && !order -> owner = _pid + 1 };
			if
			:: bits == 0 -> /* block.pml has what else there may be */
				order = true;
				take_runs();
				release()
			:: else -> release()
			fi
		:: atomic { owner != 0 || order -> skip }
		fi
	:: else -> skip
	fi
}

/* From cached to in use. */
inline pop()
{
	u = (stack & 1 -> 0 : 1);
	stack = stack & ~(1 << u);
	atomic {
		assert(where[u] == 2 + _pid);
		where[u] = 1;
		bits = bits | BOTH(u)
	}
}

/* From in use to cached. */
inline push()
{
	atomic {
		assert(where[u] == 3 + _pid + 2); /* on its way */
		assert(bits & FIRST(u));
		bits = bits & ~FIRST(u);
#ifdef ALL_CLEAR
		bits = bits & ~REST(u);
#endif
		where[u] = 2 + _pid
	};
	stack = stack | 1 << u
}

inline flush()
{
	do
	:: stack == 0 -> break
	:: else ->
		u = (stack & 1 -> 0 : 1);
		stack = stack & ~(1 << u);
		atomic {
			assert(where[u] == 2 + _pid);
			where[u] = 0;
			bits = bits & ~REST(u)
		};
		/* The owner, if there is one, looks when he lets go. */
		if
		:: owner != 0 -> skip
		:: else ->
			if
			:: bits == 0 -> try_dismantle()
			:: else -> update_room()
			fi
		fi
	od
}

#define GIVE(n) atomic { where[n] == 1 -> where[n] = 3 + _pid + 2; u = n }; push()

active [2] proctype cpu()
{
	byte stack, u, want, round;
	bool look;
	do
	:: round == 3 -> break
	:: round < 3 ->
		round++;
		if
		:: true -> /* take one */
			if
			:: stack == 0 ->
				if
				:: want = 1
				:: want = 2
				fi;
				refill();
				want = 0
			:: else
			fi;
			if
			:: stack -> pop()
			:: else
			fi
		:: GIVE(0)
		:: GIVE(1)
		:: true -> flush()
		fi
	od;
	flush();
	done++
}

active proctype at_rest()
{
	done == 2;
	assert(owner == 0);
	assert(!(order && bits == 0));
	assert(room == (order && (IS_CLEAR(0) || IS_CLEAR(1))));
	assert(free == (!order && bits == 0))
}
