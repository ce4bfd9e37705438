"""A network in words: where its bridge or hidden namespace is, and the containers on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hostinspect.render.containers import address_of, container_branch, drift_lines, mention
from hostinspect.render.layout import Branch, Item, Line, Span, detail, item
from hostinspect.render.view import GWBRIDGE, View, misses_bridge, short_id
from hostinspect.topology import Bridge, Container, Link, Network, NetworkNamespace

_WIDEST_NAME = 24  # a longer name does not push the addresses of all others aside
_PLAIN = "com.docker.network."  # options of docker's own, told with --verbose


def network_branches(view: View) -> Iterator[Branch]:
    """Every network with the running containers on it, in the order in which one looks for them."""
    for network in sorted(view.topology.networks, key=_rank):
        yield Branch(
            Line([item(_name(network), style="name"), *_kind(view, network)]),
            [*drift_lines(network.drift), *_options(view, network)],
            [*_containers(view, network), *_hidden(view, network), *_other_ports(view, network)],
        )


def _name(network: Network) -> str:
    return network.name or f"{short_id(network.id)}…"


def _rank(network: Network) -> tuple[int, str, str]:
    """Bridge networks first with docker's default one on top; those that hold no addresses last."""
    name = network.name or ""
    if network.config_only:
        rank = 9
    elif network.driver == "bridge":
        rank = 0 if name == "bridge" else 5 if name == GWBRIDGE else 1
    elif network.driver == "overlay":
        rank = 6 if network.ingress else 4
    else:
        rank = {"macvlan": 2, "ipvlan": 3, "host": 7, "null": 8}.get(network.driver or "", 3)
    return rank, name, network.id


# --- the heading ---


def _kind(view: View, network: Network) -> Iterator[Item]:
    """`172.17.0.0/16  on docker0 172.17.0.1`, and what else there is to a driver."""
    if network.config_only:
        yield item("config-only: a template of other networks")
    elif network.driver is None:
        yield item("driver not known")
    elif network.driver not in ("bridge", "null", network.name):
        yield item(network.driver, *([f" ({network.mode})"] if network.mode else []))
    if network.ingress and network.name != "ingress":
        yield item("ingress")
    where = view.where(network.data_root)
    if where:
        yield item(where, style="dim")
    for pool in network.subnets:
        yield item(pool.subnet)
    if network.parent:
        yield item(f"parent {network.parent}")
    if network.netns is not None and network.driver != "bridge":
        yield from _tunnel(view, network)
    elif network.bridge:
        yield from _bridge(view, network, view.bridge_of(network))
    elif network.driver == "overlay":
        yield item("no namespace on this host: nothing here is on it", style="dim")
    elif network.driver == "bridge" and not network.config_only:
        is_missed = misses_bridge(network)
        yield item(
            "its bridge is not there" if is_missed else "its engine is at rest", style="bad" if is_missed else "dim"
        )
    if network.internal:
        yield item("internal")


def _bridge(view: View, network: Network, bridge: Bridge | None) -> Iterator[Item]:
    if bridge is None:
        yield item(f"on {network.bridge}", *([] if view.is_disk else [Span(", which was not seen", "warn")]))
        return
    where = f" in {view.namespace_name(bridge.netns)}" if network.netns is not None else ""
    yield item(f"on {' '.join((bridge.name, *_told(bridge.addresses)))}{where}")
    link = view.links_by_name.get((bridge.netns, bridge.name))
    if link is not None and link.operstate in ("down", "lowerlayerdown") and network.containers:
        yield item(f"{bridge.name} is {link.operstate}", style="bad")


def _tunnel(view: View, network: Network) -> Iterator[Item]:
    """The hidden namespace of an overlay network: its bridge, and the VNI of its vxlan."""
    netns = network.netns or 0
    bridge = view.bridge_of(network)
    vnis = [link for link in view.links_in.get(netns, ()) if link.vxlan_id is not None]
    where = f"in hidden namespace {view.namespace_name(netns)}"
    yield item(f"on {' '.join((bridge.name, *_told(bridge.addresses)))} {where}" if bridge else where)
    for link in vnis:
        yield item(f"{link.ifname} VNI {link.vxlan_id}")
    if not vnis and network.vxlan_ids:
        yield item(f"VNI {', '.join(map(str, network.vxlan_ids))}")


def _told(addresses: Iterable[str]) -> list[str]:
    """A bridge's addresses without those that every link has."""
    return [address for address in addresses if not address.startswith("fe80:")]


def _options(view: View, network: Network) -> Iterator[Line]:
    if not view.verbose:
        return
    yield detail("id", item(network.id))
    bridge = view.bridge_of(network)
    if bridge is not None:
        yield detail(
            "bridge", item(f"{bridge.name} {bridge.id or ''}".strip()), item(f"STP {'on' if bridge.stp else 'off'}")
        )
    for key, value in sorted(network.options.items()):
        yield detail("option", item(f"{key}={value}"))
    for key, value in sorted(network.labels.items()):
        yield detail("label", item(f"{key}={value}"))


