"""Facts in, topology out: a pure function.

One module per joining key. A join holds only where its keys agree from both ends; otherwise the field stays None and
says why (`Link.doubt`, `drift`, a gap).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hostinspect import facts
from hostinspect.correlate.endpoints import join_endpoints
from hostinspect.correlate.index import Index
from hostinspect.correlate.links import Ends, Key, connect_links, describe_links
from hostinspect.correlate.mounts import join_mounts, join_overlay
from hostinspect.correlate.networks import Networks
from hostinspect.correlate.ports import Forwarding, host_ports, join_ports, listeners_by_container, recorded_ports
from hostinspect.correlate.rules import describe_chains, describe_rules, nat_chains
from hostinspect.correlate.runtime import runtime_of
from hostinspect.correlate.volumes import describe_volumes
from hostinspect.topology import Container, Drift, Engine, Host, Listener, PublishedPort, Topology

__all__ = ["correlate"]


def correlate(collected: facts.Facts, index: Index | None = None) -> Topology:
    """Join everything that was read. Never reads the host, never guesses; equal facts give equal topologies.

    `index` is that of the facts, where there is one already.
    """
    index = index or Index(collected)
    ends = connect_links(index)
    forwarding = Forwarding(index)
    listeners = listeners_by_container(index)
    containers = sorted(
        (_container(index, record, ends, forwarding, listeners.get(record.id, ())) for record in collected.containers),
        key=lambda container: (container.name, container.id),
    )
    networks = Networks(index, containers, ends)
    members = _members(containers)
    owners = _owners(index, containers)
    links = describe_links(index, ends, owners)
    chains = nat_chains(index)
    return Topology(
        host=_host(index),
        containers=tuple(containers),
        networks=networks.networks,
        bridges=networks.describe_bridges(links),
        links=links,
        netns=networks.describe_namespaces(members),
        nat_chains=describe_chains(index, chains),
        nat_rules=describe_rules(index, chains, networks, _by_address(index, containers), owners),
        volumes=describe_volumes(collected.volumes, containers),
        gaps=(*collected.gaps, *_unknown_containers(index), *networks.gaps()),
    )


def _host(index: Index) -> Host:
    host = index.facts.host
    return Host(
        hostname=host.hostname,
        kernel=host.kernel,
        os=host.os,
        boot_id=host.boot_id,
        collected_at=host.collected_at,
        engines=tuple(_engine(index, engine) for engine in index.facts.engines),
        root=host.root,
    )


def _engine(index: Index, engine: facts.Engine) -> Engine:
    """The daemon's state from its process alone: stopped (T), traced (t) or in an endless wait (D) does not respond."""
    process = index.processes.get(engine.pid or 0)
    if process is None and index.is_process_hidden:
        return Engine(name=engine.name, data_root=engine.data_root, daemon=None, version=engine.version)
    if process is None or process.has_ended:
        return Engine(name=engine.name, data_root=engine.data_root, daemon="stopped", version=engine.version)
    return Engine(
        name=engine.name,
        data_root=engine.data_root,
        daemon="not responding" if process.state in "TtD" else "running",
        version=engine.version,
        pid=process.pid,
    )


def _container(
    index: Index,
    record: facts.ContainerRecord,
    ends: Mapping[Key, Ends],
    forwarding: Forwarding,
    listeners: tuple[Listener, ...],
) -> Container:
    runtime = runtime_of(index, record)
    mntns = runtime.main.mntns if runtime.main else None
    endpoints, drift = join_endpoints(index, record, runtime, ends)
    mounts, mount_drift = join_mounts(index, record, mntns)
    overlay, overlay_drift = join_overlay(index, record, mntns)
    ports: tuple[PublishedPort, ...] = ()
    port_drift: tuple[Drift, ...] = ()
    if runtime.netns is not None and runtime.netns == index.engine_netns(record.data_root):
        ports = host_ports(listeners) if runtime.netns == index.host_netns else ()
    elif runtime.main is not None:  # one that does not run has no port; its record may still list the last run's
        ports, port_drift = join_ports(index, record, runtime.netns, endpoints, forwarding)
    elif runtime.as_recorded:
        ports = recorded_ports(record)
    mode = record.network_mode or ""
    return Container(
        id=record.id,
        name=record.name,
        data_root=record.data_root,
        image=record.image,
        image_id=record.image_id,
        state=runtime.state,
        pid=runtime.main.pid if runtime.main else None,
        created=record.created,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code if not runtime.main and not runtime.as_recorded and record.started_at else None,
        health=record.health if runtime.main or runtime.as_recorded else None,
        hostname=record.hostname,
        cgroup=runtime.cgroup,
        netns=runtime.netns,
        network_mode=record.network_mode,
        shares_netns_with=mode.removeprefix("container:") if mode.startswith("container:") else None,
        endpoints=endpoints,
        ports=ports,
        exposed_ports=record.exposed_ports,
        listeners=listeners,
        mounts=mounts,
        storage_driver=record.driver,
        overlay=overlay,
        labels=dict(record.labels),
        drift=(*runtime.drift, *drift, *port_drift, *mount_drift, *overlay_drift),
    )


def _members(containers: Iterable[Container]) -> dict[int, list[str]]:
    """The containers in each network namespace."""
    members: dict[int, list[str]] = defaultdict(list)
    for container in containers:
        if container.netns is not None:
            members[container.netns].append(container.id)
    return members


def _owners(index: Index, containers: Iterable[Container]) -> dict[int, str]:
    """Whose each namespace is: of those in it, the one that was not told to join another's. An engine's is nobody's."""
    owners: dict[int, str] = {}
    for container in containers:
        if container.netns is None or container.netns == index.engine_netns(container.data_root):
            continue
        if container.shares_netns_with is None:
            owners[container.netns] = container.id
        else:
            owners.setdefault(container.netns, container.shares_netns_with)
    return owners


def _by_address(index: Index, containers: Iterable[Container]) -> dict[tuple[int | None, str], str]:
    """The running container that has an address, for an engine's namespace; one that two have decides nothing."""
    claimed: dict[tuple[int | None, str], set[str]] = defaultdict(set)
    for container in containers:
        if container.pid is not None:
            for endpoint in container.endpoints:
                for address in filter(None, (endpoint.ip, endpoint.ip6)):
                    claimed[index.engine_netns(container.data_root), address].add(container.id)
    return {address: next(iter(ids)) for address, ids in claimed.items() if len(ids) == 1}


def _unknown_containers(index: Index) -> Sequence[facts.Gap]:
    """Processes whose cgroup carries a container id that none of the engines' files know."""
    return [
        facts.Gap(
            collector="containers",
            subject=f"container {id_[:12]} ({count} processes)",
            why="its cgroup names a container that no engine read here has a record of",
            remedy="name its engine's data root with --data-root",
            minor=True,
        )
        for id_, count in sorted(index.unknown_ids.items())
    ]
