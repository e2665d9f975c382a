# SPDX-License-Identifier: MIT
"""A debugger that speaks the few packets of gdb's remote protocol that tests need."""

import re
import socket
import time

import watch


class Debugger:
    """Connects as soon as somebody listens; what goes wrong is an AssertionError."""

    def __init__(self, port, seconds=120):
        self.seconds = watch.limit(seconds)
        deadline = time.monotonic() + self.seconds
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), self.seconds)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise AssertionError("nobody listens at the debugger's port") from None
                time.sleep(0.1)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def _reply(self):
        while True:
            found = re.search(rb"\$([^#]*)#..", self.received)
            if found:
                self.received = self.received[found.end():]
                self.socket.sendall(b"+")
                return found[1].decode()
            data = self.socket.recv(4096)
            if not data:
                raise AssertionError("the debugger's connection ended")
            self.received += data

    def command(self, text, expected=None):
        self.socket.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())
        reply = self._reply()
        if expected is not None and reply != expected:
            raise AssertionError(f"debugger: {text}: {reply}")
        return reply

    def resume(self):
        reply = self.command("c")
        if not reply.startswith("T05"):
            raise AssertionError(f"it went on and stopped with {reply}")

    def register(self, number):
        # All of them, for a stub may not know single ones: 8 bytes each up to RIP.
        data = bytes.fromhex(self.command("g")[:17 * 16])
        return int.from_bytes(data[number * 8:number * 8 + 8], "little")
