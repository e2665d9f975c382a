# SPDX-License-Identifier: MIT
#
# need PACKAGE:PROBE...   install the Debian packages whose probe is missing.
#
# A probe is a command's name or an absolute path. Nothing is asked of the
# network, and apt is not started, when all probes are there. Without rights or
# network: one line that names the packages, and status 2.

need()
{
	local entry package probe missing=() sudo=() log
	for entry in "$@"; do
		package=${entry%%:*} probe=${entry#*:}
		case $probe in
		/*) [ -e "$probe" ] ;;
		*) command -v -- "$probe" >/dev/null 2>&1 ;;
		esac || missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null 2>&1 ||
			! { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo true; }; }; then
			echo "${0##*/}: please install these packages: ${missing[*]}" >&2
			exit 2
		fi
		sudo=(sudo)
	fi
	log=$(mktemp)
	# Without a network the update only warns, unless told; nothing is said before it is
	# known that there is one.
	if ! "${sudo[@]}" apt-get -o APT::Update::Error-Mode=any update >"$log" 2>&1 ||
		! echo "${0##*/}: installing ${missing[*]}" >&2 ||
		! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
			--no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
		rm -f "$log"
		echo "${0##*/}: please install these packages (apt-get could not): ${missing[*]}" >&2
		exit 2
	fi
	rm -f "$log"
}

# What every run needs, and what is needed on top of it for an ISO.
NEED_RUN=(python3:python3 gcc:gcc make:make binutils:ld libc6-dev:/usr/include/stdio.h
	qemu-system-x86:qemu-system-x86_64 seabios:/usr/share/seabios/bios-256k.bin)
NEED_ISO=(grub-common:grub-mkrescue grub-pc-bin:/usr/lib/grub/i386-pc/multiboot2.mod
	grub-efi-amd64-bin:/usr/lib/grub/x86_64-efi/multiboot2.mod xorriso:xorriso mtools:mcopy)
NEED_UEFI=(ovmf:/usr/share/OVMF/OVMF_CODE_4M.fd)
NEED_TEST=(cmake:cmake meson:meson lld:ld.lld llvm:llvm-ar g++:g++ clang:clang clang-format:clang-format clang-tidy:clang-tidy git:git spin:spin
	libclang-rt-14-dev:/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a)
