"""Opening Docker's and containerd's BoltDB files."""

from __future__ import annotations

import os

from hostinspect.engines.boltdb import MAX_SIZE, Bolt, BoltError
from hostinspect.kernel.files import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:  # names are completed with next to nothing loaded (`hostinspect.cli.names`)
    from collections.abc import Callable
    from typing import TypeVar

    from hostinspect.engines.docker.record import Note

    T = TypeVar("T")


def open_table(files: Directory, relative: str, limit: int) -> Bolt:
    """The newest state of the table `relative`, read without the daemon's lock. Raises `BoltError`, OSError."""
    fd = files.open(relative)
    try:
        return Bolt.read(fd, limit)
    finally:
        os.close(fd)


def read_table(files: Directory, relative: str, path: str, note: Note, parse: Callable[[Bolt], T]) -> T | None:
    """What `parse` makes of the table `relative` in `files`, which are at `path`.

    None where it is not there, or cannot be read, or is damaged, which is noted.
    """
    from hostinspect.engines.docker.record import DAMAGED

    try:
        return parse(open_table(files, relative, MAX_SIZE))
    except FileNotFoundError:
        pass
    except OSError as error:
        note(f"{path}/{relative}", error)
    except BoltError as error:
        note(f"{path}/{relative}", str(error), DAMAGED)
    return None
