# SPDX-License-Identifier: MIT
"""Programs: the same commands on Quire and on Debian's Linux, output and status
compared byte by byte.

tests/programs/AREA.tests holds the commands of an area:

    machine cpus=4 memory=512M          (optional, first: the machine for Quire)

    == NAME [seconds=N] [compare=all|stdout|status] [only=quire] [status=N]
    a script for /bin/sh
    ...

Lines that begin with # outside a script are comments. All tests of an area run
in one boot, one after the other; when the machine dies or hangs, that test has
failed and the next one gets a new machine. A hang is a program that prints nothing for
a minute, or for `seconds=N`. `status=N` is demanded of both
kernels; `only=quire` is for what Linux cannot do the same way, and wants a
status (default 0). What Linux answered is kept under build/reference, by a hash
of everything that it depends on.
"""

import concurrent.futures
import hashlib
import json
import os
import re
import threading
import time

import boot
import initramfs
import packages
import watch
from common import BUILD, ROOT, Problem, write_atomically
from machine import GONE, TIMEOUT, Machine, Result, Settings

FOLDER = os.path.join(ROOT, "tests", "programs")
BOOT_SECONDS = 60
SECONDS = 60  # that a program may print nothing


class Test:
    """One command, and what is demanded of it."""

    def __init__(self, area, name, options, script):
        self.name = f"programs/{area}/{name}"
        self.script = script
        self.seconds = float(options.pop("seconds", SECONDS))
        self.compare = options.pop("compare", "all")
        self.only_quire = options.pop("only", None) == "quire"
        status = options.pop("status", "0" if self.only_quire else None)
        self.status = None if status is None else int(status)
        if options or self.compare not in ("all", "stdout", "status"):
            raise Problem(f"{self.name}: what is {options or self.compare}?")

    def verdict(self, ours, theirs):
        """None if all is well, else (why, detail)."""
        if self.status is not None and ours.status() != self.status:
            return f"status {ours.status()}, expected {self.status}", shown(ours)
        if theirs is None:
            return None
        if self.status is not None and theirs.status() != self.status:
            return f"under Linux: status {theirs.status()}, expected {self.status}", shown(theirs)
        if ours.status() != theirs.status():
            return (f"status {ours.status()}, under Linux {theirs.status()}",
                    shown(ours) + "under Linux:\n" + shown(theirs))
        for what in ("stdout", "stderr"):
            if self.compare == "status" or (self.compare == "stdout" and what == "stderr"):
                continue
            if getattr(ours, what) != getattr(theirs, what):
                return f"{what} differs from Linux", difference(getattr(ours, what),
                                                                getattr(theirs, what))
        return None


def text(data):
    return data.decode(errors="backslashreplace")


def shown(result):
    out = text(result.stdout[-2000:] + result.stderr[-2000:])
    return out if out.endswith("\n") or not out else out + "\n"


def difference(ours, theirs):
    """The first line that differs, both ways."""
    left, right = ours.splitlines(), theirs.splitlines()
    for number, (a, b) in enumerate(zip(left + [b"(end)"], right + [b"(end)"]), 1):
        if a != b:
            return (f"line {number}: {text(a)[:300]}\n"
                    f"  Linux: {text(b)[:300]}\n")
    return f"{len(ours)} bytes, under Linux {len(theirs)}; line ends differ\n"


def words(line):
    return dict(word.partition("=")[::2] for word in line.split())


def read_area(path):
    """(machine options, tests) of one file."""
    area = os.path.basename(path).removesuffix(".tests")
    machine, tests, name, options, script = {}, [], None, {}, []

    def finish():
        if name:
            tests.append(Test(area, name, options, "".join(script).strip("\n") + "\n"))

    with open(path) as handle:
        for line in handle:
            if line.startswith("== "):
                finish()
                name, _, rest = line[3:].strip().partition(" ")
                options, script = words(rest), []
            elif name:
                script.append(line)
            elif line.startswith("machine "):
                machine = words(line[8:])
            elif line.strip() and not line.startswith("#"):
                raise Problem(f"{path}: what is {line.strip()!r}?")
    finish()
    return machine, tests


_initramfs_lock = threading.Lock()


def files():
    """The initramfs for all tests; (path, hash)."""
    path = os.path.join(BUILD, "test", "initramfs")
    with _initramfs_lock:
        if not hasattr(files, "hash"):
            initramfs.write(path, packages.busybox())
            files.kernel = boot.keep(boot.KERNEL, os.path.join(BUILD, "test"))
            with open(path, "rb") as handle:
                files.hash = hashlib.sha256(handle.read()).hexdigest()
    return path, files.hash


def settings_for(kernel, options, image=None):
    """A machine for tests; options as in `machine` lines. `image`: Quire, but not as built."""
    options = dict(options)
    s = Settings()
    s.cpus = int(options.pop("cpus", 2))
    s.memory = options.pop("memory", "1G")
    s.cpu = options.pop("cpu", None)
    line = "quire.run=channel"
    if kernel == "linux":
        s.boot = boot.linux(packages.linux(), files()[0], line)
    else:
        path = files()[0]
        s.boot = boot.own(image or files.kernel, path, line, options.pop("loader", ""))
    return s


