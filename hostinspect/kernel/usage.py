"""How much a directory holds on disk, as `du -x` counts it: without following, changing or waiting for anything.

One file system only, and nothing that is mounted beneath: what lies below a mount point is not part of the directory,
and to stat(2) the root of a dead NFS or FUSE mount waits for ever. So mount points are known by their names beforehand
and left alone. Symbolic links count for themselves. A file with several hard links counts once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container
from typing import NamedTuple

from hostinspect.kernel.files import open_directory
from hostinspect.kernel.text import text

_BLOCK = 512  # bytes of what st_blocks counts, whatever the file system's own blocks are
MAX_DEPTH = 500  # directories in each other: each is held open, and a process may have 1,024 files


class Usage(NamedTuple):
    """What is on disk."""

    allocated: int  # bytes of the blocks of all inodes, those of directories too: st_blocks, as du(1)
    apparent: int  # bytes of st_size of all but directories, as `docker system df` counts
    inodes: int


Problem = tuple[str, OSError | str]  # a path, and why what is there is not counted


class _Level(NamedTuple):
    """A directory that is being walked: its descriptor, and its subdirectories that are still to come."""

    fd: int
    path: str
    waiting: list[str]


class Walk:
    """A walk from an opened directory, whose descriptor it closes. `problems` holds what could not be counted.

    `path` is what the directory is called; `mounts` are the paths of all mount points that may lie beneath. `tick` is
    called for every directory with the number of names in it.
    """

    def __init__(self, path: str, mounts: Container[str], tick: Callable[[int], None]) -> None:
        self._path, self._mounts, self._tick = path, mounts, tick
        self._linked: set[int] = set()  # inodes with several names that have been counted
        self._device = 0
        self._allocated = self._apparent = self._inodes = 0
        self.problems: list[Problem] = []

    def usage(self, fd: int) -> Usage:
        """What the directory open at `fd` holds, itself included. What goes away meanwhile is left out."""
        top = os.fstat(fd)
        self._device = top.st_dev
        self._count(top)
        levels = [self._level(fd, self._path)]
        try:
            while levels:
                level = levels[-1]
                if not level.waiting:
                    os.close(levels.pop().fd)
                    continue
                name = level.waiting.pop()
                path = f"{level.path}/{text(os.fsencode(name))}"
                if len(levels) == MAX_DEPTH:
                    self.problems.append((path, f"deeper than {MAX_DEPTH} directories, which is as deep as is counted"))
                    continue
                try:
                    levels.append(self._level(open_directory(name, level.fd), path))
                except (FileNotFoundError, NotADirectoryError):
                    continue  # gone, or something else by now
                except OSError as error:
                    self.problems.append((path, error))
        finally:
            for level in levels:
                os.close(level.fd)
        return Usage(self._allocated, self._apparent, self._inodes)

    def _level(self, fd: int, path: str) -> _Level:
        """Count what is in the directory, but for the content of its subdirectories."""
        waiting = []
        names = 0
        with os.scandir(fd) as entries:
            for entry in entries:
                names += 1
                if self._mounts and f"{path}/{text(os.fsencode(entry.name))}" in self._mounts:
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found.st_dev == self._device and self._count(found):
                    waiting.append(entry.name)
        self._tick(names)
        return _Level(fd, path, waiting)

    def _count(self, found: os.stat_result) -> bool:
        """Add an inode; returns whether it is a directory."""
        is_directory = stat.S_ISDIR(found.st_mode)
        if not is_directory:
            if found.st_nlink > 1:
                if found.st_ino in self._linked:
                    return False
                self._linked.add(found.st_ino)
            self._apparent += found.st_size
        self._allocated += found.st_blocks * _BLOCK
        self._inodes += 1
        return is_directory
