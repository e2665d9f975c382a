# SPDX-License-Identifier: MIT
"""Debian packages for the guest: downloaded, unpacked and kept under build/.

Nothing is installed on the host. What has been unpacked once is used again
without asking apt, so a second run needs no network.
"""

import os
import shutil
import subprocess
import tempfile

from common import BUILD, Problem, locked, note

CACHE = os.path.join(BUILD, "packages")


def _apt(*arguments):
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, text=True,
                          env=dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive"))


_updated = False


def _update():
    """Refresh apt's lists, once, if we may."""
    global _updated
    if _updated:
        return False
    _updated = True
    note("fetching package lists")
    command = ["apt-get", "update"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get", "update"]
    try:
        return _apt(*command).returncode == 0
    except FileNotFoundError:
        return False


def _download(package, into):
    for _ in range(2):
        # apt drops its rights for the download, if it can write there.
        os.chmod(into, 0o777)
        result = subprocess.run(["apt-get", "download", "-q", package], cwd=into,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, check=False)
        files = [f for f in os.listdir(into) if f.endswith(".deb")]
        if result.returncode == 0 and files:
            return os.path.join(into, files[0])
        if not _update():
            break
    raise Problem(f"cannot download the Debian package {package}")


def unpacked(package):
    """The folder that holds the contents of a package."""
    place = os.path.join(CACHE, package)
    if os.path.isdir(place):
        return place
    os.makedirs(CACHE, exist_ok=True)
    with locked("packages"):
        if os.path.isdir(place):
            return place
        note(f"fetching {package}")
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            archive = _download(package, work)
            content = os.path.join(work, "content")
            subprocess.run(["dpkg-deb", "-x", archive, content], check=True)
            os.chmod(content, 0o755)
            os.rename(content, place)
    return place


def _depends(package):
    """The packages that one depends on; of alternatives, the first."""
    for _ in range(2):
        result = _apt("apt-cache", "depends", "--no-recommends", "--no-suggests",
                      "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", package)
        if result.returncode == 0 and result.stdout:
            break
        if not _update():
            raise Problem(f"there is no Debian package {package}")
    found, alternative, virtual = [], False, False
    for line in result.stdout.splitlines()[1:]:
        word = line.strip()
        if virtual and ":" not in word:  # the first that provides it
            found.append(word)
            virtual = False
            continue
        kind, _, name = word.partition(": ")
        if kind.lstrip("|") not in ("Depends", "PreDepends"):
            continue
        skip, alternative = alternative, kind.startswith("|")
        virtual = name.startswith("<")
        if skip:
            virtual = False
        elif not virtual:
            found.append(name)
    return found


def with_dependencies(package):
    """Folders of a package and of all that it depends on."""
    listing = os.path.join(CACHE, f"{package}.closure")
    if not os.path.exists(listing):
        names, queue = [], [package]
        while queue:
            name = queue.pop(0)
            if name not in names:
                names.append(name)
                queue += _depends(name)
        for name in names:
            unpacked(name)
        with open(listing, "w") as handle:
            handle.write("\n".join(names))
    with open(listing) as handle:
        return [unpacked(name) for name in handle.read().split()]


def busybox():
    """The static busybox of Debian."""
    place = unpacked("busybox-static")
    for path in ("bin/busybox", "usr/bin/busybox"):
        if os.path.exists(os.path.join(place, path)):
            return os.path.join(place, path)
    raise Problem("the package busybox-static holds no busybox")


def linux():
    """Debian's own kernel image, whichever linux-image-amd64 means now."""
    listing = os.path.join(CACHE, "linux-image-amd64.name")
    if not os.path.exists(listing):
        names = [n for n in _depends("linux-image-amd64") if n.startswith("linux-image-")]
        if not names:
            raise Problem("linux-image-amd64 names no kernel")
        unpacked(names[0])
        # Only the kernel itself is of use; its modules are large.
        shutil.rmtree(os.path.join(CACHE, names[0], "lib"), ignore_errors=True)
        with open(listing, "w") as handle:
            handle.write(names[0])
    with open(listing) as handle:
        boot = os.path.join(unpacked(handle.read().strip()), "boot")
    return next(os.path.join(boot, f) for f in sorted(os.listdir(boot)) if f.startswith("vmlinuz"))
