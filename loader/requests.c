/* SPDX-License-Identifier: MIT */
/*
 * What the executable asks for, and the answers.
 *
 * Requests lie anywhere in the loaded image on 8-byte borders, between the last
 * start marker and the first end marker if there are any. An answer is built in
 * bootloader-reclaimable memory and linked by direct-map addresses; a request
 * that we do not know stays as it is.
 */
#include "loader/loader.h"

static const uint64_t ids[FEATURE_COUNT][2] = {
    [FEATURE_BOOTLOADER_INFO] = {0xf55038d8e2a1202full, 0x279426fcf5f59740ull},
    [FEATURE_COMMAND_LINE] = {0x4b161536e598651eull, 0xb390ad4a2f1f303aull},
    [FEATURE_FIRMWARE_TYPE] = {0x8c2f75d90bef28a8ull, 0x7045a4688eac00c3ull},
    [FEATURE_STACK_SIZE] = {0x224ef0460a8e8926ull, 0xe1cb0fc25f46ea3dull},
    [FEATURE_HHDM] = {0x48dcf1cb8ad2b852ull, 0x63984e959a98244bull},
    [FEATURE_FRAMEBUFFER] = {0x9d5827dcd881dd75ull, 0xa3148604f6fab11bull},
    [FEATURE_PAGING_MODE] = {0x95c1a0edab0944cbull, 0xa4e5cb3842f7488aull},
    [FEATURE_MP] = {0x95a67b819a1b857eull, 0xa0b61b723b6a73e0ull},
    [FEATURE_MEMORY_MAP] = {0x67cf3d9d378a806full, 0xe304acdfc50c3c62ull},
    [FEATURE_ENTRY_POINT] = {0x13d86c035a1cd3e1ull, 0x2b0caa89d8f3026aull},
    [FEATURE_EXECUTABLE_FILE] = {0xad97e90e83f1ed67ull, 0x31eb5d1c5ff23b69ull},
    [FEATURE_MODULES] = {0x3e7e279702be32afull, 0xca1c4f3bd1280ceeull},
    [FEATURE_RSDP] = {0xc5e77b6b397e7b43ull, 0x27637845accdcf3cull},
    [FEATURE_EXECUTABLE_ADDRESS] = {0x71ba76863cc55f63ull, 0xb2644a48c516a487ull},
};

unsigned revision;
uint64_t direct_map;
static struct request *found[FEATURE_COUNT];

/* The words of the image that may hold requests: [*first, *end). */
static void find_limits(uint64_t **first, uint64_t **end)
{
	static const uint64_t start_marker[] = START_MARKER, end_marker[] = END_MARKER;
	uint64_t *image = (uint64_t *)(uintptr_t)executable.phys;
	uint64_t words = executable.bytes / 8;
	*first = image;
	*end = image + words;
	for (uint64_t i = 0; i + 4 <= words; i++)
		if (!memcmp(image + i, start_marker, sizeof(start_marker)))
			*first = image + i + 4;
	for (uint64_t *w = *first; w + 2 <= *end; w++)
		if (!memcmp(w, end_marker, sizeof(end_marker)))
			*end = w;
}

static void answer_tag(uint64_t *tag, unsigned newest)
{
	uint64_t asked = tag[2];
	if (asked < REVISION_OLDEST)
		fail("the executable wants base revision %u, which is too old", asked);
	revision = asked <= newest ? (unsigned)asked : newest;
	if (revision >= 3)
		tag[1] = revision;
	if (asked <= newest)
		tag[2] = 0;
}

void requests_find(unsigned newest)
{
	uint64_t *first, *end;
	find_limits(&first, &end);
	for (uint64_t *w = first; w + 3 <= end; w++) {
		if (w[0] == TAG_WORD_0 && w[1] == TAG_WORD_1) {
			if (revision)
				fail("the executable has two base revision tags");
			answer_tag(w, newest);
		}
		if (w[0] != COMMON_WORD_0 || w[1] != COMMON_WORD_1 || w + 6 > end)
			continue;
		for (unsigned f = 0; f < FEATURE_COUNT; f++) {
			if (w[2] != ids[f][0] || w[3] != ids[f][1])
				continue;
			if (found[f])
				fail("the executable asks twice for the same (%x)", w[2]);
			found[f] = (struct request *)w;
		}
	}
	if (!revision)
		fail("the executable names no base revision; 0 and 1 are too old");
}

struct request *request(enum feature feature)
{
	return found[feature];
}

