"""The bytes that the parsers see, kept while somebody asks for them (`snapshot --raw`): for whoever mends a parser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

MOST = 256 << 20  # bytes; what comes later is left out, but for its source


class Raw(Struct, frozen=True):
    """What one read answered."""

    source: str  # a path; "request 18 of netlink protocol 0 in net:[4026531840]"; "getsockopt level 0, option 65 in …"
    content: bytes | None  # None: no more is kept


running: Tape | None = None  # looked at where bytes are read: the tape, while there is one


class Tape:
    """What was kept, in the order read."""

    def __init__(self) -> None:
        self.entries: list[Raw] = []
        self._left = MOST

    def keep(self, content: bytes, source: str, fd: int | None = None) -> None:
        """Keep it: as of `source`, which is beneath the directory open as `fd`, or that file itself where it is ""."""
        if fd is not None:
            source = f"{os.readlink(f'/proc/thread-self/fd/{fd}')}/{source}".removesuffix("/")
        self._left -= len(content)
        self.entries.append(
            Raw(os.fsencode(source).decode("utf-8", "backslashreplace"), content if self._left >= 0 else None)
        )

    def keep_here(self, content: bytes, request: str) -> None:
        """Keep it: as the answer to a `request` that is about the network namespace this thread is in."""
        self.keep(content, f"{request} in {os.readlink('/proc/thread-self/ns/net')}")


@contextmanager
def recording() -> Iterator[Tape]:
    """Keep what is read by this process from here on."""
    global running
    running = Tape()
    try:
        yield running
    finally:
        running = None
