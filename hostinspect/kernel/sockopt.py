"""getsockopt(2) with a request in its buffer: the way xtables and ipset are read.

`socket.getsockopt` of the standard library cannot send one.
"""

from __future__ import annotations

import _socket as socket  # `socket` has enums and selectors on top, which take 4 ms to load
import ctypes
import os

from hostinspect.kernel import tape, waiting

_libc = ctypes.CDLL(None, use_errno=True)


def getsockopt(sock: socket.socket, level: int, option: int, request: bytes, length: int | None = None) -> bytes:
    """What the kernel answers to `request`: at most `length` bytes, by default as many as were asked with.

    Raises OSError with the kernel's errno.
    """
    size = len(request) if length is None else length
    buffer = ctypes.create_string_buffer(request, size)
    waiting.on("getsockopt", f"level {level}, option {option} of getsockopt(2)")
    filled = ctypes.c_uint32(size)
    if _libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(filled)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    answer = buffer.raw[: filled.value]
    if tape.running:
        tape.running.keep_here(answer, f"getsockopt level {level}, option {option}")
    return answer
