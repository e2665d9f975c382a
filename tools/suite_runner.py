# SPDX-License-Identifier: MIT
"""The runner itself: a test that hangs or dies has failed, by name, and the others of its
binary, its boot or its machine still get their verdicts.

The victims are tests/unit/victims.c, tests/kernel/victims.c, and some scripts, with limits
of a second or two.
"""

import os
import tempfile
import time

import suite_hosted
import suite_kernel
import suite_programs
from common import BUILD, Problem
from report import Job, Report

WAITS = True  # for what hangs

# Each victim's verdict: ok, skip, or a part of why it has failed.
HOSTED = {
    "passes_first": "ok", "sleeps": "a hang", "spins_with_signals_off": "a hang", "gets_on": "ok",
    "says_the_same_again": "a hang", "prints_for_ever": "a hang", "closes_its_output": "a hang",
    "leaves_a_process": "ok", "is_killed": "signal 9", "kills_its_runner": "died of signal 9",
    "stops_its_runner": "test_victims made no progress", "expects_a_panic": "a hang",
    "fails": "status 1", "skips": "skip", "passes_last": "ok",
}
KERNEL = {
    "passes_first": "ok", "sleeps": "a hang", "gets_on": "ok", "says_the_same_again": "a hang",
    "holds_the_cpu": "the kernel said nothing", "panics": "the kernel panicked",
    "fails": "false", "passes_last": "ok",
}
PROGRAMS = {
    "passes_first": ("ok", "echo fine"), "sleeps": ("a hang", "sleep 1000"),
    "gets_on": ("ok", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; echo $i; done"),
    "panics": ("the machine died", "echo c >/proc/sysrq-trigger; sleep 1000"),
    "fails": ("status 3", "exit 3"), "passes_last": ("ok", "echo fine"),
}


def hosted_victims(victims, report):
    binary = os.path.join(BUILD, "plain", "test_victims")
    Job(victims, lambda chosen, to: suite_hosted.run(binary, chosen, to, more=2))(report)


def kernel_victims(victims, report):
    def run(chosen, to):
        first = chosen[0].split("/", 2)[2]
        suite_kernel.boot_with(f"tests=victim from={first}", chosen, to, silence=5)
    order = suite_kernel.names()["victim"]
    Job(sorted(victims, key=lambda name: order.index(name.split("/", 2)[2])), run)(report)


def program_victims(victims, report):
    tests = [suite_programs.Test("victim", name, {"seconds": "3", "only": "quire"}, script)
             for name, (_, script) in PROGRAMS.items()]
    Job(victims, lambda chosen, to: suite_programs.run({"cpus": "1"}, tests, chosen, to))(report)


def bad_jobs(victims, report):
    """A job that raises something, ends early, gives verdicts twice, or never works."""
    def run(chosen, to):
        for name in chosen:
            how = name.rsplit("/", 1)[1]
            if how == "raises":
                raise Problem("on purpose\nwith details")
            if how == "mistaken":
                raise ZeroDivisionError(how)
            if how == "forgotten":
                return
            if how.startswith("never"):
                raise Problem("never")
            to.ok(name)
    Job(victims, run)(report)


JOBS = {"first": "ok", "raises": "on purpose", "second": "ok", "mistaken": "ZeroDivisionError",
        "forgotten": "without a verdict", "third": "ok", "never1": "never", "never2": "never",
        "never3": "never",
        "never4": "never", "last": "not run"}

# test -> what runs its victims, how they are called, their verdicts
TESTS = {
    "runner/hosted": (hosted_victims, "plain/victims/victim_", HOSTED),
    "runner/kernel": (kernel_victims, "kernel/1cpu/victim_", KERNEL),
    "runner/programs": (program_victims, "programs/victim/",
                        {name: verdict for name, (verdict, _) in PROGRAMS.items()}),
    "runner/jobs": (bad_jobs, "jobs/", JOBS),
}


def jobs():
    for name in TESTS:
        yield [name], run, False


def run(chosen, report):
    """Run victims with a report of their own, and compare it with what it should be."""
    victims, prefix, wanted = TESTS[chosen[0]]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        theirs = Report(len(wanted), False, os.path.join(work, "log"), quiet=True)
        victims([prefix + name for name in wanted], theirs)
    got = {name: "ok" for name in theirs.passed}
    got.update((name, "skip") for name, _ in theirs.skipped)
    got.update((name, why) for name, why in theirs.failed)
    verdicts = len(theirs.passed) + len(theirs.skipped) + len(theirs.failed)
    wrong = [f"{name}: {got.get(prefix + name)}, not {why}" for name, why in wanted.items()
             if why not in got.get(prefix + name, "") or (why == "ok") != (got[prefix + name] == "ok")]
    if verdicts != len(wanted):
        wrong.append(f"{verdicts} verdicts for {len(wanted)} tests")
    if wrong:
        report.fail(chosen[0], wrong[0], "\n".join(wrong[1:]))
    else:
        report.ok(chosen[0], time.monotonic() - begun)
