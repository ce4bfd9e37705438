"""What the tour of the network namespaces finds. Apart from it, since who only takes its result need not load it."""

from __future__ import annotations

from msgspec import Struct

from hostinspect.facts import (
    Address,
    Chain,
    Gap,
    Link,
    ListeningSocket,
    NetworkNamespace,
    Nsid,
    Route,
    Rule,
    Sysctl,
)


class NetworkFacts(Struct, frozen=True, kw_only=True):
    """What `collect_network` found, as the fields of `Facts` of these names."""

    network_namespaces: tuple[NetworkNamespace, ...] = ()
    nsids: tuple[Nsid, ...] = ()
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    listening_sockets: tuple[ListeningSocket, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()


class Tour(Struct, frozen=True, kw_only=True):
    """What was found on it."""

    network: NetworkFacts = NetworkFacts()
    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()  # of the host's interfaces
    gaps: tuple[Gap, ...] = ()
