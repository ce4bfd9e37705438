"""A topology as a graph: nodes, the edges between them, and the network namespaces that they are in.

It is what `dot` and `mermaid` draw, and knows neither. Reading goes from left to right, the way of the cables:
network, bridge, host end of a veth, interface in the container, container, and behind it what it publishes and mounts.
Groups are network namespaces, so that a wire which crosses a border is one that does so in the kernel; containers in
one namespace stand in one group.

Texts are as the host has them: whoever writes them down makes them harmless.
"""

from __future__ import annotations

import itertools
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal, NamedTuple

from hostinspect.facts import Gap
from hostinspect.render.containers import volume_name
from hostinspect.render.ports import port_lines
from hostinspect.render.view import (
    MountKey,
    View,
    is_as_recorded,
    is_running,
    misses_bridge,
    mount_key,
    network_of_mode,
    short_id,
    volume_key,
)
from hostinspect.topology import Container, Endpoint, Link, Mount, Network, NetworkNamespace, Topology

NodeKind = Literal["network", "bridge", "link", "container", "port", "volume", "bind", "gap"]
EdgeKind = Literal["wire", "member", "shared", "port", "mount"]
Mark = Literal["", "dim", "warn", "bad"]
Key = tuple[str, ...]

_DOWN = ("down", "lowerlayerdown")
_WIDEST = 44  # characters of a line; what is cut is in the tree, or here with --verbose
_FEW = 4
_COLUMN = 4  # of containers, from the networks: bridge, link, and interface are between

# From the outside to the inside, so that wires lead to the right.
_DEPTH = {"host": 0, "engine": 1, "overlay": 1, "ingress": 2, "load-balancer": 2, "other": 2, "container": 3}
_ROLES = {
    "engine": "rootless engine's",
    "overlay": "hidden namespace",
    "ingress": "routing mesh",
    "load-balancer": "load balancer",
}


class Node(NamedTuple):
    """Something on the host. The first of its lines is its name."""

    key: Key
    kind: NodeKind
    lines: tuple[str, ...]
    group: Key | None = None
    mark: Mark = ""
    stopped: bool = False  # a container without a process


class Edge(NamedTuple):
    """What joins two nodes, the one further left first. No arrows: packets and files go both ways."""

    source: Key
    target: Key
    kind: EdgeKind
    label: str = ""
    mark: Mark = ""
    span: int = 1  # columns from one to the other; 0: below each other, where a format can
    stopped: bool = False  # recorded, but nothing the kernel has now


class Group(NamedTuple):
    """A network namespace, with a name where its members do not say it."""

    key: Key
    label: str
    mark: Mark = ""


