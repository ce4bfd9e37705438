"""Links and what is at their other end.

A veth's peer holds only where both ends agree: ifindex and namespace of each name the other. A macvlan, ipvlan, vlan
or vxlan names its lower device alone; that is the kernel's word and needs only the namespace to be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from hostinspect import facts, topology
from hostinspect.correlate.index import Index

_STACKED = {"macvlan", "macvtap", "ipvlan", "ipvtap", "vlan", "vxlan"}

Key = tuple[int, int]  # namespace, ifindex


class Ends(Struct, frozen=True):
    """What a link is connected to."""

    peer: facts.Link | None = None
    lower: facts.Link | None = None
    doubt: str | None = None


def connect_links(index: Index) -> dict[Key, Ends]:
    """The ends of every link that has any, by (namespace, ifindex)."""
    ends: dict[Key, Ends] = {}
    for link in index.facts.links:
        if link.kind == "veth":
            ends[link.netns, link.ifindex] = _veth(index, link)
        elif link.kind in _STACKED and link.link and not _is_own_ifindex(link):
            ends[link.netns, link.ifindex] = _stacked(index, link)
    return ends


def _is_own_ifindex(link: facts.Link) -> bool:
    """A vxlan without a lower device reports its own ifindex as IFLA_LINK."""
    return link.kind == "vxlan" and link.link == link.ifindex


def _target_netns(index: Index, link: facts.Link) -> int | None:
    if link.link_netnsid is None:
        return link.netns
    return index.nsids.get((link.netns, link.link_netnsid))


def _veth(index: Index, link: facts.Link) -> Ends:
    if not link.link:
        return Ends(doubt="the kernel names no peer")
    netns = _target_netns(index, link)
    if netns is None:
        return Ends(doubt=f"its peer, ifindex {link.link}, is in a namespace not found (nsid {link.link_netnsid})")
    peer = index.links.get(netns, {}).get(link.link)
    if peer is None:
        return Ends(doubt=f"its peer, ifindex {link.link} in namespace {netns}, could not be read")
    if peer.kind != "veth" or peer.link != link.ifindex:
        return Ends(
            doubt=f"ifindex {peer.ifindex} in namespace {netns} does not point back: {peer.ifname} is another link"
        )
    back = _target_netns(index, peer)
    if back is None:
        return Ends(doubt=f"{peer.ifname} in namespace {netns} may be its peer, but points to a namespace not found")
    if back != link.netns:
        return Ends(doubt=f"{peer.ifname} in namespace {netns} points back to namespace {back}")
    return Ends(peer=peer)


def _stacked(index: Index, link: facts.Link) -> Ends:
    netns = _target_netns(index, link)
    if netns is None:
        return Ends(
            doubt=f"its lower device, ifindex {link.link}, is in a namespace not found (nsid {link.link_netnsid})"
        )
    lower = index.links.get(netns, {}).get(link.link or 0)
    if lower is None:
        return Ends(doubt=f"its lower device, ifindex {link.link} in namespace {netns}, could not be read")
    return Ends(lower=lower)


def master_of(index: Index, link: facts.Link) -> facts.Link | None:
    """The bridge or bond that `link` is a port of."""
    if link.master is None:
        return None
    return index.links.get(link.netns, {}).get(link.master)


def describe_links(index: Index, ends: Mapping[Key, Ends], owners: Mapping[int, str]) -> tuple[topology.Link, ...]:
    """Every link; `owners` says whose each namespace is. The host's namespace comes first, then by inode."""
    described = []
    for link in index.facts.links:
        key = (link.netns, link.ifindex)
        end = ends.get(key, Ends())
        master = master_of(index, link)
        addresses = index.addresses.get(key, [])
        owner = owners.get(link.netns)
        if owner is None and end.peer is not None:
            owner = owners.get(end.peer.netns)
        described.append(
            topology.Link(
                netns=link.netns,
                ifindex=link.ifindex,
                ifname=link.ifname,
                kind=link.kind,
                mac=link.mac,
                mtu=link.mtu,
                operstate=link.operstate,
                flags=_flags(link.flags),
                master=master.ifname if master else None,
                addresses=tuple(address.address for address in addresses),
                prefixes=tuple(f"{address.address}/{address.prefix_len}" for address in addresses),
                link_index=link.link,
                link_netnsid=link.link_netnsid,
                peer=_ref(end.peer),
                lower=_ref(end.lower),
                doubt=end.doubt,
                container=owner,
                port_state=link.port_state,
                mode=link.mode,
                vxlan_id=link.vxlan_id,
                vlan_id=link.vlan_id,
                alias=link.alias,
                altnames=link.altnames,
            )
        )
    described.sort(key=lambda link: (link.netns != index.host_netns, link.netns, link.ifindex))
    return tuple(described)


# ip(8)'s order, which is not that of the bits; RUNNING is told by its absence.
_FLAGS = (
    "LOOPBACK",
    "BROADCAST",
    "POINTOPOINT",
    "MULTICAST",
    "NOARP",
    "ALLMULTI",
    "PROMISC",
    "MASTER",
    "SLAVE",
    "DEBUG",
    "DYNAMIC",
    "AUTOMEDIA",
    "PORTSEL",
    "NOTRAILERS",
    "UP",
    "LOWER_UP",
    "DORMANT",
    "ECHO",
)


@lru_cache
def _flags(flags: tuple[str, ...]) -> tuple[str, ...]:
    """A link's flags as `ip link` prints them."""
    carrier = () if "RUNNING" in flags or "UP" not in flags else ("NO-CARRIER",)
    return (*carrier, *(flag for flag in _FLAGS if flag in flags))


def _ref(link: facts.Link | None) -> topology.LinkRef | None:
    if link is None:
        return None
    return topology.LinkRef(netns=link.netns, ifindex=link.ifindex, ifname=link.ifname)
