# SPDX-License-Identifier: MIT
"""./run itself: what it promises about output, status and options, and every way
to boot. Each test is one or two runs of the front door."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import bench_vm
import boot
import packages
import watch
from common import BUILD, ROOT, make
from debugger import Debugger
from machine import Machine, Settings
from suite_programs import files

SECONDS = 120  # one run of ./run, and less for it to end itself
RUN = os.path.join(ROOT, "run")
PROBE = "echo up; nproc; hello | head -n 1 | cut -c1-5; seq 1 2000 | sort -r | tail -n 1"


def gives_up():
    """./run ends the machine a little before we would end ./run."""
    return "--timeout", f"{watch.limit(SECONDS) - 10:.0f}"


class Failure(Exception):
    """Why a test has failed, and what it printed."""


class Skip(Exception):
    """Why a test cannot be done here."""


def run(*arguments, stdin=b"", seconds=SECONDS, environment=None):
    """./run with these arguments; (status, stdout, stderr)."""
    try:
        done = subprocess.run([RUN, *arguments], input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=watch.limit(seconds),
                              env=dict(os.environ, **(environment or {})))
    except subprocess.TimeoutExpired as late:
        raise Failure(f"./run {shlex.join(map(str, arguments))}: no end within {watch.limit(seconds):.0f} s "
                      "(a hang)\n" + (late.stderr or b"").decode(errors="replace")) from None
    return done.returncode, done.stdout, done.stderr


def expect(arguments, status=0, stdout=None, stderr=None, stdin=b"", **more):
    """Run and compare; returns stdout."""
    got = run(*arguments, stdin=stdin, **more)
    for what, wanted, have in zip(("status", "stdout", "stderr"), (status, stdout, stderr), got):
        if wanted is not None and have != wanted:
            raise Failure(f"./run {shlex.join(map(str, arguments))}: {what} {have!r:.1500}, "
                          f"expected {wanted!r:.500}\n" + got[2].decode(errors="replace")[-3000:])
    return got[1]


# ---- ways to boot -----------------------------------------------------------------

def comes_up(*options, cpus=2, **more):
    expect([*options, *gives_up(), "--", "sh", "-c", PROBE], 0,
           f"up\n{cpus}\nhello\n1\n".encode(), **more)


def limine(*options):
    folder = os.environ.get("LIMINE_DIR")
    if not folder:
        raise Skip("LIMINE_DIR is not set: a folder with Limine's released files")
    comes_up("--limine", folder, *options)


def all_memory(*options):
    """What the loader held and the kernel's own file are given back: of a gibibyte less
    than 2 MiB are missing (firmware, and the kernel as it runs)."""
    out = expect([*options, *gives_up(), "--", "grep", "MemTotal", "/proc/meminfo"], 0)
    missing = (1 << 20) - int(out.split()[1])
    if not 0 < missing < 2048:
        raise Failure(f"{missing} KiB are missing: {out!r}")
    return f"{missing} KiB missing"


def places(*options):
    """(slide, direct map, stack) of one boot, as its crash report has them."""
    status, _, errors = run(*options, "--timeout", "90", "--log", "--", "sh", "-c",
                            "echo c >/proc/sysrq-trigger; sleep 5")
    found = re.search(rb"kernel moved by 0x(\w+), direct map at 0x(\w+), "
                      rb"stack at 0x(\w+)", errors)
    if status != 125 or not found or not re.search(rb"0x\w+ store_sysrq\+0x", errors):
        raise Failure(f"status {status}\n" + errors.decode(errors="replace")[-3000:])
    return int(found[1], 16), int(found[2], 16), int(found[3], 16), errors


DIRECT_MAP = 0xffff800000000000
AREA_SLOT, AREA_LOW = 1 << 39, 16 << 20  # of kernel stacks; what the first of them take


def moved(*options):
    """Kernel, direct map and kernel stacks lie somewhere else at each boot; with nokaslr where
    they always were. The functions' names are right either way."""
    seen = [places(*options) for _ in range(3)]
    slides, maps, stacks = ({s[i] for s in seen} for i in range(3))
    if (len(slides) < 2 or len(maps) < 3 or any(s % 4096 for s in slides)
            or len({s >> 21 for s in stacks}) < 3):
        raise Failure(f"slides {slides}, direct maps {maps}, stacks {stacks}")
    if any(b"at random places, by RDRAND" not in s[3] for s in seen):
        raise Failure("the log does not say so")
    fixed = places(*options, "--append", "nokaslr")
    if (fixed[:2] != (0, DIRECT_MAP) or fixed[2] % AREA_SLOT > AREA_LOW
            or b"lie where they always are" not in fixed[3]):
        raise Failure(f"with nokaslr: {fixed[:3]}")
    return " ".join(f"{s:#x} {m:#x} {k:#x}" for s, m, k, _ in seen)


