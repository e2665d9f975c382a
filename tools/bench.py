#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""All benchmark rows, ours beside the others, in one run.

    tools/bench.py [--rounds N] [--into FOLDER] [--peer NAME=LIBRARY.so]...
                   PART=PROGRAM... [ROW...]
    tools/bench.py --docs            put the last whole run into docs/

A program (bench/pmm.c, bench/heap.c) lists its peers, measurements and rows, and
runs one measurement on one peer, in a process of its own. Peers take turns, round
by round; medians count. A ROW picks every row with that in its name. One line a
row:

    row ours peer ratio goal ok|MISS|SKIP   # what else was measured

and at last `bench: R rows, M over goal, S skipped`; the status is 1 if any goal was
missed, 2 for wrong use. build/bench/bench.json and bench.svg have it all, part.json
and part.svg when not all rows were run.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

import bench_plot
import packages
from common import BUILD, ROOT, Problem, note, write_atomically

RESULTS = os.path.join(BUILD, "bench")
DOCS_PAGE = os.path.join(ROOT, "docs", "BENCHMARKS.md")
DOCS_PLOT = os.path.join(ROOT, "docs", "bench.svg")
PATIENCE = 300  # seconds for one measurement on one peer

# The mallocs of Debian that the heap is measured beside: package, library in it.
MALLOCS = {"mimalloc": ("libmimalloc2.0", "libmimalloc.so.2"),
           "jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
           "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4")}
# Why a peer that a row names may be absent.
ABSENT = {"llfree": "LLFREE_DIR= is not given"}


class Row:
    """One line of the table; what the program's list says about it."""

    def __init__(self, part, fields):
        name, self.measurement, value, self.unit, self.peer, goal, self.sense, harness, \
            self.title = fields[:9]
        self.subject = fields[9] if len(fields) > 9 else "ours"  # who is judged
        self.name, self.part = f"{part}/{name}", part
        self.value, self.goal, self.net = int(value), float(goal), harness == "net"

    def chosen(self, wanted):
        return not wanted or any(w in self.name for w in wanted)


class Part:
    """A program, its peers and rows."""

    def __init__(self, name, program):
        self.name, self.program = name, program
        self.peers, self.rounds, self.rows = {}, {}, []
        try:
            listed = subprocess.run([program, "--list"], check=True, text=True,
                                    stdout=subprocess.PIPE).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise Problem(f"{program} --list: {error}") from error
        for line in listed.splitlines():
            kind, *fields = line.split("\t")
            if kind == "peer":
                self.peers[fields[0]] = (fields[0], None)
            elif kind == "measurement":
                self.rounds[fields[0]] = fields[1]
            else:
                self.rows.append(Row(name, fields))
        self.missing = {}  # peer: why it is not there

    def add_mallocs(self, extra):
        """`malloc` stands for the C library's and for each library put before it."""
        if "malloc" not in self.peers:
            return
        self.peers["glibc"] = self.peers.pop("malloc")
        for peer, (package, library) in MALLOCS.items():
            try:
                self.peers[peer] = ("malloc", library_of(package, library))
            except Problem as problem:
                self.missing[peer] = str(problem)
        for peer, library in extra:
            self.peers[peer] = ("malloc", library)


def library_of(package, library):
    """The path of a library in a Debian package, unpacked under build/."""
    place = packages.unpacked(package)[0]
    path = os.path.join(place, "usr/lib/x86_64-linux-gnu", library)
    if not os.path.exists(path):
        raise Problem(f"the package {package} holds no {library}")
    return path


