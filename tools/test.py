# SPDX-License-Identifier: MIT
"""./test [--list] [--quick] [--verbose] [FILTER...]: build everything and run the tests.

A test has a name, GROUP/NAME; a filter is a part of it. Tests come in jobs (one
binary, one boot of a machine), and two run at a time, the longest first, beside one
that mostly waits.
SEED=n repeats the random ones.

--quick   a verdict on a change in 90 seconds:
{quick}--list    the names of the chosen tests, nothing else
--verbose all verdicts, also where the output is no terminal

A hang is no progress: what says nothing and makes no step for its limit is ended, and
is a failure; the other tests go on. At the start the machine is measured, and every limit
is as many times longer as it is slower than most; QUIRE_PATIENCE=x sets that factor.

Skips are listed with their reasons, the ten slowest tests with their shares, and the last
line is `N passed, N failed`; the exit status is not 0 if any failed. build/test.log has a
line for every verdict.
"""

import os
import queue
import re
import signal
import sys
import threading
import time

import packages
import suite_bench
import suite_boots
import suite_check
import suite_fuzz
import suite_hosted
import suite_kernel
import suite_latency
import suite_libkmalloc
import suite_models
import suite_mutations
import suite_port
import suite_programs
import suite_shell
import suite_runner
import watch
from common import BUILD, ROOT, Problem, make, note, write_atomically
from report import Job, Report

SUITES = (suite_hosted, suite_kernel, suite_programs, suite_shell, suite_boots, suite_check,
          suite_models, suite_mutations, suite_latency, suite_bench, suite_libkmalloc, suite_fuzz, suite_port,
          suite_runner)


# What runs in seconds and is likeliest to notice a mistake; and in words.
QUICK = ("plain/", "bench/", "hosted/(?!(heap|pmm|slab)_unit/|model/pairs_of)",
         "kernel/(2cpus|crash)/", "programs/(applets|files|hostile|memory|processes|signals|threads)/",
         "run/(bytes_exact|status_exact)", "boot/cpus_4", "check/(?!tidy|docs|headers)")
QUICK_WORDS = """\
          the hosted tests, the kernel's on two CPUs, programs, and rules about the source;
          but not: real threads under TSan, mutations, Spin models, fuzzing, libkmalloc,
          stress and exhaustion, other machines and ways to boot, ./run, the shell, numbers
"""

# Where the time goes: NAME SECONDS of tests that take long. The newest whole run
# here knows better than what was measured elsewhere.
KNOWN_SECONDS = (os.path.join(ROOT, "tools", "seconds.txt"), os.path.join(BUILD, "seconds.txt"))
SHORT, LONG = 0.2, 20  # seconds: of a test that is not listed; of a job that could be two


def known_seconds():
    known = {}
    for path in KNOWN_SECONDS:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as handle:
                for line in handle:
                    name, _, seconds = line.partition(" ")
                    if not line.startswith("#"):
                        known[name] = float(seconds)
    return known


def keep_seconds(cost):
    lines = [f"{name} {seconds:.1f}\n" for name, seconds in sorted(cost.items()) if seconds >= 1]
    write_atomically(KNOWN_SECONDS[1], "".join(lines).encode())


def pieces(names, seconds, may_split):
    """Parts of a job of at most LONG seconds, or of one test."""
    part, total = [], 0
    for name in names:
        more = seconds.get(name, SHORT)
        if part and may_split and total + more > LONG:
            yield part, total
            part, total = [], 0
        part.append(name)
        total += more
    yield part, total


def work(queues, report):
    for jobs in queues:
        try:
            while True:
                jobs.get_nowait()(report)
        except queue.Empty:
            pass


def wanted(name, filters, quick):
    return (not filters or any(f in name for f in filters)) and \
        (not quick or any(re.match(q, name) for q in QUICK))


def choose(filters, quick):
    """The jobs that these tests make, the longest first."""
    jobs, seconds = [], known_seconds()
    for suite in SUITES:
        for names, run, may_split in suite.jobs():
            chosen = [name for name in names if wanted(name, filters, quick)]
            if chosen:
                jobs += [Job(part, run, total, getattr(suite, "WAITS", False))
                         for part, total in pieces(chosen, seconds, may_split)]
    return sorted(jobs, key=lambda job: -job.seconds)


def do(jobs, report):
    """Two at a time, and beside them one of those that mostly wait."""
    busy, waiting = queue.SimpleQueue(), queue.SimpleQueue()
    for job in jobs:
        (waiting if job.waits else busy).put(job)
    workers = [threading.Thread(target=work, args=(queues, report), daemon=True)
               for queues in ((busy, waiting), (busy, waiting), (waiting,))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main():
    arguments = sys.argv[1:]
    if "--help" in arguments:
        print(__doc__.format(quick=QUICK_WORDS))
        return 0
    options = [a for a in arguments if a.startswith("-")]
    filters = [a for a in arguments if not a.startswith("-")]
    listing, quick = "--list" in options, "--quick" in options
    every_line = "--verbose" in options or sys.stdout.isatty()
    for option in options:
        if option not in ("--list", "--quick", "--verbose"):
            note(f"test: there is no option {option} (see ./test --help)")
            return 2
    signal.signal(signal.SIGTERM, lambda *_: stop(143))
    # Who runs this in the background leaves SIGINT ignored; programs under test expect it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        packages.busybox() # what the machines boot, fetched before anything is built
        packages.linux()
        note("building")
        begun = time.monotonic()
        make("hosted", "user", "kernel", "loader", "kernel-tests", "libkmalloc",
             variables=["CC=gcc"])
        note(f"built in {time.monotonic() - begun:.0f} s")
        if not listing:
            note(watch.measure())
        jobs = choose(filters, quick)
    except Problem as problem:
        note(f"test: {problem}")
        return problem.status
    if listing:
        for job in sorted(jobs, key=lambda job: job.names):
            print("\n".join(job.names))
        return 0
    if not jobs:
        note("test: no test has such a name")
        return 2
    report = Report(sum(len(job.names) for job in jobs), every_line,
                    os.path.join(BUILD, "test.log"))
    do(jobs, report)
    if not filters and not quick:
        keep_seconds(report.cost)
    return report.end()


def stop(status):
    """End at once, with all that was started: threads that wait for it are not waited for."""
    watch.end_all()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        stop(130)
