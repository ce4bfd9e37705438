"""Volumes and bind mounts, and what they are made of."""

from __future__ import annotations

from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.patient import RECORDS, Patient
from hostinspect.topology import Container

VOLUMES = (*RECORDS, "volumes")

_DELETED = "//deleted"  # how mountinfo ends the root of a mount whose directory was deleted


@check("volume-dangling", "info", needs=VOLUMES)
def volume_dangling(patient: Patient) -> Checked:
    """A volume is no container's, running or not.

    It may hold what somebody wants to keep: look before it is removed.
    """
    for volume in patient.topology.volumes:
        if not volume.used_by:
            yield Found(
                "volume",
                volume.name,
                f"volume {volume.name} is used by no container",
                patient.docker(volume, f"volume rm {word(volume.name)}"),
                (f"created {volume.created}",) if volume.created else (),
            )


@check("volume-unused", "info", needs=(*VOLUMES, "processes"))
def volume_unused(patient: Patient) -> Checked:
    """A volume is used only by containers that do not run."""
    running = {container.id for container in patient.running}
    for volume in patient.topology.volumes:
        users = {user.container for user in volume.used_by}
        if users and users.isdisjoint(running):
            names = sorted(patient.places.name(user) or user[:12] for user in users)
            yield Found(
                "volume",
                volume.name,
                f"volume {volume.name} is used only by {', '.join(names)}, which {_do(names)} not run",
                patient.docker(volume, f"rm {' '.join(map(word, names))}", f"volume rm {word(volume.name)}"),
            )


def _do(names: list[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _missing(patient: Patient) -> set[str]:
    return {state.path for state in patient.health.paths if state.kind == "missing"}


@check("volume-path-missing", "error", needs=(*VOLUMES, "paths"))
def volume_path_missing(patient: Patient) -> Checked:
    """A volume's directory is not there.

    No container with it can be started, and what was in it is gone, or is still held by one that runs. Somebody removed
    it by hand, or its disk is not mounted.
    """
    missing = _missing(patient)
    for volume in patient.topology.volumes:
        if volume.mountpoint in missing:
            users = sorted({patient.places.name(user.container) or "?" for user in volume.used_by})
            yield Found(
                "volume",
                volume.name,
                f"the directory of volume {volume.name} is not there",
                f"mkdir -p {word(volume.mountpoint)}; then restore what was in it",
                (f"{volume.mountpoint} does not exist", f"used by: {', '.join(users) or 'nobody'}"),
            )


@check("volume-source-gone", "error", needs=(*VOLUMES, "paths"))
def volume_source_gone(patient: Patient) -> Checked:
    """A volume is made of a directory of the host that is not there.

    A volume with `--opt type=none --opt o=bind --opt device=DIR` mounts DIR when a container with it is started, which
    fails then: "no such file or directory".
    """
    missing = _missing(patient)
    for volume in patient.topology.volumes:
        device = volume.options.get("device", "")
        if device in missing:
            yield Found(
                "volume",
                volume.name,
                f"{device}, which volume {volume.name} is made of, is not there",
                f"mkdir -p {word(device)}, or mount what should be there",
                (f"options: {', '.join(f'{k}={v}' for k, v in sorted(volume.options.items()))}",),
            )


@check("bind-source-gone", "error", needs=(*RECORDS, "mounts", "paths", "processes"))
def bind_source_gone(patient: Patient) -> Checked:
    """A container's bind mount is of a path that is not on the host any more.

    One that runs goes on with the deleted directory: what it writes is lost, and what is put into a new one of the same
    name it does not see. One that does not run cannot be started (`--mount`), or gets an empty directory (`-v`).
    """
    missing = _missing(patient)
    for container in patient.topology.containers:
        deleted = _deleted(patient, container)
        for mount in container.mounts:
            if mount.type != "bind" or not mount.source:
                continue
            is_deleted = mount.destination in deleted
            if mount.source not in missing and not is_deleted:
                continue
            runs = container.pid is not None
            restart = f"; {patient.docker(container, f'restart {word(container.name)}')}" if runs else ""
            state = "is not there" if mount.source in missing else "was deleted and made again"
            yield Found(
                "container",
                container.name,
                f"{mount.source}, which {container.name} has on {mount.destination}, {state}",
                f"mkdir -p {word(mount.source)}{restart}",
                (f"mounted: {deleted[mount.destination]}" if is_deleted else f"{mount.source} does not exist",),
                None if runs else "warning",
            )


def _deleted(patient: Patient, container: Container) -> dict[str, str]:
    """What is mounted in a container and was deleted, by destination."""
    process = patient.index.processes.get(container.pid or 0)
    if process is None or process.mntns is None:
        return {}
    mounts = patient.index.mounts.get(process.mntns, ())
    return {mount.mount_point: mount.root for mount in mounts if mount.root.endswith(_DELETED)}
