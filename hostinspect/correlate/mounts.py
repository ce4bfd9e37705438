"""A container's mounts and layers: the engine's records against the mountinfo of the container's namespace."""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import basename, normpath

from hostinspect.correlate.index import Index
from hostinspect.facts import ContainerRecord, MountPoint, RecordedMount
from hostinspect.topology import Drift, Mount, OverlayFS


def join_mounts(
    index: Index, record: ContainerRecord, mntns: int | None
) -> tuple[tuple[Mount, ...], tuple[Drift, ...]]:
    """The recorded mounts, each checked against what is mounted at its destination now.

    `mntns` is None for a container that does not run; one whose mounts could not be read is treated alike.
    """
    wanted = (*record.mounts, *(_tmpfs(destination, options) for destination, options in record.tmpfs))
    if not wanted:
        return (), ()
    table = index.mounts.get(mntns or 0)
    effective = {mount.mount_point: mount for mount in table} if table else None
    mounts: list[Mount] = []
    drift: list[Drift] = []
    claimed = {normpath(recorded.destination) for recorded in wanted}
    for recorded in wanted:
        mounted = _find(index, recorded, effective, claimed) if effective is not None else None
        mounts.append(_mount(recorded, mounted, known=effective is not None))
        if effective is not None:
            drift += _differences(index, recorded, mounted)
    mounts.sort(key=lambda mount: mount.destination)
    return tuple(mounts), tuple(drift)


def _find(
    index: Index, recorded: RecordedMount, effective: Mapping[str, MountPoint], claimed: set[str]
) -> MountPoint | None:
    """What is mounted at the recorded destination.

    A destination may lead through a symbolic link of the image, as /var/run/docker.sock does in most; then the mount is
    elsewhere: the one alone, of the same name and from the same source, that no other record claims.
    """
    destination = normpath(recorded.destination)
    if destination in effective:
        return effective[destination]
    name = basename(destination)
    candidates = [
        mount
        for mount_point, mount in effective.items()
        if basename(mount_point) == name
        and mount_point not in claimed
        and (_source(recorded) in host_paths(index, mount) if recorded.source else mount.fstype == recorded.type)
    ]
    return candidates[0] if len(candidates) == 1 else None


def _source(recorded: RecordedMount) -> str:
    return normpath(f"{recorded.source}/{recorded.subpath or ''}")


def _tmpfs(destination: str, options: str) -> RecordedMount:
    """`--tmpfs DIR:OPTIONS`, which `docker inspect` keeps apart from its Mounts."""
    return RecordedMount(type="tmpfs", destination=destination, mode=options, rw="ro" not in options.split(","))


def _mount(recorded: RecordedMount, mounted: MountPoint | None, *, known: bool) -> Mount:
    return Mount(
        type=recorded.type,
        name=recorded.name,
        source=recorded.source,
        destination=recorded.destination,
        driver=recorded.driver,
        mode=recorded.mode,
        rw=recorded.rw if mounted is None else "ro" not in mounted.options,
        propagation=recorded.propagation,
        subpath=recorded.subpath,
        mounted=mounted is not None if known else None,
    )


def _differences(index: Index, recorded: RecordedMount, mounted: MountPoint | None) -> list[Drift]:
    where = f"mounts[{recorded.destination}]"
    if mounted is None:
        return [Drift(field=where, recorded=recorded.name or recorded.source or recorded.type, effective=None)]
    drift = []
    rw = "ro" not in mounted.options
    if rw != recorded.rw:
        drift.append(Drift(field=f"{where}.rw", recorded=_access(recorded.rw), effective=_access(rw)))
    if recorded.type == "tmpfs" and mounted.fstype != "tmpfs":
        drift.append(Drift(field=f"{where}.type", recorded="tmpfs", effective=mounted.fstype))
    if recorded.type == "volume" and recorded.source and recorded.driver == "local":
        # A bind's source may lead through symlinks of the host, a local volume's never does.
        expected = _source(recorded)
        sources = host_paths(index, mounted)
        if sources and expected not in sources:
            drift.append(Drift(field=f"{where}.source", recorded=expected, effective=min(sources, key=len)))
    if recorded.propagation in ("private", "rprivate") and any(p.startswith("shared:") for p in mounted.propagation):
        drift.append(Drift(field=f"{where}.propagation", recorded=recorded.propagation, effective="shared"))
    return drift


def _access(rw: bool) -> str:
    return "rw" if rw else "ro"


def host_paths(index: Index, mount: MountPoint) -> set[str]:
    """Every path of the host at which the mounted directory is found: a file system may be mounted many times."""
    paths = set()
    for outer in index.host_mounts_by_device.get(mount.device, ()):
        below = _below(mount.root, outer.root)
        if below is not None:
            paths.add(normpath(f"{outer.mount_point.rstrip('/')}/{below}"))
    return paths


def _below(path: str, root: str) -> str | None:
    """`path` relative to `root`, or None where it is not in it."""
    if root == "/":
        return path.lstrip("/")
    if path == root or path.startswith(root + "/"):
        return path[len(root) :].lstrip("/")
    return None


def join_overlay(
    index: Index, record: ContainerRecord, mntns: int | None
) -> tuple[OverlayFS | None, tuple[Drift, ...]]:
    """The layers of the container's root: as the engine laid them out, else as the kernel has them mounted.

    With an image store that keeps no layerdb (containerd's), a stopped container's layers are not to be known.
    """
    root = next((m for m in reversed(index.mounts.get(mntns or 0, [])) if m.mount_point == "/"), None)
    mounted = root if root is not None and root.fstype == "overlay" else None
    layer = index.layers.get(record.id)
    if layer is not None:
        drift: tuple[Drift, ...] = ()
        if mounted is not None and mounted.upperdir and not _same_directory(mounted.upperdir, layer.upper):
            drift = (Drift(field="overlay.upper", recorded=layer.upper, effective=mounted.upperdir),)
        return OverlayFS(lower=layer.lower, upper=layer.upper, work=layer.work, merged=layer.merged), drift
    if mounted is None:
        return None, ()
    merged = index.host_mount_points_by_upper.get(mounted.upperdir)
    return OverlayFS(lower=mounted.lowerdir, upper=mounted.upperdir, work=mounted.workdir, merged=merged), ()


def _same_directory(mounted: str, recorded: str) -> bool:
    """overlay2 mounts with paths relative to its home when the options would outgrow a page: MOUNT-ID/diff."""
    return mounted == recorded or (not mounted.startswith("/") and recorded.endswith("/" + mounted))
