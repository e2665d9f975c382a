/* SPDX-License-Identifier: MIT */
/*
 * From the loader's hands to the first program.
 *
 *   1  answers are there        log, tables for exceptions, CPU features
 *   2  the memory map is sane   frames (pmm), page tables of our own (vmm)
 *   3  on our own tables        heap, stacks, ACPI, interrupt controllers, clock
 *   4  all CPUs on our tables   what is needed of the answers is copied
 *   5  nothing points there     bootloader memory becomes ordinary memory
 *   6  scheduler                the init thread unpacks the modules and starts
 *                               /init; the modules' memory is freed as well
 *
 * The kernel asks for base revision 4 and runs under 2 and above. What differs
 * between revisions matters in two places: the direct map of the loader may
 * cover less than ours will (so ACPI tables are read only from step 3 on), and
 * the RSDP may be a physical address (acpi_init looks).
 */
#include <kernel/boot.h>
#include <kernel/console.h>
#include <kernel/fs.h>
#include <kernel/log.h>
#include <kernel/proc.h>
#include <kernel/random.h>
#include <kernel/sched.h>

#include "arch/x86_64/ops.h"
#include "arch/x86_64/pte.h"
#include "kernel/boot/acpi.h"
#include "kernel/boot/limine.h"
#include "kernel/boot/smp.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"
#include "kernel/host/flush.h"
#include "kernel/host/reclaim.h"
#include "kernel/lib/log.h"

#define IN_REQUESTS __attribute__((section(".limine_requests"), used, aligned(8)))

__attribute__((section(".limine_start"), used,
	       aligned(8))) static const volatile uint64_t requests_start[] = {LIMINE_START_WORDS};
__attribute__((section(".limine_end"), used,
	       aligned(8))) static const volatile uint64_t requests_end[] = {LIMINE_END_WORDS};

IN_REQUESTS static volatile uint64_t revision_tag[] = {LIMINE_TAG_WORDS, 4};
IN_REQUESTS static LIMINE_REQUEST(struct limine_cmdline) ask_cmdline = {.id = LIMINE_ID_CMDLINE};
IN_REQUESTS static LIMINE_REQUEST(struct limine_stack_size) ask_stack_size = {
    .id = LIMINE_ID_STACK_SIZE, .argument = 65536};
/* What there is without asking; but Limine 8.2 moves the direct map only if it was asked. */
IN_REQUESTS static LIMINE_REQUEST(struct limine_paging_mode) ask_paging_mode = {
    .id = LIMINE_ID_PAGING_MODE, .argument = LIMINE_4_LEVELS};
IN_REQUESTS static LIMINE_REQUEST(struct limine_hhdm) ask_hhdm = {.id = LIMINE_ID_HHDM};
IN_REQUESTS static LIMINE_REQUEST(struct limine_framebuffer) ask_framebuffer = {
    .id = LIMINE_ID_FRAMEBUFFER};
IN_REQUESTS static LIMINE_REQUEST(struct limine_mp) ask_mp = {.id = LIMINE_ID_MP};
IN_REQUESTS static LIMINE_REQUEST(struct limine_memmap) ask_memmap = {.id = LIMINE_ID_MEMMAP};
IN_REQUESTS static LIMINE_REQUEST(struct limine_executable_file) ask_executable_file = {
    .id = LIMINE_ID_EXECUTABLE_FILE};
IN_REQUESTS static LIMINE_REQUEST(struct limine_module) ask_modules = {.id = LIMINE_ID_MODULE};
IN_REQUESTS static LIMINE_REQUEST(struct limine_rsdp) ask_rsdp = {.id = LIMINE_ID_RSDP};
IN_REQUESTS static LIMINE_REQUEST(struct limine_executable_address) ask_address = {
    .id = LIMINE_ID_EXECUTABLE_ADDRESS};

struct pmm *kernel_pmm;
struct vmm *kernel_vmm;
struct heap *kernel_heap;
struct boot_framebuffer boot_framebuffer;

extern const char kernel_start[], text_start[], text_end[], rodata_start[], rodata_end[],
    data_start[], data_end[];

