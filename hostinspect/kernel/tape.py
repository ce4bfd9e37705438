"""The bytes that the parsers see, kept while somebody asks for them (`snapshot --raw`): for whoever mends a parser."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # names of containers are completed with next to nothing loaded (`hostinspect.cli.names`)
    from types import TracebackType

    from hostinspect.kernel.raw import Raw

MOST = 256 << 20  # bytes; what comes later is left out, but for its source


running: Tape | None = None  # looked at where bytes are read: the tape, while there is one


class Tape:
    """What was kept, in the order read. A context manager: meanwhile, what this process reads is kept."""

    def __init__(self) -> None:
        self.entries: list[Raw] = []
        self._left = MOST

    def keep(self, content: bytes, source: str, fd: int | None = None) -> None:
        """Keep it: as of `source`, which is beneath the directory open as `fd`, or that file itself where it is ""."""
        from hostinspect.kernel.raw import Raw

        if fd is not None:
            source = f"{os.readlink(f'/proc/thread-self/fd/{fd}')}/{source}".removesuffix("/")
        self._left -= len(content)
        self.entries.append(
            Raw(os.fsencode(source).decode("utf-8", "backslashreplace"), content if self._left >= 0 else None)
        )

    def keep_here(self, content: bytes, request: str) -> None:
        """Keep it: as the answer to a `request` that is about the network namespace this thread is in."""
        self.keep(content, f"{request} in {os.readlink('/proc/thread-self/ns/net')}")

    def __enter__(self) -> Tape:
        global running
        running = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global running
        running = None
