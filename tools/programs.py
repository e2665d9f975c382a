# SPDX-License-Identifier: MIT
"""Real programs of this machine's kind, to be run on one malloc or another.

Each program says whether it did its work right, from what it prints or leaves behind,
and how much CPU time and memory it took at most. Programs that a Debian may lack come
as packages, unpacked under build/ and never installed.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import packages
import watch
from common import BUILD, ROOT, Problem, locked

WORK = os.path.join(BUILD, "programs")
SPENT = os.path.join(BUILD, "libkmalloc-spent")
LIBRARIES = "usr/lib/x86_64-linux-gnu"


class Failed(Exception):
    """The program did not do what it does on any sound malloc; `text` is what it printed."""

    def __init__(self, why, text=""):
        super().__init__(why)
        self.text = text


class Spent:
    """CPU and wall-clock seconds, and the largest resident size of any process, in KiB."""

    def __init__(self, cpu, wall, peak):
        self.cpu, self.wall, self.peak = cpu, wall, peak


class Hardened(str):
    """The path of libkmalloc, for its hardened profile."""


def environment(library, extra=None):
    """What a program is started with: `library` before all others."""
    if library and not os.path.exists(library):
        raise Failed(f"there is no {library}")
    result = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": WORK, "LC_ALL": "C.UTF-8",
              "TMPDIR": WORK, "LD_PRELOAD": library,
              "KMALLOC_PROFILE": "hardened" if isinstance(library, Hardened) else "fast"}
    result.update(extra or {})
    return result


def folders(*names):
    """For LD_LIBRARY_PATH: where the libraries of unpacked packages lie."""
    places = packages.unpacked(*names)
    return ":".join(os.path.join(place, under) for place in places
                    for under in (LIBRARIES, "lib/x86_64-linux-gnu")
                    if os.path.isdir(os.path.join(place, under)))


class Started:
    """A program under way, and what it will have used."""

    def __init__(self, command, env, output, cwd=WORK, stdin=None):
        self.begun, (handle, self.figures) = time.monotonic(), tempfile.mkstemp(dir=WORK)
        os.close(handle)
        self.process = subprocess.Popen([SPENT, self.figures, *command], env=env, cwd=cwd,
                                        stdin=stdin or subprocess.DEVNULL, stdout=output,
                                        stderr=subprocess.STDOUT, start_new_session=True)

    def ended(self, patience):
        """(status, Spent); a status of None: it had to be killed."""
        try:
            self.process.wait(watch.limit(patience))
        except subprocess.TimeoutExpired:
            self.kill()
            return None, None
        wall = time.monotonic() - self.begun
        with open(self.figures, encoding="ascii") as handle:
            words = handle.read().split()
        os.unlink(self.figures)
        if len(words) != 3:
            raise Failed(f"{SPENT}: status {self.process.returncode}")
        return int(words[0]), Spent(int(words[1]) / 1e6, wall, int(words[2]))

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.unlink(self.figures)


def run(command, env, patience, **more):
    """Run to the end: (status, what was printed, Spent)."""
    with tempfile.TemporaryFile(dir=WORK) as output:
        status, spent = Started(command, env, output, **more).ended(patience)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if status is None:
        raise Failed(f"no end after {patience} s: {_last(text)}")
    if "cannot be preloaded" in text:
        raise Failed("it ran on the C library's malloc: " + _last(text))
    return status, text, spent


def _last(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "(nothing printed)"


def sound(command, env, patience, **more):
    """As run, for a program that must end with status 0."""
    status, text, spent = run(command, env, patience, **more)
    if status:
        bad = [line for line in text.splitlines() if "libkmalloc:" in line]
        raise Failed(f"{os.path.basename(command[0])}: status {status}: "
                     f"{bad[0] if bad else _last(text)}", text)
    return text, spent


def add_up(parts):
    """One Spent for several that ran one after the other."""
    return Spent(sum(p.cpu for p in parts), sum(p.wall for p in parts),
                 max(p.peak for p in parts))


# ---- python3, on its own tests ----------------------------------------------------------


class Python:
    """All of its memory comes from malloc here (PYTHONMALLOC)."""

    name = "python3"
    tests = ("test_list", "test_dict", "test_json", "test_threading")
    parts = ("libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal",
             "libpython3.11-testsuite")

    def prepare(self):
        places = packages.unpacked(*self.parts)
        self.libraries = folders("libexpat1", "zlib1g")
        self.home = os.path.join(WORK, "python")
        with locked("programs"):
            if not os.path.isdir(self.home):
                # The packages share folders: one tree of them all.
                work = tempfile.mkdtemp(dir=WORK)
                for place in places:
                    shutil.copytree(os.path.join(place, "usr"), os.path.join(work, "usr"),
                                    symlinks=True, dirs_exist_ok=True)
                os.rename(work, self.home)

    def run(self, library):
        env = environment(library, {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1",
                                    "LD_LIBRARY_PATH": self.libraries})
        program = os.path.join(self.home, "usr/bin/python3.11")
        text, spent = sound([program, "-m", "test", *self.tests], env, 300)
        if f"All {len(self.tests)} tests OK" not in text:
            raise Failed(f"its tests: {_last(text)}", text)
        return spent, None


# ---- sqlite3 -------------------------------------------------------------------------------


SQL = """
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, part TEXT, n INTEGER);
WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c WHERE x < 200000)
INSERT INTO item SELECT x, 'name ' || (x * 7919 % 200003), hex(x * x), x % 1013 FROM c;
CREATE INDEX by_name ON item(name);
CREATE INDEX by_n ON item(n, part);
DELETE FROM item WHERE id % 7 = 3;
UPDATE item SET name = name || name || part WHERE n < 300;
SELECT count(*), sum(n), max(name) FROM item;
SELECT sum(length(a.part || b.name)) FROM item a JOIN item b ON a.n = b.n AND b.id < 2000;
SELECT n, group_concat(part) FROM item WHERE n < 40 GROUP BY n ORDER BY length(group_concat(part));
VACUUM;
PRAGMA integrity_check;
"""


class Sqlite:
    name = "sqlite3"

    def prepare(self):
        self.program = os.path.join(packages.unpacked("sqlite3")[0], "usr/bin/sqlite3")
        self.libraries = folders("libsqlite3-0", "libreadline8", "libtinfo6", "zlib1g")

    def run(self, library):
        env = environment(library, {"LD_LIBRARY_PATH": self.libraries})
        text, spent = sound([self.program, "-batch", ":memory:", SQL], env, 120)
        if not text.rstrip().endswith("ok"):
            raise Failed(f"integrity_check: {_last(text)}")
        return spent, hashlib.sha256(text.encode()).hexdigest()


# ---- gcc -------------------------------------------------------------------------------------


class Gcc:
    """Some of this project's files; the same object files on any malloc."""

    name = "gcc"
    files = ("mem/vm/unmap.c", "mem/heap/segment.c", "mem/pmm/range.c", "mem/vm/fork.c",
             "mem/vm/space.c", "mem/slab/place.c", "tests/model/oracle.c", "bench/pmm.c")

    def prepare(self):
        if not shutil.which("gcc"):
            raise Problem("there is no gcc")

    def run(self, library):
        spent, digest = [], hashlib.sha256()
        with tempfile.TemporaryDirectory(dir=WORK) as work:
            for i, file in enumerate(self.files):
                out = os.path.join(work, f"{i}.o")
                command = ["gcc", "-std=gnu17", "-O3", "-g3", "-c", "-DMEM_HOSTED", "-Imem/include",
                           "-Imem", "-I.", "-o", out, file]
                spent.append(sound(command, environment(library), 120, cwd=ROOT)[1])
                with open(out, "rb") as handle:
                    digest.update(handle.read())
        return add_up(spent), digest.hexdigest()


