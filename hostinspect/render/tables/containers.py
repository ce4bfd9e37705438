"""`hostinspect containers`: the columns of `docker ps`, and those that only the kernel knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hostinspect.render.containers import image_name
from hostinspect.render.layout import Item, Span, item
from hostinspect.render.ports import PortGroup, group_ports
from hostinspect.render.table import Column
from hostinspect.render.times import ago, uptime
from hostinspect.render.view import GWBRIDGE, is_as_recorded, network_of_mode, short_id
from hostinspect.topology import Container

_ANY = {"0.0.0.0", "::"}
_HEALTH = {"starting": "health: starting", "none": None}  # as docker ps says it


def container_columns(
    now: str, names: Mapping[str, str], *, verbose: bool = False, engines: int = 1
) -> list[Column[Container]]:
    """The columns. `now` is what ages are counted to, `names` are those of all containers; `verbose`: ids are whole;
    `engines`: how many there are.

    There is no COMMAND: arguments are never read, since secrets are passed in them.
    """
    return [
        Column("CONTAINER ID", lambda c: c.id if verbose else short_id(c.id), spare=2),
        Column("NAME", lambda c: item(c.name, style="name"), sort=lambda c: c.name),
        Column("IMAGE", image_name),
        Column("STATUS", lambda c: _status(c, now), sort=lambda c: c.state),
        Column("PID", lambda c: c.pid, spare=1),
        Column("NETWORKS", lambda c: [*_networks(c, names)]),
        Column("PORTS", _ports, sort=lambda c: c.ports[0].host_port if c.ports else None),
        Column("DATA ROOT", lambda c: c.data_root, shown=engines > 1),
        Column("CREATED", lambda c: _since(c.created, now), shown=False, sort=lambda c: c.created),
        Column("STATE", lambda c: c.state, shown=False),
        Column("HEALTH", lambda c: c.health, shown=False),
        Column("STARTED", lambda c: _since(c.started_at, now), shown=False, sort=lambda c: c.started_at),
        Column("MOUNTS", lambda c: [m.name or m.source or m.destination for m in c.mounts], shown=False),
        Column("LABELS", lambda c: [f"{key}={value}" for key, value in sorted(c.labels.items())], shown=False),
        Column("NETNS", lambda c: c.netns, shown=False),
        Column("CGROUP", lambda c: c.cgroup, shown=False),
        Column("IMAGE ID", lambda c: c.image_id if verbose else short_id(c.image_id or ""), shown=False),
        Column("DRIFT", lambda c: [change.field for change in c.drift], shown=False),
    ]


def _status(container: Container, now: str) -> Item:
    """In the words of docker ps: `Up 3h (healthy)`, `Up 2d (Paused)`, `Exited (137) 4d ago`, `Created`."""
    state = container.state
    if container.pid is not None:
        up = uptime(container.started_at, now)
        words = f"Up {up}" if up else "Up"
        aside = "Paused" if state == "paused" else _HEALTH.get(container.health or "", container.health)
        if aside:
            words += f" ({aside})"
        return item(words, style="bad" if aside == "unhealthy" else "warn" if state != "running" else "")
    words = state.capitalize()
    if is_as_recorded(container):
        return item(f"{words}, as recorded", style="warn" if state != "running" else "")
    if container.exit_code is not None:
        words += f" ({container.exit_code})"
    since = uptime(container.finished_at, now) if state != "created" else None
    if since:
        words += f" {since} ago"
    return item(words, style="warn" if state in ("restarting", "dead", "removing") else "")


def _since(then: str | None, now: str) -> str | None:
    age = ago(then, now)
    return f"{age} ago" if age else None


def _networks(container: Container, names: Mapping[str, str]) -> Iterator[str]:
    """Each network with the address on it, the way out of overlay networks last; in another's namespace, whose."""
    owner = container.shares_netns_with
    if owner is not None:
        yield f"container:{names.get(owner, short_id(owner))}"
    for endpoint in sorted(container.endpoints, key=lambda e: e.network == GWBRIDGE):
        name = endpoint.network or short_id(endpoint.network_id or "?")
        address = endpoint.ip or endpoint.ip6
        yield f"{name} {address}" if address else name
    if owner is None and not container.endpoints:
        yield network_of_mode(container.network_mode)


def _ports(container: Container) -> Item:
    """As docker ps writes them, `*` for all addresses of both families; red where nothing leads to it any more.

    A port that is exposed and not published stands alone: `80/tcp`; without a network of its own there is none.
    """
    lost = any(change.field.startswith("ports[") and change.effective is None for change in container.drift)
    published = {f"{port.container_port}/{port.proto}" for port in container.ports}
    spans = [
        Span(_port(group), "bad" if lost and not any(port.via for port in group.entries) else "")
        for group in group_ports(container.ports)
    ]
    if container.pid is not None and not _is_guest(container):
        spans += [Span(port) for port in container.exposed_ports if port not in published]
    return tuple(part for span in spans for part in (Span(", "), span))[1:]


def _port(group: PortGroup) -> str:
    first, last = group.first, group.members[-1][0]
    addresses = {port.host_ip for port in group.members[0]}
    address = "*" if addresses >= _ANY else f"[{first.host_ip}]" if ":" in first.host_ip else first.host_ip
    outside, inside = _range(first.host_port, last.host_port), _range(first.container_port, last.container_port)
    if first.via == ("host",):
        return f"{address}:{outside}/{first.proto}"
    return f"{address}:{outside}->{inside}/{first.proto}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _is_guest(container: Container) -> bool:
    """Whether it has no network of its own; a network may be called `host2`, say."""
    return container.shares_netns_with is not None or container.network_mode in ("host", "none")
