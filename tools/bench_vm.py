#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What memory operations cost in instructions, on Quire and on Debian's Linux.

    tools/bench_vm.py [ROW...]      measure on both kernels and show the ratios
    tools/bench_vm.py --check       Quire only, judged by the figures that are kept
    tools/bench_vm.py --keep        keep the newest whole run: bench/vm.json, docs/

The rows are bench/vm.c's. Both kernels run it in the same machine, `./run --icount`:
qemu64, one CPU, 1 GiB, an instruction is a nanosecond. Linux is at its leanest and has
no transparent huge pages, but for the column THP, where they are as it comes (always).

The figures in bench/vm.json belong to a compiler, a C library and a QEMU. Where all are
the same, a row may be 3 % above its figure and no more; elsewhere --check only shows.
build/bench/vm.json and vm.svg hold the newest whole run.
"""

import datetime
import json
import math
import os
import re
import subprocess
import sys

import bench_plot
import packages
import watch
from common import BUILD, ROOT, Problem, make, note, write_atomically

PROGRAM = os.path.join(BUILD, "user", "cost")
NEWEST = os.path.join(BUILD, "bench", "vm.json")
FIGURES = os.path.join(ROOT, "bench", "vm.json")
PAGE = os.path.join(ROOT, "docs", "PERFORMANCE.md")
PLOT = os.path.join(ROOT, "docs", "performance.svg")
LEAN = "mitigations=off init_on_alloc=0 randomize_kstack_offset=off cgroup_disable=memory " \
       "audit=0 apparmor=0 lsm=none nokaslr transparent_hugepage="
KERNELS = {"quire": [], "linux": ["--kernel", "linux", "--append", LEAN + "never"],
           "linux_thp": ["--kernel", "linux", "--append", LEAN + "always"]}
HUGE_ROWS = ("touch_default", "populate", "dontneed", "munmap", "mmap_touch_1m", "fork_64m")
GROWTH = 1.03  # how far a row may be above its figure
SECONDS = 120  # one machine
BOOTS = 3  # figures are medians of so many: some rows depend on where free frames lie


def listed():
    """{row: (goal, title)} in the program's order."""
    make("user")
    out = subprocess.run([PROGRAM, "--list"], check=True, text=True, stdout=subprocess.PIPE).stdout
    rows = {}
    for line in out.splitlines():
        name, goal, title = line.split("\t")
        rows[name] = (int(goal), title)
    return rows


def measured(kernel, names=()):
    """{row: instructions a unit} in a machine of its own."""
    command = [os.path.join(ROOT, "run"), "--icount", "--timeout", str(int(watch.limit(SECONDS))),
               *KERNELS[kernel], "--", "cost", *names]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Problem(f"cost on {kernel}: status {done.returncode}\n{done.stdout}{done.stderr}", 1)
    return {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}


