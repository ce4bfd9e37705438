"""Opening one of Docker's BoltDB files beneath the data root."""

from __future__ import annotations

import os

from hostinspect.engines.boltdb import Bolt
from hostinspect.kernel.files import Directory


def open_table(files: Directory, relative: str, limit: int) -> Bolt:
    """The newest state of the table `relative`, read without the daemon's lock. Raises `BoltError`, OSError."""
    fd = files.open(relative)
    try:
        return Bolt.read(fd, limit)
    finally:
        os.close(fd)
