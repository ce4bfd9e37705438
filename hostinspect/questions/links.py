"""`hostinspect links`: the interfaces of a namespace, each with what is at its other end and whose that is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import asdict

from hostinspect.facts import Gap
from hostinspect.questions.answer import Answer, gaps_about
from hostinspect.questions.inspection import Inspection, NameNotFoundError, similar
from hostinspect.questions.places import HOST, Places, namespace_file
from hostinspect.topology import Container, Link, NetworkNamespace

FAMILIES = ("host", "engines", "containers", "networks", "processes", "namespaces", "links", "addresses")


class LinkDetails(Link, frozen=True, kw_only=True):
    """A link as in the report, and where it leads to in words. `peer`, or `lower`, is the other end."""

    ip_name: str  # as ip(8) prints it: "veth13d6de4@if12"
    namespace: str  # what `netns` is called: host, a container's name, or the name that pins it
    container_name: str | None
    far_namespace: str | None  # what the namespace of the other end is called
    far_master: str | None  # the bridge, or other master, that the other end is a port of
    far_mac: str | None
    far_prefixes: tuple[str, ...]
    network: str | None  # id of the network whose bridge this is, or has one of the ends as its port
    network_name: str | None


class Links(Answer, frozen=True, kw_only=True):
    """Links, and the namespaces that they are in."""

    links: tuple[LinkDetails, ...]
    netns: tuple[NetworkNamespace, ...]
    gaps: tuple[Gap, ...]


class NoNamespaceError(NameNotFoundError):
    """A container that has no network namespace, or none that was seen."""

    def __init__(self, container: Container) -> None:
        super().__init__("namespace", container.name, ())
        runs = container.state in ("running", "paused")
        why = "was not seen" if runs else f"is not there: it does not run ({container.state})"
        self.args = (f"The network namespace of {container.name} {why}.",)


class LinkFinder:
    """Links by what a person calls them."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._topology = inspection.topology
        self._places = Places(inspection.topology)

    @property
    def host(self) -> frozenset[int]:
        """The host's namespace."""
        return frozenset(namespace.inode for namespace in self._topology.netns if namespace.host)

    def namespaces(self, key: str) -> frozenset[int]:
        """A container's namespace, by name or id; or `host`, an inode, `net:[INODE]`, a path, or the file's name alone.

        Raises `NameNotFoundError`, `AmbiguousNameError`.
        """
        found = find_namespaces(self._topology.netns, key)
        if found:
            return found
        try:
            return self._of_container(self._inspection.container(key))
        except NameNotFoundError as error:
            if isinstance(error, NoNamespaceError):
                raise
            names = [self._places.namespace_name(namespace.inode) for namespace in self._topology.netns]
            raise NameNotFoundError("container or namespace", key, similar(key, names)) from None

    def links(self, name: str, among: Collection[int] | None) -> list[Link]:
        """All of a container, or of those in these namespaces (in any, with None) the ones that are called so.

        Raises `NameNotFoundError`, `AmbiguousNameError`.
        """
        here = [link for link in self._topology.links if among is None or link.netns in among]
        same = [link for link in here if name == link.ifname or name in link.altnames]
        try:
            own = self._of_container(self._inspection.container(name))
        except LookupError as error:
            if same:
                return same
            if isinstance(error, NameNotFoundError) and not isinstance(error, NoNamespaceError):
                names = [*(link.ifname for link in here), *(c.name for c in self._topology.containers)]
                raise NameNotFoundError("container or link", name, similar(name, names)) from None
            raise
        return [link for link in self._topology.links if link.netns in own or link in same]

    def every(self, among: Collection[int] | None) -> list[Link]:
        """The links of these namespaces, with None of all."""
        return [link for link in self._topology.links if among is None or link.netns in among]

    def _of_container(self, container: Container) -> frozenset[int]:
        if container.netns is None:
            raise NoNamespaceError(container)
        return frozenset((container.netns,))


def find_namespaces(namespaces: Sequence[NetworkNamespace], key: str) -> frozenset[int]:
    """The inode of the namespace that `key` names, other than by a container; of two files of one name, both."""
    inode = key.removeprefix("net:[").removesuffix("]")
    path = key.removeprefix("/var") if key.startswith("/var/run/") else key
    return frozenset(
        namespace.inode
        for namespace in namespaces
        if (key == HOST and namespace.host)
        or inode == str(namespace.inode)
        or key == namespace_file(namespace)
        or path in namespace.paths
        or any(key == f"/proc/{pid}/ns/net" for pid in namespace.pids)
    )


def list_links(inspection: Inspection, links: Sequence[Link]) -> Links:
    """These links, in the report's order: the host's first, then by namespace; by ifindex."""
    topology = inspection.topology
    places = Places(topology)
    chosen = {(link.netns, link.ifindex) for link in links}
    seen = {link.netns for link in links}
    return Links(
        links=tuple(describe_link(places, link) for link in topology.links if (link.netns, link.ifindex) in chosen),
        netns=tuple(namespace for namespace in topology.netns if namespace.inode in seen),
        gaps=gaps_about(topology, *FAMILIES),
    )


def describe_link(places: Places, link: Link) -> LinkDetails:
    """A link with its other end in words."""
    end = link.peer or link.lower
    far = places.link(end)
    network = places.network_of(link) or (places.network_of(far) if link.peer else None)
    return LinkDetails(
        **asdict(link),
        ip_name=_ip_name(places, link),
        namespace=places.namespace_name(link.netns),
        container_name=places.name(link.container),
        far_namespace=places.namespace_name(end.netns) if end else None,
        far_master=far.master if far else None,
        far_mac=far.mac if far else None,
        far_prefixes=far.prefixes if far else (),
        network=network.id if network else None,
        network_name=network.name if network else None,
    )


def _ip_name(places: Places, link: Link) -> str:
    """`NAME@OTHER` where the other end is in the same namespace, `NAME@ifINDEX` where it is in another."""
    if link.link_index is None:
        return link.ifname
    near = places.links.get((link.netns, link.link_index)) if link.link_netnsid is None else None
    return f"{link.ifname}@{near.ifname if near else f'if{link.link_index}'}"
