# SPDX-License-Identifier: MIT
"""Small wrongs, each of which some test must catch: tests/mutations/run.py."""

import os
import subprocess
import threading

from common import ROOT, Problem

RUNNER = os.path.join(ROOT, "tests", "mutations", "run.py")
SILENCE = 300  # one mutation: a compilation and a few runs


def jobs():
    listed = subprocess.run(["python3", RUNNER, "--list"], check=False, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, cwd=ROOT)
    if listed.returncode:
        raise Problem(f"tests/mutations/run.py --list: {listed.stderr.strip()}")
    names = [f"mutation/{line.split()[-1]}" for line in listed.stdout.splitlines() if line.strip()]
    if names:
        yield names, run, 200


def run(chosen, report):
    wanted = {name.split("/")[1]: name for name in chosen}
    everything = sum(len(names) for names, _, _ in jobs()) == len(chosen)
    process = subprocess.Popen(
        ["python3", RUNNER, "--jobs", "1", *([] if everything else wanted)], cwd=ROOT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=dict(os.environ, PYTHONUNBUFFERED="1"), errors="replace", start_new_session=True)
    detail = []
    while True:
        timer = threading.Timer(SILENCE, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            break
        word, _, rest = line.strip().partition(" mutation ")
        name, _, why = rest.partition(":")
        if word not in ("ok", "FAIL") or name not in wanted:
            detail = (detail + [line])[-30:]
            continue
        if word == "ok":
            report.ok(wanted[name], None, why.strip())
        else:
            report.fail(wanted[name], why.strip(), "".join(detail))
        detail = []
    if process.wait() < 0:
        raise Problem(f"tests/mutations/run.py said nothing for {SILENCE} s (a hang)")
