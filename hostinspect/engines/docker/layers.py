"""image/overlay2/layerdb/mounts/ID/* and overlay2/MOUNT-ID/*: which directories a container's root is made of.

    image/overlay2/layerdb/mounts/CONTAINER-ID/mount-id   MOUNT-ID (a random id, not the container's)
                                              /init-id    MOUNT-ID-init
                                              /parent     sha256:… (chain id of the image's top layer)
    overlay2/MOUNT-ID/lower                               l/SHORT:l/SHORT:…   topmost first, the -init layer leads
    overlay2/LAYER-ID/link                                SHORT: the layer's short name
    overlay2/l/SHORT                                      a symbolic link to ../LAYER-ID/diff

    overlay/MOUNT-ID/lower-id                             LAYER-ID: of the driver before, until Docker 24
    overlay/LAYER-ID/root                                 with hard links to all in the layers below

LAYER-ID is 64 hexadecimal digits, or 25 characters of base 36 for a layer that BuildKit built.

The paths come out as the driver hands them to mount(2) and `docker inspect` shows them in GraphDriver.Data. The short
names are resolved by the `link` files, which the driver itself restores lost symbolic links from: so no link is
followed, and none is read either, because readlink(2) cannot leave the link's access time alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from hostinspect.engines.docker.naming import is_id
from hostinspect.engines.docker.record import DAMAGED, Note, RecordError, at_most
from hostinspect.facts import LayerRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import kept

# Drivers that lay out their directory like this. fuse-overlayfs, of rootless engines, is a copy of overlay2.
DRIVERS = ("overlay2", "fuse-overlayfs")

FIRST_DRIVER = "overlay"  # of Docker 1.4 to 24: each layer upon one other, its own directories called otherwise

_BUILDKIT_ID = 25  # characters of base 36
_MAX_LOWER = 64 << 10  # bytes of a `lower` file: the kernel takes 500 layers, of 29 bytes each


class LayerDirectory:
    """The opened overlay2/ of a data root: its layers by their short names, each read once.

    `mounts` are the mount ids of containers: nobody's lower layer, so that their `link` files need not be read.
    """

    def __init__(self, files: Directory, path: str, mounts: Container[str]) -> None:
        self._files, self._mounts = files, mounts
        self.path = path
        self._layers: dict[str, set[str]] = {}  # short name to layer ids; more than one is a damaged directory
        self._is_complete = False

    def lower(self, mount_id: str) -> tuple[str, ...]:
        """The lower directories of a layer, topmost first. Raises `RecordError`, OSError."""
        links = read_word(self._files, f"{mount_id}/lower", _MAX_LOWER)
        if links is None:
            return ()  # a layer upon nothing
        # The init layer is always called so, and its own `link` says if it is the topmost lower one.
        self._read_link(f"{mount_id}-init")
        return tuple(self._resolve(link) for link in links.split(":"))

    def _resolve(self, link: str) -> str:
        parent, _, short = link.partition("/")
        if parent != "l" or not short.isalnum():
            raise RecordError(f"lower: {link!r} is no l/SHORT")
        if short not in self._layers and not self._is_complete:
            self._is_complete = True
            for layer_id in self._files.listdir():
                # Init layers are read with the container that they belong to.
                if _is_own_id(layer_id) and layer_id not in self._mounts:
                    self._read_link(layer_id)
        layer_ids = self._layers.get(short, ())
        if len(layer_ids) != 1:
            raise RecordError(f"lower: {len(layer_ids)} layers are called {short!r}, one should be")
        [layer_id] = layer_ids
        return kept(f"{self.path}/{layer_id}/diff")

    def _read_link(self, layer_id: str) -> None:
        short = read_word(self._files, f"{layer_id}/link")
        if short:
            self._layers.setdefault(short, set()).add(layer_id)


def is_layer_id(name: str) -> bool:
    """Whether `name` is a layer's in overlay2/: an id of Docker or BuildKit, "-init" after it for an init layer."""
    return _is_own_id(name.removesuffix("-init"))


def _is_own_id(name: str) -> bool:
    """Whether `name` is a whole id: of Docker, or of BuildKit (identity.NewID)."""
    return is_id(name) or (len(name) == _BUILDKIT_ID and not name.strip("0123456789abcdefghijklmnopqrstuvwxyz"))


