"""What every answer has in common: it is the JSON of its command, names its schema, and says what was not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from hostinspect.facts import OF_THE_KERNEL, Gap
from hostinspect.topology import SCHEMA_VERSION, Node, Topology

# Each question has two lists of families of facts: `FAMILIES` are those whose gaps its answer tells; `NEEDS`, where
# there is one, are those that must be read for it, else `FAMILIES`.


class Answer(Node, frozen=True, kw_only=True):
    """Base of the answers. Each class declares `gaps` itself, at its end, so that they are last in the JSON."""

    schema_version: str = SCHEMA_VERSION
    if TYPE_CHECKING:
        gaps: tuple[Gap, ...]


def gaps_about(topology: Topology, *collectors: str, of_records: bool = False) -> tuple[Gap, ...]:
    """The gaps in these families of facts: those that an answer made of them has to tell.

    A question `of_records` is answered by what an engine wrote down, and what the kernel has is held against it: of a
    disk, such an answer stands without the kernel.
    """
    found = tuple(gap for gap in topology.gaps if gap.collector in collectors)
    if not of_records or topology.host.root is None:
        return found
    return tuple(replace(gap, minor=True) if gap.collector in OF_THE_KERNEL else gap for gap in found)
