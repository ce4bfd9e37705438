"""`hostinspect networks`: the networks of the engines, as they were recorded and as they are, and who is on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec.structs import asdict

from hostinspect.facts import EndpointRecord, Gap
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.bridges import BridgeDetails, Port, describe_bridge
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.links import LinkDetails, describe_link
from hostinspect.questions.places import Places, namespace_file
from hostinspect.topology import Container, ContainerState, Drift, Endpoint, Link, Network, NetworkNamespace, Node

FAMILIES = ("host", "engines", "containers", "networks", "processes", "namespaces", "links", "addresses")
NEEDS = (*FAMILIES, "cgroups")

MemberKind = Literal["container", "load-balancer", "ingress"]

_SWARM: dict[str, MemberKind] = {"load-balancer": "load-balancer", "ingress": "ingress"}  # by the namespace's role


class Member(Node, frozen=True, kw_only=True):
    """A place on a network: that of a running container, or of a sandbox of swarm's own."""

    kind: MemberKind
    container: str | None  # id
    name: str  # the container's; of swarm's, the name that pins its namespace
    state: ContainerState | None
    netns: int | None
    endpoint: Endpoint
    interface_kind: str | None  # of endpoint.interface: veth, macvlan, …
    doubt: str | None  # why there is no endpoint.host_link although the kernel names one
    host_operstate: str | None  # of endpoint.host_link
    host_port_state: str | None  # forwarding, blocking, disabled, …
    drift: tuple[Drift, ...]  # of the container's, what is about this place


class Stopped(Node, frozen=True, kw_only=True):
    """A container that is recorded on a network and will be on it once it runs."""

    container: str  # id
    name: str
    state: ContainerState
    endpoint: Endpoint


class StoredEndpoint(Node, frozen=True, kw_only=True):
    """An endpoint that the engine has stored, and nobody seen has: `docker network rm` may refuse because of it."""

    endpoint_id: str
    name: str | None
    ip: str | None
    ip6: str | None
    mac: str | None


class NetworkDetails(Network, frozen=True, kw_only=True):
    """A network as in the report, with its device on the host and everybody on it."""

    namespace: str | None  # overlay: the name that pins `netns`
    bridge_details: BridgeDetails | None  # of `bridge`, as in `hostinspect bridges`
    parent_link: LinkDetails | None  # of `parent`, as in `hostinspect links`
    members: tuple[Member, ...]
    stopped: tuple[Stopped, ...]
    other_ports: tuple[Port, ...]  # ports of the bridge that no member is at the other end of, but for the tunnel's
    left_over: tuple[StoredEndpoint, ...]


class Networks(Answer, frozen=True, kw_only=True):
    """The networks by name."""

    collected_at: str  # what ages are counted from
    networks: tuple[NetworkDetails, ...]
    gaps: tuple[Gap, ...]


def list_networks(inspection: Inspection, networks: Iterable[Network] | None = None) -> Networks:
    """These networks, in this order; without, all."""
    topology = inspection.topology
    described = _Describer(inspection)
    return Networks(
        collected_at=topology.host.collected_at,
        networks=tuple(map(described.network, topology.networks if networks is None else networks)),
        gaps=gaps_about(topology, *FAMILIES, of_records=True),
    )


