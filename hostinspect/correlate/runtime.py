"""Whether a container runs, as which process, and in which namespaces: the record against the processes.

A disk has no processes to hold against it: there the state is the recorded one, and says so by a drift to nothing.
"""

from __future__ import annotations

from msgspec import Struct

from hostinspect.correlate.index import Index, normal_run_path
from hostinspect.facts import ContainerRecord, Process
from hostinspect.topology import ContainerState, Drift

_RUNC = "runc:["  # runc:[0:PARENT], [1:CHILD] and [2:INIT], until the last becomes the container's program


class Runtime(Struct, frozen=True):
    """A container as the kernel has it."""

    state: ContainerState
    main: Process | None  # the container's first process, while it runs
    netns: int | None
    cgroup: str | None
    drift: tuple[Drift, ...]
    as_recorded: bool = False  # it ran when the disk was taken: what the record says of that run is all there is


def runtime_of(index: Index, record: ContainerRecord) -> Runtime:
    """Join a record with its processes. Without any, a record that says running is drift, if all could be seen."""
    if index.facts.host.root is not None:
        return _of_disk(record)
    alive = [p for p in index.processes_by_container.get(record.id, []) if _is_in(index, record, p)]
    recorded = recorded_state(record)
    if not record.running and all(p.comm.startswith(_RUNC) for p in alive):
        alive = []  # it is being started: what will be its main process is none yet
    if not alive and index.is_process_hidden:
        return Runtime(recorded, None, None, None, ())
    if not alive:
        state: ContainerState = "exited" if recorded in ("running", "paused") else recorded
        return Runtime(state, None, None, None, _drift("state", recorded, state))
    main = next((p for p in alive if p.pid == record.pid), alive[0])
    state = "paused" if not index.frozen_paths.isdisjoint(main.cgroups) else "running"
    drift = _drift("state", recorded, state)
    if main.pid != record.pid:
        drift += (Drift(field="pid", recorded=str(record.pid) if record.pid else None, effective=str(main.pid)),)
    return Runtime(state, main, _netns(index, record, main), _cgroup(record, main), drift)


def _is_in(index: Index, record: ContainerRecord, process: Process) -> bool:
    """Whether a process in the container's cgroup lives, and has gone into the container.

    One of runc's that starts it, or `docker exec`'s, is in its cgroup before it is in its namespaces.
    """
    host_mntns = index.facts.host.mntns
    is_outside = process.mntns is not None and process.mntns == host_mntns and process.pid != record.pid
    return not process.has_ended and not is_outside


def _of_disk(record: ContainerRecord) -> Runtime:
    state = recorded_state(record)
    if not record.running:
        return Runtime(state, None, None, None, ())
    drift = [Drift(field="state", recorded=state, effective=None)]
    if record.pid is not None:
        drift.append(Drift(field="pid", recorded=str(record.pid), effective=None))
    return Runtime(state, None, None, None, tuple(drift), as_recorded=True)


def recorded_state(record: ContainerRecord) -> ContainerState:
    """The state in `docker inspect`'s words, from the record's flags (moby: container.State.StateString)."""
    if record.running:
        return "paused" if record.paused else "restarting" if record.restarting else "running"
    if record.removal_in_progress:
        return "removing"
    if record.dead:
        return "dead"
    return "created" if record.started_at is None else "exited"


def _drift(field: str, recorded: str, effective: str) -> tuple[Drift, ...]:
    return () if recorded == effective else (Drift(field=field, recorded=recorded, effective=effective),)


def _netns(index: Index, record: ContainerRecord, main: Process) -> int | None:
    """Of its main process; where that cannot be read, of the sandbox that the engine pinned for it."""
    if main.netns is not None or record.sandbox_key is None:
        return main.netns
    return index.netns_by_path.get(normal_run_path(record.sandbox_key))


def _cgroup(record: ContainerRecord, main: Process) -> str | None:
    return next((path for path in main.cgroups if record.id in path), next(iter(main.cgroups), None))
