"""`hostinspect ports`: every port of the host that leads to a container, and whether all that belongs to it agrees."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import Literal, get_args

from msgspec import Struct
from msgspec.structs import asdict

from hostinspect.correlate.ports import Forwarding, Proxy, split_address, who_listens
from hostinspect.facts import ContainerRecord, Gap, ListeningSocket
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.dnat import ANY, Dnat, port_ranges, reference, without_prefix
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.places import Places
from hostinspect.topology import Container, NatRule, Node, PublishedPort, RuleRef, Via

FAMILIES = (
    "host",
    "engines",
    "containers",
    "networks",
    "processes",
    "namespaces",
    "links",
    "addresses",
    "rules",
    "sockets",
)
NEEDS = (*FAMILIES, "cgroups")

Status = Literal[
    "ok",
    # no packet gets to the container
    "rule of nobody",  # a DNAT rule to an address of a docker network that nobody has
    "proxy of nobody",  # a docker-proxy for such an address
    "rule leads elsewhere",  # another rule takes the packets first
    "proxy leads elsewhere",
    "no way in",  # neither rule nor proxy, though recorded
    # it gets there, and nobody answers
    "nobody listens",
    "loopback only",  # the server listens on the container's loopback address only
    "other address only",  # or on another one that the packets do not arrive at
    "paused",
    # it works by the other of the two
    "no rule",
    "rule not met",  # no chain leads to the rule's
    "no proxy",
    "not recorded",  # it works, and the engine does not know of it
    # nothing to judge
    "not seen",
    "not running",  # asked for; it will be published when the container is started
    "routing mesh",  # swarm's: which task answers is decided by IPVS, which is not read
    "no container",  # a rule or proxy to an address that is none of a container's or docker network's
]
_GRAVITY: tuple[str, ...] = get_args(Status)


class PortRule(RuleRef, frozen=True, kw_only=True):
    """A DNAT rule that takes packets to this port: where it stands, where it leads to, and how often it was used."""

    to: str | None
    packets: int | None
    bytes: int | None


class PortProxy(Node, frozen=True, kw_only=True):
    """A docker-proxy, and where it leads to."""

    pid: int
    address: str
    port: int


class PortListener(Node, frozen=True, kw_only=True):
    """A process that listens; pid and comm are None where nobody was seen holding the socket, or the kernel does."""

    address: str
    port: int
    pid: int | None
    comm: str | None
    container: str | None  # id: a sidecar's, where it shares the namespace
    container_name: str | None


class HostPort(Node, frozen=True, kw_only=True):
    """A port of the host at one address."""

    status: Status  # the gravest of `problems`, or ok
    problems: tuple[Status, ...]
    host_ip: str | None  # None: asked for without one, of a container that does not run
    host_port: int | None  # None: asked for without one; the engine will choose
    host_port_end: int | None  # the last of a range that one rule takes
    proto: str
    dual_stack: bool  # a socket on `::` that takes IPv4 too
    container: str | None  # id
    container_name: str | None
    container_ip: str | None  # where packets are sent
    container_port: int | None
    container_port_end: int | None  # the last, where a range is sent to the same ports of the container
    via: tuple[Via, ...]
    rules: tuple[PortRule, ...]
    proxy: PortProxy | None
    listening: PortListener | None  # who answers
    elsewhere: tuple[PortListener, ...]  # with `listening` null: who listens on the port where no packet arrives


class Ports(Answer, frozen=True, kw_only=True):
    """The ports, by number."""

    ports: tuple[HostPort, ...]
    gaps: tuple[Gap, ...]


class PortFilter(Struct, frozen=True):
    """`8080`, `8000-8010`, `53/udp`: host ports a person asks for."""

    first: int
    last: int
    proto: str | None

    def accepts(self, port: HostPort) -> bool:
        """Whether the port, or the range, has one of these."""
        if port.host_port is None or self.proto not in (None, port.proto):
            return False
        return port.host_port <= self.last and self.first <= (port.host_port_end or port.host_port)


_PORT_FILTER = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")


def parse_port(word: str) -> PortFilter | None:
    """The port that is meant; None where the word is none, and hence a name."""
    found = _PORT_FILTER.fullmatch(word)
    return PortFilter(int(found[1]), int(found[2] or found[1]), found[3]) if found else None


def list_ports(
    inspection: Inspection,
    containers: Collection[Container] = (),
    filters: Collection[PortFilter] = (),
    *,
    every: bool = False,
) -> Ports:
    """The ports of these containers and those that a filter accepts; without either, all.

    With `every`, and of what is asked for by name or number, also those of containers that do not run; with `every`
    and by number also what else listens on the host.
    """
    reader = _Reader(inspection)
    found = [*reader.published(), *reader.left_over()]
    if every or containers or filters:
        found += reader.not_running()
    if every or filters:
        found += reader.other_listeners()
    if containers or filters:
        ids = {container.id for container in containers}
        found = [port for port in found if port.container in ids or any(f.accepts(port) for f in filters)]
    found.sort(key=_order)
    return Ports(ports=tuple(found), gaps=(*gaps_about(inspection.topology, *FAMILIES), *reader.gaps))


def _order(port: HostPort) -> tuple[object, ...]:
    at = (port.host_port or 0, port.proto, ":" in (port.host_ip or ""), port.host_ip or "", port.host_port_end or 0)
    return (*at, port.container_name or "", port.container or "", port.container_port or 0)


class _Reader:
    """Makes the ports of one inspection; `used` is what has found its port, so that the rest is left over."""

    def __init__(self, inspection: Inspection) -> None:
        self.topology = inspection.topology
        self.facts = inspection.facts
        self.index = inspection.index
        self.places = Places(inspection.topology)
        self.dnat = Dnat(inspection.topology)
        self.proxies = [
            proxy
            for proxies in Forwarding(inspection.index).proxies.values()
            for proxy in proxies
            if inspection.index.processes[proxy.pid].netns in (None, inspection.index.host_netns)
        ]
        self.gaps: list[Gap] = []
        self.used_rules: set[RuleRef] = set()
        self.used_proxies: set[int] = set()

    # --- what can be known ---

    def knows(self, *collectors: str) -> bool:
        """Whether these families of facts have no grave gap, so that what was not found there is not there."""
        return not any(gap.collector in collectors and not gap.minor for gap in self.topology.gaps)

    def _listeners_known(self, container: Container, proto: str) -> bool:
        netns = container.netns
        if netns is None or netns not in self.places.links_in:
            return False
        if any(gap.collector == "sockets" and str(netns) in gap.subject for gap in self.topology.gaps):
            return False
        if proto in ("tcp", "udp"):
            return True
        self._gap(
            "sockets",
            f"{proto} sockets of {container.name}",
            "the kernel shows them only while its module for that is loaded, and does not say whether it is",
            f"ask in the container itself, or load {proto}_diag",
        )
        return False

    def _gap(self, collector: str, subject: str, why: str, remedy: str) -> None:
        gap = Gap(collector=collector, subject=subject, why=why, remedy=remedy)
        if gap not in self.gaps:
            self.gaps.append(gap)

    @cached_property
    def _daemon_arguments(self) -> frozenset[str]:
        """Of every dockerd."""
        daemons = (self.index.processes.get(engine.pid or 0) for engine in self.topology.host.engines)
        return frozenset(word for daemon in daemons if daemon for word in daemon.cmdline or ())

    def _makes_rules(self, family: str) -> bool:
        """Whether the engine makes rules for this family: it is not told otherwise, and chains of its own are there."""
        option = "--ip6tables=false" if family == "ipv6" else "--iptables=false"
        if option in self._daemon_arguments:
            return False
        return any(
            chain.netns == self.index.host_netns
            and chain.family == family
            and (chain.name.startswith("DOCKER") or chain.table == "docker-bridges")
            for chain in self.facts.chains
        )

    def _makes_proxies(self, rules: Iterable[NatRule]) -> bool:
        """Whether this port should have a docker-proxy: then its rule leaves out what comes from its own bridge.

        Without a userland proxy the rule takes that too (libnetwork: hairpin mode). Of a port without a rule, the
        others tell.
        """
        if "--userland-proxy=false" in self._daemon_arguments:
            return False
        own = [(rule.in_interface or "").startswith("!") for rule in rules if rule.chain != "DOCKER-INGRESS"]
        return any(own) if own else bool(self.proxies)

    # --- published ports ---

    def published(self) -> Iterator[HostPort]:
        """The ports of running containers: recorded ones, those that only a rule makes, those of the host's network."""
        for container in self.topology.containers:
            record = self.index.records.get(container.id)
            ports = record.ports if record else ()
            recorded = {(port.proto, port.container_port, port.host_ip, port.host_port) for port in ports}
            for port in container.ports:
                if "host" in port.via:
                    yield self._of_host_network(container, port)
                elif (port.proto, port.container_port, port.host_ip, port.host_port) in recorded:
                    yield self._published(container, port)
        # What is not recorded is found again among what is left over.

    def _of_host_network(self, container: Container, port: PublishedPort) -> HostPort:
        listening = port.listening
        return _host_port(
            ["paused"] if container.state == "paused" else [],
            host_ip=port.host_ip,
            host_port=port.host_port,
            proto=port.proto,
            dual_stack=self._is_dual_stack(port.proto, port.host_ip, port.host_port),
            container=container,
            via=("host",),
            listening=self._listener(listening.address, port.host_port, listening.pid) if listening else None,
        )

    def _published(self, container: Container, port: PublishedPort) -> HostPort:
        rules = [self.dnat.by_ref[ref] for ref in port.rules if ref in self.dnat.by_ref]
        takers = [rule for rule in self.dnat.takers(port.proto, port.host_ip, port.host_port) if rule not in rules]
        if rules and takers:  # in another table than ours: which of the two comes first is not ours to tell
            places = {(rule.family, rule.backend, rule.table) for rule in rules if self.dnat.is_met(rule)}
            takers = [rule for rule in takers if (rule.family, rule.backend, rule.table) in places]
        proxy, other_proxy = self._proxy_of(port)
        problems: list[Status] = []
        for taker in takers:
            nobody = "rule of nobody" in self._of_nobody(split_address(taker.to or "")[0], [taker], [])
            problems.append("rule of nobody" if nobody else "rule leads elsewhere")
        if other_proxy is not None:
            nobody = "proxy of nobody" in self._of_nobody(other_proxy.target.address, [], [other_proxy])
            problems.append("proxy of nobody" if nobody else "proxy leads elsewhere")
        problems += (
            p for p in self._ways(container, port, rules, proxy or other_proxy) if p != "no rule" or not takers
        )
        target = next((split_address(rule.to or "")[0] for rule in rules), proxy.target.address if proxy else None)
        return self._answered(
            container,
            problems,
            host_ip=port.host_ip,
            host_port=port.host_port,
            proto=port.proto,
            container_ip=target,
            container_port=port.container_port,
            rules=[*takers, *rules],
            proxy=proxy or other_proxy,
            via=port.via,
        )

    def _proxy_of(self, port: PublishedPort) -> tuple[Proxy | None, Proxy | None]:
        """The port's own docker-proxy; and, where there is none, one at its place that leads elsewhere."""
        here = self._proxies_at.get((port.proto, port.host_ip, port.host_port), ())
        own = next((proxy for proxy in here if proxy.pid == port.proxy_pid), None)
        return own, None if own else next(iter(here), None)

    @cached_property
    def _proxies_at(self) -> dict[tuple[str, str, int], list[Proxy]]:
        """docker-proxies by the host's end."""
        proxies: dict[tuple[str, str, int], list[Proxy]] = defaultdict(list)
        for proxy in self.proxies:
            proxies[proxy.proto, proxy.host_ip, proxy.host_port].append(proxy)
        return dict(proxies)

    def _ways(
        self, container: Container, port: PublishedPort, rules: list[NatRule], proxy: Proxy | None
    ) -> Iterator[Status]:
        """What is wrong with the ways to the container, or could not be seen of them."""
        if self._is_elsewhere(container):
            yield "not seen"
            return
        seen = self.knows("namespaces", "links", "addresses")
        if not rules and not proxy and self.knows("rules", "processes") and seen:
            yield "no way in"
            return
        family = "ipv6" if ":" in port.host_ip else "ipv4"
        if rules:
            # A packet to a loopback address comes from the host itself, and has not passed prerouting.
            if not _is_loopback(port.host_ip) and not any(map(self.dnat.is_met, rules)):
                yield "rule not met"
        elif not (self.knows("rules") and seen):
            yield "not seen"
        elif self._makes_rules(family) and self._leads_to_family(container, family, proxy):
            yield "no rule"
        if proxy is None and self._makes_proxies(rules):
            yield "no proxy" if self.knows("processes") else "not seen"

    def _leads_to_family(self, container: Container, family: str, proxy: Proxy | None) -> bool:
        """Whether packets of this family are for an address of the same: a rule cannot make the one of the other."""
        if proxy is not None:
            return (":" in proxy.target.address) == (family == "ipv6")
        return any(endpoint.ip6 if family == "ipv6" else endpoint.ip for endpoint in container.endpoints)

    def _is_elsewhere(self, container: Container) -> bool:
        """Whether its networks are in another namespace than the host's, as those of a rootless engine are."""
        places = {endpoint.host_link_netns for endpoint in container.endpoints} - {None}
        if not places or self.index.host_netns in places:
            return False
        self._gap(
            "rules",
            f"ports of {container.name}",
            "its networks are in a namespace of their own, and what leads into that is not read",
            "look at rootlesskit's ports: rootlessctl list-ports",
        )
        return True

    # --- who answers ---

    def _answered(
        self,
        container: Container,
        problems: list[Status],
        *,
        host_ip: str | None,
        host_port: int,
        proto: str,
        container_ip: str | None,
        container_port: int,
        rules: Collection[NatRule],
        proxy: Proxy | None,
        via: tuple[Via, ...],
        host_port_end: int | None = None,
        container_port_end: int | None = None,
    ) -> HostPort:
        """A port of a container, with who listens at its end."""
        self.used_rules.update(map(reference, rules))
        if proxy is not None:
            self.used_proxies.add(proxy.pid)
        addresses = [container_ip] if container_ip else [a for e in container.endpoints for a in (e.ip, e.ip6) if a]
        listening: PortListener | None = None
        sockets: list[ListeningSocket] = []
        last = container_port_end or container_port
        for port in self._ports_listened_on(container, proto, container_port, last) if addresses else ():
            answers = who_listens(self.index, container.netns, proto, port, addresses)
            if answers is not None:
                listening, sockets = self._listener(answers.address, port, answers.pid), []
                break
            sockets += self.index.listening[container.netns or 0, proto, port]
        if sockets:
            loopback = all(_is_loopback(socket.address) for socket in sockets)
            problems.append("loopback only" if loopback else "other address only")
        elif listening is None and addresses:  # without an address none arrives, which is said already
            problems.append("nobody listens" if self._listeners_known(container, proto) else "not seen")
        if container.state == "paused":
            problems.append("paused")
        return _host_port(
            problems,
            host_ip=host_ip,
            host_port=host_port,
            host_port_end=host_port_end,
            proto=proto,
            container=container,
            container_ip=container_ip,
            container_port=container_port,
            container_port_end=container_port_end,
            via=via,
            rules=rules,
            proxy=proxy,
            listening=listening,
            elsewhere=tuple(self._socket(socket) for socket in sockets),
        )

    def _ports_listened_on(self, container: Container, proto: str, first: int, last: int) -> list[int]:
        """Those of a range, of one port as a rule, that there is a socket for in the container's namespace."""
        if first == last:
            return [first] if (container.netns or 0, proto, first) in self.index.listening else []
        return sorted(
            port
            for netns, protocol, port in self.index.listening
            if (netns, protocol) == (container.netns, proto) and first <= port <= last
        )

    def _socket(self, socket: ListeningSocket) -> PortListener:
        pid = next(iter(self.index.holders.get(socket.inode, ())), None)
        return self._listener(socket.address, socket.port, pid)

    def _listener(self, address: str, port: int, pid: int | None) -> PortListener:
        process = self.index.processes.get(pid or 0)
        container = self.index.container_by_pid.get(pid or 0)
        return PortListener(
            address=address,
            port=port,
            pid=pid,
            comm=process.comm if process else None,
            container=container,
            container_name=self.places.name(container),
        )

    # --- what is left over ---

    def left_over(self) -> Iterator[HostPort]:
        """Rules and proxies that no recorded port has, those of one port together. After `published`."""
        left: dict[_Where, tuple[list[NatRule], list[Proxy]]] = defaultdict(lambda: ([], []))
        for rule in self.dnat.rules:
            if rule.exact and reference(rule) not in self.used_rules:
                for where in _where(rule):
                    left[where][0].append(rule)
        for proxy in self.proxies:
            if proxy.pid not in self.used_proxies:
                at = _Where(
                    proxy.proto, proxy.host_ip, proxy.host_port, None, proxy.target.address, proxy.target.port, None
                )
                left[at][1].append(proxy)
        for where, (rules, proxies) in left.items():
            yield self._left_over(where, rules, proxies)

    def _left_over(self, where: _Where, rules: list[NatRule], proxies: list[Proxy]) -> HostPort:
        self.used_proxies.update(proxy.pid for proxy in proxies)
        via: list[Via] = []
        if rules:
            via.append("dnat")
        if proxies:
            via.append("proxy")
        proxy = next(iter(proxies), None)
        container = self._container_at(where.container_ip)
        if container is None:
            problems = self._of_nobody(where.container_ip, rules, proxies)
            return _host_port(problems, **asdict(where), via=tuple(via), rules=rules, proxy=proxy)
        problems = [] if not rules or any(map(self.dnat.is_met, rules)) else ["rule not met"]
        problems.append("not recorded")
        return self._answered(container, problems, **asdict(where), via=tuple(via), rules=rules, proxy=proxy)

    def _of_nobody(self, address: str, rules: list[NatRule], proxies: list[Proxy]) -> list[Status]:
        """What a rule or proxy is that leads to no container's address."""
        holders = {link.netns for link in self.topology.links if address in link.addresses}
        if any(self.places.namespaces[netns].role == "ingress" for netns in holders if netns in self.places.namespaces):
            return ["routing mesh"]
        if not self.knows("engines", "containers", "networks", "namespaces", "links", "addresses"):
            return ["not seen"]
        of_docker = bool(proxies) or any(map(_is_dockers, rules)) or self._in_docker_network(address)
        if holders or not of_docker:
            return ["no container"]
        found: list[Status] = []
        if rules:
            found.append("rule of nobody")
        if proxies:
            found.append("proxy of nobody")
        return found

    def _in_docker_network(self, address: str) -> bool:
        """Whether it is of a network that is on this host alone, so that nobody else can have it either."""
        try:
            wanted = ipaddress.ip_address(address)
            pools = [pool.subnet for n in self.topology.networks if n.driver == "bridge" for pool in n.subnets]
            return any(wanted in ipaddress.ip_network(pool, strict=False) for pool in pools)
        except ValueError:
            return False

    def _container_at(self, address: str) -> Container | None:
        """The one running container that has the address."""
        found = [
            container
            for container in self.topology.containers
            if container.pid is not None and any(address in (e.ip, e.ip6) for e in container.endpoints)
        ]
        return found[0] if len(found) == 1 else None

    # --- what is asked for with --all ---

    def not_running(self) -> Iterator[HostPort]:
        """What containers without a process will publish when they are started."""
        for container in self.topology.containers:
            record = self.index.records.get(container.id)
            if record and container.pid is None and container.state not in ("running", "paused"):
                yield from self._asked_for(container, record)

    def _asked_for(self, container: Container, record: ContainerRecord) -> Iterator[HostPort]:
        for port in record.port_bindings:
            yield _host_port(
                ["not running"],
                host_ip=port.host_ip or None,
                host_port=port.host_port,
                host_port_end=port.host_port_end if port.host_port_end != port.host_port else None,
                proto=port.proto,
                container=container,
                container_port=port.container_port,
            )

    def other_listeners(self) -> Iterator[HostPort]:
        """What listens in the host's namespace and is neither a docker-proxy's nor a container's. After the others."""
        for socket in self.facts.listening_sockets:
            holders = self.index.holders.get(socket.inode, [])
            if socket.netns != self.index.host_netns or self.used_proxies.intersection(holders):
                continue
            if any(pid in self.index.container_by_pid for pid in holders):
                continue
            yield _host_port(
                [],
                host_ip=socket.address,
                host_port=socket.port,
                proto=socket.proto,
                dual_stack=_is_dual_stack(socket),
                via=("host",),
                listening=self._socket(socket),
            )

    def _is_dual_stack(self, proto: str, address: str, port: int) -> bool:
        sockets = self.index.listening.get((self.index.host_netns or 0, proto, port), ())
        return any(_is_dual_stack(socket) for socket in sockets if socket.address == address)


