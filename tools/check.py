#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules about the source that no compiler checks.

    tools/check.py [--list] [NAME...]       (make check runs all of them)

Each check prints `ok check_NAME`, `skip check_NAME: why` or
`FAIL check_NAME: what` with one line a finding.
"""
import concurrent.futures
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys

import panics
import words

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")

# Layers of mem/, left to right; each may include only what stands left of it.
LAYERS = {"base": 0, "arch": 1, "pmm": 2, "slab": 3, "pt": 3, "vm": 4, "heap": 5, "port": 6}
# Which layer a public header belongs to; heap's page source and the VMM's use
# of it meet in heap.h, which names no VMM type.
PUBLIC = {"config.h": 0, "types.h": 0, "cpumask.h": 0, "host.h": 0, "memmap.h": 2, "pmm.h": 2, "slab.h": 3, "pt.h": 3,
          "heap.h": 3, "port.h": 3, "object.h": 4, "vmm.h": 4}
STANDARD = {"stdbool.h", "stddef.h", "stdint.h", "stdarg.h", "limits.h"}

EXPORTS = re.compile(
    r"^(mem_|memmap_|pmm_|frame_|slab_|heap_|vmm_|vm_object_|vm_area_|pt_(map|unmap|translate)$"
    r"|k(malloc|zalloc|calloc|realloc|free|malloc_aligned|malloc_page)$)")
# What an adopter's own names must not begin with (mem/README.md, "Names"): global symbols of
# single objects, what public headers declare, and macros. Tags without a prefix are listed.
PREFIXES = re.compile(
    r"^(mem|memmap|pmm|frame|slab|heap|vmm|vm|pt|host|cpumask|paddr|pfn|vaddr|vpn)_"
    r"|^(MEM|MEMMAP|PMM|FRAME|SLAB|HEAP|VMM|VM|HOST|CPUMASK|PADDR|PFN)_"
    r"|^k(malloc|zalloc|calloc|realloc|free|malloc_aligned|malloc_page)$"
    r"|^(pmm|vmm|space|heap|cpumask|memmap|page_source|ptr_to_paddr)$")
# The linker makes _GLOBAL_OFFSET_TABLE_ for whatever is position-independent.
IMPORTS = re.compile(r"^(host_\w+|mem(set|cpy|move|cmp)|_GLOBAL_OFFSET_TABLE_)$")


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                          "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted({f for f in out.stdout.split("\0") if f and os.path.exists(os.path.join(ROOT, f))})


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def run(command, input=None):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=input)


def check_layering():
    """mem/ includes only mem/, and inside it only to the left."""
    for path in tracked("mem/*.c", "mem/*.h"):
        part = path.split("/")[1]
        for number, line in enumerate(read(path).splitlines(), 1):
            m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not m:
                continue
            name = m.group(2)
            where = f"{path}:{number}: includes {name}"
            if name in STANDARD:
                continue
            if name.startswith("mem/"):
                target = PUBLIC.get(name[4:])
                if target is None:
                    yield f"{where}: unknown public header"
            elif name.split("/")[0] in LAYERS:
                target = LAYERS[name.split("/")[0]]
                if part == "include":
                    yield f"{where}: a public header includes an internal one"
                    continue
                if name.split("/")[0] == part:
                    continue
                if target == LAYERS[part]:
                    yield f"{where}: same layer, other part"
                    continue
            else:
                yield f"{where}: not in mem/"
                continue
            if part != "include" and target is not None and target > LAYERS[part]:
                yield f"{where}: against the direction of layers"


def check_names():
    """The component, linked into one object, exports and imports only what it says."""
    made = run(["make", "-s", f"{BUILD}/kernel/libmem.o"])
    if made.returncode:
        yield "make libmem.o: " + made.stderr.strip().splitlines()[-1]
        return
    symbols = run(["nm", f"{BUILD}/kernel/libmem.o"]).stdout
    for line in symbols.splitlines():
        kind, name = line.split()[-2:]
        if kind == "U" and not IMPORTS.match(name):
            yield f"needs {name}, which no contract names"
        elif kind.isupper() and kind != "U" and not EXPORTS.match(name):
            yield f"exports {name}"


def check_prefixes():
    """Files that are compiled singly, and public headers, take no name that has no prefix."""
    sources = [f for f in tracked("mem/*.c", "mem/*.S")]
    made = run(["make", "-s", *(f"{BUILD}/kernel/{f}.o" for f in sources)])
    if made.returncode:
        yield "make: " + made.stderr.strip().splitlines()[-1]
        return
    for source in sources:
        for line in run(["nm", f"{BUILD}/kernel/{source}.o"]).stdout.splitlines():
            kind, name = line.split()[-2:]
            known = PREFIXES.match(name) or source.endswith("port/memory.c")
            if kind.isupper() and kind != "U" and not known:
                yield f"{source} defines {name}"
    headers = [f for f in tracked("mem/include/mem/*.h")]
    ours = [word for h in headers for word in ("-include", h)]
    theirs = [word for h in sorted(STANDARD) for word in ("-include", h)]
    gcc = ["gcc", "-std=gnu17", "-Imem/include", "-E", "-dM", "-x", "c", "/dev/null"]
    macros = [set(re.findall(r"#define (\w+)", run(gcc + files).stdout)) for files in (ours, theirs)]
    for name in sorted(macros[0] - macros[1]):
        if not PREFIXES.match(name):
            yield f"a public header defines the macro {name}"
    if not shutil.which("clang"):
        return
    # A cache of compilations gives the dump of another file.
    clang = ["env", "CCACHE_DISABLE=1", "clang", "-std=gnu17", "-Imem/include", "-fsyntax-only",
             "-Xclang", "-ast-dump",
             "-fno-color-diagnostics", "-x", "c", "/dev/null"]
    declared = re.compile(r"^(?:[|`]-|[| ] [|`]-)(?:Function|Typedef|Record|Enum|EnumConstant|Var)Decl "
                          r"0x[^<\n]*<[^\n]*?> \S+ (?:referenced |used )?(?:struct |union |enum )?"
                          r"(\w+)(?: '| definition|$)", re.M)
    names = [set(declared.findall(run(clang + files).stdout)) for files in (ours, theirs)]
    if "pmm_alloc" not in names[0] or "VM_READ" not in names[0]:
        yield "clang's dump is not understood"
    for name in sorted(names[0] - names[1]):
        if not PREFIXES.match(name):
            yield f"a public header declares {name}"


def check_headers():
    """Every public header compiles alone, in C and C++, with gcc and clang."""
    jobs = []
    for path in tracked("mem/include/mem/*.h"):
        for compiler, language in (("gcc", "c"), ("g++", "c++"), ("clang", "c"), ("clang++", "c++")):
            if not shutil.which(compiler):
                continue
            std = "-std=c11" if language == "c" else "-std=c++17"
            jobs.append((path, [compiler, "-x", language, std, "-Wall", "-Wextra", "-Wpedantic",
                                "-Werror", "-Imem/include", "-include", path, "-fsyntax-only",
                                "-"]))
    for path, command in jobs:
        done = run(command, input="typedef int nothing;\n")
        if done.returncode:
            yield f"{path} with {command[0]}: {done.stderr.splitlines()[0]}"


def doc_words():
    for path in tracked("*.md", "docs/*.md"):
        text = re.sub(r"```.*?```", "", read(path), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            for word in re.findall(r"`([^`]+)`", line):
                yield path, word


def check_docs():
    """Every path and function that a document names exists."""
    source = "\n".join(read(f) for f in tracked("*.c", "*.h", "*.S", "*.py", "*.sh", "*.mk", "Makefile",
                                                 "run", "test", "*.lds", "*.pml"))
    identifiers = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", source))
    tops = {f.split("/")[0] for f in tracked() if "/" in f}
    for path, word in doc_words():
        m = re.fullmatch(r"((?:[\w.-]+/)+[\w.*{},-]*)", word)
        if m and word.split("/")[0] in tops and not word.startswith("build/"):
            if not any(c in word for c in "*{}") and not os.path.exists(os.path.join(ROOT, word)):
                yield f"{path}: path {word} does not exist"
            continue
        m = re.fullmatch(r"([A-Za-z_]\w+)\(\)", word)
        if m and m.group(1) not in identifiers:
            yield f"{path}: function {word} does not exist"
        m = re.fullmatch(r"((?:memmap|pmm|vm|pt|slab|heap|kernel|pitfall|model|racing|sweep|machine)_\w+)",
                         word)
        if m and m.group(1) not in identifiers:
            yield f"{path}: {word} does not exist"
        m = re.fullmatch(r"(?:struct|enum) (\w+)", word)
        if m and m.group(1) not in identifiers:
            yield f"{path}: type {word} does not exist"


def check_panics():
    """mem/docs/PANICS.md has every text with which mem/ stops or refuses, and no other; what
    mem/docs/DEBUGGING.md shows is what they look like."""
    guide = "mem/docs/PANICS.md"
    said = re.findall(r"`([^`]+)`", "\n".join(
        line for line in read(guide).splitlines() if line.startswith("- `")))
    known = [(path, text) for path, text in panics.texts(tracked("mem/*.c", "mem/*.h"), read)]
    for path, text in known:
        if not any(text in entry for entry in said):
            yield f"{path}: \"{text}\" is not in {guide}"
    for entry in said:
        if not any(text in entry for _, text in known):
            yield f"{guide}: nothing says \"{entry}\""
    shapes = [panics.shape(text) for _, text in known]
    for line in read("mem/docs/DEBUGGING.md").splitlines():
        shown = line.strip().removeprefix("PANIC: ")
        if shown != line.strip() and not any(shape.fullmatch(shown) for shape in shapes):
            yield f"mem/docs/DEBUGGING.md: nothing says \"{shown}\""


def check_contexts():
    """Every public function says from where it may be called."""
    for path in tracked("mem/include/mem/*.h"):
        for name in words.without_context(read(path)):
            yield f"{path}: {name}"


def check_version():
    """The component's version is one, wherever it is said."""
    version = read("mem/VERSION").strip()
    major, minor = version.split(".")[:2]
    config, changes = read("mem/include/mem/config.h"), read("mem/CHANGELOG.md")
    for wanted in (f"MEM_VERSION_MAJOR {major}\n", f"MEM_VERSION_MINOR {minor}\n",
                   f'MEM_VERSION       "{version}"\n'):
        if f"#define {wanted}" not in config:
            yield f"mem/include/mem/config.h has no `#define {wanted.strip()}`"
    newest = re.search(r"^## (\S+)", changes, re.M).group(1)
    if newest != version:
        yield f"mem/CHANGELOG.md begins with {newest}, not {version}"
    if f"This is version\n{version};" not in read("mem/README.md"):
        yield f"mem/README.md does not say {version}"