# ---- git -------------------------------------------------------------------------------------


def history(commits):
    """A repository as a stream for git fast-import: files that grow and change."""
    for n in range(1, commits + 1):
        text = "".join(f"line {i} of {n % 40}: {i * n * n % 10007}\n"
                       for i in range(50 + n % 300))
        message = f"change {n}\n"
        yield f"commit refs/heads/main\nmark :{n}\n" \
              f"committer Nobody <nobody@localhost> {1600000000 + n} +0000\n" \
              f"data {len(message)}\n{message}"
        yield (f"from :{n - 1}\n" if n > 1 else "") + \
            f"M 644 inline dir{n % 7}/file{n % 40}\ndata {len(text)}\n{text}\n"


class Git:
    name = "git"
    commits = 2000

    def prepare(self):
        if not shutil.which("git"):
            raise Problem("there is no git")

    def run(self, library):
        env = environment(library, {"GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat"})
        with tempfile.TemporaryDirectory(dir=WORK) as work:
            def git(*words, **more):
                return sound(["git", *words], env, 120, cwd=work, **more)

            git("init", "-q", "-b", "main")
            with tempfile.TemporaryFile(dir=work) as stream:
                stream.write("".join(history(self.commits)).encode())
                stream.seek(0)
                parts = [git("fast-import", "--quiet", stdin=stream)[1]]
            parts.append(git("repack", "-a", "-d", "-f", "-q", "--threads=2", "--depth=50",
                             "--window=50")[1])
            log, spent = git("log", "-p", "--stat", "-M", "-C", "main")
            parts.append(spent)
            parts.append(git("fsck", "--full", "--strict")[1])
            parts.append(git("blame", "main", "--", "dir3/file3")[1])
        return add_up(parts), hashlib.sha256(log.encode()).hexdigest()


