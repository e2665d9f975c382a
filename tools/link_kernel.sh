#!/bin/sh
# SPDX-License-Identifier: MIT
# link_kernel.sh LD -o IMAGE OBJECTS...: the kernel as a static PIE (kernel/kernel.lds) in which
# nothing but relative relocations is left, so that a loader only adds one number.
set -e
ld=$1 image=$3
shift
"$ld" -nostdlib -static -pie --no-dynamic-linker --hash-style=sysv -z norelro -z notext \
	-z max-page-size=4096 -z noexecstack --build-id=none -T kernel/kernel.lds "$@"
# GNU ld calls a PIE that is not linked at 0 ET_EXEC, and nobody would move it: make it ET_DYN.
printf '\003' | dd of="$image" bs=1 seek=16 conv=notrunc status=none
if readelf -rW "$image" | grep R_X86_64_ | grep -v R_X86_64_RELATIVE; then
	echo "$image: relocations that are not relative" >&2
	rm -f "$image"
	exit 1
fi
