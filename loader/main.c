/* SPDX-License-Identifier: MIT */
/*
 * The loader: it speaks the Limine boot protocol to the kernel on machines where
 * Limine is not installed. QEMU's -kernel or GRUB start it; the first module is
 * the executable, the others are its modules.
 *
 *   start.S      32-bit entry, identity map of 4 GiB, long mode
 *   multiboot.c  what we were given, copied out
 *   acpi.c       the tables, the CPUs
 *   memory.c     the map in order; the loader, the modules carved out of it
 *   elf.c        the executable loaded into one piece of memory, and moved
 *   requests.c   what it asks for; the answers
 *   paging.c     its page tables: segments, and the direct map, exact to 4 KiB
 *   cpus.c       interrupt controllers quiet, other CPUs parked, and away
 *
 * Options on the loader's own command line:
 *   dmap=ADDRESS   where the direct map begins (1 GiB-aligned, upper half)
 *   revision=N     act like a loader whose newest base revision is N (2..6)
 *
 * Executable and direct map lie somewhere else at each boot, unless the command line of
 * the executable has the word nokaslr.
 *
 * What it leaves to Limine itself: 5-level paging, more than 4 GiB of modules, and the features
 * that no kernel here asks for (SMBIOS, EFI tables, date, entropy ...), which get no response.
 * IOMMUs stay as the firmware left them. Under UEFI, memory of boot services is reported as usable
 * at once, and that of runtime services as reserved: GRUB's map does not tell them apart.
 */
#include "loader/loader.h"

#include "loader/io.h"

#define DIRECT_MAP_DEFAULT 0xffff800000000000ull
#define DIRECT_MAP_LIMIT   0xffffffff80000000ull
/* A moved direct map ends below: the last quarter of the upper half is the executable's. */
#define DIRECT_MAP_MOVED_END 0xffffe00000000000ull

extern uint8_t image_start[], image_end[]; /* loader.lds */

/* The value of NAME= among our options; false if it is not there. */
static bool option(const char *name, uint64_t *value)
{
	for (const char *s = boot.options; *s; s++) {
		if ((s != boot.options && s[-1] != ' ') || !text_begins(s, name))
			continue;
		s += text_length(name);
		unsigned base = text_begins(s, "0x") ? 16 : 10;
		if (base == 16)
			s += 2;
		for (*value = 0; *s && *s != ' '; s++) {
			unsigned digit = (unsigned)(*s >= 'a' ? *s - 'a' + 10 : *s - '0');
			if (digit >= base)
				fail("the option %s needs a number", name);
			*value = *value * base + digit;
		}
		return true;
	}
	return false;
}

/* Does the executable's command line say that nothing shall be moved? */
static bool fixed_addresses(void)
{
	for (const char *s = boot.modules[0].string; *s; s++)
		if (*s == ' ' && text_begins(s + 1, "nokaslr") && (s[8] == ' ' || !s[8]))
			return true;
	return false;
}

static void read_options(unsigned *newest)
{
	uint64_t value;
	if (option("dmap=", &direct_map) && (direct_map < DIRECT_MAP_DEFAULT ||
					     direct_map >= DIRECT_MAP_LIMIT || direct_map % HUGE))
		fail("dmap=0x%x is not a 1 GiB border of the upper half", direct_map);
	*newest = option("revision=", &value) ? (unsigned)value : REVISION_NEWEST;
	if (*newest < REVISION_OLDEST || *newest > REVISION_NEWEST)
		fail("revision=%u is not one of 2 to 6", (uint64_t)*newest);
}

/* Modules are handed on where they lie, if they have their pages to themselves. */
static void carve_modules(void)
{
	for (unsigned i = 0; i < boot.module_count; i++) {
		struct module *m = &boot.modules[i];
		if (m->base % PAGE)
			fail("module %s is not page-aligned", m->string);
		map_retype(m->base, m->base + round_up(m->size, PAGE), TYPE_USABLE,
			   TYPE_EXECUTABLE_AND_MODULES);
	}
}

