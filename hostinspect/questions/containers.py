"""`hostinspect containers`: every container of the host."""

from __future__ import annotations

from collections.abc import Collection

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection
from hostinspect.topology import Container, Network

# What a container's entry is made of; names of images and what volumes are is no part of it.
FAMILIES = (
    *("host", "engines", "containers", "layers", "networks", "processes", "cgroups", "mounts", "rules", "sockets"),
    *("namespaces", "links", "addresses", "routes", "nsids"),
)


_RUNNING = ("running", "paused", "restarting")


class Containers(Answer, frozen=True, kw_only=True):
    """The containers, each as in the report."""

    collected_at: str  # what ages are counted from
    containers: tuple[Container, ...]
    gaps: tuple[Gap, ...]


def list_containers(
    inspection: Inspection,
    *,
    running: bool = False,
    states: Collection[str] = (),
    networks: Collection[Network] = (),
) -> Containers:
    """Every container, sorted by name.

    With `running` only those that `docker ps` lists, paused and restarting ones too; with `states` only those in one
    of them; with `networks` only those on one of these, or, of stopped ones, those that would be.
    """
    topology = inspection.topology
    return Containers(
        collected_at=topology.host.collected_at,
        containers=tuple(
            container
            for container in topology.containers
            if (container.state in _RUNNING or not running)
            and (container.state in states or not states)
            and (not networks or any(_is_on(container, network) for network in networks))
        ),
        gaps=gaps_about(topology, *FAMILIES, of_records=True),
    )


def _is_on(container: Container, network: Network) -> bool:
    """By the network's id; one that was never started has its name alone."""
    return any(
        endpoint.network_id == network.id if endpoint.network_id else endpoint.network == network.name
        for endpoint in container.endpoints
    )