def moved_untold():
    """Inode numbers of /proc are made from addresses, and do not tell them."""
    seen = {expect(["--", "stat", "-c", "%i", "/proc/version", "/proc/sys/vm/swappiness"], 0)
            for _ in range(4)}
    if len(seen) != 1:
        raise Failure(f"{seen}")


def moved_by_limine(*options):
    folder = os.environ.get("LIMINE_DIR")
    if not folder:
        raise Skip("LIMINE_DIR is not set: a folder with Limine's released files")
    return moved("--limine", folder, *options)


def moved_without_rdrand():
    """Then the log says what the places are worth."""
    slide, direct_map, _, errors = places("--cpu", "max,la57=off,-rdrand,-rdseed")
    if (b"no RDRAND, they may be guessed" not in errors
            or b"no RDRAND: random numbers are made from times alone" not in errors):
        raise Failure(errors.decode(errors="replace")[-3000:])
    return f"{slide:#x} {direct_map:#x}"


def weaknesses_told():
    """The log says which weaknesses of the CPU let users read each other's memory. (No
    emulated CPU has any; without its hypervisor bit it looks like the real one.)"""
    for cpu, wanted in (
            ("max,la57=off", b"users are isolated: this CPU is emulated and does not speculate"),
            ("Skylake-Client-v1,-hypervisor",
             b"users are not isolated from each other by this CPU: "
             b"Meltdown, Spectre v1, Spectre v2, L1TF, MDS, Downfall (GDS)"),
            ("EPYC-Rome,-hypervisor",
             b"users are not isolated from each other by this CPU: "
             b"Spectre v1, Spectre v2, Zenbleed")):
        status, _, errors = run("--cpu", cpu, "--timeout", "60", "--log", "--", "true")
        if status or wanted not in errors:
            raise Failure(f"{cpu}: status {status}\n" + errors.decode(errors="replace")[-2000:])


BOOTS = {
    "weaknesses_told": weaknesses_told,
    "moved": moved,
    "moved_grub": lambda: moved("--loader", "grub"),
    "moved_grub_uefi": lambda: moved("--loader", "grub", "--uefi"),
    "moved_untold": moved_untold,
    "moved_limine": moved_by_limine,
    "moved_limine_uefi": lambda: moved_by_limine("--uefi"),
    "moved_without_rdrand": moved_without_rdrand,
    "all_memory": all_memory,
    "all_memory_grub": lambda: all_memory("--loader", "grub"),
    "cpus_1": lambda: comes_up("--cpus", "1", cpus=1),
    "cpus_2": lambda: comes_up("--cpus", "2"),
    "cpus_4": lambda: comes_up("--cpus", "4", cpus=4),
    "cpus_8": lambda: comes_up("--cpus", "8", cpus=8),
    "qemu64": lambda: comes_up("--cpu", "qemu64"),
    "memory_64M": lambda: comes_up("--memory", "64M"),
    "memory_5G": lambda: comes_up("--memory", "5G"),
    "memory_1T": lambda: comes_up("--memory", "1T"),
    "memory_1T_qemu64": lambda: comes_up("--memory", "1T", "--cpu", "qemu64"),
    "icount": lambda: comes_up("--icount", cpus=1),
    "direct_map_moved": lambda: comes_up("--loader-append", "dmap=0xffff988000000000"),
    "direct_map_moved_1T": lambda: comes_up("--memory", "1T", "--loader-append",
                                            "dmap=0xffffc00040000000"),
    "revision_2": lambda: comes_up("--loader-append", "revision=2"),
    "revision_3": lambda: comes_up("--loader-append", "revision=3"),
    "revision_4": lambda: comes_up("--loader-append", "revision=4"),
    "revision_5": lambda: comes_up("--loader-append", "revision=5"),
    "revision_6": lambda: comes_up("--loader-append", "revision=6"),
    "grub_bios": lambda: comes_up("--loader", "grub"),
    "grub_uefi": lambda: comes_up("--loader", "grub", "--uefi"),
    "grub_bios_4_cpus": lambda: comes_up("--loader", "grub", "--cpus", "4", cpus=4),
    "limine_bios": lambda: limine(),
    "limine_uefi": lambda: limine("--uefi"),
    "limine_bios_4G": lambda: limine("--memory", "6G"),
}


