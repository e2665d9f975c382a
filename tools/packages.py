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


def _download(wanted, into):
    """Download archives in one go; {package: archive}."""
    for _ in range(2):
        # apt drops its rights for the download, if it can write there.
        os.chmod(into, 0o777)
        result = subprocess.run(["apt-get", "download", "-q", *wanted], cwd=into,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, check=False)
        files = {f.split("_")[0]: os.path.join(into, f)
                 for f in os.listdir(into) if f.endswith(".deb")}
        if result.returncode == 0 and all(package in files for package in wanted):
            return files
        if not _update():
            break
    raise Problem(f"cannot download these Debian packages: {' '.join(wanted)}")


def unpacked(*wanted):
    """The folders that hold the contents of packages."""
    places = [os.path.join(CACHE, package) for package in wanted]
    if all(os.path.isdir(place) for place in places):
        return places
    os.makedirs(CACHE, exist_ok=True)
    with locked("packages"):
        missing = [p for p in wanted if not os.path.isdir(os.path.join(CACHE, p))]
        if missing:
            note(f"fetching {' '.join(missing)}")
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                for package, archive in _download(missing, work).items():
                    content = os.path.join(work, "content")
                    subprocess.run(["dpkg-deb", "-x", archive, content], check=True)
                    os.chmod(content, 0o755)
                    os.rename(content, os.path.join(CACHE, package))
    return places


def _dependencies(package):
    """What a package and all below it depend on: {package: [package]}. Of
    alternatives the first is taken, of a virtual package the first provider."""
    for _ in range(2):
        result = _apt("apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests",
                      "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", package)
        if result.returncode == 0 and result.stdout:
            break
        if not _update():
            raise Problem(f"there is no Debian package {package}")
    graph, found, alternative, virtual = {}, [], False, False
    for line in result.stdout.splitlines():
        word = line.strip()
        if not line.startswith(" "):
            found = graph.setdefault(word.strip("<>"), [])
            alternative = virtual = False
        elif ":" not in word:
            if virtual:
                found.append(word)
            virtual = False
        else:
            kind, _, name = word.partition(": ")
            skip, alternative = alternative, kind.startswith("|")
            virtual = name.startswith("<") and not skip
            if not skip and not virtual:
                found.append(name)
    return graph


def with_dependencies(package):
    """Folders of a package and of all that it depends on."""
    listing = os.path.join(CACHE, f"{package}.closure")
    if not os.path.exists(listing):
        graph, names, queue = _dependencies(package), [], [package]
        while queue:
            name = queue.pop(0)
            if name not in names and ":" not in name:
                names.append(name)
                queue += graph.get(name, [])
        unpacked(*names)
        with open(listing, "w") as handle:
            handle.write("\n".join(names))
    with open(listing) as handle:
        return unpacked(*handle.read().split())


def busybox():
    """The static busybox of Debian."""
    place = unpacked("busybox-static")[0]
    for path in ("bin/busybox", "usr/bin/busybox"):
        if os.path.exists(os.path.join(place, path)):
            return os.path.join(place, path)
    raise Problem("the package busybox-static holds no busybox")


def linux():
    """Debian's own kernel image, whichever linux-image-amd64 means now."""
    listing = os.path.join(CACHE, "linux-image-amd64.name")
    if not os.path.exists(listing):
        names = [n for n in _dependencies("linux-image-amd64")["linux-image-amd64"]
                 if n.startswith("linux-image-")]
        if not names:
            raise Problem("linux-image-amd64 names no kernel")
        unpacked(names[0])
        # Only the kernel itself is of use; its modules are large.
        shutil.rmtree(os.path.join(CACHE, names[0], "lib"), ignore_errors=True)
        with open(listing, "w") as handle:
            handle.write(names[0])
    with open(listing) as handle:
        boot = os.path.join(unpacked(handle.read().strip())[0], "boot")
    return next(os.path.join(boot, f) for f in sorted(os.listdir(boot)) if f.startswith("vmlinuz"))
