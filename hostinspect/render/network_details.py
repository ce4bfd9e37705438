"""A network in full, as `docker network inspect` shows it: what it is, its device on the host, and who is on it."""

from __future__ import annotations

from collections.abc import Iterator

from hostinspect.questions.bridges import Port
from hostinspect.questions.networks import Member, NetworkDetails, Stopped, StoredEndpoint
from hostinspect.render.containers import drift_lines
from hostinspect.render.layout import Branch, Item, Line, Span, detail, item
from hostinspect.render.tables.links import other_end, told
from hostinspect.render.tables.networks import flags
from hostinspect.render.times import ago
from hostinspect.render.view import misses_bridge, short_id
from hostinspect.topology import Endpoint

_KINDS = {"load-balancer": "load balancer", "ingress": "routing mesh"}
_WIDEST_NAME = 24  # a longer name does not push the addresses of all others aside


def network_branch(network: NetworkDetails, now: str, *, verbose: bool = False) -> Branch:
    """The network with everybody on it below; `now` is what ages are counted to."""
    names = [member.name for member in network.members] + [stopped.name for stopped in network.stopped]
    columns = (max((len(name) for name in names if len(name) <= _WIDEST_NAME), default=0),)
    return Branch(
        Line([*_heading(network)]),
        [*_identity(network, now), *drift_lines(network.drift), *_device(network, verbose), *_words(network)],
        [
            *(_member(network, member, columns, verbose) for member in network.members),
            *(_stopped(stopped, columns, verbose) for stopped in network.stopped),
            *map(_port, network.other_ports),
            *map(_left_over, network.left_over),
        ],
    )


# --- the network itself ---


def _heading(network: NetworkDetails) -> Iterator[Item]:
    yield item(network.name or f"{short_id(network.id)}…", style="name")
    yield item(network.driver or "driver not known", *([f" ({network.mode})"] if network.mode else []))
    yield item(network.scope)
    for flag in flags(network):
        yield item(flag)


def _identity(network: NetworkDetails, now: str) -> Iterator[Line]:
    yield detail("id", item(network.id))
    if network.created:
        age = ago(network.created, now)
        yield detail("created", item(network.created), *([item(f"{age} ago")] if age else []))
    for pool in network.subnets:
        items = [item(pool.subnet)]
        if pool.gateway:
            items.append(item(f"gateway {pool.gateway}"))
        if pool.ip_range:
            items.append(item(f"range {pool.ip_range}"))
        yield detail("subnet", *items)


def _device(network: NetworkDetails, verbose: bool) -> Iterator[Line]:
    """The bridge, the parent, the tunnel."""
    bridge, parent = network.bridge_details, network.parent_link
    if bridge is not None:
        items = [item(bridge.name), *map(item, told(bridge.prefixes, every=verbose)), _operstate(bridge.operstate)]
        if network.namespace:
            hidden = f"hidden namespace {network.namespace} ({network.netns})"
            items.insert(1, item(f"in {hidden if network.driver == 'overlay' else network.namespace}"))
        if bridge.id:
            items.append(item(bridge.id))
        yield detail("bridge", *items, item(f"STP {'on' if bridge.stp else 'off'}"))
    elif network.bridge:
        yield detail("bridge", item(network.bridge, ", which was not seen", style="warn"))
    elif network.driver == "bridge" and not network.config_only:
        is_missed = misses_bridge(network)
        words = "it is not there" if is_missed else "not made: its engine is at rest"
        yield detail("bridge", item(words, style="bad" if is_missed else "dim"))
    elif network.driver == "overlay" and network.netns is None:
        yield detail("bridge", item("no namespace on this host: nothing here is on it", style="dim"))
    if network.parent:
        seen = [_operstate(parent.operstate), *map(item, told(parent.prefixes))] if parent else []
        end = other_end(parent) if parent else None
        yield detail("parent", item(network.parent), *seen, *([item("↔ ", *end)] if end else []))
    if network.vxlan_ids:
        yield detail("vni", item(", ".join(map(str, network.vxlan_ids))))


def _operstate(state: str) -> Item:
    return item(state, style="warn" if state in ("down", "lowerlayerdown") else "")


def _words(network: NetworkDetails) -> Iterator[Line]:
    for label, pairs in (("option", network.options), ("label", network.labels)):
        for key, value in sorted(pairs.items()):
            yield detail(label, item(f"{key}={value}"))


# --- who is on it ---


