/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_BOOT_LIMINE_H
#define KERNEL_BOOT_LIMINE_H
/*
 * The Limine boot protocol from the executable's side: the requests that this
 * kernel makes and the answers it reads. Identifiers and layouts are the
 * protocol's facts; names are ours.
 *
 * A request lies 8-byte aligned in the loaded image. The loader finds it by its
 * four words and stores a pointer to its answer, which lies in
 * bootloader-reclaimable memory; a request that it does not serve keeps NULL.
 * Pointers are direct-map addresses (the RSDP's is physical in base revision 3).
 */
#include <stdint.h>

#define LIMINE_START_WORDS                                                                         \
	0xf6b8f4b39de7d1aeull, 0xfab91a6940fcb9cfull, 0x785c6ed015d3e316ull, 0x181e920a7852b9d9ull
#define LIMINE_END_WORDS 0xadc0e0531bb10d03ull, 0x9572709f31764c62ull
/* The base revision tag; the third word is the revision asked for. */
#define LIMINE_TAG_WORDS 0xf9562b2d5c95a6c8ull, 0x6a7b384944536bdcull

#define LIMINE_ID(a, b)                                                                            \
	{                                                                                          \
		0xc7b1dd30df4c8b88ull, 0x0a82e883a194f07bull, (a), (b)                             \
	}
#define LIMINE_ID_CMDLINE            LIMINE_ID(0x4b161536e598651eull, 0xb390ad4a2f1f303aull)
#define LIMINE_ID_STACK_SIZE         LIMINE_ID(0x224ef0460a8e8926ull, 0xe1cb0fc25f46ea3dull)
#define LIMINE_ID_HHDM               LIMINE_ID(0x48dcf1cb8ad2b852ull, 0x63984e959a98244bull)
#define LIMINE_ID_FRAMEBUFFER        LIMINE_ID(0x9d5827dcd881dd75ull, 0xa3148604f6fab11bull)
#define LIMINE_ID_PAGING_MODE        LIMINE_ID(0x95c1a0edab0944cbull, 0xa4e5cb3842f7488aull)
#define LIMINE_ID_MP                 LIMINE_ID(0x95a67b819a1b857eull, 0xa0b61b723b6a73e0ull)
#define LIMINE_ID_MEMMAP             LIMINE_ID(0x67cf3d9d378a806full, 0xe304acdfc50c3c62ull)
#define LIMINE_ID_EXECUTABLE_FILE    LIMINE_ID(0xad97e90e83f1ed67ull, 0x31eb5d1c5ff23b69ull)
#define LIMINE_ID_MODULE             LIMINE_ID(0x3e7e279702be32afull, 0xca1c4f3bd1280ceeull)
#define LIMINE_ID_RSDP               LIMINE_ID(0xc5e77b6b397e7b43ull, 0x27637845accdcf3cull)
#define LIMINE_ID_EXECUTABLE_ADDRESS LIMINE_ID(0x71ba76863cc55f63ull, 0xb2644a48c516a487ull)

/* A request whose answer is a pointer to `type`. */
#define LIMINE_REQUEST(type)                                                                       \
	struct {                                                                                   \
		uint64_t id[4];                                                                    \
		uint64_t revision;                                                                 \
		type *volatile response;                                                           \
		uint64_t argument;                                                                 \
	}

struct limine_cmdline {
	uint64_t revision;
	const char *text;
};

struct limine_stack_size {
	uint64_t revision;
};

struct limine_paging_mode {
	uint64_t revision;
	uint64_t mode;
};
#define LIMINE_4_LEVELS 0

struct limine_hhdm {
	uint64_t revision;
	uint64_t offset;
};

struct limine_screen {
	void *address;
	uint64_t width, height, pitch;
	uint16_t bits_per_pixel;
	uint8_t memory_model, masks[6], unused[7];
	uint64_t edid_bytes;
	void *edid;
};
struct limine_framebuffer {
	uint64_t revision;
	uint64_t count;
	struct limine_screen **screens;
};

/* One CPU. Writing goto_address (release) sends a parked one there, with a
 * pointer to this in RDI. */
struct limine_cpu {
	uint32_t processor_id, apic_id;
	uint64_t loader_private;
	uint64_t goto_address;
	uint64_t extra_argument;
};
struct limine_mp {
	uint64_t revision;
	uint32_t flags;
	uint32_t boot_apic_id;
	uint64_t count;
	struct limine_cpu **cpus;
};

struct limine_memmap_entry {
	uint64_t base, length, type;
};
struct limine_memmap {
	uint64_t revision;
	uint64_t count;
	struct limine_memmap_entry **entries;
};

struct limine_file {
	uint64_t revision;
	void *address;
	uint64_t bytes;
	const char *path;
	const char *string;
	/* where it came from follows */
};
struct limine_executable_file {
	uint64_t revision;
	struct limine_file *file;
};
struct limine_module {
	uint64_t revision;
	uint64_t count;
	struct limine_file **files;
};

struct limine_rsdp {
	uint64_t revision;
	uint64_t address;
};

struct limine_executable_address {
	uint64_t revision;
	uint64_t physical, virtual_address;
};
#endif
