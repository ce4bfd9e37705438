"""The facts, looked up by their joining keys: built once, read by every join."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import TypeVar

from hostinspect.facts import (
    Address,
    ContainerRecord,
    EndpointRecord,
    Facts,
    LayerRecord,
    Link,
    ListeningSocket,
    MountPoint,
    NetworkNamespace,
    NetworkRecord,
    Process,
    Route,
    SandboxRecord,
)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Index:
    """Dictionaries over one `Facts`. Nothing here decides anything but whose a process is."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._cgroup_ids: dict[tuple[str, ...], str | None] = {}
        self.unknown_ids: dict[str, int] = defaultdict(int)  # ids in cgroup paths that no engine knows: processes

    @cached_property
    def host_netns(self) -> int | None:
        return self.facts.host.netns

    # --- processes ---------------------------------------------------------------------------------------------

    @cached_property
    def processes(self) -> dict[int, Process]:
        return {process.pid: process for process in self.facts.processes}

    def container_of(self, process: Process) -> str | None:
        """The container that `process` runs in: the outermost id in its cgroup paths that an engine knows.

        The outermost, since a runtime nested in a container may make any path below its own. Where no path names a
        known container, the `upperdir` of the root that its mount namespace has.
        """
        if process.cgroups in self._cgroup_ids:
            found = self._cgroup_ids[process.cgroups]
        else:
            ids = [id_ for path in process.cgroups for id_ in _CONTAINER_ID.findall(path)]
            found = next((id_ for id_ in ids if id_ in self.records), None)
            self._cgroup_ids[process.cgroups] = found
            if found is None and ids:
                self.unknown_ids[ids[0]] += 1
        if found is None and process.mntns is not None and process.mntns != self.facts.host.mntns:
            found = self.container_by_mntns.get(process.mntns)
        return found

    @cached_property
    def container_by_mntns(self) -> dict[int, str]:
        """Mount namespaces whose root is an overlay mount of a container's own upper directory."""
        by_upper = {layer.upper: layer.container_id for layer in self.facts.layers}
        owners = {}
        for mount in self.facts.mounts:
            if mount.mount_point == "/" and mount.upperdir in by_upper and mount.mntns is not None:
                owners[mount.mntns] = by_upper[mount.upperdir]
        return owners

    @cached_property
    def is_process_hidden(self) -> bool:
        """Whether there may be processes that were not seen: that one is not there says nothing, then."""
        return any(
            gap.collector == "processes" and not gap.minor and not gap.subject.startswith("namespaces of ")
            for gap in self.facts.gaps
        )

    @cached_property
    def processes_by_container(self) -> dict[str, list[Process]]:
        """The processes of each container, by start time."""
        members: dict[str, list[Process]] = defaultdict(list)
        for process in self.facts.processes:
            container = self.container_of(process)
            if container is not None:
                members[container].append(process)
        for processes in members.values():
            processes.sort(key=lambda process: (process.starttime, process.pid))
        return dict(members)

    @cached_property
    def container_by_pid(self) -> dict[int, str]:
        return {p.pid: id_ for id_, processes in self.processes_by_container.items() for p in processes}

    @cached_property
    def roots_at_rest(self) -> frozenset[str]:
        """Data roots whose engine does not run, nor a container of it, while another engine does.

        What they record is for when it is started, and nobody has made it.
        """
        daemons = {engine.data_root for engine in self.facts.engines if self._is_alive(engine.pid)}
        if not daemons or self.is_process_hidden:
            return frozenset()
        used = {self.records[id_].data_root for id_ in self.processes_by_container if id_ in self.records}
        return frozenset(engine.data_root for engine in self.facts.engines) - daemons - used

    def engine_netns(self, data_root: str | None) -> int | None:
        """The namespace in which an engine, by its data root, has its bridges and rules: the host's, unless it is known
        to be another.
        """
        return self.netns_elsewhere.get(data_root or "", self.host_netns)

    @cached_property
    def netns_elsewhere(self) -> dict[str, int]:
        """Where that is for engines whose daemon is in a network and mount namespace of its own: rootless ones.

        A daemon that has the host's mounts may be in a container's network namespace for a moment.
        """
        found = {}
        for engine in self.facts.engines:
            process = self.processes.get(engine.pid or 0)
            if process and process.netns and process.mntns not in (None, self.facts.host.mntns):
                found[engine.data_root] = process.netns
        return {data_root: netns for data_root, netns in found.items() if netns != self.host_netns}

    @cached_property
    def roots_by_netns(self) -> dict[int, str]:
        """The same the other way round: by namespace, the data root of the engine."""
        return {netns: data_root for data_root, netns in self.netns_elsewhere.items()}

    @cached_property
    def netns_of_engines(self) -> frozenset[int | None]:
        """Every namespace that an engine may have its bridges and rules in: the host's, and those elsewhere."""
        return frozenset((self.host_netns, *self.roots_by_netns))

    def _is_alive(self, pid: int | None) -> bool:
        process = self.processes.get(pid or 0)
        return process is not None and not process.has_ended

    @cached_property
    def frozen_paths(self) -> frozenset[str]:
        return frozenset(cgroup.path for cgroup in self.facts.frozen_cgroups)

    # --- network namespaces and links ----------------------------------------------------------------------------

    @cached_property
    def netns(self) -> dict[int, NetworkNamespace]:
        return {namespace.inode: namespace for namespace in self.facts.network_namespaces}

    @cached_property
    def netns_by_path(self) -> dict[str, int]:
        """Namespaces by the names that pin them, /var/run and /run being one."""
        return {
            normal_run_path(path): namespace.inode
            for namespace in self.facts.network_namespaces
            for path in namespace.paths
        }

    @cached_property
    def sandboxes_by_key(self) -> dict[str, SandboxRecord]:
        """Sandboxes by the name that pins theirs under /run/docker/netns: the id, cut at 12 (libnetwork)."""
        return {sandbox.id[:12]: sandbox for sandbox in self.facts.sandboxes}

    @cached_property
    def sandboxes(self) -> dict[str, SandboxRecord]:
        return {sandbox.id: sandbox for sandbox in self.facts.sandboxes}

    @cached_property
    def links(self) -> dict[int, dict[int, Link]]:
        """Links by namespace, then ifindex."""
        links: dict[int, dict[int, Link]] = defaultdict(dict)
        for link in self.facts.links:
            links[link.netns][link.ifindex] = link
        return dict(links)

    @cached_property
    def host_links(self) -> dict[str, Link]:
        """The host's own links by name."""
        return self.links_of_engines.get(self.host_netns, {})

    @cached_property
    def links_of_engines(self) -> dict[int | None, dict[str, Link]]:
        """Links by name, of each namespace that an engine may have its bridges in."""
        return {
            netns: {link.ifname: link for link in links.values()}
            for netns, links in self.links.items()
            if netns in self.netns_of_engines
        }

    @cached_property
    def nsids(self) -> dict[tuple[int, int], int]:
        """(namespace, nsid as it says) to the namespace that is meant."""
        return {(nsid.netns, nsid.nsid): nsid.target for nsid in self.facts.nsids}

    @cached_property
    def addresses(self) -> dict[tuple[int, int], list[Address]]:
        """Addresses by (namespace, ifindex), in the kernel's order: the primary one first."""
        return _grouped(self.facts.addresses, lambda a: (a.netns, a.ifindex))

    @cached_property
    def with_chains(self) -> frozenset[int | None]:
        """Namespaces of which there are chains: that there is no rule says nothing in another."""
        return frozenset(chain.netns for chain in self.facts.chains)

    @cached_property
    def default_routes(self) -> dict[int, list[Route]]:
        """Default routes by namespace."""
        return _grouped((r for r in self.facts.routes if r.dst is None), lambda r: r.netns)

    @cached_property
    def listening(self) -> dict[tuple[int, str, int], list[ListeningSocket]]:
        """Listening sockets by (namespace, protocol, port)."""
        return _grouped(self.facts.listening_sockets, lambda s: (s.netns, s.proto, s.port))

    @cached_property
    def holders(self) -> dict[int, list[int]]:
        """The pids that hold a socket, by its inode, ascending."""
        holders: dict[int, list[int]] = defaultdict(list)
        for holder in self.facts.socket_holders:
            holders[holder.inode].append(holder.pid)
        for pids in holders.values():
            pids.sort()
        return dict(holders)

    # --- what the engine wrote ------------------------------------------------------------------------------------

    @cached_property
    def records(self) -> dict[str, ContainerRecord]:
        return {record.id: record for record in self.facts.containers}

    @cached_property
    def network_records(self) -> dict[str, NetworkRecord]:
        return {network.id: network for network in self.facts.networks}

    @cached_property
    def endpoint_records(self) -> dict[str, EndpointRecord]:
        return {endpoint.id: endpoint for endpoint in self.facts.endpoints}

    @cached_property
    def layers(self) -> dict[str, LayerRecord]:
        return {layer.container_id: layer for layer in self.facts.layers}

    @cached_property
    def mounts(self) -> dict[int, list[MountPoint]]:
        """Mounts by mount namespace, in mountinfo's order: of two on one mount point the later is on top."""
        return _grouped((m for m in self.facts.mounts if m.mntns is not None), lambda m: m.mntns or 0)

    @cached_property
    def host_mounts_by_device(self) -> dict[str, list[MountPoint]]:
        return _grouped(self.mounts.get(self.facts.host.mntns or 0, []), lambda m: m.device)

    @cached_property
    def host_mount_points_by_upper(self) -> dict[str | None, str]:
        """Where the host has an overlay of an upper directory mounted: of several, the first."""
        mounts = self.mounts.get(self.facts.host.mntns or 0, [])
        return {mount.upperdir: mount.mount_point for mount in reversed(mounts)}


def normal_run_path(path: str) -> str:
    """`/var/run` is `/run` on every system with systemd, and libnetwork writes the former."""
    return path[4:] if path.startswith("/var/run/") else path


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)
