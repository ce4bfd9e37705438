"""image/DRIVER/repositories.json: the names of images; imagedb/content/sha256/ID: what each is made of.

    {"Repositories": {"app": {"app:latest": "sha256:34671e…", "app@sha256:11…": "sha256:34671e…"}}}
    {"rootfs": {"type": "layers", "diff_ids": ["sha256:c3d1da…", "sha256:da2d73…"]}, …}

With the containerd image store there are no such files: names are in containerd's own tables (`snapshots`). Before
Docker 1.10 (2016) an image was one layer upon its parent, and an id was no digest: repositories-DRIVER, graph/ID/json.

    {"Repositories": {"app": {"latest": "1cee97…"}}}
    {"id": "1cee97…", "parent": "df557f…", "created": "2018-…", "container_config": {"Cmd": ["/bin/sh", "-c", …]}, …}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from hostinspect.engines.docker.naming import is_id
from hostinspect.engines.docker.record import (
    DAMAGED,
    MAX_FILE,
    Note,
    RecordError,
    at_most,
    decode,
    timestamp,
)
from hostinspect.facts import ImageRecord, ImageStep
from hostinspect.kernel.files import Directory


class _RepositoriesFile(Struct, rename="pascal"):
    repositories: dict[str, dict[str, str] | None] | None = None


class _RootFS(Struct):
    diff_ids: list[str] | None = None


class _ImageConfig(Struct):
    """Of an image's configuration, that alone: it has an environment too, which may hold secrets."""

    rootfs: _RootFS = msgspec.field(default_factory=_RootFS)


class _Step(Struct):
    created: str | None = None
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool = False


class _History(_ImageConfig):
    """The same with how it was made, which is read only when asked for: arguments of a build stand in it."""

    history: list[_Step] | None = None


class _ContainerConfig(Struct):
    cmd: list[str] | None = msgspec.field(default=None, name="Cmd")


class _GraphImage(Struct):
    """graph/ID/json: the image's own step, and what it is made upon."""

    parent: str = ""
    created: str | None = None
    comment: str | None = None
    container_config: _ContainerConfig | None = None


_decoder = msgspec.json.Decoder(_RepositoriesFile)
_config_decoder = msgspec.json.Decoder(_ImageConfig)
_history_decoder = msgspec.json.Decoder(_History)
_graph_decoder = msgspec.json.Decoder(_GraphImage)

_MAX_PARENTS = 1000  # Docker made no image of more than 127 layers


def parse_repositories(content: bytes, data_root: str) -> tuple[ImageRecord, ...]:
    """Images by id, each with its sorted names: tags ("app:latest") and digests ("app@sha256:…").

    Raises `RecordError`.
    """
    names: dict[str, list[str]] = {}
    for repository, references in (decode(_decoder, content).repositories or {}).items():
        for name, image_id in (references or {}).items():
            names.setdefault(image_id, []).append(_whole(repository, name))
    return tuple(
        ImageRecord(data_root=data_root, id=image_id, names=tuple(sorted(image_names)))
        for image_id, image_names in sorted(names.items())
    )


def _whole(repository: str, name: str) -> str:
    """The name of an image, which before Docker 1.10 was written as its tag or digest alone.

    >>> _whole("app", "app:1"), _whole("app", "1"), _whole("app", "sha256:11")
    ('app:1', 'app:1', 'app@sha256:11')
    """
    if name.startswith((f"{repository}:", f"{repository}@")):
        return name
    return f"{repository}{'@' if ':' in name else ':'}{name}"


def parse_diff_ids(content: bytes) -> tuple[str, ...]:
    """The diff ids of an image's configuration, the lowest layer first. Raises `RecordError`."""
    return tuple(decode(_config_decoder, content).rootfs.diff_ids or ())


def parse_history(content: bytes) -> tuple[ImageStep, ...]:
    """How an image was made, the oldest step first, from its configuration. Raises `RecordError`.

    Each step that is not said to be empty made a layer; which one is told where there are as many of these as layers.
    """
    config = decode(_history_decoder, content)
    steps = config.history or ()
    chain = chain_ids(config.rootfs.diff_ids or ())
    made = iter(chain if len(chain) == sum(not step.empty_layer for step in steps) else ())
    return tuple(
        ImageStep(
            created=timestamp(step.created),
            command=step.created_by or None,
            comment=step.comment or None,
            chain_id=None if step.empty_layer else next(made, None),
        )
        for step in steps
    )