def check_words():
    """What adopters read says it in the field's words, and in sentences that are read once."""
    heads = [f for f in tracked("mem/*.c", "mem/*.h")
             if not f.startswith(("mem/include/", *words.LATER))]
    read_by_adopters = [(f, words.comments(read(f))) for f in tracked("mem/include/mem/*.h")]
    read_by_adopters += [(f, words.head(read(f))) for f in heads]
    for path in tracked("mem/*.md"):
        prose = re.sub(r"(?m)^( {4}| *\|).*$", "", read(path)) # no code, no tables
        read_by_adopters.append((path, [(1, prose)]))
    for path, found in read_by_adopters:
        for line, text in found:
            for count, sentence in words.long_sentences(text):
                yield f"{path}:{line}: {count} words: {sentence}"
            for said, better in words.private_prose(text):
                yield f"{path}:{line}: \"{said}\": {better}"
    for path in tracked("mem/*.c", "mem/*.h"):
        for name, better in words.private_identifiers(read(path)):
            yield f"{path}: {name}: {better}"
    glossary = read(words.GLOSSARY)
    for term in words.OWN:
        if f"**{term}**" not in glossary:
            yield f"{words.GLOSSARY}: no {term}"


def check_format():
    """clang-format has nothing to say."""
    if not shutil.which("clang-format"):
        raise Skip("no clang-format")
    files = tracked("*.c", "*.h")

    def one(path):
        return path, run(["clang-format", "--dry-run", "-Werror", path]).returncode

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, status in pool.map(one, files):
            if status:
                yield f"{path} is not formatted (clang-format -i)"