void boot_main(void);

/* ---- the memory map ----------------------------------------------------------- */

#define MAX_ENTRIES 1024
static struct memmap_entry raw_entries[MAX_ENTRIES];
static struct memmap_region regions[MEMMAP_CAPACITY(MAX_ENTRIES)];
static struct memmap map = {.regions = regions, .capacity = ARRAY_COUNT(regions)};

/* Entries that say "not usable" come first: those must not be lost, whatever
 * the length of the map; usable ones beyond the capacity are memory not used. */
static size_t copy_entries(const struct limine_memmap *from)
{
	size_t count = 0, dropped = 0;
	for (unsigned usable = 0; usable < 2; usable++) {
		for (uint64_t i = 0; i < from->count; i++) {
			const struct limine_memmap_entry *e = from->entries[i];
			if ((e->type == MEMMAP_USABLE) != usable)
				continue;
			if (count == MAX_ENTRIES) {
				if (!usable)
					panic("the memory map has more than %u reserved entries",
					      MAX_ENTRIES);
				dropped++;
				continue;
			}
			raw_entries[count++] = (struct memmap_entry){e->base, e->length, e->type};
		}
	}
	if (dropped)
		klog(LOG_WARN, "memory map: %lu usable entries too many, not used", dropped);
	return count;
}

static void read_memory_map(void)
{
	size_t count = copy_entries(ask_memmap.response);
	pfn_t end = (pfn_t)1 << (cpu_features.phys_bits - PAGE_SHIFT);
	if (memmap_sanitise(&map, raw_entries, count, mem_min(end, (pfn_t)1 << 40)) != MEM_OK)
		panic("memory map: %lu entries do not fit", count);
	klog(LOG_INFO, "memory map: %lu entries, %lu regions", count, map.count);
	for (size_t i = 0; i < map.count; i++)
		klog(LOG_DEBUG, "  %012lx-%012lx %s", pfn_to_paddr(regions[i].first),
		     pfn_to_paddr(regions[i].end), memmap_type_name(regions[i].type));
}

const struct memmap *boot_memmap(void)
{
	return &map;
}

/* ---- how long it took --------------------------------------------------------- */

/* Time-stamps of the steps; told once the clock is known. */
static struct {
	const char *step;
	uint64_t tsc;
} steps[12];
static unsigned step_count;

static void step_done(const char *step)
{
	if (step_count < ARRAY_COUNT(steps)) {
		steps[step_count].step = step;
		steps[step_count++].tsc = rdtsc();
	}
}

static void log_steps(void)
{
	char line[200];
	int n = 0;
	for (unsigned i = 1; i < step_count && n < (int)sizeof(line); i++)
		n += ksnprintf(line + n, sizeof(line) - (size_t)n, "%s%s %lu", i > 1 ? ", " : "",
			       steps[i].step,
			       clock_ns_from_tsc(steps[i].tsc - steps[i - 1].tsc) / 1000);
	klog(LOG_INFO, "boot steps in us: %s", line);
}

/* ---- steps ---------------------------------------------------------------------- */

static void check_answers(void)
{
	const struct {
		const void *answer;
		const char *what;
	} needed[] = {
	    {ask_memmap.response, "memory map"},
	    {ask_hhdm.response, "direct map"},
	    {ask_address.response, "executable address"},
	};
	/* A loader of revision 3 or later says which it used; one that knows ours
	 * clears the third word; an older one does neither. */
	static const uint64_t tag[] = {LIMINE_TAG_WORDS};
	uint64_t revision = revision_tag[2] == 0 ? 4 : 2;
	bool said = revision_tag[1] != tag[1];
	if (said)
		revision = revision_tag[1];
	for (unsigned i = 0; i < ARRAY_COUNT(needed); i++)
		if (!needed[i].answer)
			panic("the loader did not answer: %s", needed[i].what);
	klog(LOG_INFO, "Quire: loaded by base revision %lu%s", revision,
	     said || revision > 2 ? "" : " or older");
}

uint64_t boot_slide(void)
{
	return (uint64_t)kernel_start - KERNEL_LINK_BASE;
}

