# SPDX-License-Identifier: MIT
"""`make check`: rules about the source itself. Each is a test of its own."""

import subprocess

from common import ROOT

SECONDS = 300


def jobs():
    result = subprocess.run(["make", "-s", "-C", ROOT, "check-list"], check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    names = [f"check/{name}" for name in result.stdout.split()]
    return [(names or ["check/all"], run, 20)]


def run(chosen, report):
    """One `make check`; it prints ok NAME, FAIL NAME: why, skip NAME: why."""
    try:
        result = subprocess.run(["make", "-s", "-C", ROOT, "check"], check=False, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        for name in chosen:
            report.fail(name, f"no end within {SECONDS} s (a hang)")
        return
    if chosen == ["check/all"]:
        if result.returncode:
            report.fail("check/all", f"make check: status {result.returncode}", result.stdout)
        else:
            report.ok("check/all")
        return
    detail, last = {}, None
    for line in result.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("ok", "FAIL", "skip"):
            last = rest.split(":")[0].split(" ")[0]
            detail[last] = [word, rest.partition(":")[2].strip(), ""]
        elif last:
            detail[last][2] += line + "\n"
    for name in chosen:
        word, why, more = detail.get(name.split("/")[1], ("FAIL", "no verdict", result.stdout))
        if word == "ok":
            report.ok(name, None, more)
        elif word == "skip":
            report.skip(name, why)
        else:
            report.fail(name, why, more)
