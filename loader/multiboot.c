/* SPDX-License-Identifier: MIT */
/*
 * Whatever started us, in one form: Multiboot 1 (QEMU's -kernel, GRUB) and
 * Multiboot 2 (GRUB, BIOS and UEFI). Everything is copied out here, because
 * the information lies in memory that the map calls usable.
 *
 * Strings: the first word of a module's string is its path. QEMU puts it there
 * by itself; GRUB's configuration has to repeat it. Our own options are looked
 * for in all words of our command line, so it does not matter there.
 */
#include "loader/loader.h"

enum { MB1_STARTED = 0x2badb002, MB2_STARTED = 0x36d76289 };
enum {
	MB1_HAS_CMDLINE = 1 << 2,
	MB1_HAS_MODULES = 1 << 3,
	MB1_HAS_MAP = 1 << 6,
	MB1_HAS_NAME = 1 << 9,
	MB1_HAS_FRAMEBUFFER = 1 << 12
};

struct mb1_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
	uint32_t apm_table;
	uint32_t vbe[4];
	uint64_t fb_addr;
	uint32_t fb_pitch, fb_width, fb_height;
	uint8_t fb_bpp, fb_type, fb_color[6];
} __attribute__((packed));

struct mb1_module {
	uint32_t start, end, string, reserved;
};

