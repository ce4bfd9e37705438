"""A fork of this process that does one task and says what came of it: fork(2), pipe(2).

Nothing is executed. What the task returns is said when all of it is there.
"""

from __future__ import annotations

import os
from fcntl import F_SETPIPE_SZ, fcntl

from hostinspect.kernel import waiting

TYPE_CHECKING = False
if TYPE_CHECKING:  # as `hostinspect.kernel.limit` has it
    from collections.abc import Callable, Iterable
    from typing import NoReturn


_AT_ONCE = 1 << 20  # bytes; /proc/sys/fs/pipe-max-size lets everybody have so much


def pipe() -> tuple[int, int]:
    """Both ends of a pipe that holds much, so that who writes seldom waits for who reads. Raises OSError."""
    ends = os.pipe()
    try:
        fcntl(ends[1], F_SETPIPE_SZ, _AT_ONCE)
    except OSError:
        return ends  # there are many such already: it holds 64 KiB
    return ends


def answer(task: Callable[[], bytes], said: int) -> NoReturn:
    """In the fork: do the task, write its result to `said`, and end; with exit status 1 where it raised something."""
    code = 1
    try:
        result = task()
        waiting.rest()
        write_all(said, result)
        code = 0
    finally:
        os._exit(code)  # neither our parent's buffers are flushed here, nor is anything said


def close(fds: Iterable[int]) -> None:
    """Close them all."""
    for fd in fds:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """What is written to a pipe until its end."""
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def write_all(fd: int, content: bytes) -> None:
    """Write all of it. Raises OSError: BrokenPipeError where nobody reads any more."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
