r"""cgroups(7): where their hierarchies are mounted, and which cgroup the freezer has stopped.

A hierarchy may be of version 1 (one for each set of controllers) or the one of version 2, or a host has both: then
version 2 has no controllers and engines freeze through version 1.

    >>> parse_freezer_state(b"FROZEN\n"), parse_cgroup_events(b"populated 1\nfrozen 0\n")
    (True, False)
"""

from __future__ import annotations

from collections.abc import Iterable

from hostinspect.facts import MountPoint, Record
from hostinspect.kernel.files import Directory


class Hierarchy(Record, frozen=True, kw_only=True):
    """A mounted hierarchy that can freeze: version 1 with the controller `freezer`, or version 2."""

    version: int  # 1 or 2
    mount_point: str
    root: str  # the cgroup that is seen at the mount point, as /proc/PID/cgroup would spell it

    def beneath(self, path: str) -> str | None:
        """The cgroup `path` (as in /proc/PID/cgroup) relative to the mount point; None if it cannot be seen there.

        >>> Hierarchy(version=2, mount_point="/sys/fs/cgroup", root="/").beneath("/system.slice/docker-1.scope")
        'system.slice/docker-1.scope'
        >>> Hierarchy(version=1, mount_point="/sys/fs/cgroup/freezer", root="/docker/ab").beneath("/docker/ab/c")
        'c'
        >>> Hierarchy(version=2, mount_point="/sys/fs/cgroup", root="/").beneath("/../beside/our/namespace")
        """
        root = self.root.rstrip("/")
        if path != root and not path.startswith(root + "/"):
            return None
        relative = path[len(root) + 1 :]
        return None if ".." in relative.split("/") else relative


def freezer_hierarchies(mounts: Iterable[MountPoint]) -> tuple[Hierarchy, ...]:
    """The hierarchies among `mounts` in which cgroups can be frozen, one of each version, version 1 first.

    Where one is mounted more than once, the mount that shows most of it is taken.
    """
    best: dict[int, Hierarchy] = {}
    for mount in mounts:
        if mount.fstype == "cgroup2":
            version = 2
        elif mount.fstype == "cgroup" and "freezer" in mount.super_options:
            version = 1
        else:
            continue
        known = best.get(version)
        if known is None or len(mount.root) < len(known.root):
            best[version] = Hierarchy(version=version, mount_point=mount.mount_point, root=mount.root)
    return tuple(best[version] for version in sorted(best))


def is_frozen(hierarchy: Directory, version: int, relative: str) -> bool:
    """Whether all processes of the cgroup `relative` are frozen, by itself or by one above, or about to be.

    Reads freezer.state (version 1; kernel documentation, freezer-subsystem) or cgroup.events (version 2, Linux 5.2 and
    later; the root cgroup has none). Raises OSError: FileNotFoundError when there is no such cgroup.
    """
    prefix = relative + "/" if relative else ""
    if version == 1:
        return parse_freezer_state(hierarchy.read(prefix + "freezer.state", 4096))
    return parse_cgroup_events(hierarchy.read(prefix + "cgroup.events", 4096))


def parse_freezer_state(raw: bytes) -> bool:
    """The content of a freezer.state: THAWED, FREEZING or FROZEN."""
    return raw.strip() in (b"FROZEN", b"FREEZING")


def parse_cgroup_events(raw: bytes) -> bool:
    """Whether a cgroup.events has the line `frozen 1`; kernels before 5.2 have no such line."""
    return b"frozen 1" in raw.split(b"\n")