# --- what is on it ---


def _containers(view: View, network: Network) -> Iterator[Branch]:
    homes = [c for c in view.running if view.home.get(c.id) == network.id]
    guests = [
        c
        for c in view.running
        if view.home.get(c.id, network.id) != network.id and any(e.network_id == network.id for e in c.endpoints)
    ]
    columns = table_columns(network, [*homes, *guests])
    for container in homes:
        yield container_branch(view, container, network, columns)
    for container in guests:
        yield mention(view, container, network, columns)


def table_columns(network: Network | None, containers: Sequence[Container]) -> tuple[int, ...]:
    """Widths of the name and of the address, so that both stand below each other."""
    if len(containers) < 2:
        return ()
    names = max(len(container.name) for container in containers if len(container.name) <= _WIDEST_NAME or container)
    addresses = [
        len(address_of(e))
        for c in containers
        for e in c.endpoints
        if network and e.network_id == network.id and e.interface
    ]
    return (min(names, _WIDEST_NAME), max(addresses)) if addresses else (min(names, _WIDEST_NAME),)


def _hidden(view: View, network: Network) -> Iterator[Branch]:
    """Swarm's own namespaces on an overlay network: the load balancer's, and ingress_sbox."""
    for namespace in view.topology.netns:
        if namespace.network == network.id and namespace.role in ("load-balancer", "ingress"):
            role = "load balancer" if namespace.role == "load-balancer" else "routing mesh"
            yield Branch(
                Line([item(view.namespace_name(namespace.inode)), item(role, style="dim"), *wires(view, namespace)])
            )


def wires(view: View, namespace: NetworkNamespace) -> Iterator[Item]:
    """The links of a namespace that nobody's container is in, each with its addresses and its other end."""
    for link in view.links_in.get(namespace.inode, ()):
        if link.kind is None and link.ifname == "lo":
            continue
        addresses = " ".join(_told(link.addresses))
        yield item(" ".join(filter(None, (addresses, link_ends(view, link)))))


def link_ends(view: View, link: Link) -> str:
    """`eth0 ↔ veth1 in 1-k3j5d6`, or the bare name of what has no other end."""
    if link.peer is not None:
        where = "" if link.peer.netns == view.host_netns else f" in {view.namespace_name(link.peer.netns)}"
        return f"{link.ifname} ↔ {link.peer.ifname}{where}"
    if link.lower is not None:
        return f"{link.ifname} ({link.kind or 'link'} on {link.lower.ifname})"
    return f"{link.ifname} ↔ ? ({link.doubt})" if link.doubt else link.ifname


def _other_ports(view: View, network: Network) -> Iterator[Branch]:
    """Ports of the bridge that no container of the network is at the other end of."""
    bridge = view.bridge_of(network)
    if bridge is None:
        return
    told = {
        (endpoint.host_link_netns, endpoint.host_link)
        for container in view.running
        for endpoint in container.endpoints
        if endpoint.network_id == network.id
    }
    for port in bridge.ports:
        link = view.links_by_name.get((bridge.netns, port.link))
        if link is None or (bridge.netns, port.link) in told or link.kind == "vxlan":
            continue
        peer = view.peer_namespace(link)
        if network.netns is not None and peer is not None and peer.role in ("load-balancer", "ingress"):
            continue  # told with that namespace
        yield Branch(Line([item(f"port {port.link}"), _owner(view, link, peer)]))


def _owner(view: View, link: Link, peer: NetworkNamespace | None) -> Item:
    """Whose a link of the host is."""
    container = view.containers.get(link.container or "")
    if container is not None:
        return item(f"leads to {container.name}, which is not recorded on this network", style="warn")
    if peer is not None and link.peer is not None:
        inner = view.links_by_name.get((peer.inode, link.peer.ifname))
        addresses = " ".join(_told(inner.addresses)) if inner else ""
        return item(" ".join(filter(None, (f"↔ {link.peer.ifname} in {view.namespace_name(peer.inode)}", addresses))))
    if link.kind == "veth":
        return item(f"belongs to nobody seen: {link.doubt or 'no container at its other end'}", style="warn")
    return item(f"({link.kind or 'a device of the host'})", style="dim")


def homeless_branch(view: View) -> Iterator[Branch]:
    """Running containers that are on no network known, and share no running container's namespace."""
    containers = [c for c in view.running if c.id not in view.home and not view.is_sharer(c)]
    if containers:
        columns = table_columns(None, containers)
        yield Branch(
            Line([item("on no network that is known", style="name")]),
            (),
            [container_branch(view, container, None, columns) for container in containers],
        )
