# SPDX-License-Identifier: MIT
"""./run [options] [-- COMMAND ARGS...]: build, boot, and do as asked.

The exit status is the command's own; 128+N when signal N ended it; 124 after
--timeout; 125 when the kernel panicked or did not boot; 2 for wrong use.
"""

import argparse
import os
import selectors
import shutil
import signal
import sys
import termios
import time
import tty

import boot
import initramfs
import packages
from common import BUILD, Problem, make, note
from machine import GONE, SILENT, TIMEOUT, Machine, Settings, memory_bytes

ESCAPE = 0x1d  # Ctrl-]
MARK = b"\033]quire\a"  # init.c writes it to the terminal before the shell starts
LOG = os.path.join(BUILD, "kernel.log")

EPILOG = """\
Without a command: a busybox shell on this terminal. Ctrl-] leaves it at once;
`exit` or Ctrl-D end the shell and with it the machine. Ctrl-C goes to the shell.
With one: it is found in /usr/local/bin or /bin of the guest, gets this stdin, and
its stdout, stderr and status are passed on exactly.
When nobody reads its stdout any more, the command is told (SIGPIPE), as in a pipe.
exit status: the command's own; 128+N: ended by signal N; 124: --timeout;
125: panic or no boot, so also a KVM that does not work (the kernel's log is in
build/kernel.log); 2: wrong use, or what QEMU refuses, or something is missing."""


class Parser(argparse.ArgumentParser):
    """One clear line instead of the usual two."""

    def error(self, message):
        raise Problem(f"{message} (see ./run --help)")


def parser():
    p = Parser(prog="./run", usage="./run [options] [-- COMMAND ARGS...]", allow_abbrev=False,
               description="Build Quire and run it in QEMU.", epilog=EPILOG, add_help=False,
               formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--help", action="help", help="show this")
    p.add_argument("--memory", default="1G", metavar="SIZE", help="default 1G; 1T works, sparse")
    p.add_argument("--cpus", type=int, metavar="N", help="default 2, with --icount 1")
    p.add_argument("--cpu", metavar="MODEL",
                   help="QEMU's CPU model; default max,la57=off (with --icount qemu64)")
    p.add_argument("--add", action="append", default=[], metavar="FILE[:GUESTPATH]",
                   help="put a file or folder into the guest, by default as /NAME")
    p.add_argument("--with", dest="packages", action="append", default=[], metavar="PACKAGE",
                   help="put an unmodified Debian package into the guest (static programs)")
    p.add_argument("--timeout", type=float, metavar="S",
                   help="give up, status 124, S seconds after QEMU's start")
    p.add_argument("--icount", action="store_true",
                   help="count instructions: qemu64, one CPU, one instruction is one nanosecond,"
                        " nothing at random places")
    p.add_argument("--kernel", choices=("quire", "linux"), default="quire",
                   help="linux: the same under Debian's own kernel")
    p.add_argument("--loader", choices=("own", "grub", "limine"),
                   help="own: QEMU's -kernel (default); grub, limine: from an ISO")
    p.add_argument("--uefi", action="store_true", help="UEFI firmware (with grub or limine)")
    p.add_argument("--limine", metavar="DIR",
                   help="folder with Limine's released files; default $LIMINE_DIR")
    p.add_argument("--iso", metavar="FILE", help="keep the ISO that is booted in FILE")
    p.add_argument("--append", default="", metavar="TEXT", help="add to the kernel's command line")
    p.add_argument("--loader-append", default="", metavar="TEXT",
                   help="options for our loader: dmap=ADDRESS, revision=N")
    p.add_argument("--gdb", type=int, nargs="?", const=1234, metavar="PORT",
                   help="wait for a debugger on this port of 127.0.0.1 (default 1234) before"
                        " the first instruction; the kernel lies where it is linked")
    p.add_argument("--log", action="store_true", help="show the kernel's log on stderr")
    p.add_argument("--accel", choices=("tcg", "kvm"), default="tcg",
                   help="kvm: for machines where it works; default tcg, multi-threaded")
    return p


def parse(arguments):
    command = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1:]
        if not command:
            raise Problem("after -- there must be a command")
    o = parser().parse_args(arguments)
    o.command = command
    check(o)
    return o