def _is_loopback(address: str) -> bool:
    """Of 127.0.0.0/8, or ::1; what a record calls an address may be none."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_dockers(rule: NatRule) -> bool:
    return rule.chain == "DOCKER" or rule.table == "docker-bridges"


def _is_dual_stack(socket: ListeningSocket) -> bool:
    return socket.address == "::" and not socket.v6only


class _Where(Struct, frozen=True):
    """The host's end and the other one, of a rule or proxy; the names are `HostPort`'s."""

    proto: str
    host_ip: str
    host_port: int
    host_port_end: int | None
    container_ip: str
    container_port: int
    container_port_end: int | None


def _where(rule: NatRule) -> Iterator[_Where]:
    """What a DNAT rule says of ports, one for each or each range; nothing where it does not say one address."""
    address, port = split_address(rule.to or "")
    if not rule.proto or not address or "-" in address:
        return
    every = rule.dst is None or rule.dst.startswith("!")
    host_ip = ANY[":" in address] if every else without_prefix(rule.dst or "")
    for first, last in port_ranges(rule.dport):
        end = last if last != first else None
        if port.isdecimal():
            yield _Where(rule.proto, host_ip, first, end, address, int(port), None)
        else:
            yield _Where(rule.proto, host_ip, first, end, address, first, end)


def _host_port(
    problems: Iterable[Status],
    *,
    host_ip: str | None,
    host_port: int | None,
    proto: str,
    host_port_end: int | None = None,
    dual_stack: bool = False,
    container: Container | None = None,
    container_ip: str | None = None,
    container_port: int | None = None,
    container_port_end: int | None = None,
    via: tuple[Via, ...] = (),
    rules: Iterable[NatRule] = (),
    proxy: Proxy | None = None,
    listening: PortListener | None = None,
    elsewhere: tuple[PortListener, ...] = (),
) -> HostPort:
    ordered = tuple(sorted(set(problems), key=_GRAVITY.index))
    return HostPort(
        status=ordered[0] if ordered else "ok",
        problems=ordered,
        host_ip=host_ip,
        host_port=host_port,
        host_port_end=host_port_end,
        proto=proto,
        dual_stack=dual_stack,
        container=container.id if container else None,
        container_name=container.name if container else None,
        container_ip=container_ip,
        container_port=container_port,
        container_port_end=container_port_end,
        via=via,
        rules=tuple(
            PortRule(
                family=rule.family,
                backend=rule.backend,
                table=rule.table,
                chain=rule.chain,
                position=rule.position,
                to=rule.to,
                packets=rule.packets,
                bytes=rule.bytes,
            )
            for rule in rules
        ),
        proxy=PortProxy(pid=proxy.pid, address=proxy.target.address, port=proxy.target.port) if proxy else None,
        listening=listening,
        elsewhere=elsewhere,
    )
