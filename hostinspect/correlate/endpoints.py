"""A container's interfaces and the endpoints that the engine recorded for it, joined by MAC, else by address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from hostinspect.correlate.index import Index
from hostinspect.correlate.links import Ends, Key, master_of
from hostinspect.correlate.runtime import Runtime
from hostinspect.facts import Address, ContainerRecord, EndpointRecord, Link, RecordedEndpoint
from hostinspect.topology import Drift, Endpoint

# What an endpoint's interface can be. The kernel puts others into new namespaces by itself: lo, tunl0, sit0, …
_INTERFACE_KINDS = {"veth", "macvlan", "macvtap", "ipvlan", "ipvtap"}


def join_endpoints(
    index: Index, record: ContainerRecord, runtime: Runtime, ends: Mapping[Key, Ends]
) -> tuple[tuple[Endpoint, ...], tuple[Drift, ...]]:
    """The recorded endpoints with the interface that each has now, and the interfaces that nobody recorded.

    A container that does not run, or that lives in the host's or another container's namespace, has the recorded ones
    alone; so has one whose namespace could not be entered.
    """
    namespace = index.netns.get(runtime.netns or 0)
    own = namespace is not None and namespace.entered and namespace.inode != index.engine_netns(record.data_root)
    if not own or namespace is None or (record.network_mode or "").startswith("container:"):
        told = (*record.endpoints, *(_stored_besides(index, record) if runtime.as_recorded else ()))
        recorded_only = (replace(_recorded_only(e), dns_names=_dns_names(index, e)) for e in told)
        return tuple(sorted(recorded_only, key=_order)), ()

    free = [link for link in index.links.get(namespace.inode, {}).values() if link.kind in _INTERFACE_KINDS]
    endpoints: list[Endpoint] = []
    drift: list[Drift] = []
    for recorded in record.endpoints:
        link = _interface(index, recorded, free)
        if link is not None:
            free.remove(link)
        elif recorded.mac is not None or recorded.ip is not None:
            endpoints.append(_lost(recorded))
            drift.append(Drift(field=f"endpoints[{recorded.network}]", recorded=_place(recorded), effective=None))
            continue
        endpoint = _effective(index, recorded, link, ends)
        endpoints.append(replace(endpoint, dns_names=_dns_names(index, recorded)))
        drift += _differences(index, recorded, endpoint)
    for link in free:
        endpoint, change = _unrecorded(index, record, link, ends)
        endpoints.append(endpoint)
        drift += change
    drift += _default_route(index, namespace.inode, record.endpoints)
    return tuple(sorted(endpoints, key=_order)), tuple(drift)


def _dns_names(index: Index, recorded: RecordedEndpoint) -> tuple[str, ...]:
    """libnetwork's own, which `docker rename` changes; the container's record keeps the old ones for now."""
    stored = index.endpoint_records.get(recorded.endpoint_id or "")
    return stored.dns_names if stored and stored.dns_names else recorded.dns_names


def _order(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.network or "", endpoint.interface or ""


def _place(recorded: RecordedEndpoint) -> str:
    return " ".join(filter(None, (recorded.ip, recorded.ip6, recorded.mac)))


def _interface(index: Index, recorded: RecordedEndpoint, free: list[Link]) -> Link | None:
    """The one interface with the recorded MAC that has the recorded address too; else by either, if it is one alone.

    ipvlan interfaces all have their lower device's MAC, so a MAC that several have decides nothing.
    """
    by_address = [link for link in free if recorded.ip in _texts(_addresses(index, link))] if recorded.ip else []
    if not by_address and recorded.ip6:
        by_address = [link for link in free if recorded.ip6 in _texts(_addresses(index, link))]
    by_mac = [link for link in free if recorded.mac and link.mac == recorded.mac]
    both = [link for link in by_mac if link in by_address]
    return next((links[0] for links in (both, by_mac, by_address) if len(links) == 1), None)


def _addresses(index: Index, link: Link) -> list[Address]:
    return index.addresses.get((link.netns, link.ifindex), [])


def _texts(addresses: Iterable[Address]) -> set[str]:
    return {address.address for address in addresses}


def _chosen(addresses: list[Address], family: str, recorded: str | None) -> Address | None:
    """Of one family the recorded address, if the link has it, else its first of global scope.

    Scope link is no second choice: every IPv6 interface has one of these and no engine records it.
    """
    candidates = [a for a in addresses if a.family == family]
    same = next((a for a in candidates if a.address == recorded), None)
    return same or next((a for a in candidates if a.scope == "global"), None)


def _recorded_only(recorded: RecordedEndpoint) -> Endpoint:
    return Endpoint(
        network=recorded.network,
        network_id=recorded.network_id,
        endpoint_id=recorded.endpoint_id,
        interface=None,
        ip=recorded.ip,
        prefix_len=recorded.prefix_len,
        ip6=recorded.ip6,
        prefix_len6=recorded.prefix_len6,
        gateway=recorded.gateway,
        gateway6=recorded.gateway6,
        mac=recorded.mac,
        host_link=None,
        host_link_netns=None,
        bridge=None,
        aliases=recorded.aliases,
        dns_names=recorded.dns_names,
    )


def _lost(recorded: RecordedEndpoint) -> Endpoint:
    """An endpoint of a running container that has no interface any more, hence no address."""
    return replace(_recorded_only(recorded), ip=None, prefix_len=None, ip6=None, prefix_len6=None, mac=None)


def _effective(index: Index, recorded: RecordedEndpoint, link: Link | None, ends: Mapping[Key, Ends]) -> Endpoint:
    if link is None:
        return _recorded_only(recorded)
    addresses = _addresses(index, link)
    ip = _chosen(addresses, "ipv4", recorded.ip)
    ip6 = _chosen(addresses, "ipv6", recorded.ip6)
    end = ends.get((link.netns, link.ifindex), Ends())
    outer = end.peer or end.lower
    bridge = master_of(index, end.peer) if end.peer else None
    return Endpoint(
        network=recorded.network,
        network_id=recorded.network_id,
        endpoint_id=recorded.endpoint_id,
        interface=link.ifname,
        ip=ip.address if ip else None,
        prefix_len=ip.prefix_len if ip else None,
        ip6=ip6.address if ip6 else None,
        prefix_len6=ip6.prefix_len if ip6 else None,
        gateway=recorded.gateway,
        gateway6=recorded.gateway6,
        mac=link.mac,
        host_link=outer.ifname if outer else None,
        host_link_netns=outer.netns if outer else None,
        bridge=bridge.ifname if bridge else None,
        aliases=recorded.aliases,
        dns_names=recorded.dns_names,
    )


def _differences(index: Index, recorded: RecordedEndpoint, endpoint: Endpoint) -> list[Drift]:
    """Recorded values that the interface does not have. A value that was never recorded cannot differ."""
    if endpoint.interface is None:
        return []
    pairs = [
        ("ip", recorded.ip, endpoint.ip),
        ("prefix_len", recorded.prefix_len, endpoint.prefix_len),
        ("ip6", recorded.ip6, endpoint.ip6),
        ("prefix_len6", recorded.prefix_len6, endpoint.prefix_len6),
        ("mac", recorded.mac, endpoint.mac),
    ]
    return [
        Drift(
            field=f"endpoints[{recorded.network}].{name}",
            recorded=str(was),
            effective=None if now is None else str(now),
        )
        for name, was, now in pairs
        if was is not None and was != now
    ]


def _unrecorded(
    index: Index, record: ContainerRecord, link: Link, ends: Mapping[Key, Ends]
) -> tuple[Endpoint, list[Drift]]:
    """An interface that the container's record does not list.

    libnetwork's own store may know it, as for the leg that a container on an overlay network has on docker_gwbridge;
    then it is no drift.
    """
    stored = _stored_endpoint(index, record, link)
    if stored is None:
        recorded = RecordedEndpoint(network="")
        endpoint = _effective(index, recorded, link, ends)
        drift = Drift(field=f"interface {link.ifname}", recorded=None, effective=endpoint.ip or endpoint.mac)
        return replace(endpoint, network=None), [drift]
    recorded = _as_recorded(index, stored)
    endpoint = _effective(index, recorded, link, ends)
    return endpoint, _differences(index, recorded, endpoint)


def _as_recorded(index: Index, stored: EndpointRecord) -> RecordedEndpoint:
    """An endpoint of local-kv.db in the words of a container's record."""
    network = index.network_records.get(stored.network_id)
    return RecordedEndpoint(
        network=network.name if network else stored.network_id,
        network_id=stored.network_id,
        endpoint_id=stored.id,
        ip=stored.address,
        prefix_len=stored.prefix_len,
        ip6=stored.address6,
        prefix_len6=stored.prefix_len6,
        mac=stored.mac,
        gateway=next((s.gateway for s in network.subnets if s.gateway and ":" not in s.gateway), None)
        if network and not network.internal
        else None,
    )


