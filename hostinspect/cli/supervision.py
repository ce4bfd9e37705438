"""A whole command as a fork that can be given up (`hostinspect.kernel.limit`), and what becomes of one that was."""

from __future__ import annotations

import os
from _signal import (
    SIG_DFL,
    SIGHUP,
    SIGTERM,
    getsignal,
    signal,
)  # `signal` makes enumerations of all there are each time

from hostinspect.kernel.limit import KilledError, Limit, NothingAnswersError, OutputError

TYPE_CHECKING = False
if TYPE_CHECKING:  # as `hostinspect.kernel.limit` has it
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

_ENDING = (SIGTERM, SIGHUP)


class _EndedError(BaseException):
    """Somebody wants us to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def supervised(command: Callable[[], NoReturn]) -> int:
    """The exit code of `command`, which ends its process. What a person has to know of its end is said here."""
    heeded = [number for number in _ENDING if getsignal(number) == SIG_DFL]  # not what nohup(1) has us ignore
    for number in heeded:
        signal(number, _end)

    def as_before() -> None:
        for number in heeded:
            signal(number, SIG_DFL)

    def alone() -> NoReturn:
        as_before()
        command()

    try:
        return Limit().supervise(alone)
    except (NothingAnswersError, KilledError, OutputError, KeyboardInterrupt) as error:
        from hostinspect.cli.app import excuse

        return excuse(error)
    except _EndedError as error:
        as_before()
        os.kill(os.getpid(), error.number)
        return 128 + error.number


def _end(number: int, _frame: FrameType | None) -> None:
    raise _EndedError(number)
