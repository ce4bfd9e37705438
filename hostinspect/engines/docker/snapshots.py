"""containerd's tables, for Docker's containerd image store: which snapshots a container's root is made of, and images.

    io.containerd.snapshotter.v1.overlayfs/metadata.db     v1/snapshots/moby/N/KEY: id, parent (another moby/N/KEY)
    io.containerd.snapshotter.v1.overlayfs/snapshots/ID/   fs, work
    io.containerd.metadata.v1.bolt/meta.db                 v1/moby/images/NAME/target: digest

A container's snapshot has its id for a KEY, its init layer that and "-init", a layer of an image its chain id. `id` is
a number, as a uvarint (encoding/binary). dockerd starts a containerd of its own, with its files below the data root,
where the host has none; else they are where containerd's `root` is, /var/lib/containerd.

Sources: containerd's core/snapshots/storage/bolt.go, plugins/snapshots/overlay and core/metadata/buckets.go; moby's
daemon/containerd, and daemon/snapshotter for where a root is mounted.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from hostinspect.engines.boltdb import Bolt, BoltError
from hostinspect.engines.docker.naming import CONTAINERD_DRIVER, is_id
from hostinspect.engines.docker.record import MAX_ENTRIES, Note
from hostinspect.engines.docker.table import read_table
from hostinspect.facts import ImageRecord, LayerRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

OWN_STORE = "containerd/daemon"  # below the data root
SYSTEM_STORE = "/var/lib/containerd"

_HOME = f"io.containerd.snapshotter.v1.{CONTAINERD_DRIVER}"
_SNAPSHOTS = f"{_HOME}/metadata.db"
_IMAGES = "io.containerd.metadata.v1.bolt/meta.db"
_NAMESPACE = b"moby"
_DANGLING = "moby-dangling@"  # what docker calls an image without a name
_MAX_PARENTS = 1000  # overlayfs takes 500 layers
_FAMILIAR = ("docker.io/library/", "docker.io/")  # what docker leaves out of a name


def parse_snapshots(table: Bolt, home: str, roots: str, of: Container[str]) -> Iterator[LayerRecord]:
    """The layers of the containers `of` these ids, by id. Raises `BoltError`.

    `home` is the snapshotter's directory, `roots` where roots are mounted. Without all of its parents one is left out.
    """
    snapshots: dict[str, tuple[int, str]] = {}  # id and parent
    for name, items in table.buckets(b"v1", b"snapshots"):
        values = dict(items)
        snapshots[text(name)] = _uvarint(values.get(b"id", b"")), text(values.get(b"parent", b""))
    for key, (number, parent) in sorted(snapshots.items(), key=lambda item: _bare(item[0])):
        container_id = _bare(key)
        if not is_id(container_id) or container_id not in of:
            continue
        below = _parents(snapshots, parent)
        if not below:
            continue
        has_init = _bare(below[0]) == f"{container_id}-init"
        image = next((_bare(found) for found in below if _bare(found).startswith("sha256:")), None)
        yield LayerRecord(
            container_id=container_id,
            mount_id=str(number),
            init_id=str(snapshots[below[0]][0]) if has_init else None,
            parent=image,
            lower=tuple(f"{home}/snapshots/{snapshots[found][0]}/fs" for found in below),
            upper=f"{home}/snapshots/{number}/fs",
            work=f"{home}/snapshots/{number}/work",
            merged=f"{roots}/{container_id}",
        )


def _parents(snapshots: dict[str, tuple[int, str]], key: str) -> list[str]:
    """A parent `key` and the keys below it, topmost first; none where one of them is not there, or too many are."""
    found: list[str] = []
    while key:
        found.append(key)
        if key not in snapshots or len(found) == _MAX_PARENTS:
            return []
        key = snapshots[key][1]
    return found


def _bare(key: str) -> str:
    """KEY of moby/N/KEY."""
    return key.rpartition("/")[2]


def _uvarint(content: bytes) -> int:
    """A number in Go's variable length: seven bits a byte, the lowest first. Raises `BoltError`."""
    number = 0
    for position, byte in enumerate(content[:10]):
        number |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return number
    raise BoltError(f"{content!r} is no number of a snapshot")


def parse_images(table: Bolt, data_root: str) -> tuple[ImageRecord, ...]:
    """The images that docker has there, by id, as it calls them. Raises `BoltError`."""
    names: dict[str, list[str]] = {}
    for key, items in table.within(b"target", b"v1", _NAMESPACE, b"images"):
        digest, name = text(dict(items).get(b"digest", b"")), text(key)
        if digest:
            names.setdefault(digest, []).extend([] if name.startswith(_DANGLING) else [_familiar(name)])
    return tuple(
        ImageRecord(data_root=data_root, id=digest, names=tuple(sorted(called)))
        for digest, called in sorted(names.items())
    )


def _familiar(name: str) -> str:
    """An image's name as docker shows it.

    >>> _familiar("docker.io/library/app:1"), _familiar("docker.io/me/app:1"), _familiar("ghcr.io/me/app:1")
    ('app:1', 'me/app:1', 'ghcr.io/me/app:1')
    """
    return next((name.removeprefix(prefix) for prefix in _FAMILIAR if name.startswith(prefix)), name)


def read_snapshots(
    store: Directory, path: str, data_root: str, note: Note, of: Container[str]
) -> tuple[LayerRecord, ...]:
    """The layers of containers `of` these ids in a containerd's opened directory, which is at `path`."""
    roots = f"{data_root}/rootfs/{CONTAINERD_DRIVER}"
    found = read_table(store, _SNAPSHOTS, path, note, lambda t: tuple(parse_snapshots(t, f"{path}/{_HOME}", roots, of)))
    return found or ()


def read_stored_images(store: Directory, path: str, data_root: str, note: Note) -> tuple[ImageRecord, ...] | None:
    """Every image that docker has in a containerd's opened directory, which is at `path`; None where it keeps none."""
    images = read_table(store, _IMAGES, path, note, lambda table: parse_images(table, data_root))
    if images and len(images) > MAX_ENTRIES:
        note(f"{path}/{_IMAGES}", f"{len(images)} images, the first {MAX_ENTRIES} are read")
    return images if images is None else images[:MAX_ENTRIES]