def check_tidy():
    """clang-tidy has nothing to say about the component.

    Its analyzer looks at each function by itself; through calls too (DEEP=1, make check-deep)
    takes ten times as long. What was clean is remembered, by all that goes into the answer."""
    if not shutil.which("clang-tidy"):
        raise Skip("no clang-tidy")
    flags = ["-std=gnu17", "-ffreestanding", "-mgeneral-regs-only", "-Imem/include", "-Imem"]
    if not os.environ.get("DEEP"):
        flags += ["-Xclang", "-analyzer-config", "-Xclang", "mode=shallow"]
    common = [run(["clang-tidy", "--version"]).stdout, *flags,
              *(read(f) for f in (".clang-tidy", *tracked("mem/*.h")))]
    clean = os.path.join(ROOT, BUILD, "tidy")
    os.makedirs(clean, exist_ok=True)

    def one(path):
        digest = hashlib.sha256("\0".join([*common, path, read(path)]).encode()).hexdigest()
        known = os.path.join(clean, digest)
        if os.path.exists(known):
            return path, None
        done = run(["clang-tidy", "--quiet", "--warnings-as-errors=*", path, "--", *flags])
        if not done.returncode:
            open(known, "wb").close()
        return path, done

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, done in pool.map(one, tracked("mem/*.c")):
            if done and done.returncode:
                lines = [l for l in done.stdout.splitlines() if "error:" in l or "warning:" in l]
                for line in lines[:5] or [f"{path}: clang-tidy failed"]:
                    yield line.replace(ROOT + "/", "")


