# SPDX-License-Identifier: MIT
"""Small wrongs, each of which some test must catch: tests/mutations/run.py."""

import os
import sys

import watch
from common import ROOT, Problem

RUNNER = os.path.join(ROOT, "tests", "mutations", "run.py")
SECONDS = 300  # one mutation: a compilation and a few runs


def jobs():
    status, listed = watch.run([sys.executable, RUNNER, "--list"], 60, cwd=ROOT)
    if status:
        raise Problem(f"tests/mutations/run.py --list: {listed[-1:]}")
    yield [f"mutation/{line.split()[-1]}" for line in listed if line.strip()], run, True


def run(chosen, report):
    wanted = {name.split("/")[1]: name for name in chosen}
    detail = []
    with watch.Watched([sys.executable, RUNNER, "--jobs", "1", "--exact", *wanted], SECONDS,
                       cwd=ROOT, env=dict(os.environ, PYTHONUNBUFFERED="1")) as program:
        for line in program:
            word, _, rest = line.strip().partition(" mutation ")
            name, _, why = rest.partition(":")
            if word not in ("ok", "FAIL") or name not in wanted:
                detail = (detail + [line])[-30:]
                continue
            if word == "ok":
                report.ok(wanted[name], None, why.strip())
            else:
                report.fail(wanted[name], why.strip(), "\n".join(detail))
            detail = []
    if program.ended():
        raise Problem(program.ended() + "\n" + "\n".join(detail))
