"""What of a host a question needs: the families of facts, and the containers of which more than the outlines."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from msgspec import Struct

from hostinspect.collectors.found import NetworkFacts
from hostinspect.collectors.processes import container_ids
from hostinspect.facts import ContainerRecord, Process

NETWORK = frozenset(("namespaces", "links", "addresses", "routes", "sockets", "rules", "nsids", "sysctls"))


class _Everything:
    """The container of all there is."""

    def __contains__(self, thing: object) -> bool:
        return True


EVERYTHING: Container[object] = _Everything()


class Depth(Struct, frozen=True):
    """Where to look closely."""

    netns: Container[object]  # network namespaces that are gone to, beside those without a process
    mntns: Container[object]  # mount namespaces, all of whose mounts are read
    processes: tuple[Process, ...]  # of whose cgroups it matters whether they are frozen
    containers: Container[str] | None  # ids of those whose layers are read; None: of all
    strangers: bool  # whether there are processes of containers whose cgroup does not say of which


def depth_of(
    processes: tuple[Process, ...],
    records: Iterable[ContainerRecord],
    families: Container[object],
    only: Callable[[ContainerRecord], bool] | None,
    host_netns: int | None,
) -> Depth:
    """Everywhere or, with `only`, on the host and in the containers that it is true of.

    Mounts are read, whether in `families` or not, where it takes them to tell whose a process is
    (`hostinspect.correlate.index`); while there are such processes, all of the network is looked at closely.
    """
    known = {record.id: record for record in records}
    pids = {record.pid for record in known.values() if record.pid}
    container_of: dict[tuple[str, ...], str | None] = {}
    strangers: set[int | None] = set()
    for process in processes:
        if process.cgroups not in container_of:
            ids = container_ids(process.cgroups)
            container_of[process.cgroups] = next((id_ for id_ in ids if id_ in known), ids[0] if ids else None)
        container = container_of[process.cgroups]
        if container not in known and (container is not None or process.pid in pids):
            strangers.add(process.mntns)
    if only is None:
        return Depth(EVERYTHING, EVERYTHING if "mounts" in families else strangers, processes, None, bool(strangers))
    chosen = {id_ for id_, record in known.items() if only(record)}
    inside = tuple(process for process in processes if container_of[process.cgroups] in chosen)
    return Depth(
        netns=EVERYTHING if strangers else {host_netns, *(process.netns for process in inside)},
        mntns=strangers | ({process.mntns for process in inside} if "mounts" in families else set()),
        processes=processes if strangers else inside,
        containers=None if strangers else chosen,
        strangers=bool(strangers),
    )


def is_enough(found: NetworkFacts, depth: Depth, records: Iterable[ContainerRecord], host_netns: int | None) -> bool:
    """Whether what was found in the network namespaces of some containers alone is all there is to say of these.

    It is not where links lead into others' namespaces, where another container was given an address of theirs, or where
    nothing on the host pins their namespace: then the mounts of others may tell what does.
    """
    if depth.containers is None:
        return True
    theirs = {n.inode: n for n in found.network_namespaces if n.inode in depth.netns and n.inode != host_netns}
    mains = {record.pid for record in records if record.id in depth.containers}
    is_pinned = all(namespace.paths for namespace in theirs.values() if not mains.isdisjoint(namespace.pids))
    inside = {pid for namespace in theirs.values() for pid in namespace.pids}
    endpoints = [e for record in records if record.pid and record.pid not in inside for e in record.endpoints]
    of_others = {address for endpoint in endpoints for address in (endpoint.ip, endpoint.ip6)}
    is_clear = of_others.isdisjoint(address.address for address in found.addresses if address.netns in theirs)
    ways = {(link.netns, link.link_netnsid) for link in found.links if link.netns in theirs}
    leads = {way for way in ways if way[1] is not None and way[1] >= 0}
    named = {(nsid.netns, nsid.nsid) for nsid in found.nsids}
    return is_pinned and is_clear and leads <= named
