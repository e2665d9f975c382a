# SPDX-License-Identifier: MIT
"""Rules about the source itself: `make check` (tools/check.py)."""

import os
import subprocess
import sys
import threading

from common import ROOT, Problem

SILENCE = 400  # seconds for one check: clang-tidy reads everything
CHECKER = os.path.join(ROOT, "tools", "check.py")


def jobs():
    listed = subprocess.run([sys.executable, CHECKER, "--list"], check=False, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    if listed.returncode:
        raise Problem(f"tools/check.py --list: {listed.stderr.strip()}")
    names = [f"check/{name.removeprefix('check_')}" for name in listed.stdout.split()]
    return [(names, run, 190)]


def run(chosen, report):
    """One `make check`; it prints ok NAME, FAIL NAME: why, skip NAME: why, and what
    it has found below."""
    wanted = {"check_" + name.split("/")[1]: name for name in chosen}
    process = subprocess.Popen(["make", "-s", "-C", ROOT, "check", f"CHECK={' '.join(wanted)}"],
                               env=dict(os.environ, PYTHONUNBUFFERED="1"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    verdict, detail = None, []

    def pass_on():
        word, name, why = verdict
        if word == "ok":
            report.ok(wanted[name])
        elif word == "skip":
            report.skip(wanted[name], why)
        else:
            report.fail(wanted[name], why, "".join(detail))

    while True:
        timer = threading.Timer(SILENCE, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        word, _, rest = line.strip().partition(" ")
        name, _, why = rest.partition(":")
        if verdict and (not line or name in wanted):
            pass_on()
        if not line:
            break
        if word in ("ok", "FAIL", "skip") and name in wanted:
            verdict, detail = (word, name, why.strip()), []
        else:
            detail.append(line)
    if process.wait() < 0:
        raise Problem(f"make check said nothing for {SILENCE} s (a hang)")