# ---- what ./run promises ------------------------------------------------------------

def arguments_exact():
    odd = ["a b", "", "new\nline", "q'\"\\", "$HOME `x` *", "-n", "--", "\t", "{,}", "é"]
    expect(["--", "printf", "<%s>", *odd], 0, "".join(f"<{a}>" for a in odd).encode())


def arguments_long():
    long = "x" * 100000
    expect(["--", "sh", "-c", 'echo "${#1} ${#2} $#"', "sh", long, long], 0, b"100000 100000 2\n")


def arguments_not_text():
    out = subprocess.run([RUN.encode(), b"--", b"printf", b"%s", b"\xff\xfe\x80\x01"], check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=watch.limit(SECONDS))
    if out.stdout != b"\xff\xfe\x80\x01":
        raise Failure(f"{out.stdout!r}\n{out.stderr.decode(errors='replace')}")


def streams_apart():
    expect(["--", "sh", "-c", "echo out; echo err >&2; echo out2"], 0, b"out\nout2\n", b"err\n")


def bytes_exact():
    data = bytes(range(256)) * 40 + b"\r\n\n\r\x11\x13\x03\x04end without newline"
    expect(["--", "cat"], 0, data, b"", stdin=data)


def input_large():
    data = os.urandom(150000)
    expect(["--", "cat"], 0, data, stdin=data)


def input_ends():
    expect(["--", "wc", "-c"], 0, b"0\n", stdin=b"")
    expect(["--", "sh", "-c", "dd bs=1 count=3 2>/dev/null; echo; wc -c"], 0, b"abc\n3\n",
           stdin=b"abcdef")


def input_unread():
    expect(["--", "true"], 0, b"", stdin=b"x" * 200000)


def output_large():
    out = expect(["--", "seq", "1", "40000"], 0)
    if out != b"".join(b"%d\n" % n for n in range(1, 40001)):
        raise Failure(f"{len(out)} bytes came, and not the right ones")


