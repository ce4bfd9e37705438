"""`hostinspect containers`: the columns of `docker ps`, and those that only the kernel knows."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.render.containers import image_name, state_in_words
from hostinspect.render.layout import Item, item
from hostinspect.render.ports import describe_ports
from hostinspect.render.table import Column
from hostinspect.render.times import ago, uptime
from hostinspect.render.view import network_of_mode, short_id
from hostinspect.topology import Container


def container_columns(now: str, *, verbose: bool = False) -> list[Column[Container]]:
    """The columns; `now` is what ages are counted to. With `verbose` ids are whole."""
    return [
        Column("NAME", lambda c: item(c.name, style="name"), sort=lambda c: c.name),
        Column("CONTAINER ID", lambda c: c.id if verbose else short_id(c.id)),
        Column("IMAGE", image_name),
        Column("STATUS", lambda c: _status(c, now), sort=lambda c: c.state),
        Column("PID", lambda c: c.pid),
        Column("NETWORKS", lambda c: [*_networks(c)]),
        Column("PORTS", lambda c: describe_ports(c.ports)),
        Column("CREATED", lambda c: _created(c, now), shown=False, sort=lambda c: c.created),
        Column("STATE", lambda c: c.state, shown=False),
        Column("STARTED", lambda c: c.started_at, shown=False),
        Column("MOUNTS", lambda c: [m.name or m.source or m.destination for m in c.mounts], shown=False),
        Column("NETNS", lambda c: c.netns, shown=False),
        Column("CGROUP", lambda c: c.cgroup, shown=False),
        Column("IMAGE ID", lambda c: c.image_id if verbose else short_id(c.image_id or ""), shown=False),
        Column("DRIFT", lambda c: [change.field for change in c.drift], shown=False),
    ]


def _status(container: Container, now: str) -> Item:
    if container.pid is None:
        return state_in_words(container, now)
    up = uptime(container.started_at, now)
    words = f"{container.state} {up}" if up else container.state
    return item(words, style="" if container.state == "running" else "warn")


def _created(container: Container, now: str) -> str | None:
    age = ago(container.created, now)
    return f"{age} ago" if age else None


def _networks(container: Container) -> Iterator[str]:
    """Each network with the address on it; of a container in another's namespace, that."""
    if container.shares_netns_with is not None:
        yield f"container:{short_id(container.shares_netns_with)}"
    for endpoint in container.endpoints:
        name = endpoint.network or short_id(endpoint.network_id or "?")
        address = endpoint.ip or endpoint.ip6
        yield f"{name} {address}" if address else name
    if container.shares_netns_with is None and not container.endpoints:
        yield network_of_mode(container.network_mode)
