"""containerd's snapshots, for Docker's containerd image store: what every directory of theirs is.

    io.containerd.snapshotter.v1.overlayfs/metadata.db     v1/snapshots/moby/N/KEY: id, size, parent (a moby/N/KEY)
    io.containerd.snapshotter.v1.overlayfs/snapshots/ID/   fs, work
    io.containerd.metadata.v1.bolt/meta.db                 v1/moby/leases/NAME: createdat, snapshots/overlayfs/KEY

A container's snapshot has its id for a KEY, its init layer that and "-init", a layer of an image its chain id, one of
BuildKit's cache 25 characters of base 36. `id` is a number, as a uvarint (encoding/binary). What `docker commit` makes
is upon the init layer of the container that it was made of, which stays when that is removed. A lease keeps what
nothing else has: BuildKit's, one for each piece of its cache, are called so too, docker's as the container; whoever
pulls has one for a while. moby is Docker's namespace; others', of Kubernetes and ctr, have theirs in the same place.

dockerd starts a containerd of its own, with its files below the data root, where the host has none; else they are where
containerd's `root` is, /var/lib/containerd.

Sources: containerd's core/snapshots/storage/bolt.go, plugins/snapshots/overlay and core/metadata/buckets.go; moby's
daemon/containerd, and daemon/snapshotter for where a root is mounted.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from hostinspect.engines.boltdb import Bolt, BoltError
from hostinspect.engines.docker.layers import EXPECTED, is_layer_id, say
from hostinspect.engines.docker.naming import CONTAINERD_DRIVER, is_id
from hostinspect.engines.docker.record import DAMAGED, Note, at_most
from hostinspect.engines.docker.table import read_table
from hostinspect.facts import (
    BuildCacheRecord,
    ImageLayerRecord,
    LayerDirectoryRecord,
    LayerHomeRecord,
    LayerRecord,
)
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

OWN_STORE = "containerd/daemon"  # below the data root
SYSTEM_STORE = "/var/lib/containerd"
METADATA = "io.containerd.metadata.v1.bolt/meta.db"
NAMESPACE = b"moby"

_HOME = f"io.containerd.snapshotter.v1.{CONTAINERD_DRIVER}"
_TABLE = f"{_HOME}/metadata.db"
_SNAPSHOTS = f"{_HOME}/snapshots"
_LEASED = b"snapshots", CONTAINERD_DRIVER.encode()
_MAX_PARENTS = 1000  # overlayfs takes 500 layers
_YEAR_1 = 62_135_596_800  # seconds from Go's first moment to the epoch


class Snapshot(NamedTuple):
    """A row of metadata.db."""

    namespace: str
    key: str  # within the namespace
    number: int  # its directory
    parent: str  # the name of another row, or ""
    size: int  # bytes on disk, of one that is committed


class Lease(NamedTuple):
    """A lease of Docker's."""

    name: str
    created: int | None  # seconds since the epoch
    keys: tuple[str, ...]  # of the snapshots that it keeps


# --- the tables -------------------------------------------------------------------------------------------------------


def parse_snapshots(table: Bolt) -> dict[str, Snapshot]:
    """All rows by name, in its order. Raises `BoltError`."""
    found = {}
    for name, items in table.buckets(b"v1", b"snapshots"):
        values = dict(items)
        namespace, _, rest = text(name).partition("/")
        found[text(name)] = Snapshot(
            namespace=namespace,
            key=rest.partition("/")[2],
            number=_uvarint(values.get(b"id", b"")),
            parent=text(values.get(b"parent", b"")),
            size=_uvarint(values.get(b"size", b"\0")),
        )
    return found


def parse_leases(table: Bolt) -> tuple[Lease, ...]:
    """Docker's leases, by name. Raises `BoltError`."""
    path = b"v1", NAMESPACE, b"leases"
    created = {name: dict(items).get(b"createdat", b"") for name, items in table.buckets(*path)}
    keys = {name: tuple(text(key) for key, _ in items) for name, items in table.within(_LEASED, *path)}
    return tuple(Lease(text(name), _seconds(at), keys.get(name, ())) for name, at in sorted(created.items()))


def _uvarint(content: bytes) -> int:
    """A number in Go's variable length: seven bits a byte, the lowest first. Raises `BoltError`."""
    number = 0
    for position, byte in enumerate(content[:10]):
        number |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return number
    raise BoltError(f"{content!r} is no number of a snapshot")


def _seconds(moment: bytes) -> int | None:
    """Go's time.Time.MarshalBinary: a version, seconds since year 1 in eight bytes, and more."""
    return int.from_bytes(moment[1:9], "big", signed=True) - _YEAR_1 if len(moment) >= 15 else None


# --- the roots of containers ------------------------------------------------------------------------------------------


def layers_of(snapshots: dict[str, Snapshot], home: str, roots: str, of: Container[str]) -> Iterator[LayerRecord]:
    """The layers of the containers `of` these ids, by id.

    `home` is where all snapshots are, `roots` where roots are mounted. Without all of its parents one is left out.
    """
    for snapshot in sorted(snapshots.values(), key=lambda snapshot: snapshot.key):
        if snapshot.namespace != _MOBY or not is_id(snapshot.key) or snapshot.key not in of:
            continue
        below = _parents(snapshots, snapshot.parent)
        if not below:
            continue
        has_init = below[0].key == f"{snapshot.key}-init"
        yield LayerRecord(
            container_id=snapshot.key,
            mount_id=str(snapshot.number),
            init_id=str(below[0].number) if has_init else None,
            parent=next((one.key for one in below if is_chain(one.key)), None),
            lower=tuple(f"{home}/{one.number}/fs" for one in below),
            upper=f"{home}/{snapshot.number}/fs",
            work=f"{home}/{snapshot.number}/work",
            merged=f"{roots}/{snapshot.key}",
        )


