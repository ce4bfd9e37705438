"""Ports: of the host, by publication, rule, proxy or listener; then the same number inside of containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hostinspect.correlate.ports import split_address
from hostinspect.facts import ListeningSocket
from hostinspect.questions.whois.answer import Match, Ref
from hostinspect.questions.whois.chain import covers, listed, socket_address
from hostinspect.questions.whois.key import Key, PortKey, canonical
from hostinspect.questions.whois.known import Known
from hostinspect.topology import Container, PublishedPort

_ANY = ("0.0.0.0", "::")


def by_host_port(known: Known, key: Key) -> Iterator[Match]:
    """Whose a port of the host is: published, taken by a rule or proxy that leads nowhere, listened on, or recorded."""
    asked = key.port
    if asked is None:
        return
    # An address that is a container's own is for `addresses`: its ports are inside.
    having = known.having(asked.host) if asked.host else []
    if having and all(link.netns != known.host_netns for _, link in having):
        return
    taken: set[tuple[str, str]] = set()  # protocol and address that are told of
    pids: set[int] = set()
    for container in known.topology.containers:
        for ports in _grouped(port for port in container.ports if _is_asked(asked, port)):
            taken.update((port.proto, port.host_ip) for port in ports)
            pids.update(port.proxy_pid for port in ports if port.proxy_pid is not None)
            yield _published(known, container, ports)
    yield from _rules(known, asked)
    for proxy in known.proxies.values():
        if proxy.pid not in pids and proxy.host_port == asked.port and _fits(asked, proxy.proto, proxy.host_ip):
            taken.add((proxy.proto, proxy.host_ip))
            chain = known.target(proxy.target.address, proxy.target.port, proxy.proto).after(known.proxy_reason(proxy))
            if chain.owner is not None:
                chain = chain.then("no publication of this port is recorded for it")
            at = f"{socket_address(proxy.host_ip, proxy.host_port)}/{proxy.proto}"
            yield chain.match("host port", f"host port {at}, of a docker-proxy", _ref(proxy.proto, asked.port))
    yield from _listeners(known, asked, taken)
    yield from _bindings(known, asked)


def by_container_port(known: Known, key: Key) -> Iterator[Match]:
    """Who listens on a port of that number inside of a network namespace other than the host's."""
    asked = key.port
    if asked is None:
        return
    seen = set()
    for socket in known.facts.listening_sockets:
        if socket.netns == known.host_netns or socket.port != asked.port:
            continue
        if not _fits(asked, socket.proto, socket.address):
            continue
        owner = _holder(known, socket) or known.namespace_owner(socket.netns)
        if owner is None or (owner, socket.proto) in seen:
            continue
        seen.add((owner, socket.proto))
        at = f"{socket_address(socket.address, socket.port)}/{socket.proto}"
        chain = known.container(owner).after(f"{known.holder(socket)} listens on {at} in namespace {socket.netns}")
        yield chain.match(
            "container port",
            f"port {asked.port}/{socket.proto} inside container {known.container_name(owner)}",
            _ref(socket.proto, asked.port),
        )


def _ref(proto: str, port: int) -> Ref:
    return Ref(kind="port", id=f"{port}/{proto}")


def _is_asked(asked: PortKey, port: PublishedPort) -> bool:
    return port.host_port == asked.port and _fits(asked, port.proto, port.host_ip)


def _fits(asked: PortKey, proto: str, host_ip: str) -> bool:
    """Whether a port at `host_ip` is one that was asked about: at that address, or at every address.

    `docker ps` and ss(8) differ in what they call every address, so that 0.0.0.0 and :: are the same here.
    """
    if asked.proto not in (None, proto):
        return False
    if asked.host is None or canonical(host_ip) == asked.host:
        return True
    return host_ip in _ANY and (asked.host in _ANY or (":" in asked.host) == (host_ip == "::"))


def _grouped(ports: Iterable[PublishedPort]) -> list[list[PublishedPort]]:
    """The entries of one publication together: 0.0.0.0 and :: are two in `docker inspect`."""
    groups: dict[tuple[str, int], list[PublishedPort]] = {}
    for port in ports:
        groups.setdefault((port.proto, port.container_port), []).append(port)
    return [*groups.values()]


