# SPDX-License-Identifier: MIT
"""How long interrupts and preemption are off in the worst cases: a row for each
(tools/latency.py), judged by its limits."""

import time

import latency
from common import Problem


def jobs():
    yield [f"latency/{case}" for case in latency.CASES], run, 45


def run(chosen, report):
    for test in chosen:
        case = test.partition("/")[2]
        begun = time.monotonic()
        try:
            stretches, times = latency.measured(case)
        except Problem as problem:
            report.fail(test, str(problem))
            continue
        wrong = [s for s in stretches if s.length > latency.most(s)]
        if wrong:
            s = max(wrong, key=lambda w: w.length)
            report.fail(test, f"{s.kind} for {s.length} instructions: {s.callers()}",
                        "\n".join(f"{w.kind} {w.length}: {w.callers()}" for w in wrong))
        elif times.get("gone", [0])[0] > latency.GONE.get(case, latency.GONE_USUALLY):
            report.fail(test, f"{times['gone'][0]} instructions from SIGKILL until it was gone")
        elif "bystander" in times and times["bystander"][1] > 2 * times["bystander"][0]:
            report.fail(test, "a bystander's calls took {} instructions, then {}".format(
                *times["bystander"]))
        else:
            report.ok(test, time.monotonic() - begun)
