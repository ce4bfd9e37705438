"""Volumes and who uses them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from hostinspect.facts import VolumeRecord
from hostinspect.topology import Container, Volume, VolumeUser

_ANONYMOUS_LABEL = "com.docker.volume.anonymous"  # since Docker 23
_ANONYMOUS_NAME = r"[0-9a-f]{64}"


def describe_volumes(records: Iterable[VolumeRecord], containers: Iterable[Container]) -> tuple[Volume, ...]:
    """Every volume by name, with its users, running or not, which are containers of the same engine."""
    users: dict[tuple[str, str], list[VolumeUser]] = defaultdict(list)
    for container in containers:
        for mount in container.mounts:
            if mount.type == "volume" and mount.name:
                use = VolumeUser(container=container.id, destination=mount.destination, rw=mount.rw)
                users[container.data_root, mount.name].append(use)
    volumes = [
        Volume(
            name=record.name,
            data_root=record.data_root,
            driver=record.driver,
            mountpoint=record.mountpoint,
            options=dict(record.options),
            labels=dict(record.labels),
            anonymous=_is_anonymous(record),
            created=record.created,
            used_by=tuple(
                sorted(users[record.data_root, record.name], key=lambda user: (user.container, user.destination))
            ),
        )
        for record in records
    ]
    return tuple(sorted(volumes, key=lambda volume: (volume.name, volume.data_root)))


def _is_anonymous(record: VolumeRecord) -> bool:
    """Whether the engine made up the name. Before Docker 23 only its shape says so."""
    return _ANONYMOUS_LABEL in dict(record.labels) or bool(re.fullmatch(_ANONYMOUS_NAME, record.name))
