"""Networks: subnets that overlap, and packets that are too large for the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.patient import LINKS, RECORDS, IPNetwork, Patient, ip_network
from hostinspect.facts import Route
from hostinspect.topology import Network

_ID = re.compile(r"[0-9a-f]{64}")
_ON_HOST = ("bridge", "macvlan", "ipvlan")


def _pools(patient: Patient) -> Iterator[tuple[Network, IPNetwork]]:
    for network in patient.topology.networks:
        if network.bridge is None and network.data_root in patient.index.roots_at_rest:
            continue  # nobody has made it
        if network.driver in _ON_HOST and not network.config_only and not patient.is_elsewhere(network):
            for subnet in network.subnets:
                pool = ip_network(subnet.subnet)
                if pool is not None:
                    yield network, pool


@check("subnets-overlap", "error", needs=(*RECORDS, *LINKS, "routes"))
def subnets_overlap(patient: Patient) -> Checked:
    """A network's subnet overlaps another one's, or a route of the host.

    The host can send an address by one way only: containers of one of the two, or the machines behind the route (a VPN,
    an office network), are not reached. A wider route than the subnet is told as info: it may be meant so.
    """
    pools = [*_pools(patient)]
    for n, (network, pool) in enumerate(pools):
        for other, other_pool in pools[n + 1 :]:
            if other.id != network.id and pool.version == other_pool.version and pool.overlaps(other_pool):
                if "bridge" not in (network.driver, other.driver):
                    continue  # two of macvlan or ipvlan may lie in one segment
                yield Found(
                    "network",
                    network.name or network.id,
                    f"{network.name} ({pool}) and {other.name} ({other_pool}) overlap",
                    "docker network rm one of them, and create it again with another --subnet",
                )
    for route in patient.facts.routes:
        if route.netns == patient.host_netns and route.dst is not None and route.table == 254:
            yield from _against_route(patient, pools, route)


def _against_route(patient: Patient, pools: list[tuple[Network, IPNetwork]], route: Route) -> Checked:
    there = ip_network(route.dst or "")
    link = patient.places.links.get((patient.host_netns, route.ifindex or 0))
    if there is None or there.prefixlen == 0:
        return
    for network, pool in pools:
        if pool.version != there.version or not pool.overlaps(there) or network.driver != "bridge":
            continue
        if link is not None and link.ifname == network.bridge:
            continue
        if link is not None and any(link.ifname == other.bridge for other, _ in pools):
            continue  # the other network's own route: told above
        wider = there.prefixlen < pool.prefixlen
        over = f"over {link.ifname}" if link else route.type
        yield Found(
            "network",
            network.name or network.id,
            f"{network.name} ({pool}) overlaps the host's route to {there} {over}",
            f"ip route get {there.network_address}; then give {word(network.name)} another --subnet",
            (f"{there} {over}" + (f" via {route.gateway}" if route.gateway else ""),),
            "info" if wider else None,
        )


@check("mtu-too-large", "warning", needs=(*RECORDS, *LINKS, "routes"))
def mtu_too_large(patient: Patient) -> Checked:
    """A network's packets may be larger than the host's way out takes.

    Small packets get through and large ones do not: a connection is made, and hangs at the first big answer (TLS),
    where ICMP is filtered on the way. Give the network the MTU of the way out: VPNs and cloud networks have less than
    1,500.
    """
    ways = [link for link in patient.uplinks if link.mtu]
    if not ways:
        return
    out = ways[0]
    for network in patient.bridge_networks:
        if network.internal:
            continue
        links = [p.inner for p in patient.attachments if p.network is network and p.inner is not None]
        largest = max(links, key=lambda link: link.mtu, default=None)
        if largest is not None and largest.mtu > out.mtu:
            owners = sorted({patient.places.name(link.container) or "?" for link in links if link.mtu > out.mtu})
            yield Found(
                "network",
                network.name or network.id,
                f"{network.name} has an MTU of {largest.mtu}, and the way out over {out.ifname} one of {out.mtu}",
                patient.docker(network, f"network create --opt com.docker.network.driver.mtu={out.mtu} …"),
                (f"containers with it: {', '.join(owners)}",),
            )


@check("no-default-route", "error", needs=(*RECORDS, *LINKS, "routes", "processes"))
def no_default_route(patient: Patient) -> Checked:
    """A container has no default route over the gateway of any of its networks.

    It answers its neighbours on the network, and nobody else: not even who comes by a published port from outside.
    Somebody deleted or changed it in the container, or its interface was down for a moment.
    """
    for container in patient.running:
        for drift in container.drift:
            if drift.field.startswith("default route"):
                yield Found(
                    "container",
                    container.name,
                    f"{container.name} should have a {drift.field} over {drift.recorded}, "
                    f"and has {f'one over {drift.effective}' if drift.effective else 'none'}",
                    f"nsenter -t {container.pid} -n ip route replace default via {word(drift.recorded)}",
                )


@check("endpoint-of-no-container", "warning", needs=RECORDS)
def endpoint_of_no_container(patient: Patient) -> Checked:
    """The engine's network database holds an endpoint whose container is not there.

    It keeps the container's name on that network, its address, and its published ports: "endpoint with name … already
    exists", "port is already allocated" though nobody listens. A container was removed while the engine was being
    killed.
    """
    networks = {network.id: network for network in patient.facts.networks if network.scope == "local"}
    recorded = {endpoint.endpoint_id for record in patient.facts.containers for endpoint in record.endpoints}
    on_network = {(record.name, e.network_id) for record in patient.facts.containers for e in record.endpoints}
    names = {record.name for record in patient.facts.containers}
    for endpoint in patient.facts.endpoints:
        network = networks.get(endpoint.network_id)
        if network is None or endpoint.id in recorded:
            continue
        sandbox = patient.index.sandboxes.get(endpoint.sandbox_id or "")
        if sandbox is not None and (
            sandbox.container_id in patient.index.records or not _ID.fullmatch(sandbox.container_id)
        ):
            continue  # the second are swarm's own
        if endpoint.name in names and (endpoint.name, endpoint.network_id) not in on_network:
            continue  # being started: its record is on the way
        name = endpoint.name or endpoint.id[:12]
        ports = [f"{port.host_port}/{port.proto}" for port in endpoint.port_map if port.host_port]
        yield Found(
            "endpoint",
            name,
            f"{name} is on {network.name} by the network database, and no container is it",
            patient.docker(network, f"network disconnect --force {word(network.name)} {word(name)}"),
            (f"endpoint {endpoint.id}", f"address {endpoint.address or 'none'}, ports {', '.join(ports) or 'none'}"),
            "error" if ports else None,
        )
