#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long a CPU goes without interrupts and without preemption, in the worst cases.

    latency.py [CASE...]         measure and show
    latency.py --raw [CASE...]   with all callers and their offsets
    latency.py --write [CASE...] and write the table of docs/LATENCY.md anew

Boots the test build under --icount on one CPU, where a nanosecond is an instruction,
runs `latency CASE` (user/latency.c) and reads from /proc/quire the longest stretches
that it caused. Stretches that mem/vm ended are shown and not judged.
"""

import os
import sys
import time

import boot
from common import BUILD, ROOT, Problem, make
from machine import Machine, Settings
from suite_programs import files

IMAGE = os.path.join(BUILD, "kernel-tests", "quire")
MOST = {"irq_off": 20000, "preempt_off": 200000}  # instructions
SECONDS = 60  # one case


class Stretch:
    """One line of /proc/quire: a kind, how long, and who ended it."""

    def __init__(self, line):
        words = line.split()
        self.kind, self.length, self.count = words[0], int(words[1]), int(words[2])
        self.call, self.memory, self.who = int(words[3]), words[4] == "mem/vm", words[5:]

    def callers(self):
        """Without offsets, and without what merely unlocks."""
        plain = [w.partition("+")[0] for w in self.who]
        names = [w for w in plain if w not in UNLOCKERS]
        return " < ".join(self.who if RAW else names[:3] or plain[:3])

    def too_long(self):
        return not self.memory and self.length > MOST[self.kind]


RAW = "--raw" in sys.argv  # with offsets, for addr2line
UNLOCKERS = {"irq_restore", "irq_enable", "preempt_enable", "host_irq_restore",
             "host_preempt_enable", "mem_unlock", "mem_unlock_irq", "proc_unlock"}


def machine():
    settings = Settings()
    settings.cpus, settings.icount = 1, True
    image = boot.keep(IMAGE, os.path.join(BUILD, "test", "latency"))
    settings.boot = boot.own(image, files()[0], "quire.run=channel", "")
    return Machine(settings, os.path.join(BUILD, "test", "latency.log"))


def measure(guest, case):
    """Stretches of one case, the longest first; the seconds of the guest."""
    result = guest.run(["/bin/sh", "-c",
                        f"echo latency >/proc/quire && latency {case} || exit\n"
                        "grep _off /proc/quire"], seconds=SECONDS)
    text = result.stdout.decode(errors="replace")
    if result.status():
        raise Problem(f"latency {case}: status {result.status()}\n{text}"
                      f"{result.stderr.decode(errors='replace')}", 1)
    return [Stretch(line) for line in text.splitlines() if "_off " in line]


def names(guest):
    return guest.run(["latency"], seconds=30).stdout.decode().split()


def worst(stretches, kind, memory=False):
    found = [s for s in stretches if s.kind == kind and s.memory == memory]
    return max(found, key=lambda s: s.length, default=None)


def main():
    arguments = sys.argv[1:]
    write = "--write" in arguments
    wanted = [a for a in arguments if not a.startswith("--")]
    make("kernel-tests", "kernel", "user", "loader")
    with machine() as guest:
        guest.greet(time.monotonic() + 60)
        wanted = wanted or names(guest)
    for case in wanted:
        with machine() as guest:
            guest.greet(time.monotonic() + 60)
            begun = time.monotonic()
            try:
                stretches = measure(guest, case)
            except Problem as problem:
                print(case, problem)
                continue
            print(f"{case} ({time.monotonic() - begun:.1f} s)")
            for kind in MOST:
                for memory in (False, True):
                    shown = [s for s in stretches if s.kind == kind and s.memory == memory]
                    for s in shown[:4 if not memory else 1]:
                        print(f"    {'!' if s.too_long() else ' '} {s.kind:11} {s.length:9}"
                              f"{'  mem/vm' if memory else ''}  call {s.call}: {s.callers()}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.status)
