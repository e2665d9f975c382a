#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real programs on libkmalloc, beside other mallocs.

    tools/bench_programs.py [--rounds N] [PROGRAM...]        (make bench-programs)
    tools/bench_programs.py --docs

Each program runs on each malloc in turn, several rounds; medians of CPU time and of
the largest resident size count. What a program prints is the same on all, or it has
failed. A line a program and malloc:

    program malloc  CPU s  wall s  peak MiB  CPU / glibc  peak / glibc

`hardened` is libkmalloc with that profile; what it costs beside the fast one, over all
programs, comes last. The status is 1 if any program failed on libkmalloc. build/bench/programs.json has it
all; --docs puts it into docs/BENCHMARKS.md.
"""

import argparse
import datetime
import json
import os
import statistics
import sys

import programs
from bench import DOCS_PAGE, MALLOCS, library_of, machine
from common import BUILD, Problem, note, write_atomically

RESULTS = os.path.join(BUILD, "bench", "programs.json")
OURS, HARDENED = "libkmalloc", "hardened"
BEGIN, END = "<!-- programs -->", "<!-- end of programs -->"


def mallocs():
    """{name: library}; those that cannot be had are left out with a line about it."""
    ours = os.path.join(BUILD, "libkmalloc.so")
    found = {OURS: ours, HARDENED: programs.Hardened(ours), "glibc": c_library()}
    for name in ("mimalloc", "jemalloc"):
        try:
            found[name] = library_of(*MALLOCS[name])
        except Problem as problem:
            print(f"# SKIP {name}: {problem}")
    return found


def c_library():
    """Put before a program that is linked with a malloc of its own."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if os.path.basename(path) == "libc.so.6":
                return path
    raise Problem("no libc.so.6 in this very program")


def measure(program, libraries, rounds):
    """{malloc: [Spent]}, {malloc: why it failed}."""
    samples, failed, told = {name: [] for name in libraries}, {}, {}
    for _ in range(rounds):
        for name, library in libraries.items():
            if name in failed:
                continue
            try:
                spent, result = program.run(library)
                told.setdefault("all", result)
                if result != told["all"]:
                    raise programs.Failed("it told something else than on another malloc")
                samples[name].append(spent)
            except programs.Failed as problem:
                failed[name] = str(problem)
    return samples, failed


def medians(samples):
    return {"cpu": statistics.median(s.cpu for s in samples),
            "wall": statistics.median(s.wall for s in samples),
            "peak": statistics.median(s.peak for s in samples) / 1024}


def hardened_over_fast(results):
    """(CPU, peak): geometric means over the programs that ran on both."""
    ours = {r["program"]: r for r in results if r["malloc"] == OURS}
    pairs = [(r, ours[r["program"]]) for r in results
             if r["malloc"] == HARDENED and r["program"] in ours]
    return [statistics.geometric_mean(h[what] / f[what] for h, f in pairs) if pairs else 0
            for what in ("cpu", "peak")]


def run(names, rounds):
    results, wrong = [], 0
    libraries = mallocs()
    print(f"{'program':8} {'malloc':10} {'CPU s':>8} {'wall s':>8} {'peak MiB':>9} "
          f"{'CPU':>6} {'peak':>6}")
    for program, why in programs.prepared(names):
        if why:
            print(f"{program.name:8} SKIP: {why}")
            continue
        samples, failed = measure(program, libraries, rounds)
        base = None if "glibc" in failed else medians(samples["glibc"])
        for name in libraries:
            if name in failed:
                print(f"{program.name:8} {name:10} FAILED: {failed[name]}", flush=True)
                wrong += name in (OURS, HARDENED)
                continue
            m = medians(samples[name])
            ratios = "" if not base else \
                f"{m['cpu'] / base['cpu']:6.2f} {m['peak'] / base['peak']:6.2f}"
            print(f"{program.name:8} {name:10} {m['cpu']:8.2f} {m['wall']:8.2f} "
                  f"{m['peak']:9.1f} {ratios}", flush=True)
            results.append({"program": program.name, "malloc": name, **m})
    print("hardened over fast: CPU {:.2f}, peak {:.2f}".format(*hardened_over_fast(results)))
    document = {"date": datetime.date.today().isoformat(), "machine": machine(),
                "rounds": rounds, "results": results}
    write_atomically(RESULTS, (json.dumps(document, indent=1) + "\n").encode())
    return 1 if wrong else 0


def docs():
    try:
        with open(RESULTS, encoding="utf-8") as handle:
            document = json.load(handle)
    except FileNotFoundError as error:
        raise Problem("there is no run yet: make bench-programs first") from error
    names = list(dict.fromkeys(r["malloc"] for r in document["results"]))
    cells = {(r["program"], r["malloc"]): r for r in document["results"]}
    lines = [f"Measured {document['date']} on {document['machine']}; medians of "
             f"{document['rounds']} rounds: CPU seconds, and the most memory in MiB.", "",
             "| Program | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for program in dict.fromkeys(r["program"] for r in document["results"]):
        row = [cells.get((program, name)) for name in names]
        lines.append(f"| {program} | " + " | ".join(
            f"{c['cpu']:.2f} s, {c['peak']:.1f}" if c else "failed" for c in row) + " |")
    lines += ["", "The hardened profile beside the fast one, geometric means: CPU "
              "{:.2f}, peak {:.2f}.".format(*hardened_over_fast(document["results"]))]
    with open(DOCS_PAGE, encoding="utf-8") as handle:
        before, rest = handle.read().split(BEGIN)
    text = "\n".join([before + BEGIN, *lines, "", END + rest.split(END)[1]])
    write_atomically(DOCS_PAGE, text.encode())
    note("docs/BENCHMARKS.md shows it")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--rounds", default="3")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.docs:
        return docs()
    if not arguments.rounds.isdigit() or int(arguments.rounds) < 1:
        raise Problem(f"{arguments.rounds} rounds: not a number from 1 on")
    known = [kind.name for kind in programs.ALL]
    for name in arguments.names:
        if name not in known:
            raise Problem(f"there is no program {name}; there are: {' '.join(known)}")
    return run(arguments.names, int(arguments.rounds))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        note(f"bench-programs: {problem}")
        sys.exit(problem.status)
    except KeyboardInterrupt:
        sys.exit(130)
