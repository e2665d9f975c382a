/* SPDX-License-Identifier: MIT */
/*
 * Random bytes: ChaCha20 (RFC 8439, 2.3) keyed from a pool.
 *
 * Whatever is fed in is mixed into the key. Each request makes a stream from
 * the key and at once replaces the key by the first half of a block of it
 * ("fast key erasure"), so that bytes given out cannot be computed later from
 * what the kernel holds. RDSEED or RDRAND, where the CPU has them, are fed in
 * at the start and whenever a stream is made; the time stamp counter always is.
 *
 * Small requests, a random address or two, share a stream: what is left of it waits in a
 * reserve. Bytes are erased there as they are given out, and all of them when something is
 * fed in.
 *
 * One lock, interrupts off, over key and reserve; at most a few blocks are made under it.
 */
#include <kernel/iobuf.h>
#include <kernel/log.h>
#include <kernel/random.h>
#include <kernel/sched.h>
#include <kernel/uaccess.h>

#include "base/lock.h"
#include "kernel/dev/dev.h"
#include "kernel/fs/abi.h"
#include "kernel/syscall/syscalls.h"

static struct mem_lock lock;
static uint32_t key[8];
static uint64_t counter;

#define SMALL          32u /* bytes: a request for no more is served by the reserve */
#define RESERVE_BLOCKS 4u  /* made at once; the first half of the first becomes the key */
static uint8_t reserve[RESERVE_BLOCKS * 64 - 32];
static size_t reserved; /* bytes at its beginning that nobody has had */

#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE uint32_t rotate(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

static ALWAYS_INLINE void quarter(uint32_t *x, unsigned a, unsigned b, unsigned c, unsigned d)
{
	x[a] += x[b];
	x[d] = rotate(x[d] ^ x[a], 16);
	x[c] += x[d];
	x[b] = rotate(x[b] ^ x[c], 12);
	x[a] += x[b];
	x[d] = rotate(x[d] ^ x[a], 8);
	x[c] += x[d];
	x[b] = rotate(x[b] ^ x[c], 7);
}

static void chacha_block(const uint32_t k[8], uint64_t block, uint32_t out[16])
{
	uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	memcpy(in + 4, k, 32);
	in[12] = (uint32_t)block;
	in[13] = (uint32_t)(block >> 32);
	in[14] = in[15] = 0;
	memcpy(out, in, 64);
	for (int i = 0; i < 10; i++) {
		quarter(out, 0, 4, 8, 12);
		quarter(out, 1, 5, 9, 13);
		quarter(out, 2, 6, 10, 14);
		quarter(out, 3, 7, 11, 15);
		quarter(out, 0, 5, 10, 15);
		quarter(out, 1, 6, 11, 12);
		quarter(out, 2, 7, 8, 13);
		quarter(out, 3, 4, 9, 14);
	}
	for (int i = 0; i < 16; i++)
		out[i] += in[i];
}

