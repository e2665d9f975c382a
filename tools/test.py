# SPDX-License-Identifier: MIT
"""./test [--list] [--verbose] [FILTER...]: build everything and run the tests.

A test has a name, GROUP/NAME; a filter is a part of it. Tests come in jobs (one
binary, one boot of a machine), and two jobs run at a time. Every test has its
own time limit, and a hang is a failure that says so. SEED=n repeats the random
ones. Skips are listed with their reasons before the last line, `N passed, N failed`;
the exit status is not 0 if any failed. build/test.log has a line for every verdict;
--verbose shows them all also where the output is no terminal.
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
from common import BUILD, Problem, make, note

SUITES = (suite_hosted, suite_kernel, suite_programs, suite_shell, suite_boots, suite_check,
          suite_models, suite_mutations, suite_bench, suite_libkmalloc, suite_fuzz)


class Report:
    """Takes verdicts from the jobs, tells of them as they come, adds up.

    Every verdict is a line of build/test.log. A terminal (or --verbose) shows the
    same lines; anything else is told of failures and skips at once, and now and
    then how far the run is, so that what a service keeps of a long run holds what
    matters of it.
    """

    SECONDS_BETWEEN_WORDS = 30

    def __init__(self, total, every_line):
        self.lock = threading.Lock()
        self.total, self.done, self.every_line = total, 0, every_line
        self.passed, self.failed, self.skipped = [], [], []
        self.begun = self.last_word = time.monotonic()
        os.makedirs(BUILD, exist_ok=True)
        self.log = open(os.path.join(BUILD, "test.log"), "w", encoding="utf-8", errors="replace")

    def _tell(self, word, name, rest, detail, important):
        self.done += 1
        lines = [f"[{self.done:{len(str(self.total))}}/{self.total}] {word:4} {name}{rest}"]
        lines += [f"      {line}" for line in detail.rstrip().splitlines()]
        print("\n".join(lines), file=self.log, flush=True)
        now = time.monotonic()
        if important or self.every_line:
            print("\n".join(lines), flush=True)
        elif now - self.last_word >= self.SECONDS_BETWEEN_WORDS:
            self.last_word = now
            print(f"[{self.done:{len(str(self.total))}}/{self.total}]"
                  f" {now - self.begun:.0f} s, {len(self.failed)} failed; {name}", flush=True)

    def ok(self, name, seconds=None, detail=""):
        with self.lock:
            self.passed.append(name)
            self._tell("ok", name, "" if seconds is None else f" ({seconds:.2f} s)", detail, False)

    def fail(self, name, why, detail=""):
        with self.lock:
            self.failed.append((name, why))
            self._tell("FAIL", name, f": {why}", detail, True)

    def skip(self, name, why):
        with self.lock:
            self.skipped.append((name, why))
            self._tell("skip", name, f": {why}", "", True)

    def verdicts(self):
        """The names of all tests that have one."""
        return {*self.passed, *(n for n, _ in self.failed), *(n for n, _ in self.skipped)}

    def end(self):
        """The last lines; the exit status."""
        print(f"\n{time.monotonic() - self.begun:.0f} s; every verdict is in {self.log.name}")
        for word, those in ("failed", self.failed), ("skipped", self.skipped):
            if those:
                print(f"{word}:")
                for name, why in sorted(those):
                    print(f"  {name}: {why}")
        print(f"{len(self.passed)} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0


class Job:
    """Some tests that run one after the other, in one go."""

    def __init__(self, names, run, weight=1):
        self.names, self.run, self.weight = names, run, weight

    def __call__(self, report):
        before = report.verdicts()
        why = "the job ended without a verdict for it"
        try:
            self.run(self.names, report)
        except Problem as problem:
            why = str(problem)
        except Exception as error:  # a mistake in a test is a failure, not the end
            why = f"{type(error).__name__}: {error}"
        after = report.verdicts()
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
    every_line = "--verbose" in arguments or sys.stdout.isatty()
    filters = [a for a in arguments if a not in ("--list", "--verbose")]
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
    report = Report(sum(len(job.names) for job in jobs), every_line)
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