/* Not where, which nobody needs to know, but whether somebody could guess it. */
static void log_placement(void)
{
	bool moved = boot_slide() || mem_direct_map_base != KERNEL_BASE;
	const char *how = !moved ? "where they always are"
			  : cpu_features.random
			      ? "at random places, by RDRAND"
			      : "at places that only the time since power-on has chosen: "
				"no RDRAND, they may be guessed";
	klog(moved && !cpu_features.random ? LOG_WARN : LOG_INFO, "kernel and direct map lie %s",
	     how);
}

#define SAMPLE_SLOTS    32
#define SAMPLE_INTERVAL 8192

/* Heap blocks between guard pages, one in so many: heap.sample=N on the command line,
 * 0 for none. */
static void start_sampling(void)
{
	char option[16];
	unsigned interval = SAMPLE_INTERVAL;
	if (boot_option("heap.sample", option, sizeof(option))) {
		interval = 0;
		for (const char *p = option; *p >= '0' && *p <= '9'; p++)
			interval = interval * 10 + (unsigned)(*p - '0');
	}
	if (interval && heap_sample_start(kernel_heap, SAMPLE_SLOTS, interval) != MEM_OK)
		klog(LOG_WARN, "heap: no memory for sampling");
}

/* Heap and stacks lie somewhere else at each boot, like the kernel. */
static uint64_t area_seed(void)
{
	uint64_t seed = 0;
	if (!boot_option("nokaslr", NULL, 0))
		random_bytes(&seed, sizeof(seed));
	return seed;
}

static void start_memory(void)
{
	if (pmm_init(&kernel_pmm, &map) != MEM_OK)
		panic("no room for the frame allocator");
	uint64_t slide = ask_address.response->physical - ask_address.response->virtual_address;
	const struct vmm_segment segments[] = {
	    {(vaddr_t)text_start, (paddr_t)text_start + slide,
	     (uint64_t)(text_end - text_start) / PAGE_SIZE, VM_READ | VM_EXEC},
	    {(vaddr_t)rodata_start, (paddr_t)rodata_start + slide,
	     (uint64_t)(rodata_end - rodata_start) / PAGE_SIZE, VM_READ},
	    {(vaddr_t)data_start, (paddr_t)data_start + slide,
	     (uint64_t)(data_end - data_start) / PAGE_SIZE, VM_READ | VM_WRITE},
	};
	const struct vmm_config config = {
	    .pmm = kernel_pmm,
	    .map = &map,
	    .segments = segments,
	    .segment_count = ARRAY_COUNT(segments),
	    .has_giga_pages = cpu_features.giga_pages,
	    .has_nx = cpu_features.nx,
	    .area_seed = area_seed(),
	};
	step_done("frames");
	if (vmm_init(&kernel_vmm, &config) != MEM_OK)
		panic("no memory for page tables");
	vmm_cpu_online(kernel_vmm);
	arch_flush_global(); /* whatever the loader's tables had */
	step_done("tables");
	irq_enable(); /* nothing interrupts yet; mem/ wants it so */
	if (heap_create(&kernel_heap, vmm_heap_area(kernel_vmm)) != MEM_OK)
		panic("no memory for the heap");
	heap_set_default(kernel_heap);
	start_sampling();
	step_done("heap");
}

/* The file that the kernel was loaded from; not the kernel as it runs. */
static struct {
	paddr_t pa;
	uint64_t bytes;
} kernel_file;

static void copy_answers(void)
{
	if (ask_executable_file.response) {
		const struct limine_file *file = ask_executable_file.response->file;
		symbols_init(file->address, file->bytes);
		kernel_file.pa = ptr_to_paddr(file->address);
		kernel_file.bytes = file->bytes;
	}
	const struct limine_framebuffer *f = ask_framebuffer.response;
	if (f && f->count) {
		const struct limine_screen *s = f->screens[0];
		boot_framebuffer = (struct boot_framebuffer){
		    ptr_to_paddr(s->address), s->width, s->height, s->pitch, s->bits_per_pixel};
	}
}

/* ---- the command line -------------------------------------------------------------- */

