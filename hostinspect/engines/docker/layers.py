"""image/overlay2/layerdb/mounts/ID/* and overlay2/MOUNT-ID/*: which directories a container's root is made of.

    image/overlay2/layerdb/mounts/CONTAINER-ID/mount-id   MOUNT-ID
                                              /init-id    MOUNT-ID-init
                                              /parent     sha256:… (chain id of the image's top layer)
    overlay2/MOUNT-ID/lower                               l/SHORT:l/SHORT:…   topmost first, the -init layer leads
    overlay2/l/SHORT                                      a link to ../LAYER-ID/diff

The paths come out as the driver hands them to mount(2) and `docker inspect` shows them in GraphDriver.Data. Nothing is
followed: a link counts if it is exactly ../LAYER-ID/diff.
"""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.engines.docker.record import DAMAGED, MAX_ENTRIES, Note, RecordError, is_id
from hostinspect.facts import LayerRecord
from hostinspect.kernel.files import Directory

# Drivers that lay out their directory like this. fuse-overlayfs, of rootless engines, is a copy of overlay2.
DRIVERS = ("overlay2", "fuse-overlayfs")

_MAX_LOWER = 64 << 10  # bytes of a `lower` file: the kernel takes 500 layers, of 29 bytes each


class LayerDirectory:
    """overlay2/ of a data root: the links in its l/, each read once."""

    def __init__(self, files: Directory, data_root: str, driver: str) -> None:
        self._files = files
        self._driver = driver
        self.path = f"{data_root}/{driver}"
        self._links: dict[str, str] = {}

    def lower(self, mount_id: str) -> tuple[str, ...]:
        """The lower directories of a layer, topmost first. Raises `RecordError`, OSError."""
        try:
            content = self._files.read(f"{self._driver}/{mount_id}/lower", _MAX_LOWER).decode()
        except FileNotFoundError:
            return ()  # a layer upon nothing
        except UnicodeError:
            raise RecordError(f"{self.path}/{mount_id}/lower: not text") from None
        return tuple(self._resolve(link) for link in content.split(":"))

    def _resolve(self, link: str) -> str:
        directory = self._links.get(link)
        if directory is None:
            parent, _, short = link.partition("/")
            if parent != "l" or not short or "/" in short:
                raise RecordError(f"{self.path}: {link!r} is no l/SHORT link")
            try:
                target = self._files.readlink(f"{self._driver}/{link}")
            except FileNotFoundError:
                raise RecordError(f"{self.path}/{link}: the link of a lower layer is gone") from None
            up, _, rest = target.partition("/")
            layer_id, _, last = rest.partition("/")
            if up != ".." or last != "diff" or not is_layer_id(layer_id):
                raise RecordError(f"{self.path}/{link}: it points to {target!r}, not to a layer")
            directory = self._links[link] = f"{self.path}/{layer_id}/diff"
        return directory


def is_layer_id(name: str) -> bool:
    """Whether `name` is a directory of overlay2/: 64 hexadecimal digits, "-init" after them for an init layer."""
    return is_id(name.removesuffix("-init"))


def read_layers(files: Directory, data_root: str, note: Note) -> Iterator[LayerRecord]:
    """The layers of every container under the opened data root, by container id; none for another storage driver."""
    for driver in DRIVERS:
        path = f"image/{driver}/layerdb/mounts"
        try:
            names = [name for name in files.listdir(path) if is_id(name)]
        except FileNotFoundError:
            continue  # another storage driver, or the containerd image store
        except OSError as error:
            note(f"{data_root}/{path}", error)
            continue
        if len(names) > MAX_ENTRIES:
            note(f"{data_root}/{path}", f"{len(names)} containers, the first {MAX_ENTRIES} are read")
        layers = LayerDirectory(files, data_root, driver)
        for container_id in names[:MAX_ENTRIES]:
            try:
                yield _read_layer(files, f"{path}/{container_id}", container_id, layers)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                note(f"{data_root}/{path}/{container_id}", error)
            except RecordError as error:
                note(f"{data_root}/{path}/{container_id}", str(error), DAMAGED)


def _read_layer(files: Directory, path: str, container_id: str, layers: LayerDirectory) -> LayerRecord:
    mount_id = _read_word(files, f"{path}/mount-id")
    if mount_id is None:
        raise FileNotFoundError(path)
    if not is_layer_id(mount_id):
        raise RecordError(f"mount-id: {mount_id!r} is no layer")
    top = f"{layers.path}/{mount_id}"
    return LayerRecord(
        container_id=container_id,
        mount_id=mount_id,
        init_id=_read_word(files, f"{path}/init-id"),
        parent=_read_word(files, f"{path}/parent"),
        lower=layers.lower(mount_id),
        upper=f"{top}/diff",
        work=f"{top}/work",
        merged=f"{top}/merged",
    )


def _read_word(files: Directory, relative: str) -> str | None:
    """A file of one word, None where there is none."""
    try:
        return files.read(relative, 256).decode("ascii").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeError:
        raise RecordError(f"{relative}: not an id") from None
