/* SPDX-License-Identifier: MIT */
#ifndef MEM_CONFIG_H
#define MEM_CONFIG_H
/*
 * Every choice that is made when the component is compiled. All its files, and all files that
 * include its headers, have to be compiled with the same.
 *
 * To change some: -DMEM_CONFIG='<my/mem_config.h>', a header that defines those and nothing
 * else; or -DMEM_MAX_CPUS=8 and so on. What is left out has the value that stands here. A
 * value out of range does not compile.
 *
 * Chosen at run time instead: the heap's profile (heap_create_as), the limit of committed
 * memory (vmm_config), and the number of CPUs (host_cpu_count). Also guard-page sampling
 * with its slots and interval (heap_sample_start). Which size classes are open follows their
 * use.
 */
#ifdef MEM_CONFIG
#include MEM_CONFIG
#endif

/* The component's version; what changed is in CHANGELOG.md. Until 1.0 the minor number goes
 * up when a caller or a host has to change something. */
#define MEM_VERSION_MAJOR 0
#define MEM_VERSION_MINOR 2
#define MEM_VERSION       "0.2"

/* CPUs that can be told apart: host_cpu_count() is at most this. One more costs 128 bytes of
 * .bss; what a CPU keeps is allocated by host_cpu_count(). 1 to 254. */
#ifndef MEM_MAX_CPUS
#define MEM_MAX_CPUS 64
#endif
#if MEM_MAX_CPUS < 1 || MEM_MAX_CPUS > 254
#error "MEM_MAX_CPUS: 1 to 254"
#endif

/* Pages of a space that are flushed one by one; of more, a CPU forgets all. The array lies on
 * kernel stacks, 8 bytes a page. 1 to 64. */
#ifndef MEM_FLUSH_PAGES
#define MEM_FLUSH_PAGES 32
#endif
#if MEM_FLUSH_PAGES < 1 || MEM_FLUSH_PAGES > 64
#error "MEM_FLUSH_PAGES: 1 to 64"
#endif

/* Pages that stay free below a stack that grows (VM_GROWSDOWN). 1 to 65536. */
#ifndef MEM_STACK_GUARD_PAGES
#define MEM_STACK_GUARD_PAGES 256
#endif
#if MEM_STACK_GUARD_PAGES < 1 || MEM_STACK_GUARD_PAGES > 65536
#error "MEM_STACK_GUARD_PAGES: 1 to 65536"
#endif

/*
 * Not defined unless you do:
 *
 *   MEM_DEBUG         lock ranks, dearer assertions, red zones around blocks, quarantine, and
 *                     the call site of every block for heap_report_live(). Several times
 *                     slower, and blocks are larger.
 *   MEM_HOST_INLINE   a header with three of the host functions as inline ones (mem/host.h).
 *   MEM_HOSTED        for tests as an ordinary program: the instructions that touch the MMU
 *                     are functions, machine_invlpg() and so on (arch/x86_64/ops.h).
 *   MEM_POINTS        for tests, with that: machine_point() at each atomic operation.
 */
#endif
