"""What ends a command with a word to whoever asked, and the exit codes of that. Raised without loading click."""

from __future__ import annotations

NO = 1  # the answer is "no": nobody found, something broken
WRONG_USAGE = 2
NOT_ENOUGH_SEEN = 3


class UsageError(Exception):
    """The command line makes no sense: told below the usage of the command, as click does it."""


class BadValueError(Exception):
    """The value of a parameter is none that it takes."""


class SaidError(Exception):
    """An answer, and no fault of whoever asked."""

    exit_code = NO


class NothingFoundError(SaidError):
    """What was asked for is not there, or, where not all could be seen, may be."""

    def __init__(self, message: str, *, not_enough_seen: bool = False) -> None:
        if not_enough_seen:
            self.exit_code = NOT_ENOUGH_SEEN
            message += " But not all could be seen: run as root, or see the gaps of `hostinspect report`."
        super().__init__(message)


class NotEnoughSeenError(SaidError):
    """What was asked for is not to be answered from what is there."""

    exit_code = NOT_ENOUGH_SEEN
