# SPDX-License-Identifier: MIT
"""What a machine boots: which kernel, through which loader.

Each function returns arguments for QEMU. Quire comes up by our own loader
(QEMU's -kernel), by GRUB and our loader from an ISO (BIOS and UEFI), or by
Limine from an ISO (BIOS and UEFI); Linux by QEMU's -kernel.
"""

import os
import shutil
import subprocess

from common import BUILD, Problem, locked

KERNEL = os.path.join(BUILD, "kernel", "quire")
LOADER = os.path.join(BUILD, "loader", "quire-loader")

# Files of a Limine release: the ones that its ISO needs, and its installer.
LIMINE_FILES = ("limine-bios.sys", "limine-bios-cd.bin", "limine-uefi-cd.bin", "BOOTX64.EFI")


def keep(path, folder):
    """A copy of a built file, so that the next build cannot pull it away from
    under a machine that is just loading it."""
    os.makedirs(folder, exist_ok=True)
    with locked("make"):
        return shutil.copy(path, os.path.join(folder, os.path.basename(path)))


def _comma(text):
    """QEMU separates with commas; a doubled one is a comma."""
    return text.replace(",", ",,")


def own(kernel, initramfs, line, loader_line):
    """QEMU's -kernel and our loader: a Multiboot image and its modules."""
    if any(" " in path for path in (kernel, initramfs)):
        raise Problem("the path of this folder has a space in it: QEMU cannot name modules there")
    modules = f"{_comma(kernel)} {_comma(line)},{_comma(initramfs)}"
    return ["-kernel", LOADER, "-append", loader_line, "-initrd", modules]


def linux(kernel, initramfs, line):
    return ["-kernel", kernel, "-initrd", initramfs, "-append", f"console=ttyS1 panic=-1 {line}"]


def cdrom(iso):
    return ["-drive", f"file={_comma(iso)},media=cdrom,format=raw,readonly=on", "-boot", "d"]


def _tool(command, what):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        text = result.stdout.decode(errors="replace").strip().splitlines()
        raise Problem(f"{what} failed: {text[-1] if text else command[0]}", 125)


def _quote(text):
    """A word for GRUB's configuration."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _line_words(line):
    return " ".join(_quote(word) for word in line.split())


def grub_iso(path, kernel, initramfs, line, loader_line, work):
    """An ISO for BIOS and UEFI: GRUB, our loader, the kernel, its module."""
    tree = os.path.join(work, "grub-iso")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    shutil.copyfile(LOADER, os.path.join(tree, "boot", "quire-loader"))
    shutil.copyfile(kernel, os.path.join(tree, "boot", "quire"))
    shutil.copyfile(initramfs, os.path.join(tree, "boot", "initramfs"))
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w") as handle:
        handle.write(
            "set timeout=0\n"
            "insmod all_video\n"
            "menuentry Quire {\n"
            f"  multiboot2 /boot/quire-loader {_line_words(loader_line)}\n"
            f"  module2 /boot/quire /boot/quire {_line_words(line)}\n"
            "  module2 /boot/initramfs /boot/initramfs\n"
            "}\n")
    _tool(["grub-mkrescue", "-o", path, tree, "--", "-volid", "QUIRE"], "grub-mkrescue")
    shutil.rmtree(tree)
    return path


def limine_iso(path, limine, kernel, initramfs, line, work):
    """An ISO for BIOS and UEFI with Limine itself, from a folder of its files."""
    missing = [f for f in LIMINE_FILES if not os.path.exists(os.path.join(limine, f))]
    if missing:
        raise Problem(f"{limine} is not a folder of Limine's files: {', '.join(missing)} missing")
    tree = os.path.join(work, "limine-iso")
    os.makedirs(os.path.join(tree, "EFI", "BOOT"))
    os.makedirs(os.path.join(tree, "boot", "limine"))
    for name in LIMINE_FILES:
        into = ("EFI", "BOOT") if name.endswith(".EFI") else ("boot", "limine")
        shutil.copyfile(os.path.join(limine, name), os.path.join(tree, *into, name))
    shutil.copyfile(kernel, os.path.join(tree, "boot", "quire"))
    shutil.copyfile(initramfs, os.path.join(tree, "boot", "initramfs"))
    with open(os.path.join(tree, "boot", "limine", "limine.conf"), "w") as handle:
        handle.write(
            "timeout: 0\n"
            "quiet: yes\n"
            "\n"
            "/Quire\n"
            "    protocol: limine\n"
            "    path: boot():/boot/quire\n"
            "    kernel_path: boot():/boot/quire\n"  # its name before release 9
            f"    cmdline: {line}\n"
            f"    kernel_cmdline: {line}\n"
            # It moves kernel and direct map, if the kernel can be moved, unless told not to.
            f"    kaslr: {'no' if 'nokaslr' in line.split() else 'yes'}\n"
            "    module_path: boot():/boot/initramfs\n")
    _tool(["xorriso", "-as", "mkisofs", "-R", "-J", "-V", "QUIRE",
           "-b", "boot/limine/limine-bios-cd.bin", "-no-emul-boot", "-boot-load-size", "4",
           "-boot-info-table", "--efi-boot", "boot/limine/limine-uefi-cd.bin",
           "-efi-boot-part", "--efi-boot-image", "--protective-msdos-label",
           tree, "-o", path], "xorriso")
    shutil.rmtree(tree)
    return path


def may_write_iso(path):
    """Only a new file, or an ISO that we made, is written over."""
    if not os.path.exists(path):
        return True
    with open(path, "rb") as handle:
        handle.seek(0x8000)
        head = handle.read(72)
    return head[1:6] == b"CD001" and head[40:72].strip() == b"QUIRE"
