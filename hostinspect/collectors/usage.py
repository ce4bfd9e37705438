"""How much directories under an engine's data root hold on disk: read only when asked for, since it takes time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.mounts import collect_own_mounts
from hostinspect.facts import DirectoryUsage, Gap, MountPoint
from hostinspect.kernel.files import Directory, open_directory
from hostinspect.kernel.remote import RemoteError, refuse_remote
from hostinspect.kernel.rooted import directory_in
from hostinspect.kernel.usage import Walk

COLLECTOR = "usage"


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
    mounts = () if root else collect_own_mounts(COLLECTOR, gaps)
    if mounts is None:  # any path may be on a server that is gone
        return (), gaps.as_tuple()
    points = {mount.mount_point for mount in mounts}
    found = []
    for path in paths:
        usage = _measure(path, data_roots, mounts, points, tick, gaps, root)
        if usage is not None:
            found.append(usage)
        tick(path, 0)
    return tuple(found), gaps.as_tuple()


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
    try:
        refuse_remote(path, mounts)
    except RemoteError as error:
        gaps.add(COLLECTOR, path, error, f"du -sx {path}, if the server answers")
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
