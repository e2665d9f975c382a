# SPDX-License-Identifier: MIT
"""The interactive shell, typed into through a pseudo-terminal as a person would."""

import os
import pty
import re
import select
import signal
import struct
import fcntl
import termios
import time

from common import ROOT

PROMPT = r"quire:\S*# $"
KEYS = {"C": b"\x03", "D": b"\x04", "Z": b"\x1a", "]": b"\x1d"}


class Terminal:
    """./run on a pseudo-terminal of 40 lines and 100 columns."""

    def __init__(self, *options):
        self.seen, self.all = "", ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "vt100"
            os.execv(os.path.join(ROOT, "run"), ["./run", *options])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))

    def expect(self, pattern, seconds=30):
        """Read until the pattern has come; what came before and with it."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen, re.MULTILINE)
            if match:
                text, self.seen = self.seen[:match.end()], self.seen[match.end():]
                return text
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {pattern!r} within {seconds} s; "
                                     f"the terminal shows {self.seen[-600:]!r}")
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                if not data:
                    raise AssertionError(f"the run ended; it showed {self.seen[-600:]!r}")
                text = data.decode(errors="replace")
                # Busybox asks where the cursor is; the question may come in two pieces.
                self.seen = (self.seen + text).replace("\033[6n", "").replace("\r\n", "\n")
                self.all += text

    def type(self, text):
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def command(self, line, seconds=30):
        """Type a line; what it printed, without the echo and the next prompt."""
        self.type(line + "\n")
        text = self.expect(PROMPT, seconds)
        text = text.replace("\r", "")
        at = text.find("\n")
        return text[at + 1:text.rfind("\n") + 1] if at >= 0 else ""

    def end(self, seconds=20):
        """Wait for ./run to end; its exit status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
        raise AssertionError(f"./run did not end within {seconds} s")

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def check(condition, text):
    if not condition:
        raise AssertionError(f"unexpected: {text[-600:]!r}")


def simple(t):
    out = t.command("echo hello; ls /")
    check(re.search(r"^hello$", out, re.M) and "bin" in out and "proc" in out, out)
    out = t.command("pwd; cd /tmp; pwd")
    check(out == "/root\n/tmp\n", out)


def ps(t):
    out = t.command("ps")
    check(re.search(r"^ +1 .*init", out, re.M) and "ps" in out and "PID" in out, out)


def free(t):
    out = t.command("free")
    total = re.search(r"^Mem: +(\d+) +(\d+) +(\d+)", out, re.M)
    check(total and 900000 < int(total[1]) <= 1048576 and int(total[2]) < int(total[1]) / 2, out)


def meminfo(t):
    out = t.command("cat /proc/meminfo")
    numbers = dict(re.findall(r"^(\w+): +(\d+) kB$", out, re.M))
    check(0 < int(numbers.get("MemFree", 0)) <= int(numbers.get("MemTotal", 0)), out)


def pipes(t):
    out = t.command("seq 1 1000 | grep 7 | wc -l; cat /etc/passwd | cut -d: -f1 | sort | head -n 1")
    check(out == "271\nnobody\n", out)


def background(t):
    out = t.command("sleep 100 & jobs")
    check("sleep 100" in out and "[1]" in out, out)
    t.type("fg\n")
    t.expect("sleep 100\n")
    time.sleep(0.3)
    t.type(KEYS["Z"])
    out = t.expect(PROMPT)
    check("Stopped" in out, out)
    t.command("bg")
    out = t.command("jobs")
    check("Running" in out, out)
    t.type("fg\n")
    t.expect("sleep 100\n")
    time.sleep(0.3)
    t.type(KEYS["C"])
    t.expect(PROMPT)
    out = t.command("jobs; echo none")
    check(out == "none\n", out)


