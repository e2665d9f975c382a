# SPDX-License-Identifier: MIT
"""Jobs, which run tests, and the report, which takes their verdicts and adds up."""

import os
import resource
import threading
import time

from common import BUILD, Problem


class Report:
    """Takes verdicts from the jobs, tells of them as they come, adds up.

    Every verdict is a line of build/test.log. A terminal (or --verbose) shows the
    same lines; anything else is told of failures and skips at once, and now and
    then how far the run is, so that what a service keeps of a long run holds what
    matters of it.

    A test costs the time from the verdict before it in the same job to its own: so
    the cost of a boot is with the first test in it, and the costs of all add up to
    what the workers have spent.
    """

    SECONDS_BETWEEN_WORDS = 30
    SLOWEST = 10

    def __init__(self, total, every_line, log, quiet=False):
        self.lock = threading.Lock()
        self.total, self.done, self.every_line, self.quiet = total, 0, every_line, quiet
        self.passed, self.failed, self.skipped = [], [], []
        self.begun = self.last_word = time.monotonic()
        self.cost, self.last = {}, threading.local()
        os.makedirs(BUILD, exist_ok=True)
        self.log = open(log, "w", encoding="utf-8", errors="replace")

    def job_begins(self):
        self.last.verdict = time.monotonic()

    def _tell(self, word, name, rest, detail, important):
        self.done += 1
        now = time.monotonic()
        self.cost[name] = now - getattr(self.last, "verdict", now)
        self.last.verdict = now
        lines = [f"[{self.done:{len(str(self.total))}}/{self.total}] {word:4} {name}{rest}"]
        lines += [f"      {line}" for line in detail.rstrip().splitlines()]
        print("\n".join(lines), file=self.log, flush=True)
        if self.quiet:
            pass
        elif important or self.every_line:
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

    def without_verdict(self, names):
        """Of these tests those that have none yet, in the same order."""
        with self.lock:
            return [name for name in names if name not in self.cost]

    def slowest(self):
        """Lines about the tests that took longest, and their shares of all."""
        total = sum(self.cost.values()) or 1
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        most = sorted(self.cost.items(), key=lambda item: -item[1])[:self.SLOWEST]
        yield (f"the slowest, of {total:.0f} s that all jobs took ({used.ru_utime:.0f} s of CPU, "
               f"{used.ru_stime:.0f} s more in the system):")
        for name, seconds in most:
            yield f"  {seconds:7.1f} s {100 * seconds / total:5.1f} %  {name}"

    def end(self):
        """The last lines; the exit status."""
        print()
        print("\n".join(self.slowest()))
        print(f"{time.monotonic() - self.begun:.0f} s; every verdict is in {self.log.name}")
        for word, those in ("failed", self.failed), ("skipped", self.skipped):
            if those:
                print(f"{word}:")
                for name, why in sorted(those):
                    print(f"  {name}: {why}")
        print(f"{len(self.passed)} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed else 0


class Job:
    """Some tests that run one after the other, in one go.

    run(names, report) gives each a verdict, in that order. If it ends early, by an
    exception or not, that is the failure of the first test that has none; the others
    are run again. Where nothing works any more that is said once and not waited for.
    """

    PATIENCE = 3  # failures in a row without any other verdict

    def __init__(self, names, run, seconds=0, waits=False):
        self.names, self.run, self.seconds = names, run, seconds
        self.waits = waits  # it leaves the CPU to others most of the time

    def __call__(self, report):
        report.job_begins()
        left, in_vain = self.names, 0
        while left:
            before, why, detail = len(left), None, ""
            try:
                self.run(left, report)
            except Problem as problem:
                why, _, detail = str(problem).partition("\n")
            except Exception as error:  # a mistake in a test is a failure, not the end
                why = f"{type(error).__name__}: {error}"
            left = report.without_verdict(left)
            in_vain = in_vain + 1 if len(left) == before else 0
            if left and (why or len(left) == before):
                report.fail(left.pop(0), why or "its job ended without a verdict for it", detail)
            if in_vain >= self.PATIENCE:
                for name in left:
                    report.fail(name, "not run: nothing before it in its job worked")
                return
