# SPDX-License-Identifier: MIT
"""The benchmark tool: what it prints, how it judges, what it refuses."""

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import bench_vm
import watch
from common import ROOT, make

BENCH = os.path.join(ROOT, "tools", "bench.py")
LINE = re.compile(r"(\S+) +(\S+) +(\S+) +(\S+) +([<>]=\S+) (ok|MISS|SKIP) *(?:# (.*))?$")

# A program whose numbers are known. `slow` takes its turn as a peer, `gone` is none.
KNOWN = """#!/bin/sh
if [ "$1" = --list ]; then
	printf 'peer\\t%s\\n' null ours hardened slow
	printf 'measurement\\ttime\\trounds\\nmeasurement\\tcount\\tonce\\n'
	printf 'row\\tnet\\ttime\\t0\\tns\\tslow\\t0.5\\tmax\\tnet\\tnet\\n'
	printf 'row\\tgross\\ttime\\t0\\tns\\tslow\\t0.5\\tmax\\tgross\\tgross\\n'
	printf 'row\\tbest\\ttime\\t0\\tns\\tbest\\t0.9\\tmax\\tgross\\tbest\\n'
	printf 'row\\tself\\ttime\\t1\\tns\\tself:0\\t2\\tmax\\tgross\\tself\\n'
	printf 'row\\tleast\\tcount\\t0\\t\\t-\\t0.9\\tmin\\tgross\\tleast\\n'
	printf 'row\\thard\\ttime\\t0\\tns\\tours\\t1.4\\tmax\\tgross\\thard\\thardened\\n'
	printf 'row\\tgone\\tcount\\t0\\t\\tgone\\t1\\tmax\\tgross\\tgone\\n'
elif [ "$2" = count ]; then echo 0.8
elif [ "$1" = null ]; then echo 2 0
elif [ "$1" = ours ]; then echo 6 13
elif [ "$1" = hardened ]; then echo 9 0
elif [ "$1" = slow ]; then echo 11 0
fi
"""


def jobs():
    return [(["bench/judgement"], run_judgement, False), (["bench/one_row"], run_one_row, False),
            (["bench/wrong_use"], run_wrong_use, False),
            (["bench/vm_judgement"], run_vm_judgement, False),
            (["bench/vm_profile"], run_vm_profile, False)]


def lines(text):
    return {m.group(1): m.groups()[1:] for m in map(LINE.match, text.splitlines()) if m}


def run_bench(*words):
    """`make bench` with these words. What it runs is built first, by one test at a time: two
    that linked the same program at once would run each other's half of it."""
    make("bench-built", variables=["CC=gcc"])
    return run(["make", "-s", "bench", "CC=gcc", *words], 400)


def run(command, seconds=120):
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=watch.limit(seconds), check=False)
    return done.returncode, done.stdout, done.stderr


def run_judgement(chosen, report):
    """Known numbers give the ratios, verdicts, counts and status that they should."""
    with tempfile.TemporaryDirectory() as work:
        program = os.path.join(work, "known")
        with open(program, "w", encoding="ascii") as handle:
            handle.write(KNOWN)
        os.chmod(program, stat.S_IRWXU)
        status, out, err = run([sys.executable, BENCH, "--rounds", "3", "--into", work,
                                f"x={program}"])
        wanted = {"x/net": ("4.000", "9.000", "0.444", "<=0.5", "ok"),
                  "x/gross": ("6.000", "11.0", "0.545", "<=0.5", "MISS"),
                  "x/best": ("6.000", "11.0", "0.545", "<=0.9", "ok"),
                  "x/self": ("13.0", "6.000", "2.167", "<=2", "MISS"),
                  "x/hard": ("9.000", "6.000", "1.500", "<=1.4", "MISS"),
                  "x/least": ("0.800", "-", "-", ">=0.9", "MISS"),
                  "x/gone": ("0.800", "-", "-", "<=1", "SKIP")}
        got = {name: fields[:5] for name, fields in lines(out).items()}
        problems = [f"{name}: {got.get(name)}, not {fields}"
                    for name, fields in wanted.items() if got.get(name) != fields]
        if not out.rstrip().endswith("bench: 7 rows, 4 over goal, 1 skipped"):
            problems.append("the last line is not the count")
        if status != 1:
            problems.append(f"status {status} with goals missed")
        if "gone" not in lines(out).get("x/gone", [""] * 6)[5]:
            problems.append("no reason for the row that is skipped")
        with open(os.path.join(work, "part.json"), encoding="utf-8") as handle:
            rows = json.load(handle)["rows"]
        if [len(r["samples"]["slow"]) for r in rows] != [3, 3, 3, 3, 1, 3, 1]:
            problems.append("the samples are not all in the JSON")
        drawn = xml.etree.ElementTree.parse(os.path.join(work, "part.svg"))
        if len(drawn.findall(".//*[@class='miss']")) != 4:
            problems.append("the picture does not show four misses")
        status = run([sys.executable, BENCH, "--rounds", "1", "--into", work, f"x={program}",
                      "net"])[0]
        if status != 0:
            problems.append(f"status {status} with no goal missed")
    if problems:
        report.fail(chosen[0], problems[0], "\n".join(problems[1:]) + out + err)
    else:
        report.ok(chosen[0])


