# SPDX-License-Identifier: MIT
"""mem/ as other kernels take it: from the pack (make dist), in a folder of another name.

The stages of examples/ are built by both compilers at -O0, -O2 and -Os with LTO, and booted
through our Limine loader and through GRUB, by multiboot 2 and with their own memory map; with
16 MiB, 128 MiB and 8 GiB. Fourteen combinations, chosen so that each pair of compiler,
optimisation, loader and memory is among them, and each stage with each compiler and loader;
stage 4 starts CPUs, which only Limine does for it. `make port-matrix` boots all.

Beside that: which host functions each stage needs, a kernel that has a kmalloc of its own,
headers beside a kernel's own macros, and the build files for CMake and Meson.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import boot
import stages
import watch
from common import BUILD, Problem, locked, make
from machine import Machine, Settings

SECONDS = 60  # one boot
PORT = os.path.join(BUILD, "port")
PACK = os.path.join(PORT, "quire")
COMPILERS, OPTIMISATIONS = ("gcc", "clang"), ("O0", "O2", "LTO")
LOADERS, MEMORY = ("limine", "grub"), ("16M", "128M", "8G")
CHOSEN = """
    stage0 gcc O0 limine 16M      stage0 clang LTO grub 128M
    stage1 gcc O2 grub 8G         stage1 clang O0 limine 128M
    stage2 gcc LTO grub 16M       stage2 clang O2 limine 8G
    stage3 gcc LTO limine 8G      stage3 clang O0 grub 16M
    stage3 clang LTO limine 16M   stage3 gcc O2 limine 128M
    stage2 gcc O0 grub 128M       stage1 clang O2 grub 16M
    stage4 gcc LTO limine 128M    stage4 clang O0 limine 8G
"""


class Failure(Exception):
    """What went wrong, and what was printed."""


class Skip(Exception):
    """Why it cannot be done here."""


def all_pairs(rows):
    """Is each pair of values of two factors in some row?"""
    factors = (COMPILERS, OPTIMISATIONS, LOADERS, MEMORY)
    for a, b in itertools.combinations(range(4), 2):
        for pair in itertools.product(factors[a], factors[b]):
            if not any((row[1 + a], row[1 + b]) == pair for row in rows):
                raise Problem(f"tools/suite_port.py: no combination with {pair}")


def chosen():
    rows = [tuple(line.split()) for line in re.split(r"\n|   +", CHOSEN.strip()) if line.strip()]
    all_pairs(rows)
    return rows


def everything():
    for row in itertools.product((f"stage{n}" for n in range(5)), COMPILERS, OPTIMISATIONS,
                                 LOADERS, MEMORY):
        if row[0] != "stage4" or row[3] == "limine":
            yield row


def run(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, text=True,
                          timeout=watch.limit(300), **more)
    if done.returncode:
        raise Failure(f"{' '.join(command[:6])}: status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def pack():
    make("port-pack", variables=["CC=gcc"])


def build(compiler, optimisation, *targets):
    """The examples out of the pack; where they are."""
    if not shutil.which(compiler):
        raise Skip(f"no {compiler}")
    if (compiler, optimisation) == ("clang", "LTO") and not shutil.which("ld.lld"):
        raise Skip("clang's LTO wants lld")
    pack()
    out = os.path.join(PORT, f"{compiler}-{optimisation}")
    level = {"LTO": ["OPT=-Os", "LTO=1"]}.get(optimisation, [f"OPT=-{optimisation}"])
    with locked(f"port-{compiler}-{optimisation}"):
        run(["make", "-s", "-C", os.path.join(PACK, "examples"), f"-j{os.cpu_count() or 1}",
             f"CC={compiler}", f"OUT={out}", *level, *targets])
    return out


def grub_iso(kernel, work):
    tree = os.path.join(work, "iso")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    shutil.copyfile(kernel, os.path.join(tree, "boot", "kernel"))
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w", encoding="ascii") as handle:
        handle.write("set timeout=0\nmenuentry kernel {\n  multiboot2 /boot/kernel\n}\n")
    path = os.path.join(work, "kernel.iso")
    run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "--locales=", "--themes=", "--fonts=",
         "-o", path, tree])
    return path


def comes_up(kernel, loader, memory, says):
    with tempfile.TemporaryDirectory() as work:
        settings = Settings()
        settings.memory, settings.cpus = memory, 2 if says == "stage 4" else 1
        settings.boot = boot.cdrom(grub_iso(kernel, work)) if loader == "grub" else \
            boot.own(kernel, "/dev/null", "", "")
        with Machine(settings) as machine:
            status = machine.wait(SECONDS)
            log = machine.log_tail.decode(errors="replace")
    if status != 1 or f"{says}: all checks held" not in log or "selftest: PASS" not in log:
        raise Failure(f"QEMU ended with {status}\n{log}")


def combination(stage, compiler, optimisation, loader, memory):
    if loader == "grub" and not shutil.which("grub-mkrescue"):
        raise Skip("no grub-mkrescue")
    out = build(compiler, optimisation, stage)
    comes_up(os.path.join(out, stage, "kernel"), loader, memory, f"stage {stage[-1]}")


# ---- what is linked ------------------------------------------------------------------

def hosts():
    """The table in the pack's README is what the linker says, at -O2 and without any."""
    for compiler, optimisation in (("gcc", "O2"), ("clang", "O0")):
        archive = os.path.join(build(compiler, optimisation, "stage1"), "libmem.a")
        if stages.text(archive) != stages.written():
            raise Failure("mem/README.md has another table: tools/stages.py ARCHIVE --write\n"
                          + stages.text(archive))