def check(o):
    """Wrong use of options, each in one line."""
    memory_bytes(o.memory)
    if o.cpus is not None and not 1 <= o.cpus <= 255:
        raise Problem(f"--cpus {o.cpus}: 1 to 255")
    if o.icount and (o.cpus or 1) > 1:
        raise Problem("--icount counts one CPU's instructions: --cpus must be 1")
    if o.icount and o.accel != "tcg":
        raise Problem("--icount needs --accel tcg")
    if o.timeout is not None and not 0 < o.timeout < 1e9:
        raise Problem("--timeout: a number of seconds above 0")
    if o.gdb is not None and not 1 <= o.gdb <= 65535:
        raise Problem(f"--gdb {o.gdb}: a port is a number from 1 to 65535")
    if o.accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Problem("--accel kvm: /dev/kvm cannot be opened")
    o.cpus = o.cpus or (1 if o.icount else 2)
    o.limine = o.limine or (os.environ.get("LIMINE_DIR") if o.loader == "limine" else None)
    if o.kernel == "linux" and (o.loader or o.uefi or o.limine or o.iso or o.loader_append):
        raise Problem("--kernel linux is booted by QEMU itself: no --loader, --uefi, --limine, --iso")
    if o.loader is None:
        o.loader = "limine" if o.limine else "grub" if o.uefi or o.iso else "own"
    if o.limine and o.loader != "limine":
        raise Problem(f"--limine DIR and --loader {o.loader} contradict each other")
    if o.loader == "limine" and not o.limine:
        raise Problem("--loader limine needs --limine DIR or LIMINE_DIR: a folder with its files")
    if o.loader == "own" and (o.uefi or o.iso):
        raise Problem("--loader own is QEMU's -kernel: --uefi and --iso need grub or limine")
    if o.loader == "limine" and o.loader_append:
        raise Problem("--loader-append is for our own loader, not for Limine")
    if o.iso and not os.path.isdir(os.path.dirname(os.path.abspath(o.iso))):
        raise Problem(f"--iso {o.iso}: there is no such folder")
    if o.iso and not boot.may_write_iso(o.iso):
        raise Problem(f"--iso {o.iso}: the file exists and is not an ISO of ours")


def guest_files(o):
    """(host file, guest path) for each --add."""
    pairs = []
    for text in o.add:
        source, _, target = text.rpartition(":")
        if not source or not target.startswith("/"):
            source, target = text, "/" + os.path.basename(os.path.normpath(text))
        if not os.path.exists(source):
            raise Problem(f"--add {text}: there is no such file")
        if not os.path.isfile(source) and not os.path.isdir(source):
            raise Problem(f"--add {text}: neither a file nor a folder")
        pairs.append((source, target))
    return pairs


def kernel_line(o):
    words = ["quire.run=" + ("channel" if o.command else "shell")]
    if not o.command and sys.stdin.isatty():
        size = shutil.get_terminal_size()
        words.append(f"quire.size={size.lines}x{size.columns}")
        term = os.environ.get("TERM", "")
        if term.replace("-", "").isalnum():
            words.append(f"quire.term={term}")
    if o.icount or o.gdb:
        words.append("nokaslr")  # the same addresses each time
    if o.append:
        words.append(o.append)
    return " ".join(words)


