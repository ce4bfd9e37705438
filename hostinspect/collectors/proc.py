"""The proc file system, opened for a collector."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hostinspect.collectors.gaps import GapLog
from hostinspect.kernel import procfs


@contextmanager
def opened(proc: str, collector: str, gaps: GapLog) -> Iterator[int | None]:
    """A descriptor of the procfs at `proc`; None, and a gap of `collector`, where it cannot be opened."""
    try:
        fd = procfs.open_proc(proc)
    except OSError as error:
        gaps.add(collector, proc, error)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
