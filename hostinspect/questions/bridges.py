"""`hostinspect bridges`: every Linux bridge, and what is behind each of its ports."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import asdict

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection, NameNotFoundError, similar
from hostinspect.questions.places import Places
from hostinspect.topology import Bridge, BridgePort

FAMILIES = ("host", "engines", "containers", "networks", "processes", "namespaces", "links", "addresses")


class Port(BridgePort, frozen=True, kw_only=True):
    """A port of a bridge, and the interface at its other end: a veth's peer."""

    container_name: str | None
    shared_with: tuple[str, ...]  # ids of the other containers in that container's network namespace
    kind: str | None  # veth, vxlan, …
    mac: str | None
    state: str | None  # forwarding, blocking, disabled, listening, learning
    operstate: str
    interface: str | None  # in `netns`
    interface_mac: str | None
    interface_prefixes: tuple[str, ...]  # its addresses, with their prefix
    netns: int | None  # where `interface` is
    namespace: str | None  # what that is called: a container's name, the name that pins it, or host
    doubt: str | None  # why there is no interface although the kernel names one


class BridgeDetails(Bridge, frozen=True, kw_only=True):
    """A bridge as in the report, with more of its ports."""

    ports: tuple[Port, ...]
    namespace: str  # what `netns` is called
    mac: str | None
    mtu: int
    operstate: str
    prefixes: tuple[str, ...]  # the same addresses as "172.17.0.1/16"
    network_name: str | None


class Bridges(Answer, frozen=True, kw_only=True):
    """The bridges of the host's own namespace, then those in others."""

    bridges: tuple[BridgeDetails, ...]
    gaps: tuple[Gap, ...]


def list_bridges(inspection: Inspection) -> Bridges:
    """Every bridge, the host's first."""
    places = Places(inspection.topology)
    return Bridges(
        bridges=tuple(describe_bridge(places, bridge) for bridge in inspection.topology.bridges),
        gaps=gaps_about(inspection.topology, *FAMILIES),
    )


def find_bridges(bridges: Sequence[BridgeDetails], name: str) -> list[BridgeDetails]:
    """The bridges of that name, in any namespace; else those of a network of that name or id, whole or its beginning.

    Raises `NameNotFoundError`.
    """
    found = [bridge for bridge in bridges if bridge.name == name]
    found = found or [bridge for bridge in bridges if name in (bridge.network_name, bridge.network)]
    found = found or [bridge for bridge in bridges if name and (bridge.network or "").startswith(name)]
    if not found:
        names = [n for bridge in bridges for n in (bridge.name, bridge.network_name) if n]
        raise NameNotFoundError("bridge", name, similar(name, names))
    return found


def describe_bridge(places: Places, bridge: Bridge) -> BridgeDetails:
    """A bridge with what is behind its ports."""
    link = places.links_by_name[bridge.netns, bridge.name]
    network = places.networks.get(bridge.network or "")
    ports = tuple(_describe_port(places, bridge, port) for port in bridge.ports)
    return BridgeDetails(
        **{
            **asdict(bridge),
            "ports": ports,
            "namespace": places.namespace_name(bridge.netns),
            "mac": link.mac,
            "mtu": link.mtu,
            "operstate": link.operstate,
            "prefixes": link.prefixes,
            "network_name": network.name if network else None,
        }
    )


def _describe_port(places: Places, bridge: Bridge, port: BridgePort) -> Port:
    link = places.links_by_name[bridge.netns, port.link]
    far = places.link(link.peer)
    members = places.members(far.netns) if far and not places.namespaces[far.netns].host else []
    return Port(
        link=port.link,
        container=port.container,
        container_name=places.name(port.container),
        shared_with=tuple(member.id for member in members if member.id != port.container),
        kind=link.kind,
        mac=link.mac,
        state=link.port_state,
        operstate=link.operstate,
        interface=far.ifname if far else None,
        interface_mac=far.mac if far else None,
        interface_prefixes=far.prefixes if far else (),
        netns=far.netns if far else None,
        namespace=places.namespace_name(far.netns) if far else None,
        doubt=link.doubt,
    )
