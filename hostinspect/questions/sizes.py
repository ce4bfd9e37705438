"""How much directories hold, as an answer tells it."""

from __future__ import annotations

from collections.abc import Iterable

from hostinspect.facts import DirectoryUsage, Gap
from hostinspect.topology import Node


class Size(Node, frozen=True, kw_only=True):
    """What a directory holds on its own file system, each inode once."""

    allocated: int  # bytes on disk, as `du -x`
    apparent: int  # bytes of the files, as `docker system df -v`
    inodes: int
    complete: bool  # False: a gap says what could not be counted


class Sizes:
    """What was measured, by path; `gaps` say what could not be."""

    def __init__(self, usages: Iterable[DirectoryUsage] = (), gaps: Iterable[Gap] = ()) -> None:
        self._by_path = {usage.path: usage for usage in usages}
        self.gaps = tuple(gaps)

    def of(self, path: str | None) -> Size | None:
        """None for what was not measured, or is not there."""
        usage = self._by_path.get(path or "")
        if usage is None:
            return None
        return Size(allocated=usage.allocated, apparent=usage.apparent, inodes=usage.inodes, complete=usage.complete)
