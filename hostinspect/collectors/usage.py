"""How much directories under an engine's data root hold on disk: read only when asked for, since it takes time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from hostinspect.collectors.gaps import GapLog
from hostinspect.facts import DirectoryUsage, Gap, MountPoint
from hostinspect.kernel import procfs
from hostinspect.kernel.files import Directory, open_directory
from hostinspect.kernel.mountinfo import mountinfo
from hostinspect.kernel.rooted import directory_in
from hostinspect.kernel.usage import Walk

COLLECTOR = "usage"

# File systems whose server may be gone: what is asked of them then waits for ever, and kill(1) does not help.
_SERVED = {
    "9p",
    "afs",
    "autofs",
    "cifs",
    "coda",
    "davfs",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
}
_CLUSTERED = {"beegfs", "ceph", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "pvfs2"}
_REMOTE = frozenset(_SERVED | _CLUSTERED)


def is_remote(fstype: str) -> bool:
    """Whether a file system is, or may be, served by another machine or process. Every FUSE may be."""
    return fstype in _REMOTE or fstype.partition(".")[0] in ("fuse", "fuseblk")


def mount_of(path: str, mounts: Iterable[MountPoint]) -> MountPoint | None:
    """The mount that `path` is on: of the deepest mount points on its way, the one that was mounted last."""
    found = None
    for mount in mounts:
        point = mount.mount_point.rstrip("/")
        is_on_way = path == point or path.startswith(f"{point}/")
        if is_on_way and (found is None or len(mount.mount_point) >= len(found.mount_point)):
            found = mount
    return found


def collect_usage(
    paths: Iterable[str],
    data_roots: Sequence[str],
    tick: Callable[[str, int], None] = lambda path, names: None,
    root: str = "",
) -> tuple[tuple[DirectoryUsage, ...], tuple[Gap, ...]]:
    """What each of the directories `paths` holds, one file system only; and what could not be counted.

    They are beneath one of `data_roots`, through no symbolic link. `tick` is called with a path and the number of
    names in a directory of it, and at its end with 0. A directory that is not there has none, and that is no gap. One
    on a remote file system is not touched; but the disk at `root`, which somebody mounted to be looked at, is.
    """
    gaps = GapLog()
    try:
        mounts = [] if root else _own_mounts()
    except (OSError, ValueError) as error:
        # Not knowing what is mounted, any path may be on a server that is gone.
        gaps.add(COLLECTOR, "/proc/self/mountinfo", error if isinstance(error, OSError) else str(error))
        return (), gaps.as_tuple()
    points = {mount.mount_point for mount in mounts}
    found = []
    for path in paths:
        usage = _measure(path, data_roots, mounts, points, tick, gaps, root)
        if usage is not None:
            found.append(usage)
        tick(path, 0)
    return tuple(found), gaps.as_tuple()


def _own_mounts() -> list[MountPoint]:
    """Of our own mount namespace: it is we who walk."""
    proc = procfs.open_proc()
    try:
        process = os.open("self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            return mountinfo(process)
        finally:
            os.close(process)
    finally:
        os.close(proc)


def _measure(
    path: str,
    data_roots: Sequence[str],
    mounts: Sequence[MountPoint],
    points: set[str],
    tick: Callable[[str, int], None],
    gaps: GapLog,
    root: str,
) -> DirectoryUsage | None:
    data_root = next((each for each in data_roots if path.startswith(f"{each}/")), None)
    if data_root is None:
        gaps.add(COLLECTOR, path, "it is not beneath an engine's data root", f"du -sx {path}")
        return None
    mount = mount_of(path, mounts)
    if mount is not None and is_remote(mount.fstype):
        gaps.add(
            COLLECTOR,
            path,
            f"it is on {mount.fstype} from {mount.source}, which may not answer, so it was not looked at",
            f"du -sx {path}, if the server answers",
        )
        return None
    walk = Walk(path, {point for point in points if point.startswith(f"{path}/")}, lambda names: tick(path, names))
    try:
        with directory_in(root, data_root) as files:
            usage = walk.usage(_open(files, path[len(data_root) + 1 :]))
    except FileNotFoundError:
        return None
    except OSError as error:
        gaps.add(COLLECTOR, path, error)
        return None
    for where, problem in walk.problems[:1]:
        more = f" and {len(walk.problems) - 1} more beneath {path}" if len(walk.problems) > 1 else ""
        gaps.add(COLLECTOR, where + more, problem)
    return DirectoryUsage(
        path=path,
        allocated=usage.allocated,
        apparent=usage.apparent,
        inodes=usage.inodes,
        complete=not walk.problems,
    )


def _open(files: Directory, relative: str) -> int:
    parent, _, name = relative.rpartition("/")
    if not parent:
        return open_directory(name, files.fd)
    with files.directory(parent) as directory:
        return open_directory(name, directory.fd)
