"""Where links are, in the words that people have for it: the host, a container, or the name that pins a namespace."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from hostinspect.topology import Bridge, Container, Link, LinkRef, Network, NetworkNamespace, Topology

HOST = "host"


class Places:
    """Look-ups over one topology."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.host_netns = next((namespace.inode for namespace in topology.netns if namespace.host), None)
        self.containers = {container.id: container for container in topology.containers}
        self.networks = {network.id: network for network in topology.networks}
        self.namespaces = {namespace.inode: namespace for namespace in topology.netns}

    # --- namespaces ---

    def namespace_name(self, inode: int) -> str:
        """`host`, the name of the container whose it is, the last part of the path that pins it, or `net:[INODE]`."""
        namespace = self.namespaces.get(inode)
        if namespace is None:
            return f"net:[{inode}]"
        if namespace.host:
            return HOST
        members = self.members(inode)
        if members and namespace.role != "engine":
            return members[0].name
        return namespace_file(namespace) or f"net:[{inode}]"

    def members(self, inode: int) -> list[Container]:
        """The containers in a namespace, first the one whose it is: which did not join another's."""
        namespace = self.namespaces.get(inode)
        found = [self.containers[id_] for id_ in namespace.containers if id_ in self.containers] if namespace else []
        return sorted(found, key=lambda container: (container.shares_netns_with is not None, container.name))

    def name(self, container: str | None) -> str | None:
        """The name of a container, by id."""
        return self.containers[container].name if container in self.containers else None

    # --- links and bridges ---

    @cached_property
    def links(self) -> dict[tuple[int, int], Link]:
        """Links by namespace and ifindex."""
        return {(link.netns, link.ifindex): link for link in self.topology.links}

    @cached_property
    def links_by_name(self) -> dict[tuple[int, str], Link]:
        return {(link.netns, link.ifname): link for link in self.topology.links}

    @cached_property
    def links_in(self) -> dict[int, list[Link]]:
        """The links of each namespace. One without any was not entered: every namespace has its lo."""
        links: dict[int, list[Link]] = defaultdict(list)
        for link in self.topology.links:
            links[link.netns].append(link)
        return dict(links)

    def link(self, ref: LinkRef | None) -> Link | None:
        """The link that is meant."""
        return self.links.get((ref.netns, ref.ifindex)) if ref else None

    @cached_property
    def bridges(self) -> dict[tuple[int, str], Bridge]:
        """Bridges by namespace and name."""
        return {(bridge.netns, bridge.name): bridge for bridge in self.topology.bridges}

    def network_of(self, link: Link | None) -> Network | None:
        """The network whose bridge this is, or whose bridge it is a port of."""
        if link is None:
            return None
        bridge = self.bridges.get((link.netns, link.ifname if link.kind == "bridge" else link.master or ""))
        return self.networks.get(bridge.network or "") if bridge else None


def namespace_file(namespace: NetworkNamespace) -> str | None:
    """The name that pins a namespace, under /run/netns or /run/docker/netns, as ip-netns(8) and libnetwork call it."""
    return namespace.paths[0].rsplit("/", 1)[-1] if namespace.paths else None
