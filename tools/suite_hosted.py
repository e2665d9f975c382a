# SPDX-License-Identifier: MIT
"""mem/ on this machine: every hosted test binary (tests/runner.c runs inside)."""

import os
import subprocess
import threading

from common import ROOT, Problem

SILENCE = 600  # seconds without a line: more than any single test may take


def binaries():
    result = subprocess.run(["make", "-s", "-C", ROOT, "list-hosted", "CC=gcc"], check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise Problem(f"make list-hosted: {result.stderr.strip()}")
    # Of the bench flavour only the tests of what is released: no checks, no sanitizers.
    return [os.path.join(ROOT, b) for b in result.stdout.split()
            if "/bench/" not in b or b.endswith("_released")]


def group(binary):
    """hosted/pmm for build/hosted/test_pmm, and so on."""
    flavour, name = binary.split(os.sep)[-2:]
    return f"{flavour}/{name.removeprefix('test_')}"


def jobs():
    for binary in binaries():
        listed = subprocess.run([binary, "--list"], check=False, stdout=subprocess.PIPE, text=True)
        if listed.returncode:
            raise Problem(f"{binary} --list failed")
        prefix = group(binary)
        names = [f"{prefix}/{name}" for name in listed.stdout.split()]
        yield names, lambda chosen, report, b=binary, a=names: run(b, a, chosen, report), \
            5 + len(names)


def run(binary, everything, chosen, report):
    """Run one binary and pass on the verdicts that it prints."""
    short = {name.rsplit("/", 1)[1]: name for name in chosen}
    arguments = [] if len(chosen) == len(everything) else list(short)
    process = subprocess.Popen([binary, *arguments], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True)
    timer, silent = None, threading.Event()

    def give_up():
        silent.set()
        process.kill()

    verdict, detail = None, []

    def flush():
        nonlocal verdict, detail
        if verdict:
            pass_on(*verdict, "".join(detail), short, report)
        verdict, detail = None, []

    while True:
        timer = threading.Timer(SILENCE, give_up)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            break
        word, _, rest = line.partition(" ")
        if word in ("ok", "FAIL", "skip") and rest.strip():
            flush()
            verdict = (word, rest.rstrip("\n"))
        else:
            detail.append(line)
    flush()
    status = process.wait()
    if silent.is_set():
        raise Problem(f"{os.path.basename(binary)} said nothing for {SILENCE} s (a hang)")
    if status < 0:
        raise Problem(f"{os.path.basename(binary)} died of signal {-status}")


def pass_on(word, rest, detail, short, report):
    name, _, why = rest.partition(":" if word != "ok" else " ")
    name = short.get(name.strip())
    if not name:
        return  # the binary's filter matches parts of names, ours has picked
    if word == "ok":
        seconds = why.strip("() s\n") or "0"
        try:
            report.ok(name, float(seconds), detail)
        except ValueError:
            report.ok(name, None, detail)
    elif word == "skip":
        report.skip(name, why.strip())
    else:
        report.fail(name, why.strip(), detail)