def run_one_row(chosen, report):
    """make bench, on a quick row: it runs, and says which row has no peer."""
    status, out, err = run_bench("ROWS=pmm/pair", "ROUNDS=1")
    got = lines(out)
    if {"pmm/pair", "pmm/pair-buddy", "pmm/pair-instructions"} != set(got):
        report.fail(chosen[0], f"rows {sorted(got)}", out + err)
    elif got["pmm/pair"][4] != "SKIP" or "LLFREE_DIR" not in got["pmm/pair"][5]:
        report.fail(chosen[0], "pmm/pair is not skipped for want of LLFREE_DIR=", out + err)
    elif got["pmm/pair-buddy"][4] == "SKIP" or not 0 < float(got["pmm/pair-buddy"][2]) < 100:
        report.fail(chosen[0], "the buddy model is no peer", out + err)
    elif (status != 0) != (" 0 over goal" not in out):
        report.fail(chosen[0], f"status {status}", out + err)
    else:
        report.ok(chosen[0])


def run_vm_judgement(chosen, report):
    """A row that grew by more than 3 % is complained of, where tools are the same; so is one
    without a figure."""
    here = {"compiler": "a", "libc": "b", "qemu": "c"}
    row = {"title": "t", "goal": 1, "linux": 4000}
    kept = {"tools": here, "rows": {"x": dict(row, quire=1000), "y": dict(row, quire=2000)}}
    for found, tools, wanted in (
            ({"x": 1030, "y": 2060}, here, []), ({"x": 1031, "y": 2060}, here, ["x"]),
            ({"x": 900, "y": 2061}, here, ["y"]), ({"x": 9000, "y": 9000}, dict(here, qemu="d"), []),
            ({"x": 1000, "y": 2000, "z": 1}, here, ["z"])):
        complaints, text = bench_vm.judge(kept, found, tools)
        mean = (found["x"] * found["y"]) ** 0.5 / 4000
        if [c.partition(":")[0] for c in complaints] != wanted or f" {mean:.3f} over 2" not in text:
            report.fail(chosen[0], f"{found}, {tools}: {complaints}", text)
            return
    report.ok(chosen[0])


def run_vm_profile(chosen, report):
    """make profile: the instructions of getpid, all of them, by function and by line."""
    status, out, err = run(["make", "-s", "profile", "ROW=getpid"], 300)
    found = re.match(r"getpid: (\d+) instructions a unit", out)
    functions, _, lines = out.partition("instructions  file")
    told = sum(float(words[0]) for words in map(str.split, functions.splitlines()[3:]) if words)
    if status or not found or abs(told - int(found[1])) > 1:
        report.fail(chosen[0], f"status {status}, {told} instructions in all", out + err)
    elif not re.search(r" 1\.00  sys_getpid$", functions, re.M) or \
            "kernel/cpu/entry.S:" not in lines:
        report.fail(chosen[0], "the call is not in it", out + err)
    else:
        report.ok(chosen[0])


def run_wrong_use(chosen, report):
    """One line and status 2."""
    for words, says in ((["ROWS=nosuch"], "nosuch"), (["ROUNDS=0"], "0 rounds"),
                        (["PEERS=a=/nowhere.so"], "/nowhere.so"), (["PEERS=a"], "name=path"),
                        (["LLFREE_DIR=/nowhere"], "/nowhere holds no library")):
        status, out, err = run_bench(*words)
        said = [line for line in err.splitlines() if not line.startswith("make")]
        if status != 2 or len(said) != 1 or says not in said[0] or lines(out):
            report.fail(chosen[0], f"make bench {' '.join(words)}: status {status}", out + err)
            return
    report.ok(chosen[0])
