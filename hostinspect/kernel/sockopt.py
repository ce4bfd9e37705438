"""getsockopt(2) with a request in its buffer: the way xtables and ipset are read.

`socket.getsockopt` of the standard library cannot send one.
"""

from __future__ import annotations

import _socket as socket  # `socket` has enums and selectors on top, which take 4 ms to load
import os

from hostinspect.kernel import libc, tape, waiting

_getsockopt = libc.function("getsockopt")


def getsockopt(sock: socket.socket, level: int, option: int, request: bytes, length: int | None = None) -> bytes:
    """What the kernel answers to `request`: at most `length` bytes, by default as many as were asked with.

    Raises OSError with the kernel's errno.
    """
    size = len(request) if length is None else length
    content, filled = bytearray(request.ljust(size, b"\0")), libc.words((size,))
    waiting.on("getsockopt", f"level {level}, option {option} of getsockopt(2)")
    if _getsockopt(sock.fileno(), level, option, libc.buffer(content), filled) != 0:
        number = libc.get_errno()
        raise OSError(number, os.strerror(number))
    answer = bytes(memoryview(content)[: filled[0]])
    if tape.running:
        tape.running.keep_here(answer, f"getsockopt level {level}, option {option}")
    return answer
