"""One module per family of facts: each reads through `kernel` and `engines`, and yields records and gaps."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING

from msgspec.structs import asdict, replace

from hostinspect.collectors.cgroups import collect_frozen_cgroups
from hostinspect.collectors.found import Tour
from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.host import collect_host
from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts, leads_to_namespaces
from hostinspect.collectors.processes import (
    collect_processes,
    container_cgroup,
    in_own_pid_namespace,
    still_there,
)
from hostinspect.collectors.sockets import OpenSockets
from hostinspect.collectors.wanted import EVERYTHING, NETWORK, depth_of, is_enough
from hostinspect.facts import HOLDERS_ON_HOST, ContainerRecord, Engine, Facts, Host, MountPoint, Process
from hostinspect.kernel import tape, waiting
from hostinspect.kernel.beside import has_processor_to_spare

if TYPE_CHECKING:
    from hostinspect.collectors.engines import EngineRecords
    from hostinspect.kernel.process_table import Table

__all__ = ["EVERYTHING", "collect"]

MANY_NAMESPACES = 8  # from which on the time of a fork is gained again (`python -m tests.bench report`)


def collect(
    data_roots: Sequence[str] = (),
    *,
    families: Container[object] = EVERYTHING,
    only: Callable[[ContainerRecord], bool] | None = None,
    image_layers: bool = False,
    health: bool = False,
    table: Table | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Facts:
    """One tour over this host. `data_roots` replace the engines' data roots that would be looked for.

    `families` are those of the facts that are asked for (`Gap.collector` has their names; "rules" are those of the
    host's network namespace, RULES_OF_CONTAINERS all others; who holds sockets of the host's, beside containers, and
    name servers, is HOLDERS_ON_HOST); hosts, engines, processes and containers are always read.
    With `only`, what takes long is read of the host and the containers that it is true of, where that does: mounts,
    whether they are paused, and what is in network namespaces, but for those without a process. `image_layers`: whose
    each layer directory is; `health`: what `doctor` asks for. The report tells neither, and need not wait for them.
    `table` are the processes, where they were just read. `meanwhile` is called when there is nothing to do but to wait.

    hostinspect's own processes are left out. Raises no error of the host's: what could not be read is in `gaps`.
    """
    from hostinspect.collectors.engines import collect_engines

    gaps = GapLog()
    host = collect_host(gaps)
    processes = still_there(_others(collect_processes(gaps, table=table)), host)
    ahead = table["ahead"] if table else None
    host_mounts = collect_host_mounts(gaps, ahead=ahead)

    with ExitStack() as stack:
        tour = None
        if any(family in families for family in NETWORK):
            from hostinspect.collectors.tour import NetworkTour

            tour = NetworkTour(host, processes, host_mounts, families, health=health)
            stack.callback(tour.close)
            many = len({process.netns for process in processes}) >= MANY_NAMESPACES
            if many and tape.running is None and has_processor_to_spare():
                tour.begin(EVERYTHING if only is None else {host.netns})
        engines = collect_engines(host, processes, gaps, data_roots, mounts=host_mounts)
        asked = () if data_roots else host_mounts  # what a person names is asked, wherever it is
        # Containers say where to look. But whose a layer is is read after the layers, which may be made meanwhile.
        first = families if only is None or image_layers else ()
        records = records_of(engines, gaps, first, asked, image_layers=image_layers)
        containers = records.containers
        depth = depth_of(processes, containers, families, only, host.netns)
        if first != families:
            records = records_of(engines, gaps, families, asked, containers=containers, layers_of=depth.containers)
        if depth.strangers and "layers" not in families:
            layers = records_of(engines, gaps, ("layers",), asked, containers=containers).layers
            records = replace(records, layers=layers)
        pids = [record.pid for record in containers if record.pid]
        others = tour is not None and depth.netns is EVERYTHING
        mounts = collect_mounts(processes, host_mounts, gaps, pids=pids, whole=depth.mntns, others=others, ahead=ahead)
        frozen_cgroups = collect_frozen_cgroups(depth.processes, mounts, gaps) if "cgroups" in families else ()
        within = tuple(p for p in processes if p.netns in depth.netns) if "sockets" in families else ()
        holders = within if HOLDERS_ON_HOST in families else _likely_holders(within, host)
        sockets = OpenSockets(holders, gaps)
        if meanwhile:
            meanwhile()
        found = Tour()
        if tour:
            found = tour.result(depth.netns, lambda: filter(leads_to_namespaces, mounts[len(host_mounts) :]))
    network = found.network
    if not is_enough(network, depth, containers, host.netns):
        return collect(data_roots, families=families, image_layers=image_layers, health=health)
    gaps.extend(found.gaps)
    if network.ended:  # what was theirs when they were listed may be another's in all that was read since
        ended = frozenset(network.ended)
        processes = tuple(process for process in processes if process.pid not in ended)
    if in_own_pid_namespace(host, engines, processes, containers, gaps):
        host = replace(host, netns=None, mntns=None)  # those of our pid 1 are not the host's
    facts = Facts(
        host=host,
        engines=engines,
        sysctls=(*network.sysctls, *found.sysctls),
        processes=processes,
        frozen_cgroups=frozen_cgroups,
        network_namespaces=network.network_namespaces,
        nsids=network.nsids,
        links=network.links,
        addresses=network.addresses,
        routes=network.routes,
        listening_sockets=network.listening_sockets,
        socket_holders=sockets.holders_of(network.listening_sockets, host.netns, within),
        chains=found.chains,
        rules=found.rules,
        mounts=mounts,
        **asdict(records),
        gaps=gaps.as_tuple(),
    )
    if not health:
        return facts
    from hostinspect.collectors.health import collect_health

    return replace(facts, health=collect_health(facts, gaps), gaps=gaps.as_tuple())


def load(families: Container[object]) -> None:
    """Load what `collect` will need to read these, for a process that has nothing better to do yet."""
    import_module("hostinspect.collectors.engines")
    if any(family in families for family in NETWORK):
        import_module("hostinspect.collectors.tour")


def _others(processes: Sequence[Process]) -> tuple[Process, ...]:
    """All but hostinspect's own: this one, those that watch it, and what read ahead for it."""
    parents = {process.pid: process.ppid for process in processes}
    own = [_own_pid()]
    for _ in range(waiting.page.above if waiting.page else 0):
        own.append(parents.get(own[-1], 0))
    return tuple(process for process in processes if process.pid not in own and process.ppid != own[0])


