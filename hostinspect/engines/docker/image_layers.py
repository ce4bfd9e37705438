"""image/DRIVER/layerdb/sha256/CHAIN/*, and the home of the storage driver: what every directory of overlay2/ is.

    image/overlay2/layerdb/sha256/CHAIN/cache-id   its directory: overlay2/CACHE-ID
                                       /diff       sha256:… of the layer's tar archive
                                       /parent     sha256:… chain id of the layer below
                                       /size       bytes of the files in the archive
    image/overlay2/layerdb/sha256/CHAIN-RANDOM-removing/*    of a layer whose removal was begun
    image/overlay2/layerdb/tmp/write-set-RANDOM/*  of a layer that is being written
    overlay2/NAME/link                             SHORT
    overlay2/l/SHORT                               a symbolic link to ../NAME/diff

A chain id stands for a layer with all that is below it: that of the lowest is its diff id, of another
sha256("PARENT-CHAIN DIFF"). A layer that BuildKit built has 25 characters of base 36 for a cache id, any other 64
hexadecimal digits. Symbolic links in l/ are listed and not read (see `layers`): SHORT is whose `link` says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from hostinspect.engines.docker.layers import DRIVERS, EXPECTED, is_layer_id, read_word, say
from hostinspect.engines.docker.naming import is_id
from hostinspect.engines.docker.record import MAX_ENTRIES, Note, RecordError, at_most
from hostinspect.facts import ImageLayerRecord, LayerDirectoryRecord, LayerHomeRecord
from hostinspect.kernel.files import Directory
from hostinspect.kernel.text import text

LINKS = "l"
_REMOVING = "-removing"
_MAX_SIZE_DIGITS = 19  # of an int64


def read_image_layers(files: Directory, data_root: str, note: Note) -> Iterator[ImageLayerRecord]:
    """Every read-only layer under the opened data root, by chain id."""
    for driver in DRIVERS:
        path = f"image/{driver}/layerdb/sha256"
        try:
            with files.directory(path) as chains:
                names = [name for name in chains.listdir() if is_id(name[:64])]
                for name in at_most(names, "layers", f"{data_root}/{path}", note):
                    try:
                        yield _read_layer(chains, name, data_root)
                    except EXPECTED as error:
                        say(error, f"{data_root}/{path}/{name}", note)
        except FileNotFoundError:
            continue
        except OSError as error:
            note(f"{data_root}/{path}", error)


def _read_layer(chains: Directory, name: str, data_root: str) -> ImageLayerRecord:
    """The layer of the directory `name`. Raises `RecordError`, OSError."""
    cache_id = read_word(chains, f"{name}/cache-id")
    if cache_id is None:
        raise FileNotFoundError(name)
    if not is_layer_id(cache_id):
        raise RecordError(f"cache-id: {cache_id!r} is no layer")
    size = read_word(chains, f"{name}/size")
    if size is not None and (not size.isdecimal() or len(size) > _MAX_SIZE_DIGITS):
        raise RecordError(f"size: {size!r} is no number of bytes")
    return ImageLayerRecord(
        data_root=data_root,
        chain_id=f"sha256:{name[:64]}",
        cache_id=cache_id,
        parent=read_word(chains, f"{name}/parent"),
        diff_id=read_word(chains, f"{name}/diff"),
        size=int(size) if size else None,
        removing=name.endswith(_REMOVING),
    )


def read_layer_homes(files: Directory, data_root: str, note: Note) -> Iterator[LayerHomeRecord]:
    """The home of each layered driver under the opened data root, as it is listed now.

    To be read before the records that say whose a directory is: the driver makes a directory before its record, and
    removes it before its record, so that little else seems to be nobody's. What is being written is in `writing`.
    """
    for driver in DRIVERS:
        path = f"{data_root}/{driver}"
        try:
            with files.directory(driver) as home:
                names = at_most(home.listdir(), "layers", path, note)
                yield LayerHomeRecord(
                    data_root=data_root,
                    path=path,
                    directories=tuple(_directories(home, names, path, note)),
                    short_names=_short_names(home, path, note),
                    build_mounts=tuple(_build_mounts(files, driver, data_root, note)),
                    writing=_writing(files, driver, data_root, note),
                )
        except FileNotFoundError:
            continue
        except OSError as error:
            note(path, error)


def _directories(home: Directory, names: Sequence[str], path: str, note: Note) -> Iterator[LayerDirectoryRecord]:
    """Each directory but l/. backingFsBlockDev, which quotas on XFS need, is a device."""
    for name in names:
        try:
            if name == LINKS or not home.is_dir(name):
                continue
            yield LayerDirectoryRecord(
                name=text(os.fsencode(name)),
                link=read_word(home, f"{name}/link"),
                has_diff=home.is_dir(f"{name}/diff"),
                modified=int(home.lstat(name).st_mtime),
            )
        except EXPECTED as error:
            say(error, f"{path}/{name}", note)


def _short_names(home: Directory, path: str, note: Note) -> tuple[str, ...]:
    try:
        return tuple(text(os.fsencode(name)) for name in home.listdir(LINKS)[:MAX_ENTRIES])
    except EXPECTED as error:
        say(error, f"{path}/{LINKS}", note)
    return ()


def _build_mounts(files: Directory, driver: str, data_root: str, note: Note) -> Iterator[str]:
    """Mount ids whose record has an id of BuildKit's, where a container's would be."""
    path = f"image/{driver}/layerdb/mounts"
    try:
        for name in files.listdir(path)[:MAX_ENTRIES]:
            if is_layer_id(name) and not is_id(name):
                mount_id = read_word(files, f"{path}/{name}/mount-id")
                if mount_id:
                    yield mount_id
    except EXPECTED as error:
        say(error, f"{data_root}/{path}", note)


def _writing(files: Directory, driver: str, data_root: str, note: Note) -> tuple[int, ...]:
    path = f"image/{driver}/layerdb/tmp"
    found = []
    try:
        for name in files.listdir(path)[:MAX_ENTRIES]:
            found.append(int(files.lstat(f"{path}/{name}").st_mtime))
    except EXPECTED as error:
        say(error, f"{data_root}/{path}", note)
    return tuple(found)
