#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Apply each mutation of list.py and kernel_list.py, and see some test catch it.

    run.py [--jobs N] [--list] [--with TEST] [--exact] [FILTER...]

Those of kernel/ are built and booted by kernel.py. Of mem/: the edited file (or, for a header, every source that includes it) is
compiled with the flags of the tests' flavour (hosted; bench, if their binary is one of
what is released), linked with the unchanged rest, and the named tests are run until one
fails. A mutation that every test survives, one whose
text is not found exactly once, and one that does not compile are errors.
With --with, that test is run instead of the named ones, with one seed.
Prints `ok mutation NAME: caught by TEST` or `FAIL mutation NAME: why`.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time

import importlib.util

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEEDS = [str(n) for n in range(1, 31)]


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def load(name):
    spec = importlib.util.spec_from_file_location("mutation_" + name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_lists():
    return [(slug(m[0]), *m[1:])
            for name in ("list", "kernel_list") for m in load(name).MUTATIONS]


def of_kernel(mutation):
    return mutation[1].startswith("kernel/")


def make_info():
    """What make knows: mem/ sources, each binary's sources, compiler, flags."""
    text = subprocess.run(["make", "-s", "mutation-info"], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def flavour_of(tests):
    """All tests of a mutation are of one flavour."""
    return "bench" if tests[0].partition(" ")[0].endswith("_released") else "hosted"


def mutate(mutation, build):
    """The edited copy of its file, in a place of its own under build/."""
    name, file, old, new = mutation[:4]
    text = (ROOT / file).read_text()
    count = text.count(old)
    if count != 1:
        raise RuntimeError(f"its text occurs {count} times in {file}: bring the list up to date")
    place = build / "mutations" / name
    shutil.rmtree(place, ignore_errors=True)  # nothing of an older mutation of that name
    target = place / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text.replace(old, new))
    return place, target


class Builder:
    def __init__(self, info, flavour):
        self.info, self.flavour = info, flavour
        self.flags = shlex.split(info[flavour + ".flags"])
        self.build = ROOT / self.info["build"]
        self.mem = self.info["mem"].split()

    def object_of(self, source):
        return self.build / self.flavour / (source + ".o")

    def unchanged(self, binary):
        return self.build / self.flavour / binary

    def users_of(self, header, name):
        """Sources of mem/ that include this header, by the compiler's own notes, and use
        the function that is changed there (None: all)."""
        users = []
        for source in self.mem:
            notes = self.object_of(source).with_suffix(".d")
            if header in notes.read_text() and (not name or name in (ROOT / source).read_text()):
                users.append(source)
        return users

    def compile(self, place, file, target, name):
        """Objects that differ from the unchanged build: source -> object."""
        sources = [file] if file.endswith(".c") else self.users_of(file, name)
        if not sources:
            raise RuntimeError(f"nothing includes {file}")
        changed = {}
        for source in sources:
            # A changed source is compiled where it is; a changed header is found first.
            path = target if source == file else self.shadow(place, source)
            out = place / (source + ".o")
            out.parent.mkdir(parents=True, exist_ok=True)
            command = [self.info["cc"], f"-I{place}/mem", f"-I{place}/mem/include",
                       *self.info["cflags"].split(), *self.flags, "-Wno-error", "-w", "-c", "-o", str(out),
                       str(path)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError("does not compile: " + done.stderr[-600:])
            changed[source] = out
        return changed

    def shadow(self, place, source):
        """A copy of a source beside the changed header, so that "x.h" finds it."""
        copy = place / source
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / source).read_text())
        return copy

    def link(self, place, binary, changed):
        out = place / binary
        objects = [changed.get(s, self.object_of(s))
                   for s in self.info[binary + ".src"].split()]
        objects += [out for s, out in changed.items() if s in self.mem]
        objects.append(self.unchanged("libmem.a"))
        command = [self.info["cc"], *self.flags, "-o", str(out),
                   *map(str, objects), *self.info[binary + ".ldflags"].split(), "-lpthread"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("does not link: " + done.stderr[-600:])
        return out


def run_tests(builder, base, place, changed, tests, seeds):
    """The first test that fails, or None."""
    linked = {}
    for seed in seeds:
        for test in tests:
            binary = test.partition(" ")[0]
            if binary not in linked:
                linked[binary] = builder.link(place, binary, changed)
            why = run_one(linked[binary], test, seed)
            if why:
                base.check(builder, test, seed)
                return why if seed == SEEDS[0] else f"{why}, with seed {seed}"
    return None


class Base:
    """A test that fails anyway catches nothing: the unchanged code has to pass it."""

    def __init__(self):
        self.lock, self.known = threading.Lock(), {}

    def check(self, builder, test, seed):
        with self.lock:
            if (test, seed) not in self.known:
                binary = builder.unchanged(test.partition(" ")[0])
                self.known[test, seed] = run_one(binary, test, seed)
            why = self.known[test, seed]
        if why:
            raise RuntimeError(f"{test} fails without any mutation too, SEED={seed}: {why}")


def run_one(binary, test, seed):
    """Why this test fails, or None."""
    env = dict(os.environ, SEED=seed, QUIRE_MODEL_OPERATIONS="60000", QUIRE_MUTATED="1")
    try:
        done = subprocess.run([str(binary), test.partition(" ")[2]], env=env, timeout=7200,
                              capture_output=True, text=True, errors="replace")
    except subprocess.TimeoutExpired: # the runner in there ends its tests much earlier
        raise RuntimeError(f"{binary} does not end") from None
    found = re.search(r"^FAIL (\S+?):.*", done.stdout, re.M)
    if found:
        reason = re.search(r"^PANIC: (.*)", done.stdout, re.M)
        return found.group(1) + (f" ({reason.group(1)[:90]})" if reason else "")
    if done.returncode or "\nok " not in done.stdout:
        return f"{test} (status {done.returncode})"
    return None


def main():
    args = sys.argv[1:]
    jobs = 2
    if "--jobs" in args:
        at = args.index("--jobs")
        jobs = int(args[at + 1])
        del args[at:at + 2]
    seeds, instead = SEEDS, None
    if "--with" in args:
        at = args.index("--with")
        seeds, instead = SEEDS[:1], [args[at + 1]]
        del args[at:at + 2]
    mutations = load_lists()
    if "--list" in args:
        for m in mutations:
            print("mutation " + m[0])
        return 0
    exact = "--exact" in args
    args = [slug(a) for a in args if a != "--exact"]
    chosen = [m for m in mutations
              if not args or any(a == m[0] if exact else a in m[0] for a in args)]
    bases = {"mutation-base-kernel" if of_kernel(m) else "mutation-base" for m in chosen}
    if bases:
        subprocess.run(["make", "-s", f"-j{jobs}", *bases], cwd=ROOT, check=True)
    info = make_info()
    builders = {flavour: Builder(info, flavour) for flavour in ("hosted", "bench")}
    kernels = load("kernel").KernelBuilder(info)
    lock = threading.Lock()
    failed, todo, base = [], list(chosen), Base()

    def work():
        while True:
            with lock:
                if not todo:
                    return
                mutation = todo.pop(0)
            began = time.monotonic()
            try:
                tests = instead or mutation[4]
                place, target = mutate(mutation, ROOT / info["build"])
                if of_kernel(mutation):
                    by = kernels.first_failing(place, mutation[1], target, tests)
                else:
                    builder = builders[flavour_of(tests)]
                    used = mutation[5] if len(mutation) > 5 else None
                    changed = builder.compile(place, mutation[1], target, used)
                    by = run_tests(builder, base, place, changed, tests, seeds)
                verdict = f"caught by {by}, {time.monotonic() - began:.1f} s" if by else None
                why = None if by else "survived " + ", ".join(tests)
                for binary in (*place.glob("test_*"), *place.glob("*/quire")):
                    binary.unlink()
            except Exception as error:  # whatever it was: not caught
                verdict, why = None, repr(error)
            with lock:
                if verdict:
                    print(f"ok mutation {mutation[0]}: {verdict}")
                else:
                    print(f"FAIL mutation {mutation[0]}: {why}")
                    failed.append(mutation[0])
                sys.stdout.flush()

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"# {len(chosen)} mutations, {len(chosen) - len(failed)} caught")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
