#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draw docs/quire.svg: a real session of ./run, typed through a terminal.

    tools/picture.py [--output FILE]
"""
import argparse
import html
import os
import pty
import re
import select
import signal
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = [
    "uname -a",
    "free -m | head -2",
    "hello",
    "head -c 20000000 /dev/urandom | od -x | sort | md5sum > /tmp/sum &",
    "ps",
    "grep -c . /tmp/sum; fg",
    "cat /proc/quire | head -8",
]


def session(timeout=240):
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ["TERM"] = "vt100"
        os.execv("./run", ["./run", "--cpus", "4"])
    text = b""
    end = time.monotonic() + timeout

    def read_until_prompt():
        nonlocal text
        mark = len(text)
        while time.monotonic() < end:
            if select.select([fd], [], [], 0.5)[0]:
                try:
                    chunk = os.read(fd, 65536)
                except OSError:
                    return False
                # Busybox asks the terminal where its cursor is; say: at the start.
                text += chunk
            elif re.search(rb"# (\x1b\[6n)?$", text[mark:]):
                return True
        return False

    try:
        if not read_until_prompt():
            sys.exit("picture: no prompt")
        for command in COMMANDS:
            os.write(fd, command.encode() + b"\r")
            if not read_until_prompt():
                sys.exit(f"picture: no prompt after {command}")
        os.write(fd, b"exit\r")
        time.sleep(2)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode("utf-8", "replace"))
    lines = [line.split("\r")[-1] if not line.endswith("\r") else line.rstrip("\r")
             for line in plain.split("\n")]
    start = next(i for i, line in enumerate(lines) if "# " in line)
    return [line.rstrip() for line in lines[start:] if line.strip()]


def draw(lines, output):
    width, height = 100, len(lines) + 3
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * 8 + 32}" '
           f'height="{height * 17 + 20}" font-family="DejaVu Sans Mono, Menlo, monospace" '
           'font-size="13">',
           '<rect width="100%" height="100%" rx="8" fill="#16181d"/>',
           '<text x="16" y="26" fill="#7f8794">$ ./run --cpus 4</text>']
    for i, line in enumerate(lines):
        prompt = re.match(r"(\S*# )(.*)", line)
        y = 26 + 17 * (i + 1)
        if prompt:
            body = (f'<tspan fill="#6cc28c">{html.escape(prompt.group(1))}</tspan>'
                    f'<tspan fill="#ffffff">{html.escape(prompt.group(2)[:width])}</tspan>')
        else:
            body = html.escape(line[:width])
        out.append(f'<text x="16" y="{y}" fill="#c8ccd4" xml:space="preserve">{body}</text>')
    out.append("</svg>\n")
    with open(output, "w", encoding="utf-8") as f:
        f.write("\n".join(out))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default=os.path.join(ROOT, "docs/quire.svg"))
    args = parser.parse_args()
    draw(session(), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