static void carve(void)
{
	map_sanitise(boot.map, boot.map_count);
	map_retype((uint64_t)(uintptr_t)image_start, round_up((uint64_t)(uintptr_t)image_end, PAGE),
		   TYPE_USABLE, TYPE_BOOTLOADER_RECLAIMABLE);
	carve_modules();
}

/* Before revision 3 the first page is never usable. */
static void hide_first_page(void)
{
	if (revision < 3)
		map_retype(0, PAGE, TYPE_USABLE, TYPE_RESERVED);
}

static bool is_mapped(unsigned type)
{
	switch (type) {
	case TYPE_USABLE:
	case TYPE_BOOTLOADER_RECLAIMABLE:
	case TYPE_EXECUTABLE_AND_MODULES:
	case TYPE_FRAMEBUFFER:
		return true;
	case TYPE_ACPI_RECLAIMABLE:
	case TYPE_ACPI_NVS:
		return revision != 3;
	case TYPE_RESERVED_MAPPED:
		return revision >= 4;
	default:
		return false;
	}
}

/* Where the direct map begins, unless an option has said it. */
static void place_direct_map(bool move)
{
	uint64_t room = DIRECT_MAP_MOVED_END - DIRECT_MAP_DEFAULT;
	uint64_t end = region_count ? regions[region_count - 1].end : 0;
	end = round_up(end > FOUR_GIB ? end : FOUR_GIB, HUGE);
	if (direct_map)
		return;
	direct_map = DIRECT_MAP_DEFAULT;
	if (move && end < room)
		direct_map += random_below((room - end) / HUGE + 1) * HUGE;
}

/* The direct map: what this base revision promises and not a page more.
 * Neighbours are joined first, so that large entries reach across them; joining
 * also makes the list independent of what mapping itself takes. */
static void map_direct(void)
{
	static struct region joined[MAX_MAP * 2 + 64];
	unsigned n = 0;
	if (revision < 3) /* 0..4 GiB whole */
		joined[n++] = (struct region){0, FOUR_GIB, 0};
	for (unsigned i = 0; i < region_count; i++) {
		struct region r = regions[i];
		unsigned flags = r.type == TYPE_FRAMEBUFFER ? MAP_COMBINING : 0;
		if (!is_mapped(r.type))
			continue;
		if (revision < 3 && r.base < FOUR_GIB) {
			if (r.end <= FOUR_GIB)
				continue;
			r.base = FOUR_GIB;
		}
		if (n && joined[n - 1].end == r.base && joined[n - 1].type == flags)
			joined[n - 1].end = r.end;
		else
			joined[n++] = (struct region){r.base, r.end, flags};
	}
	if (n && joined[n - 1].end > DIRECT_MAP_LIMIT - direct_map)
		fail("the direct map at 0x%x has no room for all memory", direct_map);
	for (unsigned i = 0; i < n; i++)
		paging_map(direct_map + joined[i].base, joined[i].base,
			   joined[i].end - joined[i].base,
			   MAP_WRITE | MAP_EXECUTE | joined[i].type);
}

_Noreturn void loader_main(uint32_t magic, uint32_t info);
_Noreturn void loader_main(uint32_t magic, uint32_t info)
{
	unsigned newest;
	multiboot_read(magic, info);
	read_options(&newest);
	if (!boot.module_count)
		fail("no executable: it must be the first module");
	if (boot.has_framebuffer)
		boot.map[boot.map_count < MAX_MAP ? boot.map_count++ : MAX_MAP - 1] =
		    (struct map_entry){boot.framebuffer.address,
				       boot.framebuffer.pitch * boot.framebuffer.height,
				       TYPE_FRAMEBUFFER};
	acpi_read();
	carve();
	bool move = !fixed_addresses();
	elf_load(&boot.modules[0], move);
	requests_find(newest);
	hide_first_page();
	acpi_reveal();
	place_direct_map(move);
	paging_init();
	cpus_prepare();
	map_direct();
	requests_answer();
	elf_map();
	say("loader: by %s, base revision %u, %u CPUs listed\n", boot.loader, (uint64_t)revision,
	    (uint64_t)acpi_cpu_count);
	cpus_start();
	cpus_enter();
}