OWN_KMALLOC = r"""
#include <mem/heap.h>
extern struct heap *heap;
void *kmalloc(size_t bytes);
void *kmalloc(size_t bytes)
{
	return heap_alloc_at(heap, bytes, 16, __builtin_return_address(0));
}
void kfree(void *block);
void kfree(void *block)
{
	heap_free_at(heap, block, __builtin_return_address(0));
}
"""


def own_kmalloc():
    """A kernel's kmalloc and kfree, over ours; heap/kmalloc.c is in the archive all the same."""
    archive = os.path.join(build("gcc", "O2", "stage1"), "libmem.a")
    with tempfile.TemporaryDirectory() as work:
        source, object_file = os.path.join(work, "own.c"), os.path.join(work, "own.o")
        with open(source, "w", encoding="ascii") as handle:
            handle.write(OWN_KMALLOC)
        # The component's header declares them as well: the same types have to do.
        run(["gcc", "-std=gnu17", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-Werror",
             "-fno-pic", "-mcmodel=kernel", f"-I{PACK}/include", "-c", "-o", object_file, source])
        missing = stages.needed(archive, {"kmalloc", "heap_create", "pmm_init"}, object_file)
    wrong = {n for n in missing if not n.startswith("host_")} - stages.LIBRARY - {"heap"}
    if wrong:
        raise Failure(f"it needs {wrong}")


