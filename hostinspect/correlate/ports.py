"""Published ports: what the engine recorded, the DNAT rule, the docker-proxy and the listening process, together."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from msgspec import Struct

from hostinspect.correlate.index import Index
from hostinspect.facts import ContainerRecord, ListeningSocket, RecordedPort, Rule
from hostinspect.topology import Drift, Endpoint, Listener, Listening, PublishedPort, RuleRef, Via

_ANY = {"0.0.0.0", "::"}


class Target(Struct, frozen=True):
    """Where a rule or a proxy leads to."""

    proto: str
    address: str
    port: int


class Proxy(Struct, frozen=True):
    """A docker-proxy process, by its command line."""

    pid: int
    proto: str
    host_ip: str
    host_port: int
    target: Target


class Dnat(Struct, frozen=True):
    """A DNAT rule that leads to one address and port."""

    rule: Rule
    first_port: int
    last_port: int
    target: Target


class Forwarding:
    """Every DNAT rule and docker-proxy by target, of each namespace that an engine has them in."""

    def __init__(self, index: Index) -> None:
        self._index = index

    @cached_property
    def rules(self) -> dict[tuple[int, str, str], list[Dnat]]:
        """DNAT rules by (namespace, protocol, address they lead to)."""
        rules: dict[tuple[int, str, str], list[Dnat]] = defaultdict(list)
        for rule in self._index.facts.rules:
            dnat = parse_dnat(rule) if rule.netns in self._index.netns_of_engines else None
            if dnat is not None:
                rules[rule.netns, dnat.target.proto, dnat.target.address].append(dnat)
        return dict(rules)

    def rules_to(self, netns: int | None, addresses: Iterable[str]) -> Iterator[Dnat]:
        """Every DNAT rule of a namespace that leads to one of `addresses`."""
        for address in addresses:
            for proto in ("tcp", "udp", "sctp"):
                yield from self.rules.get((netns or 0, proto, address), ())

    @cached_property
    def proxies(self) -> dict[tuple[int | None, Target], list[Proxy]]:
        """docker-proxies by namespace, the host's where it could not be read, and target."""
        proxies: dict[tuple[int | None, Target], list[Proxy]] = defaultdict(list)
        for process in self._index.facts.processes:
            if process.comm == "docker-proxy" and process.cmdline and self._index.container_of(process) is None:
                proxy = parse_proxy(process.pid, process.cmdline)
                if proxy is not None:
                    proxies[process.netns or self._index.host_netns, proxy.target].append(proxy)
        return dict(proxies)


def parse_dnat(rule: Rule) -> Dnat | None:
    """A DNAT rule with one port or a range, and one address; None for any other rule.

    A rule that holds something unknown (`exact` is False) is not relied on. Without a port in `to`, the port stays.
    """
    if rule.verdict != "DNAT" or not rule.exact or not rule.to or not rule.dport or not rule.proto:
        return None
    first, _, last = rule.dport.partition(":")
    address, port = split_address(rule.to)
    if not first.isdecimal() or not (last or first).isdecimal() or not address or "-" in address:
        return None
    to_port = port or first
    if not to_port.isdecimal():
        return None
    return Dnat(rule, int(first), int(last or first), Target(rule.proto, address, int(to_port)))


def split_address(text: str) -> tuple[str, str]:
    """`172.17.0.5:80`, `[fd00::2]:80`, `172.17.0.5` or `fd00::2` as address and port, "" where there is none."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, port.removeprefix(":")
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, ""


def parse_proxy(pid: int, cmdline: Sequence[str]) -> Proxy | None:
    """docker-proxy's options (moby: cmd/docker-proxy); None where one is missing or no number."""
    options = {name.lstrip("-"): value for name, value in itertools.pairwise(cmdline) if name[:1] == "-"}
    try:
        proto = options["proto"]
        target = Target(proto, options["container-ip"], int(options["container-port"]))
        return Proxy(pid, proto, options["host-ip"], int(options["host-port"]), target)
    except (KeyError, ValueError):
        return None


def join_ports(
    index: Index, record: ContainerRecord, netns: int | None, endpoints: Sequence[Endpoint], forwarding: Forwarding
) -> tuple[tuple[PublishedPort, ...], tuple[Drift, ...]]:
    """The published ports of a running container, with drift for a rule or a record that stands alone."""
    addresses = [address for e in endpoints for address in (e.ip, e.ip6) if address]
    ports: list[PublishedPort] = []
    drift: list[Drift] = []
    used: set[int] = set()
    place = index.engine_netns(record.data_root)
    for recorded in record.ports:
        port, rules = _recorded(index, recorded, place, netns, addresses, forwarding)
        if port is None:
            continue
        ports.append(port)
        used.update(map(id, rules))
        if not port.via and place in index.with_chains:
            drift.append(Drift(field=_field(port), recorded=str(port.container_port), effective=None))
    for dnat in forwarding.rules_to(place, addresses) if place == index.host_netns else ():
        if id(dnat.rule) not in used and dnat.first_port == dnat.last_port:
            port = _unrecorded(index, dnat, netns, addresses)
            ports.append(port)
            drift.append(Drift(field=_field(port), recorded=None, effective=str(port.container_port)))
    ports.sort(key=lambda p: (p.container_port, p.proto, p.host_ip, p.host_port))
    return tuple(ports), tuple(drift)


def recorded_ports(record: ContainerRecord) -> tuple[PublishedPort, ...]:
    """The ports that a container published when its disk was taken: nothing leads there now."""
    ports = [
        PublishedPort(
            proto=recorded.proto,
            container_port=recorded.container_port,
            host_ip=recorded.host_ip,
            host_port=recorded.host_port,
            via=(),
            rules=(),
            proxy_pid=None,
            listening=None,
        )
        for recorded in record.ports
        if recorded.host_port is not None
    ]
    return tuple(sorted(ports, key=lambda p: (p.container_port, p.proto, p.host_ip, p.host_port)))