# ---- redis ------------------------------------------------------------------------------------


class Redis:
    """The server's time and memory, under redis-benchmark over a socket in a file."""

    name = "redis"
    needs = ("libjemalloc2", "liblzf1", "libatomic1", "libsystemd0", "libssl3", "libcap2",
             "libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5", "libzstd1")

    def prepare(self):
        self.tools = os.path.join(packages.unpacked("redis-tools")[0], "usr/bin")
        self.libraries = folders(*self.needs)
        # One program of many names; this one is a link in another package.
        self.server = os.path.join(WORK, "redis-server")
        with locked("programs"):
            if not os.path.lexists(self.server):
                os.symlink(os.path.join(self.tools, "redis-check-rdb"), self.server)

    def run(self, library):
        plain = environment("", {"LD_LIBRARY_PATH": self.libraries})
        with tempfile.TemporaryDirectory(dir="/tmp") as work:  # a socket's path is short
            socket = os.path.join(work, "socket")

            def ask(*words):
                return sound([os.path.join(self.tools, "redis-cli"), "-s", socket, *words],
                             plain, 60)[0].strip()

            server = Started(
                [self.server, "--port", "0", "--unixsocket", socket, "--save", "",
                 "--appendonly", "no", "--dir", work],
                environment(library, {"LD_LIBRARY_PATH": self.libraries}), subprocess.DEVNULL,
                cwd=work)
            try:
                self._await_socket(server.process, socket)
                self._load(plain, socket)
                digest = self._check(ask)
                ask("shutdown", "nosave")
                status, spent = server.ended(30)
            except Failed as problem:
                if server.process.poll() is not None:
                    raise Failed("the server ended: status "
                                 f"{server.process.returncode}") from problem
                server.kill()
                raise
            if status:
                raise Failed(f"the server ended: status {status}")
            return spent, digest

    @staticmethod
    def _await_socket(server, socket):
        for _ in range(200):
            if os.path.exists(socket) or server.poll() is not None:
                break
            time.sleep(0.05)
        if not os.path.exists(socket):
            raise Failed("the server does not listen")

    def _load(self, env, socket):
        base = [os.path.join(self.tools, "redis-benchmark"), "-s", socket, "-q", "-P", "16"]
        for words in (["-n", "300000", "-r", "100000", "-d", "200",
                       "-t", "set,get,incr,lpush,rpush,lpop,sadd,hset,zadd,mset"],
                      ["-n", "20000", "-r", "2000", "-d", "20000", "-t", "set,get"]):
            sound([*base, *words], env, 300)

    @staticmethod
    def _check(ask):
        """Values that it was told, and a digest of many keys of one's own."""
        ask("eval", "for i = 1, 20000 do redis.call('set', 'own' .. i, string.rep(i, i % 300)) "
            "redis.call('rpush', 'list' .. (i % 50), i .. string.rep('x', i % 700)) end "
            "for i = 1, 20000, 3 do redis.call('append', 'own' .. i, 'more') end return 1", "0")
        digest = ask("eval", "local all = {} for i = 1, 20000, 7 do "
                     "all[#all + 1] = redis.sha1hex(redis.call('get', 'own' .. i)) end "
                     "for i = 0, 49 do all[#all + 1] = redis.sha1hex(table.concat("
                     "redis.call('lrange', 'list' .. i, 0, -1))) end "
                     "return redis.sha1hex(table.concat(all))", "0")
        ask("flushall")
        if ask("dbsize") != "0":
            raise Failed("flushall left something behind")
        return digest


ALL = (Python, Redis, Sqlite, Git, Gcc)


def prepared(names=None):
    """The programs chosen, ready to run: [(program, None)] or [(program, why not)]."""
    os.makedirs(WORK, exist_ok=True)
    result = []
    for kind in ALL:
        if names and kind.name not in names:
            continue
        program = kind()
        try:
            program.prepare()
            result.append((program, None))
        except Problem as problem:
            result.append((program, str(problem)))
    return result


if __name__ == "__main__":
    sys.exit("this is a part of tools/bench_programs.py")
