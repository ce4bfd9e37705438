"""What `hostinspect trace` answers."""

from __future__ import annotations

from typing import Literal

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer
from hostinspect.topology import Node

State = Literal["ok", "broken", "unknown"]


class Evidence(Node, frozen=True, kw_only=True):
    """A thing that was looked at, named as the report names it."""

    kind: str  # rule, chain, route, link, address, socket, process, sysctl, container
    id: str  # of a link NETNS/IFINDEX, of a rule FAMILY/BACKEND/TABLE/CHAIN/N, of a process its pid, …
    text: str


class Hop(Node, frozen=True, kw_only=True):
    """A step of the way, in the order in which a packet takes them."""

    state: State
    subject: str  # what decides here: source, nat, proxy, route, forwarding, filter, link, address, socket, answer
    text: str
    evidence: tuple[Evidence, ...]
    remedy: str | None  # what a person may run


class Reached(Node, frozen=True, kw_only=True):
    """The socket at which the packet ends."""

    address: str  # that it is bound to
    port: int
    pid: int | None
    comm: str | None
    container: str | None  # id
    container_name: str | None


class Probe(Node, frozen=True, kw_only=True):
    """What a connection from this host did, tried because it was asked for."""

    state: State
    text: str


class Trace(Node, frozen=True, kw_only=True):
    """The way of one packet and of the answer to it."""

    target: str  # as asked for, or the port of the container asked for
    source: str  # outside, host, a container's name, or the address asked for
    family: Literal["ipv4", "ipv6"]
    proto: str
    source_address: str | None
    address: str  # that the packet is sent to
    port: int
    container: str | None  # id: whose port it is, by rules, proxies and records
    hops: tuple[Hop, ...]
    state: State
    verdict: str  # in words: the first hop that breaks
    remedy: str | None
    reached: Reached | None  # None: it does not get to a socket, or it is not known to which
    probe: Probe | None


class Traces(Answer, frozen=True, kw_only=True):
    """Every way that was asked about."""

    traces: tuple[Trace, ...]
    gaps: tuple[Gap, ...]