def _likely_holders(processes: Sequence[Process], host: Host) -> list[Process]:
    """Those of containers, in whatever namespace."""
    outside = (host.netns, host.mntns)
    of_containers = {cgroups: any(map(container_cgroup, cgroups)) for cgroups in {p.cgroups for p in processes}}
    return [p for p in processes if (p.netns, p.mntns) != outside or of_containers[p.cgroups]]


def _own_pid() -> int:
    """Our pid, as /proc has it: it may be that of a pid namespace around ours."""
    with suppress(OSError, ValueError):
        return int(os.readlink("/proc/self"))
    return os.getpid()


def records_of(
    engines: Iterable[Engine],
    gaps: GapLog,
    families: Container[object],
    mounts: Sequence[MountPoint] = (),
    *,
    image_layers: bool = False,
    containers: Iterable[ContainerRecord] | None = None,
    layers_of: Container[str] | None = None,
    root: str = "",
) -> EngineRecords:
    """What the engines wrote down, as one; `root` is where the disk that they are on is mounted.

    `containers` are not read again, and layers only of those whose id is in `layers_of`, if they are given. What is on
    one of `mounts` that may not answer is not asked.
    """
    from hostinspect.collectors.engines import EngineRecords, collect_records

    every = [
        collect_records(
            engine,
            gaps,
            root,
            mounts=mounts,
            families=families,
            image_layers=image_layers,
            containers=None if containers is None else [c for c in containers if c.data_root == engine.data_root],
            layers_of=layers_of,
        )
        for engine in engines
    ]
    return EngineRecords(
        **{family: tuple(chain(*(getattr(r, family) for r in every))) for family in EngineRecords.__struct_fields__}
    )
