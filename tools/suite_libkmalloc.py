# SPDX-License-Identifier: MIT
"""The heap as a malloc: what any malloc has to do, and real programs on it."""

import os
import subprocess

import bench_programs
import programs
from common import BUILD, Problem

LIBRARY = os.path.join(BUILD, "libkmalloc.so")
SELFTEST = os.path.join(BUILD, "libkmalloc-selftest")
PATIENCE = 180  # seconds for the selftest

# All but redis, whose load takes longer (make bench-programs has it).
CHOSEN = ("python3", "sqlite3", "gcc", "git")


def selftests():
    listed = subprocess.run([SELFTEST, "--list"], check=False, text=True, stdout=subprocess.PIPE)
    if listed.returncode:
        raise Problem(f"{SELFTEST} --list failed")
    return listed.stdout.split()


def jobs():
    for profile in ("fast", "hardened"):
        yield [f"libkmalloc/{profile}/{name}" for name in selftests()], run_selftest, 20
    for name in CHOSEN:
        yield [f"libkmalloc/programs_{name}"], run_program, 25 if name == "python3" else 8


def run_selftest(chosen, report):
    """One process for all; it stops at the first failure."""
    profile = chosen[0].split("/")[1]
    environment = dict(os.environ, LD_PRELOAD=LIBRARY, KMALLOC_PROFILE=profile)
    try:
        done = subprocess.run([SELFTEST, *(name.split("/")[2] for name in chosen)],
                              env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Problem(f"no end after {PATIENCE} s (a hang)") from error
    said = done.stdout.splitlines()
    for name in chosen:
        if f"ok {name.split('/')[2]}" in said:
            report.ok(name)
        else:
            report.fail(name, f"status {done.returncode}", said[-1] if said else "")
            break


def run_program(chosen, report):
    """It does on libkmalloc what it does on the C library's malloc."""
    program, why = programs.prepared([chosen[0].rsplit("_", 1)[1]])[0]
    if why:
        report.skip(chosen[0], why)
        return
    try:
        spent, told = program.run(LIBRARY)
        if told is not None and told != program.run(bench_programs.c_library())[1]:
            report.fail(chosen[0], "it told something else than on the C library's malloc")
            return
        report.ok(chosen[0], spent.wall)
    except programs.Failed as problem:
        report.fail(chosen[0], str(problem))
