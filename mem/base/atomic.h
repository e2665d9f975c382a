/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_ATOMIC_H
#define MEM_BASE_ATOMIC_H
/*
 * Atomic operations, one spelling each: the order is in the name.
 *
 * Under the hosted machine (MEM_POINTS) each is a point where the seeded
 * scheduler may switch to another simulated CPU; elsewhere MEM_POINT() is
 * nothing and these are the compiler's builtins.
 */
#include <mem/types.h>

#ifdef MEM_POINTS
MEM_BEGIN_DECLS
void machine_point(void); /* tests/machine: maybe run another CPU for a while */
MEM_END_DECLS
#define MEM_POINT() machine_point()
#else
#define MEM_POINT() ((void)0)
#endif

/* Is every access watched, by a sanitizer or by the hosted machine? Then shared words are
 * not read plainly or by instructions written by hand, which would hide them. gcc and
 * clang say it differently. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || defined(MEM_POINTS)
#define MEM_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define MEM_WATCHED 1
#endif
#endif

#define atomic_read_relaxed(p) (__atomic_load_n((p), __ATOMIC_RELAXED))
#define atomic_read_acquire(p)                                                                     \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_load_n((p), __ATOMIC_ACQUIRE);                                            \
	})
#define atomic_read_seq(p)                                                                         \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_load_n((p), __ATOMIC_SEQ_CST);                                            \
	})
#define atomic_write_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_write_release(p, v)                                                                 \
	do {                                                                                       \
		MEM_POINT();                                                                       \
		__atomic_store_n((p), (v), __ATOMIC_RELEASE);                                      \
	} while (0)
#define atomic_write_seq(p, v)                                                                     \
	do {                                                                                       \
		MEM_POINT();                                                                       \
		__atomic_store_n((p), (v), __ATOMIC_SEQ_CST);                                      \
	} while (0)
#define atomic_swap(p, v)                                                                          \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST);                                   \
	})
#define atomic_add(p, v) /* returns the new value */                                               \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST);                                    \
	})
#define atomic_sub(p, v) /* returns the new value */                                               \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_sub_fetch((p), (v), __ATOMIC_SEQ_CST);                                    \
	})
#define atomic_or(p, v) /* returns the old value */                                                \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST);                                     \
	})
#define atomic_and(p, v) /* returns the old value */                                               \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST);                                    \
	})
/* If *p equals *expected store v and return true; else load *p into *expected. */
#define atomic_cas(p, expected, v)                                                                 \
	({                                                                                         \
		MEM_POINT();                                                                       \
		__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST,         \
					    __ATOMIC_SEQ_CST);                                     \
	})
#define atomic_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
/* Statistics: no order, no point. */
#define atomic_count(p, v) ((void)__atomic_fetch_add((p), (v), __ATOMIC_RELAXED))

/*
 * For fast paths, which are counted in instructions. Where nothing watches, fast_read() reads
 * plainly what only ever grows or what the caller keeps from changing; and byte_borrow(), of a
 * byte that one CPU writes, takes one off and says whether it was 0, in one instruction, so
 * that no handler comes in between. Who is told no gives it back: byte_return().
 */
#ifdef MEM_WATCHED
#define fast_read(p) atomic_read_relaxed(p)
#else
#define fast_read(p) (*(p))
#endif

static inline bool byte_borrow(uint8_t *byte)
{
	bool was_zero;
#ifdef MEM_WATCHED
	uint8_t was = atomic_read_relaxed(byte);
	atomic_write_relaxed(byte, (uint8_t)(was - 1));
	was_zero = !was;
#else
	__asm__ volatile("subb $1, %0" : "+m"(*byte), "=@ccc"(was_zero)::"cc", "memory");
#endif
	return was_zero;
}

static inline void byte_return(uint8_t *byte)
{
	atomic_write_relaxed(byte, (uint8_t)(atomic_read_relaxed(byte) + 1));
}
#endif