def host_ports(listeners: Iterable[Listener]) -> tuple[PublishedPort, ...]:
    """The ports of a container in the host's namespace: whatever its processes listen on."""
    return tuple(
        PublishedPort(
            proto=listener.proto,
            container_port=listener.port,
            host_ip=listener.address,
            host_port=listener.port,
            via=("host",),
            rules=(),
            proxy_pid=None,
            listening=Listening(pid=listener.pid, comm=listener.comm, address=listener.address),
        )
        for listener in listeners
    )


def _recorded(
    index: Index,
    recorded: RecordedPort,
    place: int | None,
    netns: int | None,
    addresses: list[str],
    forwarding: Forwarding,
) -> tuple[PublishedPort | None, list[Rule]]:
    """A port, and the rules that lead there: of `place`, its engine's namespace. `netns` is the container's."""
    if recorded.host_port is None:
        return None, []
    # Within a rootless engine's namespace a proxy listens on loopback, for rootlesskit to lead there from the host.
    loopback = "::1" if ":" in recorded.host_ip else "127.0.0.1"
    listens = (recorded.host_ip, loopback) if place != index.host_netns else (recorded.host_ip,)
    targets = [Target(recorded.proto, address, recorded.container_port) for address in addresses]
    rules = [
        dnat.rule
        for target in targets
        for dnat in forwarding.rules.get((place or 0, target.proto, target.address), ())
        if _serves(dnat, recorded.host_ip, recorded.host_port, recorded.container_port)
    ]
    proxies = [
        proxy
        for target in targets
        for proxy in forwarding.proxies.get((place, target), ())
        if proxy.host_ip in listens and proxy.host_port == recorded.host_port
    ]
    via: list[Via] = []
    if rules:
        via.append("dnat")
    if proxies:
        via.append("proxy")
    port = PublishedPort(
        proto=recorded.proto,
        container_port=recorded.container_port,
        host_ip=recorded.host_ip,
        host_port=recorded.host_port,
        via=tuple(via),
        rules=tuple(map(_ref, rules)) if place == index.host_netns else (),  # a reference is to one of the host's
        proxy_pid=proxies[0].pid if proxies else None,
        listening=who_listens(index, netns, recorded.proto, recorded.container_port, addresses),
    )
    return port, rules


def _unrecorded(index: Index, dnat: Dnat, netns: int | None, addresses: list[str]) -> PublishedPort:
    """A DNAT rule that leads to the container without the engine's record saying so."""
    any_address = "::" if dnat.rule.family == "ipv6" else "0.0.0.0"
    return PublishedPort(
        proto=dnat.target.proto,
        container_port=dnat.target.port,
        host_ip=_without_prefix(dnat.rule.dst) or any_address,
        host_port=dnat.first_port,
        via=("dnat",),
        rules=(_ref(dnat.rule),),
        proxy_pid=None,
        listening=who_listens(index, netns, dnat.target.proto, dnat.target.port, addresses),
    )


def _field(port: PublishedPort) -> str:
    host_ip = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    return f"ports[{host_ip}:{port.host_port}/{port.proto}]"


def _serves(dnat: Dnat, host_ip: str, host_port: int, container_port: int) -> bool:
    """Whether a rule takes packets to this host address and port, and sends them to this port of the container."""
    if not dnat.first_port <= host_port <= dnat.last_port:
        return False
    if dnat.first_port == dnat.last_port and dnat.target.port != container_port:
        return False
    if host_ip in _ANY:
        return dnat.rule.dst is None and (dnat.rule.family == "ipv6") == (host_ip == "::")
    return _without_prefix(dnat.rule.dst) == host_ip


def _without_prefix(address: str | None) -> str | None:
    return address and address.removesuffix("/32").removesuffix("/128")


def _ref(rule: Rule) -> RuleRef:
    return RuleRef(family=rule.family, backend=rule.backend, table=rule.table, chain=rule.chain, position=rule.position)


def who_listens(index: Index, netns: int | None, proto: str, port: int, addresses: list[str]) -> Listening | None:
    """The process that answers at `port` on one of the container's addresses; loopback only does not count."""
    for socket in index.listening.get((netns or 0, proto, port), ()):
        if socket.address in addresses or _takes_any_of(socket, addresses):
            pid = next(iter(index.holders.get(socket.inode, ())), None)
            process = index.processes.get(pid or 0)
            return Listening(pid=pid, comm=process.comm if process else None, address=socket.address)
    return None


def _takes_any_of(socket: ListeningSocket, addresses: list[str]) -> bool:
    if socket.address == "0.0.0.0":
        return any(":" not in address for address in addresses)
    if socket.address == "::":
        return any(":" in address or not socket.v6only for address in addresses)
    return False


def listeners_by_container(index: Index) -> dict[str, tuple[Listener, ...]]:
    """What each container's own processes listen on, in whatever namespace, sorted.

    dockerd's embedded resolver listens in the container's namespace too; it is no process of the container.
    """
    listeners: dict[str, set[tuple[str, int, str, int]]] = defaultdict(set)
    for socket in index.facts.listening_sockets:
        for pid in index.holders.get(socket.inode, ()):
            container = index.container_by_pid.get(pid)
            if container is not None:
                listeners[container].add((socket.proto, socket.port, socket.address, pid))
                break
    return {
        container: tuple(
            Listener(proto=proto, address=address, port=port, pid=pid, comm=index.processes[pid].comm)
            for proto, port, address, pid in sorted(found)
        )
        for container, found in listeners.items()
    }
