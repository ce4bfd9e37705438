"""`hostinspect containers`: every container of the host."""

from __future__ import annotations

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection
from hostinspect.topology import Container

FAMILIES = ("engines", "containers", "processes", "namespaces", "links", "host")


class Containers(Answer, frozen=True, kw_only=True):
    """The containers, each as in the report."""

    collected_at: str  # what ages are counted from
    containers: tuple[Container, ...]
    gaps: tuple[Gap, ...]


def list_containers(inspection: Inspection, *, running: bool = False) -> Containers:
    """Every container, sorted by name; with `running` only those that have a process."""
    topology = inspection.topology
    return Containers(
        collected_at=topology.host.collected_at,
        containers=tuple(c for c in topology.containers if c.pid is not None or not running),
        gaps=gaps_about(topology, *FAMILIES),
    )
