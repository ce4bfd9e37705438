"""Every process: who it is, whose child, in which namespaces and cgroups."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hostinspect.collectors.gaps import OTHER_PROC, PERMISSION, GapLog
from hostinspect.collectors.proc import opened
from hostinspect.engines.programs import ENGINE_COMMS
from hostinspect.facts import ContainerRecord, Engine, Host, Process
from hostinspect.kernel import process_table, procfs
from hostinspect.kernel.text import text
from hostinspect.kernel.waiting import NoAnswerError

if TYPE_CHECKING:
    from hostinspect.kernel.process_table import Table, Why

COLLECTOR = "processes"

_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO (include/linux/proc_ns.h)
_INTO_THE_HOST = (
    "run it with the host's processes (docker run --pid=host), "
    "or, with the host's /proc at DIR, by nsenter --mount=DIR/1/ns/mnt --net=DIR/1/ns/net --uts=DIR/1/ns/uts"
)

_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_CONTAINER_CGROUP = re.compile(rf".*{_CONTAINER_ID.pattern}[^/]*", re.DOTALL)


def container_cgroup(path: str) -> str | None:
    r"""The container's own cgroup that `path` is or is in: up to the last component with a 64-hex id, else None.

    >>> container_cgroup("/system.slice/docker-" + "ab" * 32 + ".scope/init").endswith("ab.scope")
    True
    >>> container_cgroup("/user.slice/user-1000.slice") is None
    True
    """
    found = _CONTAINER_CGROUP.match(path)
    return found.group() if found else None


def container_ids(cgroups: Iterable[str]) -> list[str]:
    """The 64-hex ids in cgroup paths, the outermost of each path first."""
    return [id_ for path in cgroups for id_ in _CONTAINER_ID.findall(path)]


def collect_processes(gaps: GapLog, proc: str = "/proc", table: Table | None = None) -> tuple[Process, ...]:
    """All processes of the procfs at `proc`, by pid; it is not read again where `table` is what was just read of it.

    One that ends while it is read is left out, and is no gap. A zombie has no namespaces any more; a kernel thread is
    in none of interest: of both only stat is certain. Where namespaces may not be seen (EACCES without ptrace access)
    the process is there without them; what is refused becomes one gap each, with a count.
    """
    if table is not None:
        return _records(table, proc, gaps)
    with opened(proc, COLLECTOR, gaps) as fd:
        if fd is None:
            return ()
        return _records(process_table.read(fd, ENGINE_COMMS), proc, gaps)


def still_there(processes: Sequence[Process], host: Host, proc: str = "/proc") -> tuple[Process, ...]:
    """`processes` without those that ended while others were listed, so far as others could be taken for them.

    The number of a namespace is given to another as soon as it is gone: two processes whose namespaces have the same
    are in the same one for certain where both are there afterwards. The host's namespaces are never gone; and in one
    that only a container's processes are in, there is nobody to take for another.
    """
    container_of: dict[tuple[str, ...], str | None] = {}
    inside: dict[int, dict[int, Process]] = {}  # by number, of either kind (nsfs numbers all of them), and pid
    whose: dict[int, set[str | int]] = {}
    of_host = (host.netns, host.mntns)
    for process in processes:
        for inode in (process.netns, process.mntns):
            if inode is None or inode in of_host:
                continue
            if process.cgroups not in container_of:
                container_of[process.cgroups] = next(iter(container_ids(process.cgroups)), None)
            inside.setdefault(inode, {})[process.pid] = process
            whose.setdefault(inode, set()).add(container_of[process.cgroups] or process.pid)
    in_doubt = {pid: one for inode, members in inside.items() if len(whose[inode]) > 1 for pid, one in members.items()}
    ended = {pid for pid, process in in_doubt.items() if _has_ended(process, proc)}
    return tuple(process for process in processes if process.pid not in ended)


def _has_ended(process: Process, proc: str) -> bool:
    """Whether it is gone, or a zombie, which has no namespaces any more."""
    try:
        now = procfs.stat_of(process.pid, proc)
    except procfs.GONE:
        return True
    except (OSError, ValueError):
        return False
    return now.starttime != process.starttime or now.has_ended


def in_own_pid_namespace(
    host: Host,
    engines: Iterable[Engine],
    processes: Iterable[Process],
    containers: Iterable[ContainerRecord],
    gaps: GapLog,
    proc: str = "/proc",
) -> bool:
    """Whether all of this host's processes are hidden, since hostinspect is in a container of its own: a gap says so.

    What is then in its /proc is a whole host's, to look at. But the engine's files name containers that were started
    since the machine was, and neither the daemon is there nor any of theirs; had they all ended, on a machine in whose
    first pid namespace we are, there would be no doubt.
    """
    if any(engine.pid for engine in engines) or host.boot_time is None:
        return False
    booted = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(host.boot_time))
    running = {c.id for c in containers if c.running and c.pid and (c.started_at or "") > booted}
    if not running or any(id_ in path for process in processes for path in process.cgroups for id_ in running):
        return False
    try:
        if os.stat(f"{proc}/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE:
            return False
    except OSError:
        return False
    subject = f"processes of {len(running)} containers and of their daemon"
    why = "none is there, though all should be: hostinspect is in a pid namespace of its own"
    gaps.add(COLLECTOR, subject, why, _INTO_THE_HOST)
    return True


def _error(why: Why) -> OSError | str:
    """What a gap is made of."""
    number, words, is_unanswered = why
    return NoAnswerError(words) if is_unanswered else words if number is None else OSError(number, words)


def _records(table: Table, proc: str, gaps: GapLog) -> tuple[Process, ...]:
    """The records of what was read, and a gap for what could not be."""
    if not table["is_ours"]:
        why = "it is no proc file system, or of a pid namespace that hostinspect is not in"
        gaps.add(COLLECTOR, proc, why, OTHER_PROC)
    if table["unlisted"]:
        gaps.add(COLLECTOR, proc, _error(table["unlisted"]))
        return ()
    if not table["has_init"]:
        gaps.add(COLLECTOR, proc, "pid 1 is not in it: other users' processes are hidden (hidepid)", PERMISSION)
    processes: list[Process] = []
    refused: list[tuple[str, ...]] = []  # cgroups of those whose namespaces may not be seen
    silent: list[tuple[int, tuple[str, ...], str]] = []  # pids and cgroups of those with unknown arguments, and why
    paths: dict[bytes | None, tuple[str, ...]] = {None: ()}  # a container's processes have the same cgroup file
    for pid, ppid, comm, state, starttime, netns, mntns, cgroup, cmdline, is_refused, unanswered in table["rows"]:
        cgroups = paths.get(cgroup)
        if cgroups is None:
            try:
                # A cgroup is usually the same in all hierarchies; dict keeps their order.
                cgroups = paths[cgroup] = tuple(dict.fromkeys(procfs.parse_cgroup(cgroup or b"")))
            except ValueError as error:
                gaps.add(COLLECTOR, f"{proc}/{pid}", str(error))
                continue
        if is_refused:
            refused.append(cgroups)
        if unanswered is not None:
            silent.append((pid, cgroups, unanswered))
        processes.append(
            Process(
                pid=pid,
                ppid=ppid,
                comm=text(comm),
                state=state,
                starttime=starttime,
                netns=netns,
                mntns=mntns,
                cgroups=cgroups,
                cmdline=None if cmdline is None else procfs.parse_cmdline(cmdline),
            )
        )
    for pid, failure in table["failed"]:
        gaps.add(COLLECTOR, f"{proc}/{pid}", _error(failure))
    if table["hidden"]:
        gaps.add(COLLECTOR, f"{len(table['hidden'])} processes", "Permission denied (hidepid)", PERMISSION)
    if refused:
        # Some pid 1 is out of reach of root too, when that may do more than we; then the answer stands without it.
        of_container = any(container_cgroup(path) for cgroups in refused for path in cgroups)
        subject = f"namespaces of {len(refused)} processes"
        gaps.add(COLLECTOR, subject, "Permission denied", PERMISSION, minor=not of_container)
    for pid, cgroups, words in silent:  # a daemon in a container is that container's affair
        minor = any(map(container_cgroup, cgroups))
        gaps.add("engines", f"{proc}/{pid}/cmdline", NoAnswerError(words), minor=minor)
    return tuple(processes)
