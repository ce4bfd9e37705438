"""A task that another process does meanwhile: what two processors can read at once need not wait in line.

The other is our own fork: nothing is executed, and it ends with its task. Threads gain nothing here, since most of the
time goes into taking apart what the kernel said, which one thread of Python does at a time (docs/performance.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Generic, TypeVar

import msgspec

from hostinspect.kernel import waiting
from hostinspect.kernel.fork import answer, close, read_all, write_all

_SIGKILL = 9

T = TypeVar("T")
M = TypeVar("M")


class Beside(Generic[M, T]):
    """`task` under way in a fork of this process, if `forked` and that is to be had; else done when asked for.

    The task gets a function that returns what was told to it, which waits for that. Its result is of `kind`, a msgspec
    struct. Where the other process does not bring it to an end, whatever the reason, the task is done here, so that it
    raises what it raises. A context manager: at its end there is no other process.
    """

    def __init__(
        self, task: Callable[[Callable[[], Iterable[M]]], T], kind: type[T], message: type[M], *, forked: bool
    ) -> None:
        self._task, self._kind, self._message = task, kind, message
        self._told: bytes = b""
        self._pid = self._to = self._from = 0
        if forked:
            with suppress(OSError):  # no more processes or descriptors: not needed
                self._fork()

    def _fork(self) -> None:
        theirs: list[int] = []
        try:
            heard, self._to = os.pipe()
            theirs.append(heard)
            self._from, said = os.pipe()
            theirs.append(said)
            self._pid = os.fork()
        except BaseException:
            close(theirs)
            raise
        if self._pid:
            close(theirs)
            return
        answer(lambda: self._theirs(heard), said)

    def _theirs(self, heard: int) -> T:
        """The task, in the fork."""
        close((self._to, self._from))
        waiting.on_a_page_of_its_own()

        def hear() -> list[M]:
            waiting.rest()
            return self._decoded(read_all(heard))

        return self._task(hear)

    def tell(self, messages: Iterable[M]) -> None:
        """Say, once, what the task waits for."""
        self._told = msgspec.msgpack.encode([*messages])
        if self._pid:
            waiting.rest()
            with suppress(BrokenPipeError):
                write_all(self._to, self._told)
            os.close(self._to)
            self._to = 0

    def result(self) -> T:
        """What the task returned. Raises what it raised."""
        if self._pid:
            waiting.rest()
            encoded = read_all(self._from)
            if self._reap() == 0:
                return msgspec.msgpack.decode(encoded, type=self._kind)
        return self._task(lambda: self._decoded(self._told))

    def _decoded(self, told: bytes) -> list[M]:
        return msgspec.msgpack.decode(told, type=list[self._message]) if told else []  # type: ignore[name-defined]

    def _reap(self) -> int:
        pid, self._pid = self._pid, 0
        return os.waitpid(pid, 0)[1]

    def __enter__(self) -> Beside[M, T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid:
            os.kill(self._pid, _SIGKILL)
            self._reap()
        close(fd for fd in (self._to, self._from) if fd)
        self._to = self._from = 0
