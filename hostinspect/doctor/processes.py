"""Main processes and shims."""

from __future__ import annotations

import re

from hostinspect.correlate.runtime import recorded_state
from hostinspect.doctor.check import Checked, Found, check, word
from hostinspect.doctor.containers import just_now
from hostinspect.doctor.patient import RECORDS, Patient
from hostinspect.facts import Process

_ID = re.compile(r"[0-9a-f]{64}")
_NAMESPACES = ("moby", "")  # of containerd, in which docker has its containers; "": before containerd had any


@check("main-process-zombie", "error", needs=(*RECORDS, "processes"))
def zombie(patient: Patient) -> Checked:
    """A container's main process has ended, and nobody has taken note.

    It stays a zombie until its parent, the shim, waits for it: the shim is stopped or hangs. To the engine it runs, and
    `docker stop` and `rm` hang.
    """
    for record in patient.facts.containers:
        process = patient.index.processes.get(record.pid or 0)
        if process is None or not process.has_ended or recorded_state(record) not in ("running", "paused"):
            continue
        parent = patient.index.processes.get(process.ppid)
        who = f"pid {process.ppid} ({parent.comm}, state {parent.state})" if parent else f"pid {process.ppid}"
        yield Found(
            "container",
            record.name,
            f"the main process of {record.name} (pid {process.pid}) is a zombie",
            f"kill -CONT {process.ppid}; if that does not help: kill -KILL {process.ppid}",
            (f"its parent is {who}",),
        )


@check("main-process-stuck", "error", needs=(*RECORDS, "processes", "stuck processes"))
def stuck(patient: Patient) -> Checked:
    """A container's main process waits in the kernel and cannot be interrupted.

    State D in two looks, without having run in between: it waits for a disk or a server that does not answer, and no
    signal ends it. `docker stop` and `kill` hang.
    """
    by_pid = {record.pid: record for record in patient.facts.containers if record.pid}
    for found in patient.health.stuck:
        record = by_pid.get(found.pid)
        if record is not None:
            yield Found(
                "container",
                record.name,
                f"the main process of {record.name} (pid {found.pid}) waits and cannot be interrupted",
                f"cat /proc/{found.pid}/stack; dmesg | tail",
                (f"waits in {found.wchan}" if found.wchan else "where it waits is not shown",),
            )


@check("shim-without-container", "warning", needs=(*RECORDS, "processes"))
def shim_without_container(patient: Patient) -> Checked:
    """A containerd-shim is there for a container that is not.

    Either no engine has a record of it, or the record says that it does not run and no process of it is left. It holds
    mounts and memory, and the container's next start may fail with "already exists".
    """
    for process in patient.facts.processes:
        id_ = _container_of_shim(process)
        record = patient.index.records.get(id_ or "")
        if id_ is None or (record is not None and id_ in patient.index.processes_by_container):
            continue
        if record is not None and (
            recorded_state(record) not in ("exited", "dead", "created") or just_now(patient, record.finished_at)
        ):
            continue
        whose = f"{record.name}, which does not run" if record else f"container {id_[:12]}, of which there is no record"
        yield Found(
            "process",
            f"containerd-shim {process.pid}",
            f"containerd-shim {process.pid} is there for {whose}",
            f"kill {process.pid}",
            (f"pid {process.pid}, state {process.state}, -id {id_}",),
        )


def _container_of_shim(process: Process) -> str | None:
    """The id of the container of docker's that a shim is there for."""
    if process.comm not in ("containerd-shim", "docker-containe") or not process.cmdline:
        return None
    options = dict(zip(process.cmdline[1:], process.cmdline[2:], strict=False))
    id_ = options.get("-id", "")
    return id_ if _ID.fullmatch(id_) and options.get("-namespace", "") in _NAMESPACES else None


@check("shim-missing", "error", needs=(*RECORDS, "processes"))
def shim_missing(patient: Patient) -> Checked:
    """A container runs, and its containerd-shim is gone.

    The container goes on, but nobody will note when it ends, and `docker stop`, `exec` and `logs` fail. The shim was
    killed, by the out-of-memory killer perhaps.
    """
    shims = {id_ for process in patient.facts.processes if (id_ := _container_of_shim(process))}
    if not any(process.comm == "containerd-shim" for process in patient.facts.processes) and not _uses_shims(patient):
        return  # another runtime
    for container in patient.running:
        main = patient.index.processes.get(container.pid or 0)
        parent = patient.index.processes.get(main.ppid) if main else None
        is_recorded = recorded_state(patient.record(container)) in ("running", "paused")
        if main is None or not is_recorded or container.id in shims or (parent is not None and parent.comm in _PARENTS):
            continue
        yield Found(
            "container",
            container.name,
            f"{container.name} runs, and its containerd-shim is gone",
            f"kill {container.pid}; {patient.docker(container, f'start {word(container.name)}')}",
            (f"pid {main.pid} is a child of {f'{parent.comm} ({parent.pid})' if parent else main.ppid}",),
        )


_PARENTS = ("containerd-shim", "docker-containe", "conmon", "crun", "runc")


def _uses_shims(patient: Patient) -> bool:
    """Whether a main process's parent is the init of the host, to which those go whose shim is gone."""
    mains = [patient.index.processes.get(container.pid or 0) for container in patient.running]
    return any(main is not None and main.ppid == 1 for main in mains)
