# SPDX-License-Identifier: MIT
"""./test [--list] [FILTER...]: build everything and run the tests.

A test has a name, GROUP/NAME; a filter is a part of it. Tests come in jobs (one
binary, one boot of a machine), and two jobs run at a time. Every test has its
own time limit, and a hang is a failure that says so. SEED=n repeats the random
ones. Skips are listed with their reasons before the last line,
`N passed, N failed`; the exit status is not 0 if any failed.
"""

import os
import queue
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
import suite_libkmalloc
import suite_models
import suite_mutations
import suite_programs
import suite_shell
from common import Problem, make, note

SUITES = (suite_hosted, suite_kernel, suite_programs, suite_shell, suite_boots, suite_check,
          suite_models, suite_mutations, suite_bench, suite_libkmalloc, suite_fuzz)


class Report:
    """Takes verdicts from the jobs, prints them as they come, adds up."""

    def __init__(self, total):
        self.lock = threading.Lock()
        self.total, self.done = total, 0
        self.passed, self.failed, self.skipped = [], [], []
        self.begun = time.monotonic()

    def _line(self, word, name, rest):
        self.done += 1
        print(f"[{self.done:3}/{self.total}] {word:4} {name}{rest}", flush=True)

    def ok(self, name, seconds=None, detail=""):
        with self.lock:
            self.passed.append(name)
            self._line("ok", name, "" if seconds is None else f" ({seconds:.2f} s)")
            self._detail(detail)

    def fail(self, name, why, detail=""):
        with self.lock:
            self.failed.append(name)
            self._line("FAIL", name, f": {why}")
            self._detail(detail)

    def skip(self, name, why):
        with self.lock:
            self.skipped.append((name, why))
            self._line("skip", name, f": {why}")

    @staticmethod
    def _detail(text):
        for line in text.rstrip().splitlines():
            print(f"      {line}", flush=True)

    def end(self):
        """The last lines; the exit status."""
        print(f"\n{time.monotonic() - self.begun:.0f} s")
        if self.failed:
            print("failed:")
            for name in self.failed:
                print(f"  {name}")
        if self.skipped:
            print("skipped:")
            for name, why in sorted(self.skipped):
                print(f"  {name}: {why}")
        print(f"{len(self.passed)} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0


class Job:
    """Some tests that run one after the other, in one go."""

    def __init__(self, names, run, weight=1):
        self.names, self.run, self.weight = names, run, weight

    def __call__(self, report):
        before = set(report.passed) | set(report.failed) | {n for n, _ in report.skipped}
        why = "the job ended without a verdict for it"
        try:
            self.run(self.names, report)
        except Problem as problem:
            why = str(problem)
        except Exception as error:  # a mistake in a test is a failure, not the end
            why = f"{type(error).__name__}: {error}"
        after = set(report.passed) | set(report.failed) | {n for n, _ in report.skipped}
        for name in self.names:
            if name not in after and name not in before:
                report.fail(name, why)


def work(jobs, report):
    while True:
        try:
            jobs.get_nowait()(report)
        except queue.Empty:
            return


def main():
    arguments = sys.argv[1:]
    if "--help" in arguments:
        print(__doc__)
        return 0
    listing = "--list" in arguments
    filters = [a for a in arguments if a != "--list"]
    if any(f.startswith("-") for f in filters):
        note(f"test: there is no option {next(f for f in filters if f.startswith('-'))}"
             " (see ./test --help)")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        packages.busybox() # what the machines boot, fetched before anything is built
        packages.linux()
        note("building")
        begun = time.monotonic()
        make("hosted", "user", "kernel", "loader", "kernel-tests", "libkmalloc",
             variables=["CC=gcc"])
        note(f"built in {time.monotonic() - begun:.0f} s")
        jobs = []
        for suite in SUITES:
            for names, run, weight in suite.jobs():
                chosen = [n for n in names if not filters or any(f in n for f in filters)]
                if chosen:
                    jobs.append(Job(chosen, run, weight))
    except Problem as problem:
        note(f"test: {problem}")
        return problem.status
    if listing:
        for job in jobs:
            print("\n".join(job.names))
        return 0
    if not jobs:
        note("test: no test has such a name")
        return 2
    report = Report(sum(len(job.names) for job in jobs))
    waiting = queue.Queue()
    for job in sorted(jobs, key=lambda j: -j.weight):
        waiting.put(job)
    workers = [threading.Thread(target=work, args=(waiting, report), daemon=True)
               for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return report.end()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