class Graph(NamedTuple):
    """What is drawn, in the order in which it is written. Every group has members."""

    title: str
    groups: tuple[Group, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(topology: Topology, *, verbose: bool = False, show_gaps: bool = True) -> Graph:
    """The graph of a host: equal topologies give equal graphs."""
    return _Drawing(View(topology, verbose=verbose), show_gaps=show_gaps).graph()


def _title(view: View) -> str:
    """`web-01 · docker 28.5.2, daemon running · 15 containers (13 running) · 2026-01-05T03:00:00Z`."""
    host = view.topology.host
    engines = [
        " ".join(filter(None, (e.name, e.version))) + ("" if view.is_disk else f", daemon {e.daemon or 'not seen'}")
        for e in host.engines
    ]
    number = len(view.topology.containers)
    seen = "" if view.knows("engines", "containers") else " seen"
    ran = "running when it was taken" if view.is_disk else "running"
    count = f"{number} container{'' if number == 1 else 's'}{seen} ({len(view.running)} {ran})"
    name = host.hostname or "no hostname"
    subject = [name, f"the disk at {host.root}"] if view.is_disk else [name]
    unseen = sum(not gap.minor for gap in view.topology.gaps)
    gaps = [f"{unseen} thing{'' if unseen == 1 else 's'} not seen"] if unseen else []
    return " · ".join([*subject, *(engines or ["no engine found"]), count, *gaps, host.collected_at])


class _Drawing:
    """Nodes and edges while they are found; what is joined twice is drawn once."""

    def __init__(self, view: View, *, show_gaps: bool) -> None:
        self.view = view
        self.show_gaps = show_gaps
        self.nodes: dict[Key, Node] = {}
        self.edges: dict[Edge, None] = {}
        self.faults = dict(_faults(view))

    def graph(self) -> Graph:
        view = self.view
        for network in view.topology.networks:
            if not network.config_only:
                self._network(network)
        self._links()
        for container in view.topology.containers:
            self._container(container)
        self._wires()
        for network in view.topology.networks:
            self._uplink(network)
        for container in view.topology.containers:
            self._places(container)
            self._ports(container)
            self._mounts(container)
        for volume in view.topology.volumes:
            self._volume(volume_key(volume.data_root, volume.name))
        if self.show_gaps:
            self._gaps()
        ends = {end for edge in self.edges for end in (edge.source, edge.target)}
        nodes = [node for node in self.nodes.values() if node.key in ends or not _is_bare(view, node)]
        used = {node.group for node in nodes}
        groups = tuple(group for group in _groups(view) if group.key in used)
        order = {group.key: number for number, group in enumerate(groups, 1)}
        nodes.sort(key=lambda node: order.get(node.group or (), 0))
        return Graph(_title(view), groups, tuple(nodes), tuple(self.edges))

    def _add(self, node: Node) -> None:
        lines = tuple(line for line in node.lines if line)
        self.nodes.setdefault(node.key, node._replace(lines=tuple(map(self._cut, lines))))

    def _join(self, edge: Edge) -> None:
        if edge.source in self.nodes and edge.target in self.nodes:
            self.edges[edge._replace(label=self._cut(edge.label))] = None

    def _cut(self, text: str) -> str:
        """The beginning and the end of a long text: of a path, both tell."""
        if self.view.verbose or len(text) <= _WIDEST:
            return text
        half = (_WIDEST - 1) // 2
        return f"{text[:half]}…{text[-half:]}"

    # --- nodes ---

    def _network(self, network: Network) -> None:
        view = self.view
        driver = network.driver or "driver not known"
        mode = f" ({network.mode})" if network.mode else ""
        facts = [] if driver in ("bridge", "null", network.name) else [driver + mode]
        facts += [word for word, holds in (("internal", network.internal), ("ingress", network.ingress)) if holds]
        facts += [f"VNI {', '.join(map(str, network.vxlan_ids))}"] if network.vxlan_ids else []
        where = filter(None, [view.where(network.data_root)])
        subnets = [subnet.subnet for subnet in network.subnets]
        lines = [network.name or f"{short_id(network.id)}…", *where, ", ".join(facts), *subnets]
        mark: Mark = "warn" if network.drift else ""
        lines += [f"drift: {change.field}" for change in network.drift[:_FEW]]
        if network.driver == "bridge" and view.bridge_of(network) is None:
            known = view.knows("namespaces", "links")
            if network.bridge is None and not misses_bridge(network) and known:
                lines.append("its engine is at rest")
            else:
                lines.append(f"{network.bridge or 'its bridge'} {'is not there' if known else 'was not seen'}")
                mark = "bad" if known else "warn"
        self._add(Node(_network_key(network), "network", tuple(lines), mark=mark))

    def _links(self) -> None:
        """Links that carry something: without lo, and without the tunnels that a namespace is born with."""
        topology = self.view.topology
        named = {(ref.netns, ref.ifindex) for link in topology.links for ref in (link.peer, link.lower) if ref}
        parents = {network.parent for network in topology.networks}
        for link in topology.links:
            leads = link.peer or link.lower or link.master or (link.netns, link.ifindex) in named or link.doubt
            is_parent = link.netns == self.view.host_netns and link.ifname in parents
            if link.kind == "bridge" or leads or is_parent or (_told(link) and link.ifname != "lo"):
                self._link(link)

    def _link(self, link: Link) -> None:
        if link.vxlan_id is not None:
            kind = f"VNI {link.vxlan_id}"
        else:
            kind = "" if link.kind in (None, "veth", "bridge") else link.kind or ""
        key = _link_key(link.netns, link.ifname)
        words, mark = self.faults.get(key, _NO_FAULT)
        lines = (f"{link.ifname} {kind}".rstrip(), *_told(link), words)
        self._add(Node(key, "bridge" if link.kind == "bridge" else "link", lines, _netns_key(link.netns), mark))

    def _container(self, container: Container) -> None:
        running = is_running(container)
        state: str = container.state if container.state != "running" else ""
        if is_as_recorded(container):
            state = f"{container.state}, as recorded"
        if not running and container.exit_code is not None:
            state += f" ({container.exit_code})"
        image = container.image or f"image {container.image_id or '?'}"
        lines = [container.name, short_id(image) if image.startswith("sha256:") else image]
        lines.append(", ".join(filter(None, (state, f"pid {container.pid}" if container.pid is not None else ""))))
        drift = () if is_as_recorded(container) else container.drift
        lines += [f"drift: {change.field}" for change in drift[:_FEW]]
        if self.view.verbose:
            lines += [f"tmpfs {mount.destination}" for mount in container.mounts if mount.type == "tmpfs"]
        odd = (
            drift or (running and container.state != "running") or container.state in ("restarting", "dead", "removing")
        )
        group = _netns_key(container.netns) if running and container.netns is not None else None
        self._add(Node(_container_key(container), "container", tuple(lines), group, "warn" if odd else "", not running))

    def _volume(self, key: MountKey) -> None:
        _, data_root, name = key
        volume = next((v for v in self.view.topology.volumes if (v.data_root, v.name) == (data_root, name)), None)
        words = [name if self.view.verbose else volume_name(name), *filter(None, [self.view.where(data_root)])]
        used = key in self.view.mounts_of
        if volume is not None and volume.driver != "local":
            words.append(f"driver {volume.driver}")
        if not used:
            words.append("used by nobody")
        self._add(Node(key, "volume", tuple(words), mark="" if used else "dim"))

    def _gaps(self) -> None:
        """A note for each sort of gap: what, why, and what to do."""
        gaps: dict[tuple[str, str, str], list[Gap]] = defaultdict(list)
        for gap in self.view.topology.gaps:
            if not gap.minor:
                gaps[gap.collector, gap.why, gap.remedy].append(gap)
        for (collector, why, remedy), same in gaps.items():
            subjects = [gap.subject for gap in same[:_FEW]]
            more = [f"and {len(same) - _FEW} more"] if len(same) > _FEW else []
            texts = [f"not seen: {collector}", *subjects, *more, why, f"→ {remedy}"]
            lines = tuple(line for text in texts for line in textwrap.wrap(text, _WIDEST))
            self._add(Node(("gap", collector, why, remedy), "gap", lines, mark="warn"))

    # --- edges ---

    def _wires(self) -> None:
        """What the kernel says is joined: the two ends of a veth, a bridge and its ports, a device and that below."""
        for link in self.view.topology.links:
            key = _link_key(link.netns, link.ifname)
            if link.peer is not None:
                far = self.view.links_by_name.get((link.peer.netns, link.peer.ifname))
                if far is not None and self._depth(link) < self._depth(far):
                    self._wire(key, _link_key(far.netns, far.ifname))
            elif link.lower is not None:
                lower = _link_key(link.lower.netns, link.lower.ifname)
                self._wire(lower, key, self._network_name_of(link), span=1 if link.lower.netns == link.netns else 2)
            if link.master is not None:
                self._wire(_link_key(link.netns, link.master), key)

    def _wire(self, source: Key, target: Key, label: str = "", *, span: int = 1) -> None:
        """A wire is as bad as the worse of its ends; a bridge that is down has ports that are not."""
        ends = [source, target] if self._is_link(source) else [target]
        marks = {self.faults.get(end, _NO_FAULT).mark for end in ends}
        mark: Mark = "bad" if "bad" in marks else "warn" if "warn" in marks else ""
        self._join(Edge(source, target, "wire", label, mark, span))

    def _is_link(self, key: Key) -> bool:
        return key in self.nodes and self.nodes[key].kind == "link"

    def _depth(self, link: Link) -> tuple[int, int, int]:
        namespace = self.view.namespaces.get(link.netns)
        role = "other" if namespace is None else "host" if namespace.host else namespace.role
        return _DEPTH.get(role, 2), link.netns, link.ifindex

    def _network_name_of(self, link: Link) -> str:
        """On a macvlan's or ipvlan's wire: one parent may serve several networks."""
        container = self.view.containers.get(link.container or "")
        names = [e.network for e in container.endpoints if e.interface == link.ifname] if container else []
        return next(filter(None, names), "")

    def _uplink(self, network: Network) -> None:
        """From a network to its bridge, or to the parent device."""
        bridge = self.view.bridge_of(network)
        if bridge is not None:
            self._join(Edge(_network_key(network), _link_key(bridge.netns, bridge.name), "wire"))
        elif network.parent and self.view.host_netns is not None:
            self._join(Edge(_network_key(network), _link_key(self.view.host_netns, network.parent), "wire"))

    def _places(self, container: Container) -> None:
        """How a container hangs on what is left of it."""
        key, running = _container_key(container), is_running(container)
        owner = self.view.containers.get(container.shares_netns_with or "")
        if owner is not None:
            joined = not running or container.netns == owner.netns
            self._join(Edge(_container_key(owner), key, "shared", span=0, stopped=not joined or not running))
        if running and container.netns not in (None, self.view.host_netns):
            first = owner is None or owner.netns != container.netns
            for link in self.view.links_in.get(container.netns or 0, []) if first else []:
                self._wire(_link_key(link.netns, link.ifname), key)
        for endpoint in container.endpoints:
            self._membership(container, endpoint)
        if not container.endpoints and owner is None:
            network = self._network_called(network_of_mode(container.network_mode))
            if network is not None:
                self._join(Edge(_network_key(network), key, "member", span=_span(network), stopped=not running))

    def _membership(self, container: Container, endpoint: Endpoint) -> None:
        """A line of its own for a place on a network that no wires lead to, or that they lead to wrongly."""
        network = self.view.networks.get(endpoint.network_id or "") or self._network_called(endpoint.network)
        if network is None:
            return
        source, target = _network_key(network), _container_key(container)
        if not is_running(container):
            self._join(Edge(source, target, "member", span=_COLUMN, stopped=True))
        elif endpoint.interface is None:
            wireless = network.driver in ("host", "null") or not network.driver
            mark: Mark = "" if wireless else "bad" if container.netns in self.view.links_in else "warn"
            label = "" if wireless else "no interface" if mark == "bad" else "interface not seen"
            self._join(Edge(source, target, "member", label, mark, _span(network), stopped=not wireless))
        elif not self._is_wired(network, container, endpoint):
            inner = _link_key(container.netns or 0, endpoint.interface)
            outer = _link_key(endpoint.host_link_netns or 0, endpoint.host_link or "")
            faulty = self.faults.get(outer, _NO_FAULT).mark == "bad"
            self._join(Edge(source, inner, "member", "", "bad" if faulty else "warn", span=3, stopped=True))

    def _network_called(self, name: str | None) -> Network | None:
        """A container that was never started has no more than a network's name, or id, in its record."""
        networks = self.view.topology.networks if name else ()
        return next((network for network in networks if name in (network.name, network.id)), None)

    def _is_wired(self, network: Network, container: Container, endpoint: Endpoint) -> bool:
        """Whether one can follow the wires from the network to the interface."""
        if endpoint.host_link is None or container.netns is None:
            return False
        if network.bridge:
            return endpoint.bridge == network.bridge and self.view.bridge_of(network) is not None
        return endpoint.host_link == network.parent

    def _ports(self, container: Container) -> None:
        if not is_running(container):
            return
        for number, line in enumerate(port_lines(self.view, container)):
            items = line.items[1:]  # without the label
            styles = {span.style for item in items for span in item}
            mark: Mark = "bad" if "bad" in styles else "warn" if "warn" in styles else ""
            key = ("port", container.id, str(number))
            self._add(Node(key, "port", tuple("".join(span.text for span in item) for item in items), mark=mark))
            self._join(Edge(_container_key(container), key, "port", mark=mark))

    def _mounts(self, container: Container) -> None:
        for mount in container.mounts:
            key = mount_key(container, mount)
            if key is None:
                continue
            if mount.type == "volume":
                self._volume(key)
            else:
                self._add(Node(key, "bind", (key[-1],)))
            mark: Mark = "bad" if mount.mounted is False else ""
            self._join(
                Edge(
                    _container_key(container),
                    key,
                    "mount",
                    _mount_label(mount),
                    mark,
                    stopped=not is_running(container),
                )
            )


def _mount_label(mount: Mount) -> str:
    words = [mount.destination, "rw" if mount.rw else "ro", f"from {mount.subpath}" if mount.subpath else ""]
    return " ".join(filter(None, [*words, "not mounted" if mount.mounted is False else ""]))


def _span(network: Network) -> int:
    """Containers stand in one column, but for those in the host's namespace: they would pull its frame apart."""
    return 1 if network.driver == "host" else _COLUMN


def _told(link: Link) -> tuple[str, ...]:
    """A link's addresses without those that every link has."""
    return tuple(address for address in link.addresses if not address.startswith("fe80:"))


def _is_bare(view: View, node: Node) -> bool:
    """Docker's networks `host` and `none`, while nobody is on them."""
    return node.kind == "network" and view.networks[node.key[1]].driver in ("host", "null")


# --- what is broken ---


class _Fault(NamedTuple):
    """What is wrong with a link, in words."""

    words: str
    mark: Mark = "bad"


_NO_FAULT = _Fault("", "")


def _faults(view: View) -> Iterator[tuple[Key, _Fault]]:
    """What keeps packets from passing a link.

    A bridge without a carrier is down by nature, and so is a network card without a cable; a macvlan goes with it.
    """
    for link in view.topology.links:
        key = _link_key(link.netns, link.ifname)
        if link.port_state in ("disabled", "blocking"):
            yield key, _Fault(f"{link.port_state} on {link.master}")
        if link.operstate in _DOWN and (link.kind == "veth" or link.lower is not None):
            yield key, _Fault(link.operstate, "bad" if link.kind == "veth" else "warn")
        elif link.doubt:
            yield key, _Fault("its other end was not found", "warn")
    for network in view.topology.networks:
        bridge = view.bridge_of(network)
        link_of_bridge = view.links_by_name.get((bridge.netns, bridge.name)) if bridge else None
        if link_of_bridge is not None and link_of_bridge.operstate in _DOWN and network.containers:
            yield _link_key(link_of_bridge.netns, link_of_bridge.ifname), _Fault(link_of_bridge.operstate)
    for container in view.running:
        for endpoint in container.endpoints:
            yield from _endpoint_faults(view, container, endpoint)


def _endpoint_faults(view: View, container: Container, endpoint: Endpoint) -> Iterator[tuple[Key, _Fault]]:
    network = view.networks.get(endpoint.network_id or "")
    if network is None or endpoint.interface is None:
        return
    if network.subnets and not (endpoint.ip or endpoint.ip6):
        yield _link_key(container.netns or 0, endpoint.interface), _Fault("no address")
    if network.bridge and endpoint.host_link and endpoint.bridge != network.bridge:
        fault = _Fault(f"port of {endpoint.bridge or 'no bridge'}, not of {network.bridge}")
        yield _link_key(endpoint.host_link_netns or 0, endpoint.host_link), fault


# --- groups ---


def _groups(view: View) -> Iterator[Group]:
    for namespace in sorted(view.topology.netns, key=lambda n: (_DEPTH["host" if n.host else n.role], n.inode)):
        label, mark = _group_label(view, namespace)
        yield Group(_netns_key(namespace.inode), label, mark)


def _group_label(view: View, namespace: NetworkNamespace) -> tuple[str, Mark]:
    if namespace.host:
        return f"network namespace of {view.topology.host.hostname}", ""
    if namespace.role == "container":
        if namespace.containers:
            return "", ""
        return f"{view.namespace_name(namespace.inode)}, left over", "warn"
    name = view.namespace_name(namespace.inode)
    role = _ROLES.get(namespace.role, "namespace")
    return (f"{role} {name}" if not name.startswith("namespace ") else name), ""


# --- keys ---


def _network_key(network: Network) -> Key:
    return "network", network.id


def _container_key(container: Container) -> Key:
    return "container", container.id


def _link_key(netns: int, ifname: str) -> Key:
    return "link", str(netns), ifname


def _netns_key(netns: int) -> Key:
    return "netns", str(netns)


def members(graph: Graph) -> Iterator[tuple[Group | None, list[Node]]]:
    """The groups with their nodes, in order; None for those that are in none."""
    groups = {group.key: group for group in graph.groups}
    for group, nodes in itertools.groupby(graph.nodes, lambda node: groups.get(node.group or ())):
        yield group, [*nodes]