def prepare(o, work):
    """Build all that is needed; the machine's settings."""
    added = guest_files(o)
    folders = [f for package in o.packages for f in packages.with_dependencies(package)]
    busybox = packages.busybox()
    make(*(["user"] if o.kernel == "linux" else ["user", "kernel", "loader"]))
    if o.kernel == "quire":
        kernel = boot.keep(boot.KERNEL, work)
    files = initramfs.write(os.path.join(work, "initramfs"), busybox, added, folders)
    settings = Settings()
    settings.memory, settings.cpus, settings.cpu = o.memory, o.cpus, o.cpu
    settings.icount, settings.accel, settings.gdb = o.icount, o.accel, o.gdb
    settings.uefi = o.uefi
    line = kernel_line(o)
    if o.kernel == "linux":
        settings.boot = boot.linux(packages.linux(), files, line)
    elif o.loader == "own":
        settings.boot = boot.own(kernel, files, line, o.loader_append)
    else:
        iso = os.path.abspath(o.iso) if o.iso else os.path.join(work, "quire.iso")
        settings.screen = True
        if o.loader == "grub":
            boot.grub_iso(iso, kernel, files, line, o.loader_append, work)
        else:
            boot.limine_iso(iso, o.limine, kernel, files, line, work)
        settings.boot = boot.cdrom(iso)
    return settings


def write_out(fd, data):
    """All of it, even to a pipe that is full; false if nobody reads any more."""
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            time.sleep(0.01)
        except BrokenPipeError:
            return False
    return True


def explain(machine, why):
    """Say that there will be no status, and what the kernel said last."""
    if not machine.log_tail and machine.refused():
        if machine.settings.accel == "kvm":
            raise Problem(f"--accel kvm does not work here; QEMU: {machine.complaint()}", 125)
        raise Problem(f"QEMU refuses: {machine.complaint()}")
    log = machine.log_tail.replace(b"\r", b"").decode(errors="replace").splitlines()
    for line in log[-40:]:
        note(f"  {line}")
    said = machine.complaint()
    note(f"run: {why}" + ("" if said == SILENT else f"; QEMU: {said}"))
    return 125


class Command:
    """`./run -- COMMAND`: the channel on one side, our three streams on the other."""

    def __init__(self, machine, deadline):
        self.machine, self.deadline = machine, deadline
        self.input, self.reading, self.ended = b"", False, False
        self.unread = set()  # of our stdout and stderr, that nobody reads any more

    def _read_input(self):
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        self.input += data
        if not data:
            self.ended = True

    def _watch(self, wanted):
        """Watch our stdin only while there is room for what it brings. Files
        cannot be watched, but they are always ready."""
        if wanted == self.reading:
            return
        try:
            if wanted:
                self.machine.select.register(0, selectors.EVENT_READ, "stdin")
            else:
                self.machine.select.unregister(0)
            self.reading = wanted
        except (PermissionError, OSError):
            if wanted:
                self._read_input()

    def _step(self):
        machine = self.machine
        self.input = machine.feed(self.input)
        if self.ended and not self.input and self.ended != "told":
            machine.frame("Z")
            self.ended = "told"
        self._watch(not self.ended and len(self.input) < 65536)
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0:
            return TIMEOUT
        idle = self.ended or self.reading
        for key in machine.pump(left if idle else 0):
            if key.data == "stdin":
                self._read_input()
        return None

    def _pass_on(self, kind, payload):
        if kind not in self.unread and not write_out(1 if kind == "O" else 2, payload):
            self.unread.add(kind)
            self.machine.frame(kind.lower())  # so that the command gets its SIGPIPE

    def run(self, argv):
        """(how, code) as the channel has it."""
        machine = self.machine
        failed = machine.greet(self.deadline)
        if failed:
            return failed, 0
        machine.begin(argv)
        while True:
            while machine.frames:
                kind, payload = machine.frames.pop(0)
                if kind in "OE":
                    self._pass_on(kind, payload)
                elif kind == "S":
                    self._watch(False)
                    return ("signal" if payload[0] else "exit"), payload[1]
            if "run" not in machine.ports:
                return GONE, 0
            if self._step() == TIMEOUT:
                return TIMEOUT, 0


def run_command(machine, o, deadline):
    how, code = Command(machine, deadline).run(o.command)
    if how == TIMEOUT:
        note(f"run: no end within {o.timeout:g} s")
        return 124
    if how == GONE:
        machine.wait(30)
        return explain(machine, "the kernel panicked" if machine.panicked()
                       else "the machine ended without a status")
    ended = machine.power_off()
    if ended is None:
        return explain(machine, "the command ended but the machine did not power off")
    if machine.panicked():
        return explain(machine, "the kernel panicked after the command had ended")
    return code if how == "exit" else 128 + code


