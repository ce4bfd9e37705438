"""What every answer has in common: it is the JSON of its command, names its schema, and says what was not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostinspect.facts import Gap
from hostinspect.topology import SCHEMA_VERSION, Node, Topology

# Each question has two lists of families of facts: `FAMILIES` are those whose gaps its answer tells; `NEEDS`, where
# there is one, are those that must be read for it, else `FAMILIES`.


class Answer(Node, frozen=True, kw_only=True):
    """Base of the answers. Each class declares `gaps` itself, at its end, so that they are last in the JSON."""

    schema_version: str = SCHEMA_VERSION
    if TYPE_CHECKING:
        gaps: tuple[Gap, ...]


def gaps_about(topology: Topology, *collectors: str) -> tuple[Gap, ...]:
    """The gaps in these families of facts: those that an answer made of them has to tell."""
    return tuple(gap for gap in topology.gaps if gap.collector in collectors)
