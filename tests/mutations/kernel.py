# SPDX-License-Identifier: MIT
"""Mutations of kernel/: one object compiled anew, one link, one boot for each.

A test is `kernel NAME`, a test body inside the kernel (kernel/tests.c), or
`program AREA/NAME`, a script of tests/programs/. A program's answers are compared
with what the unchanged kernel answers, so Linux need not be booted for it.
"""
import os
import pathlib
import shlex
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import boot
import suite_kernel
import suite_programs
from machine import GONE, TIMEOUT, Settings

FLAVOURS = {"kernel": "kernel-tests", "program": "kernel"}  # which build a test is run on


class KernelBuilder:
    """Builds changed kernels, and runs tests on them."""

    def __init__(self, info):
        self.info = info
        self.build = ROOT / info["build"]
        self.lock, self.passed = threading.Lock(), {}

    def compile(self, place, file, target, flavour):
        """The changed object; `target` is the edited copy of `file`."""
        if not file.endswith(".c"):
            raise RuntimeError(f"{file}: only a .c file of the kernel can be changed")
        out = place / flavour / (file + ".o")
        out.parent.mkdir(parents=True, exist_ok=True)
        # "x.h" beside the source is found as if it stood in its place.
        done = subprocess.run(
            [self.info["cc"], "-iquote", str((ROOT / file).parent),
             *shlex.split(self.info[flavour + ".flags"]), "-Wno-error", "-w", "-MF", "/dev/null",
             "-c", "-o", str(out), str(target)], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("does not compile: " + done.stderr[-600:])
        return out

    def link(self, place, file, target, flavour):
        out = place / flavour / "quire"
        if out.exists():
            return out
        changed = self.compile(place, file, target, flavour)
        unchanged = str(self.build / flavour / (file + ".o"))
        objects = self.info[flavour + ".objects"].split()
        if unchanged not in (str(ROOT / o) for o in objects):
            raise RuntimeError(f"{file} is not in {flavour}")
        objects = [str(changed) if str(ROOT / o) == unchanged else o for o in objects]
        done = subprocess.run([*shlex.split(self.info["kernel.link"]), "-o", str(out), *objects],
                              cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("does not link: " + done.stderr[-600:])
        return out

    def first_failing(self, place, file, target, tests):
        """Which test catches the change, and how; None if none does."""
        for test in tests:
            kind, _, name = test.partition(" ")
            if kind not in FLAVOURS:
                raise RuntimeError(f"what is {test!r}? kernel NAME or program AREA/NAME")
            image = self.link(place, file, target, FLAVOURS[kind])
            usual = self.unchanged(kind, name)
            why = (body_fails(image, name, place.name) if kind == "kernel"
                   else program_fails(image, name, usual))
            if why:
                return f"{test} ({why})"
        return None

    def unchanged(self, kind, name):
        """A test that fails anyway catches nothing: the unchanged kernel has to pass it."""
        with self.lock:
            if (kind, name) not in self.passed:
                image = str(self.build / FLAVOURS[kind] / "quire")
                result = None
                if kind == "kernel":
                    why = body_fails(image, name, "unchanged")
                else:
                    result, why = run_program(image, name)
                if why:
                    raise RuntimeError(f"{name} fails without any mutation too: {why}")
                self.passed[kind, name] = result
            return self.passed[kind, name]


# ---- one test on one kernel ------------------------------------------------------


def body_fails(image, name, mutation):
    """Boot with one test body in place of /init: why it fails, or None."""
    settings = Settings()
    settings.cpus = 2
    settings.boot = boot.own(str(image), suite_programs.files()[0], f"tests={name} seed=1", "")
    lines = list(suite_kernel.Lines(settings, f"mutation-{mutation}"))
    failed = [line[5:] for line in lines if line.startswith("FAIL ")]
    failed += [line for line in lines if "panic: " in line]
    if failed:
        return failed[0]
    ended = any(line.startswith("ok ") for line in lines)
    return None if ended else "the machine ended before the test did"


def find_program(name):
    area = name.partition("/")[0]
    options, tests = suite_programs.read_area(
        os.path.join(suite_programs.FOLDER, f"{area}.tests"))
    found = [t for t in tests if t.name == f"programs/{name}"]
    if not found:
        raise RuntimeError(f"there is no program test {name}")
    return options, found[0]


def run_program(image, name):
    """Boot and run one script: its result, and why that is none to compare with."""
    options, test = find_program(name)
    session = suite_programs.Session("quire", options, None, str(image))
    with session:
        result = session.run(test.script, test.seconds)
    if result.how == GONE:
        return result, "the machine died"
    if result.how == TIMEOUT:
        return result, f"no end within {test.seconds:g} s"
    wrong = test.verdict(result, None)
    return result, wrong and wrong[0]


def program_fails(image, name, usual):
    _, test = find_program(name)
    result, why = run_program(image, name)
    if why:
        return why
    wrong = test.verdict(result, usual)
    return wrong and wrong[0].replace("under Linux", "unchanged").replace("Linux", "unchanged")
