"""Networks, their bridges and hidden namespaces, and what each network namespace is there for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from hostinspect import facts, topology
from hostinspect.correlate.index import Index
from hostinspect.correlate.links import Ends, Key
from hostinspect.topology import Container, Drift, Network, Subnet

# libnetwork pins an overlay network's namespace as INIT-EPOCH, a dash and the first ten of the id.
_OVERLAY_NAME = r"^\d+-([0-9a-z]{10})$"  # a generation, and the beginning of the network's id


class Networks:
    """The networks of the host, found from records, from containers' endpoints and from hidden namespaces."""

    def __init__(self, index: Index, containers: Iterable[Container], ends: Mapping[Key, Ends]) -> None:
        self._index = index
        self._ends = ends
        self._members: dict[str, set[str]] = defaultdict(set)
        self._names: dict[str, str] = {}
        for container in containers:
            for endpoint in container.endpoints:
                if endpoint.network_id is None:
                    continue
                if endpoint.network:
                    self._names.setdefault(endpoint.network_id, endpoint.network)
                if container.state in ("running", "paused"):
                    self._members[endpoint.network_id].add(container.id)

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """Every network, by name."""
        networks = [self._recorded(record) for record in self._index.facts.networks]
        known = set(self._index.network_records)
        networks += [self._unrecorded(id_, name) for id_, name in self._names.items() if id_ not in known]
        known.update(self._names)
        # Docker 20.10 stores the endpoints of the swarm's networks in local-kv.db, though not the networks.
        stored = {endpoint.network_id for endpoint in self._index.facts.endpoints} - known
        networks += [self._unrecorded(id_, None) for id_ in stored if id_[:10] in self.overlay_netns]
        return tuple(sorted(networks, key=lambda network: (network.name or "", network.id)))

    @cached_property
    def by_bridge(self) -> dict[tuple[int | None, str], str]:
        """Ids of the networks by their bridge, and the namespace it is in."""
        host = self._index.host_netns
        return {(host if n.netns is None else n.netns, n.bridge): n.id for n in self.networks if n.bridge}

    @cached_property
    def by_subnet(self) -> dict[tuple[int | None, str], str]:
        """Ids of the networks by subnet, and their engine's namespace; a subnet that several have there, as null or
        overlay networks may, is left out.

        What an engine at rest has recorded, and is not there, counts for nothing.
        """
        subnets: dict[tuple[int | None, str], str | None] = {}
        for network in self.networks:
            if network.bridge is None and network.data_root in self._index.roots_at_rest:
                continue
            for pool in network.subnets:
                key = self._index.engine_netns(network.data_root), pool.subnet
                subnets[key] = None if key in subnets else network.id
        return {key: id_ for key, id_ in subnets.items() if id_ is not None}

    @cached_property
    def overlay_netns(self) -> dict[str, int]:
        """Hidden namespaces of overlay networks by the first ten of the network's id."""
        found = {}
        for path, inode in self._index.netns_by_path.items():
            if id_ := _of_overlay(path.rsplit("/", 1)[-1]):
                found[id_] = inode
        return found

    def _recorded(self, record: facts.NetworkRecord) -> Network:
        bridge, drift = self._bridge(record)
        netns = self._index.netns_elsewhere.get(record.data_root) if record.driver == "bridge" else None
        hidden = self.overlay_netns.get(record.id[:10]) if record.driver == "overlay" else None
        subnets = [Subnet(subnet=s.subnet, gateway=s.gateway, ip_range=s.ip_range) for s in record.subnets]
        return Network(
            id=record.id,
            name=record.name,
            data_root=record.data_root,
            driver=record.driver,
            scope=record.scope,
            internal=record.internal,
            attachable=record.attachable,
            ingress=record.ingress,
            ipv6=record.ipv6,
            config_only=record.config_only,
            created=record.created,
            subnets=tuple(subnets),
            bridge=self._hidden_bridge(hidden) if hidden else bridge,
            parent=record.parent,
            mode=record.mode,
            vxlan_ids=self._vxlan_ids(hidden),
            netns=hidden or netns,
            options=dict(record.options),
            labels=dict(record.labels),
            containers=tuple(sorted(self._members[record.id])),
            drift=tuple(drift),
        )

    def _bridge(self, record: facts.NetworkRecord) -> tuple[str | None, list[Drift]]:
        """The bridge of a bridge network, where it is there and holds the gateway's subnet.

        That of an engine at rest need not be there, and one of the name may be another's by now.
        """
        if record.driver != "bridge":
            return None, []
        name = _bridge_name(record)
        links = self._index.links_of_engines.get(self._index.engine_netns(record.data_root))
        if links is None:
            return name, []
        link = links.get(name)
        if record.data_root in self._index.roots_at_rest:
            is_left = link is not None and link.kind == "bridge" and name not in self._bridges_in_use
            return (name if is_left else None), []
        if link is None:
            return None, [Drift(field="bridge", recorded=name, effective=None)]
        if link.kind != "bridge":
            return None, [Drift(field="bridge", recorded=name, effective=f"{name} is of kind {link.kind}")]
        addresses = self._index.addresses.get((link.netns, link.ifindex), [])
        held = {a.address for a in addresses}
        drift = []
        for pool in record.subnets:
            gateway = pool.gateway
            if gateway and not _holds(held, gateway) and not self._gatewayless(record):
                effective = ", ".join(f"{a.address}/{a.prefix_len}" for a in addresses) or None
                drift.append(Drift(field=f"subnets[{pool.subnet}].gateway", recorded=gateway, effective=effective))
        return name, drift

    @cached_property
    def _bridges_in_use(self) -> frozenset[str]:
        """The bridges of all networks but those of engines at rest."""
        at_rest = self._index.roots_at_rest
        return frozenset(
            _bridge_name(record) for record in self._index.facts.networks if record.data_root not in at_rest
        )

    @staticmethod
    def _gatewayless(record: facts.NetworkRecord) -> bool:
        """Networks whose bridge has no address by intent: gateway modes of Docker 27 and later."""
        options = dict(record.options)
        return (
            "isolated"
            in (
                options.get("com.docker.network.bridge.gateway_mode_ipv4"),
                options.get("com.docker.network.bridge.gateway_mode_ipv6"),
            )
            or options.get("com.docker.network.bridge.inhibit_ipv4") == "true"
        )

    @cached_property
    def _ingress_netns(self) -> frozenset[int]:
        """The hidden namespaces that the ingress sandbox has a leg in."""
        sandbox = self._index.netns_by_path.get("/run/docker/netns/ingress_sbox")
        ends = (self._ends.get((sandbox or 0, ifindex)) for ifindex in self._index.links.get(sandbox or 0, ()))
        hidden = set(self.overlay_netns.values())
        return frozenset(end.peer.netns for end in ends if end and end.peer and end.peer.netns in hidden)

    def _unrecorded(self, id_: str, name: str | None) -> Network:
        """A network that only a container's or an endpoint's record names: swarm's live in the managers' raft store.

        Its hidden namespace says the driver, the VNI and the subnets (its br0 holds each one's gateway).
        """
        netns = self.overlay_netns.get(id_[:10])
        bridge = self._hidden_bridge(netns)
        return Network(
            id=id_,
            name=name,
            data_root=None,
            driver="overlay" if netns else None,
            scope="swarm" if netns else "local",
            internal=False,
            attachable=False,
            ingress=netns in self._ingress_netns,
            ipv6=False,
            config_only=False,
            created=None,
            subnets=self._hidden_subnets(netns),
            bridge=bridge,
            parent=None,
            mode=None,
            vxlan_ids=self._vxlan_ids(netns),
            netns=netns,
            options={},
            labels={},
            containers=tuple(sorted(self._members[id_])),
            drift=(),
        )

    def gaps(self) -> tuple[facts.Gap, ...]:
        """Overlay networks of which the kernel shows the hidden namespace, and no file the name, or not even the id."""
        if not self._index.facts.networks:
            return ()  # no engine's records were read at all, which has a gap of its own
        networks = self._by_hidden_netns
        gaps = []
        for prefix, inode in sorted(self.overlay_netns.items()):
            network = networks.get(inode)
            if network is None or network.name is None:
                unknown = "its name" if network else "its name and whole id"
                gaps.append(
                    facts.Gap(
                        collector="networks",
                        subject=f"overlay network {prefix}… (namespace {inode})",
                        why=f"{unknown} can be found in the swarm managers' encrypted store only",
                        remedy="docker network ls, on a manager",
                        minor=True,
                    )
                )
        return tuple(gaps)

    def _hidden_links(self, netns: int | None, kind: str) -> list[facts.Link]:
        return [link for link in self._index.links.get(netns or 0, {}).values() if link.kind == kind]

    def _hidden_bridge(self, netns: int | None) -> str | None:
        bridges = self._hidden_links(netns, "bridge")
        return bridges[0].ifname if len(bridges) == 1 else None

    def _vxlan_ids(self, netns: int | None) -> tuple[int, ...]:
        return tuple(sorted(link.vxlan_id for link in self._hidden_links(netns, "vxlan") if link.vxlan_id is not None))

    def _hidden_subnets(self, netns: int | None) -> tuple[Subnet, ...]:
        from ipaddress import ip_interface

        subnets = []
        for link in self._hidden_links(netns, "bridge"):
            for address in self._index.addresses.get((link.netns, link.ifindex), []):
                if address.scope == "global":
                    pool = ip_interface(f"{address.address}/{address.prefix_len}").network
                    subnets.append(Subnet(subnet=str(pool), gateway=address.address))
        return tuple(sorted(subnets, key=lambda s: s.subnet))

    def describe_bridges(self, links: Iterable[topology.Link]) -> tuple[topology.Bridge, ...]:
        """Every bridge of every namespace with its ports; `links` are the described ones."""
        ports: dict[tuple[int, str], list[topology.BridgePort]] = defaultdict(list)
        links = list(links)
        for link in links:
            if link.master is not None:
                port = topology.BridgePort(link=link.ifname, container=link.container)
                ports[link.netns, link.master].append(port)
        bridges = []
        for link in links:
            if link.kind != "bridge":
                continue
            record = self._index.links[link.netns][link.ifindex]
            hidden = self._by_hidden_netns.get(link.netns)
            bridges.append(
                topology.Bridge(
                    name=link.ifname,
                    id=record.bridge_id,
                    stp=record.stp,
                    netns=link.netns,
                    addresses=link.addresses,
                    ports=tuple(sorted(ports[link.netns, link.ifname], key=lambda port: port.link)),
                    network=hidden.id if hidden else self.by_bridge.get((link.netns, link.ifname)),
                )
            )
        bridges.sort(key=lambda bridge: (bridge.netns != self._index.host_netns, bridge.netns, bridge.name))
        return tuple(bridges)

    def describe_namespaces(self, members: Mapping[int, list[str]]) -> tuple[topology.NetworkNamespace, ...]:
        """Every namespace with its purpose; `members` are the containers in each, by inode."""
        described = []
        for namespace in self._index.facts.network_namespaces:
            containers = tuple(sorted(members.get(namespace.inode, ())))
            role, network = self._role(namespace, bool(containers))
            described.append(
                topology.NetworkNamespace(
                    inode=namespace.inode,
                    paths=namespace.paths,
                    pids=namespace.pids,
                    containers=containers,
                    host=namespace.inode == self._index.host_netns,
                    role=role,
                    network=network,
                )
            )
        described.sort(key=lambda namespace: (not namespace.host, namespace.inode))
        return tuple(described)

    @cached_property
    def _by_hidden_netns(self) -> dict[int, Network]:
        """Overlay networks by their hidden namespace."""
        hidden = set(self.overlay_netns.values())
        return {network.netns: network for network in self.networks if network.netns in hidden}

    def _role(self, namespace: facts.NetworkNamespace, occupied: bool) -> tuple[topology.NetnsRole, str | None]:
        if namespace.inode == self._index.host_netns:
            return "host", None
        if namespace.inode in self._index.roots_by_netns:
            return "engine", None
        if namespace.inode in self._by_hidden_netns:
            return "overlay", self._by_hidden_netns[namespace.inode].id
        names = [path.rsplit("/", 1)[-1] for path in namespace.paths]
        if any(map(_of_overlay, names)):
            return "overlay", None
        if "ingress_sbox" in names:
            ingress = [network.id for network in self.networks if network.ingress]
            return "ingress", ingress[0] if len(ingress) == 1 else None
        for name in names:
            if name.startswith("lb_"):
                prefix = name.removeprefix("lb_")
                balanced = [network.id for network in self.networks if network.id.startswith(prefix)]
                return "load-balancer", balanced[0] if len(balanced) == 1 else None
        sandboxed = any(name in self._index.sandboxes_by_key for name in names)
        return "container" if occupied or sandboxed else "other", None


def _bridge_name(record: facts.NetworkRecord) -> str:
    return record.bridge or f"br-{record.id[:12]}"


def _holds(addresses: Collection[str], address: str) -> bool:
    """Whether `address` is one of `addresses`, however it is written."""
    return address in addresses or _address(address) in map(_address, addresses)


def _address(text: str) -> str:
    """An address in the kernel's spelling, so that two ways to write one compare equal; anything else as it is."""
    from ipaddress import ip_address  # 1 ms to load, for what is spelled alike but for some of IPv6

    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _of_overlay(name: str) -> str | None:
    """The beginning of the id of the overlay network whose namespace is called so."""
    found = re.match(_OVERLAY_NAME, name) if "-" in name else None
    return found[1] if found else None