def read_layers(
    files: Directory, data_root: str, note: Note, of: Container[str] | None = None
) -> Iterator[LayerRecord]:
    """The layers of the containers `of` these ids, or of all, under the opened data root, by container id; none for
    another storage driver.
    """
    for driver in (*DRIVERS, FIRST_DRIVER):
        path = f"{data_root}/image/{driver}/layerdb/mounts"
        read = _read_first_driver if driver == FIRST_DRIVER else _read_driver
        try:
            # One `Directory` each: it keeps the way to the last file only, and two ways are gone by turns.
            with files.directory(f"image/{driver}/layerdb/mounts") as mounts, files.directory(driver) as layers:
                yield from read(mounts, path, layers, f"{data_root}/{driver}", note, of)
        except FileNotFoundError:
            continue  # another storage driver, or the containerd image store
        except OSError as error:
            note(path, error)


def _read_driver(
    mounts: Directory, mounts_path: str, layers: Directory, layers_path: str, note: Note, of: Container[str] | None
) -> Iterator[LayerRecord]:
    found = _read_mounts(mounts, mounts_path, note, of)
    directory = LayerDirectory(layers, layers_path, {mount_id for mount_id, _ in found.values()})
    for container_id, (mount_id, parent) in found.items():
        try:
            lower = directory.lower(mount_id)
            init_id: str | None = f"{mount_id}-init"
            if not lower or lower[0] != f"{layers_path}/{init_id}/diff":
                init_id = _read_layer_id(mounts, f"{container_id}/init-id")
        except RecordError as error:
            # Removed while it was read: its `lower` was still there, and what that names is not.
            if layers.is_dir(mount_id) and mounts.is_dir(container_id):
                say(error, f"{mounts_path}/{container_id}", note)
            continue
        except EXPECTED as error:
            say(error, f"{mounts_path}/{container_id}", note)
            continue
        yield _record(layers_path, container_id, mount_id, parent, init_id, lower, "diff")


def _read_first_driver(
    mounts: Directory, mounts_path: str, layers: Directory, layers_path: str, note: Note, of: Container[str] | None
) -> Iterator[LayerRecord]:
    for container_id, (mount_id, parent) in _read_mounts(mounts, mounts_path, note, of).items():
        try:
            lower_id = _read_layer_id(layers, f"{mount_id}/lower-id")
            init_id = _read_layer_id(mounts, f"{container_id}/init-id")
        except EXPECTED as error:
            say(error, f"{mounts_path}/{container_id}", note)
            continue
        lower = (f"{layers_path}/{lower_id}/root",) if lower_id else ()
        yield _record(layers_path, container_id, mount_id, parent, init_id, lower, "upper")


def _record(
    layers_path: str,
    container_id: str,
    mount_id: str,
    parent: str | None,
    init_id: str | None,
    lower: tuple[str, ...],
    upper: str,
) -> LayerRecord:
    top = f"{layers_path}/{mount_id}"
    return LayerRecord(
        container_id=container_id,
        mount_id=mount_id,
        init_id=init_id,
        parent=parent,
        lower=lower,
        upper=f"{top}/{upper}",
        work=f"{top}/work",
        merged=f"{top}/merged",
    )


def _read_mounts(
    mounts: Directory, path: str, note: Note, of: Container[str] | None
) -> dict[str, tuple[str, str | None]]:
    """mount-id and parent of each container `of` these ids."""
    names = [name for name in mounts.listdir() if is_id(name) and (of is None or name in of)]
    found: dict[str, tuple[str, str | None]] = {}
    for container_id in at_most(names, "containers", path, note):
        try:
            found[container_id] = _read_mount(mounts, container_id)
        except EXPECTED as error:
            say(error, f"{path}/{container_id}", note)
    return found


def _read_mount(mounts: Directory, container_id: str) -> tuple[str, str | None]:
    """mount-id and parent of a container, one after the other because they are neighbours."""
    mount_id = _read_layer_id(mounts, f"{container_id}/mount-id")
    if mount_id is None:
        raise FileNotFoundError(container_id)
    return mount_id, read_word(mounts, f"{container_id}/parent")


def _read_layer_id(mounts: Directory, relative: str) -> str | None:
    layer_id = read_word(mounts, relative)
    if layer_id and not is_layer_id(layer_id):
        raise RecordError(f"{relative}: {layer_id!r} is no layer")
    return layer_id


def read_word(files: Directory, relative: str, limit: int = 256) -> str | None:
    """A file of one word, None where there is none."""
    try:
        return files.read(relative, limit).decode("ascii").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeError:
        raise RecordError(f"{relative}: not ASCII") from None


EXPECTED = (OSError, RecordError)


def say(error: OSError | RecordError, subject: str, note: Note) -> None:
    """What is wrong with one record is noted; what has gone away is not."""
    if isinstance(error, RecordError):
        note(subject, str(error), DAMAGED)
    elif not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        note(subject, error)