#define CMDLINE_BYTES 4096
static char cmdline[CMDLINE_BYTES];

/* Loaders before the command line request keep it as the kernel file's string. */
static void copy_cmdline(void)
{
	const char *from = "";
	if (ask_cmdline.response)
		from = ask_cmdline.response->text;
	else if (ask_executable_file.response)
		from = ask_executable_file.response->file->string;
	if (from && kstrlcpy(cmdline, from, sizeof(cmdline)) >= sizeof(cmdline))
		klog(LOG_WARN, "the command line is cut after %u bytes", CMDLINE_BYTES - 1);
}

const char *boot_cmdline(void)
{
	return cmdline;
}

bool boot_option(const char *name, char *value, size_t bytes)
{
	size_t n = kstrlen(name);
	const char *p = cmdline;
	while (*p) {
		while (*p == ' ')
			p++;
		const char *end = p;
		while (*end && *end != ' ')
			end++;
		if ((size_t)(end - p) >= n && !kstrncmp(p, name, n) &&
		    (p + n == end || p[n] == '=')) {
			const char *from = p + n + (p + n < end);
			if (value && bytes) {
				size_t length = mem_min((size_t)(end - from), bytes - 1);
				memcpy(value, from, length);
				value[length] = 0;
			}
			return true;
		}
		p = end;
	}
	return false;
}

/* ---- modules ----------------------------------------------------------------------- */

#define MAX_MODULES 16
static struct {
	paddr_t pa;
	uint64_t bytes;
} modules[MAX_MODULES];
static unsigned module_count;

static void copy_modules(void)
{
	const struct limine_module *m = ask_modules.response;
	for (uint64_t i = 0; m && i < m->count; i++) {
		if (module_count == MAX_MODULES) {
			klog(LOG_WARN, "more than %u modules: the rest is ignored", MAX_MODULES);
			return;
		}
		modules[module_count].pa = ptr_to_paddr(m->files[i]->address);
		modules[module_count++].bytes = m->files[i]->bytes;
	}
}

/* ---- giving memory back -------------------------------------------------------------- */

static uint64_t give_back(pfn_t first, pfn_t end, enum memmap_type from)
{
	mem_status r = pmm_add(kernel_pmm, pfn_to_paddr(first), end - first);
	if (r != MEM_OK) {
		klog(LOG_WARN, "memory 0x%lx-0x%lx stays unused: %s", pfn_to_paddr(first),
		     pfn_to_paddr(end), mem_status_name(r));
		return 0;
	}
	if (memmap_retype(&map, first, end, from, MEMMAP_USABLE) != MEM_OK)
		klog(LOG_WARN, "no room to say so in the memory map");
	return end - first;
}

/* The kernel's file is ours, as the modules are, and its symbols have been copied. A
 * loader that has it in memory of its own gets it taken away with that. */
static uint64_t give_back_kernel_file(void)
{
	pfn_t first = paddr_to_pfn(kernel_file.pa);
	pfn_t end = paddr_to_pfn(kernel_file.pa + kernel_file.bytes + PAGE_MASK);
	if (!kernel_file.bytes || (kernel_file.pa & PAGE_MASK))
		return 0;
	for (size_t i = 0; i < map.count; i++)
		if (map.regions[i].first <= first && end <= map.regions[i].end &&
		    map.regions[i].type == MEMMAP_EXECUTABLE_AND_MODULES)
			return give_back(first, end, MEMMAP_EXECUTABLE_AND_MODULES);
	return 0;
}

