# SPDX-License-Identifier: MIT
"""What the tools share: where things are, and how they give up."""

import contextlib
import fcntl
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")


class Problem(Exception):
    """Something a person has to put right: one line, and an exit status."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


def note(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(name):
    """Only one process at a time, system-wide, inside `with locked(name)`."""
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, f".lock-{name}"), "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make(*targets, variables=(), quiet=True):
    """Run make; its output is shown only when it fails."""
    command = ["make", "-C", ROOT, f"-j{os.cpu_count() or 1}", "--no-print-directory"]
    command += list(variables) + list(targets)
    with locked("make"):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        sys.stderr.buffer.write(result.stdout)
        raise Problem(f"building {' '.join(targets)} failed", 125)
    if not quiet:
        sys.stderr.buffer.write(result.stdout)


def write_atomically(path, content):
    """Replace a file in one step, so that nobody sees half of it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as handle:
        handle.write(content)
    os.replace(temporary, path)
