"""image/DRIVER/repositories.json: the names of images.

    {"Repositories": {"app": {"app:latest": "sha256:34671e…", "app@sha256:11…": "sha256:34671e…"}}}

With the containerd image store there is no such file: names are in containerd's own tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from hostinspect.engines.docker.record import DAMAGED, MAX_FILE, Note, RecordError, decode
from hostinspect.facts import ImageRecord
from hostinspect.kernel.files import Directory


class _RepositoriesFile(Struct, rename="pascal"):
    repositories: dict[str, dict[str, str] | None] | None = None


_decoder = msgspec.json.Decoder(_RepositoriesFile)


def parse_repositories(content: bytes, data_root: str) -> tuple[ImageRecord, ...]:
    """Images by id, each with its sorted names: tags ("app:latest") and digests ("app@sha256:…").

    Raises `RecordError`.
    """
    names: dict[str, list[str]] = {}
    for references in (decode(_decoder, content).repositories or {}).values():
        for name, image_id in (references or {}).items():
            names.setdefault(image_id, []).append(name)
    return tuple(
        ImageRecord(data_root=data_root, id=image_id, names=tuple(sorted(image_names)))
        for image_id, image_names in sorted(names.items())
    )


def read_images(files: Directory, data_root: str, note: Note) -> Iterator[ImageRecord]:
    """Every named image under the opened data root; images of several storage drivers if it has been changed."""
    try:
        drivers = files.listdir("image")
    except FileNotFoundError:
        return
    except OSError as error:
        return note(f"{data_root}/image", error)
    for driver in drivers:
        path = f"image/{driver}/repositories.json"
        try:
            yield from parse_repositories(files.read(path, MAX_FILE), data_root)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            note(f"{data_root}/{path}", error)
        except RecordError as error:
            note(f"{data_root}/{path}", str(error), DAMAGED)
