"""`hostinspect layers`: the directories of each container's root, or every directory of overlay2/ once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from hostinspect.facts import ImageStep
from hostinspect.questions.layers import ContainerLayers, LayerDirectory, Layers, Lower, is_containerds
from hostinspect.questions.sizes import Size
from hostinspect.render.containers import volume_name
from hostinspect.render.layout import Item, item
from hostinspect.render.sizes import in_units
from hostinspect.render.table import Cell, Column
from hostinspect.render.tables.sizes import size_columns
from hostinspect.render.times import ago
from hostinspect.render.view import short_id

_FEW = 1  # images of a layer, or containers upon it, that are named without --verbose
_MOUNTED = {True: "mounted", False: "not mounted", None: None}
_LOOSE = ("nothing", "no image", "unknown")


class Row(Struct, frozen=True):
    """A directory in its place in a container's root, or one that has no place in any."""

    container: str | None
    role: str
    path: str | None
    belongs_to: Cell
    size: Size | None


def layer_rows(layers: Layers, *, every_path: bool, verbose: bool) -> Iterator[Row]:
    """Container by container from the top down, then what belongs to nothing; `every_path` with work and merged."""
    for container in layers.containers:
        yield from _of_container(container, every_path, verbose)
    for directory in layers.directories:
        if directory.kind in _LOOSE:
            yield Row(None, "-", directory.path, item(_why(directory), style="warn"), directory.size)
    for link in layers.stray_links:
        yield Row(None, "link", link, item("nothing: it leads to no layer", style="warn"), None)


def _of_container(container: ContainerLayers, every_path: bool, verbose: bool) -> Iterator[Row]:
    name = container.name
    if every_path and container.merged:
        yield Row(name, "merged", container.merged, _MOUNTED[container.mounted], None)
    if container.upper:
        yield Row(name, "upper", container.upper, name, container.size)
    if every_path and container.work:
        yield Row(name, "work", container.work, name, None)
    for position, lower in enumerate(container.lower, 1):
        yield Row(name, f"lower {position}", lower.path, _of_lower(lower, name, verbose), lower.size)
    if not container.lower and not container.upper:
        yield Row(name, "-", None, item("not known", style="warn"), None)


def _of_lower(lower: Lower, name: str, verbose: bool) -> Cell:
    if lower.kind == "init":
        return f"{name}, init layer"
    if lower.kind == "unknown":
        return item("unknown", style="warn")
    return _images(lower.images, verbose) or item("no image any more", style="warn")


def _images(images: Sequence[str], verbose: bool) -> str:
    if verbose:
        return ", ".join(images)
    named = [
        short_id(image.removeprefix("sha256:")) if image.startswith("sha256:") else image.removesuffix(":latest")
        for image in images
    ]
    more = f" and {len(named) - _FEW} more" if len(named) > _FEW else ""
    return ", ".join(named[:_FEW]) + more


class Step(Struct, frozen=True):
    """A step of the history of a container's image."""

    container: ContainerLayers
    position: int  # from 1, the oldest
    step: ImageStep

    @property
    def path(self) -> str | None:
        """The directory of the layer that it made."""
        chain_id = self.step.chain_id
        return next((low.path for low in self.container.lower if chain_id and low.chain_id == chain_id), None)


def history_rows(layers: Layers) -> Iterator[Step]:
    """The steps, the newest first, as `docker history` has them."""
    for container in layers.containers:
        steps = [*enumerate(container.history or (), 1)]
        yield from (Step(container, position, step) for position, step in reversed(steps))


def history_columns(now: str, data_roots: Sequence[str], *, verbose: bool) -> list[Column[Step]]:
    """The columns of the history; `now` is what ages are counted to."""
    return [
        Column(
            "CONTAINER",
            lambda row: item(row.container.name, style="name"),
            sort=lambda row: row.container.name,
            group=lambda row: row.container.id,
        ),
        Column("IMAGE", lambda row: row.container.image, shown=False),
        Column("STEP", lambda row: row.position),
        Column("CREATED", lambda row: _age(row.step.created, now), sort=lambda row: row.step.created),
        Column("DIRECTORY", lambda row: row.path if verbose else _short(row.path, data_roots)),
        Column("COMMAND", lambda row: row.step.command),
        Column("COMMENT", lambda row: row.step.comment, shown=False),
    ]


