# SPDX-License-Identifier: MIT
"""Programs that are watched: a hang is no progress, not silence and not slowness.

A limit here is in seconds as a machine takes them that is as fast as most, for one
step: from one line of a program's output, or one growth of the number that it tells,
to the next. measure() finds how much slower this machine is now, and every limit is
as much longer (QUIRE_PATIENCE, which the hosted tests and the kernel's know too).
What is ended for a hang, ends with all that it has started.
"""

import atexit
import ctypes
import os
import select
import signal
import subprocess
import time

from common import Problem

# What measure() takes where limits were written: seconds.
WORK, FORK = 0.1, 0.001
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_leaders = set()  # of the sessions that run


class Hang(Problem):
    """It made no progress for as long as it may."""


def patience():
    """How many times longer than on most machines things may take here."""
    text = os.environ.get("QUIRE_PATIENCE") or "1"
    try:
        if 0 < float(text) < 1e6:
            return float(text)
    except ValueError:
        pass
    raise Problem(f"QUIRE_PATIENCE={text}: a number above 0")


def limit(seconds):
    return seconds * patience()


class Clock:
    """Counts the time since the last progress, as far as we have been running ourselves: of
    the time in which the whole machine stood still or did others' work only a slice counts,
    since who is watched has not run either."""

    SLICE = 0.5

    def __init__(self, seconds):
        self.restart(limit(seconds))

    def restart(self, allowed=None):
        """There was progress; from now on so much is allowed, by default as before."""
        self.allowed = self.left = allowed or self.allowed
        self.last = time.monotonic()

    def over(self):
        """Look at the time, at least once a slice. Has there been none for too long?"""
        now = time.monotonic()
        self.left -= min(now - self.last, 2 * self.SLICE)
        self.last = now
        return self.left <= 0


def _work():
    begun, x = time.monotonic(), 0
    for i in range(1500000):
        x = (x * 31 + i) & 0xffffffff
    return time.monotonic() - begun


def _fork():
    begun = time.monotonic()
    for _ in range(50):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
    return (time.monotonic() - begun) / 50


def _both(what):
    """The slower of two that run at a time, as the tests will."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, f"{what():.6f}".encode())
        os._exit(0)
    mine = what()
    theirs = os.read(reading, 100)
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)
    return max(mine, float(theirs))


def measure():
    """Look how fast the machine is, and set the patience unless it is set; what was found."""
    work, fork = _both(_work), _both(_fork)
    if "QUIRE_PATIENCE" not in os.environ:
        os.environ["QUIRE_PATIENCE"] = f"{min(max(1, work / WORK, (fork / FORK) ** 0.5), 20):.2f}"
    return (f"a fork takes {fork * 1000:.1f} ms, a loop {work:.2f} s (elsewhere {FORK * 1000:g}"
            f" and {WORK:g}): "
            f"limits are {patience():.1f} times as long")


def _end_with_us():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_session(leader):
    """Kill what is in this session now; was there anything?"""
    found = False
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                state, _, _, session = stat.read().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                os.kill(int(entry), signal.SIGKILL)
                found = True
        except (OSError, ValueError):
            pass  # it has ended meanwhile
    return found


def _end_session(leader):
    """Kill a program that leads a session, and all that it has started there; also what one
    of them starts while we look for it."""
    for _ in range(10):
        if not _kill_session(leader):
            break


@atexit.register
def end_all():
    """We end: so does all that we have started, and what that has."""
    for leader in list(_leaders):
        _end_session(leader)


class Watched:
    """A program whose lines are read as they come; each is progress:

        with Watched(command, 60) as program:
            for line in program:
                ...
        program.status, or program.hung
    """

    def __init__(self, command, seconds, **options):
        self.clock, self.status, self.hung = Clock(seconds), None, False
        self.name = os.path.basename(str(command[0]))
        options.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True, preexec_fn=_end_with_us,
                                        **options)
        _leaders.add(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _end_session(self.process.pid)
        self.process.stdout.close()
        self.status = self.process.wait()
        _leaders.discard(self.process.pid)

    def __iter__(self):
        descriptor, rest = self.process.stdout.fileno(), b""
        while True:
            if not select.select([descriptor], [], [], Clock.SLICE)[0]:
                self.hung = self.clock.over()
                if self.hung:
                    break
                continue
            data = os.read(descriptor, 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
            self.clock.restart()
        if rest:
            yield rest.decode(errors="replace")
        if not self.hung:  # its output has ended; itself it may take a moment longer
            try:
                self.process.wait(self.clock.allowed)
            except subprocess.TimeoutExpired:
                self.hung = True

    def ended(self):
        """In words why it ended, if that was not by itself; else None."""
        if self.hung:
            return f"{self.name} made no progress for {self.clock.allowed:.0f} s (a hang)"
        if self.status < 0:
            return f"{self.name} died of signal {-self.status}"
        return None


def run(command, seconds, **options):
    """What a program prints, and its status. Hang, if it is silent for so long."""
    with Watched(command, seconds, **options) as program:
        said = list(program)
    if program.hung:
        raise Hang(program.ended() + "\n" + "\n".join(said[-20:]))
    return program.status, said
