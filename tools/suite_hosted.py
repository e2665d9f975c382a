# SPDX-License-Identifier: MIT
"""mem/ on this machine: every hosted test binary (tests/runner.c runs inside)."""

import os
import subprocess

import watch
from common import ROOT, Problem

# The runner watches its tests; this is for the case that it hangs itself.
START_SECONDS, MORE_SECONDS = 60, 30


def binaries():
    result = subprocess.run(["make", "-s", "-C", ROOT, "list-hosted", "CC=gcc"], check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise Problem(f"make list-hosted: {result.stderr.strip()}")
    # Of the bench flavour only the tests of what is released: no checks, no sanitizers.
    return [os.path.join(ROOT, b) for b in result.stdout.split()
            if ("/bench/" not in b or b.endswith("_released")) and not b.endswith("/test_victims")]


def group(binary):
    """hosted/pmm for build/hosted/test_pmm, and so on."""
    flavour, name = binary.split(os.sep)[-2:]
    return f"{flavour}/{name.removeprefix('test_')}"


def tests_of(binary):
    """The full names of a binary's tests."""
    status, listed = watch.run([binary, "--list"], START_SECONDS)
    if status:
        raise Problem(f"{binary} --list failed")
    return [f"{group(binary)}/{name}" for name in listed]


def jobs():
    for binary in binaries():
        yield tests_of(binary), lambda chosen, report, b=binary: run(b, chosen, report), True


def run(binary, chosen, report, more=MORE_SECONDS):
    """Run these tests and pass on the verdicts that the binary prints. If one of them
    ends the runner too, it has failed; the job goes on with the others."""
    tests = Output({name.rsplit("/", 1)[1]: name for name in chosen}, report)
    with watch.Watched([binary, "--exact", *tests.left], START_SECONDS) as program:
        for line in program:
            seconds = tests.take(line)
            if seconds is not None:
                program.clock.restart(seconds + watch.limit(more))
    tests.flush()
    if tests.running in tests.left:
        report.fail(tests.left[tests.running], program.ended() or
                    f"{program.name} ended with {program.status} and no verdict for it",
                    tests.detail())
    elif tests.left and program.ended():
        raise Problem(program.ended())


class Output:
    """What a test binary prints. A verdict comes first, its details follow it."""

    def __init__(self, left, report):
        self.left, self.report = left, report
        self.running, self.verdict, self.lines = None, None, []

    def detail(self):
        return "\n".join(self.lines)

    def take(self, line):
        """One line. The limit of the next step in seconds, if that line says it."""
        word, _, rest = line.partition(" ")
        if word == "begin" and rest.count(" ") == 1:
            self.flush()
            self.running, _, seconds = rest.partition(" ")
            return float(seconds)
        if word in ("ok", "FAIL", "skip") and rest.startswith(f"{self.running}") \
                and not self.verdict:
            self.verdict, self.lines = (word, rest), []
        elif word != "progress":
            self.lines.append(line)
        return None

    def flush(self):
        """The details are complete: pass the verdict on."""
        if not self.verdict:
            return
        (word, rest), self.verdict = self.verdict, None
        name = self.left.pop(self.running, None)
        why = rest.removeprefix(self.running).removeprefix(":").strip()
        if not name:
            return
        if word == "ok":
            self.report.ok(name, float(why.strip("() s")), self.detail())
        elif word == "skip":
            self.report.skip(name, why)
        else:
            self.report.fail(name, why, self.detail())
        self.lines = []