static uint64_t time_stamp(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static bool cpu_random(uint64_t *out)
{
	static int has = -1;
	if (has < 0) {
		uint32_t a = 1, b, c = 0, d;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		has = c >> 30 & 1;
	}
	bool good = false;
	for (int i = 0; has && i < 10 && !good; i++)
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=qm"(good));
	return good;
}

/* Lock held: the key becomes a hash of itself and `value`. */
static void mix(uint64_t value)
{
	uint32_t block[16];
	key[0] ^= (uint32_t)value;
	key[1] ^= (uint32_t)(value >> 32);
	chacha_block(key, ++counter, block);
	memcpy(key, block, sizeof(key));
}

void random_feed(uint64_t value)
{
	unsigned long irq = mem_lock_irq(&lock, RANDOM_RANK);
	mix(value ^ rotate((uint32_t)time_stamp(), 13));
	memset(reserve, 0, sizeof(reserve));
	reserved = 0;
	mem_unlock_irq(&lock, RANDOM_RANK, irq);
}

/* Lock held. */
static void stir(void)
{
	uint64_t extra;
	mix(time_stamp());
	if (cpu_random(&extra))
		mix(extra);
}

/* Lock held. */
static void fill_reserve(void)
{
	uint32_t block[16], next[8];
	stir();
	chacha_block(key, ++counter, block);
	memcpy(next, block, 32);
	memcpy(reserve, block + 8, 32);
	for (size_t at = 32; at < sizeof(reserve); at += sizeof(block)) {
		chacha_block(key, ++counter, block);
		memcpy(reserve + at, block, sizeof(block));
	}
	memcpy(key, next, sizeof(key));
	memset(block, 0, sizeof(block));
	memset(next, 0, sizeof(next));
	reserved = sizeof(reserve);
}

static void small_random(void *to, size_t bytes)
{
	unsigned long irq = mem_lock_irq(&lock, RANDOM_RANK);
	if (reserved < bytes)
		fill_reserve();
	reserved -= bytes;
	memcpy(to, reserve + reserved, bytes);
	memset(reserve + reserved, 0, bytes);
	mem_unlock_irq(&lock, RANDOM_RANK, irq);
}

void random_bytes(void *to, size_t bytes)
{
	uint32_t own[8], block[16];
	if (bytes <= SMALL) {
		small_random(to, bytes);
		return;
	}
	unsigned long irq = mem_lock_irq(&lock, RANDOM_RANK);
	stir();
	chacha_block(key, ++counter, block);
	memcpy(key, block, 32);
	memcpy(own, block + 8, 32);
	mem_unlock_irq(&lock, RANDOM_RANK, irq);
	char *at = to;
	for (uint64_t n = 0; bytes; n++) {
		size_t chunk = mem_min(bytes, sizeof(block));
		chacha_block(own, n, block);
		memcpy(at, block, chunk);
		at += chunk;
		bytes -= chunk;
	}
	memset(own, 0, sizeof(own));
	memset(block, 0, sizeof(block));
}

static ssize_t give_random(uint64_t buffer, size_t bytes)
{
	char chunk[256];
	size_t done = 0;
	while (done < bytes) {
		size_t n = mem_min(bytes - done, sizeof(chunk));
		random_bytes(chunk, n);
		size_t left = buffer_out(buffer + done, chunk, n);
		done += n - left;
		if (left || (done < bytes && thread_interrupted()))
			break;
	}
	return done || !bytes ? (ssize_t)done : -EFAULT;
}

static ssize_t random_read(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	return give_random(buffer, bytes);
}

static ssize_t random_write(struct file *f, uint64_t buffer, size_t bytes, off_t *at)
{
	size_t done = 0;
	while (done < bytes) {
		uint64_t value = 0;
		size_t n = mem_min(bytes - done, sizeof(value));
		if (buffer_in(&value, buffer + done, n))
			return done ? (ssize_t)done : -EFAULT;
		random_feed(value);
		done += n;
		if (thread_interrupted())
			break;
	}
	return (ssize_t)done;
}

static const struct file_ops random_ops = {.read = random_read, .write = random_write};

long sys_getrandom(uint64_t buffer, uint64_t bytes, uint64_t flags)
{
	if ((flags & ~7ull) || (flags & 6) == 6)
		return -EINVAL;
	bytes = mem_min(bytes, (uint64_t)0x1ffffff);
	if (!user_range_ok(buffer, bytes))
		return -EFAULT;
	return give_random(buffer, bytes);
}

int random_init(void)
{
	uint64_t extra;
	bool good = true;
	for (int i = 0; i < 4; i++) {
		good &= cpu_random(&extra);
		random_feed(good ? extra : time_stamp());
	}
	if (!good)
		klog(LOG_WARN, "no RDRAND: random numbers are made from times alone at first");
	random_feed(time_realtime());
	int r = devfs_register("random", 1, 8, &random_ops, device_open_anywhere);
	return r ? r : devfs_register("urandom", 1, 9, &random_ops, device_open_anywhere);
}
