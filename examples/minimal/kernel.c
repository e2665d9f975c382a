/* SPDX-License-Identifier: MIT */
/*
 * Somebody else's kernel: a Limine-protocol kernel that takes Quire's mem/
 * through its public headers and nothing else. It stands on one CPU, keeps the
 * loader's tables until it has made its own, prints what it does on COM2 and
 * ends QEMU with status 0 if every check held.
 *
 * What mem/ asks of it are the host functions below: groups 1 and 2 of
 * <mem/host.h>. They are all that frames, heap and raw page tables need.
 */
#include <mem/heap.h>
#include <mem/host.h>
#include <mem/pmm.h>
#include <mem/vmm.h>
#include <stdarg.h>

/* ---- what the loader is asked for ------------------------------------------ */

#define PLACED(where) __attribute__((used, section(where), aligned(8)))
#define REQUEST       PLACED(".requests.2")
#define COMMON        0xc7b1dd30df4c8b88, 0x0a82e883a194f07b

PLACED(".requests.1")
static volatile uint64_t start[] = {0xf6b8f4b39de7d1ae, 0xfab91a6940fcb9cf, 0x785c6ed015d3e316,
				    0x181e920a7852b9d9};
REQUEST static volatile uint64_t revision[] = {0xf9562b2d5c95a6c8, 0x6a7b384944536bdc, 3};

struct map_entry {
	uint64_t base, length, type;
};
struct map_response {
	uint64_t revision, count;
	struct map_entry **entries;
};
REQUEST static volatile struct {
	uint64_t id[4], revision;
	struct map_response *response;
} map_request = {{COMMON, 0x67cf3d9d378a806f, 0xe304acdfc50c3c62}, 0, NULL};

REQUEST static volatile struct {
	uint64_t id[4], revision;
	struct {
		uint64_t revision, offset;
	} * response;
} direct_map_request = {{COMMON, 0x48dcf1cb8ad2b852, 0x63984e959a98244b}, 0, NULL};

PLACED(".requests.3") static volatile uint64_t end[] = {0xadc0e0531bb10d03, 0x9572709f31764c62};

/* ---- the machine -------------------------------------------------------------- */

static void out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

MEM_NORETURN static void stop(uint8_t status)
{
	out(0xf4, status); /* isa-debug-exit: QEMU ends with 2 * status + 1 */
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void put(char c)
{
	uint8_t status;
	do
		__asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((uint16_t)0x2fd));
	while (!(status & 0x20));
	out(0x2f8, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned base)
{
	char digits[24];
	unsigned n = 0;
	do
		digits[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	while (n)
		put(digits[--n]);
}

/* %s and %c; %u and %d as unsigned, %x and %p in hexadecimal; widths are skipped. */
static void print(const char *format, va_list args)
{
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		unsigned longs = 0;
		for (format++; (*format >= '0' && *format <= '9') || *format == 'l'; format++)
			longs += *format == 'l';
		if (*format == 's') {
			for (const char *s = va_arg(args, const char *); *s; s++)
				put(*s);
		} else if (*format == 'c') {
			put((char)va_arg(args, int));
		} else {
			bool wide = longs || *format == 'p';
			uint64_t v = wide ? va_arg(args, uint64_t) : va_arg(args, unsigned);
			put_number(v, *format == 'u' || *format == 'd' ? 10 : 16);
		}
	}
	put('\n');
}

void *memset(void *to, int byte, size_t bytes)
{
	void *result = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(byte) : "memory");
	return result;
}

void *memcpy(void *to, const void *from, size_t bytes)
{
	void *result = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
	return result;
}

void *memmove(void *to, const void *from, size_t bytes)
{
	if ((uintptr_t)to <= (uintptr_t)from)
		return memcpy(to, from, bytes);
	for (char *t = to; bytes--;)
		t[bytes] = ((const char *)from)[bytes];
	return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (((const uint8_t *)a)[i] != ((const uint8_t *)b)[i])
			return ((const uint8_t *)a)[i] - ((const uint8_t *)b)[i];
	return 0;
}

/* ---- the host functions: one CPU, interrupts never on -------------------------- */

void host_log(enum host_log_level level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (level >= HOST_LOG_INFO)
		print(format, args);
	va_end(args);
}

void host_panic(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	print(format, args);
	va_end(args);
	stop(2);
}

