# SPDX-License-Identifier: MIT
"""Rules about the source itself: `make check` (tools/check.py)."""

import os
import subprocess
import sys

from common import ROOT, Problem

SECONDS = 300
CHECKER = os.path.join(ROOT, "tools", "check.py")


def jobs():
    listed = subprocess.run([sys.executable, CHECKER, "--list"], check=False, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    if listed.returncode:
        raise Problem(f"tools/check.py --list: {listed.stderr.strip()}")
    names = [f"check/{name.removeprefix('check_')}" for name in listed.stdout.split()]
    return [(names, run, 20)]


def run(chosen, report):
    """One `make check`; it prints ok NAME, FAIL NAME: why, skip NAME: why."""
    wanted = {"check_" + name.split("/")[1]: name for name in chosen}
    try:
        result = subprocess.run(["make", "-s", "-C", ROOT, "check", f"CHECK={' '.join(wanted)}"],
                                check=False, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Problem(f"make check: no end within {SECONDS} s (a hang)") from None
    verdicts, last = {}, None
    for line in result.stdout.splitlines():
        word, _, rest = line.partition(" ")
        name, _, why = rest.partition(":")
        if word in ("ok", "FAIL", "skip") and name in wanted:
            last = verdicts[name] = [word, why.strip(), ""]
        elif last:
            last[2] += line + "\n"
    for name, full in wanted.items():
        word, why, detail = verdicts.get(name, ("FAIL", "no verdict", result.stdout))
        if word == "ok":
            report.ok(full)
        elif word == "skip":
            report.skip(full, why)
        else:
            report.fail(full, why, detail)
