/* SPDX-License-Identifier: MIT */
#ifndef LOADER_PROTOCOL_H
#define LOADER_PROTOCOL_H
/*
 * The Limine boot protocol as seen from the side that answers: the words that
 * are searched for in the executable, and the layout of what is handed over.
 * Numbers and layouts follow the protocol text, base revision 6.
 */
#include <stdint.h>

enum { REVISION_OLDEST = 2, REVISION_NEWEST = 6 };

#define TAG_WORD_0 0xf9562b2d5c95a6c8ull
#define TAG_WORD_1 0x6a7b384944536bdcull

#define START_MARKER                                                                               \
	{                                                                                          \
		0xf6b8f4b39de7d1aeull, 0xfab91a6940fcb9cfull, 0x785c6ed015d3e316ull,               \
		    0x181e920a7852b9d9ull                                                          \
	}
#define END_MARKER                                                                                 \
	{                                                                                          \
		0xadc0e0531bb10d03ull, 0x9572709f31764c62ull                                       \
	}

/* Every request begins with these two words; the next two say which it is. */
#define COMMON_WORD_0 0xc7b1dd30df4c8b88ull
#define COMMON_WORD_1 0x0a82e883a194f07bull

enum feature {
	FEATURE_BOOTLOADER_INFO,
	FEATURE_COMMAND_LINE,
	FEATURE_FIRMWARE_TYPE,
	FEATURE_STACK_SIZE,
	FEATURE_HHDM,
	FEATURE_FRAMEBUFFER,
	FEATURE_PAGING_MODE,
	FEATURE_MP,
	FEATURE_MEMORY_MAP,
	FEATURE_ENTRY_POINT,
	FEATURE_EXECUTABLE_FILE,
	FEATURE_MODULES,
	FEATURE_RSDP,
	FEATURE_EXECUTABLE_ADDRESS,
	FEATURE_COUNT
};

struct request {
	uint64_t id[4];
	uint64_t revision;
	uint64_t response; /* a direct-map address; left alone when there is no answer */
	uint64_t argument[3];
};

enum {
	TYPE_USABLE,
	TYPE_RESERVED,
	TYPE_ACPI_RECLAIMABLE,
	TYPE_ACPI_NVS,
	TYPE_BAD,
	TYPE_BOOTLOADER_RECLAIMABLE,
	TYPE_EXECUTABLE_AND_MODULES,
	TYPE_FRAMEBUFFER,
	TYPE_RESERVED_MAPPED,
	TYPE_COUNT
};

/* All pointers below are direct-map addresses, kept as numbers: the loader
 * itself runs on an identity map and never follows them. */
struct map_entry {
	uint64_t base, length, type;
};

struct limine_file {
	uint64_t revision;
	uint64_t address;
	uint64_t size;
	uint64_t path;
	uint64_t string;
	uint32_t media_type;
	uint32_t unused;
	uint8_t tftp_ipv4[4];
	uint32_t tftp_port;
	uint32_t partition_index;
	uint32_t mbr_disk_id;
	uint8_t gpt_disk_uuid[16];
	uint8_t gpt_part_uuid[16];
	uint8_t part_uuid[16];
};

struct mp_info {
	uint32_t processor_id;
	uint32_t lapic_id;
	uint64_t reserved;
	uint64_t goto_address;
	uint64_t extra_argument;
};

struct mp_response {
	uint64_t revision;
	uint32_t flags;
	uint32_t bsp_lapic_id;
	uint64_t cpu_count;
	uint64_t cpus;
};

struct framebuffer {
	uint64_t address;
	uint64_t width, height, pitch;
	uint16_t bpp;
	uint8_t memory_model;
	uint8_t red_size, red_shift, green_size, green_shift, blue_size, blue_shift;
	uint8_t unused[7];
	uint64_t edid_size, edid;
	uint64_t mode_count, modes;
};
#endif