def headers():
    """Public headers beside a kernel's own names, in C and as C++17, with all warnings."""
    files = sorted(os.listdir(os.path.join(include(), "mem")))
    ours = ("#define PAGE_SIZE 4096\n#define PAGE_SHIFT 12\n#define PAGE_MASK (~4095)\n"
            "#define HUGE_SIZE 1\n#define GIGA_SIZE 1\n#define ARRAY_COUNT(a) 1\n"
            "#define likely(x) (x)\n#define container_of(a, b, c) 0\n"
            "struct list { int x; };\nstatic inline int align_up(int x) { return x; }\n")
    includes = "".join(f"#include <mem/{name}>\n" for name in files)
    for compiler, language, standard in (("gcc", "c", "gnu17"), ("clang", "c", "gnu17"),
                                         ("g++", "c++", "c++17"), ("clang++", "c++", "c++17")):
        if not shutil.which(compiler):
            continue
        for text in (ours + includes, includes + ours):
            done = subprocess.run(
                [compiler, "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Werror",
                 "-Wno-unused-function", f"-I{include()}", "-fsyntax-only", "-"], input=text,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
            if done.returncode:
                raise Failure(f"{compiler} does not take them\n{done.stdout}")


def include():
    pack()
    return os.path.join(PACK, "include")


def options():
    """mem/config.h: values out of range do not compile, and a header of one's own is read."""
    pack()
    with tempfile.TemporaryDirectory() as work:
        mine = os.path.join(work, "my_config.h")
        with open(mine, "w", encoding="ascii") as handle:
            handle.write("#define MEM_MAX_CPUS 3\n#define MEM_FLUSH_PAGES 7\n")
        right = ("_Static_assert(MEM_MAX_CPUS == 3 && MEM_FLUSH_PAGES == 7 && "
                 "MEM_STACK_GUARD_PAGES == 256, \"\");")
        for arguments, wanted in (
                ([f'-DMEM_CONFIG="{mine}"', "-DRIGHT=1"], True), (["-DMEM_MAX_CPUS=254"], True),
                (["-DMEM_MAX_CPUS=0"], False), (["-DMEM_MAX_CPUS=255"], False),
                (["-DMEM_FLUSH_PAGES=65"], False), (["-DMEM_STACK_GUARD_PAGES=0"], False)):
            text = "#include <mem/types.h>\n#ifdef RIGHT\n" + right + "\n#endif\n"
            done = subprocess.run(["gcc", "-x", "c", "-std=gnu17", *arguments,
                                   f"-I{PACK}/include", "-fsyntax-only", "-"], input=text,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                                  text=True)
            if (done.returncode == 0) != wanted:
                raise Failure(f"{arguments}: status {done.returncode}\n{done.stdout}")


# ---- one file ------------------------------------------------------------------------

# Bytes of text that the linker keeps at -Os with --gc-sections, and what they may be at most:
# of the usual calls of frames and heap, and of every public function.
USUAL = ("memmap_sanitise", "pmm_init", "pmm_alloc", "pmm_free", "frame_area_init", "heap_create",
         "heap_set_default", "kmalloc", "kcalloc", "krealloc", "kfree")
TEXT_MOST = {"frames and heap": 48 << 10, "all": 128 << 10}


def text_bytes(object_file, roots, work):
    linked = os.path.join(work, "linked")
    run(["ld", "-static", "-e", "0", "--gc-sections", "--unresolved-symbols=ignore-all", "-w",
         "-o", linked, *(f"-u{name}" for name in roots), object_file])
    return int(re.search(r"^\.text\s+(\d+)", run(["size", "-A", linked]), re.M)[1])


def single():
    """quire.c is all of it: without a warning, from both compilers; a kernel runs on it; it is
    as small as it was."""
    out = build("gcc", "O2", "stage3")
    flags = ["-std=gnu17", "-ffreestanding", "-fno-strict-aliasing", "-mno-red-zone",
             "-mgeneral-regs-only", "-Wall", "-Wextra", "-Werror", "-fno-pic", "-mcmodel=kernel",
             "-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables"]
    source = os.path.join(BUILD, "dist", "quire.c")
    with tempfile.TemporaryDirectory() as work:
        one_file, kernel = os.path.join(work, "quire.o"), os.path.join(work, "kernel")
        inline = os.path.join(work, "inline.h")
        with open(inline, "w", encoding="ascii") as handle:
            handle.write("#define MEM_HOST_IS_INLINE\n"
                         "static inline unsigned host_cpu(void) { return 0; }\n"
                         "static inline void host_preempt_disable(void) {}\n"
                         "static inline void host_preempt_enable(void) {}\n")
        for defined in ([], ["-DMEM_DEBUG"], [f'-DMEM_HOST_INLINE="{inline}"']):
            if shutil.which("clang"):
                run(["clang", *flags, *defined, "-O0", "-c", "-o", one_file, source])
        run(["gcc", *flags, "-Os", "-ffunction-sections", "-fdata-sections", "-c", "-o", one_file,
             source])
        run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++",
             os.path.join(BUILD, "dist", "quire.h")])
        sizes = {"frames and heap": text_bytes(one_file, USUAL, work),
                 "all": text_bytes(one_file, stages.public()[0], work)}
        run(["ld", "-static", "--gc-sections", "-z", "max-page-size=4096", "-z", "noexecstack",
             "--build-id=none", "-T", os.path.join(PACK, "examples", "common", "kernel.lds"),
             "-o", kernel, *(os.path.join(out, name) for name in (
                 "stage3/kernel.c.o", "common/boot.c.o", "mem/port/entry_mb2.S.o",
                 "mem/port/one_cpu.c.o")), one_file, "--start-group",
             os.path.join(out, "libcommon.a"), os.path.join(out, "libport.a"), "--end-group"])
        comes_up(kernel, "limine", "128M", "stage 3")
    said = ", ".join(f"{what}: {size} bytes of text" for what, size in sizes.items())
    if any(size > TEXT_MOST[what] for what, size in sizes.items()):
        raise Failure(f"larger than {TEXT_MOST}: {said}")
    return said


