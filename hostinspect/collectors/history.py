"""How images were made: read only when asked for, since the arguments of a build, which may be secrets, stand in it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from hostinspect.collectors.engines import containerd_stores
from hostinspect.collectors.gaps import GapLog
from hostinspect.engines.docker.images import read_history
from hostinspect.engines.docker.naming import CONTAINERD_DRIVER
from hostinspect.engines.docker.record import DAMAGED, RecordError
from hostinspect.engines.docker.stored_images import read_stored_history
from hostinspect.facts import ContainerRecord, Gap, ImageStep
from hostinspect.kernel.files import Directory
from hostinspect.kernel.rooted import directory_in

COLLECTOR = "history"


def collect_history(
    containers: Iterable[ContainerRecord], root: str = ""
) -> tuple[dict[str, tuple[ImageStep, ...]], tuple[Gap, ...]]:
    """The history of each container's image, by container; `root` is where the disk of their host is mounted.

    Where an image was removed below a container, a gap says so.
    """
    gaps = GapLog()
    found: dict[str, tuple[ImageStep, ...]] = {}
    read: dict[tuple[str, str, str], tuple[ImageStep, ...] | None] = {}
    for record in containers:
        key = record.data_root, record.driver or "", record.image_id or ""
        if key not in read:
            read[key] = _history(*key, gaps, root)
        history = read[key]
        if history is not None:
            found[record.id] = history
    return found, gaps.as_tuple()


def _history(data_root: str, driver: str, image_id: str, gaps: GapLog, root: str) -> tuple[ImageStep, ...] | None:
    subject = f"{data_root}, image {image_id or 'without an id'}"
    try:
        with directory_in(root, data_root) as files:
            if driver == CONTAINERD_DRIVER:
                return _stored(files, data_root, image_id, gaps, root)
            return read_history(files, driver, image_id)
    except FileNotFoundError:
        gaps.add(COLLECTOR, subject, "the engine has it no more, or not in its own store", "docker history, elsewhere")
    except OSError as error:
        gaps.add(COLLECTOR, subject, error)
    except RecordError as error:
        gaps.add(COLLECTOR, subject, str(error), DAMAGED)
    return None


def _stored(files: Directory, data_root: str, image_id: str, gaps: GapLog, root: str) -> tuple[ImageStep, ...]:
    """The same, of whichever containerd has it. Raises as `read_stored_history`."""

    def note(subject: str, why: str | OSError, remedy: str | None = None) -> None:
        gaps.add(COLLECTOR, subject, why, remedy)

    for store, path in containerd_stores(files, data_root, root, ()):
        with suppress(FileNotFoundError):
            return read_stored_history(store, path, image_id, note)
    raise FileNotFoundError(image_id)