def check_warnings():
    """One known-bad file per compiler warning: each must fail, by that warning."""
    flags = os.environ.get("WARNINGS", "").split()
    if not flags:
        yield "WARNINGS is empty: run through make check"
        return
    bad = {os.path.basename(f)[:-2]: f for f in tracked("tests/warnings/*.c")}
    group = {"all", "extra", "error"}  # shown by the files that belong to them
    for flag in flags:
        name = flag[2:].split("=")[0]
        if name not in group and not name.startswith("no-") and name not in bad:
            yield f"tests/warnings/{name}.c is missing for {flag}"
    for name, path in bad.items():
        wanted = re.search(r"must fail with -W(\S+)\.", read(path)).group(1)
        done = run(["gcc", "-std=gnu17", "-O2", *flags, "-c", "-o", "/dev/null", path])
        if done.returncode == 0 or not re.search(rf"\[-Werror[,=].*{re.escape(wanted)}", done.stderr):
            yield f"{path} does not fail with -W{wanted}"


def check_mutations():
    """Each mutation finds its text exactly once: who changes that brings the lists up to date."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "mutations"))
    for module in ("list", "kernel_list"):
        for name, path, old, *_ in importlib.import_module(module).MUTATIONS:
            count = read(path).count(old)
            if count != 1:
                yield f"mutation \"{name}\": its text occurs {count} times in {path}"


def check_text():
    """Files say their licence; no trailing space; nothing names one machine."""
    home = os.path.expanduser("~")
    for path in tracked("*.c", "*.h", "*.S", "*.py", "*.sh", "*.mk", "Makefile", "run", "test", "*.lds"):
        text = read(path)
        if "SPDX-License-Identifier: MIT" not in text[:400] and not path.endswith("sources.mk"):
            yield f"{path}: no SPDX line"
        for number, line in enumerate(text.splitlines(), 1):
            if line != line.rstrip():
                yield f"{path}:{number}: trailing space"
            if any(len(d) > 1 and d not in ("/root", "/home", "/tmp") and d + "/" in line
                   for d in (home, os.path.dirname(ROOT))):
                yield f"{path}:{number}: a path of one machine"


def check_addresses():
    """Nothing but a crash report prints an address of the kernel (kernel/fs/secrets.c)."""
    for path in tracked("kernel/*.c"):
        if path in ("kernel/cpu/panic.c", "kernel/lib/printf.c"):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if re.search(r"%[-0-9.]*p", line):
                yield f"{path}:{number}: %p"


class Skip(Exception):
    pass


def main():
    checks = {n: f for n, f in globals().items() if n.startswith("check_")}
    args = sys.argv[1:]
    listing = "--list" in args
    args = [a for a in args if a != "--list"]
    failed = 0
    for name, function in checks.items():
        if args and not any(a in name for a in args):
            continue
        if listing:
            print(name)
            continue
        try:
            found = list(function())
        except Skip as why:
            print(f"skip {name}: {why}")
            continue
        if found:
            failed += 1
            print(f"FAIL {name}: {len(found)} finding(s)")
            for line in found[:40]:
                print("    " + line)
        else:
            print(f"ok {name}")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
