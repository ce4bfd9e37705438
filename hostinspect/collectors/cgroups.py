"""Which containers' cgroups the freezer has stopped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.processes import container_cgroup
from hostinspect.facts import FrozenCgroup, MountPoint, Process
from hostinspect.kernel import procfs
from hostinspect.kernel.cgroups import Hierarchy, freezer_hierarchies, is_frozen
from hostinspect.kernel.files import Directory

COLLECTOR = "cgroups"


def collect_frozen_cgroups(
    processes: Sequence[Process], mounts: Sequence[MountPoint], gaps: GapLog, proc: str = "/proc"
) -> tuple[FrozenCgroup, ...]:
    """The cgroup paths of `processes` that are, or are in, a container's cgroup that is frozen; sorted.

    Only paths with a 64-hex id are looked at, and the container's own cgroup decides: what froze some cgroup of its
    own inside is not paused. A cgroup that is gone is no gap. `mounts` tell where the hierarchies are: those of the
    host are used, which come first (`collect_mounts`).
    """
    theirs: dict[str, list[str]] = {}  # a container's own cgroup: the paths in it, as processes have them
    for path in sorted({path for process in processes for path in process.cgroups}):
        if own := container_cgroup(path):
            theirs.setdefault(own, []).append(path)
    if not theirs:
        return ()
    host = next((mount.mntns for mount in mounts), None)
    hierarchies = freezer_hierarchies(mount for mount in mounts if mount.mntns == host)
    if not hierarchies:
        gaps.add(COLLECTOR, f"{len(theirs)} containers' cgroups", "no hierarchy with a freezer is mounted")
        return ()
    frozen: set[str] = set()
    seen: set[str] = set()
    with ExitStack() as stack:
        for hierarchy, directory in _opened(hierarchies, _root(host, proc), stack, gaps):
            for own, paths in theirs.items():
                relative = hierarchy.beneath(own)
                if relative is None:
                    continue
                seen.add(own)
                try:
                    if is_frozen(directory, hierarchy.version, relative):
                        frozen.update(paths)
                except FileNotFoundError:
                    pass  # a path of another hierarchy, or just removed
                except OSError as error:
                    gaps.add(COLLECTOR, f"{hierarchy.mount_point}/{relative}", error)
    if unseen := theirs.keys() - seen:
        why = "they are outside of what is mounted of the cgroup hierarchy here"
        gaps.add(COLLECTOR, f"{len(unseen)} containers' cgroups", why, "run it in the host's cgroup namespace")
    return tuple(FrozenCgroup(path=path) for path in sorted(frozen))


def _opened(
    hierarchies: Iterable[Hierarchy], root: str, stack: ExitStack, gaps: GapLog
) -> list[tuple[Hierarchy, Directory]]:
    opened = []
    for hierarchy in hierarchies:
        try:
            opened.append((hierarchy, stack.enter_context(Directory(root + hierarchy.mount_point))))
        except OSError as error:
            gaps.add(COLLECTOR, hierarchy.mount_point, error)
    return opened


def _root(mntns: int | None, proc: str) -> str:
    """In front of a path of the host's mount namespace: nothing where that is ours, else the way through pid 1."""
    try:
        with Directory(f"{proc}/self") as ourselves:
            return "" if mntns in (None, procfs.namespace(ourselves.fd, "mnt")) else f"{proc}/1/root"
    except OSError:
        return f"{proc}/1/root"
