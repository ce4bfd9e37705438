"""`hostinspect diff NAME`: what a container has changed of its image."""

from __future__ import annotations

from posixpath import dirname

from msgspec import Struct

from hostinspect.facts import Change, Gap
from hostinspect.questions.answer import Answer
from hostinspect.questions.inspection import Inspection
from hostinspect.topology import Container

NEEDS = ("engines", "containers", "layers", "mounts")

# Those whose layers are overlayfs's: Docker's own, and containerd's snapshotter.
_DRIVERS = (None, "overlay2", "overlay", "overlayfs")
_LOOK = "look into its directories by what that driver does"  # on a disk, where nothing starts


class Diff(Answer, frozen=True, kw_only=True):
    """The changes of a container, sorted by path, a directory before what is in it."""

    id: str
    name: str
    changes: tuple[Change, ...] | None  # None: they could not be read, a gap says why
    gaps: tuple[Gap, ...]


class Layers(Struct, frozen=True):
    """The directories that a container's root is made of."""

    upper: str
    lower: tuple[str, ...]  # topmost first
    work: str | None
    userxattr: bool | None  # the overlay's mount option; None: it is not mounted


def layers_of(inspection: Inspection, container: Container) -> Layers | Gap:
    """Where the container's layers are on this host, or why that is not to be known."""
    overlay = container.overlay
    of_disk = inspection.topology.host.root is not None
    if container.storage_driver not in _DRIVERS:
        return _gap(container, _LOOK if of_disk else "docker diff it, while the daemon answers")
    if overlay is None or overlay.upper is None:
        known = [gap for gap in inspection.topology.gaps if gap.collector == "layers" and container.id in gap.subject]
        return known[0] if known else _gap(container, _LOOK if of_disk else "start it: while it runs, its mounts tell")
    # containerd shortens the mount options to paths from the directory that all of its snapshots are in.
    below = tuple(p if p.startswith("/") else f"{dirname(dirname(overlay.upper))}/{p}" for p in overlay.lower)
    if container.storage_driver == "overlay" and container.id in inspection.index.layers:
        init_id = inspection.index.layers[container.id].init_id  # copied into the upper directory, not mounted below it
        below = (*([f"{dirname(dirname(overlay.upper))}/{init_id}/upper"] if init_id else []), *below)
    options = [m.super_options for m in inspection.facts.mounts if m.upperdir == overlay.upper]
    return Layers(
        upper=overlay.upper,
        lower=below,
        work=overlay.work,
        userxattr="userxattr" in options[0] if options else None,
    )


def _gap(container: Container, remedy: str) -> Gap:
    driver = container.storage_driver or "not known"
    return Gap(
        collector="layers",
        subject=f"container {container.name}, storage driver {driver}",
        why="its layers are not known as directories of an overlay",
        remedy=remedy,
    )
