# SPDX-License-Identifier: MIT
"""Rules about the source itself: `make check` (tools/check.py)."""

import os
import sys

import watch
from common import ROOT, Problem

SECONDS = 400  # one check: clang-tidy reads everything
CHECKER = os.path.join(ROOT, "tools", "check.py")


def jobs():
    status, listed = watch.run([sys.executable, CHECKER, "--list"], 60, cwd=ROOT)
    if status:
        raise Problem(f"tools/check.py --list: {listed[-1:]}")
    yield [f"check/{name.removeprefix('check_')}" for name in listed], run, True


def run(chosen, report):
    """One `make check`; it prints ok NAME, FAIL NAME: why, skip NAME: why, and what
    it has found below."""
    wanted = {"check_" + name.split("/")[1]: name for name in chosen}
    verdict, detail = None, []

    def pass_on():
        word, name, why = verdict
        if word == "ok":
            report.ok(wanted[name])
        elif word == "skip":
            report.skip(wanted[name], why)
        else:
            report.fail(wanted[name], why, "\n".join(detail))

    with watch.Watched(["make", "-s", "-C", ROOT, "check", f"CHECK={' '.join(wanted)}"], SECONDS,
                       env=dict(os.environ, PYTHONUNBUFFERED="1")) as program:
        for line in program:
            word, _, rest = line.strip().partition(" ")
            name, _, why = rest.partition(":")
            if word in ("ok", "FAIL", "skip") and name in wanted:
                if verdict:
                    pass_on()
                verdict, detail = (word, name, why.strip()), []
            else:
                detail.append(line)
    if verdict:
        pass_on()
    if program.ended():
        raise Problem(program.ended())