/* Nothing of the loader's is used any more. */
static void reclaim_bootloader(void)
{
	uint64_t npages = 0;
	pfn_t at = 0;
	for (;;) {
		/* The map changes as regions are given back: look for the next one by address. */
		const struct memmap_region *r = NULL;
		for (size_t i = 0; i < map.count && !r; i++)
			if (map.regions[i].first >= at &&
			    map.regions[i].type == MEMMAP_BOOTLOADER_RECLAIMABLE)
				r = &map.regions[i];
		if (!r)
			break;
		pfn_t first = r->first, end = r->end;
		at = end;
		/* Nothing of the loader's is left to be read; and an emulator that watches
		 * pages it once ran code from sees that the code is gone. */
		for (pfn_t pfn = first; pfn < end; pfn++)
			arch_clear_page(paddr_to_ptr(pfn_to_paddr(pfn)));
		npages += give_back(first, end, MEMMAP_BOOTLOADER_RECLAIMABLE);
	}
	uint64_t file_npages = give_back_kernel_file();
	struct pmm_stats s;
	pmm_get_stats(kernel_pmm, &s);
	klog(LOG_INFO,
	     "memory: %lu KiB in all, %lu KiB free, %lu KiB taken back from the loader, "
	     "%lu KiB of the kernel's file",
	     s.total * 4, s.free * 4, npages * 4, file_npages * 4);
}

static void unpack_modules(void)
{
	for (unsigned i = 0; i < module_count; i++) {
		int r = fs_unpack_cpio(paddr_to_ptr(modules[i].pa), modules[i].bytes);
		if (r) /* half of the files would be another machine than the one asked for */
			panic("module %u does not fit into memory, or is no archive: error %d", i,
			      -r);
		pfn_t first = paddr_to_pfn(modules[i].pa);
		pfn_t end = paddr_to_pfn(modules[i].pa + modules[i].bytes + PAGE_MASK);
		give_back(first, end, MEMMAP_EXECUTABLE_AND_MODULES);
	}
}

/* ---- the first thread ------------------------------------------------------------------ */

/* In a kernel built with tests (kernel/tests.c). */
extern MEM_NORETURN void kernel_tests_run(const char *filter)
    __attribute__((weak, visibility("hidden")));

static void init_thread(void *unused)
{
	(void)unused;
	char option[256];
	if (kernel_tests_run && boot_option("tests", option, sizeof(option)))
		kernel_tests_run(option);
	int r = fs_init();
	if (r)
		panic("no file system: %d", r);
	r = dev_init();
	if (r)
		klog(LOG_ERROR, "devices: %d", r);
	unpack_modules();
	static const char *const argv[] = {"/init", NULL};
	static const char *const envp[] = {"HOME=/", "TERM=linux", NULL};
	klog(LOG_INFO, "starting /init");
	r = proc_start_init(argv[0], argv, envp);
	if (r)
		panic("cannot start /init: %d", r);
}

void boot_main(void)
{
	clock_early_init();
	step_done("entry");
	trap_init();
	boot_cpu.cpu.preempt_count = 1; /* until the scheduler starts */
	cpu_init_tables(&boot_cpu);
	cpu_table[0] = &boot_cpu;
	log_init();
	uart_init();
	check_answers();
	mem_direct_map_base = ask_hhdm.response->offset;
	copy_cmdline();
	cpu_detect();
	log_placement();
	cpu_log_weaknesses();
	cpu_patch_smap(mem_direct_map_base + ask_address.response->physical -
		       ask_address.response->virtual_address);
	cpu_init_registers();
	fpu_init();
	host_flush_init();
	step_done("processor");
	read_memory_map();
	step_done("map");
	smp_find(ask_mp.response);
	start_memory();

	if (cpu_alloc_stacks(&boot_cpu) || sched_init_cpu(&boot_cpu))
		panic("no memory for the first stacks");
	acpi_init(ask_rsdp.response ? ask_rsdp.response->address : 0);
	power_init();
	if (apic_init())
		panic("no local APIC");
	apic_init_cpu();
	boot_cpu.apic_id = apic_id();
	ioapic_init();
	step_done("ACPI");
	clock_init();
	step_done("clock");
	cpumask_set_atomic(&cpu_online_mask, 0);
	boot_cpu.online = 1;

	copy_answers();
	copy_modules();
	step_done("symbols");
	sched_init();
	reclaim_start();
	bool all_left = smp_start(ask_mp.response);
	if (all_left)
		reclaim_bootloader();
	step_done("CPUs, reclaim");
	log_steps();
	if (!kthread_create("init", init_thread, NULL))
		panic("no memory for the init thread");
	sched_start();
}