def directory_rows(layers: Layers) -> Iterator[LayerDirectory]:
    """The directories, then the links that lead to none."""
    yield from layers.directories
    for path in layers.stray_links:
        yield LayerDirectory(
            path=path,
            kind="nothing",
            containers=(),
            images=(),
            chain_id=None,
            recorded_size=None,
            short_name=None,
            snapshot=None,
            modified=None,
            why="a link that leads to no layer",
            size=None,
        )


def layer_columns(data_roots: Sequence[str], *, sizes: bool, verbose: bool) -> list[Column[Row]]:
    """The columns; with `sizes` those of what was measured."""
    columns: list[Column[Row]] = [
        Column(
            "CONTAINER",
            lambda row: item(row.container, style="name") if row.container else None,
            sort=lambda row: row.container,
            group=lambda row: row.container or row.path,
        ),
        Column("ROLE", lambda row: row.role),
        Column("DIRECTORY", lambda row: row.path if verbose else _short(row.path, data_roots)),
        Column("BELONGS TO", lambda row: row.belongs_to),
    ]
    if sizes:
        columns += size_columns(lambda row: row.size)
    return columns


def directory_columns(
    data_roots: Sequence[str], names: Mapping[str, str], now: str, *, sizes: bool, orphans: bool, verbose: bool
) -> list[Column[LayerDirectory]]:
    """The columns of the directories themselves; `names` are of containers, by id. Nobody uses `orphans`."""
    columns: list[Column[LayerDirectory]] = [
        Column("DIRECTORY", lambda d: d.path if verbose else _short(d.path, data_roots)),
        Column("KIND", lambda d: item(d.kind, style="warn" if d.kind in _LOOSE else "")),
        Column("WHY" if orphans else "BELONGS TO", lambda d: _owner(d, names, verbose)),
        Column("USED BY", lambda d: _users(d, names, verbose), not orphans, spare=1),
        Column("MODIFIED", lambda d: _age(d.modified, now), sort=lambda d: d.modified, spare=2),
        Column("RECORDED", lambda d: _bytes(d.recorded_size), shown=False, sort=lambda d: d.recorded_size),
        Column("LINK", lambda d: d.short_name, shown=False),
        Column("CHAIN", lambda d: d.chain_id, shown=False),
        Column("SNAPSHOT", lambda d: d.snapshot, shown=False),
    ]
    if sizes:
        columns += size_columns(lambda d: d.size)
    return columns


def _owner(directory: LayerDirectory, names: Mapping[str, str], verbose: bool) -> Cell:
    if directory.kind in ("container", "init"):
        words = ", ".join(names.get(id_, short_id(id_)) for id_ in directory.containers)
        return f"{words}, init layer" if directory.kind == "init" else words
    if directory.kind == "image":
        return _images(directory.images, verbose) or item("no image; containers still stand on it", style="warn")
    if directory.kind == "build cache":
        return None
    return item(directory.why or "?", style="warn")


def _why(directory: LayerDirectory) -> str:
    return f"{directory.kind}: {directory.why}"


def _users(directory: LayerDirectory, names: Mapping[str, str], verbose: bool) -> Cell:
    """The containers of a layer of an image."""
    if directory.kind != "image":
        return None
    users = [names.get(id_, short_id(id_)) for id_ in directory.containers]
    if verbose or len(users) <= _FEW:
        return tuple(sorted(users))
    return f"{len(users)} containers"


def _short(path: str | None, data_roots: Sequence[str]) -> str | None:
    """`overlay2/3fe0a1b2c3d4…/diff`, `snapshots/33/fs`."""
    if path is None:
        return None
    if is_containerds(path):
        return path.partition("/io.containerd.snapshotter.v1.")[2].partition("/")[2]
    for data_root in data_roots:
        path = path.removeprefix(data_root.rstrip("/") + "/")
    return "/".join(_short_part(part) for part in path.split("/"))


def _short_part(part: str) -> str:
    stem, init, _ = part.partition("-init")
    return volume_name(stem) + init


def _age(moment: str | None, now: str) -> str | None:
    age = ago(moment, now)
    return f"{age} ago" if age else None


def _bytes(size: int | None) -> Item | None:
    return None if size is None else item(in_units(size))
