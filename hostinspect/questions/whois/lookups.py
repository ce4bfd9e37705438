"""One inspection, looked up by what keys are made of."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from functools import cached_property

from msgspec import Struct

from hostinspect import facts
from hostinspect.correlate.ports import Proxy, parse_proxy
from hostinspect.questions.inspection import Inspection
from hostinspect.questions.layers import LayerDirectory, list_layers
from hostinspect.questions.whois.answer import Ref
from hostinspect.questions.whois.chain import short
from hostinspect.questions.whois.key import canonical
from hostinspect.topology import Bridge, Container, Endpoint, Link, NatRule, Network, NetworkNamespace, Volume


class Place(Struct, frozen=True):
    """An interface of a container that is an endpoint of a network."""

    container: Container
    endpoint: Endpoint


class Lookups:
    """What there is, by its keys, and what it is called. Nothing here decides whose anything is."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self.facts = inspection.facts
        self.topology = inspection.topology
        self.index = inspection.index
        self.host_netns = inspection.facts.host.netns

    # --- what there is ------------------------------------------------------------------------------------------

    @cached_property
    def containers(self) -> dict[str, Container]:
        return {container.id: container for container in self.topology.containers}

    @cached_property
    def networks(self) -> dict[str, Network]:
        return {network.id: network for network in self.topology.networks}

    @cached_property
    def volumes(self) -> dict[str, list[Volume]]:
        """By name: each engine may have one of it."""
        found: dict[str, list[Volume]] = defaultdict(list)
        for volume in self.topology.volumes:
            found[volume.name].append(volume)
        return dict(found)

    @cached_property
    def links(self) -> dict[tuple[int, int], Link]:
        return {(link.netns, link.ifindex): link for link in self.topology.links}

    @cached_property
    def namespaces(self) -> dict[int, NetworkNamespace]:
        return {namespace.inode: namespace for namespace in self.topology.netns}

    @cached_property
    def bridges(self) -> dict[tuple[int, str], Bridge]:
        return {(bridge.netns, bridge.name): bridge for bridge in self.topology.bridges}

    @cached_property
    def layer_directories(self) -> dict[str, LayerDirectory]:
        """Every directory in the homes of storage drivers, where they were read, with whose it is."""
        return {directory.path: directory for directory in list_layers(self.inspection).directories}

    @cached_property
    def short_names(self) -> dict[str, str]:
        """overlay2/l/SHORT: the directory that it is short for."""
        return {d.short_name: path for path, d in self.layer_directories.items() if d.short_name}

    @cached_property
    def places(self) -> dict[tuple[int, str], Place]:
        """The endpoints of containers by (namespace, interface)."""
        return {
            (container.netns, endpoint.interface): Place(container, endpoint)
            for container in self.topology.containers
            for endpoint in container.endpoints
            if container.netns is not None and endpoint.interface is not None
        }

    @cached_property
    def places_by_endpoint(self) -> dict[str, Place]:
        """The same, and those of containers that do not run, by the endpoint's id."""
        return {
            endpoint.endpoint_id: Place(container, endpoint)
            for container in self.topology.containers
            for endpoint in container.endpoints
            if endpoint.endpoint_id
        }

    @cached_property
    def addresses(self) -> dict[str, list[facts.Address]]:
        """Who has an address now, by its one spelling; the host first."""
        found: dict[str, list[facts.Address]] = defaultdict(list)
        for address in self.facts.addresses:
            found[canonical(address.address) or address.address].append(address)
        for having in found.values():
            having.sort(key=lambda address: (address.netns != self.host_netns, address.netns, address.ifindex))
        return dict(found)

    @cached_property
    def proxies(self) -> dict[int, Proxy]:
        """Every docker-proxy of the host, by pid."""
        found = {}
        for process in self.facts.processes:
            if process.comm == "docker-proxy" and process.cmdline and self.index.container_of(process) is None:
                proxy = parse_proxy(process.pid, process.cmdline)
                if proxy is not None:
                    found[process.pid] = proxy
        return found

    @cached_property
    def host_rules(self) -> dict[tuple[str, str, str, str, int], NatRule]:
        """NAT rules of the host, by where they stand."""
        return {
            (rule.family, rule.backend, rule.table, rule.chain, rule.position): rule
            for rule in self.topology.nat_rules
            if rule.netns == self.host_netns
        }

    @cached_property
    def subnets(self) -> list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Network]]:
        """The subnets of all networks, the narrowest first."""
        found = []
        for network in self.topology.networks:
            for pool in network.subnets:
                try:
                    found.append((ipaddress.ip_network(pool.subnet, strict=False), network))
                except ValueError:
                    continue
        return sorted(found, key=lambda item: -item[0].prefixlen)

    def networks_of(self, ip: str) -> list[Network]:
        """The networks in whose subnets an address is; those with the narrowest subnet alone."""
        address = ipaddress.ip_address(ip)
        around = [(pool, network) for pool, network in self.subnets if address in pool]
        return [network for pool, network in around if pool.prefixlen == around[0][0].prefixlen]

    def sees(self, *collectors: str) -> bool:
        """Whether these families have no grave gap: only then is what was not found not there."""
        return not any(gap.collector in collectors and not gap.minor for gap in self.topology.gaps)

    # --- what they are called -----------------------------------------------------------------------------------

    @cached_property
    def former_names(self) -> dict[str, str]:
        """What libnetwork calls the containers of its sandboxes, of which there may be no other record: the name of
        an endpoint is that of its container, as it was then.
        """
        by_sandbox = {
            endpoint.sandbox_id: endpoint.name
            for endpoint in self.facts.endpoints
            if endpoint.name and not endpoint.name.startswith("gateway_")  # the leg on docker_gwbridge
        }
        named = ((sandbox.container_id, by_sandbox.get(sandbox.id)) for sandbox in self.facts.sandboxes)
        return {container_id: name for container_id, name in named if name}

    def container_ref(self, id_: str) -> Ref:
        container = self.containers.get(id_)
        return Ref(kind="container", id=id_, name=container.name if container else self.former_names.get(id_))

    def network_ref(self, id_: str) -> Ref:
        network = self.networks.get(id_)
        return Ref(kind="network", id=id_, name=network.name if network else None)

    def link_ref(self, link: Link) -> Ref:
        return Ref(kind="link", id=f"{link.netns}/{link.ifindex}", name=link.ifname)

    def container_name(self, id_: str) -> str:
        container = self.containers.get(id_)
        return container.name if container else self.former_names.get(id_, short(id_))

    def network_name(self, id_: str | None) -> str:
        network = self.networks.get(id_ or "")
        return (network.name if network else None) or short(id_ or "?")

    def process_name(self, pid: int) -> str:
        """`pid 529 (httpd)`."""
        process = self.index.processes.get(pid)
        return f"pid {pid} ({process.comm})" if process else f"pid {pid}"
