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
    # No 1 GiB pages, and more memory than is in use: the direct map grows.
    "qemu64": {"cpus": 2, "cpu": "qemu64", "memory": "6G"},
}
_kept, _listed = [], []
STAMP = re.compile(r"^\[ *[0-9.]+\] ?")


def settings(configuration, words):
    s = Settings()
    for name, value in CONFIGURATIONS[configuration].items():
        setattr(s, name, value)
    s.boot = boot.own(_kept[0], files()[0], words + " nokaslr", "")
    return s


class Lines:
    """The log, line by line, as it comes."""

    def __init__(self, machine_settings, name):
        self.lines, self.rest, self.last = [], b"", time.monotonic()
        self.panicked = False
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
                    self.panicked = machine.wait(10) is not None and machine.panicked()
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
    _listed.extend(names())
    for configuration, options in CONFIGURATIONS.items():
        yield ([f"kernel/{configuration}/{name}" for name in _listed], run,
               40 + 10 * options["cpus"])
    yield [f"kernel/crash/{name}" for name in crashes()], run_crashes, 40


def run(chosen, report):
    """All in one boot; a selection in as many as its names need, since the
    kernel's options are short."""
    if len(chosen) == len(_listed):
        boot_with("tests", chosen, report)
        return
    while chosen:
        count, length = 0, 0
        while count < len(chosen) and (not count or length < 150):
            length += len(chosen[count].split("/", 2)[2]) + 1
            count += 1
        part, chosen = chosen[:count], chosen[count:]
        boot_with("tests=" + ",".join(n.split("/", 2)[2] for n in part), part, report)


def boot_with(words, chosen, report):
    configuration = chosen[0].split("/")[1]
    wanted = {name.split("/", 2)[2]: name for name in chosen}
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
