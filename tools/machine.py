# SPDX-License-Identifier: MIT
"""A virtual machine and the three serial ports that lead out of it.

COM1 is the terminal, COM2 the kernel's log, COM3 the channel over which
user/init.c takes commands and gives back their output (the frames are described
there). COM1 and COM3 are sockets that we listen on and QEMU connects to; who writes
to them waits while we are busy. The log cannot wait, so it comes through a pipe with
room for all that a kernel says.
"""

import ctypes
import fcntl
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import watch
from common import Problem

WINDOW = 2048  # bytes of stdin and command under way at most; init.c has the same
FRAME = 1024
OUTPUT_MAX = 64 << 20  # bytes of one command: more does not end
PANIC = (125 << 1) | 1  # how QEMU ends when the guest writes 125 to isa-debug-exit
GONE, TIMEOUT = "gone", "timeout"
SILENT = "it says nothing"

_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _die_with_us():
    """In QEMU before it starts: whatever ends us, even SIGKILL, ends QEMU too."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


MACHINE_MAX = 1 << 40  # above this the default of 40 address bits is too few


def memory_bytes(text):
    """'1G' as a number of bytes."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "M")
    if not number.isdigit() or unit not in units or not int(number):
        raise Problem(f"--memory {text}: a size looks like 512M, 1G or 1T")
    return int(number) << units[unit]


class LogPipe:
    """The reading end of a pipe that QEMU writes to; as much of a socket as is used here."""

    ROOM = 1 << 20

    def __init__(self, path):
        os.mkfifo(path + ".in")
        os.mkfifo(path + ".out")
        self.fd = os.open(path + ".out", os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, self.ROOM)
        except OSError: # above what this user may have: what there is must do
            pass

    def fileno(self):
        return self.fd

    def recv(self, count):
        return os.read(self.fd, count)

    def close(self):
        os.close(self.fd)


