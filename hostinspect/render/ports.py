"""Published ports in words: host addresses and ranges together, the way in, and who answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from hostinspect.render.layout import Item, Line, Span, detail, item
from hostinspect.render.view import View
from hostinspect.topology import Container, Listener, PublishedPort, RuleRef

_ANY = ("0.0.0.0", "::")


class PortGroup(Struct, frozen=True):
    """Published ports that one line tells of: `members` are by port, each with its entries by host address."""

    members: list[list[PublishedPort]]

    @property
    def first(self) -> PublishedPort:
        return self.members[0][0]

    @property
    def entries(self) -> list[PublishedPort]:
        return [port for member in self.members for port in member]


def group_ports(ports: Iterable[PublishedPort]) -> list[PortGroup]:
    """The ports by (protocol, host port, container port), with runs of the same sort taken together as ranges."""
    by_port: dict[tuple[str, str, int, int], list[PublishedPort]] = {}
    for port in ports:
        where = "any" if port.host_ip in _ANY else port.host_ip
        by_port.setdefault((port.proto, where, port.host_port, port.container_port), []).append(port)
    groups: list[PortGroup] = []
    for _, member in sorted(by_port.items()):
        if groups and _continues(groups[-1].members[-1], member):
            groups[-1].members.append(member)
        else:
            groups.append(PortGroup([member]))
    return sorted(groups, key=lambda group: (group.first.container_port, group.first.proto))


def _continues(before: Sequence[PublishedPort], after: Sequence[PublishedPort]) -> bool:
    """Whether `after` is the next port of a range that differs in nothing but its numbers."""
    one, next_ = before[0], after[0]
    return (
        (one.proto, one.container_port + 1, one.host_port + 1) == (next_.proto, next_.container_port, next_.host_port)
        and [(p.host_ip, p.via) for p in before] == [(p.host_ip, p.via) for p in after]
        and _listens(one) == _listens(next_)
    )


def _listens(port: PublishedPort) -> tuple[str | None, int | None] | None:
    return (port.listening.comm, port.listening.pid) if port.listening else None


def port_lines(view: View, container: Container) -> Iterator[Line]:
    """One line for each group of published ports of a running container."""
    for group in group_ports(container.ports):
        items = [item(*_where(group)), *_way_in(view, group)]
        if group.first.via != ("host",):
            items.append(item(*_answer(view, container, group)))
        elif group.first.listening:
            items.append(item(describe_process(group.first.listening.comm, group.first.listening.pid)))
        yield detail("port", *items)


def _where(group: PortGroup) -> Iterator[str]:
    """`8080 → 80/tcp on all addresses`, `127.0.0.1:8081 → 80/tcp`, `8000-8009 → 8000-8009/udp`."""
    first, last = group.first, group.members[-1][0]
    addresses = {port.host_ip for port in group.members[0]}
    numbers = number_range(first.host_port, last.host_port)
    target = f"{number_range(first.container_port, last.container_port)}/{first.proto}"
    if addresses.isdisjoint(_ANY):
        address = first.host_ip
        numbers = f"[{address}]:{numbers}" if ":" in address else f"{address}:{numbers}"
    if first.via == ("host",):
        yield f"{numbers}/{first.proto}"
    else:
        yield f"{numbers} → {target}"
    if addresses == set(_ANY) or (first.via == ("host",) and "::" in addresses):
        yield " on all addresses"
    elif not addresses.isdisjoint(_ANY):
        yield f" on all {'IPv6' if '::' in addresses else 'IPv4'} addresses"


def _way_in(view: View, group: PortGroup) -> Iterator[Item]:
    """The rules and the proxy that take a packet to the container; red where there is none."""
    ways = []
    rules = {rule: None for port in group.entries for rule in port.rules}
    if rules:
        ways.append(_rules(view, list(rules)))
    elif any("dnat" in port.via for port in group.entries):
        ways.append("DNAT")  # in a rootless engine's namespace
    if "proxy" in group.first.via or any("proxy" in port.via for port in group.entries):
        pids = [str(port.proxy_pid) for port in group.entries if port.proxy_pid]
        ways.append(f"docker-proxy {', '.join(pids)}" if view.verbose and pids else "proxy")
    if ways:
        yield item(" + ".join(ways))
    if view.uses_dnat and any(port.via == ("proxy",) and ":" not in port.host_ip for port in group.entries):
        yield item("no DNAT rule", style="warn")
    stranded = [port for port in group.entries if not port.via]
    if stranded and view.knows("rules", "processes", "namespaces"):
        only = "" if len(stranded) == len(group.entries) else f" from {stranded[0].host_ip}"
        yield item(f"no rule or proxy leads here{only}", style="bad")
    elif stranded:
        yield item("rule or proxy not seen", style="warn")


def _rules(view: View, rules: Sequence[RuleRef]) -> str:
    """`DNAT rule 3`; with the chain where it is not DOCKER, and the backend where the host has rules in two."""
    words = []
    for (family, backend, chain), same in itertools.groupby(rules, lambda r: (r.family, r.backend, r.chain)):
        positions = number_ranges(rule.position for rule in same)
        said = f"{'IPv6 ' if family == 'ipv6' else ''}DNAT rule{'s' if not positions.isdigit() else ''} {positions}"
        if chain != "DOCKER" or view.verbose:
            said += f" of {chain}"
        if len(view.host_backends) > 1 or view.verbose:
            said += f" ({backend})"
        words.append(said)
    return " + ".join(words)


def _answer(view: View, container: Container, group: PortGroup) -> Iterator[Span]:
    """Who listens inside, or that nobody does."""
    first = group.first
    number = number_range(first.container_port, group.members[-1][0].container_port)
    if first.listening is not None:
        who = describe_process(first.listening.comm, first.listening.pid)
        yield Span(f"{who} listens on {describe_socket(first.listening.address, number)}")
        return
    if not view.listeners_known(container.netns, first.proto):
        yield Span(f"whether anything listens on {number} was not seen", "warn")
        return
    elsewhere = next(_elsewhere(view, container, first), None)
    if elsewhere is None:
        yield Span(f"nothing listens on {number}", "bad")
    else:
        who = describe_process(elsewhere.comm, elsewhere.pid)
        yield Span(f"{who} listens on {describe_socket(elsewhere.address, number)} only", "bad")


def _elsewhere(view: View, container: Container, port: PublishedPort) -> Iterator[Listener]:
    """Sockets on the container's port that packets from outside do not reach: on a loopback address, usually."""
    for candidate in view.running_in.get(container.netns, ()) if container.netns is not None else ():
        for listener in candidate.listeners:
            if (listener.proto, listener.port) == (port.proto, port.container_port):
                yield listener


