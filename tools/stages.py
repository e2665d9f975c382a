#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which host functions each stage of taking mem/ needs, asked of the linker.

    tools/stages.py ARCHIVE            print the table
    tools/stages.py ARCHIVE --write    put it into mem/README.md

A stage is a set of public functions. All of them are linked with the archive of the component
and nothing else, without --gc-sections: what is undefined then is what the host provides.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = os.path.join(ROOT, "mem", "README.md")
BEGIN, END = "<!-- host functions: tools/stages.py -->\n", "<!-- end -->\n"
LIBRARY = {"memset", "memcpy", "memmove", "memcmp"}

# What one sees of it, and the public functions of it.
STAGES = (
    ("0: the heap alone", lambda n, early: n.startswith(("heap_", "k"))),
    ("1: frames, slabs, raw page tables", lambda n, early: n.startswith(
        ("memmap_", "pmm_", "frame_", "slab_", "pt_"))),
    ("2: kernel page tables, devices, stacks", lambda n, early: n in early),
    ("3: user spaces and faults", lambda n, early: n.startswith(("vmm_", "vm_")) and n not in early),
)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def public():
    """Names of functions in public headers, and those of stage 2: vmm.h up to "spaces"."""
    folder = os.path.join(ROOT, "mem", "include", "mem")
    names, early = set(), set()
    for header in sorted(os.listdir(folder)):
        if header in ("host.h", "port.h"):
            continue
        with open(os.path.join(folder, header), encoding="utf-8") as handle:
            text = re.sub(r"/\*.*?\*/", lambda m: m.group(0) if "----" in m.group(0) else "",
                          handle.read(), flags=re.S)
        found = lambda t: set(re.findall(r"^[a-zA-Z_][\w \t*]*?\b\*?(\w+)\([^;{]*\)[^;{]*;", t, re.M))
        names |= found(text)
        if header == "vmm.h":
            early = found(text.split("---- spaces")[0])
    return names, early


def needed(archive, roots, *more):
    """What the linker finds nowhere when these functions are wanted."""
    said = run("ld", "-static", "-e", "0", "-o", "/dev/null", *(f"-u{r}" for r in sorted(roots)),
               *more, archive).stderr
    missing = set(re.findall(r"undefined reference to `(\w+)'", said))
    other = [line for line in said.splitlines()
             if "undefined reference" not in line and ": in function `" not in line
             and "warning: cannot find entry" not in line and "more undefined" not in line]
    if other:
        raise SystemExit("\n".join(other))
    return missing


def table(archive):
    """For each stage (title, host functions that no stage before needs)."""
    defined = {line.split()[-1] for line in run("nm", "--defined-only", archive).stdout.splitlines()
               if " T " in line}
    names, early = public()
    have, roots = set(), set()
    for title, belongs in STAGES:
        own = {n for n in names & defined if belongs(n, early)}
        roots |= own
        # A stage alone needs no more than with those before it, so the sum is exact.
        want = needed(archive, roots) - LIBRARY
        wrong = [n for n in want if not n.startswith("host_")]
        if wrong or not own:
            raise SystemExit(f"stage {title}: {len(own)} functions, needs {wrong}")
        yield title, sorted(want - have), own
        have |= want


def text(archive):
    lines = ["| Stage | Host functions that it adds |", "| --- | --- |"]
    for title, functions, _ in table(archive):
        lines.append(f"| {title} | {', '.join(f'`{f}`' for f in functions) or 'none'} |")
    return "\n".join(lines) + "\n"


def written():
    with open(README, encoding="utf-8") as handle:
        return handle.read().split(BEGIN)[1].split(END)[0]


def main():
    archive = sys.argv[1]
    if "--write" not in sys.argv:
        print(text(archive), end="")
        return
    with open(README, encoding="utf-8") as handle:
        whole = handle.read()
    head, rest = whole.split(BEGIN)
    with open(README, "w", encoding="utf-8") as handle:
        handle.write(head + BEGIN + text(archive) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
