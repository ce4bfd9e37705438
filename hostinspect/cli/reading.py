"""What a command reads of the host. Whoever supervises it sees what it waits for (`hostinspect.kernel.waiting`)."""

from __future__ import annotations

from hostinspect.kernel import waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import TypedDict, TypeVar

    from typing_extensions import Unpack

    from hostinspect.facts import Facts

    T = TypeVar("T")

    class More(TypedDict, total=False):
        """Keywords of `hostinspect.collectors.collect`."""

        only: Collection[str]
        image_layers: bool
        health: bool


def asked(task: Callable[[], T]) -> T:
    """What `task` returns, which asks the host. What comes after may take as long as it likes."""
    try:
        return task()
    finally:
        waiting.rest()


def collected(
    root: str | None, data_roots: Sequence[str], families: Collection[str] = (), **more: Unpack[More]
) -> Facts:
    """This host's facts, read now, or those of the disk at `root`; of all families where none are named."""

    def read() -> Facts:
        if root is not None:
            from hostinspect.collectors.disk import collect_disk

            image_layers, health = more.get("image_layers", False), more.get("health", False)
            return collect_disk(root, data_roots, families, image_layers=image_layers, health=health)
        from hostinspect.collectors import EVERYTHING, collect

        return collect(data_roots, families=families or EVERYTHING, **more)

    return asked(read)
