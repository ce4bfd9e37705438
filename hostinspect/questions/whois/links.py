"""Interfaces: by name, by another name, by ifindex, by MAC, by the name they had before they were moved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from hostinspect.questions.whois.answer import Match
from hostinspect.questions.whois.chain import HOST, Chain, listed
from hostinspect.questions.whois.key import Key
from hostinspect.questions.whois.known import Known
from hostinspect.topology import Link

_IFINDEX = re.compile(r"@?if(\d{1,10})", re.ASCII)
_SYS = re.compile(r"/sys/(?:class/net|devices/virtual/net)/([^/]+)(?:/.*)?")
_BRIDGE = re.compile(r"br-([0-9a-f]{12})")


def by_name(known: Known, key: Key) -> Iterator[Match]:
    """`veth13d6de4`, `veth13d6de4@if12` and `eth0@docker0` as ip-link(8) prints them, `/sys/class/net/veth13d6de4`."""
    found = _SYS.fullmatch(key.paths[0]) if key.paths else None
    name = found[1] if found else key.word.removesuffix(":")
    links = _named(known, name)
    other = None
    if not links and "@" in name:
        name, _, other = name.rpartition("@")
        links = _named(known, name)
        pointing = [link for link in links if other in (f"if{link.link_index}", *_others(link))]
        links = pointing or links
    for link in links:
        summary, chain = of_link(known, link)
        if other is not None and other not in (f"if{link.link_index}", *_others(link)):
            chain = chain.after(f"its other end is not {other} now")
        if link.ifname != name:
            chain = chain.after(f"{name} is another name of {link.ifname}")
        yield chain.match("interface", summary, known.link_ref(link))


def by_ifindex(known: Known, key: Key) -> Iterator[Match]:
    """`13`, `if13`, `@if13`: in any namespace, the host's first. A bare 1 is no loopback interface: all have one."""
    found = _IFINDEX.fullmatch(key.word)
    ifindex = int(found[1]) if found else key.number
    for link in known.topology.links:
        if link.ifindex == ifindex and (found or not _is_loopback(known, link)):
            summary, chain = of_link(known, link)
            where = "on the host" if link.netns == known.host_netns else f"in namespace {link.netns}"
            chain = chain.after(f"ifindex {ifindex} {where} is {link.ifname}")
            yield chain.match("ifindex", summary, known.link_ref(link))


def by_mac(known: Known, key: Key) -> Iterator[Match]:
    """A MAC in any spelling: of an interface, else of an endpoint that was recorded."""
    mac = key.mac
    having = [link for link in known.topology.links if link.mac == mac and not _is_loopback(known, link)]
    for link in having:
        summary, chain = of_link(known, link)
        yield chain.after(f"{mac} is the MAC of {_label(link)}").match("mac", summary, known.link_ref(link))
    if having or mac is None:
        return
    for record in known.endpoints_at(mac=mac):
        chain = known.endpoint(record.id).after(f"no interface that was seen has {mac}")
        yield chain.match(
            "mac",
            f"recorded for an endpoint on {known.network_name(record.network_id)}",
            chain.reasons[1].about or HOST,
        )


def by_former_name(known: Known, key: Key) -> Iterator[Match]:
    """The name a container's interface had on the host before it was moved inside, as the kernel's log has it."""
    for record in known.facts.endpoints:
        if record.src_name and record.src_name == key.word:
            chain = known.endpoint(record.id)
            place = known.places_by_endpoint.get(record.id)
            inside = place.endpoint.interface if place else None
            whose = f" of container {place.container.name}" if place else ""
            now = f"{inside}{whose}" if inside else f"the interface of an endpoint{whose}"
            chain = chain.after(f"libnetwork made it as {record.src_name}, and moved it into the sandbox")
            yield chain.match("former interface name", f"what {now} was called before", chain.reasons[1].about or HOST)


def by_bridge_name(known: Known, key: Key) -> Iterator[Match]:
    """`br-` and 12 digits of a network's id, where there is no such interface."""
    found = _BRIDGE.fullmatch(key.word)
    if found is None or _named(known, key.word):
        return
    for network in known.topology.networks:
        if network.id.startswith(found[1]):
            chain = known.network(network.id).after(
                f"no interface is called {key.word}; the name is br- and the first 12 digits of the network's id"
            )
            yield chain.match(
                "bridge name",
                f"what the bridge of network {network.name} is called, and there is none",
                known.network_ref(network.id),
            )


def _named(known: Known, name: str) -> list[Link]:
    return [link for link in known.topology.links if name and name in (link.ifname, link.alias, *link.altnames)]


def _others(link: Link) -> list[str]:
    return [ref.ifname for ref in (link.peer, link.lower) if ref]


def _is_loopback(known: Known, link: Link) -> bool:
    return link.ifname == "lo" and link.kind is None


def _label(link: Link) -> str:
    return f"{link.ifname} ({link.ifindex})"


def of_link(known: Known, link: Link) -> tuple[str, Chain]:
    """What a link is, in words, and whose."""
    if link.kind == "bridge":
        return _bridge(known, link)
    if link.kind == "veth":
        return _veth(known, link)
    if link.netns == known.host_netns:
        return _host_link(known, link)
    return _inner(known, link, f"{link.ifname}")


def whose(known: Known, netns: int) -> str:
    """A namespace in words, as the place where an interface is."""
    owner = known.namespace_owner(netns)
    if owner is not None:
        return f"container {known.container_name(owner)}"
    described = known.namespaces.get(netns)
    if described is None:
        return f"namespace {netns}"
    if described.host:
        return "the host"
    if netns in known.index.roots_by_netns:
        return f"the rootless engine in {known.index.roots_by_netns[netns]}"
    if described.network is not None:
        role = "hidden" if described.role == "overlay" else described.role
        return f"the {role} namespace of network {known.network_name(described.network)}"
    return f"namespace {described.paths[0] if described.paths else netns}"