# ---- other builds --------------------------------------------------------------------

def by_cmake():
    if not shutil.which("cmake"):
        raise Skip("no cmake")
    pack()
    out = os.path.join(PORT, "cmake")
    run(["cmake", "-S", os.path.join(PACK, "examples"), "-B", out, "-DCMAKE_C_COMPILER=gcc",
         "-DCMAKE_BUILD_TYPE=Debug"])
    run(["cmake", "--build", out, "-j", str(os.cpu_count() or 1), "--target", "kernel"])
    comes_up(os.path.join(out, "kernel"), "limine", "128M", "stage 1")


def by_meson():
    if not shutil.which("meson"):
        raise Skip("no meson")
    pack()
    tree, out = os.path.join(PORT, "meson-tree"), os.path.join(PORT, "meson")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(PACK, os.path.join(tree, "quire"))
    shutil.move(os.path.join(tree, "quire", "examples"), os.path.join(tree, "examples"))
    shutil.move(os.path.join(tree, "examples", "meson.build"), tree)
    run(["meson", "setup", "-Doptimization=0", out, tree], env=dict(os.environ, CC="gcc"))
    run(["ninja", "-C", out, "kernel"])
    comes_up(os.path.join(out, "kernel"), "limine", "128M", "stage 1")


OTHER = {"hosts": hosts, "own_kmalloc": own_kmalloc, "headers": headers, "options": options, "single": single,
         "cmake": by_cmake, "meson": by_meson}


def tests():
    known = {f"port/{name}": test for name, test in OTHER.items()}
    for row in chosen():
        known["port/" + "_".join(row)] = lambda row=row: combination(*row)
    return known


def one(name, report):
    begun = time.monotonic()
    try:
        said = tests()[name]()
        report.ok(name, time.monotonic() - begun, said or "")
    except Skip as skip:
        report.skip(name, str(skip))
    except Failure as failure:
        first, _, rest = str(failure).partition("\n")
        report.fail(name, first, rest)


def jobs():
    for name in tests():
        yield [name], lambda given, report: one(given[0], report), False


def matrix():
    """Every combination, one after the other; the exit status says whether all came up."""
    wrong = 0
    for row in everything():
        try:
            combination(*row)
            verdict = "ok"
        except Skip as skip:
            verdict = f"skip: {skip}"
        except (Failure, Problem) as failure:
            verdict, wrong = f"FAIL: {failure}", wrong + 1
        print(f"{' '.join(row)}: {verdict}", flush=True)
    print(f"{wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    make("loader", variables=["CC=gcc"])
    sys.exit(matrix())
