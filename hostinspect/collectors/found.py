"""What the tour of the network namespaces finds. Apart from it, since who only takes its result need not load it."""

# Without `from __future__ import annotations`: msgspec has to evaluate them, which takes longer of a string.

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
    """What `collect_network` found, as the fields of `Facts` of these names; and whom it did not find any more."""

    network_namespaces: tuple[NetworkNamespace, ...] = ()
    nsids: tuple[Nsid, ...] = ()
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    listening_sockets: tuple[ListeningSocket, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    ended: tuple[int, ...] = ()  # pids that were in a namespace, and are in none that was read


class Tour(Struct, frozen=True, kw_only=True):
    """What was found on it."""

    network: NetworkFacts = NetworkFacts()
    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()  # of the host's interfaces
    gaps: tuple[Gap, ...] = ()