class Settings:
    """What kind of machine, and what it boots."""

    def __init__(self):
        self.memory = "1G"
        self.cpus = None
        self.cpu = None
        self.icount = False
        self.accel = "tcg"
        self.gdb = None  # a port of 127.0.0.1
        self.uefi = False
        # What to boot: arguments for QEMU, made by boot.py.
        self.boot = []
        self.screen = False

    def arguments(self):
        """QEMU's arguments, without the boot medium and the ports."""
        size = memory_bytes(self.memory)
        cpu = self.cpu or ("qemu64" if self.icount else "max,la57=off")
        if size > MACHINE_MAX - (4 << 30) and "phys-bits" not in cpu and self.accel == "tcg":
            cpu += ",phys-bits=46"
        accel = {"kvm": "kvm", "tcg": "tcg,thread=multi"}[self.accel]
        if self.icount:
            accel = "tcg,thread=single"
        # Memory that the guest does not touch costs nothing, so 1T works anywhere.
        machine = ["-machine", "pc,memory-backend=ram", "-object",
                   f"memory-backend-ram,id=ram,size={size},reserve=off", "-m", f"{size >> 20}M"]
        more = ["-icount", "shift=0,sleep=off"] if self.icount else []
        if self.gdb:
            more += ["-gdb", f"tcp:127.0.0.1:{self.gdb}", "-S"]
        if self.uefi:
            code = "/usr/share/OVMF/OVMF_CODE_4M.fd"
            more += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"]
        return (["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                 "-no-reboot", "-accel", accel, "-cpu", cpu, "-smp", str(self.cpus or 1),
                 "-vga", "std" if self.screen else "none",
                 "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
                + machine + more + self.boot)


class Machine:
    """One run of QEMU. Use as a context manager; leaving it ends QEMU."""

    def __init__(self, settings, log=None, log_sink=None):
        self.work = tempfile.mkdtemp(prefix="quire-")
        self.settings = settings
        self.log_path = log
        self.log = open(log, "wb") if log else None
        self.log_sink = log_sink  # called with bytes, as they come
        self.log_tail = b""
        self.select = selectors.DefaultSelector()
        self.terminal_sink = None  # called with bytes from COM1
        self.ports = {}
        self.pending = {"tty": bytearray(), "run": bytearray()}
        self.received = bytearray()
        self.frames = []
        self.credit = WINDOW
        self.process = None
        self.started = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _start(self):
        listeners, arguments = {}, self.settings.arguments()
        for name in ("tty", "log", "run"):
            path = os.path.join(self.work, name)
            if name == "log":
                self._watch(name, LogPipe(path))
                arguments += ["-chardev", f"pipe,id={name},path={path}"]
            else:
                listeners[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listeners[name].bind(path)
                listeners[name].listen(1)
                arguments += ["-chardev", f"socket,id={name},path={path}"]
            arguments += ["-serial", f"chardev:{name}"]
        if self.settings.uefi:
            variables = os.path.join(self.work, "vars.fd")
            shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.fd", variables)
            arguments += ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
        self.started = time.monotonic()
        errors = open(os.path.join(self.work, "qemu"), "wb")
        # A session of its own: Ctrl-C at our terminal is for us to handle.
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=errors,
                                        stderr=errors, start_new_session=True,
                                        preexec_fn=_die_with_us)
        errors.close()
        for name, listener in listeners.items():
            port = self._accept(listener)
            listener.close()
            port.setblocking(False)
            self._watch(name, port)

    def _watch(self, name, port):
        self.ports[name] = port
        self.select.register(port, selectors.EVENT_READ, name)

    def _accept(self, listener):
        listener.settimeout(0.1)
        deadline = time.monotonic() + watch.limit(60)
        while time.monotonic() < deadline:
            try:
                return listener.accept()[0]
            except socket.timeout:
                if self.process.poll() is not None:
                    break
        raise Problem(f"QEMU did not start: {self.complaint()}", 125)

    def complaint(self):
        """What QEMU itself has said."""
        with open(os.path.join(self.work, "qemu"), errors="replace") as handle:
            return " ".join(handle.read().split()) or SILENT

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
            for name in list(self.ports):
                self._read(name)
        self.select.close()
        for port in self.ports.values():
            port.close()
        self.ports = {}
        if self.log:
            self.log.close()
            self.log = None
        shutil.rmtree(self.work, ignore_errors=True)

    # ---- moving bytes --------------------------------------------------------

    def _read(self, name):
        """Take all that a port has; False when QEMU has closed it."""
        port = self.ports.get(name)
        while port:
            try:
                data = port.recv(65536)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                data = b""
            if not data:
                self.select.unregister(port)
                port.close()
                del self.ports[name]
                return False
            if name == "log":
                self._take_log(data)
            elif name == "tty":
                if self.terminal_sink:
                    self.terminal_sink(data)
            else:
                self.received += data
                self._parse()
        return False

    def _take_log(self, data):
        self.log_tail = (self.log_tail + data)[-65536:]
        if self.log:
            self.log.write(data)
            self.log.flush()
        if self.log_sink:
            self.log_sink(data)

    def _parse(self):
        buffer, at = self.received, 0
        while len(buffer) - at >= 3:
            count = buffer[at + 1] | buffer[at + 2] << 8
            if len(buffer) - at < 3 + count:
                break
            kind, payload = chr(buffer[at]), bytes(buffer[at + 3:at + 3 + count])
            if kind == "C":
                self.credit += struct.unpack("<I", payload)[0]
            else:
                self.frames.append((kind, payload))
            at += 3 + count
        del buffer[:at]

    def _write(self, name):
        buffer, port = self.pending[name], self.ports.get(name)
        if port and buffer:
            try:
                del buffer[:port.send(buffer)]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                buffer.clear()
        if port:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if buffer else 0)
            self.select.modify(port, events, name)

    def send(self, name, data):
        self.pending[name] += data
        self._write(name)

    def pump(self, timeout):
        """Wait for something to happen, at most so long, and move bytes. Returns
        the keys of others that were registered with self.select and are ready."""
        others = []
        for key, events in self.select.select(timeout):
            if key.data in ("tty", "log", "run"):
                if events & selectors.EVENT_WRITE:
                    self._write(key.data)
                if events & selectors.EVENT_READ:
                    self._read(key.data)
            else:
                others.append(key)
        return others

    # ---- talking to init -----------------------------------------------------

    def frame(self, kind, payload=b""):
        self.send("run", kind.encode() + struct.pack("<H", len(payload)) + payload)

    def next_frame(self, deadline):
        """The next frame from init; GONE when the machine has ended, TIMEOUT."""
        while not self.frames:
            if "run" not in self.ports:
                return GONE, b""
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return TIMEOUT, b""
            self.pump(left)
        return self.frames.pop(0)

    def greet(self, deadline=None):
        """Wait until init is there. None, or GONE or TIMEOUT."""
        kind, _ = self.next_frame(deadline)
        return None if kind == "H" else kind

    def begin(self, argv, environment=()):
        """Hand over a command and start it."""
        strings = [os.fsencode(a) + b"\0" for a in (*argv, *environment)]
        data = struct.pack("<I", len(argv)) + b"".join(strings)
        while data:
            room = min(FRAME, self.credit)
            if room <= 0:
                if "run" not in self.ports:
                    return
                self.pump(1)
                continue
            piece, data = data[:room], data[room:]
            self.credit -= len(piece)
            self.frame("A", piece)
        self.frame("X")

    def feed(self, data):
        """Send what may be sent of stdin; returns the rest."""
        while data and self.credit > 0:
            piece, data = data[:min(FRAME, self.credit)], data[min(FRAME, self.credit):]
            self.credit -= len(piece)
            self.frame("I", piece)
        return data

    def run(self, argv, stdin=b"", seconds=60, environment=()):
        """Run one command with all its input given; returns a Result. TIMEOUT: it made no
        progress for so many seconds, that is, printed nothing, or does not cease to print."""
        result = Result()
        begun, clock = time.monotonic(), watch.Clock(seconds)
        self.begin(argv, environment)
        rest, closed = stdin, False
        while True:
            rest = self.feed(rest)
            if not rest and not closed:
                self.frame("Z")
                closed = True
            if not self.frames:
                if "run" not in self.ports:
                    result.how = GONE
                    break
                if clock.over() or len(result.stdout) + len(result.stderr) > OUTPUT_MAX:
                    result.how = TIMEOUT
                    break
                self.pump(watch.Clock.SLICE)
                continue
            kind, payload = self.frames.pop(0)
            clock.restart()
            if kind == "O":
                result.stdout += payload
            elif kind == "E":
                result.stderr += payload
            elif kind == "S":
                result.how = "signal" if payload[0] else "exit"
                result.code = payload[1]
                break
        result.seconds = time.monotonic() - begun
        return result

    def power_off(self, seconds=30):
        """Ask init to end; QEMU's exit status, or None if it did not end."""
        self.frame("Q")
        return self.wait(seconds)

    def wait(self, seconds):
        """Wait for QEMU to end, moving bytes; its status or None."""
        deadline = time.monotonic() + watch.limit(seconds)
        while self.ports and time.monotonic() < deadline:
            self.pump(max(0, deadline - time.monotonic()))
        try:
            return self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def refused(self):
        """Has QEMU ended by itself, with words of its own, rather than the guest ended it?"""
        status = self.process.poll()
        return status is not None and (status == 1 or status < 0) and \
            self.complaint() != SILENT

    def panicked(self):
        """Has the guest's kernel given up? Only once QEMU has ended."""
        return self.process.poll() == PANIC


class Result:
    """What became of a command."""

    def __init__(self):
        self.how, self.code = GONE, 0
        self.stdout, self.stderr = b"", b""
        self.seconds = 0.0

    def status(self):
        """As `./run` reports it."""
        return {"exit": self.code, "signal": 128 + self.code, TIMEOUT: 124, GONE: 125}[self.how]
