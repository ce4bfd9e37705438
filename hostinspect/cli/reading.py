"""What a command reads of the host. Whoever supervises it sees what it waits for (`hostinspect.kernel.waiting`)."""

from __future__ import annotations

from hostinspect.kernel import waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import TypedDict, TypeVar

    from typing_extensions import Unpack

    from hostinspect.facts import ContainerRecord, Facts
    from hostinspect.kernel.process_table import Shared

    T = TypeVar("T")

    class More(TypedDict, total=False):
        """Keywords of `hostinspect.collectors.collect`."""

        only: Callable[[ContainerRecord], bool] | None
        image_layers: bool
        health: bool
        meanwhile: Callable[[], object]


_processes: Shared | None = None


def begin(ahead: str | None = None) -> None:
    """Have a fork read the processes of this host while its parent loads what it needs, where that saves time.

    `ahead`: which file of mount namespaces, too (`hostinspect.kernel.process_table`).
    """
    global _processes
    from hostinspect.engines.programs import ENGINE_COMMS
    from hostinspect.kernel.beside import has_processor_to_spare
    from hostinspect.kernel.process_table import Shared

    if has_processor_to_spare():
        try:
            _processes = Shared(ENGINE_COMMS, ahead)
        except OSError:
            return  # no more processes, descriptors or memory: not needed


def end() -> None:
    """Leave nothing under way."""
    if _processes:
        _processes.close()


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
        from hostinspect.collectors import EVERYTHING, collect, load

        table = None
        if _processes:
            load(families or EVERYTHING)
            table = _processes.result()
        return collect(data_roots, families=families or EVERYTHING, table=table, **more)

    return asked(read)