unsigned host_cpu(void)
{
	return 0;
}
unsigned host_cpu_count(void)
{
	return 1;
}
unsigned long host_irq_save(void)
{
	return 0;
}
void host_irq_restore(unsigned long state)
{
}
bool host_irq_enabled(void)
{
	return true; /* nothing interrupts, so nothing has to be kept out */
}
bool host_in_interrupt(void)
{
	return false;
}
void host_preempt_disable(void)
{
}
void host_preempt_enable(void)
{
}
void host_relax(void)
{
	__asm__ volatile("pause");
}
void host_barrier_all(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

/* ---- what it does ----------------------------------------------------------------- */

#define CHECK(c) ((c) ? (void)0 : host_panic("FAIL line %d: %s", __LINE__, #c))

static struct pmm *frames;

/* The heap over plain frames: no guard pages without page tables of our own. */
static void *area_map(struct heap_area *area, uint64_t npages, uint64_t align_pages, bool atomic)
{
	paddr_t pa;
	unsigned flags = PMM_KERNEL | (atomic ? 0 : PMM_WAIT);
	if (pmm_alloc_range(frames, npages, align_pages, PADDR_NONE, flags, &pa) != MEM_OK)
		return NULL;
	return paddr_to_ptr(pa);
}

static void area_unmap(struct heap_area *area, void *pages, uint64_t npages)
{
	pmm_free_range(frames, ptr_to_paddr(pages), npages);
}

static void use_frames(void)
{
	struct pmm_stats stats;
	pmm_get_stats(frames, &stats);
	host_log(HOST_LOG_INFO, "frames: %lu of %lu free", stats.free, stats.total);
	paddr_t a = pmm_alloc(frames, 0, PMM_FIRST | PMM_KERNEL);
	paddr_t b = pmm_alloc(frames, 0, PMM_FIRST | PMM_KERNEL);
	paddr_t huge = pmm_alloc(frames, PMM_ORDER_HUGE, PMM_KERNEL);
	CHECK(a < b && b != PADDR_NONE && huge != PADDR_NONE && huge % MEM_HUGE_SIZE == 0);
	pmm_free(frames, a, 0);
	CHECK(pmm_alloc(frames, 0, PMM_FIRST | PMM_KERNEL) == a);
	pmm_free(frames, a, 0);
	pmm_free(frames, b, 0);
	pmm_free(frames, huge, PMM_ORDER_HUGE);
}

static void use_heap(void)
{
	static struct heap_area area = {.map = area_map, .unmap = area_unmap};
	struct heap *heap;
	CHECK(heap_create(&heap, &area) == MEM_OK);
	heap_set_default(heap);
	enum { COUNT = 500 };
	static uint8_t *block[COUNT];
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK((block[i] = kmalloc(i * 37 % 9000 + 1)));
		memset(block[i], (int)i, i * 37 % 9000 + 1);
	}
	struct heap_stats stats;
	heap_get_stats(heap, &stats);
	host_log(HOST_LOG_INFO, "heap: %lu blocks, %lu bytes in %lu pages", stats.live_blocks,
		 stats.live_bytes, stats.held_npages);
	for (unsigned i = 0; i < COUNT; i++) {
		CHECK(block[i][i * 37 % 9000] == (uint8_t)i);
		kfree(block[i]);
	}
	heap_reap(heap, true);
	heap_destroy(heap);
}

static void use_page_tables(void)
{
	enum { PRESENT = 1, WRITE = 2 };
	const vaddr_t where = 0xffffc00000000000;
	paddr_t root, pa = pmm_alloc(frames, 0, PMM_ZERO | PMM_KERNEL), found;
	__asm__ volatile("mov %%cr3, %0" : "=r"(root));
	root &= ~MEM_PAGE_MASK;
	CHECK(pa != PADDR_NONE);
	CHECK(pt_map(frames, root, where, pa, MEM_PAGE_SIZE, PRESENT | WRITE) == MEM_OK);
	*(volatile uint64_t *)where = 0x51e5;
	CHECK(*(uint64_t *)paddr_to_ptr(pa) == 0x51e5);
	CHECK(pt_translate(root, where + 123, &found, NULL, NULL) && found == pa + 123);
	pt_unmap(frames, root, where, MEM_PAGE_SIZE);
	__asm__ volatile("invlpg (%0)" ::"r"(where) : "memory");
	CHECK(!pt_translate(root, where, NULL, NULL, NULL));
	pmm_free(frames, pa, 0);
	host_log(HOST_LOG_INFO, "tables: a page came and went at 0x%lx", where);
}

void kernel_main(void)
{
	enum { MOST = 300 };
	static struct memmap_entry raw[MOST];
	static struct memmap_region regions[MEMMAP_CAPACITY(MOST)];
	struct memmap map = {regions, 0, MEMMAP_CAPACITY(MOST)};
	struct map_response *response = map_request.response;
	CHECK(response && direct_map_request.response && response->count <= MOST);
	mem_direct_map_base = direct_map_request.response->offset;
	for (uint64_t i = 0; i < response->count; i++)
		raw[i] =
		    (struct memmap_entry){response->entries[i]->base, response->entries[i]->length,
					  response->entries[i]->type};
	CHECK(memmap_sanitise(&map, raw, response->count, (pfn_t)1 << 40) == MEM_OK);
	CHECK(pmm_init(&frames, &map) == MEM_OK);
	use_frames();
	use_heap();
	use_page_tables();
	pmm_drain(frames);
	CHECK(pmm_is_valid(frames));
	host_log(HOST_LOG_INFO, "minimal: all checks held");
	stop(0);
}
