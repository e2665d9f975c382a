# SPDX-License-Identifier: MIT
"""The guest's files: a cpio archive in the "newc" form, written by hand.

busybox with links for its applets in /bin, our own programs in
/usr/local/bin, /init, a few files in /etc, and what --add and --with bring.
/sbin, /usr/bin and /usr/sbin are links to /bin; files that a package has there
go where the links lead, because not everybody who unpacks follows them.
"""

import os
import stat
import subprocess

from common import BUILD, Problem, write_atomically

LINKS = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin"}
MERGED = {"sbin": "bin", "usr/bin": "bin", "usr/sbin": "bin"}

ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hostname": "quire\n",
    "etc/hosts": "127.0.0.1 localhost quire\n",
    "etc/shells": "/bin/sh\n",
    "etc/profile": "export PS1='quire:\\w# '\nalias ll='ls -l'\n",
}


class Archive:
    """Entries by guest path; written out sorted, parents first."""

    def __init__(self):
        self.entries = {}

    @staticmethod
    def _place(path):
        path = os.path.normpath("/" + path).lstrip("/")
        for old, new in MERGED.items():
            if path.startswith(old + "/"):
                return new + path[len(old):]
        return path

    def _put(self, path, mode, content=b"", device=(0, 0)):
        path = self._place(path)
        if path in LINKS and not stat.S_ISLNK(mode):
            return
        parent = os.path.dirname(path)
        while parent and parent not in self.entries:
            self.entries[parent] = (stat.S_IFDIR | 0o755, b"", (0, 0))
            parent = os.path.dirname(parent)
        if path:
            self.entries[path] = (mode, content, device)

    def directory(self, path, mode=0o755):
        self._put(path, stat.S_IFDIR | mode)

    def file(self, path, content, mode=0o644):
        self._put(path, stat.S_IFREG | mode, content)

    def link(self, path, target):
        self._put(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path, major, minor, mode=0o600):
        self._put(path, stat.S_IFCHR | mode, b"", (major, minor))

    def copy(self, source, path):
        """A file, link or folder of the host, with all that is in it."""
        info = os.lstat(source)
        if stat.S_ISLNK(info.st_mode):
            self.link(path, os.readlink(source))
        elif stat.S_ISDIR(info.st_mode):
            self.directory(path, stat.S_IMODE(info.st_mode))
            for name in sorted(os.listdir(source)):
                self.copy(os.path.join(source, name), os.path.join(path, name))
        elif stat.S_ISREG(info.st_mode):
            with open(source, "rb") as handle:
                self.file(path, handle.read(), stat.S_IMODE(info.st_mode))

    def bytes(self):
        parts = []
        listed = sorted(self.entries.items())
        for number, (path, (mode, content, device)) in enumerate(listed, 1):
            parts.append(_entry(number, path, mode, content, device))
        parts.append(_entry(0, "TRAILER!!!", 0, b"", (0, 0)))
        return b"".join(parts)


def _entry(number, path, mode, content, device):
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def base(busybox):
    """The files that every run has."""
    archive = Archive()
    for path in ("proc", "sys", "dev", "root", "mnt", "run", "var", "usr/local/bin"):
        archive.directory(path)
    archive.directory("tmp", 0o1777)
    archive.directory("var/tmp", 0o1777)
    for path, target in LINKS.items():
        archive.link(path, target)
    for path, content in ETC.items():
        archive.file(path, content.encode())
    archive.device("dev/console", 5, 1)
    archive.copy(busybox, "bin/busybox")
    applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, check=True, text=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            archive.link(f"bin/{applet}", "busybox")
    programs = os.path.join(BUILD, "user")
    for name in sorted(os.listdir(programs)):
        path = os.path.join(programs, name)
        if name == "init":
            archive.copy(path, "init")
        elif "." not in name and os.access(path, os.X_OK) and os.path.isfile(path):
            archive.copy(path, f"usr/local/bin/{name}")
    return archive


def write(path, busybox, added=(), packages=()):
    """Write the archive; `added` holds (host file, guest path) pairs."""
    archive = base(busybox)
    for folder in packages:
        for name in sorted(os.listdir(folder)):
            archive.copy(os.path.join(folder, name), name)
    for source, target in added:
        if not os.path.exists(source):
            raise Problem(f"--add: there is no file {source}")
        archive.copy(os.path.realpath(source), target)
    write_atomically(path, archive.bytes())
    return path
