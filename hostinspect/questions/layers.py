"""`hostinspect layers`: of what directories each container's root is made, and whose each directory is."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

import msgspec
from msgspec import Struct

from hostinspect.facts import (
    Facts,
    Gap,
    ImageLayerRecord,
    ImageRecord,
    ImageStep,
    LayerDirectoryRecord,
    LayerHomeRecord,
    LayerRecord,
)
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.sizes import Size, Sizes
from hostinspect.topology import Container, Node

FAMILIES = ("engines", "containers", "layers", "images", "mounts")
NEEDS = (*FAMILIES, "cgroups")
_OWNERS = ("engines", "containers", "layers", "images")  # a hole in these may be somebody's directory
_NOT_READ = "which directories are whose"

LowerKind = Literal["init", "image", "unknown"]
Owner = Literal[
    "container", "init", "image", "build cache", "being removed", "other namespace", "no image", "nothing", "unknown"
]
ORPHANS: tuple[Owner, ...] = ("nothing", "no image", "unknown")

_OF_DOCKER = "moby/"  # of snapshots of containerd's
_BUILD_CACHE = "build cache"  # beside ids of containers
_SETTLED = 10  # seconds after which what a running daemon makes has its record


class Lower(Node, frozen=True, kw_only=True):
    """A lower directory of a container's root."""

    path: str
    kind: LowerKind  # init: what the engine itself puts into a container, such as /etc/hosts to mount upon
    chain_id: str | None
    diff_id: str | None
    images: tuple[str, ...]  # those that have this layer: first those whose topmost it is; ids of those without a name
    size: Size | None  # of the whole overlay2/ID; None unless asked for


class ContainerLayers(Node, frozen=True, kw_only=True):
    """The directories of one container's root."""

    id: str
    name: str
    image: str | None
    storage_driver: str | None
    upper: str | None
    work: str | None
    merged: str | None
    mounted: bool | None  # whether the host sees an overlay on `merged`; None: its mounts could not be read, or the
    # engine is rootless and has mounts of its own
    lower: tuple[Lower, ...]  # topmost first
    size: Size | None  # of the whole overlay2/ID that upper and work are in
    history: tuple[ImageStep, ...] | None  # of its image, the oldest first; None unless asked for, or not known


class LayerDirectory(Node, frozen=True, kw_only=True):
    """A directory in overlay2/, and whose it is."""

    path: str
    kind: Owner
    containers: tuple[str, ...]  # ids of those that have it above or below, or that the record of its mount names
    images: tuple[str, ...]
    chain_id: str | None
    recorded_size: int | None  # bytes, as layerdb has it of a layer of an image
    short_name: str | None  # l/SHORT leads here
    snapshot: str | None  # what containerd calls it: NAMESPACE/KEY
    modified: str | None
    why: str | None  # what speaks for nothing, or against telling
    size: Size | None


class Layers(Answer, frozen=True, kw_only=True):
    """What `hostinspect layers -o json` prints."""

    containers: tuple[ContainerLayers, ...]
    directories: tuple[LayerDirectory, ...]
    stray_links: tuple[str, ...]  # overlay2/l/SHORT that no directory is called by
    gaps: tuple[Gap, ...]


def list_layers(
    inspection: Inspection, containers: Sequence[Container] | None = None, sizes: Sizes | None = None
) -> Layers:
    """The layers of these containers and their directories; without them, of all, and every directory in overlay2/."""
    topology, facts = inspection.topology, inspection.facts
    sizes = sizes or Sizes()
    owners = _Owners(facts)
    host_mounts = inspection.index.mounts.get(facts.host.mntns or 0)
    mounted = {mount.mount_point for mount in host_mounts if mount.fstype == "overlay"} if host_mounts else None
    chosen = topology.containers if containers is None else containers
    elsewhere = inspection.index.netns_elsewhere
    described = tuple(
        _container(owners, container, None if container.data_root in elsewhere else mounted, sizes)
        for container in chosen
    )
    directories = sorted(owners.directories(sizes), key=lambda directory: _order(directory.path))
    strays = owners.stray_links()
    if containers is not None:
        wanted = {container.id for container in chosen}
        directories = [directory for directory in directories if not wanted.isdisjoint(directory.containers)]
        strays = ()
    return Layers(
        containers=described,
        directories=tuple(directories),
        stray_links=strays,
        gaps=(*gaps_about(topology, *FAMILIES, of_records=True), *owners.gaps(), *sizes.gaps),
    )


