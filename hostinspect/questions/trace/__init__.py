"""`hostinspect trace`: the way of a packet to a port of the host or of a container, over facts alone.

    8080, 8080/udp, 192.0.2.10:8080, [2001:db8::1]:53/udp    a port of the host, of any of its addresses or of one
    web1, web1:80, web1:53/udp                               a container: what it publishes, or that port of it

and where it comes from: from outside (the default), from a process on the host, from another container, or from an
address. No packet is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from ipaddress import ip_address
from typing import Literal, NamedTuple

from hostinspect.facts import HOLDERS_ON_HOST, RULES_OF_CONTAINERS
from hostinspect.questions.answer import gaps_about
from hostinspect.questions.dnat import port_ranges, without_prefix
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.trace.answer import Hop, State, Trace, Traces
from hostinspect.questions.trace.rules import Address, Packet, address_of
from hostinspect.questions.trace.walk import Walk
from hostinspect.questions.trace.world import World
from hostinspect.topology import Container, Link, Network

__all__ = ["HOST", "OUTSIDE", "TargetError", "trace"]

HOST, OUTSIDE = "host", "outside"
FAMILIES = ("namespaces", "links", "addresses", "routes", "sockets", "rules", "processes", "sysctls", "nsids")
NEEDS = ("engines", "containers", "networks", "cgroups", *FAMILIES, RULES_OF_CONTAINERS, HOLDERS_ON_HOST)

# Who asks from outside where no other address is given: networks for documentation (RFC 5737, RFC 3849), so that the
# default route leads to them and no rule means them.
OUTSIDE_ADDRESSES = {4: ip_address("203.0.113.1"), 6: ip_address("2001:db8:ffff::1")}

Proto = Literal["tcp", "udp", "sctp"]
_PORT = r"(?P<port>\d{1,5})(?:/(?P<proto>tcp|udp|sctp))?"
_HOST_PORT = re.compile(rf"(?:(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):)?{_PORT}")
_CONTAINER = re.compile(rf"(?P<name>/?[^:/]+)(?::{_PORT})?")
_LAST_PORT = 65535


class TargetError(ValueError):
    """What was asked for is no port and no container, or cannot be asked from there; says what to write instead."""


class _Question(NamedTuple):
    """One packet."""

    target: str
    address: Address
    port: int
    proto: str
    container: Container | None  # whose it should be
    is_direct: bool = False  # to the container's own address
    problem: tuple[str, str | None] | None = None  # why no packet can be sent at all, and the remedy


def trace(inspection: Inspection, targets: Sequence[str], source: str = OUTSIDE) -> Traces:
    """The way to each target. Raises `TargetError`, and those of `Inspection.container`."""
    tracer = _Tracer(inspection, source)
    traces = [found for target in targets for found in tracer.trace(target)]
    return Traces(traces=tuple(traces), gaps=gaps_about(inspection.topology, "engines", "containers", *FAMILIES))


class _Tracer:
    def __init__(self, inspection: Inspection, source: str) -> None:
        self.inspection = inspection
        self.world = World(inspection)
        self.source = source
        self.from_address: Address | None = None
        self.from_container: Container | None = None
        if source not in (HOST, OUTSIDE):
            self.from_address = address_of(source)
            if self.from_address is None:
                self.from_container = inspection.container(source)
            else:
                held = [c for netns in self.world.holders(self.from_address) for c in self.world.places.members(netns)]
                if held and held[0].netns != self.world.host:
                    self.from_container = held[0]

    def trace(self, target: str) -> Iterator[Trace]:
        for question in self._questions(target):
            yield self._answer(question)

    # --- what is asked ---

    def _questions(self, target: str) -> list[_Question]:
        found = _HOST_PORT.fullmatch(target)
        if found:
            return self._of_host_port(target, found)
        named = _CONTAINER.fullmatch(target)
        if named is None:
            raise TargetError(f"{target} is no port and no container: write 8080, 192.0.2.10:53/udp, web1 or web1:80.")
        container = self.inspection.container(named["name"])
        if named["port"] is None:
            return self._of_container(target, container, None, None)
        return self._of_container(target, container, _port(named["port"], target), named["proto"])

    def _of_host_port(self, target: str, found: re.Match[str]) -> list[_Question]:
        port = _port(found["port"], target)
        if written := found["six"] or found["four"]:
            address = address_of(written)
            if address is None:
                raise TargetError(f"{written} is no address.")
            protos = [found["proto"]] if found["proto"] else self._protos(port) or ["tcp"]
            return [_Question(target, address, port, p, self._publisher(address, port, p)) for p in protos]
        questions = []
        for proto in [found["proto"]] if found["proto"] else self._protos(port) or ["tcp"]:
            for version in self._versions(port, proto):
                asked = self._host_address(version, port, proto)
                if asked is not None:
                    questions.append(_Question(target, asked, port, proto, self._publisher(asked, port, proto)))
        if not questions:
            problem = ("the host has no address that could be asked", "ip address add ADDRESS/LENGTH dev LINK")
            any_address = ip_address("0.0.0.0")
            questions.append(_Question(target, any_address, port, found["proto"] or "tcp", None, problem=problem))
        return questions

    def _of_container(self, target: str, container: Container, port: int | None, proto: str | None) -> list[_Question]:
        """What a container publishes of that port; its own address where it is asked from where that can be reached."""
        home = self._home(container)
        name = container.name
        if container.pid is None:
            problem = (f"{name} does not run ({container.state})", f"docker start {self.world.word(container)}")
            return [_Question(target, ip_address("0.0.0.0"), port or 0, proto or "tcp", container, problem=problem)]
        wanted = [
            published
            for published in home.ports
            if port in (None, published.container_port) and proto in (None, published.proto)
        ]
        from_near = self.source == HOST or self.from_container is not None
        direct = self._direct(target, home, port, proto) if from_near and port is not None else []
        if direct:
            return direct
        questions: dict[tuple[object, ...], _Question] = {}
        for published in wanted:
            host_ip = address_of(published.host_ip) or ip_address("0.0.0.0")
            address = self._facing(host_ip.version) if host_ip.is_unspecified else host_ip
            if address is not None:
                question = _Question(target, address, published.host_port, published.proto, container)
                questions.setdefault((address, published.host_port, published.proto), question)
        if questions:
            return [*questions.values()]
        return self._direct(target, home, port, proto, is_macvlan=not from_near) or [
            self._unpublished(target, container, port, proto)
        ]

    def _unpublished(self, target: str, container: Container, port: int | None, proto: str | None) -> _Question:
        name = container.name
        what = f"{name} does not publish {port}/{proto or 'tcp'}" if port else f"{name} publishes nothing"
        problem = (
            f"{what}, so that nobody outside can reach it",
            f"publish it (docker run --publish HOSTPORT:{port or 'PORT'}), or ask with --source host or CONTAINER",
        )
        return _Question(target, ip_address("0.0.0.0"), port or 0, proto or "tcp", container, problem=problem)

    def _direct(
        self, target: str, container: Container, port: int | None, proto: str | None, *, is_macvlan: bool = False
    ) -> list[_Question]:
        """To the container's own address: on a network that who asks is on too, if there is one."""
        near = (
            {endpoint.network_id for endpoint in self._home(self.from_container).endpoints}
            if self.from_container
            else set()
        )
        endpoints = sorted(container.endpoints, key=lambda endpoint: endpoint.network_id not in near)
        if is_macvlan:
            endpoints = [e for e in endpoints if self._driver(e.network_id) in ("macvlan", "ipvlan")]
        places = [(e.ip, e.ip6) for e in endpoints if e.ip or e.ip6][:1]
        if not places and container.netns == self.world.host:
            places = [(_text(self._facing(4)), _text(self._facing(6)))]
        ports = (
            [(port, p) for p in ([proto] if proto else self._listening(container, port) or ["tcp"])]
            if port
            else sorted({(listener.port, listener.proto) for listener in container.listeners})
        )
        wanted = self.from_address.version if self.from_address else None
        found = []
        for number, protocol in ports:
            for written in places[0] if places else ():
                address = address_of(written)
                if address is None or (wanted and address.version != wanted):
                    continue
                if address.version == 6 and places[0][0] and not self._listens6(container, number, protocol):
                    continue  # of both, IPv6 is told where somebody serves it
                found.append(_Question(target, address, number, protocol, container, is_direct=True))
        return found

    def _driver(self, network_id: str | None) -> str | None:
        network: Network | None = self.world.places.networks.get(network_id or "")
        return network.driver if network else None

    def _listening(self, container: Container, port: int | None) -> list[str]:
        return sorted(
            {s.proto for s in self.world.facts.listening_sockets if s.netns == container.netns and s.port == port}
        )

    def _listens6(self, container: Container, port: int, proto: str) -> bool:
        return any(":" in s.address for s in self.world.sockets(container.netns or 0, proto, port))

    def _home(self, container: Container) -> Container:
        """The container whose namespace it is in: of `--network container:` another one."""
        return self.world.places.containers.get(container.shares_netns_with or "", container)

    # --- what is known of a port of the host ---

    def _protos(self, port: int) -> list[str]:
        found = {proto for proto, _, first, last, _ in self._published() if first <= port <= last}
        found |= {s.proto for s in self.world.facts.listening_sockets if (s.netns, s.port) == (self.world.host, port)}
        return sorted(found)

    def _published(self) -> Iterator[tuple[str, str | None, int, int, Container | None]]:
        """Protocol, address of the host, first and last port, container: by records, rules and proxies."""
        for container in self.world.topology.containers:
            for published in container.ports:
                yield published.proto, published.host_ip, published.host_port, published.host_port, container
        for rule in self.world.netfilter.translations(self.world.host, "ipv4"):
            yield from _of_rule(rule.proto, rule.dst, rule.dport, "0.0.0.0")
        for rule in self.world.netfilter.translations(self.world.host, "ipv6"):
            yield from _of_rule(rule.proto, rule.dst, rule.dport, "::")

    def _publisher(self, address: Address, port: int, proto: str) -> Container | None:
        """The container that the engine published this port for; None where nobody has it, or several."""
        found = {}
        is_own = self.world.is_local(self.world.host, address)
        for container in self.world.topology.containers:
            record = self.world.index.records.get(container.id)
            for recorded in record.ports if record and container.pid is not None else ():
                own = address_of(recorded.host_ip)
                takes_all = is_own and own is not None and own.is_unspecified and own.version == address.version
                if (recorded.proto, recorded.host_port) == (proto, port) and (own == address or takes_all):
                    found[container.id] = container
        return next(iter(found.values())) if len(found) == 1 else None

    def _versions(self, port: int, proto: str) -> list[int]:
        """IPv4, and IPv6 where somebody publishes or listens and the host has an address; or the one asked for."""
        if self.from_address is not None:
            return [self.from_address.version]
        own = self.world.addresses.get(self._home(self.from_container).netns or 0, ()) if self.from_container else ()
        hosts = [host_ip for p, host_ip, first, last, _ in self._published() if p == proto and first <= port <= last]
        hosts += [s.address for s in self.world.sockets(self.world.host, proto, port)]
        has6 = any(":" in (host_ip or "") for host_ip in hosts)
        has4 = any(":" not in (host_ip or "") for host_ip in hosts) or not has6
        if has6 and not has4:
            dual = any(s.address == "::" and not s.v6only for s in self.world.sockets(self.world.host, proto, port))
            has4 = dual
        if self.from_container and not any(a.version == 6 and r.scope == "global" for a, r in own):
            has6 = False
        return [version for version, has in ((4, has4), (6, has6)) if has and self._facing(version)] or [4]

    def _host_address(self, version: int, port: int, proto: str) -> Address | None:
        """The address of the host that is asked: the one published on, else the one that faces who asks."""
        bound = {
            address_of(host_ip)
            for p, host_ip, first, last, _ in self._published()
            if p == proto and first <= port <= last and host_ip
        }
        bound |= {address_of(s.address) for s in self.world.sockets(self.world.host, proto, port)}
        own = sorted((a for a in bound if a and a.version == version), key=int)
        if not own or any(address.is_unspecified for address in own):
            return self._facing(version)
        return next((address for address in own if not address.is_loopback), own[0])

    def _facing(self, version: int) -> Address | None:
        """The host's address for who asks: loopback for a process of its own, else the one on the way to it."""
        world = self.world
        if self.source == HOST:
            return ip_address("127.0.0.1" if version == 4 else "::1")
        outside = self.from_address or OUTSIDE_ADDRESSES[version]
        if outside.version == version:
            source = world.source_for(world.host, outside)
            if source is not None and not source.is_link_local:
                return source
        return next(
            (
                address
                for address, record in world.addresses.get(world.host, ())
                if address.version == version and record.scope == "global" and not self._is_docker(record.ifindex)
            ),
            None,
        )

    def _is_docker(self, ifindex: int) -> bool:
        return self.world.places.network_of(self.world.places.links.get((self.world.host, ifindex))) is not None

    # --- the way ---

    def _answer(self, question: _Question) -> Trace:
        walk = Walk(self.world)
        if question.problem is not None:
            text, remedy = question.problem
            walk.hops.append(Hop(state="broken", subject="target", text=text, evidence=(), remedy=remedy))
            return self._made(question, walk, None)
        version = question.address.version
        family = "ipv4" if version == 4 else "ipv6"
        packet = Packet(family, question.proto, question.address, question.address, None, question.port)
        netns = (
            self.world.host
            if self.source == HOST
            else self._home(self.from_container).netns
            if self.from_container
            else None
        )
        if self.source == HOST or self.from_container is not None:
            return self._from_inside(question, walk, netns, packet)
        source = self.from_address or self._outside(version)
        if question.address.is_loopback:
            text = f"{question.address} is the host's own: who is outside does not reach it"
            remedy = f"publish it on all addresses (docker run -p {question.port}:PORT), or ask with --source host"
            walk.hops.append(Hop(state="broken", subject="address", text=text, evidence=(), remedy=remedy))
            return self._made(question, walk, source)
        if source.version != version:
            text = f"{source} and {question.address} are of different families"
            walk.hops.append(Hop(state="broken", subject="source", text=text, evidence=(), remedy=None))
            return self._made(question, walk, source)
        link, source = self._entry(question, source)
        if link is None:
            text = f"by which link {source} comes in cannot be told: the host has no route to it"
            state: State = "broken" if self.world.facts.routes else "unknown"
            remedy = "ip route add default via GATEWAY"
            walk.hops.append(Hop(state=state, subject="source", text=text, evidence=(), remedy=remedy))
            return self._made(question, walk, source)
        walk.from_outside(link, packet._replace(src=source))
        return self._made(question, walk, source)

    def _outside(self, version: int) -> Address:
        """Who asks from outside: somebody beyond the default route; without one a neighbour of the host."""
        world = self.world
        if world.route(world.host, OUTSIDE_ADDRESSES[version]).route is not None:
            return OUTSIDE_ADDRESSES[version]
        own = self._facing(version)
        for address, record in world.addresses.get(world.host, ()):
            link = world.places.links.get((world.host, record.ifindex))
            if address == own and link is not None:
                return self._neighbour(link, address)
        return OUTSIDE_ADDRESSES[version]

    def _from_inside(self, question: _Question, walk: Walk, netns: int | None, packet: Packet) -> Trace:
        source = self.world.source_for(netns, packet.dst) if netns is not None else None
        if netns is None or netns not in self.world.places.links_in:
            text = f"{self.source} has no network namespace that was seen"
            if self.from_container is not None and self.from_container.pid is None:
                text = f"{self.source} does not run ({self.from_container.state})"
            walk.hops.append(Hop(state="unknown", subject="source", text=text, evidence=(), remedy=None))
            return self._made(question, walk, None)
        walk.from_inside(netns, packet._replace(src=source or packet.dst))
        return self._made(question, walk, source)

    def _entry(self, question: _Question, source: Address) -> tuple[Link | None, Address]:
        """The link by which who asks from outside comes in: that of the way back.

        A macvlan's subnet is on the wire beside the host: from there it is asked by a neighbour.
        """
        world = self.world
        if question.is_direct and question.container is not None:
            home = self._home(question.container)
            for link in world.places.links_in.get(home.netns or -1, ()):
                lower = world.places.link(link.lower)
                if lower is not None and world.answers(link, question.address):
                    return lower, self.from_address or self._neighbour(link, question.address)
        for netns in world.holders(source):  # somebody outside may have a namespace of this host for a home
            for link in world.places.links_in.get(netns, ()):
                outer = world.peer(link)
                if (
                    netns != world.host
                    and outer is not None
                    and outer.netns == world.host
                    and world.answers(link, source)
                ):
                    return world.link(world.host, outer.master) if outer.master else outer, source
        return world.route(world.host, source).link, source

    def _neighbour(self, link: Link, address: Address) -> Address:
        """An address of the same subnet that nobody here has: the last one that is free."""
        from ipaddress import ip_network

        length = next((r.prefix_len for a, r in self.world.addresses_of(link, address.version) if a == address), 32)
        network = ip_network(f"{address}/{length}", strict=False)
        gateways = {e.gateway for c in self.world.topology.containers for e in c.endpoints}
        for offset in range(2, min(network.num_addresses, 64)):
            free = network[-offset]
            if not self.world.holders(free) and str(free) not in gateways:
                return free
        return address

    def _made(self, question: _Question, walk: Walk, source: Address | None) -> Trace:
        self._check_whose(question, walk)
        hops = tuple(walk.hops)
        state, hop = _verdict(hops, forked=walk.first_fork)
        if self._unseen is not None and question.problem is None:  # nothing can be said to be, or not to be, there
            hops, state, hop = (*hops, self._unseen), "unknown", self._unseen
        container = question.container.id if question.container else walk.reached.container if walk.reached else None
        return Trace(
            target=question.target,
            source=self.source,
            family="ipv4" if question.address.version == 4 else "ipv6",
            proto=question.proto,
            source_address=str(source) if source else None,
            address=str(question.address),
            port=question.port,
            container=container,
            hops=hops,
            state=state,
            verdict=hop.text if hop else self._reached(walk),
            remedy=hop.remedy if hop else None,
            reached=walk.reached,
            probe=None,
        )

    @cached_property
    def _unseen(self) -> Hop | None:
        """A hop for the gravest of what could not be seen: then all other hops are only what seems to be."""
        gaps = [gap for gap in self.world.topology.gaps if gap.collector in FAMILIES and not gap.minor]
        if not gaps:
            return None
        more = f", and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        text = f"not all of the way could be seen: {gaps[0].subject}: {gaps[0].why}{more}"
        return Hop(state="unknown", subject="gap", text=text, evidence=(), remedy=gaps[0].remedy)

    def _reached(self, walk: Walk) -> str:
        reached = walk.reached
        if reached is None:
            return "it arrives"
        who = f"{reached.comm} (pid {reached.pid})" if reached.pid else "a process that was not seen"
        return f"{who} of {reached.container_name} answers" if reached.container_name else f"{who} answers"

    def _check_whose(self, question: _Question, walk: Walk) -> None:
        """Whether who answers is who should."""
        wanted, reached = question.container, walk.reached
        if wanted is None or reached is None or reached.pid is None:
            return
        home = self._home(wanted)
        members = {c.id for c in self.world.places.members(home.netns or 0)} | {wanted.id}
        if home.netns == self.world.host and reached.container is not None:
            members = {wanted.id}
        if reached.container in members or (reached.container is None and home.netns == self.world.host):
            return
        elsewhere = {end.host_link_netns for end in home.endpoints} - {None}
        if reached.container is None and elsewhere and self.world.host not in elsewhere:
            text = f"the networks of {wanted.name} are in a namespace of their own: what leads into that is not read"
            remedy = "rootlessctl list-ports"
            walk.hops.append(Hop(state="unknown", subject="owner", text=text, evidence=(), remedy=remedy))
            return
        who = reached.container_name or f"{reached.comm} (pid {reached.pid}) of the host"
        text = f"it is {who} that answers, and not {wanted.name}, whose port it should be"
        walk.hops.append(
            Hop(
                state="broken",
                subject="owner",
                text=text,
                evidence=(),
                remedy=f"docker restart {self.world.word(wanted)}",
            )
        )


def _of_rule(
    proto: str | None, dst: str | None, dport: str | None, anywhere: str
) -> Iterator[tuple[str, str | None, int, int, Container | None]]:
    host_ip = anywhere if dst is None or dst.startswith("!") else without_prefix(dst)
    if proto and "/" not in host_ip:
        for first, last in port_ranges(dport):
            yield proto, host_ip, first, last, None


def _verdict(hops: Iterable[Hop], *, forked: int | None) -> tuple[State, Hop | None]:
    """The first hop that breaks; where a packet may as well have gone elsewhere before, that is not known."""
    unknown: Hop | None = None
    for position, hop in enumerate(hops):
        if hop.state == "broken":
            if forked is not None and forked <= position:
                break
            return "broken", hop
        if hop.state == "unknown":
            unknown = unknown or hop
    return ("unknown", unknown) if unknown else ("ok", None)


def _text(address: Address | None) -> str | None:
    return str(address) if address else None


def _port(text: str, target: str) -> int:
    if not 1 <= int(text) <= _LAST_PORT:
        raise TargetError(f"{target}: ports are from 1 to {_LAST_PORT}.")
    return int(text)