_MOBY = NAMESPACE.decode()


def is_chain(key: str) -> bool:
    return key.startswith("sha256:")


def _parents(snapshots: dict[str, Snapshot], name: str) -> list[Snapshot]:
    """A parent and those below it, topmost first; none where one of them is not there, or too many are."""
    found: list[Snapshot] = []
    while name:
        if name not in snapshots or len(found) == _MAX_PARENTS:
            return []
        found.append(snapshots[name])
        name = found[-1].parent
    return found


def read_snapshots(
    store: Directory, path: str, data_root: str, note: Note, of: Container[str]
) -> tuple[LayerRecord, ...]:
    """The layers of containers `of` these ids in a containerd's opened directory, which is at `path`."""
    snapshots = read_table(store, _TABLE, path, note, parse_snapshots) or {}
    return tuple(layers_of(snapshots, f"{path}/{_SNAPSHOTS}", f"{data_root}/rootfs/{CONTAINERD_DRIVER}", of))


# --- whose each directory is ------------------------------------------------------------------------------------------


class Home(NamedTuple):
    """The directory of all snapshots, and what is in it beside containers' own."""

    home: LayerHomeRecord
    layers: tuple[ImageLayerRecord, ...]
    build_cache: tuple[BuildCacheRecord, ...]


def read_home(store: Directory, path: str, data_root: str, note: Note) -> Home | None:
    """All snapshots in a containerd's opened directory, which is at `path`; None where there is no place for them.

    Listed before the tables are read, as `image_layers.read_layer_homes` does.
    """
    where = f"{path}/{_SNAPSHOTS}"
    try:
        with store.directory(_SNAPSHOTS) as home:
            names = at_most(home.listdir(), "snapshots", where, note)
            listed = tuple(_directories(home, names, where, note))
    except FileNotFoundError:
        return None
    except OSError as error:
        note(where, error)
        return None
    for table in (METADATA, _TABLE):
        if listed and not store.exists(table):
            note(f"{path}/{table}", f"it is not there, and {len(listed)} snapshots are", DAMAGED)
    leases = read_table(store, METADATA, path, note, parse_leases) or ()
    snapshots = (read_table(store, _TABLE, path, note, parse_snapshots) or {}).values()
    return home_of(LayerHomeRecord(data_root=data_root, path=where, directories=listed), [*snapshots], leases)


def _directories(home: Directory, names: Sequence[str], path: str, note: Note) -> Iterator[LayerDirectoryRecord]:
    for name in names:
        try:
            if home.is_dir(name):
                modified = int(home.lstat(name).st_mtime)
                has_diff = home.is_dir(f"{name}/fs")
                yield LayerDirectoryRecord(name=text(os.fsencode(name)), has_diff=has_diff, modified=modified)
        except EXPECTED as error:
            say(error, f"{path}/{name}", note)


def home_of(listed: LayerHomeRecord, snapshots: list[Snapshot], leases: tuple[Lease, ...]) -> Home:
    """What the rows and leases say of the directories that are `listed`."""
    own = [snapshot for snapshot in snapshots if snapshot.namespace == _MOBY]
    names = {str(snapshot.number): f"{snapshot.namespace}/{snapshot.key}" for snapshot in snapshots}
    of_buildkit = [snapshot for snapshot in own if is_of_buildkit(snapshot.key)]
    data_root = listed.data_root
    return Home(
        home=replace(
            listed,
            directories=tuple(replace(one, snapshot=names.get(one.name)) for one in listed.directories),
            build_mounts=tuple(str(snapshot.number) for snapshot in of_buildkit),
            writing=tuple(
                lease.created
                for lease in leases
                if lease.created is not None and not is_of_buildkit(lease.name) and not is_id(lease.name)
            ),
        ),
        layers=tuple(
            ImageLayerRecord(
                data_root=data_root,
                chain_id=snapshot.key,
                cache_id=str(snapshot.number),
                parent=_key(snapshot.parent),
                size=snapshot.size,
            )
            for snapshot in own
            if not is_of_buildkit(snapshot.key)
        ),
        build_cache=(
            *(BuildCacheRecord(data_root=data_root, id=one.key, parent=_key(one.parent)) for one in of_buildkit),
            *(
                BuildCacheRecord(data_root=data_root, id=lease.name, chain_id=key)
                for lease in leases
                if is_of_buildkit(lease.name)
                for key in lease.keys
            ),
        ),
    )


def _key(name: str) -> str | None:
    """KEY of moby/N/KEY."""
    return name.partition("/")[2].partition("/")[2] or None


def is_of_buildkit(key: str) -> bool:
    """Whether a snapshot or a lease is BuildKit's: by its own id, of that with a word behind, or as a view of a layer.

    >>> is_of_buildkit("wqfltkcem0ku5l3aibe4gmczl-view"), is_of_buildkit("ab" * 32 + "-init"), is_of_buildkit("ab" * 32)
    (True, False, False)
    """
    own, _, word = key.partition("-")
    return (is_layer_id(own) and not is_id(own)) or (is_chain(own) and word == "view")
