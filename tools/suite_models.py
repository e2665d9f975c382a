# SPDX-License-Identifier: MIT
"""The Spin models beside the lock-free code: each must hold, and each of the
mutations that it names must break it."""

import os
import re
import shutil

import watch
from common import BUILD, ROOT

SECONDS = 120  # one step with one model, one variant


def models():
    for directory, _, files in os.walk(os.path.join(ROOT, "mem")):
        for name in sorted(files):
            if name.endswith(".pml"):
                yield os.path.join(directory, name)


def mutations(path):
    with open(path, encoding="utf-8") as text:
        found = re.search(r"Mutations: ([A-Z_ ]+)", text.read())
    return found.group(1).split() if found else []


def jobs():
    for path in models():
        stem = os.path.relpath(path, os.path.join(ROOT, "mem")).removesuffix(".pml")
        prefix = "model/" + stem.replace(os.sep, "-")
        names = [prefix] + [f"{prefix}:{m}" for m in mutations(path)]
        yield names, lambda chosen, report, p=path: run(p, chosen, report), True


def check(path, mutation):
    """(errors, output) of one variant, or (None, output); Hang."""
    where = os.path.join(BUILD, "models", os.path.basename(path) + "." + (mutation or "plain"))
    os.makedirs(where, exist_ok=True)
    steps = (["spin", *([f"-D{mutation}"] if mutation else []), "-a", path],
             ["gcc", "-O2", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
             ["./pan", "-m1000000"])
    output = ""
    for step in steps:
        status, said = watch.run(step, SECONDS, cwd=where)
        output = "\n".join(said)
        if status and step[0] != "./pan":
            return None, output
    found = re.search(r"errors: (\d+)", output)
    if not found or "max search depth too small" in output:
        return None, output
    return int(found.group(1)), output


def run(path, chosen, report):
    for name in chosen:
        if not shutil.which("spin"):
            report.skip(name, "spin is not installed (Debian package spin)")
            continue
        mutation = name.partition(":")[2]
        errors, output = check(path, mutation)
        states = re.search(r"(\d+) states, stored", output)
        detail = f"{states.group(1)} states\n" if states else ""
        if errors is None:
            report.fail(name, "the model did not run", output)
        elif mutation and not errors:
            report.fail(name, "the model does not catch this mutation")
        elif not mutation and errors:
            report.fail(name, "the model found an error", output)
        else:
            report.ok(name, detail=detail)
