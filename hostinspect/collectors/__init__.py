"""One module per family of facts: each reads through `kernel` and `engines`, and yields records and gaps."""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Iterable, Sequence
from itertools import chain

from msgspec.structs import replace

from hostinspect.collectors.cgroups import collect_frozen_cgroups
from hostinspect.collectors.engines import EngineRecords, collect_engines, collect_records
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.host import collect_host
from hostinspect.collectors.mounts import collect_mounts
from hostinspect.collectors.network import NetworkFacts, Reader, collect_network
from hostinspect.collectors.packet_filter import PacketFilter
from hostinspect.collectors.processes import collect_processes
from hostinspect.collectors.sockets import collect_socket_holders
from hostinspect.collectors.wanted import EVERYTHING, NETWORK, RULES_OF_CONTAINERS, depth_of
from hostinspect.facts import Engine, Facts, Sysctl

__all__ = ["EVERYTHING", "collect"]


def collect(
    data_roots: Sequence[str] = (),
    *,
    families: Container[object] = EVERYTHING,
    only: Collection[str] = (),
    image_layers: bool = False,
    health: bool = False,
) -> Facts:
    """One tour over this host. `data_roots` replace the engines' data roots that would be looked for.

    `families` are those of the facts that are asked for (`Gap.collector` has their names; "rules" are those of the
    host's network namespace, RULES_OF_CONTAINERS all others); hosts, engines, processes and containers are always read.
    With names or ids of containers in `only`, what takes long is read of these and the host alone: routes, sockets,
    rules, mounts, whether they are paused. `image_layers`: whose each layer directory is; `health`: what `doctor` asks
    for. The report tells neither, and need not wait for them.

    hostinspect's own process is left out. Raises no error of the host's: what could not be read is in `gaps`.
    """
    gaps = GapLog()
    host = collect_host(gaps)
    processes = tuple(process for process in collect_processes(gaps) if process.pid != os.getpid())
    engines = collect_engines(host, processes, gaps, data_roots)
    records = _records(engines, gaps, families, image_layers=image_layers)
    depth = depth_of(processes, records.containers, families, only, host.netns)
    if depth.strangers and "layers" not in families:
        records = replace(records, layers=_records(engines, gaps, ("layers",)).layers)
    pids = [record.pid for record in records.containers if record.pid]
    mounts = collect_mounts(processes, gaps, pids=pids, whole=depth.mntns)
    readers: list[Reader] = []
    packet_filter = PacketFilter(gaps) if "rules" in families else None
    if packet_filter is not None:
        everywhere = RULES_OF_CONTAINERS in families
        readers.append(_within(depth.netns if everywhere else {host.netns}, packet_filter))
    sysctls: list[Sysctl] = []
    if health:
        from hostinspect.collectors.health import InterfaceSysctls

        readers.append(of_interfaces := InterfaceSysctls(host.netns, gaps))
        sysctls = of_interfaces.sysctls
    network = NetworkFacts()
    if any(family in families for family in NETWORK):
        network = collect_network(
            processes,
            mounts,
            gaps,
            readers,
            routes=depth.netns if "routes" in families else (),
            sockets=depth.netns if "sockets" in families else (),
        )
    facts = Facts(
        host=host,
        engines=engines,
        sysctls=(*network.sysctls, *sysctls),
        processes=processes,
        frozen_cgroups=collect_frozen_cgroups(depth.processes, mounts, gaps) if "cgroups" in families else (),
        network_namespaces=network.network_namespaces,
        nsids=network.nsids,
        links=network.links,
        addresses=network.addresses,
        routes=network.routes,
        listening_sockets=network.listening_sockets,
        socket_holders=collect_socket_holders(processes, network.listening_sockets, gaps),
        chains=packet_filter.chains if packet_filter else (),
        rules=packet_filter.rules if packet_filter else (),
        mounts=mounts,
        containers=records.containers,
        layers=records.layers,
        networks=records.networks,
        endpoints=records.endpoints,
        sandboxes=records.sandboxes,
        volumes=records.volumes,
        images=records.images,
        image_layers=records.image_layers,
        build_cache=records.build_cache,
        layer_homes=records.layer_homes,
        gaps=gaps.as_tuple(),
    )
    if not health:
        return facts
    from hostinspect.collectors.health import collect_health

    return replace(facts, health=collect_health(facts, gaps), gaps=gaps.as_tuple())


def _within(namespaces: Container[object], reader: Reader) -> Reader:
    """A reader that reads in these alone."""

    def read(netns: int) -> None:
        if netns in namespaces:
            reader(netns)

    return read


def _records(
    engines: Iterable[Engine], gaps: GapLog, families: Container[object], *, image_layers: bool = False
) -> EngineRecords:
    """What the engines wrote down, as one."""
    every = [collect_records(engine, gaps, families=families, image_layers=image_layers) for engine in engines]
    return EngineRecords(
        **{family: tuple(chain(*(getattr(r, family) for r in every))) for family in EngineRecords.__struct_fields__}
    )
