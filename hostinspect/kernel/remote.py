"""File systems that may never answer, and paths that lead to them: known from mountinfo, so that none is asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from hostinspect.facts import MountPoint
from hostinspect.kernel import procfs, waiting
from hostinspect.kernel.filesystems import is_remote
from hostinspect.kernel.mountinfo import mountinfo
from hostinspect.kernel.rooted import MAX_LINKS


class RemoteError(OSError):
    """The way leads over a file system that may not answer. Its `errno` is None, so that a `Gap` shows these words.

    `path` is what was asked for, without the symbolic links on the way there.
    """

    def __init__(self, mount: MountPoint, path: str) -> None:
        super().__init__(not_touched(mount))
        self.mount, self.path = mount, path


def has_remote(mounts: Iterable[MountPoint]) -> bool:
    """Whether there is any such file system; else every path may be asked."""
    return any(is_remote(mount.fstype) for mount in mounts)


def not_touched(mount: MountPoint) -> str:
    """Why nothing was asked of it."""
    return f"it is on {mount.fstype} from {mount.source}, which may not answer, so it was not looked at"


def mount_of(path: str, mounts: Iterable[MountPoint]) -> MountPoint | None:
    """The mount that `path` is on: of the deepest mount points on its way, the one that was mounted last."""
    found = None
    for mount in mounts:
        point = mount.mount_point.rstrip("/")
        is_on_way = path == point or path.startswith(f"{point}/")
        if is_on_way and (found is None or len(mount.mount_point) >= len(found.mount_point)):
            found = mount
    return found


def own_mounts() -> list[MountPoint]:
    """Of our own mount namespace: it is we who walk. Raises OSError, ValueError."""
    proc = procfs.open_proc()
    try:
        process = os.open("self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return mountinfo(process)
        finally:
            os.close(process)
    finally:
        os.close(proc)


def refuse_remote(path: str, mounts: Iterable[MountPoint]) -> None:
    """Raises `RemoteError` where `path` is on a mount that may not answer, or on an overlay that is made of one.

    What the machine itself is started from is asked all the same: without it no program would run.
    """
    mount = mount_of(path, mounts)
    if mount is None or mount.mount_point == "/":
        return
    if is_remote(mount.fstype):
        raise RemoteError(mount, path)
    for directory in (*mount.lowerdir, mount.upperdir):
        below = mount_of(directory, mounts) if directory else None
        if below is not None and below.mount_point != "/" and is_remote(below.fstype):
            raise RemoteError(below, path)


def walk(path: str, mounts: Sequence[MountPoint]) -> tuple[str, int]:
    """What `path` leads to without symbolic links, and its st_mode: one name after the other, links by their text.

    Where there is nothing the mode is 0, and the rest of the path as it was. `mounts` are those of our own mount
    namespace. Raises `RemoteError` before anything is asked of a file system that may be remote, ValueError for a path
    that is none or has too many links, OSError as lstat(2) does.
    """
    if "\0" in path:
        raise ValueError("it is no path: there is a NUL in it")
    is_any_remote = has_remote(mounts)
    names = path.split("/")[::-1]
    done: list[str] = []
    mode = stat.S_IFDIR
    missing = False
    links = 0
    while names:
        name = names.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del done[-1:]
            mode = stat.S_IFDIR
            continue
        here = f"{'/'.join(('', *done))}/{name}"
        if missing or not stat.S_ISDIR(mode):
            missing = True
            done.append(name)
            continue
        if is_any_remote:
            try:
                refuse_remote(here, mounts)
            except RemoteError as error:
                raise RemoteError(error.mount, "/".join((here, *names[::-1]))) from None
        waiting.on(here, here)
        try:
            mode = os.lstat(here).st_mode
        except (FileNotFoundError, NotADirectoryError):
            missing = True
            done.append(name)
            continue
        if not stat.S_ISLNK(mode):
            done.append(name)
            continue
        links += 1
        if links > MAX_LINKS:
            raise ValueError(f"more than {MAX_LINKS} symbolic links are on the way")
        target = os.readlink(here)
        if target.startswith("/"):
            done.clear()
        names.extend(target.split("/")[::-1])
        mode = stat.S_IFDIR
    return "/" + "/".join(done), 0 if missing else mode