def _first_line(command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout.splitlines()[0]


def tools():
    """What figures depend on besides the source."""
    return {"compiler": _first_line([os.environ.get("CC", "gcc"), "--version"]),
            "libc": _first_line(["ldd", "--version"]),
            "qemu": _first_line(["qemu-system-x86_64", "--version"])}


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def ratio(row):
    return row["quire"] / row["linux"]


def line_of(name, row):
    thp = f"{row['linux_thp']:,}" if "linux_thp" in row else ""
    return f"{name:18} {row['quire']:>11,} {row['linux']:>11,} {thp:>11} " \
           f"{ratio(row):7.3f} {row['goal']:>9,}  {row['title']}"


HEAD = f"{'row':18} {'quire':>11} {'linux':>11} {'THP':>11} {'ratio':>7} {'goal':>9}"


def summary(rows):
    met = sum(row["quire"] <= row["goal"] for row in rows.values())
    worst = max(rows, key=lambda name: ratio(rows[name]))
    return f"geometric mean of Quire ÷ Linux: {mean([ratio(r) for r in rows.values()]):.3f} " \
           f"over {len(rows)} rows; the worst is {worst}, {ratio(rows[worst]):.3f}; " \
           f"{met} goals met"


def compare(names):
    """Both kernels, and the table."""
    known = listed()
    for name in names:
        if name not in known:
            raise Problem(f"there is no row {name}; there are: {' '.join(known)}")
    results = {"linux": measured("linux", names)}
    boots = [measured("quire", names) for _ in range(BOOTS)]
    results["quire"] = {name: sorted(b[name] for b in boots)[BOOTS // 2] for name in boots[0]}
    huge = [n for n in HUGE_ROWS if not names or n in names]
    results["linux_thp"] = measured("linux_thp", huge) if huge else {}
    rows = {}
    for name in names or known:
        rows[name] = {"title": known[name][1], "goal": known[name][0],
                      **{kernel: of[name] for kernel, of in results.items() if name in of}}
    print(HEAD)
    for name, row in rows.items():
        print(line_of(name, row))
    print(summary(rows))
    if not names:
        document = {"date": datetime.date.today().isoformat(), "tools": tools(),
                    "kernel": os.path.basename(packages.linux()), "rows": rows}
        write_atomically(NEWEST, (json.dumps(document, indent=1) + "\n").encode())
        write_atomically(NEWEST[:-4] + "svg", bench_plot.draw_ratios(document).encode())
    return 0


def figures(path=FIGURES):
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)


def judge(kept, found, here):
    """(complaints, what to show) of rows that were measured against the figures kept."""
    rows = kept["rows"]
    same = kept["tools"] == here
    complaints = [f"{name}: {found[name]} instructions, {found[name] / rows[name]['quire']:.3f} "
                  f"of its figure {rows[name]['quire']}"
                  for name in rows if same and found[name] > rows[name]["quire"] * GROWTH]
    missing = sorted(set(found) - set(rows))
    complaints += [f"{name}: no figure is kept (make bench-vm-keep)" for name in missing]
    shown = {name: dict(row, quire=found[name]) for name, row in rows.items()}
    text = [HEAD] + [line_of(name, row) for name, row in shown.items()] + [summary(shown)]
    if not same:
        text.append("not judged: the figures are those of another compiler, C library or QEMU")
    return complaints, "\n".join(text)


def check():
    complaints, text = judge(figures(), measured("quire"), tools())
    print(text)
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


# ---- docs ---------------------------------------------------------------------------

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def table(document):
    rows, about = document["rows"], document["tools"]
    plain = {key: re.sub(r" \(.*?\)|version |Copyright.*", "", text) for key, text in about.items()}
    lines = [f"Measured {document['date']}: {plain['compiler']}, {plain['libc']}, "
             f"{plain['qemu']}, {document['kernel']}.", "",
             "| Row | Operation | Quire | Linux | Linux, THP always | Quire ÷ Linux | Goal | |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for name, row in rows.items():
        thp = f"{row['linux_thp']:,}" if "linux_thp" in row else ""
        lines.append(f"| `{name}` | {row['title']} | {row['quire']:,} | {row['linux']:,} | {thp} | "
                     f"{ratio(row):.3f} | {row['goal']:,} | "
                     f"{'met' if row['quire'] <= row['goal'] else ''} |")
    return "\n".join(lines + ["", summary(rows)[0].upper() + summary(rows)[1:] + "."])


def keep():
    if not os.path.exists(NEWEST):
        raise Problem("no run has had all rows yet: make bench-vm first")
    document = figures(NEWEST)
    with open(PAGE, encoding="utf-8") as handle:
        before, rest = handle.read().split(BEGIN)
    text = f"{before}{BEGIN}\n{table(document)}\n{END}{rest.split(END)[1]}"
    write_atomically(PAGE, text.encode())
    write_atomically(PLOT, bench_plot.draw_ratios(document).encode())
    write_atomically(FIGURES, (json.dumps(document, indent=1) + "\n").encode())
    note("bench/vm.json, docs/PERFORMANCE.md and docs/performance.svg show it")
    return 0


def main():
    words = sys.argv[1:]
    if words == ["--check"]:
        return check()
    if words == ["--keep"]:
        return keep()
    if any(word.startswith("-") for word in words):
        raise Problem(f"there is no option {words[0]}\n{__doc__}")
    return compare(words)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        note(f"bench-vm: {problem}")
        sys.exit(problem.status)