def output_unread():
    """Who reads no further ends the command, as in any pipe."""
    with subprocess.Popen([RUN, *gives_up(), "--", "yes"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        first = process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        status = process.wait(watch.limit(SECONDS))
    if first != b"y\n" or status != 128 + signal.SIGPIPE:
        raise Failure(f"{first!r}, status {status}\n{errors.decode(errors='replace')}")


def output_late():
    """Who reads late reads all the same, from both ports: nothing is pushed out."""
    numbers = b"".join(b"%d\n" % n for n in range(1, 30001))
    loop = b"i=0; while [ $i -lt 6 ]; do i=$((i+1)); cat /numbers; done; exit 7\n"
    with tempfile.NamedTemporaryFile() as file:
        file.write(numbers)
        file.flush()
        for arguments in (["--", "sh", "-c", loop], []):
            options = [*gives_up(), "--add", f"{file.name}:/numbers"]
            with subprocess.Popen([RUN, *options, *arguments], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                process.stdin.write(b"" if arguments else loop)
                process.stdin.close()
                first = process.stdout.read(1)
                time.sleep(5) # by now all on the way is full
                out = first + process.stdout.read()
                errors = process.stderr.read().decode(errors="replace")
            out = out.replace(b"\r", b"") if not arguments else out
            if process.returncode != 7 or numbers * 6 not in out:
                raise Failure(f"{arguments}: status {process.returncode}, {len(out)} bytes\n"
                              + errors[-3000:])


def status_exact():
    for status in (0, 1, 2, 77, 124, 255):
        expect(["--", "sh", "-c", f"exit {status}"], status, b"")


def status_of_signals():
    for number in (1, 6, 9, 11, 15):
        expect(["--", "sh", "-c", f"kill -{number} $$"], 128 + number, b"")


def status_not_found():
    expect(["--", "no-such-program"], 127, b"")
    expect(["--", "/etc/passwd"], 126, b"")


def status_timeout():
    begun = time.monotonic()
    expect(["--timeout", "5", "--", "sleep", "1000"], 124, b"")
    if not 4.5 < time.monotonic() - begun < watch.limit(30):
        raise Failure(f"it took {time.monotonic() - begun:.1f} s")
    expect(["--timeout", "5", "--", "sh", "-c", "while :; do :; done"], 124, b"")


def status_panic():
    status, _, errors = run("--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000")
    if status != 125 or b"panic" not in errors.lower():
        raise Failure(f"status {status}\n" + errors.decode(errors="replace"))
    expect(["--", "echo", "next"], 0, b"next\n")


def status_no_boot():
    status, _, errors = run("--loader-append", "dmap=12345", *gives_up(), "--", "true")
    if status != 125 or b"dmap" not in errors:
        raise Failure(f"status {status}\n" + errors.decode(errors="replace"))


def wrong_use():
    for arguments in (["--bogus"], ["word"], ["--"], ["--memory", "lots", "--", "true"],
                      ["--icount", "--cpus", "2", "--", "true"], ["--cpus", "0", "--", "true"],
                      ["--timeout", "-1", "--", "true"], ["--loader", "own", "--uefi"],
                      ["--kernel", "linux", "--uefi"], ["--add", "/no/such/file", "--", "true"],
                      ["--limine", "/no/such/folder", "--", "true"], ["--cpus"],
                      ["--timeout", "nan", "--", "true"], ["--timeout", "inf", "--", "true"],
                      ["--cpu", "no-such-model", "--", "true"], ["--gdb", "0", "--", "true"],
                      ["--memory", "90000T", "--", "true"], ["--add", "/dev/null", "--", "true"],
                      ["--iso", "/no/such/folder/x.iso", "--", "true"],
                      ["--iso", RUN, "--", "true"]):
        status, out, errors = run(*arguments)
        if status != 2 or out or errors.count(b"\n") != 1:
            raise Failure(f"./run {' '.join(arguments)}: status {status}, {out!r}, {errors!r}")


def packages_missing():
    """Without rights, or without a network: one line that names the packages, status 2;
    the same of ./test."""
    with tempfile.TemporaryDirectory() as folder:
        for place in ("/usr/sbin", "/usr/bin"):
            for name in os.listdir(place):
                if name not in ("qemu-system-x86_64", "sudo", "id", "apt-get"):
                    if not os.path.lexists(os.path.join(folder, name)):
                        os.symlink(os.path.join(place, name), os.path.join(folder, name))

        def script(name, text):
            path = os.path.join(folder, name)
            with open(path, "w") as handle:
                handle.write("#!/bin/sh\n" + text)
            os.chmod(path, 0o755)

        script("apt-get", "echo 'no network' >&2; exit 100\n")
        for uid in (1000, 0):
            script("id", f"echo {uid}\n")
            for door in ("run", "test"):
                done = subprocess.run([os.path.join(ROOT, door), "--list"], check=False,
                                      env=dict(os.environ, PATH=folder), timeout=watch.limit(SECONDS),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
                if done.returncode != 2 or done.stdout or done.stderr.count(b"\n") != 1 or \
                        b"qemu-system-x86" not in done.stderr:
                    raise Failure(f"./{door}, uid {uid}: status {done.returncode}, "
                                  f"{done.stdout!r}, {done.stderr!r}")


def help_shown():
    out = expect(["--help"], 0)
    for word in ("--memory", "--cpus", "--cpu", "--add", "--with", "--timeout", "--icount",
                 "--kernel", "--loader", "--uefi", "--limine", "--iso", "--append", "--gdb",
                 "--log", "--accel", "Ctrl-]"):
        if word.encode() not in out:
            raise Failure(f"--help does not mention {word}")


def added_files():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "some file")
        with open(path, "wb") as handle:
            handle.write(b"content\n")
        os.chmod(path, 0o640)
        os.makedirs(os.path.join(folder, "tree", "deep"))
        with open(os.path.join(folder, "tree", "deep", "leaf"), "w") as handle:
            handle.write("leaf\n")
        expect(["--add", path, "--add", f"{path}:/etc/elsewhere", "--add",
                os.path.join(folder, "tree"), "--", "sh", "-c",
                "cat '/some file' /etc/elsewhere /tree/deep/leaf; stat -c %a /etc/elsewhere"],
               0, b"content\ncontent\nleaf\n640\n")


def package_static():
    expect(["--with", "bash-static", "--", "bash-static", "-c",
            'a=(1 2 3); echo "${#a[@]} ${BASH_VERSINFO[0]}"; for ((i=0;i<3;i++)); do echo $i; done'],
           0, b"3 5\n0\n1\n2\n")


def log_shown():
    status, out, errors = run("--log", "--append", "some.word=1", "--", "cat", "/proc/cmdline")
    if status or b"some.word=1" not in out or b"Quire" not in errors:
        raise Failure(f"status {status}, {out!r}\n" + errors.decode(errors="replace"))


def log_late():
    """The log is whole, even if nobody gets round to reading it for a while."""
    loop = "i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo line $i of the log >/dev/kmsg; done"
    with subprocess.Popen([RUN, "--log", *gives_up(), "--", "sh", "-c", loop],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        log = b""
        while b"line 1 " not in log and process.poll() is None:
            log += os.read(process.stderr.fileno(), 65536)
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        log += process.stderr.read()
    lost = [i for i in range(1, 1501) if b"line %d of the log\n" % i not in log]
    if process.returncode or lost:
        raise Failure(f"status {process.returncode}, {len(lost)} lines lost, from {lost[:1]}\n"
                      + log.decode(errors="replace")[-1000:])


def unknown_calls():
    """A call that is not there is ENOSYS, and named once in the log however often it comes."""
    _, _, errors = run("--log", "--", "sh", "-c", "for i in 1 2 3; do ionice -p $$; done")
    if errors.count(b"not implemented") != 3 or errors.count(b"(ioprio_get)") != 1:
        raise Failure(errors.decode(errors="replace"))


def fault_in_words():
    """The console says why a program has died: what it did, where, in which mapping, and
    what lies around."""
    status, _, errors = run("--log", "--", "faults", "text_write")
    words = (rb"ends with SIGSEGV", rb"write", rb"r-xp", rb"/usr/local/bin/faults",
             rb"rip [0-9a-f]{16}")
    missing = [w for w in words if not re.search(w, errors)]
    if status != 139 or missing:
        raise Failure(f"status {status}, {missing} not said\n" + errors.decode(errors="replace"))


def iso_kept():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "quire.iso")
        expect(["--iso", path, "--", "echo", "from the ISO"], 0, b"from the ISO\n")
        with open(path, "rb") as handle:
            handle.seek(0x8001)
            if handle.read(5) != b"CD001":
                raise Failure("--iso FILE is not an ISO image")


def kvm():
    """Where KVM works, the same as everywhere; where not, one line and a known status."""
    def up(*more):
        return run("--accel", "kvm", *more, "--timeout", "10", "--", "echo", "up")

    if os.access("/dev/kvm", os.R_OK | os.W_OK) and up("--kernel", "linux")[0] == 124:
        raise Skip("KVM does not work here: Linux does not come up on it in 10 s")
    status, out, errors = up()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        right = (status, out) == (2, b"") and errors.count(b"\n") == 1 and b"/dev/kvm" in errors
    elif status == 0:
        right = out == b"up\n"
    else:
        right = (status, out) == (125, b"") and errors.count(b"\n") == 1 and b"kvm" in errors
    if not right:
        raise Failure(f"status {status}, {out!r}, {errors!r}")
    return f"status {status} {errors.decode(errors='replace').strip()[:100]}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def debugger(*options):
    """--gdb: stops before the first instruction, then at the kernel's entry."""
    port = free_port()
    kernel = os.path.join(BUILD, "kernel", "quire")
    symbols = subprocess.run(["nm", kernel], stdout=subprocess.PIPE, check=True, text=True).stdout
    entry = int(re.search(r"^(\w+) T kernel_entry$", symbols, re.M)[1], 16)
    with subprocess.Popen([RUN, "--gdb", str(port), *options, *gives_up(), "--", "echo",
                           "after all"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        try:
            with Debugger(port) as gdb:
                if gdb.register(16) != 0xfff0: # the processor's first, in its segment
                    raise Failure(f"it waits at {gdb.register(16):#x}")
                gdb.command(f"Z1,{entry:x},1", "OK")
                gdb.resume()
                if gdb.register(16) != entry:
                    raise Failure(f"stopped at {gdb.register(16):#x}, not at {entry:#x}")
                gdb.command(f"z1,{entry:x},1", "OK")
                gdb.command("D", "OK")
            out, errors = process.communicate(timeout=watch.limit(SECONDS))
        finally:
            process.terminate()
    if (process.returncode, out) != (0, b"after all\n"):
        raise Failure(f"status {process.returncode}, {out!r}\n{errors.decode(errors='replace')}")


def gdb_stops_at_entry():
    debugger()


def gdb_knows_symbols():
    """The real one, where it is installed: by name, file and line, with a backtrace."""
    if not shutil.which("gdb"):
        raise Skip("gdb is not installed")
    port = free_port()
    with subprocess.Popen([RUN, "--gdb", str(port), *gives_up(), "--", "uname"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:
        try:
            Debugger(port).close() # it is there
            commands = [f"target remote 127.0.0.1:{port}", "hbreak sys_uname", "continue",
                        "backtrace", "delete", "detach"]
            arguments = [a for c in commands for a in ("-ex", c)]
            said = subprocess.run(["gdb", "-nx", "-batch", *arguments,
                                   os.path.join(BUILD, "kernel", "quire")], check=False, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=watch.limit(SECONDS)).stdout
            process.communicate(timeout=watch.limit(SECONDS))
        finally:
            process.terminate()
    if not re.search(r"hit .*sys_uname .*info\.c:\d+", said) or "syscall_entry" not in said:
        raise Failure("gdb does not find its way:\n" + said)


def shell_from_pipe():
    out = expect([], 3, stdin=b"echo a$((1+1))c\nexit 3\n")
    if b"a2c" not in out:
        raise Failure(repr(out))


def under_linux():
    script = "echo out; echo err >&2; cat; exit 3"
    expect(["--kernel", "linux", "--", "sh", "-c", script], 3, b"out\nin", b"err\n", stdin=b"in")
    expect(["--kernel", "linux", "--", "sh", "-c", "kill -9 $$"], 137, b"")


def one_kernel_file():
    """The ISO carries the very file that -kernel boots."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "quire.iso")
        expect(["--iso", path, "--", "true"], 0)
        subprocess.run(["xorriso", "-osirrox", "on", "-indev", path, "-extract", "/boot/quire",
                        os.path.join(folder, "kernel")], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(os.path.join(folder, "kernel"), "rb") as ours, \
                open(os.path.join(BUILD, "kernel", "quire"), "rb") as theirs:
            if ours.read() != theirs.read():
                raise Failure("the kernel in the ISO is another one")


DOOR = {f.__name__: f for f in (
    arguments_exact, arguments_long, arguments_not_text, streams_apart, bytes_exact, input_large,
    input_ends, input_unread, output_large, status_exact, status_of_signals, status_not_found,
    status_timeout, status_panic, status_no_boot, wrong_use, packages_missing, help_shown,
    added_files, unknown_calls, fault_in_words, output_unread, output_late, kvm, gdb_stops_at_entry,
    gdb_knows_symbols, package_static, log_shown, log_late,
    iso_kept, shell_from_pipe, under_linux, one_kernel_file)}


# ---- numbers, and what must be the same before and after ---------------------------------

def prompt_time(*options):
    """Microseconds of guest time from the kernel's entry to the first prompt."""
    with tempfile.NamedTemporaryFile("w", suffix=".profile") as profile:
        profile.write("now\nexit 0\n")
        profile.flush()
        out = expect(["--icount", *options, "--add", f"{profile.name}:/etc/profile"], 0,
                     stdin=b"")
    found = re.search(rb"(\d+) us", out)
    if not found:
        raise Failure(f"no time was printed: {out!r}")
    return int(found[1])


def boot_time():
    """At most 1.0 s from entry to prompt, and the same within a tenth however much
    memory there is: without 1 GiB pages too (--icount means qemu64)."""
    small, large = prompt_time(), prompt_time("--memory", "1T")
    text = f"1G: {small} us, 1T: {large} us from entry to prompt, under --icount"
    if small > 1000000 or large > 1000000:
        raise Failure(f"more than 1.0 s. {text}")
    if large > small * 1.1:
        raise Failure(f"more than a tenth more. {text}")
    return text


def terabyte_free():
    """Nearly all of it is there for programs: 99.7 % of what the machine has."""
    out = expect(["--memory", "1T", "--", "grep", "MemFree", "/proc/meminfo"], 0).decode()
    free = int(out.split()[1])
    if free < 0.997 * (1 << 30):
        raise Failure(out)
    return f"{free} KiB free"


def cost():
    """No row of bench/vm.c has grown above its figure, if the tools are those of the figures."""
    complaints, text = bench_vm.judge(bench_vm.figures(), bench_vm.measured("quire"),
                                      bench_vm.tools())
    if complaints:
        raise Failure("\n".join([complaints[0], *complaints[1:], text]))
    return text


def cost_linux():
    """The figures of Linux are what Linux does."""
    kept, rows = bench_vm.figures(), ("getpid", "touch", "mmap_munmap", "pipe")
    found = bench_vm.measured("linux", rows)
    off = {name: found[name] / kept["rows"][name]["linux"] for name in rows}
    if kept["tools"] == bench_vm.tools() and \
            kept["kernel"] == os.path.basename(packages.linux()) and \
            any(abs(o - 1) > 0.03 for o in off.values()):
        raise Failure(f"not what is kept: {off}")
    return f"of the figures kept: {off}"


WORK = ["memory", "faults", "stress fault", "wild", "processes", "signals", "threads",
        "cd /tmp; files; rm -rf /tmp/* /tmp/.[a-z]*"]


def exact(cpus, *arguments):
    """user/exact.c: free memory is the same, to the page, after programs have come and gone."""
    return expect(["--cpus", str(cpus), *gives_up(), "--", "exact", *arguments],
                  0).decode()


def chaos():
    """user/chaos.c: everything at once, for a while, on four CPUs."""
    seed = os.environ.get("SEED") or str(int(time.time()))
    expect(["--cpus", "4", *gives_up(), "--", "chaos", "20", seed], 0)
    return f"SEED={seed}"


def values_checked(**options):
    """Programs on the kernel that asks again, in front of each instruction that faults on
    values of programs, whether they are right."""
    make("kernel-tests")
    s = Settings()
    s.cpus, s.cpu = options["cpus"], options.get("cpu")
    s.boot = boot.own(os.path.join(BUILD, "kernel-tests", "quire"), files()[0],
                      "quire.run=channel", "")
    with Machine(s) as machine:
        if machine.greet(time.monotonic() + 60):
            raise Failure("no boot")
        result = machine.run(["/bin/sh", "-c", "cpuvalues && sigframes && fpu && signals"], seconds=100)
        machine.power_off()
        if result.how != "exit" or result.code or machine.panicked():
            raise Failure(f"{result.how} {result.code}\n"
                          + (result.stdout[-1000:] + machine.log_tail).decode(errors="replace"))


def fast_timers():
    """Timers of a nanosecond, where every instruction is counted: the machine goes on."""
    out = expect(["--icount", *gives_up(), "--", "signals"], 0).decode()
    if "ok timers_of_a_nanosecond" not in out:
        raise Failure(out)


NUMBERS = {
    "exact_1_cpu": lambda: exact(1), "exact_4_cpus": lambda: exact(4), "chaos": chaos,
    "fast_timers": fast_timers,
    "values_checked_1_cpu": lambda: values_checked(cpus=1),
    "values_checked_4_cpus": lambda: values_checked(cpus=4),
    "values_checked_qemu64": lambda: values_checked(cpus=2, cpu="qemu64"),
    "boot_time": boot_time, "terabyte_free": terabyte_free,
    "cost": cost, "cost_linux": cost_linux,
    "exact_work_1_cpu": lambda: exact(1, "2", *WORK),
    "exact_work_4_cpus": lambda: exact(4, "2", *WORK),
}

GROUPS = {"boot": BOOTS, "run": DOOR, "number": NUMBERS}


def one(name, report):
    group, _, short = name.partition("/")
    begun = time.monotonic()
    try:
        detail = GROUPS[group][short]()
        report.ok(name, time.monotonic() - begun, detail or "")
    except Skip as skip:
        report.skip(name, str(skip))
    except Failure as failure:
        first, _, rest = str(failure).partition("\n")
        report.fail(name, first, rest)


def jobs():
    for group, tests in GROUPS.items():
        for name in tests:
            yield [f"{group}/{name}"], lambda chosen, report: one(chosen[0], report), False
