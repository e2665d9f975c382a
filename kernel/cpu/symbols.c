/* SPDX-License-Identifier: MIT */
/*
 * Names for kernel addresses, from the symbol table of the kernel's own file, which
 * has the addresses that it was linked at.
 *
 * The loader keeps the file in memory that is given back, so the functions'
 * names are copied into one block: entries, then text. A look-up walks all of
 * it: it happens when the machine is about to stop. /proc/kallsyms lists them.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/cpu/priv.h"

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct elf_section {
	uint32_t name, type;
	uint64_t flags, address, offset, bytes;
	uint32_t link, info;
	uint64_t align, entry_bytes;
};
struct elf_symbol {
	uint32_t name;
	uint8_t info, other;
	uint16_t section;
	uint64_t value, bytes;
};
enum { SECTION_SYMBOLS = 2, SYMBOL_FUNCTION = 2 };

struct function {
	uint32_t offset, bytes; /* from kernel_start */
	uint32_t name : 31;     /* in `names` */
	uint32_t global : 1;
};
static struct function *functions;
static size_t function_count;
static const char *names;

extern const char kernel_start[], text_start[], text_end[];

static bool inside(uint64_t offset, uint64_t bytes, size_t total)
{
	return offset <= total && bytes <= total - offset;
}

static const struct elf_section *find_symbols(const uint8_t *file, size_t bytes,
					      const struct elf_section **strings)
{
	const struct elf_header *h = (const void *)file;
	if (bytes < sizeof(*h) || memcmp(h->ident, "\177ELF\2\1", 6) ||
	    h->shentsize != sizeof(struct elf_section) ||
	    !inside(h->shoff, (uint64_t)h->shnum * sizeof(struct elf_section), bytes) ||
	    h->shoff % 8)
		return NULL;
	const struct elf_section *s = (const void *)(file + h->shoff);
	for (unsigned i = 0; i < h->shnum; i++) {
		if (s[i].type != SECTION_SYMBOLS || s[i].link >= h->shnum || s[i].offset % 8)
			continue;
		*strings = &s[s[i].link];
		if (inside(s[i].offset, s[i].bytes, bytes) &&
		    inside((*strings)->offset, (*strings)->bytes, bytes) && (*strings)->bytes &&
		    file[(*strings)->offset + (*strings)->bytes - 1] == 0)
			return &s[i];
	}
	return NULL;
}

static bool wanted(const struct elf_symbol *s, uint64_t string_bytes)
{
	uint64_t at = s->value + boot_slide();
	return (s->info & 15) == SYMBOL_FUNCTION && s->name < string_bytes &&
	       at >= (uint64_t)text_start && at < (uint64_t)text_end;
}

void symbols_init(const void *elf, size_t bytes)
{
	const uint8_t *file = elf;
	const struct elf_section *strings, *table = find_symbols(file, bytes, &strings);
	if (!table) {
		klog(LOG_WARN, "no symbol table: backtraces show addresses only");
		return;
	}
	const struct elf_symbol *s = (const void *)(file + table->offset);
	const char *text = (const char *)file + strings->offset;
	size_t total = table->bytes / sizeof(*s), count = 0, name_bytes = 0;
	for (size_t i = 0; i < total; i++) {
		if (!wanted(&s[i], strings->bytes))
			continue;
		count++;
		name_bytes += kstrlen(text + s[i].name) + 1;
	}
	struct function *f = kmalloc(count * sizeof(*f) + name_bytes);
	if (!f)
		return;
	char *to = (char *)(f + count);
	size_t used = 0, n = 0;
	for (size_t i = 0; i < total; i++) {
		if (!wanted(&s[i], strings->bytes))
			continue;
		f[n++] = (struct function){(uint32_t)(s[i].value - KERNEL_LINK_BASE),
					   (uint32_t)s[i].bytes, (uint32_t)used & INT32_MAX,
					   s[i].info >> 4 != 0};
		used += kstrlcpy(to + used, text + s[i].name, name_bytes - used) + 1;
	}
	names = to;
	functions = f;
	function_count = count;
}

bool symbol_nth(size_t n, struct symbol *out)
{
	if (n >= function_count)
		return false;
	const struct function *f = &functions[n];
	*out = (struct symbol){(uintptr_t)kernel_start + f->offset, names + f->name, f->global};
	return true;
}

bool symbol_name(uintptr_t address, char *to, size_t bytes)
{
	if (address < (uintptr_t)text_start || address >= (uintptr_t)text_end)
		return false;
	uint32_t offset = (uint32_t)(address - (uintptr_t)kernel_start);
	const struct function *best = NULL;
	for (size_t i = 0; i < function_count; i++)
		if (functions[i].offset <= offset && (!best || functions[i].offset > best->offset))
			best = &functions[i];
	if (!best)
		return false;
	ksnprintf(to, bytes, "%s+0x%x", names + best->name, offset - best->offset);
	return true;
}