def has_homes(facts: Facts) -> bool:
    """Whether facts were collected with the homes of layers, or there is none that would have been read.

    Upper directories are called so by the driver overlay, whose homes are not.
    """
    return bool(facts.layer_homes) or all(layer.upper.endswith("/upper") for layer in facts.layers)


def with_history(layers: Layers, history: Mapping[str, tuple[ImageStep, ...]], gaps: Sequence[Gap]) -> Layers:
    """The same with how each container's image was made."""
    containers = tuple(msgspec.structs.replace(c, history=history.get(c.id)) for c in layers.containers)
    return msgspec.structs.replace(layers, containers=containers, gaps=(*layers.gaps, *gaps))


def only_orphans(layers: Layers) -> Layers:
    """What of it belongs to nothing, or cannot be told to belong to anything."""
    return msgspec.structs.replace(
        layers,
        containers=(),
        directories=tuple(directory for directory in layers.directories if directory.kind in ORPHANS),
    )


def directories_of(layers: Layers) -> list[str]:
    """What there is to measure."""
    return [directory.path for directory in layers.directories]


def _container(owners: _Owners, container: Container, mounted: set[str] | None, sizes: Sizes) -> ContainerLayers:
    overlay = container.overlay
    upper = overlay.upper if overlay else None
    merged = overlay.merged if overlay else None
    return ContainerLayers(
        id=container.id,
        name=container.name,
        image=container.image,
        storage_driver=container.storage_driver,
        upper=upper,
        work=overlay.work if overlay else None,
        merged=merged,
        mounted=merged in mounted if mounted is not None else None,
        lower=tuple(owners.lower(path, sizes, container.id) for path in (overlay.lower if overlay else ())),
        size=sizes.of(parent(upper)) if upper else None,
        history=None,
    )


def parent(path: str) -> str:
    """overlay2/ID of overlay2/ID/diff, snapshots/ID of snapshots/ID/fs."""
    return path.rpartition("/")[0]


class _Layer(Struct, frozen=True):
    """A read-only layer, with what has it."""

    record: ImageLayerRecord
    images: tuple[str, ...]
    containers: tuple[str, ...]
    is_cached: bool


