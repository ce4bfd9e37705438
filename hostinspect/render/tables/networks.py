"""`hostinspect networks`: the columns of `docker network ls`, and where each network is."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.questions.networks import NetworkDetails
from hostinspect.render.layout import Item, item
from hostinspect.render.table import Column
from hostinspect.render.times import ago
from hostinspect.render.view import short_id
from hostinspect.topology import Network


def network_columns(now: str, *, verbose: bool = False, engines: int = 1) -> list[Column[NetworkDetails]]:
    """The columns; `now` is what ages are counted to. With `verbose` ids are whole; of so many `engines`."""
    return [
        Column("NETWORK ID", lambda n: n.id if verbose else short_id(n.id)),
        Column("NAME", lambda n: item(n.name, style="name") if n.name else None, sort=lambda n: n.name),
        Column("DRIVER", lambda n: n.driver),
        Column("SCOPE", lambda n: n.scope, spare=3),
        Column("SUBNET", lambda n: [pool.subnet for pool in n.subnets]),
        Column("GATEWAY", lambda n: [pool.gateway for pool in n.subnets if pool.gateway], spare=2),
        Column("DEVICE", _device, sort=lambda n: n.bridge or n.parent),
        Column("CONTAINERS", lambda n: len(n.containers), spare=1),
        Column("DATA ROOT", lambda n: n.data_root, shown=engines > 1),
        Column("FLAGS", lambda n: [*flags(n)], shown=False),
        Column("MODE", lambda n: n.mode, shown=False),
        Column("VNI", lambda n: [*map(str, n.vxlan_ids)], shown=False),
        Column("CREATED", lambda n: _created(n, now), shown=False, sort=lambda n: n.created),
        Column("MEMBERS", lambda n: [member.name for member in n.members], shown=False),
        Column("STOPPED", lambda n: [stopped.name for stopped in n.stopped], shown=False),
        Column("OPTIONS", lambda n: [f"{key}={value}" for key, value in sorted(n.options.items())], shown=False),
        Column("LABELS", lambda n: [f"{key}={value}" for key, value in sorted(n.labels.items())], shown=False),
        Column("NETNS", lambda n: n.netns, shown=False),
        Column("DRIFT", lambda n: [change.field for change in n.drift], shown=False),
    ]


def flags(network: Network) -> Iterator[str]:
    """What is not as usual of a network."""
    for name, is_so in (
        ("internal", network.internal),
        ("attachable", network.attachable),
        ("ingress", network.ingress),
        ("ipv6", network.ipv6),
        ("config-only", network.config_only),
    ):
        if is_so:
            yield name


def _device(network: NetworkDetails) -> Item | None:
    """The bridge, with the namespace that it is in if that is not the host's; or the parent."""
    if network.bridge and network.namespace:
        return item(f"{network.bridge} in {network.namespace}")
    if network.bridge and network.bridge_details is None:
        return item(network.bridge, style="warn")
    name = network.bridge or network.parent
    return item(name) if name else None


def _created(network: Network, now: str) -> str | None:
    age = ago(network.created, now)
    return f"{age} ago" if age else None
