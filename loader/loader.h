/* SPDX-License-Identifier: MIT */
#ifndef LOADER_LOADER_H
#define LOADER_LOADER_H
/*
 * What the files of the loader share. main.c tells the story.
 *
 * Everything here runs on one CPU on an identity map of the first 4 GiB, so a
 * physical address below 4 GiB is a pointer. Memory is taken from the map by
 * map_take() and never given back: it all becomes bootloader-reclaimable.
 */
#include "loader/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE     0x1000ull
#define LARGE    0x200000ull
#define HUGE     0x40000000ull
#define FOUR_GIB 0x100000000ull

static inline uint64_t round_down(uint64_t x, uint64_t to)
{
	return x & ~(to - 1);
}
static inline uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) & ~(to - 1);
}

/* ---- text.c: words, and the way to say that it went wrong ---- */
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int byte, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
size_t text_length(const char *s);
bool text_begins(const char *s, const char *with);
/* %s %u %x (64-bit) to the log port, COM2. */
void say(const char *format, ...);
/* The same to COM1 and COM2, then end the machine with status 125. */
_Noreturn void fail(const char *format, ...);

/* ---- multiboot.c: whatever started us, in one form ---- */
enum { MAX_MAP = 512, MAX_MODULES = 8, MAX_STRING = 4096 };

struct module {
	uint64_t base, size; /* physical, bytes */
	char *string;        /* path, then arguments */
};

struct boot {
	const char *loader; /* who started us */
	char *options;      /* our own command line */
	struct map_entry map[MAX_MAP];
	unsigned map_count;
	struct module modules[MAX_MODULES];
	unsigned module_count;
	uint64_t rsdp; /* where it really is, or 0 */
	uint8_t rsdp_copy[36];
	unsigned rsdp_copy_bytes; /* 0: no copy was handed over */
	bool efi;
	bool has_framebuffer;
	struct framebuffer framebuffer; /* address physical */
};
extern struct boot boot;
void multiboot_read(uint32_t magic, uint32_t info);

/* ---- memory.c: the map, and memory out of it ---- */
struct region {
	uint64_t base, end;
	unsigned type;
};
extern struct region regions[];
extern unsigned region_count;
/* Sort, align and disentangle `count` raw entries into regions[]. */
void map_sanitise(const struct map_entry *raw, unsigned count);
/* Retype what is `from` now inside [base, end). */
void map_retype(uint64_t base, uint64_t end, unsigned from, unsigned type);
/* Zeroed memory of a new type out of usable memory below `limit` (at most
 * 4 GiB), as high as possible; fails the boot if there is none. */
void *map_take(uint64_t bytes, uint64_t align, uint64_t limit, unsigned type);
static inline void *take(uint64_t bytes)
{
	return map_take(bytes, PAGE, FOUR_GIB, TYPE_BOOTLOADER_RECLAIMABLE);
}
/* Small pieces for responses, 16-byte aligned, packed into taken pages. */
void *take_small(uint64_t bytes);

/* ---- paging.c: the page tables that the executable is entered with ---- */
enum { MAP_WRITE = 1, MAP_EXECUTE = 2, MAP_COMBINING = 4 };
void paging_init(void);
void paging_map(uint64_t virt, uint64_t phys, uint64_t bytes, unsigned flags);
extern uint64_t *paging_root;   /* the executable's */
extern uint64_t *paging_bridge; /* the same, and the identity map */

/* ---- elf.c: the executable ---- */
struct executable {
	uint64_t virt, phys, bytes; /* the loaded image */
	uint64_t slide;             /* virt is so far above where it was linked */
	uint64_t entry;
	uint8_t *image; /* phys as a pointer */
};
extern struct executable executable;
/* `move`: to a random place, if it is position-independent. */
void elf_load(const struct module *file, bool move);
void elf_map(void);

/* ---- random.c ---- */
uint64_t random_below(uint64_t n);

/* ---- requests.c: what it asks for, and the answers ---- */
extern unsigned revision; /* the base revision that we load it with */
extern uint64_t direct_map;
static inline uint64_t direct(const void *p)
{
	return direct_map + (uint64_t)(uintptr_t)p;
}
void requests_find(unsigned newest);
/* The request for a feature, or NULL. */
struct request *request(enum feature feature);
uint64_t stack_bytes(void);
void requests_answer(void);
void requests_answer_map(void);

/* ---- acpi.c ---- */
struct acpi_cpu {
	uint32_t uid, apic_id;
};
enum { MAX_CPUS = 256 };
extern struct acpi_cpu acpi_cpus[MAX_CPUS];
extern unsigned acpi_cpu_count;
extern uint64_t acpi_rsdp; /* physical, 0 if there is none */
struct acpi_io_apic {
	uint32_t address, id;
};
extern struct acpi_io_apic acpi_io_apics[16];
extern unsigned acpi_io_apic_count;
/* Find the tables, add the memory that they are in to boot.map, list CPUs. */
void acpi_read(void);
/* Make that memory part of the direct map, if this base revision wants it. */
void acpi_reveal(void);
/* LINT pins that the MADT wires to NMI for this CPU: bit 0, bit 1; flags each. */
unsigned acpi_nmi_pins(uint32_t uid, uint16_t flags[2]);

/* ---- cpus.c ---- */
void cpus_prepare(void); /* interrupt controllers, GDT */
void cpus_start(void);   /* park the others, if asked for */
_Noreturn void cpus_enter(void);
#endif