struct mb1_map {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

struct mb2_tag {
	uint32_t type, size;
};

struct boot boot;
static char strings[2 * MAX_STRING];
static size_t strings_used;

static const void *at(uint64_t physical)
{
	return (const void *)(uintptr_t)physical;
}

static char *keep(const char *s, size_t limit)
{
	size_t n = 0;
	while (n < limit && s[n])
		n++;
	if (n + 1 > sizeof(strings) - strings_used)
		fail("the command lines are too long");
	char *copy = strings + strings_used;
	memcpy(copy, s, n);
	copy[n] = 0;
	strings_used += n + 1;
	return copy;
}

/* Types of the BIOS call that both versions pass on. */
static void add_map(uint64_t base, uint64_t length, uint32_t type)
{
	static const uint8_t types[] = {
	    [1] = TYPE_USABLE,   [2] = TYPE_RESERVED, [3] = TYPE_ACPI_RECLAIMABLE,
	    [4] = TYPE_ACPI_NVS, [5] = TYPE_BAD,
	};
	if (boot.map_count == MAX_MAP)
		fail("the memory map has more than %u entries", (uint64_t)MAX_MAP);
	boot.map[boot.map_count++] =
	    (struct map_entry){base, length, type >= 1 && type <= 5 ? types[type] : TYPE_RESERVED};
}

static void add_module(uint64_t start, uint64_t end, const char *string, size_t limit)
{
	if (boot.module_count == MAX_MODULES)
		fail("more than %u modules", (uint64_t)MAX_MODULES);
	boot.modules[boot.module_count++] =
	    (struct module){start, end > start ? end - start : 0, keep(string, limit)};
}

static void add_framebuffer(uint64_t address, uint32_t pitch, uint32_t width, uint32_t height,
			    uint8_t bpp, uint8_t type, const uint8_t color[6])
{
	if (type != 1 || !address || !pitch || !height) /* 1: direct colour */
		return;
	boot.has_framebuffer = true;
	boot.framebuffer = (struct framebuffer){
	    .address = address,
	    .width = width,
	    .height = height,
	    .pitch = pitch,
	    .bpp = bpp,
	    .memory_model = 1,
	    .red_shift = color[0],
	    .red_size = color[1],
	    .green_shift = color[2],
	    .green_size = color[3],
	    .blue_shift = color[4],
	    .blue_size = color[5],
	};
}

static void read_1(const struct mb1_info *info)
{
	boot.loader = info->flags & MB1_HAS_NAME ? keep(at(info->loader_name), 100) : "Multiboot";
	boot.options = keep(info->flags & MB1_HAS_CMDLINE ? at(info->cmdline) : "", MAX_STRING - 1);
	if (!(info->flags & MB1_HAS_MAP))
		fail("no memory map was handed over");
	for (uint32_t o = 0; o + sizeof(struct mb1_map) <= info->mmap_length;) {
		const struct mb1_map *m = at(info->mmap_addr + o);
		add_map(m->base, m->length, m->type);
		o += m->size + 4;
	}
	for (uint32_t i = 0; info->flags & MB1_HAS_MODULES && i < info->mods_count; i++) {
		const struct mb1_module *m = at(info->mods_addr + i * sizeof(*m));
		add_module(m->start, m->end, m->string ? at(m->string) : "", MAX_STRING - 1);
	}
	if (info->flags & MB1_HAS_FRAMEBUFFER)
		add_framebuffer(info->fb_addr, info->fb_pitch, info->fb_width, info->fb_height,
				info->fb_bpp, info->fb_type, info->fb_color);
}

/* The RSDP itself, from the EFI configuration tables: GRUB hands a copy. */
static void read_efi(uint64_t system_table)
{
	static const uint8_t acpi_20[16] = {0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11,
					    0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81};
	boot.efi = true;
	if (system_table >= FOUR_GIB)
		return;
	const uint64_t *st = at(system_table); /* entries at 104, table at 112 */
	uint64_t count = st[13], table = st[14];
	if (table >= FOUR_GIB || count > 1000)
		return;
	for (uint64_t i = 0; i < count; i++) {
		const uint8_t *entry = at(table + 24 * i);
		uint64_t address;
		memcpy(&address, entry + 16, 8);
		if (!memcmp(entry, acpi_20, 16) && address < FOUR_GIB)
			boot.rsdp = address;
	}
}

static void read_2_tag(const struct mb2_tag *tag)
{
	const uint8_t *t = (const void *)tag;
	const uint32_t *w = (const void *)tag;
	const uint64_t *q = (const void *)tag;
	switch (tag->type) {
	case 1:
		boot.options = keep((const char *)(t + 8), tag->size - 8);
		break;
	case 2:
		boot.loader = keep((const char *)(t + 8), tag->size - 8);
		break;
	case 3:
		add_module(w[2], w[3], (const char *)(t + 16), tag->size - 16);
		break;
	case 6:
		for (uint32_t o = 16; w[2] >= 24 && o + 24 <= tag->size; o += w[2]) {
			const uint64_t *e = (const void *)(t + o);
			add_map(e[0], e[1], *(const uint32_t *)(t + o + 16));
		}
		break;
	case 8:
		add_framebuffer(q[1], w[4], w[5], w[6], t[28], t[29], t + 32);
		break;
	case 12:
		read_efi(q[1]);
		break;
	case 14: /* a copy of the RSDP, version 1; 15: version 2, which is better */
	case 15:
		if (boot.rsdp_copy_bytes < tag->size - 8) {
			boot.rsdp_copy_bytes = tag->size - 8 < 36 ? tag->size - 8 : 36;
			memcpy(boot.rsdp_copy, t + 8, boot.rsdp_copy_bytes);
		}
		break;
	default:
		break;
	}
}

static void read_2(uint64_t info)
{
	uint32_t total = *(const uint32_t *)at(info);
	boot.loader = "Multiboot 2";
	boot.options = keep("", 0);
	for (uint32_t o = 8; o + sizeof(struct mb2_tag) <= total;) {
		const struct mb2_tag *tag = at(info + o);
		if (tag->type == 0 || tag->size < sizeof(*tag))
			break;
		read_2_tag(tag);
		o += (uint32_t)round_up(tag->size, 8);
	}
	if (!boot.map_count)
		fail("no memory map was handed over");
}

/* GRUB puts a backslash before each quote and backslash of a command line. */
static void unescape(char *s)
{
	char *to = s;
	for (; *s; s++) {
		if (*s == '\\' && (s[1] == '\\' || s[1] == '\'' || s[1] == '"'))
			s++;
		*to++ = *s;
	}
	*to = 0;
}

static void undo_grub(void)
{
	if (!text_begins(boot.loader, "GRUB"))
		return;
	unescape(boot.options);
	for (unsigned i = 0; i < boot.module_count; i++)
		unescape(boot.modules[i].string);
}

void multiboot_read(uint32_t magic, uint32_t info)
{
	if (magic == MB1_STARTED)
		read_1(at(info));
	else if (magic == MB2_STARTED)
		read_2(info);
	else
		fail("started by something that does not speak Multiboot (%x)", (uint64_t)magic);
	undo_grub();
}
