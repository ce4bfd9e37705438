"""What a command reads of the host: within a limit, by a process that can be given up (`hostinspect.kernel.limit`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypedDict

from msgspec import Struct

from hostinspect.facts import Facts
from hostinspect.kernel import tape
from hostinspect.kernel.limit import Limit
from hostinspect.kernel.tape import Raw

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Read(Struct):
    """What the process that asks the host brings back."""

    facts: Facts
    raw: list[Raw]


class More(TypedDict, total=False):
    """Keywords of `hostinspect.collectors.collect`."""

    only: Collection[str]
    image_layers: bool
    health: bool


@lru_cache(maxsize=1)
def limit(timeout: float) -> Limit:
    """The limit of this run, in seconds; 0: none. What did not answer one question is known to the next."""
    return Limit(timeout)


def collected(
    timeout: float,
    root: str | None,
    data_roots: Sequence[str],
    families: Collection[str] = (),
    meanwhile: Callable[[], object] | None = None,
    **more: Unpack[More],
) -> Facts:
    """This host's facts, read now, or those of the disk at `root`; of all families where none are named.

    With a `timeout` a process of its own reads them, and `meanwhile` is called here while it does: to load what is
    needed next. Raises `hostinspect.kernel.limit.NothingAnswersError`.
    """

    def read() -> _Read:
        if root is not None:
            from hostinspect.collectors.disk import collect_disk

            image_layers, health = more.get("image_layers", False), more.get("health", False)
            facts = collect_disk(root, data_roots, families, image_layers=image_layers, health=health)
        else:
            from hostinspect.collectors import EVERYTHING, collect

            facts = collect(data_roots, families=families or EVERYTHING, **more)
        return _Read(facts, tape.running.entries if tape.running else [])

    found = limit(timeout).run(read, _Read, meanwhile)
    if tape.running:
        tape.running.entries[:] = found.raw
    return found.facts