class _Describer:
    """What is looked up for every network."""

    def __init__(self, inspection: Inspection) -> None:
        self.topology = inspection.topology
        self.places = Places(self.topology)
        self.all_seen = not any(gap.collector in FAMILIES and not gap.minor for gap in self.topology.gaps)
        self.stored: dict[str, list[EndpointRecord]] = {}
        for record in inspection.facts.endpoints:
            self.stored.setdefault(record.network_id, []).append(record)
        named = Counter((network.data_root, network.name) for network in self.topology.networks)
        self.by_name = {(n.data_root, n.name): n.id for n in self.topology.networks if named[n.data_root, n.name] == 1}

    def network(self, network: Network) -> NetworkDetails:
        netns = self.places.host_netns if network.netns is None else network.netns
        bridge = self.places.bridges.get((netns or 0, network.bridge or ""))
        bridge_details = describe_bridge(self.places, bridge) if bridge else None
        parent = self.places.links_by_name.get((self.places.host_netns or 0, network.parent or ""))
        members = [*self._containers(network), *self._swarm(network)]
        stopped = tuple(self._stopped(network))
        return NetworkDetails(
            **asdict(network),
            namespace=self.places.namespace_name(network.netns) if network.netns is not None else None,
            bridge_details=bridge_details,
            parent_link=describe_link(self.places, parent) if parent else None,
            members=tuple(members),
            stopped=stopped,
            other_ports=tuple(_other_ports(bridge_details, members)),
            left_over=tuple(self._left_over(network, [*members, *stopped])),
        )

    # --- who is on it ---

    def _containers(self, network: Network) -> Iterator[Member]:
        for container in self.topology.containers:
            if container.id not in network.containers:
                continue
            for endpoint in container.endpoints:
                if endpoint.network_id == network.id:
                    inner = self.places.links_by_name.get((container.netns or 0, endpoint.interface or ""))
                    outer = self.places.links_by_name.get((endpoint.host_link_netns or 0, endpoint.host_link or ""))
                    yield Member(
                        kind="container",
                        container=container.id,
                        name=container.name,
                        state=container.state,
                        netns=container.netns,
                        endpoint=endpoint,
                        interface_kind=inner.kind if inner else None,
                        doubt=inner.doubt if inner else None,
                        host_operstate=outer.operstate if outer else None,
                        host_port_state=outer.port_state if outer else None,
                        drift=_drift_of(container, endpoint),
                    )

    def _swarm(self, network: Network) -> Iterator[Member]:
        """The sandboxes that swarm itself has on it: a load balancer, the routing mesh's."""
        for namespace in self.topology.netns:
            kind = _SWARM.get(namespace.role)
            for link in self.places.links_in.get(namespace.inode, ()) if kind else ():
                outer = self.places.link(link.peer)
                on = self.places.network_of(outer)
                if kind and outer and on and on.id == network.id:
                    yield Member(
                        kind=kind,
                        container=None,
                        name=_sandbox_name(namespace),
                        state=None,
                        netns=namespace.inode,
                        endpoint=self._endpoint(network, link, outer),
                        interface_kind=link.kind,
                        doubt=link.doubt,
                        host_operstate=outer.operstate,
                        host_port_state=outer.port_state,
                        drift=(),
                    )

    def _endpoint(self, network: Network, link: Link, outer: Link) -> Endpoint:
        """An interface of swarm's as an endpoint; libnetwork's record of it, where this node has one, by MAC."""
        records = [record for record in self.stored.get(network.id, ()) if record.mac and record.mac == link.mac]
        record = records[0] if len(records) == 1 else None
        ip, prefix_len = _address(link, record.address if record else None, 4)
        ip6, prefix_len6 = _address(link, record.address6 if record else None, 6)
        return Endpoint(
            network=network.name,
            network_id=network.id,
            endpoint_id=record.id if record else None,
            interface=link.ifname,
            ip=ip,
            prefix_len=prefix_len,
            ip6=ip6,
            prefix_len6=prefix_len6,
            gateway=None,
            gateway6=None,
            mac=link.mac,
            host_link=outer.ifname,
            host_link_netns=outer.netns,
            bridge=outer.master,
        )

    # --- who is not ---

    def _stopped(self, network: Network) -> Iterator[Stopped]:
        for container in self.topology.containers:
            if container.state in ("running", "paused"):
                continue
            for endpoint in container.endpoints:
                # One that never ran has the network's name alone in its record.
                named = (self.by_name.get((root, endpoint.network)) for root in (container.data_root, None))
                id_ = endpoint.network_id or next(filter(None, named), None)
                if id_ == network.id:
                    yield Stopped(container=container.id, name=container.name, state=container.state, endpoint=endpoint)

    def _left_over(self, network: Network, places: Sequence[Member | Stopped]) -> Iterator[StoredEndpoint]:
        known = {place.endpoint.endpoint_id for place in places}
        for record in self.stored.get(network.id, ()) if self.all_seen else ():
            if record.id not in known:
                yield StoredEndpoint(
                    endpoint_id=record.id, name=record.name, ip=record.address, ip6=record.address6, mac=record.mac
                )


def _drift_of(container: Container, endpoint: Endpoint) -> tuple[Drift, ...]:
    """`endpoints[my_net]`, `endpoints[my_net].ip`; of an interface that nobody recorded, `interface eth1`."""
    place, interface = f"endpoints[{endpoint.network}]", f"interface {endpoint.interface}"
    return tuple(
        change
        for change in container.drift
        if change.field in (place, interface) or change.field.startswith(f"{place}.")
    )


def _sandbox_name(namespace: NetworkNamespace) -> str:
    return namespace_file(namespace) or f"net:[{namespace.inode}]"


def _address(link: Link, recorded: str | None, version: int) -> tuple[str | None, int | None]:
    """The recorded address where the link has it, else its first; swarm adds those of services as further ones."""
    prefixes = [
        (address, int(length))
        for address, _, length in (prefix.partition("/") for prefix in link.prefixes)
        if (":" in address) == (version == 6) and not address.startswith("fe80:")
    ]
    same = [prefix for prefix in prefixes if prefix[0] == recorded]
    return next(iter(same or prefixes), (None, None))


def _other_ports(bridge: BridgeDetails | None, members: Iterable[Member]) -> Iterator[Port]:
    """The tunnel of an overlay network, its vxlan, belongs to the network itself."""
    told = {(member.endpoint.host_link_netns, member.endpoint.host_link) for member in members}
    for port in bridge.ports if bridge else ():
        if bridge and (bridge.netns, port.link) not in told and port.kind != "vxlan":
            yield port
