"""A task that a fork of this process does meanwhile: what two processors can do at once need not wait in line.

Nothing is executed, and the fork ends with its task. Threads gain nothing here, since most of the time goes into taking
apart what the kernel said, which one thread of Python does at a time (docs/performance.md).
"""

from __future__ import annotations

import os
import select
from marshal import dumps, loads
from mmap import mmap
from struct import Struct

from hostinspect.kernel import waiting
from hostinspect.kernel.fork import answer, close, pipe, read_all

TYPE_CHECKING = False
if TYPE_CHECKING:  # a fork that reads while its parent loads is made before anything is loaded
    from collections.abc import Callable
    from typing import Any

_SIGKILL = 9
_MOMENT = 1  # millisecond
_PLACE = Struct("@q")  # native, so that it is written and read at once, and not byte by byte
_BEFORE_ALL, _AT_START, _BEHIND_ALL = -2, -1, (1 << 63) - 1


def has_processor_to_spare() -> bool:
    """Whether this process may run on two processors at least."""
    return len(os.sched_getaffinity(0)) > 1


class Beside:
    """`task` under way in a fork of this process, until it is done or `close`.

    `encode` and `decode` are how its result is said; marshal needs nothing loaded, and is no way into this process that
    its fork, which may do as much, would gain by. Raises OSError where no fork is to be had.
    """

    def __init__(
        self,
        task: Callable[[], Any],
        encode: Callable[[Any], bytes] = dumps,
        decode: Callable[[bytes], Any] = loads,
    ) -> None:
        self._decode = decode
        self._from, said = pipe()
        try:
            self._pid = os.fork()
        except BaseException:
            close((self._from, said))
            raise
        if not self._pid:
            answer(lambda: encode(self._theirs(task)), said)
        os.close(said)

    def _theirs(self, task: Callable[[], Any]) -> Any:
        """The task, in the fork."""
        os.close(self._from)
        waiting.on_a_page_of_its_own()
        return task()

    def result(self) -> Any | None:
        """What the task returned, once; None where it came to no end."""
        if not self._pid:
            return None
        waiting.rest()
        said = read_all(self._from)
        return None if self._reap() else self._decode(said)

    def close(self) -> None:
        """End it, if it is not over yet: at its end there is no other process."""
        if self._pid:
            os.kill(self._pid, _SIGKILL)
            self._reap()

    def _reap(self) -> int:
        pid, self._pid = self._pid, 0
        os.close(self._from)
        return os.waitpid(pid, 0)[1]


class Line:
    """What a process and its fork do from the two ends of a line, until they meet: where each is, in shared memory.

    Places are numbers from 0. Nothing is left out between them. What both come to at the same time both do.

        >>> line = Line()
        >>> line.has_begun(), line.begin(), line.has_begun(), line.is_alone()
        (False, None, True, True)
        >>> line.from_start(0), line.from_end(3), line.from_start(1), line.from_end(2)
        (True, True, True, True)
        >>> line.from_end(1)  # at which the other is
        False
        >>> line.from_start(2), line.is_alone()  # which was passed by
        (False, False)
    """

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory = mmap(-1, 2 * _PLACE.size)
        self._put(0, _BEFORE_ALL)
        self._put(1, _BEHIND_ALL)

    def begin(self) -> None:
        """Say that who begins at the start is ready to, where the other has to `has_begun`."""
        self._put(0, _AT_START)

    def has_begun(self) -> bool:
        """Whether who begins at the start is ready to, or has."""
        return self._at(0) != _BEFORE_ALL

    def from_start(self, position: int) -> bool:
        """Whether what is at `position`, each further than the last, is still to be done by who began at the start."""
        self._put(0, position)
        return position <= self._at(1)

    def is_alone(self) -> bool:
        """Whether who begins at the end has not begun."""
        return self._at(1) == _BEHIND_ALL

    def from_end(self, position: int) -> bool:
        """The same by who began at the end."""
        self._put(1, position)
        return position > self._at(0)

    def _put(self, side: int, position: int) -> None:
        _PLACE.pack_into(self._memory, side * _PLACE.size, position)

    def _at(self, side: int) -> int:
        position: int = _PLACE.unpack_from(self._memory, side * _PLACE.size)[0]
        return position


class BesideFromStart(Beside):
    """A `task` beside us that begins at the start of a `line`, at whose end we do."""

    def __init__(
        self,
        task: Callable[[Line], Any],
        encode: Callable[[Any], bytes] = dumps,
        decode: Callable[[bytes], Any] = loads,
    ) -> None:
        self.line = Line()
        super().__init__(lambda: task(self.line), encode, decode)

    def wait_until_begun(self) -> None:
        """Until it says on the line that it has, or is over."""
        waiting.rest()
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        while not (self.line.has_begun() or poll.poll(_MOMENT)):
            pass
