# SPDX-License-Identifier: MIT
"""Tests inside the kernel: build/kernel-tests/quire runs them in place of /init,
on 1, 2, 4 and 8 CPUs, with verdicts on the log port (kernel/tests.c)."""

import functools
import os
import re
import time

import boot
import watch
from common import BUILD, Problem
from machine import Machine, Settings
from suite_programs import files

BUILT = os.path.join(BUILD, "kernel-tests", "quire")
SILENCE = 120  # seconds without a line of log: more than the kernel gives its tests
CONFIGURATIONS = {
    "1cpu": {"cpus": 1}, "2cpus": {"cpus": 2}, "4cpus": {"cpus": 4}, "8cpus": {"cpus": 8},
    # No 1 GiB pages, and more memory than is in use: the direct map grows.
    "qemu64": {"cpus": 2, "cpu": "qemu64", "memory": "6G"},
}
_kept = []
STAMP = re.compile(r"^\[ *[0-9.]+\] ?")


def settings(configuration, words):
    s = Settings()
    for name, value in CONFIGURATIONS[configuration].items():
        setattr(s, name, value)
    s.boot = boot.own(_kept[0], files()[0], words + " nokaslr", "")
    return s


class Lines:
    """The log, line by line, as it comes, until the machine ends or hangs."""

    def __init__(self, machine_settings, name, silence=SILENCE):
        self.lines, self.rest, self.clock = [], b"", watch.Clock(silence)
        self.panicked, self.hung = False, False
        os.makedirs(os.path.join(BUILD, "test"), exist_ok=True)
        self.machine = Machine(machine_settings, os.path.join(BUILD, "test", f"{name}.log"),
                               self._take)

    def _take(self, data):
        self.clock.restart()
        *whole, self.rest = (self.rest + data).split(b"\n")
        self.lines += [STAMP.sub("", line.decode(errors="replace").rstrip("\r"))
                       for line in whole]

    def __iter__(self):
        with self.machine as machine:
            while True:
                while self.lines:
                    yield self.lines.pop(0)
                if "log" not in machine.ports:
                    self.panicked = machine.wait(30) is not None and machine.panicked()
                    return
                self.hung = self.clock.over()
                if self.hung:
                    return
                machine.pump(watch.Clock.SLICE)

    def ended(self):
        """In words why there are no more."""
        if self.hung:
            return f"the kernel said nothing for {self.clock.allowed:.0f} s (a hang)"
        return "the kernel panicked" if self.panicked else "the machine ended"


@functools.cache
def names():
    """The kernel's tests, and the victims, in its order."""
    found, lines = {"test": [], "victim": []}, Lines(settings("1cpu", "tests=list"), "kernel-list")
    for line in lines:
        word, _, name = line.partition(" ")
        if word in found:
            found[word].append(name.strip())
    if not found["test"]:
        raise Problem(f"the kernel lists no tests, {lines.ended()}: see build/test/kernel-list.log")
    return found


@functools.cache
def crashes():
    """Mistakes that the kernel can make on purpose -> what its report must say."""
    found = {}
    for line in Lines(settings("1cpu", "tests crash=list"), "kernel-crashes"):
        word, _, rest = line.partition(" ")
        if word == "crash":
            name, _, says = rest.partition(" ")
            found[name] = says.split("|")
    if not found:
        raise Problem("the kernel lists no crashes: see build/test/kernel-crashes.log")
    return found


def run_crashes(chosen, report):
    """One boot each: it must end with a panic, and the report must say why."""
    says = crashes()
    for test in chosen:
        name, begun = test.rsplit("/", 1)[1], time.monotonic()
        lines = Lines(settings("2cpus", f"tests crash={name}"), f"kernel-crash-{name}")
        report_lines = list(lines)
        if lines.hung:
            report.fail(test, lines.ended(), "\n".join(report_lines[-60:]))
            continue
        begin = next((i for i, line in enumerate(report_lines) if "panic" in line), 0)
        text = "\n".join(report_lines[begin:])
        missing = [part for part in says[name] if part not in text]
        if not lines.panicked:
            report.fail(test, "the machine did not end as after a panic", text)
        elif missing:
            report.fail(test, f"the report does not say '{missing[0]}'", text)
        else:
            report.ok(test, time.monotonic() - begun)


def jobs():
    _kept.append(boot.keep(BUILT, os.path.join(BUILD, "test", "kernel-tests")))
    for configuration in CONFIGURATIONS:
        yield [f"kernel/{configuration}/{name}" for name in names()["test"]], run, False
    yield [f"kernel/crash/{name}" for name in crashes()], run_crashes, True


def run(chosen, report):
    """What follows one of them to the last takes one boot; a selection as many as its
    names need, since the kernel's options are short."""
    short = [name.split("/", 2)[2] for name in chosen]
    if short == names()["test"][-len(short):]:
        boot_with(f"tests from={short[0]}", chosen, report)
        return
    count, length = 0, 0
    while count < len(chosen) and (not count or length < 150):
        length += len(short[count]) + 1
        count += 1
    boot_with("tests=" + ",".join(short[:count]), chosen[:count], report)


def boot_with(words, chosen, report, silence=SILENCE):
    """Run these tests, which the kernel knows in this order. If one ends the machine, or
    hangs, it has failed; the job goes on with the others on the next machine."""
    configuration = chosen[0].split("/")[1]
    words += f" patience={watch.limit(100):.0f}"
    if os.environ.get("SEED"):
        words += f" seed={os.environ['SEED']}"
    log = Log({name.split("/", 2)[2]: name for name in chosen}, report)
    lines = Lines(settings(configuration, words), f"kernel-{configuration}", silence)
    for line in lines:
        log.take(line)
    if log.running in log.left:
        report.fail(log.left[log.running], f"{lines.ended()} before this test did",
                    "\n".join(log.detail))
    elif log.left and (lines.hung or lines.panicked):
        raise Problem(f"{lines.ended()} between tests\n" + "\n".join(log.detail))


class Log:
    """What the tests' kernel says: details first, then the verdict."""

    def __init__(self, left, report):
        self.left, self.report = left, report
        self.running, self.verdicts, self.detail = None, 0, []

    def take(self, line):
        word, _, rest = line.partition(" ")
        if word == "begin":
            self.running, self.detail = rest.strip(), []
        elif word in ("ok", "FAIL", "skip"):
            name, _, why = rest.partition(" " if word == "ok" else ":")
            self._verdict(word, self.left.pop(name.strip(), None), why.strip())
        elif word != "progress":
            self.detail = (self.detail + [line])[-60:]

    def _verdict(self, word, name, why):
        notes = "\n".join(l.strip() for l in self.detail if l.startswith("    "))
        self.running = None
        self.verdicts += 1
        if not name:
            return
        if word == "ok":
            seconds = re.search(r"([0-9.]+) s", why)
            self.report.ok(name, float(seconds[1]) if seconds else None, notes)
        elif word == "skip":
            self.report.skip(name, why)
        else:
            self.report.fail(name, why, "\n".join(self.detail))
