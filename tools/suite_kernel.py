# SPDX-License-Identifier: MIT
"""Tests inside the kernel: build/kernel-tests/quire runs them in place of /init,
on 1, 2, 4 and 8 CPUs, with verdicts on the log port (kernel/tests.c)."""

import os
import re
import time

import boot
from common import BUILD, Problem
from machine import Machine, Settings
from suite_programs import files

BUILT = os.path.join(BUILD, "kernel-tests", "quire")
SILENCE = 180  # seconds without a line of log
CONFIGURATIONS = {
    "1cpu": {"cpus": 1}, "2cpus": {"cpus": 2}, "4cpus": {"cpus": 4}, "8cpus": {"cpus": 8},
    "qemu64": {"cpus": 2, "cpu": "qemu64"},
}
_kept = []
STAMP = re.compile(r"^\[ *[0-9.]+\] ?")


def settings(configuration, words):
    s = Settings()
    for name, value in CONFIGURATIONS[configuration].items():
        setattr(s, name, value)
    s.boot = boot.own(_kept[0], files()[0], words, "")
    return s


class Lines:
    """The log, line by line, as it comes."""

    def __init__(self, machine_settings, name):
        self.lines, self.rest, self.last = [], b"", time.monotonic()
        os.makedirs(os.path.join(BUILD, "test"), exist_ok=True)
        self.machine = Machine(machine_settings, os.path.join(BUILD, "test", f"{name}.log"),
                               self._take)

    def _take(self, data):
        self.last = time.monotonic()
        *whole, self.rest = (self.rest + data).split(b"\n")
        self.lines += [STAMP.sub("", line.decode(errors="replace").rstrip("\r"))
                       for line in whole]

    def __iter__(self):
        with self.machine as machine:
            while True:
                while self.lines:
                    yield self.lines.pop(0)
                if "log" not in machine.ports:
                    return
                if time.monotonic() - self.last > SILENCE:
                    raise Problem(f"the kernel said nothing for {SILENCE} s (a hang)")
                machine.pump(1)


def names():
    found = []
    for line in Lines(settings("1cpu", "tests=list"), "kernel-list"):
        word, _, name = line.partition(" ")
        if word == "test":
            found.append(name.strip())
    if not found:
        raise Problem("the kernel lists no tests: see build/test/kernel-list.log")
    return found


def jobs():
    _kept.append(boot.keep(BUILT, os.path.join(BUILD, "test", "kernel-tests")))
    listed = names()
    for configuration, options in CONFIGURATIONS.items():
        yield ([f"kernel/{configuration}/{name}" for name in listed], run,
               40 + 10 * options["cpus"])


def run(chosen, report):
    configuration = chosen[0].split("/")[1]
    wanted = {name.split("/", 2)[2]: name for name in chosen}
    words = "tests=" + ",".join(wanted)
    seed = os.environ.get("SEED")
    if seed:
        words += f" seed={seed}"
    detail, hung = [], False
    for line in Lines(settings(configuration, words), f"kernel-{configuration}"):
        word, _, rest = line.partition(" ")
        if word not in ("ok", "FAIL", "skip"):
            detail = (detail + [line])[-60:]
            continue
        name, _, why = rest.partition(" " if word == "ok" else ":")
        name = wanted.pop(name.strip(), None)
        notes = "\n".join(l.strip() for l in detail if l.startswith("    "))
        hung = False
        if not name:
            pass
        elif word == "ok":
            seconds = re.search(r"([0-9.]+) s", why)
            report.ok(name, float(seconds[1]) if seconds else None, notes)
        elif word == "skip":
            report.skip(name, why.strip())
        else:
            report.fail(name, why.strip(), "\n".join(detail))
            hung = "a hang" in why  # the kernel ends itself then
        detail = []
    if wanted and not hung:
        first = next(iter(wanted))
        report.fail(wanted.pop(first), "the machine ended before this test did",
                    "\n".join(detail))
    if wanted:  # the others get their chance, without the one that ended it
        run(list(wanted.values()), report)
