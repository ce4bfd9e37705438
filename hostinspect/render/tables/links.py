"""`hostinspect links`: the columns of `ip -brief link`, and where each link leads to."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.questions.links import LinkDetails
from hostinspect.questions.places import HOST
from hostinspect.render.layout import Item, item
from hostinspect.render.table import Column


def link_columns(*, namespaces: bool, verbose: bool = False) -> list[Column[LinkDetails]]:
    """The columns; with `namespaces` that of where each link is. With `verbose` link-local addresses are told too."""
    return [
        Column("NAMESPACE", lambda link: link.namespace, shown=namespaces, group=lambda link: link.netns),
        Column("IFINDEX", lambda link: link.ifindex, shown=False),
        Column("NAME", lambda link: item(link.ip_name, style="name"), sort=lambda link: link.ifname),
        Column("STATE", _state, sort=lambda link: link.operstate),
        Column("MAC", lambda link: link.mac, spare=2),
        Column("KIND", lambda link: link.kind, spare=1),
        Column("MASTER", lambda link: link.master),
        Column("PEER", other_end, sort=lambda link: (link.far_namespace or "", *_far(link))),
        Column("ADDRESSES", lambda link: told(link.prefixes, every=verbose)),
        Column("CONTAINER", lambda link: link.container_name, shown=False),
        Column("NETWORK", lambda link: link.network_name, shown=False),
        Column("PEER ADDRESSES", lambda link: told(link.far_prefixes, every=verbose), shown=False),
        Column("PEER MAC", lambda link: link.far_mac, shown=False),
        Column("MTU", lambda link: link.mtu, shown=False),
        Column("FLAGS", lambda link: link.flags, shown=False),
        Column("PORT STATE", lambda link: link.port_state, shown=False),
        Column("MODE", lambda link: link.mode, shown=False),
        Column("VNI", lambda link: link.vxlan_id, shown=False),
        Column("VLAN", lambda link: link.vlan_id, shown=False),
        Column("ALIAS", lambda link: link.alias, shown=False),
        Column("ALTNAMES", lambda link: link.altnames, shown=False),
        Column("NETNS", lambda link: link.netns, shown=False),
    ]


def told(prefixes: tuple[str, ...], *, every: bool = False) -> list[str]:
    """Addresses without those that every link has."""
    return [prefix for prefix in prefixes if every or not prefix.startswith("fe80:")]


def _state(link: LinkDetails) -> Item:
    """In capitals, as ip(8) has it."""
    return item(link.operstate.upper(), style="warn" if link.operstate in ("down", "lowerlayerdown") else "")


def _far(link: LinkDetails) -> Iterator[str]:
    """`eth0`, `veth13d6de4 (docker0)`, `on eth0`, and the namespace where that is not this one nor the host's."""
    end = link.peer or link.lower
    if end is None:
        return
    yield end.ifname if link.peer else f"on {end.ifname}"
    if link.far_master and link.peer:
        yield f"({link.far_master})"
    if end.netns != link.netns and link.far_namespace != HOST:
        yield f"in {link.far_namespace}"


def other_end(link: LinkDetails) -> Item | None:
    """A veth's peer, or the device below; where the kernel names one that does not hold, why."""
    if link.doubt:
        return item(f"? ({link.doubt})", style="warn")
    words = " ".join(_far(link))
    return item(words) if words else None
