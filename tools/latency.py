#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long a CPU goes without interrupts and without preemption, in the worst cases.

    latency.py [CASE...]         measure and show
    latency.py --raw [CASE...]   with all callers and their offsets, for addr2line
    latency.py --write           and write the table of docs/LATENCY.md anew

Boots the test build under --icount on one CPU, where a nanosecond is an instruction,
runs `latency CASE` (user/latency.c) and reads from /proc/quire the longest stretches
that it caused. Those that mem/vm ended are shown and not judged.
"""

import argparse
import os
import re
import sys
import time

import boot
from common import BUILD, ROOT, Problem, make
from machine import Machine, Settings
from suite_programs import files

IMAGE = os.path.join(BUILD, "kernel-tests", "quire")
TABLE = os.path.join(ROOT, "docs", "LATENCY.md")
GOAL = {"irq_off": 20000, "preempt_off": 200000}  # instructions
CASES = ("signals_dropped", "signals_exit", "signals_taken", "timers", "timers_due",
         "epoll_sets", "poll_waiters", "processes", "processes_nested", "processes_orphaned",
         "threads", "threads_killed", "directory", "descriptors", "records_locked", "copies",
         "areas", "memory", "reaped", "statistics")
SECONDS = 300  # one case
MEMORY = {"epoll_sets": "6G", "directory": "4G"}  # limits are shares of memory
# Instructions from SIGKILL until all is given back, in the test build, which checks much
# at each block that is freed: the released kernel takes 0.45e9 for a million watched items,
# Debian's Linux 1.0e9.
GONE = {"epoll_sets": 4000000000}
GONE_USUALLY = 100000000
READING = ("show_quire", "proc_read")  # what the measuring itself does
RAW = "--raw" in sys.argv
UNLOCKERS = {"irq_restore", "irq_enable", "preempt_enable", "host_irq_restore",
             "host_preempt_enable", "mem_unlock", "mem_unlock_irq", "proc_unlock"}


class Stretch:
    """One line of /proc/quire: a kind, how long, and who ended it."""

    def __init__(self, line):
        words = line.split()
        self.kind, self.length, self.count = words[0], int(words[1]), int(words[2])
        self.call, self.memory, self.who = int(words[3]), words[4] == "mem/vm", words[5:]

    def callers(self):
        """Without offsets, and without what merely unlocks."""
        if RAW:
            return " < ".join(self.who)
        plain = [w.partition("+")[0] for w in self.who]
        names = [w for w in plain if w not in UNLOCKERS]
        return " < ".join(names[:3] or plain[:3])


def most(stretch):
    """How long a stretch may be."""
    return float("inf") if stretch.memory else GOAL[stretch.kind]


def machine(case):
    settings = Settings()
    settings.cpus, settings.icount = 1, True
    settings.memory = MEMORY.get(case, "1G")
    image = boot.keep(IMAGE, os.path.join(BUILD, "test", "latency"))
    settings.boot = boot.own(image, files()[0], "quire.run=channel", "")
    return Machine(settings, os.path.join(BUILD, "test", "latency.log"))


def measured(case):
    """Stretches of one case in a machine of its own, the longest of each kind first, and
    what the case printed: gone [from SIGKILL], bystander [before, beside it]."""
    script = f"echo latency >/proc/quire && latency {case} || exit\ngrep _off /proc/quire"
    with machine(case) as guest:
        if guest.greet(time.monotonic() + 60):
            raise Problem("no boot", 125)
        result = guest.run(["/bin/sh", "-c", script], seconds=SECONDS)
    text = result.stdout.decode(errors="replace")
    if result.status():
        raise Problem(f"latency {case}: status {result.status()}\n{text}", 1)
    found = [Stretch(line) for line in text.splitlines() if "_off " in line]
    found = [s for s in found if not any(r in w for r in READING for w in s.who)]
    times = {words[0]: [int(w) for w in words[1:]]
             for words in map(str.split, text.splitlines()) if words[0] in ("gone", "bystander")}
    return found, times


def longest(stretches, kind, memory):
    found = [s for s in stretches if s.kind == kind and s.memory == memory]
    return max(found, key=lambda s: s.length, default=None)


def show(case, stretches, times):
    print(case, *(f"{name} {n}" for name, n in times.items()))
    for kind in GOAL:
        for memory in (False, True):
            those = [s for s in stretches if s.kind == kind and s.memory == memory]
            for s in those[:1 if memory else 4]:
                mark = "!" if not memory and s.length > GOAL[kind] else " "
                print(f"    {mark} {kind:11} {s.length:9}{'  mem/vm' if memory else ''}"
                      f"  call {s.call}: {s.callers()}")
    sys.stdout.flush()


def row(case, stretches, times):
    cells = []
    for kind in GOAL:
        s = longest(stretches, kind, False)
        cells.append(f"{s.length:,}{' **(!)**' if s.length > GOAL[kind] else ''} | {s.callers()}"
                     .replace(" < ", ", ") if s else "0 |")
    s = longest(stretches, "preempt_off", True)
    gone = f"{times['gone'][0]:,}" if "gone" in times else ""
    beside = "{:,}, {:,}".format(*times["bystander"]) if "bystander" in times else ""
    return (f"| `{case}` | {cells[0]} | {cells[1]} | {f'{s.length:,}' if s else 0}"
            f" | {gone} | {beside} |")


def write(rows):
    with open(TABLE) as handle:
        text = handle.read()
    head = ("| Case | Interrupts off | who ended it | Preemption off | who ended it |"
            " `mem/vm`, preemption off | SIGKILL to gone | Short calls before, beside |\n"
            "| --- | ---: | --- | ---: | --- | ---: | ---: | ---: |\n")
    table = head + "\n".join(rows) + "\n"
    begin, end = "<!-- table -->\n", "<!-- end -->"
    text = re.sub(re.escape(begin) + ".*?" + re.escape(end),
                  lambda _: begin + table + end, text, flags=re.S)
    with open(TABLE, "w") as handle:
        handle.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", help="default: all")
    parser.add_argument("--raw", action="store_true", help="with all callers, for addr2line")
    parser.add_argument("--write", action="store_true", help="all, into docs/LATENCY.md")
    o = parser.parse_args()
    unknown = [case for case in o.case if case not in CASES]
    if unknown or (o.write and o.case):
        parser.error(f"no case is called {unknown[0]}" if unknown else "--write is for all cases")
    make("kernel-tests", "kernel", "user", "loader")
    rows = []
    for case in o.case or CASES:
        stretches, times = measured(case)
        show(case, stretches, times)
        rows.append(row(case, stretches, times))
    if o.write:
        write(rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.status)
