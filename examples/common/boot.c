/* SPDX-License-Identifier: MIT */
/* From a loader to kernel_main(), with the memory map in one form. */
#include "boot.h"

static struct memmap_entry entries[BOOT_MAP_MOST];
struct boot boot = {.map = {entries, BOOT_MAP_MOST, 0}, .mapped = UINT64_MAX, .cpus = 1};

extern char image_start[], image_end[];

/* ---- Limine: what it is asked for ----------------------------------------------- */

#define PLACED(where) __attribute__((used, section(where), aligned(8)))
#define REQUEST       PLACED(".requests.2") static volatile
#define COMMON        0xc7b1dd30df4c8b88, 0x0a82e883a194f07b

PLACED(".requests.1")
static volatile uint64_t begin[] = {0xf6b8f4b39de7d1ae, 0xfab91a6940fcb9cf, 0x785c6ed015d3e316,
				    0x181e920a7852b9d9};
REQUEST uint64_t revision[] = {0xf9562b2d5c95a6c8, 0x6a7b384944536bdc, 3};
REQUEST struct {
	uint64_t id[4], revision;
	const void *response;
} map_request = {{COMMON, 0x67cf3d9d378a806f, 0xe304acdfc50c3c62}, 0, NULL};
REQUEST struct {
	uint64_t id[4], revision;
	const struct {
		uint64_t revision, offset;
	} * response;
} direct_map_request = {{COMMON, 0x48dcf1cb8ad2b852, 0x63984e959a98244b}, 0, NULL};
REQUEST struct {
	uint64_t id[4], revision;
	const struct {
		uint64_t revision, physical, virtual;
	} * response;
} address_request = {{COMMON, 0x71ba76863cc55f63, 0xb2644a48c516a487}, 0, NULL};
struct limine_cpu {
	uint32_t id, apic_id;
	uint64_t reserved;
	void (*go)(struct limine_cpu *);
	uint64_t argument;
};
REQUEST struct {
	uint64_t id[4], revision;
	const struct {
		uint64_t revision;
		uint32_t flags, boot_apic_id;
		uint64_t count;
		struct limine_cpu **cpus;
	} * response;
	uint64_t flags;
} cpus_request = {{COMMON, 0x95a67b819a1b857e, 0xa0b61b723b6a73e0}, 0, NULL, 0};
PLACED(".requests.3") static volatile uint64_t end[] = {0xadc0e0531bb10d03, 0x9572709f31764c62};

void limine_main(void);
void limine_main(void)
{
	CHECK(map_request.response && direct_map_request.response && address_request.response);
	mem_direct_map_base = direct_map_request.response->offset;
	boot.image = address_request.response->physical;
	if (cpus_request.response)
		boot.cpus = (unsigned)cpus_request.response->count;
	CHECK(memmap_from_limine(&boot.map, map_request.response) == MEM_OK);
	kernel_main();
	machine_exit(0);
}

static void (*cpu_entry[MEM_MAX_CPUS])(unsigned);

static void limine_cpu_main(struct limine_cpu *cpu)
{
	cpu_entry[cpu->argument]((unsigned)cpu->argument);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void boot_start_cpu(unsigned cpu, void (*entry)(unsigned))
{
	unsigned number = 0;
	for (uint64_t i = 0; i < cpus_request.response->count; i++) {
		struct limine_cpu *c = cpus_request.response->cpus[i];
		if (c->apic_id == cpus_request.response->boot_apic_id || ++number != cpu)
			continue;
		cpu_entry[cpu] = entry;
		c->argument = cpu;
		__atomic_store_n(&c->go, limine_cpu_main, __ATOMIC_SEQ_CST);
	}
}

/* ---- multiboot 2 -------------------------------------------------------------------- */

void mem_port_entry_mb2(paddr_t info, uint64_t mapped)
{
	mem_direct_map_base = MEM_PORT_DIRECT_MAP;
	boot.mapped = mapped;
	boot.image = (uintptr_t)image_start - 0xffffffff80000000;
	CHECK(memmap_from_multiboot2(&boot.map, paddr_to_ptr(info), 1 << 20, info) == MEM_OK);
	CHECK(memmap_list_add(&boot.map, boot.image, (uint64_t)(image_end - image_start),
			      MEMMAP_EXECUTABLE_AND_MODULES) == MEM_OK);
	kernel_main();
	machine_exit(0);
}
