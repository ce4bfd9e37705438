"""Mounts: by device, by mount id, by where they are on the host or in a container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hostinspect.facts import MountPoint
from hostinspect.questions.whois.answer import KeyKind, Match, Ref
from hostinspect.questions.whois.chain import HOST, Chain
from hostinspect.questions.whois.key import Key, normal_path
from hostinspect.questions.whois.known import Known
from hostinspect.topology import Volume

_DOCKERS_OWN = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm", "/dev/mqueue")


def by_device(known: Known, key: Key) -> Iterator[Match]:
    """`0:48`, as stat(1), mountinfo and `ls -l /proc/PID/map_files` have it: where that file system is mounted."""
    if key.device is not None:
        yield from _matches(known, (m for m in known.facts.mounts if m.device == key.device), "device")


def by_mount_id(known: Known, key: Key) -> Iterator[Match]:
    """The first number of a line of mountinfo."""
    if key.number is not None:
        yield from _matches(known, (m for m in known.facts.mounts if m.mount_id == key.number), "mount id")


def by_mount_point(known: Known, key: Key) -> Iterator[Match]:
    """A path at which something is mounted on the host, and which is nothing of a container's."""
    for path in key.paths:
        host = known.index.mounts.get(known.facts.host.mntns or 0, ())
        here = [mount for mount in host if mount.mount_point == path]
        if here and here[-1].fstype != "nsfs":  # namespaces are told of as such
            yield from _matches(known, here[-1:], "mount point")


def by_destination(known: Known, key: Key) -> Iterator[Match]:
    """A path inside of containers at which they have a bind mount, a volume or a tmpfs."""
    for path in key.paths if key.word.startswith("/") else ():
        for container in known.topology.containers:
            for mount in container.mounts:
                if normal_path(mount.destination) != path or normal_path(mount.source or "/") == path:
                    continue  # where it is the same on the host, the path has been told of
                what = f"volume {mount.name}" if mount.type == "volume" else mount.source or mount.type
                chain = replace(known.container(container.id), volume=mount.name if mount.type == "volume" else None)
                chain = chain.after(f"inside of {container.name}, {what} is mounted at {mount.destination}")
                summary = f"where container {container.name} has {what} mounted, inside"
                yield chain.match("mount in a container", summary, known.container_ref(container.id))


def by_source(known: Known, key: Key) -> Iterator[Match]:
    """`/dev/vda1`: what of a block device is mounted on the host."""
    for path in key.paths:
        if path.startswith("/dev/"):
            host = known.index.mounts.get(known.facts.host.mntns or 0, ())
            yield from _matches(known, (mount for mount in host if mount.source == path), "mount source")


def _matches(known: Known, mounts: Iterable[MountPoint], kind: KeyKind) -> Iterator[Match]:
    """What each mount is; the many of one container and one device that docker makes itself are told as one."""
    by_mntns: dict[int, str] = {
        process.mntns: container.id
        for container in known.topology.containers
        if (process := known.index.processes.get(container.pid or 0)) and process.mntns is not None
    }
    merged = {c.overlay.merged: c.id for c in known.topology.containers if c.overlay and c.overlay.merged}
    told: set[tuple[str | None, str]] = set()
    for mount in mounts:
        on_host = mount.mntns == known.facts.host.mntns
        owner = None if on_host else by_mntns.get(mount.mntns or 0)
        if (owner, mount.device) in told and mount.mount_point in _DOCKERS_OWN:
            continue
        told.add((owner, mount.device))
        root = f", its {mount.root}" if mount.root != "/" else ""
        said = (
            f"mount {mount.mount_id}: {mount.fstype} {mount.device} from {mount.source}{root}, at {mount.mount_point}"
        )
        ref = Ref(kind="mount", id=str(mount.mount_id), name=mount.mount_point)
        if owner is not None:
            name = known.container_name(owner)
            chain = known.container(owner).after(said, f"in mount namespace {mount.mntns}, {name}'s")
            yield chain.match(kind, f"{mount.fstype} at {mount.mount_point} in container {name}", ref)
        elif on_host and mount.mount_point in merged:
            id_ = merged[mount.mount_point]
            chain = known.container(id_).after(said, "that is where docker keeps its root mounted on the host")
            yield chain.match(kind, f"the root of container {known.container_name(id_)}, on the host", ref)
        elif on_host and (volume := _volume(known, mount.mount_point)) is not None:
            chain = known.volume(volume.data_root, volume.name).after(said)
            yield chain.match(kind, f"what is mounted for volume {volume.name}", ref)
        else:
            owner_ref = HOST if on_host or mount.mntns is None else None
            summary = f"{mount.fstype} at {mount.mount_point}" + (" on the host" if on_host else "")
            yield Chain(owner=owner_ref).after(said).match(kind, summary, ref)


def _volume(known: Known, mount_point: str) -> Volume | None:
    return next((volume for volume in known.topology.volumes if volume.mountpoint == mount_point), None)
