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


class Visited(Struct, frozen=True, kw_only=True):
    """What one of two who share a tour found in the namespaces that it visited, and came to know about them."""

    facts: NetworkFacts  # but for the namespaces themselves
    visited: tuple[int, ...]
    entered: tuple[int, ...]
    vanished: tuple[int, ...]
    settled: tuple[tuple[int, tuple[int, ...], tuple[str, ...]], ...]  # with the pids and paths that are left of each
    refused: tuple[tuple[int, str, str | None], ...]  # what the host answered, and what to do
    unnamed: tuple[tuple[int, tuple[int, ...]], ...]


class Tour(Struct, frozen=True, kw_only=True):
    """What was found on it."""

    network: NetworkFacts = NetworkFacts()
    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()  # of the host's interfaces
    gaps: tuple[Gap, ...] = ()


class Part(Struct, frozen=True, kw_only=True):
    """What was found by who made a part of it."""

    visited: Visited
    read: Tour  # but for the network