class _Owners:
    """Whose each directory is, by its path. Only what two records agree on, or one says alone, is told."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._containers = {record.id: record for record in facts.containers}
        self._mounts = {parent(layer.upper): layer for layer in facts.layers}
        self._inits = {f"{parent(path)}/{layer.init_id}": layer for path, layer in self._mounts.items()}
        self._layers = dict(self._image_layers())
        self._now = _seconds(facts.host.collected_at)

    # --- layers of images ---

    def _image_layers(self) -> Iterator[tuple[str, _Layer]]:
        """Layers by directory: of every home under the same data root, since cache ids are random."""
        homes: dict[str, list[str]] = defaultdict(list)
        for home in self._facts.layer_homes:
            homes[home.data_root].append(home.path)
        parents = {(layer.data_root, layer.chain_id): layer.parent for layer in self._facts.image_layers}
        above: dict[tuple[str, str], set[str]] = defaultdict(set)
        for user, data_root, topmost in self._users():
            chain = topmost
            while chain is not None and user not in above[data_root, chain]:
                above[data_root, chain].add(user)
                chain = parents.get((data_root, chain))
        for record in self._facts.image_layers:
            key = record.data_root, record.chain_id
            found = _Layer(
                record=record,
                images=tuple(self._images.get(key, ())),
                containers=tuple(sorted(above[key] - {_BUILD_CACHE})),
                is_cached=_BUILD_CACHE in above[key],
            )
            for home_path in homes[record.data_root]:
                yield f"{home_path}/{record.cache_id}", found

    def _users(self) -> Iterator[tuple[str, str, str | None]]:
        """Who keeps a layer, and with it all below: a container, or the build cache; data root; chain id."""
        for layer in self._facts.layers:
            record = self._containers.get(layer.container_id)
            if record is not None:
                yield record.id, record.data_root, layer.parent
        for snapshot in self._facts.build_cache:
            yield _BUILD_CACHE, snapshot.data_root, snapshot.chain_id
            yield _BUILD_CACHE, snapshot.data_root, snapshot.parent

    @cached_property
    def _images(self) -> dict[tuple[str, str], list[str]]:
        """The images that have a layer: of those with a name first whose topmost it is, those without one last."""
        having: dict[tuple[str, str], list[tuple[bool, bool, str]]] = defaultdict(list)
        for image in self._facts.images:
            for chain_id in image.layers:
                order = not image.names, chain_id != image.layers[-1]
                having[image.data_root, chain_id] += [(*order, name) for name in _image_names(image)]
        return {key: [name for *_, name in sorted(names)] for key, names in having.items()}

    # --- directories ---

    def lower(self, path: str, sizes: Sizes, container: str) -> Lower:
        """A lower directory of a container, `path` being that of its content.

        With containerd an image that was committed has the init layer of the container that it was made of.
        """
        directory = parent(path)
        layer = self._layers.get(directory)
        init = self._inits.get(directory)
        is_own = init is not None and init.container_id == container
        kind: LowerKind = "init" if is_own else "image" if layer else "unknown"
        return Lower(
            path=path,
            kind=kind,
            chain_id=_chain_id(layer),
            diff_id=layer.record.diff_id if layer else None,
            images=layer.images if layer else (),
            size=sizes.of(directory),
        )

    def directories(self, sizes: Sizes) -> Iterator[LayerDirectory]:
        for home in self._facts.layer_homes:
            for record in home.directories:
                yield self._directory(home, record, sizes)

    def _directory(self, home: LayerHomeRecord, record: LayerDirectoryRecord, sizes: Sizes) -> LayerDirectory:
        path = f"{home.path}/{record.name}"
        layer = self._layers.get(path)
        mount = self._mounts.get(path) or self._inits.get(path)
        kind, why = self._kind(home, record, layer, mount)
        return LayerDirectory(
            path=path,
            kind=kind,
            containers=(mount.container_id,) if mount else layer.containers if layer else (),
            images=layer.images if layer else (),
            chain_id=_chain_id(layer),
            recorded_size=layer.record.size if layer else None,
            short_name=record.link,
            snapshot=record.snapshot,
            modified=_time(record.modified),
            why=why,
            size=sizes.of(path),
        )

    def _kind(
        self, home: LayerHomeRecord, record: LayerDirectoryRecord, layer: _Layer | None, mount: LayerRecord | None
    ) -> tuple[Owner, str | None]:
        if mount is not None and mount.container_id in self._containers:
            return ("container" if record.name == mount.mount_id else "init"), None
        if record.snapshot is not None and not record.snapshot.startswith(_OF_DOCKER):
            return "other namespace", f"a snapshot of containerd's namespace {record.snapshot.partition('/')[0]}"
        if layer is not None and layer.record.removing:
            return "being removed", "its removal was begun; the daemon ends it when it starts"
        if layer is not None and (layer.images or layer.containers):
            return "image", None
        if (layer is not None and layer.is_cached) or self._is_cached(home, record.name):
            return "build cache", None
        if layer is not None:
            kind: Owner = "no image"
            why = "a layer that no image, container or build cache has: left over, or of a pull that is not done"
        elif mount is not None:
            kind, why = "nothing", f"made for container {mount.container_id[:12]}, which is not there"
        else:
            kind, why = "nothing", "no record of the engine names it"
        doubt = self._doubt(home, record)
        return ("unknown", doubt) if doubt else (kind, why)

    def _is_cached(self, home: LayerHomeRecord, name: str) -> bool:
        return name.removesuffix("-init") in home.build_mounts or (home.data_root, name) in self._snapshots

    @cached_property
    def _snapshots(self) -> set[tuple[str, str]]:
        """Directories of the build cache: a snapshot's own, or that of the one it was made of."""
        return {(s.data_root, name) for s in self._facts.build_cache for name in (s.id, s.committed) if name}

    def _doubt(self, home: LayerHomeRecord, record: LayerDirectoryRecord) -> str | None:
        """Why a directory that seems to be nobody's may be somebody's."""
        if home.path in self._unread:
            return "not all records could be read, so that one of them may name it"
        started = self._daemons.get(home.data_root)
        if started is None or record.modified is None:
            return None
        if self._now - record.modified < _SETTLED:
            return "made just now: its record may be on the way"
        if record.modified >= started and any(begun >= started for begun in home.writing):
            return "made since the daemon started, which is writing a layer now: pulling, loading or committing"
        return None

    @cached_property
    def _unread(self) -> set[str]:
        """Homes with a hole in what says whose a directory is: in the data root, or where containerd's tables are."""
        holes = [gap.subject for gap in self._facts.gaps if gap.collector in _OWNERS]
        return {
            home.path
            for home in self._facts.layer_homes
            if any(f"{hole}/".startswith((f"{home.data_root}/", *_tables_of(home))) for hole in holes)
        }

    @cached_property
    def _daemons(self) -> dict[str, float]:
        """When the daemon of each data root started, of those that run; seconds since the epoch."""
        starts = {process.pid: process.starttime for process in self._facts.processes}
        host = self._facts.host
        return {
            engine.data_root: (host.boot_time or 0) + starts[engine.pid] / host.clock_ticks
            for engine in self._facts.engines
            if engine.pid in starts
        }

    # --- what hangs loose ---

    def stray_links(self) -> tuple[str, ...]:
        found = []
        for home in self._facts.layer_homes:
            known = {record.link for record in home.directories if record.has_diff}
            if home.path not in self._unread:
                found += [f"{home.path}/l/{name}" for name in home.short_names if name not in known]
        return tuple(sorted(found))

    def gaps(self) -> Iterator[Gap]:
        """Where facts were collected without the layers of images, as those of a report are."""
        if has_homes(self._facts):
            return
        yield Gap(
            collector="layers",
            subject=_NOT_READ,
            why="these facts were collected without it",
            remedy="run it on the host, or take another snapshot",
        )


def _order(path: str) -> tuple[str, int, str]:
    """Of directories with numbers for names 9 is before 10."""
    home, _, name = path.rpartition("/")
    return home, len(name) if name.isdecimal() else 0, name


def _tables_of(home: LayerHomeRecord) -> tuple[str, ...]:
    """DIR/ of DIR/io.containerd.snapshotter.v1.overlayfs/snapshots."""
    return (f"{parent(parent(home.path))}/",) if is_containerds(home.path) else ()


def is_containerds(path: str) -> bool:
    """Whether a directory is containerd's, or in one of its."""
    return "/io.containerd.snapshotter.v1." in path


def _chain_id(layer: _Layer | None) -> str | None:
    """None of the init layer that an image has between its own, with containerd."""
    return layer.record.chain_id if layer and layer.record.chain_id.startswith("sha256:") else None


def _image_names(image: ImageRecord) -> tuple[str, ...]:
    """Its names, without the digests that it was pulled by where it has others; else its id."""
    tags = tuple(name for name in image.names if "@" not in name)
    return tags or image.names or (image.id,)


def _seconds(moment: str) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