def _bridge(known: Known, link: Link) -> tuple[str, Chain]:
    bridge = known.bridges.get((link.netns, link.ifname))
    ports = [
        f"{port.link} ({known.container_name(port.container)})" if port.container else port.link
        for port in (bridge.ports if bridge else ())
    ]
    has = f"{link.ifname} has {', '.join(link.prefixes) or 'no address'}; its ports: {listed(ports) or 'none'}"
    on_host = link.netns == known.host_netns
    if bridge is not None and bridge.network is not None:
        name = known.network_name(bridge.network)
        where, inode = ("", "") if on_host else (" in its hidden namespace", f" {link.netns}")
        chain = known.network(bridge.network).after(f"{_label(link)} is the bridge of {name}{where}{inode}", has)
        return f"the bridge of network {name}{where}", chain
    if not on_host:
        return _inner(known, link, f"the bridge {link.ifname}")
    if _BRIDGE.fullmatch(link.ifname):
        why = "docker names bridges br- and 12 digits of the network's id; no network that was read has such an id"
        chain = Chain(leftover=known.sees("networks", "engines")).after(why, has)
        return f"the bridge {link.ifname} of a network that is not there", chain
    return f"the bridge {link.ifname} of the host, no network's", Chain(owner=HOST).after(has)


def _veth(known: Known, link: Link) -> tuple[str, Chain]:
    """One end of a pair: it is whose the inner end is, the one that is not the host's."""
    on_host = link.netns == known.host_netns
    peer = known.links.get((link.peer.netns, link.peer.ifindex)) if link.peer else None
    if peer is None:
        if not on_host:
            return _inner(known, link, link.ifname)
        return f"{link.ifname}, whose other end could not be found", Chain().after(_port_of(known, link), link.doubt)
    back = f"which points back at {link.ifindex}"
    pair = f"its peer is {peer.ifname}, ifindex {peer.ifindex} in namespace {peer.netns}, {back}"
    if peer.netns == link.netns:
        chain = known.namespace(link.netns).after(_port_of(known, link), pair)
        return f"{link.ifname}, one end of a veth pair of {whose(known, link.netns)} itself", chain
    # An overlay network's bridge is in a hidden namespace, and has the outer ends of its containers.
    if not on_host and (known.namespace_owner(link.netns) or known.namespace_owner(peer.netns) is None):
        where = "on the host" if peer.netns == known.host_netns else f"in {whose(known, peer.netns)}"
        port = f", a port of {peer.master}" if peer.master else ""
        return _inner(known, link, link.ifname, f"its peer {where} is {_label(peer)}{port}, {back}")
    place = known.places.get((peer.netns, peer.ifname))
    chain = known.namespace(peer.netns).after(_port_of(known, link), pair)
    end = "the host end" if on_host else f"the end in {whose(known, link.netns)}"
    summary = f"{end} of {peer.ifname} in {whose(known, peer.netns)}"
    return summary, replace(chain, network=place.endpoint.network_id if place else chain.network)


def _port_of(known: Known, link: Link) -> str | None:
    """The bridge that a link is a port of, and that one's network."""
    if link.master is None:
        return None
    bridge = known.bridges.get((link.netns, link.master))
    network = f", network {known.network_name(bridge.network)}" if bridge and bridge.network else ""
    return f"{_label(link)} is a port of {link.master}{network}"


def _inner(known: Known, link: Link, name: str, other_end: str | None = None) -> tuple[str, Chain]:
    """An interface that is seen from inside: it is whose its namespace is."""
    chain = known.namespace(link.netns)
    place = known.places.get((link.netns, link.ifname))
    on = None
    if place is not None:
        at = " ".join(filter(None, (place.endpoint.ip, place.endpoint.ip6)))
        on = f"it is an endpoint of network {known.network_name(place.endpoint.network_id)}" + (f": {at}" if at else "")
        chain = replace(chain, network=place.endpoint.network_id)
    lower = f"it is a {link.kind} on {link.lower.ifname} of {whose(known, link.lower.netns)}" if link.lower else None
    chain = chain.after(f"{_label(link)} is in namespace {link.netns}", on, other_end or lower or link.doubt)
    return f"{name} in {whose(known, link.netns)}", chain


def _host_link(known: Known, link: Link) -> tuple[str, Chain]:
    """A link of the host's without another end: whoever has networks or interfaces on it is told."""
    parents = [network for network in known.topology.networks if network.parent == link.ifname]
    reasons: list[str | None] = [_port_of(known, link)]
    for network in parents:
        reasons.append(f"network {network.name} ({network.driver}) has it as its parent")
    users = [
        other
        for other in known.topology.links
        if other.lower and (other.lower.netns, other.lower.ifindex) == (link.netns, link.ifindex)
    ]
    if users:
        reasons.append("on it: " + listed(f"{other.ifname} of {whose(known, other.netns)}" for other in users))
    kind = f", a {link.kind}" if link.kind else ""
    chain = Chain(owner=HOST, network=parents[0].id if len(parents) == 1 else None)
    addresses = f"it has {', '.join(link.prefixes)}" if link.prefixes else None
    containers = [owner for other in users if (owner := known.namespace_owner(other.netns))]
    return (
        f"{link.ifname}{kind}, an interface of the host itself",
        replace(chain, containers=tuple(dict.fromkeys(containers))).after(addresses, *reasons),
    )
