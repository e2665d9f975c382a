/* SPDX-License-Identifier: MIT */
#ifndef MEM_BASE_ASSERT_H
#define MEM_BASE_ASSERT_H
/*
 * mem_assert: contracts with the caller and facts that must hold; on in every
 * build. mem_debug_assert: dearer checks, on with MEM_DEBUG only.
 */
#include <mem/host.h>

#define MEM_STRING_(x) #x
#define MEM_STRING(x)  MEM_STRING_(x)

#define mem_assert(condition)                                                                      \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			host_panic("%s:%d: %s: assertion failed: %s", __FILE__, __LINE__,          \
				   __func__, #condition);                                          \
	} while (0)

#ifdef MEM_DEBUG
#define mem_debug_assert(condition) mem_assert(condition)
#else
#define mem_debug_assert(condition) ((void)sizeof(!(condition)))
#endif
#endif
