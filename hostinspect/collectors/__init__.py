"""One module per family of facts: each reads through `kernel` and `engines`, and yields records and gaps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain

from hostinspect.collectors.cgroups import collect_frozen_cgroups
from hostinspect.collectors.engines import EngineRecords, collect_engines, collect_records
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.host import collect_host
from hostinspect.collectors.mounts import collect_mounts
from hostinspect.collectors.network import Reader, collect_network
from hostinspect.collectors.packet_filter import PacketFilter
from hostinspect.collectors.processes import collect_processes
from hostinspect.collectors.sockets import collect_socket_holders
from hostinspect.facts import Facts, Sysctl

__all__ = ["collect"]


def collect(data_roots: Sequence[str] = (), *, image_layers: bool = False, health: bool = False) -> Facts:
    """One tour over this host. `data_roots` replace the engines' data roots that would be looked for.

    `image_layers`: whose each layer directory is; `health`: what `doctor` asks for. The report tells neither, and need
    not wait for them.

    hostinspect's own process is left out. Raises no error of the host's: what could not be read is in `gaps`.
    """
    gaps = GapLog()
    host = collect_host(gaps)
    processes = tuple(process for process in collect_processes(gaps) if process.pid != os.getpid())
    engines = collect_engines(host, processes, gaps, data_roots)
    records = _joined(collect_records(engine, gaps, image_layers=image_layers) for engine in engines)
    mounts = collect_mounts(processes, gaps, pids=[record.pid for record in records.containers if record.pid])
    packet_filter = PacketFilter(gaps)
    readers: list[Reader] = [packet_filter]
    sysctls: list[Sysctl] = []
    if health:
        from hostinspect.collectors.health import InterfaceSysctls

        readers.append(of_interfaces := InterfaceSysctls(host.netns, gaps))
        sysctls = of_interfaces.sysctls
    network = collect_network(processes, mounts, gaps, readers)
    facts = Facts(
        host=host,
        engines=engines,
        sysctls=(*network.sysctls, *sysctls),
        processes=processes,
        frozen_cgroups=collect_frozen_cgroups(processes, mounts, gaps),
        network_namespaces=network.network_namespaces,
        nsids=network.nsids,
        links=network.links,
        addresses=network.addresses,
        routes=network.routes,
        listening_sockets=network.listening_sockets,
        socket_holders=collect_socket_holders(processes, network.listening_sockets, gaps),
        chains=packet_filter.chains,
        rules=packet_filter.rules,
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
    from msgspec.structs import replace

    from hostinspect.collectors.health import collect_health

    return replace(facts, health=collect_health(facts, gaps), gaps=gaps.as_tuple())


def _joined(records: Iterable[EngineRecords]) -> EngineRecords:
    """What several engines wrote down, as one."""
    every = list(records)
    return EngineRecords(
        **{family: tuple(chain(*(getattr(r, family) for r in every))) for family in EngineRecords.__struct_fields__}
    )