def _published(known: Known, container: Container, ports: list[PublishedPort]) -> Match:
    first = ports[0]
    at = listed(f"{socket_address(port.host_ip, port.host_port)}/{port.proto}" for port in ports)
    chain = known.container(container.id)
    if "host" in first.via:
        listening = first.listening
        who = known.process_name(listening.pid) if listening and listening.pid else "a process of it"
        chain = chain.after(f"{who} listens on {at} in the host's own namespace, which {container.name} is in")
        summary = f"port {first.host_port}/{first.proto} of the host, by container {container.name} in its namespace"
        return chain.match("host port", summary, _ref(first.proto, first.host_port))
    reasons = [known.rule_reason(rule) for port in ports for rule in known.rules_of(port)]
    reasons += [known.proxy_reason(known.proxies[pid]) for port in ports if (pid := port.proxy_pid) in known.proxies]
    lost = None
    if not any(port.via for port in ports):
        lost = "it is recorded, and neither a rule nor a proxy leads there"
        lost = lost if known.sees("rules", "processes") else "rule or proxy could not be seen"
    place = next((e for e in container.endpoints if e.ip or e.ip6), None)
    inside = None
    if container.netns is not None and place is not None:
        inside = known.listening(container.netns, place.ip or place.ip6 or "", first.container_port, first.proto)
    chain = chain.after(*reasons, lost, inside)
    summary = f"host port {at} → port {first.container_port}/{first.proto} of container {container.name}"
    return chain.match("host port", summary, _ref(first.proto, first.host_port))


def _rules(known: Known, asked: PortKey) -> Iterator[Match]:
    """DNAT rules of the host for that port that belong to no published port."""
    theirs = {
        (r.family, r.backend, r.table, r.chain, r.position)
        for container in known.topology.containers
        for port in container.ports
        for r in port.rules
    }
    for place, rule in known.host_rules.items():
        if place in theirs or rule.to is None or rule.dport is None or not rule.exact:
            continue
        if not covers(rule.dport, asked.port) or not _fits(
            asked, rule.proto or "tcp", _destination(rule.dst, rule.family)
        ):
            continue
        ip, port = split_address(rule.to)
        spelled = canonical(ip)
        if spelled is None:
            continue
        chain = known.target(spelled, int(port) if port.isdecimal() else None, rule.proto)
        chain = chain.after(known.rule_reason(rule))
        nobody = ", to an address that nobody has" if chain.leftover and not known.having(spelled) else ""
        summary = f"host port {asked.port}/{rule.proto or 'tcp'}, taken by a rule{nobody}"
        yield chain.match("host port", summary, _ref(rule.proto or "tcp", asked.port))


def _destination(dst: str | None, family: str) -> str:
    bare = (dst or "").partition("/")[0]
    return bare or ("::" if family == "ipv6" else "0.0.0.0")


def _listeners(known: Known, asked: PortKey, taken: set[tuple[str, str]]) -> Iterator[Match]:
    """Sockets of the host on that port that are none of what was told before."""
    told: set[tuple[str, str]] = set()
    for socket in known.facts.listening_sockets:
        if socket.netns != known.host_netns or socket.port != asked.port:
            continue
        if not _fits(asked, socket.proto, socket.address) or (socket.proto, socket.address) in taken:
            continue
        pids = known.index.holders.get(socket.inode, [])
        if any(pid in known.proxies for pid in pids):
            continue
        owner = _holder(known, socket)
        who = known.holder(socket)
        if (socket.proto, owner or who) in told:
            continue
        told.add((socket.proto, owner or who))
        at = f"{socket_address(socket.address, socket.port)}/{socket.proto}"
        if owner is not None:
            chain = known.container(owner).after(f"{who} listens on {at} in the host's namespace")
            summary = f"port {asked.port}/{socket.proto} of the host, by container {known.container_name(owner)}"
        else:
            engine = any(engine.pid in pids for engine in known.facts.engines)
            chain = known.namespace(known.host_netns or 0).after(f"{who} listens on {at}")
            summary = f"port {asked.port}/{socket.proto} of the host, {'dockerd' if engine else 'no container'}'s"
        yield chain.match("host port", summary, _ref(socket.proto, asked.port))


def _holder(known: Known, socket: ListeningSocket) -> str | None:
    """The container whose process has a socket open."""
    for pid in known.index.holders.get(socket.inode, []):
        if pid in known.index.container_by_pid:
            return known.index.container_by_pid[pid]
    return None


def _bindings(known: Known, asked: PortKey) -> Iterator[Match]:
    """What containers that do not run would publish when they are started."""
    for record in known.facts.containers:
        if known.containers[record.id].pid is not None:
            continue
        for binding in record.port_bindings:
            first = binding.host_port
            if first is None or not first <= asked.port <= (binding.host_port_end or first):
                continue
            if _fits(asked, binding.proto, binding.host_ip or "0.0.0.0"):
                chain = known.container(record.id).after(
                    f"its record asks for {socket_address(binding.host_ip or '0.0.0.0', first)}/{binding.proto} → "
                    f"{binding.container_port}/{binding.proto}, when it is started"
                )
                summary = f"host port {asked.port}/{binding.proto} that container {record.name} would publish"
                yield chain.match("recorded port", summary, _ref(binding.proto, asked.port))