uint64_t stack_bytes(void)
{
	struct request *r = found[FEATURE_STACK_SIZE];
	uint64_t bytes = r && r->argument[0] > 65536 ? r->argument[0] : 65536;
	if (bytes > (64ull << 20))
		fail("the executable wants a stack of %u bytes", bytes);
	return round_up(bytes, PAGE);
}

/* A response of `words` 64-bit words, the first of which is its revision. */
static uint64_t *answer(enum feature feature, uint64_t response_revision, unsigned words)
{
	if (!found[feature])
		return NULL;
	uint64_t *response = take_small(8 * words);
	response[0] = response_revision;
	found[feature]->response = direct(response);
	return response;
}

static uint64_t keep_text(const char *s)
{
	size_t bytes = text_length(s) + 1;
	return direct(memcpy(take_small(bytes), s, bytes));
}

/* "path arguments" -> path with a leading slash, and arguments. */
static void split(const char *string, uint64_t *path, uint64_t *arguments)
{
	size_t n = 0;
	while (string[n] && string[n] != ' ')
		n++;
	char *p = take_small(n + 2);
	unsigned slash = string[0] != '/';
	p[0] = '/';
	memcpy(p + slash, string, n);
	p[n + slash] = 0;
	*path = direct(p);
	while (string[n] == ' ')
		n++;
	*arguments = keep_text(string + n);
}

static uint64_t describe(const struct module *m)
{
	struct limine_file *file = take_small(sizeof(*file));
	file->address = direct_map + m->base;
	file->size = m->size;
	split(m->string, &file->path, &file->string);
	return direct(file);
}

static void answer_files(void)
{
	uint64_t file = describe(&boot.modules[0]), *r;
	if ((r = answer(FEATURE_EXECUTABLE_FILE, 0, 2)))
		r[1] = file;
	if ((r = answer(FEATURE_COMMAND_LINE, 0, 2)))
		r[1] = ((struct limine_file *)(uintptr_t)(file - direct_map))->string;
	if (boot.module_count > 1 && (r = answer(FEATURE_MODULES, 0, 3))) {
		uint64_t *list = take_small(8 * boot.module_count);
		for (unsigned i = 1; i < boot.module_count; i++)
			list[i - 1] = describe(&boot.modules[i]);
		r[1] = boot.module_count - 1;
		r[2] = direct(list);
	}
}

static void answer_framebuffer(void)
{
	uint64_t *r;
	if (!boot.has_framebuffer || !(r = answer(FEATURE_FRAMEBUFFER, 0, 3)))
		return;
	struct framebuffer *f = take_small(sizeof(*f));
	*f = boot.framebuffer;
	f->address += direct_map;
	uint64_t *list = take_small(8);
	list[0] = direct(f);
	r[1] = 1;
	r[2] = direct(list);
}

void requests_answer(void)
{
	uint64_t *r;
	if ((r = answer(FEATURE_BOOTLOADER_INFO, 0, 3))) {
		r[1] = keep_text("Quire loader");
		r[2] = keep_text("1");
	}
	if ((r = answer(FEATURE_FIRMWARE_TYPE, 0, 2)))
		r[1] = boot.efi ? 2 : 0;
	answer(FEATURE_STACK_SIZE, 0, 1);
	if ((r = answer(FEATURE_HHDM, 0, 2)))
		r[1] = direct_map;
	if ((r = answer(FEATURE_PAGING_MODE, 0, 2)))
		r[1] = 0;
	if ((r = answer(FEATURE_EXECUTABLE_ADDRESS, 0, 3))) {
		r[1] = executable.phys;
		r[2] = executable.virt;
	}
	if (acpi_rsdp && (r = answer(FEATURE_RSDP, 0, 2)))
		r[1] = revision == 3 ? acpi_rsdp : direct_map + acpi_rsdp;
	if (answer(FEATURE_ENTRY_POINT, 0, 1))
		executable.entry = found[FEATURE_ENTRY_POINT]->argument[0];
	answer_files();
	answer_framebuffer();
}

/* The last answer: nothing may be taken from the map after it. */
void requests_answer_map(void)
{
	uint64_t *r = answer(FEATURE_MEMORY_MAP, 0, 3);
	if (!r)
		return;
	/* Taking these splits at most one region into three. */
	unsigned room = region_count + 4;
	uint64_t *list = take(8 * room);
	struct map_entry *entries = take(room * sizeof(*entries));
	if (region_count > room)
		fail("internal: the memory map grew under our hands");
	for (unsigned i = 0; i < region_count; i++) {
		entries[i] = (struct map_entry){regions[i].base, regions[i].end - regions[i].base,
						regions[i].type};
		list[i] = direct(&entries[i]);
	}
	r[1] = region_count;
	r[2] = direct(list);
}