class Terminal:
    """The interactive shell: this terminal and COM1, joined."""

    def __init__(self, machine):
        self.machine = machine
        self.shown, self.early = False, b""
        self.left = False
        self.saved = None

    def __enter__(self):
        if sys.stdin.isatty():
            self.saved = termios.tcgetattr(0)
            tty.setraw(0)
        return self

    def __exit__(self, *_):
        if self.saved:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)

    def show(self, data):
        """Nothing before init's mark: firmware likes to talk."""
        if not self.shown:
            self.early = (self.early + data)[-65536:]
            _, mark, data = self.early.partition(MARK)
            if not mark:
                return
            self.shown = True
        write_out(1, data)

    def type(self):
        try:
            data = os.read(0, 4096)
        except OSError:
            data = b""
        if self.saved and ESCAPE in data:
            self.left = True
            data = data[:data.index(ESCAPE)]
        elif not data: # the end of a file or pipe is the end of the session
            self._stop_reading()
            data = b"\x04"
        self.machine.send("tty", data)

    def _stop_reading(self):
        try:
            self.machine.select.unregister(0)
        except (KeyError, ValueError):
            pass

    def run(self, deadline):
        machine = self.machine
        machine.terminal_sink = self.show
        waiting = False
        while not machine.frames and "run" in machine.ports and not self.left:
            if self.shown and not waiting: # what is typed before the shell is there would be lost
                waiting = True
                try:
                    machine.select.register(0, selectors.EVENT_READ, "stdin")
                except (PermissionError, OSError):
                    with os.fdopen(os.dup(0), "rb") as handle:
                        machine.send("tty", handle.read() + b"\x04")
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return TIMEOUT, 0
            for key in machine.pump(left):
                if key.data == "stdin":
                    self.type()
        self._stop_reading()
        if self.left:
            return "exit", 0
        kind, payload = machine.next_frame(deadline)
        if kind != "S":
            return GONE, 0
        return ("signal" if payload[0] else "exit"), payload[1]


def run_shell(machine, o, deadline):
    if sys.stdin.isatty():
        note("run: Ctrl-] leaves")
    with Terminal(machine) as terminal:
        how, code = terminal.run(deadline)
    if how == TIMEOUT:
        note(f"run: no end within {o.timeout:g} s")
        return 124
    if how == GONE:
        machine.wait(30)
        return explain(machine, "the kernel panicked" if machine.panicked()
                       else "the machine ended before its shell did")
    if terminal.left:
        return 0
    machine.wait(30)
    return code if how == "exit" else 128 + code


def stop(number, _):
    sys.exit(128 + number)


def main():
    try:
        o = parse(sys.argv[1:])
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, stop)
        os.makedirs(BUILD, exist_ok=True)
        work = os.path.join(BUILD, f"run-{os.getpid()}")
        os.makedirs(work)
        try:
            settings = prepare(o, work)
            sink = (lambda data: write_out(2, data.replace(b"\r", b""))) if o.log else None
            if o.gdb:
                note("run: waiting for gdb; in another terminal: "
                     f"gdb build/kernel/quire -ex 'target remote :{o.gdb}' "
                     "-ex 'hbreak kernel_entry' -ex continue")
            with Machine(settings, LOG + f".{os.getpid()}", sink) as machine:
                deadline = None if o.timeout is None else machine.started + o.timeout
                status = (run_command if o.command else run_shell)(machine, o, deadline)
            return status
        finally:
            shutil.rmtree(work, ignore_errors=True)
            if os.path.exists(LOG + f".{os.getpid()}"):
                os.replace(LOG + f".{os.getpid()}", LOG)
    except Problem as problem:
        note(f"run: {problem}")
        return problem.status
    except OSError as error: # a folder that cannot be written, a full disk
        note(f"run: {error}")
        return 125


if __name__ == "__main__":
    sys.exit(main())
