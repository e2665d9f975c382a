#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where the instructions of one row of bench/vm.c go: by function and by line.

    tools/vm_profile.py ROW            (make profile ROW=getpid)
    tools/vm_profile.py --linux ROW    (make profile ROW=getpid ON=linux)

Boots as ./run --icount does, with tools/vm_profile_plugin.c in QEMU, and runs `cost ROW`.
Counted is the last round, between begin() and end(), the program's own instructions too;
shown are instructions a unit, so that they add up to the row. A function is one that
the kernel has a symbol for: what the compiler put inline counts for who it is in, and
is told apart in the tables by file and by line of the source. Linux has names of functions
only.
"""

import bisect
import collections
import os
import re
import subprocess
import sys
import time

import bench_vm
import boot
import packages
import watch
from common import BUILD, ROOT, Problem, make, note
from machine import Machine, Settings
from suite_programs import files

PLUGIN = os.path.join(BUILD, "tools", "profile.so")
COUNTS = os.path.join(BUILD, "profile.txt")
FUNCTIONS, FILES, LINES = 60, 20, 60  # rows shown
PLACE = re.compile(r"(.*):(\d+)(?: \(discriminator \d+\))?$")


class Symbols:
    """Functions of one file by address."""

    def __init__(self, lines):
        found = {}
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[1] in "tTwW":
                found.setdefault(int(words[0], 16), words[2])
        self.addresses = sorted(found)
        self.names = found

    def entry(self, address):
        """The address where the function begins that this one is in; None: before all."""
        at = bisect.bisect_right(self.addresses, address)
        return self.addresses[at - 1] if at else None

    def address(self, name):
        return next(a for a, n in self.names.items() if n == name)


def nm(path):
    return Symbols(subprocess.run(["nm", path], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout.splitlines())


def linux_symbols():
    path = packages.linux()
    with open(path.replace("vmlinuz", "System.map"), encoding="ascii") as handle:
        return Symbols(handle)


def counted(row, linux):
    """(the row's figure, {address: how often})."""
    program = nm(bench_vm.PROGRAM)
    settings = Settings()
    settings.cpus, settings.icount = 1, True
    if linux:
        line = f"quire.run=channel {bench_vm.LEAN}never"
        settings.boot = boot.linux(packages.linux(), files()[0], line)
    else:
        image = boot.keep(boot.KERNEL, os.path.join(BUILD, "profile"))
        settings.boot = boot.own(image, files()[0], "quire.run=channel nokaslr", "")
    at = ",".join(f"{key}={program.address(name):#x}" for key, name in
                  (("round", "round_begins"), ("begin", "begin"), ("end", "end")))
    settings.boot += ["-plugin", f"{PLUGIN},{at},out={COUNTS}"]
    if os.path.exists(COUNTS):
        os.unlink(COUNTS)
    with Machine(settings) as machine:
        if machine.greet(time.monotonic() + watch.limit(300)):
            raise Problem(f"no boot; QEMU: {machine.complaint()}", 125)
        result = machine.run(["/usr/local/bin/cost", row], seconds=300)
        machine.power_off()
    text = (result.stdout + result.stderr).decode(errors="replace")
    if result.status():
        raise Problem(f"cost {row}: status {result.status()}\n{text}", 1)
    counts = collections.Counter()
    with open(COUNTS, encoding="ascii") as handle:
        for line in handle:
            address, count = line.split()
            counts[int(address, 16)] += int(count)
    return int(text.split()[1]), counts


def here(path):
    """The part of a path that leads to a file of this tree: the compiler's cache may have
    seen it in another one."""
    parts = path.split("/")
    tails = ("/".join(parts[i:]) for i in range(1, len(parts)))
    return next((tail for tail in tails if os.path.isfile(os.path.join(ROOT, tail))), path)


def lines_of(addresses):
    """{address: (file:line, function there)} of the kernel, inlined functions apart."""
    done = subprocess.run(["addr2line", "-f", "-e", boot.KERNEL], text=True, check=True,
                          input="\n".join(f"{a:#x}" for a in addresses), stdout=subprocess.PIPE)
    out = done.stdout.splitlines()
    places = {}
    for address, function, place in zip(addresses, out[::2], out[1::2]):
        found = PLACE.match(place)
        where = f"{here(found[1])}:{found[2]}" if found else "?"
        places[address] = (where, function)
    return places


def source(where):
    path, _, number = where.rpartition(":")
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as handle:
            return handle.read().splitlines()[int(number) - 1].strip()
    except (OSError, ValueError, IndexError):
        return ""


def show(row, figure, counts, linux):
    program, kernel = nm(bench_vm.PROGRAM), linux_symbols() if linux else nm(boot.KERNEL)
    functions, calls = collections.Counter(), {}
    for address, count in counts.items():
        symbols = kernel if address >> 63 else program
        entry = symbols.entry(address)
        name = symbols.names.get(entry, "?")
        if symbols is program:
            name = f"(user) {name}"
        functions[name] += count
        if entry is not None:
            calls[name] = counts[entry]
    for name in ("begin", "end"): # the measuring itself
        functions.pop(f"(user) {name}", None)
    total = sum(functions.values())
    unit = figure / total
    print(f"{row}: {figure} instructions a unit\n")
    print(f"{'instructions':>12} {'share':>6} {'calls':>8}  function")
    for name, count in functions.most_common(FUNCTIONS):
        print(f"{count * unit:12.1f} {count / total:6.1%} {calls.get(name, 0) * unit:8.2f}  {name}")
    if linux:
        return
    places = lines_of(sorted(a for a in counts if a >> 63))
    lines = collections.Counter()
    for address, place in places.items():
        lines[place] += counts[address]
    of_files = collections.Counter()
    for (where, _), count in lines.items():
        of_files[where.rpartition(":")[0]] += count
    print(f"\n{'instructions':>12}  file")
    for path, count in of_files.most_common(FILES):
        print(f"{count * unit:12.1f}  {path}")
    print(f"\n{'instructions':>12}  line")
    for (where, function), count in lines.most_common(LINES):
        print(f"{count * unit:12.1f}  {where:34} {function}: {source(where)[:60]}")


def main():
    words = sys.argv[1:]
    linux = "--linux" in words
    rows = [word for word in words if word != "--linux"]
    known = bench_vm.listed()
    if len(rows) != 1 or rows[0] not in known:
        raise Problem(f"one ROW is asked for; there are: {' '.join(known)}")
    make("kernel", "user", "loader", "profile-plugin")
    figure, counts = counted(rows[0], linux)
    show(rows[0], figure, counts, linux)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        note(f"profile: {problem}")
        sys.exit(problem.status)