def run_once(part, peer, measurement):
    """The values of one run."""
    argument, library = part.peers[peer]
    environment = dict(os.environ, **({"LD_PRELOAD": library} if library else {}))
    try:
        done = subprocess.run([part.program, argument, measurement], env=environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Problem(f"{part.name}/{measurement} on {peer}: no end after {PATIENCE} s", 1) \
            from error
    try:
        if done.returncode == 0:
            return [float(word) for word in done.stdout.split()]
    except ValueError:
        pass
    said = (done.stderr or done.stdout).strip().splitlines()
    raise Problem(f"{part.name}/{measurement} on {peer}: status {done.returncode}"
                  + (f": {said[-1]}" if said else ""), 1)


def beaten(part, samples):
    """The mallocs that a few rounds have shown not to be the best by far."""
    least = {peer: min(samples[peer][0]) for peer in others(part)}
    return [peer for peer in least if least[peer] > 4 * min(least.values())]


def measure(part, measurement, rounds):
    """{peer: [samples of value 0, of value 1, ...]}; all peers take turns."""
    samples, judged = {}, [row for row in part.rows if row.measurement == measurement]
    peers = list(part.peers)
    for turn in range(1 if part.rounds[measurement] == "once" else rounds):
        if turn == 2 and any(row.peer == "best" for row in judged):
            peers = [peer for peer in peers if peer not in beaten(part, samples)]
        for peer in peers:
            values = run_once(part, peer, measurement)
            lists = samples.setdefault(peer, [[] for _ in values])
            for one, value in zip(lists, values):
                one.append(value)
    return samples


def others(part):
    """The peers that are none of ours."""
    return [peer for peer in part.peers if peer not in ("null", "ours", "hardened")]


def ratio(judged, other):
    """The median of what the rounds come to: a machine that is slower for a while is so for
    both. Less than the harness cannot be told from nothing."""
    return statistics.median(max(a, 0) / b if b > 0 else float("inf")
                             for a, b in zip(judged, other))


def judge(part, row, samples):
    """What one row comes to, as it is shown and kept."""
    rounds = {peer: values[row.value] for peer, values in samples.items()}
    if row.net:
        rounds = {peer: values if peer == "null" else
                  [value - null for value, null in zip(values, rounds["null"])]
                  for peer, values in rounds.items()}
    medians = {peer: statistics.median(values) for peer, values in rounds.items()}
    result = {"row": row.name, "title": row.title, "unit": row.unit, "goal": row.goal,
              "sense": row.sense, "harness": "taken off" if row.net else "included",
              "ours": medians[row.subject], "peer": None, "ratio": None, "medians": medians,
              "samples": {peer: values[row.value] for peer, values in samples.items()}}
    name, reason = row.peer, None
    if name == "best":
        reason = next((f"no {peer}: {why}" for peer, why in part.missing.items()), None)
        name = min(others(part), key=lambda peer: medians[peer])
    if name.startswith("self:"):
        other = samples[row.subject][int(name[5:])]
    else:
        other = rounds.get(name)
        if other is None and name != "-":
            reason = ABSENT.get(name, f"there is no peer {name}")
    judged = medians[row.subject]
    if other is not None:
        judged = ratio(rounds[row.subject], other)
        result.update(peer=statistics.median(other), peer_name=name, ratio=judged)
    met = judged >= row.goal if row.sense == "min" else judged <= row.goal
    result.update(status="SKIP" if reason else "ok" if met else "MISS", reason=reason,
                  judged=None if reason else judged)
    return result


def number(value):
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def line_of(result):
    goal = (">=" if result["sense"] == "min" else "<=") + f"{result['goal']:g}"
    line = f"{result['row']:24} {number(result['ours']):>9} {number(result['peer']):>9} " \
           f"{number(result['ratio']):>8} {goal:>7} {result['status']:4}"
    if result["reason"]:
        return f"{line}  # {result['reason']}"
    more = [f"{peer} {number(value)}" for peer, value in result["medians"].items()
            if peer != "ours"]
    named = result.get("peer_name", "-")
    best = f"peer: {named}; " if result["peer"] is not None else ""
    unit = f" {result['unit']}" if result["unit"] else ""
    return f"{line}  # {best}{', '.join(more)}{unit}"


def machine():
    model = "x86-64"
    with open("/proc/cpuinfo", encoding="utf-8") as handle:
        for line in handle:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    with open("/proc/meminfo", encoding="utf-8") as handle:
        kib = int(handle.readline().split()[1])
    return f"{model}, {os.cpu_count()} CPUs, {round(kib / (1 << 20))} GiB, " \
           f"Linux {platform.release().split('-')[0]}, glibc {platform.libc_ver()[1]}"


def run(parts, wanted, rounds, into):
    results = []
    known = sum(len(part.rows) for part in parts)
    print(f"{'row':24} {'ours':>9} {'peer':>9} {'ratio':>8} {'goal':>7}", flush=True)
    for part in parts:
        cache = {}
        for row in part.rows:
            if not row.chosen(wanted):
                continue
            if row.measurement not in cache:
                cache[row.measurement] = measure(part, row.measurement, rounds)
            results.append(judge(part, row, cache[row.measurement]))
            print(line_of(results[-1]), flush=True)
    missed = sum(r["status"] == "MISS" for r in results)
    skipped = sum(r["status"] == "SKIP" for r in results)
    whole = len(results) == known and {part.name for part in parts} == {"pmm", "heap"}
    document = {"date": datetime.date.today().isoformat(), "machine": machine(),
                "rounds": rounds, "rows": results}
    name = os.path.join(into, "bench" if whole else "part")
    write_atomically(name + ".json", (json.dumps(document, indent=1) + "\n").encode())
    write_atomically(name + ".svg", bench_plot.draw(document).encode())
    print(f"bench: {len(results)} rows, {missed} over goal, {skipped} skipped")
    return 1 if missed else 0


# ---- docs ---------------------------------------------------------------------------

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def table(document):
    lines = [f"Measured {document['date']} on {document['machine']}; medians of "
             f"{document['rounds']} rounds, all peers in one run.", ""]
    for part, title in (("pmm", "Frames"), ("heap", "Heap")):
        lines += [f"### {title}", "", "| Row | What | Ours | Peer | Ratio | Goal | |",
                  "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
        for r in document["rows"]:
            if not r["row"].startswith(part + "/"):
                continue
            unit = f" {r['unit']}" if r["unit"] else ""
            peer = "" if r["peer"] is None else f"{number(r['peer'])}{unit}" + \
                ("" if r["peer_name"].startswith("self") else f" {r['peer_name']}")
            sign = "≥" if r["sense"] == "min" else "≤"
            lines.append(f"| {r['row']} | {r['title']} | {number(r['ours'])}{unit} | {peer} | "
                         f"{number(r['ratio']) if r['ratio'] is not None else ''} | "
                         f"{sign} {r['goal']:g} | {r['status']} |")
        lines.append("")
    return "\n".join(lines)


def docs():
    try:
        with open(os.path.join(RESULTS, "bench.json"), encoding="utf-8") as handle:
            document = json.load(handle)
    except FileNotFoundError as error:
        raise Problem("no run has had all rows yet: make bench first") from error
    with open(DOCS_PAGE, encoding="utf-8") as handle:
        text = handle.read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    text = f"{before}{BEGIN}\n{table(document)}\n{END}{after}"
    write_atomically(DOCS_PAGE, text.encode())
    write_atomically(DOCS_PLOT, bench_plot.draw(document).encode())
    note("docs/BENCHMARKS.md and docs/bench.svg show it")
    return 0


def pair(text):
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise Problem(f"{text}: not of the form name=path")
    return name, value


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--rounds", default="9")
    parser.add_argument("--into", default=RESULTS, metavar="FOLDER")
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    if arguments.docs:
        return docs()
    if not arguments.rounds.isdigit() or int(arguments.rounds) < 1:
        raise Problem(f"{arguments.rounds} rounds: not a number from 1 on")
    extra = [pair(p) for p in arguments.peer]
    for _, library in extra:
        if not os.path.exists(library):
            raise Problem(f"there is no library {library}")
    parts = [Part(*pair(w)) for w in arguments.words if "=" in w]
    wanted = [w for w in arguments.words if "=" not in w]
    if not parts:
        raise Problem("no program is given (see --help)")
    for word in wanted:
        if not any(row.chosen([word]) for part in parts for row in part.rows):
            raise Problem(f"no row has {word} in its name; there are: "
                          + " ".join(row.name for part in parts for row in part.rows))
    for part in parts:
        part.add_mallocs(extra)
    return run(parts, wanted, int(arguments.rounds), arguments.into)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        note(f"bench: {problem}")
        sys.exit(problem.status)
    except KeyboardInterrupt:
        sys.exit(130)
