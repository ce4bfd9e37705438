"""`hostinspect volumes`: every volume, who uses it, and whether what it is made of is mounted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from hostinspect.facts import ContainerRecord, Gap, MountPoint
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.sizes import Size, Sizes
from hostinspect.topology import Container, Node, Volume

FAMILIES = ("engines", "containers", "volumes", "mounts")
NEEDS = (*FAMILIES, "cgroups")


def having(names: Iterable[str]) -> Callable[[ContainerRecord], bool]:
    """What is true of the containers with a volume; with one that may be meant by `names`, if there are any."""
    prefixes = tuple(names) or ("",)
    return lambda record: any(
        mount.type == "volume" and (mount.name or "").startswith(prefixes) for mount in record.mounts
    )


class VolumeUse(Node, frozen=True, kw_only=True):
    """A container's use of a volume: one of its mounts."""

    container: str  # id
    name: str
    state: str
    destination: str
    rw: bool
    propagation: str
    subpath: str | None
    mounted: bool | None  # None: the container does not run, or its mounts could not be read


class VolumeMount(Node, frozen=True, kw_only=True):
    """What is mounted on a volume's mountpoint: the driver mounts it when the first container starts."""

    fstype: str
    source: str
    options: tuple[str, ...]  # of the mount and of the file system
    containers: tuple[str, ...]  # ids of the running ones that use it


class VolumeDetails(Node, frozen=True, kw_only=True):
    """A volume as `docker volume inspect` shows it, and more."""

    name: str
    data_root: str  # its engine's
    driver: str
    mountpoint: str | None
    options: dict[str, str]
    labels: dict[str, str]
    anonymous: bool
    created: str | None
    used_by: tuple[VolumeUse, ...]
    needs_mount: bool  # a local volume with options: what it holds is elsewhere, until it is mounted
    mount: VolumeMount | None
    size: Size | None  # None unless asked for


class Volumes(Answer, frozen=True, kw_only=True):
    """What `hostinspect volumes -o json` prints."""

    collected_at: str  # what ages are counted from
    volumes: tuple[VolumeDetails, ...]
    gaps: tuple[Gap, ...]


def list_volumes(
    inspection: Inspection,
    volumes: Sequence[Volume] | None = None,
    *,
    dangling: bool = False,
    anonymous: bool = False,
    driver: str | None = None,
    sizes: Sizes | None = None,
) -> Volumes:
    """These volumes, or all, by name; `dangling` only those that no container has, running or not."""
    topology = inspection.topology
    sizes = sizes or Sizes()
    host_mounts = inspection.index.mounts.get(inspection.facts.host.mntns or 0, ())
    mounts = {mount.mount_point: mount for mount in host_mounts}  # the last one is on top
    containers = {container.id: container for container in topology.containers}
    chosen = topology.volumes if volumes is None else volumes
    return Volumes(
        collected_at=topology.host.collected_at,
        volumes=tuple(
            _details(volume, containers, mounts, sizes)
            for volume in chosen
            if not (dangling and volume.used_by)
            and (volume.anonymous or not anonymous)
            and driver in (None, volume.driver)
        ),
        gaps=(*gaps_about(topology, *FAMILIES, of_records=True), *sizes.gaps),
    )


def directories_of(volumes: Volumes) -> list[str]:
    """What there is to measure. What another driver's volumes hold is not for us to find."""
    return [volume.mountpoint for volume in volumes.volumes if volume.mountpoint]


def _details(
    volume: Volume, containers: dict[str, Container], mounts: dict[str, MountPoint], sizes: Sizes
) -> VolumeDetails:
    uses = tuple(_uses(volume, (containers[user.container] for user in volume.used_by if user.container in containers)))
    mount = mounts.get(volume.mountpoint or "")
    return VolumeDetails(
        name=volume.name,
        data_root=volume.data_root,
        driver=volume.driver,
        mountpoint=volume.mountpoint,
        options=volume.options,
        labels=volume.labels,
        anonymous=volume.anonymous,
        created=volume.created,
        used_by=uses,
        needs_mount=volume.driver == "local" and not volume.options.keys().isdisjoint(("type", "device")),
        mount=_mount(mount, uses) if mount else None,
        size=sizes.of(volume.mountpoint),
    )


def _uses(volume: Volume, containers: Iterable[Container]) -> Iterator[VolumeUse]:
    """Every mount of the volume, by container and destination."""
    for container in sorted({c.id: c for c in containers}.values(), key=lambda c: (c.name, c.id)):
        for mount in container.mounts:
            if mount.type == "volume" and mount.name == volume.name:
                yield VolumeUse(
                    container=container.id,
                    name=container.name,
                    state=container.state,
                    destination=mount.destination,
                    rw=mount.rw,
                    propagation=mount.propagation,
                    subpath=mount.subpath,
                    mounted=mount.mounted,
                )


def _mount(mount: MountPoint, uses: Iterable[VolumeUse]) -> VolumeMount:
    return VolumeMount(
        fstype=mount.fstype,
        source=mount.source,
        options=tuple(dict.fromkeys((*mount.options, *mount.super_options))),
        containers=tuple(dict.fromkeys(use.container for use in uses if use.mounted)),
    )
