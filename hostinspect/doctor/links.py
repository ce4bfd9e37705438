"""Links: each container's interface, the veth on the host, and the bridge between them."""

from __future__ import annotations

import re

from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.patient import LINKS, RECORDS, Patient
from hostinspect.topology import Link

NEEDS = (*RECORDS, *LINKS, "processes")

_ENGINES_NAME = re.compile(r"veth[0-9a-f]{5,7}")  # libnetwork's: veth and 3 to 4 random bytes, in hexadecimal
_SETTLED = ("container", "overlay", "ingress", "load-balancer")


@check("endpoint-without-link", "error", needs=NEEDS)
def endpoint_without_link(patient: Patient) -> Checked:
    """A running container is recorded on a network, and has no interface there.

    It reaches nobody on that network. Somebody deleted the link, or a start was interrupted. Disconnecting and
    connecting it makes a new one.
    """
    for place in patient.attachments:
        name = place.endpoint.network
        lost = any(d.field == f"endpoints[{name}]" and d.effective is None for d in place.container.drift)
        if place.inner is None and lost:
            recorded = next(d.recorded for d in place.container.drift if d.field == f"endpoints[{name}]")
            yield Found(
                "container",
                place.container.name,
                f"{place.container.name} is on {name} by its record, and has no interface there",
                patient.docker(
                    place.container,
                    f"network disconnect -f {word(name)} {word(place.container.name)}",
                    f"network connect {word(name)} {word(place.container.name)}",
                ),
                (f"recorded: {recorded}",),
            )


@check("veth-orphaned", "warning", needs=NEEDS)
def veth_orphaned(patient: Patient) -> Checked:
    """A veth of the engine leads to no container.

    Both its ends are on the host, or the other one is in a namespace where nothing runs: left over from a container
    whose start or end was interrupted. Each takes a port of its bridge, of which there are 1,023.
    """
    for link in patient.topology.links:
        if link.netns != patient.host_netns or link.kind != "veth" or link.container or not _is_engines(patient, link):
            continue
        if link.peer is None:
            where = link.doubt or "its peer was not found"
        else:
            space = patient.places.namespaces.get(link.peer.netns)
            if space is not None and (space.role in _SETTLED or (not space.host and space.pids)):
                continue
            peer = patient.places.links.get((link.peer.netns, link.peer.ifindex))
            if peer is not None and space is not None and space.host and _is_told_by(peer, link):
                continue
            where = f"its peer {link.peer.ifname} is in {patient.places.namespace_name(link.peer.netns)}"
        yield Found(
            "link",
            link.ifname,
            f"{link.ifname} leads to no container",
            f"ip link delete {word(link.ifname)}",
            (where, f"a port of {link.master}" if link.master else "a port of no bridge"),
        )


def _is_told_by(peer: Link, link: Link) -> bool:
    """Whether a pair on the host is told by its other end: the one in a bridge, else the first."""
    if bool(peer.master) != bool(link.master):
        return bool(peer.master)
    return peer.ifindex < link.ifindex and _is_engines_name(peer)


def _is_engines(patient: Patient, link: Link) -> bool:
    bridges = {network.bridge for network in patient.bridge_networks}
    return link.master in bridges or _is_engines_name(link)


def _is_engines_name(link: Link) -> bool:
    return _ENGINES_NAME.fullmatch(link.ifname) is not None


@check("veth-not-in-bridge", "error", needs=NEEDS)
def veth_not_in_bridge(patient: Patient) -> Checked:
    """A container's veth is no port of its network's bridge.

    Nothing that the container sends arrives anywhere. Somebody moved it, or a network manager "adopted" it: tell it to
    leave veth* alone.
    """
    for place in patient.attachments:
        network, outer = place.network, place.outer
        if network is None or network.driver != "bridge" or outer is None or outer.kind != "veth":
            continue
        if network.bridge and network.bridge in patient.index.host_links and outer.master != network.bridge:
            if outer.netns != patient.host_netns:
                continue
            yield Found(
                "link",
                outer.ifname,
                f"{outer.ifname} of {place.container.name} is "
                f"{f'a port of {outer.master}' if outer.master else 'no port of any bridge'}, not of {network.bridge}",
                f"ip link set {word(outer.ifname)} master {word(network.bridge)}",
                (f"{network.name} is on {network.bridge}", f"{outer.ifname} ↔ {place.endpoint.interface}"),
            )


@check("link-down", "error", needs=NEEDS)
def link_down(patient: Patient) -> Checked:
    """A container's interface, or the veth on the host that it hangs on, is down.

    Nothing gets through. Somebody set it down, or a network manager did.
    """
    for place in patient.attachments:
        for link, where in ((place.outer, "on the host"), (place.inner, f"in {place.container.name}")):
            if link is None or link.kind not in ("veth", "macvlan", "ipvlan") or "UP" in link.flags:
                continue
            inside = link.netns != patient.host_netns
            enter = f"nsenter -t {place.container.pid} -n " if inside else ""
            yield Found(
                "link",
                link.ifname if not inside else f"{place.container.name}:{link.ifname}",
                f"{link.ifname} {where} is down, and with it {place.container.name} on {place.endpoint.network}",
                f"{enter}ip link set {word(link.ifname)} up",
                (f"flags: {', '.join(link.flags) or 'none'}", f"operstate: {link.operstate}"),
            )


@check("uplink-down", "warning", needs=(*LINKS, "routes"))
def parent_down(patient: Patient) -> Checked:
    """The host's interface below a macvlan or ipvlan network is down or gone.

    Containers on it reach nobody outside.
    """
    for network in patient.topology.networks:
        if network.driver not in ("macvlan", "ipvlan") or not network.parent or not network.containers:
            continue
        parent = patient.index.host_links.get(network.parent)
        if parent is None or "UP" not in parent.flags:
            yield Found(
                "network",
                network.name or network.id,
                f"{network.parent}, which {network.name} is on, is {'down' if parent else 'not there'}",
                f"ip link set {word(network.parent)} up",
            )
