"""One module per family of facts: each reads through `kernel` and `engines`, and yields records and gaps."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec.structs import asdict

from hostinspect.collectors.cgroups import collect_frozen_cgroups
from hostinspect.collectors.engines import collect_engines, collect_records
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.host import collect_host
from hostinspect.collectors.mounts import collect_mounts
from hostinspect.collectors.network import collect_network
from hostinspect.collectors.packet_filter import PacketFilter
from hostinspect.collectors.processes import collect_processes
from hostinspect.collectors.sockets import collect_socket_holders
from hostinspect.facts import Facts, Record

__all__ = ["collect"]


def collect(data_roots: Sequence[str] = ()) -> Facts:
    """One tour over this host. `data_roots` replace the engines' data roots that would be looked for.

    hostinspect's own process is left out. Raises no error of the host's: what could not be read is in `gaps`.
    """
    gaps = GapLog()
    host = collect_host(gaps)
    processes = tuple(process for process in collect_processes(gaps) if process.pid != os.getpid())
    engines = collect_engines(host, processes, gaps, data_roots)
    records: dict[str, tuple[Record, ...]] = {}
    for engine in engines:
        for family, found in asdict(collect_records(engine, gaps)).items():
            records[family] = records.get(family, ()) + found
    pids = [pid for record in records.get("containers", ()) if (pid := getattr(record, "pid", None))]
    mounts = collect_mounts(processes, gaps, pids=pids)
    packet_filter = PacketFilter(gaps)
    network = collect_network(processes, mounts, gaps, [packet_filter])
    families: dict[str, tuple[Record, ...]] = {
        **records,
        **asdict(network),
        "engines": engines,
        "processes": processes,
        "frozen_cgroups": collect_frozen_cgroups(processes, mounts, gaps),
        "socket_holders": collect_socket_holders(processes, network.listening_sockets, gaps),
        "chains": packet_filter.chains,
        "rules": packet_filter.rules,
        "mounts": mounts,
    }
    return Facts(host=host, gaps=gaps.as_tuple(), **families)  # type: ignore[arg-type]