def _member(network: NetworkDetails, member: Member, columns: tuple[int, ...], verbose: bool) -> Branch:
    endpoint = member.endpoint
    items = [item(member.name, style="name")]
    if member.kind in _KINDS:
        items.append(item(_KINDS[member.kind], style="dim"))
    elif member.state and member.state != "running":
        items.append(item(member.state, style="warn"))
    items += [*_addresses(endpoint), *_wire(network, member)]
    if endpoint.mac:
        items.append(item(endpoint.mac))
    details = [*drift_lines(member.drift), *_names(endpoint)]
    if verbose:
        details += [*_gateways(endpoint), *_ids(member)]
    return Branch(Line(items, columns=columns), details)


def _addresses(endpoint: Endpoint) -> Iterator[Item]:
    for address, length in ((endpoint.ip, endpoint.prefix_len), (endpoint.ip6, endpoint.prefix_len6)):
        if address:
            yield item(address if length is None else f"{address}/{length}")


def _wire(network: NetworkDetails, member: Member) -> Iterator[Item]:
    """`eth0 ↔ veth13d6de4`; for macvlan and ipvlan the device below; what could not be followed, and why."""
    endpoint = member.endpoint
    if endpoint.interface is None:
        if any(change.effective is None for change in member.drift):
            yield item("no interface", style="bad")
        elif endpoint.ip or endpoint.ip6 or endpoint.mac:
            yield item("interface not seen", style="warn")
    elif endpoint.host_link is None:
        yield item(f"{endpoint.interface} ↔ ", Span(f"? ({member.doubt or 'not found'})", "warn"))
    elif member.interface_kind not in (None, "veth"):
        yield item(f"{endpoint.interface} ({member.interface_kind} on {endpoint.host_link})")
    else:
        hidden = network.netns is not None and endpoint.host_link_netns == network.netns
        where = f" in {network.namespace}" if hidden else ""
        yield item(f"{endpoint.interface} ↔ {endpoint.host_link}{where}", *_faults(network, member))


def _faults(network: NetworkDetails, member: Member) -> Iterator[Span]:
    """What keeps packets from passing although both ends are there."""
    bridge = member.endpoint.bridge
    if member.host_operstate in ("down", "lowerlayerdown"):
        yield Span(f" is {member.host_operstate}", "bad")
    if network.bridge and bridge != network.bridge:
        yield Span(f" is a port of {bridge or 'no bridge'}, not of {network.bridge}", "bad")
    elif member.host_port_state in ("disabled", "blocking"):
        yield Span(f" is {member.host_port_state} on {bridge}", "bad")


def _names(endpoint: Endpoint) -> Iterator[Line]:
    """What the embedded DNS answers for it; before Docker 25 that is the aliases, and the names are not recorded."""
    names = dict.fromkeys((*endpoint.dns_names, *endpoint.aliases))
    if names:
        yield detail("names", *map(item, names))


def _gateways(endpoint: Endpoint) -> Iterator[Line]:
    gateways = [gateway for gateway in (endpoint.gateway, endpoint.gateway6) if gateway]
    if gateways:
        yield detail("gateway", *map(item, gateways))


def _ids(member: Member) -> Iterator[Line]:
    """What other tools know it by."""
    for label, value in (
        ("id", member.container),
        ("endp", member.endpoint.endpoint_id),
        ("netns", None if member.netns is None else str(member.netns)),
    ):
        if value:
            yield detail(label, item(value))


def _stopped(stopped: Stopped, columns: tuple[int, ...], verbose: bool) -> Branch:
    items = [item(stopped.name), item(f"{stopped.state}: not on it until it runs", style="dim")]
    details = [*_names(stopped.endpoint)]
    if verbose:
        details.append(detail("id", item(stopped.container)))
    return Branch(Line(items, columns=columns), details)


# --- what is nobody's ---


def _port(port: Port) -> Branch:
    """A port of the bridge that leads to nobody who is on the network."""
    items = [item(f"port {port.link}")]
    if port.container is not None:
        name = port.container_name or short_id(port.container)
        items.append(item(f"leads to {name}, which is not recorded on this network", style="warn"))
    elif port.interface is not None:
        items.append(item(f"↔ {port.interface} in {port.namespace}"))
        items += map(item, told(port.interface_prefixes))
    elif port.kind == "veth":
        items.append(item(f"belongs to nobody seen: {port.doubt or 'no container at its other end'}", style="warn"))
    else:
        items.append(item(f"({port.kind or 'a device of the host'})", style="dim"))
    return Branch(Line(items))


def _left_over(endpoint: StoredEndpoint) -> Branch:
    """An endpoint in libnetwork's store alone."""
    items = [item(f"endpoint {short_id(endpoint.endpoint_id)}")]
    items += [item(text) for text in (endpoint.name, endpoint.ip, endpoint.ip6, endpoint.mac) if text]
    return Branch(Line([*items, item("stored by the engine, and nobody has it", style="warn")]))