def other_listeners(view: View, container: Container) -> Iterator[Line]:
    """What a container's processes listen on beside the published ports."""
    told = {(port.proto, port.container_port) for port in container.ports}
    owner = view.containers.get(container.shares_netns_with or "")
    if owner is not None:
        told |= {(port.proto, port.container_port) for port in owner.ports}
    by_process: dict[tuple[str | None, int | None], list[str]] = {}
    for listener in container.listeners:
        if (listener.proto, listener.port) not in told:
            by_process.setdefault((listener.comm, listener.pid), []).append(listener_address(listener))
    for (comm, pid), sockets in by_process.items():
        yield detail("listen", item(f"{describe_process(comm, pid)} on {', '.join(dict.fromkeys(sockets))}"))


def listener_address(listener: Listener) -> str:
    """`*:80/tcp`, `[::1]:53/udp`."""
    return f"{describe_socket(listener.address, str(listener.port))}/{listener.proto}"


def describe_process(comm: str | None, pid: int | None) -> str:
    if comm is None and pid is None:
        return "a process not seen"
    return f"{comm or '?'} ({pid if pid is not None else '?'})"


def describe_socket(address: str, port: str) -> str:
    if address in _ANY:
        return f"*:{port}"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def number_range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def number_ranges(numbers: Iterable[int]) -> str:
    """`1-3, 7` of 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] + 1 == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(number_range(run[0], run[-1]) for run in runs)