def _stored_endpoint(index: Index, record: ContainerRecord, link: Link) -> EndpointRecord | None:
    """The endpoint of this container's sandbox in local-kv.db that has the link's MAC."""
    matching = [endpoint for endpoint in _stored(index, record) if endpoint.mac == link.mac]
    return matching[0] if len(matching) == 1 else None


def _stored(index: Index, record: ContainerRecord) -> list[EndpointRecord]:
    """The endpoints of this container's sandbox in local-kv.db."""
    sandbox = index.sandboxes.get(record.sandbox_id or "")
    if sandbox is None or sandbox.container_id != record.id:
        return []
    stored = (index.endpoint_records.get(endpoint_id) for _, endpoint_id in sandbox.endpoints)
    return [endpoint for endpoint in stored if endpoint is not None]


def _stored_besides(index: Index, record: ContainerRecord) -> list[RecordedEndpoint]:
    """Those that libnetwork's store has and the container's own record has not, as on docker_gwbridge."""
    known = {endpoint.endpoint_id for endpoint in record.endpoints}
    return [_as_recorded(index, stored) for stored in _stored(index, record) if stored.id not in known]


def _default_route(index: Index, netns: int, recorded: Sequence[RecordedEndpoint]) -> list[Drift]:
    """Docker gives a container one default route of each family, over one of its networks: another, or none, is drift.

    Before Docker 28 one network gives both: then the others' IPv6 gateway is none of the container's.
    """
    routes = index.default_routes.get(netns, [])
    through = {family: {route.gateway for route in routes if route.family == family} for family in ("ipv4", "ipv6")}
    drift = []
    gateways = {endpoint.gateway for endpoint in recorded if endpoint.gateway}
    if gateways and not gateways & through["ipv4"]:
        drift.append(_lost_route("ipv4", gateways, through["ipv4"]))
    gateways6 = {
        endpoint.gateway6
        for endpoint in recorded
        if endpoint.gateway6 and (endpoint.gateway in through["ipv4"] or len(recorded) == 1)
    }
    if gateways6 and not {e.gateway6 for e in recorded} & through["ipv6"]:
        drift.append(_lost_route("ipv6", gateways6, through["ipv6"]))
    return drift


def _lost_route(family: str, recorded: Iterable[str | None], effective: Iterable[str | None]) -> Drift:
    return Drift(
        field=f"default route ({family})",
        recorded=" or ".join(sorted(filter(None, recorded))),
        effective=", ".join(sorted(filter(None, effective))) or None,
    )
