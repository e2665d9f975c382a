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

import watch
from common import ROOT, Problem

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

    def expect(self, pattern, seconds=60):
        """Read until the pattern has come; what came before and with it."""
        seconds = watch.limit(seconds)
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen, re.MULTILINE)
            if match:
                text, self.seen = self.seen[:match.end()], self.seen[match.end():]
                return text
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {pattern!r} within {seconds:.0f} s; "
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

    def command(self, line, seconds=60):
        """Type a line; what it printed, without the echo and the next prompt."""
        self.type(line + "\n")
        text = self.expect(PROMPT, seconds)
        text = text.replace("\r", "")
        at = text.find("\n")
        return text[at + 1:text.rfind("\n") + 1] if at >= 0 else ""

    def end(self, seconds=60):
        """Wait for ./run to end; its exit status."""
        seconds = watch.limit(seconds)
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
        raise AssertionError(f"./run did not end within {seconds:.0f} s")

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


# A job that says when the terminal is its own, with the number of the turn that it has
# read before it looked: what is typed after the word is meant for it.
FRONT = r"""cat >front <<'X'
#!/bin/sh
while :; do
	turn=$(cat turn)
	set -- $(cat /proc/$$/stat)
	[ $5 = $8 ] && echo front $turn
	sleep 0.1
done
X
chmod +x front"""


def background(t):
    t.command(FRONT)
    out = t.command("echo 1 >turn; ./front & jobs")
    check("./front" in out and "[1]" in out, out)
    t.type("echo 2 >turn; fg\n")
    t.expect("^front 2$")
    t.type(KEYS["Z"])
    out = t.expect(PROMPT)
    check("Stopped" in out, out)
    t.command("bg")
    out = t.command("jobs")
    check("Running" in out, out)
    t.type("echo 3 >turn; fg\n")
    t.expect("^front 3$")
    t.type(KEYS["C"])
    t.expect(PROMPT)
    out = t.command("jobs; echo none")
    check(out == "none\n", out)


def interrupt(t):
    # The echo of what is typed has quotes in it; the word alone is the program's.
    t.type("sh -c 'echo it \"\"runs; exec sleep 1000'\n")
    t.expect("^it runs$")
    t.type(KEYS["C"])
    t.expect(PROMPT)
    out = t.command("echo $?")
    check(out == "130\n", out)
    t.type("{ echo it \"\"runs >&2; cat; } | sort | while read x; do :; done\n")
    t.expect("^it runs$")
    t.type(KEYS["C"])
    t.expect(PROMPT)
    t.type("half a line" + KEYS["C"].decode())
    t.expect(PROMPT)
    check(t.command("echo ok") == "ok\n", t.all)


def end_of_file(t):
    t.type("echo it \"\"runs; cat\n")
    t.expect("^it runs$")
    t.type("a line\n")
    t.expect("a line\na line\n")
    t.type(KEYS["D"])
    t.expect(PROMPT)


def editing(t):
    # Editing shows the prompt again with the line: the next one is behind the output.
    t.type("echo abX\x7fc\n")
    t.expect(r"\nabc\n[^\n]*" + PROMPT)
    t.type("\x1b[A\n")  # the line before, again
    t.expect(r"\nabc\n[^\n]*" + PROMPT)


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
    """The steps in one session; a step that fails does not stop the others unless the shell
    has gone, and then they get another one."""
    steps = {step.__name__: step for step in STEPS}
    t = Terminal(*options)
    try:
        t.expect(PROMPT)
        for name in chosen:
            begun, short = time.monotonic(), name.rsplit("/", 1)[1]
            try:
                if short == "exit_status":
                    t.type("exit 5\n")
                    status = t.end()
                    check(status == 5, f"./run ended with {status}, not 5")
                else:
                    steps[short](t)
                report.ok(name, time.monotonic() - begun)
            except AssertionError as error:
                report.fail(name, str(error))
                t.type(KEYS["C"])
                t.expect(PROMPT)
    except (AssertionError, OSError) as error:
        raise Problem(f"the shell has gone: {error}") from error
    finally:
        t.kill()


def escape(chosen, report):
    begun = time.monotonic()
    t = Terminal()
    try:
        t.expect(PROMPT)
        t.type("echo it \"\"runs; sleep 1000\n")
        t.expect("^it runs$")
        t.type(KEYS["]"])
        status = t.end()
        check(status == 0, f"status {status}")
        report.ok(chosen[0], time.monotonic() - begun)
    except AssertionError as error:
        report.fail(chosen[0], str(error))
    finally:
        t.kill()


def jobs():
    names = [f"shell/{step.__name__}" for step in STEPS] + ["shell/exit_status"]
    yield names, session, False
    yield ["shell/escape_key"], escape, False
