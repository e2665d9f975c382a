# SPDX-License-Identifier: MIT
"""The heap as a malloc: what any malloc has to do, and real programs on it."""

import os

import bench_programs
import programs
import watch
from common import BUILD, Problem

LIBRARY = os.path.join(BUILD, "libkmalloc.so")
SELFTEST = os.path.join(BUILD, "libkmalloc-selftest")
SECONDS = 120  # one of the selftests

# All but redis, whose load takes longer (make bench-programs has it).
CHOSEN = ("python3", "sqlite3", "gcc", "git")


def selftests():
    status, listed = watch.run([SELFTEST, "--list"], SECONDS)
    if status:
        raise Problem(f"{SELFTEST} --list failed")
    return listed


def jobs():
    for profile in ("fast", "hardened"):
        yield [f"libkmalloc/{profile}/{name}" for name in selftests()], run_selftest, False
    for name in CHOSEN:
        yield [f"libkmalloc/programs_{name}"], run_program, False


def run_selftest(chosen, report):
    """One process for all; it stops at the first failure, and the job goes on with the others."""
    profile = chosen[0].split("/")[1]
    left = {f"ok {name.split('/')[2]}": name for name in chosen}
    said = []
    with watch.Watched([SELFTEST, *(name.split("/")[2] for name in chosen)], SECONDS,
                       env=dict(os.environ, LD_PRELOAD=LIBRARY, KMALLOC_PROFILE=profile)) as program:
        for line in program:
            if line in left:
                report.ok(left.pop(line))
                said = []
            else:
                said = (said + [line])[-40:]
    for name in left.values():
        report.fail(name, program.ended() or f"status {program.status}", "\n".join(said))
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
        report.fail(chosen[0], str(problem), "\n".join(problem.text.splitlines()[-60:]))