def interrupt(t):
    t.type("sleep 1000\n")
    time.sleep(0.7)
    begun = time.monotonic()
    t.type(KEYS["C"])
    t.expect(PROMPT)
    out = t.command("echo $?")
    check(out == "130\n" and time.monotonic() - begun < 10, out)
    t.type("cat | sort | while read x; do :; done\n")
    time.sleep(0.7)
    t.type(KEYS["C"])
    t.expect(PROMPT)
    t.type("half a line")
    time.sleep(0.2)
    t.type(KEYS["C"])
    t.expect(PROMPT)
    check(t.command("echo ok") == "ok\n", t.all)


def end_of_file(t):
    t.type("cat\n")
    time.sleep(0.3)
    t.type("a line\n")
    t.expect("a line\na line\n")
    t.type(KEYS["D"])
    t.expect(PROMPT)


def editing(t):
    t.type("echo abX\x7fc\n")
    out = t.expect(PROMPT)
    check("\nabc\n" in out, out)
    t.type("\x1b[A\n")  # the line before, again
    out = t.expect(PROMPT)
    check("\nabc\n" in out, out)


def sort_20_mb(t):
    t.command("cd /tmp; awk 'BEGIN { p = sprintf(\"%1000s\", \"\"); for (i = 0; i < 20000; i++) "
              "printf \"%06d%s\\n\", i * 7919 % 20000, p }' >large", 120)
    out = t.command("wc -c <large", 60)
    check(int(out) >= 20000000, out)
    out = t.command("sort large | cut -c1-6 | sed -n '1,2p;$p'; rm large", 300)
    check(out == "000000\n000001\n019999\n", out)


def scripts(t):
    t.command("cat >s.sh <<'X'\n#!/bin/sh\nfor i in 1 2 3; do echo \"$i: $1\"; done\nexit 9\nX")
    out = t.command("chmod +x s.sh; ./s.sh arg; echo $?")
    check(out.endswith("1: arg\n2: arg\n3: arg\n9\n"), out)
    out = t.command("f() { [ $1 -le 1 ] && echo 1 || echo $(($1 * $(f $(($1 - 1))))); }; f 10")
    check(out == "3628800\n", out)


def size(t):
    out = t.command("stty size")
    check(out == "40 100\n", out)


def program_dies(t):
    out = t.command("faults null_read; echo $?")
    check("139" in out, out)
    check(t.command("echo alive") == "alive\n", t.all)


STEPS = (simple, ps, free, meminfo, pipes, background, interrupt, end_of_file, editing, scripts,
         size, program_dies, sort_20_mb)


def session(chosen, report, *options):
    """All steps in one session; a step that fails does not stop the others
    unless the shell has gone."""
    group = chosen[0].rsplit("/", 1)[0]
    wanted = [n.rsplit("/", 1)[1] for n in chosen]
    t = Terminal(*options)
    try:
        t.expect(PROMPT, 60)
        for step in STEPS:
            if step.__name__ not in wanted:
                continue
            name = f"{group}/{step.__name__}"
            begun = time.monotonic()
            try:
                step(t)
                report.ok(name, time.monotonic() - begun)
            except AssertionError as error:
                report.fail(name, str(error))
                t.type(KEYS["C"])
                t.expect(PROMPT)
        if "exit_status" in wanted:
            t.type("exit 5\n")
            status = t.end()
            if status == 5:
                report.ok(f"{group}/exit_status")
            else:
                report.fail(f"{group}/exit_status", f"./run ended with {status}, not 5")
    except AssertionError as error:
        for name in chosen:
            if not any(name in done for done in (report.passed, report.failed)):
                report.fail(name, str(error))
                break
        raise
    finally:
        t.kill()


def escape(chosen, report):
    begun = time.monotonic()
    t = Terminal()
    try:
        t.expect(PROMPT, 60)
        t.type("sleep 1000\n")
        time.sleep(0.5)
        t.type(KEYS["]"])
        status = t.end(10)
        check(status == 0, f"status {status}")
        report.ok(chosen[0], time.monotonic() - begun)
    except AssertionError as error:
        report.fail(chosen[0], str(error))
    finally:
        t.kill()


def jobs():
    names = [f"shell/{step.__name__}" for step in STEPS] + ["shell/exit_status"]
    yield names, session, 100
    yield ["shell/escape_key"], escape, 10
