"""What is read while this process still loads what it is needed for: by a fork made before anything was.

On a second processor that costs nothing: to load a report's modules takes as long as to read some hundred processes.
"""

from __future__ import annotations

import os
from marshal import dumps, loads

from hostinspect.kernel import waiting
from hostinspect.kernel.fork import close, read_all, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_SIGKILL = 9


def has_processor_to_spare() -> bool:
    """Whether this process may run on two processors at least."""
    return len(os.sched_getaffinity(0)) > 1


class Ahead:
    """`task` under way in a fork of this process until `end`; its result is of what marshal takes. Raises OSError."""

    def __init__(self, task: Callable[[], Any]) -> None:
        self._from, said = os.pipe()
        try:
            self._pid = os.fork()
        except BaseException:
            close((self._from, said))
            raise
        if not self._pid:
            self._do(task, said)
        os.close(said)

    def _do(self, task: Callable[[], Any], said: int) -> NoReturn:
        """The task, in the fork."""
        code = 1
        try:
            os.close(self._from)
            waiting.on_a_page_of_its_own()
            result = dumps(task())
            waiting.rest()
            write_all(said, result)
            code = 0
        finally:
            os._exit(code)  # neither our parent's buffers are flushed here, nor is anything said

    def result(self) -> Any | None:
        """What the task returned, once; None where it came to no end."""
        if not self._pid:
            return None
        waiting.rest()
        said = read_all(self._from)
        return None if self._reap() else loads(said)

    def _reap(self) -> int:
        pid, self._pid = self._pid, 0
        os.close(self._from)
        return os.waitpid(pid, 0)[1]

    def end(self) -> None:
        """End it, if it is not over yet."""
        if self._pid:
            os.kill(self._pid, _SIGKILL)
            self._reap()