def parse_graph_image(content: bytes) -> tuple[ImageStep, str]:
    """How an image of Docker before 1.10 was made, and upon which, "" for none. Raises `RecordError`."""
    image = decode(_graph_decoder, content)
    command = image.container_config.cmd if image.container_config else None
    step = ImageStep(
        created=timestamp(image.created), command=" ".join(command or ()) or None, comment=image.comment or None
    )
    return step, image.parent


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """The chain id of each layer: its diff id, together with the chain id of what is below it (OCI image-spec).

    >>> chain_ids(["sha256:aa", "sha256:bb"])
    ('sha256:aa', 'sha256:b68ad689d6d1ec110ea1c13617437ad6f3766d4b3b309f6a603a222e07a0164f')
    """
    from hashlib import sha256

    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(f"sha256:{sha256(f'{chain[-1]} {diff_id}'.encode()).hexdigest()}" if chain else diff_id)
    return tuple(chain)


def read_images(files: Directory, data_root: str, note: Note, *, layers: bool = False) -> Iterator[ImageRecord]:
    """Every named image under the opened data root; images of several storage drivers if it has been changed.

    With `layers`, every image, each with the chain ids of its layers.
    """
    try:
        drivers = files.listdir("image")
    except FileNotFoundError:  # before Docker 1.10
        for name in files.listdir():
            if name.startswith("repositories-"):
                yield from _read_repositories(files, name, data_root, note)
        return
    except OSError as error:
        return note(f"{data_root}/image", error)
    for driver in drivers:
        named = _read_repositories(files, f"image/{driver}/repositories.json", data_root, note)
        if layers:
            yield from _with_layers(files, f"image/{driver}/imagedb/content/sha256", data_root, named, note)
        else:
            yield from named


def _read_repositories(files: Directory, path: str, data_root: str, note: Note) -> tuple[ImageRecord, ...]:
    try:
        return parse_repositories(files.read(path, MAX_FILE), data_root)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        note(f"{data_root}/{path}", error)
    except RecordError as error:
        note(f"{data_root}/{path}", str(error), DAMAGED)
    return ()


def read_history(files: Directory, driver: str, image_id: str) -> tuple[ImageStep, ...]:
    """How the image was made. Raises OSError, `RecordError`."""
    hexadecimal = image_id.removeprefix("sha256:")
    if not is_id(hexadecimal) or driver in ("", ".", "..") or "/" in driver:
        raise RecordError(f"{image_id!r} of {driver!r} is no image")
    if hexadecimal == image_id:
        return tuple(_read_graph(files, image_id))[::-1]
    return parse_history(files.read(f"image/{driver}/imagedb/content/sha256/{hexadecimal}", MAX_FILE))


def _read_graph(files: Directory, image_id: str) -> Iterator[ImageStep]:
    """The steps of an image of Docker before 1.10, the newest first. Raises OSError, `RecordError`."""
    for _ in range(_MAX_PARENTS):
        if not is_id(image_id):
            raise RecordError(f"{image_id!r} is no image")
        step, image_id = parse_graph_image(files.read(f"graph/{image_id}/json", MAX_FILE))
        yield step
        if not image_id:
            return
    raise RecordError(f"more than {_MAX_PARENTS} images, each made upon the next")


def _with_layers(
    files: Directory, path: str, data_root: str, named: Iterable[ImageRecord], note: Note
) -> Iterator[ImageRecord]:
    """The images of imagedb/ with what they are called, and named ones that it does not have."""
    names = {image.id: image.names for image in named}
    try:
        ids = [name for name in files.listdir(path) if is_id(name)]
    except (FileNotFoundError, NotADirectoryError):
        ids = []
    except OSError as error:
        note(f"{data_root}/{path}", error)
        ids = []
    for hexadecimal in at_most(ids, "images", f"{data_root}/{path}", note):
        layers: tuple[str, ...] = ()
        try:
            layers = chain_ids(parse_diff_ids(files.read(f"{path}/{hexadecimal}", MAX_FILE)))
        except FileNotFoundError:
            continue  # removed since the listing
        except OSError as error:
            note(f"{data_root}/{path}/{hexadecimal}", error)
        except RecordError as error:
            note(f"{data_root}/{path}/{hexadecimal}", str(error), DAMAGED)
        image_id = f"sha256:{hexadecimal}"
        yield ImageRecord(data_root=data_root, id=image_id, names=names.pop(image_id, ()), layers=layers)
    for image_id, image_names in names.items():
        yield ImageRecord(data_root=data_root, id=image_id, names=image_names)
