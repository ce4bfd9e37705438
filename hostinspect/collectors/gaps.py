"""The list of what could not be seen, filled while collecting."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from hostinspect.facts import Gap
from hostinspect.kernel.waiting import REMEDY, NoAnswerError

PERMISSION = "run as root"
OTHER_PROC = "enter the host's pid namespace too (nsenter -p), or mount its /proc"

_REMEDIES = {errno.EACCES: PERMISSION, errno.EPERM: PERMISSION}


def remedy_of_own(error: Exception) -> str | None:
    """For a file of our own in /proc, which is missing in one that we are not in; None where the usual is right."""
    return OTHER_PROC if isinstance(error, FileNotFoundError) else None


class GapLog:
    """Collects `Gap`s in the order met; the same gap twice is kept once."""

    def __init__(self) -> None:
        self._gaps: dict[Gap, None] = {}

    def add(
        self, collector: str, subject: str, why: str | OSError, remedy: str | None = None, *, minor: bool = False
    ) -> None:
        """Note that `subject` could not be seen. An `OSError` is put in the host's own words.

        Without `remedy`, a refused permission asks for root and anything else for a second run; what did not answer has
        its own.
        """
        if isinstance(why, OSError):
            if isinstance(why, NoAnswerError):
                remedy = REMEDY
            remedy = remedy or _REMEDIES.get(why.errno or 0)
            why = os.strerror(why.errno) if why.errno else str(why)
        self._gaps[Gap(collector=collector, subject=subject, why=why, remedy=remedy or "run it again", minor=minor)] = (
            None
        )

    def extend(self, gaps: Iterable[Gap]) -> None:
        """Those of another log."""
        self._gaps.update(dict.fromkeys(gaps))

    def __len__(self) -> int:
        return len(self._gaps)

    def as_tuple(self) -> tuple[Gap, ...]:
        return tuple(self._gaps)