class Session:
    """A machine that is started when it is needed and replaced when it dies."""

    def __init__(self, kernel, options, log, image=None):
        self.kernel, self.options, self.log, self.image = kernel, options, log, image
        self.machine, self.last_words = None, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, script, seconds):
        if not self.machine:
            self.machine = Machine(settings_for(self.kernel, self.options, self.image), self.log)
            self.machine.__enter__()
            failed = self.machine.greet(time.monotonic() + watch.limit(BOOT_SECONDS))
            if failed:
                result = Result()
                result.how = GONE
                result.stderr = b"no boot" if failed == GONE else b"no boot: a hang"
                self._drop()
                return result
        result = self.machine.run(["/bin/sh", "-c", script], seconds=seconds)
        if result.how in (GONE, TIMEOUT):
            if result.how == GONE:
                self.machine.wait(30)
            self._drop()
        return result

    def _drop(self):
        tail = self.machine.log_tail.replace(b"\r", b"").decode(errors="replace")
        self.machine.close()
        tail = self.machine.log_tail.replace(b"\r", b"").decode(errors="replace") or tail
        self.last_words = "\n".join(tail.splitlines()[-45:]) + "\n"
        self.machine = None

    def close(self):
        """Power off; why it did not go well, or None."""
        if not self.machine:
            return None
        ended = self.machine.power_off()
        why = None
        if ended is None:
            why = "the machine did not power off"
        elif self.machine.panicked():
            why = "the kernel panicked at power-off"
        self._drop()
        return why


class Reference:
    """What Linux answers: one machine for all, asked by one thread. It is there while there
    are questions: a Linux that has nothing to do takes time from the tests that follow."""

    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self.session, self.lock, self.waiting = None, threading.Lock(), 0

    def ask(self, test):
        with self.lock:
            self.waiting += 1
        return self.pool.submit(self._next, test)

    def _next(self, test):
        try:
            return self._answer(test)
        finally:
            with self.lock:
                self.waiting -= 1
                idle = not self.waiting
            if idle:
                self.close()

    def close(self):
        if self.session:
            self.session.close()
            self.session = None

    def _answer(self, test):
        kernel = packages.linux()
        key = hashlib.sha256("\0".join(["1", test.script, files()[1],
                                        os.path.basename(kernel)]).encode()).hexdigest()
        path = os.path.join(BUILD, "reference", key)
        result = Result()
        if os.path.exists(path):
            with open(path) as handle:
                kept = json.load(handle)
            result.how, result.code = kept["how"], kept["code"]
            result.stdout = bytes.fromhex(kept["stdout"])
            result.stderr = bytes.fromhex(kept["stderr"])
            return result
        if not self.session:
            self.session = Session("linux", {}, os.path.join(BUILD, "test", "linux.log"))
        result = self.session.run(test.script, test.seconds * 2)
        if result.how in ("exit", "signal"):
            write_atomically(path, json.dumps({
                "how": result.how, "code": result.code, "stdout": result.stdout.hex(),
                "stderr": result.stderr.hex()}).encode())
        return result


_reference = Reference()


def jobs():
    for entry in sorted(os.listdir(FOLDER)):
        if entry.endswith(".tests"):
            options, tests = read_area(os.path.join(FOLDER, entry))
            names = [t.name for t in tests]
            if len(set(names)) != len(names):
                raise Problem(f"{entry}: two tests have the same name")
            yield names, lambda chosen, report, o=options, t=tests: run(o, t, chosen, report), \
                False


def run(options, tests, chosen, report):
    tests = [t for t in tests if t.name in chosen]
    theirs = {t.name: _reference.ask(t) for t in tests if not t.only_quire}
    area = tests[0].name.split("/")[1]
    session = Session("quire", options, os.path.join(BUILD, "test", f"programs-{area}.log"))
    try:
        for test in tests:
            ours = session.run(test.script, test.seconds)
            if ours.how == TIMEOUT:
                report.fail(test.name, f"no output for {watch.limit(test.seconds):.0f} s (a hang)",
                            shown(ours) + session.last_words)
                continue
            if ours.how == GONE:
                report.fail(test.name, "the machine died", shown(ours) + session.last_words)
                continue
            wrong = test.verdict(ours, theirs[test.name].result() if test.name in theirs else None)
            if wrong:
                report.fail(test.name, *wrong)
            else:
                report.ok(test.name, ours.seconds)
    finally:
        why = session.close()
    if why:
        report.fail(f"programs/{area}/power_off", why, session.last_words)


def main():
    """Run the tests of some areas under Linux only: do they hold there at all?"""
    import sys
    reference = Reference()
    for area in sys.argv[1:]:
        for test in read_area(os.path.join(FOLDER, f"{area}.tests"))[1]:
            if not test.only_quire:
                result = reference.ask(test).result()
                print(f"{test.name}: {result.how} {result.code} ({result.seconds:.2f} s)")
                print(re.sub("(?m)^", "    ", shown(result)))


if __name__ == "__main__":
    main()
