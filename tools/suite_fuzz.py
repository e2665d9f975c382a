# SPDX-License-Identifier: MIT
"""The fuzz targets: each builds and lives through a few thousand inputs.

This is not where bugs are looked for (make fuzz TARGET= SECONDS=), but what keeps the
targets alive. SEED=n has other inputs.
"""

import os
import shutil
import tempfile

import watch
from common import BUILD, make

# Inputs for each: some seconds' worth.
TARGETS = {"memmap": 100000, "maps": 100000, "pmm": 3000, "heap": 1500, "operations": 300, "elf": 8000}
SECONDS = 60  # between two lines of libFuzzer, which tells of each doubling


def jobs():
    yield [f"fuzz/{name}" for name in TARGETS], run, True


def run(chosen, report):
    if not shutil.which("clang"):
        for name in chosen:
            report.skip(name, "no clang")
        return
    for name in chosen:
        target = name.split("/")[1]
        program = os.path.join(BUILD, "fuzz", f"fuzz_{target}")
        make(os.path.relpath(program, os.path.dirname(BUILD)), variables=["CC=gcc"])
        with tempfile.TemporaryDirectory() as work:
            status, said = watch.run(
                [program, f"-runs={TARGETS[target]}", f"-seed={os.environ.get('SEED', '1')}",
                 "-max_len=2048", "-len_control=20", f"-artifact_prefix={work}/"], SECONDS)
            if status or not any(f"Done {TARGETS[target]} runs" in s for s in said):
                report.fail(name, f"status {status}", "\n".join(said[-40:]))
                for found in os.listdir(work):
                    shutil.copy(os.path.join(work, found), os.path.join(BUILD, "fuzz"))
            else:
                report.ok(name)
