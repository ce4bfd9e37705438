"""Every process: who it is, whose child, in which namespaces and cgroups."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable

from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.collectors.proc import opened
from hostinspect.facts import ContainerRecord, Engine, Host, Process
from hostinspect.kernel import procfs
from hostinspect.kernel.text import text
from hostinspect.kernel.waiting import NoAnswerError

COLLECTOR = "processes"

_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO (include/linux/proc_ns.h)
_INTO_THE_HOST = (
    "run it with the host's processes (docker run --pid=host), "
    "or, with the host's /proc at DIR, by nsenter --mount=DIR/1/ns/mnt --net=DIR/1/ns/net --uts=DIR/1/ns/uts"
)

# Whose arguments say something about an engine: its data root, its socket, a published port. Compared with comm, which
# has 15 bytes at most. Others' arguments are not read: they may hold secrets and reading them waits for their memory.
ENGINE_COMMS = frozenset(
    (
        b"dockerd",
        b"docker-proxy",
        b"containerd",
        b"containerd-shim",  # -runc-v1, -runc-v2, cut
        b"docker-containe",  # docker-containerd and its shim, before 18.09
        b"rootlesskit",
        b"rootlessport",
        b"slirp4netns",
        b"podman",
        b"conmon",
    )
)

CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_CONTAINER_CGROUP = re.compile(rf".*{CONTAINER_ID.pattern}[^/]*", re.DOTALL)


def container_cgroup(path: str) -> str | None:
    r"""The container's own cgroup that `path` is or is in: up to the last component with a 64-hex id, else None.

    >>> container_cgroup("/system.slice/docker-" + "ab" * 32 + ".scope/init").endswith("ab.scope")
    True
    >>> container_cgroup("/user.slice/user-1000.slice") is None
    True
    """
    found = _CONTAINER_CGROUP.match(path)
    return found.group() if found else None


def collect_processes(gaps: GapLog, proc: str = "/proc") -> tuple[Process, ...]:
    """All processes of the procfs at `proc`, by pid.

    One that ends while it is read is left out, and is no gap. A zombie has no namespaces any more; a kernel thread is
    in none of interest: of both only stat is certain. Where namespaces may not be seen (EACCES without ptrace access)
    the process is there without them; what is refused becomes one gap each, with a count.
    """
    with opened(proc, COLLECTOR, gaps) as fd:
        if fd is None:
            return ()
        _check(fd, proc, gaps)
        return _collect(fd, proc, gaps)


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


def _check(fd: int, proc: str, gaps: GapLog) -> None:
    """Note what is not as it should be about the procfs itself: another pid namespace, or processes hidden."""
    if procfs.own_pid(fd) is None:
        why = "it is no proc file system, or of a pid namespace that hostinspect is not in"
        gaps.add(COLLECTOR, proc, why, "enter the host's pid namespace too (nsenter -p), or mount its /proc")


def _collect(fd: int, proc: str, gaps: GapLog) -> tuple[Process, ...]:
    processes: list[Process] = []
    hidden = 0  # whose stat may not be read (hidepid=noaccess)
    refused: list[tuple[str, ...]] = []  # cgroups of those whose namespaces may not be seen
    silent: list[tuple[int, tuple[str, ...], NoAnswerError]] = []  # pids and cgroups of those with unknown arguments
    paths: dict[bytes, tuple[str, ...]] = {}  # a container's processes have the same cgroup file
    try:
        pids = procfs.pids(fd)
    except OSError as error:
        gaps.add(COLLECTOR, proc, error)
        return ()
    if pids and 1 not in pids:
        gaps.add(COLLECTOR, proc, "pid 1 is not in it: other users' processes are hidden (hidepid)", PERMISSION)
    for pid in pids:
        try:
            process = procfs.open_process(fd, pid)
        except procfs.GONE:
            continue
        try:
            record = _process(process, paths, refused, silent)
        except procfs.GONE:
            continue
        except PermissionError:
            hidden += 1
            continue
        except (OSError, ValueError) as error:
            gaps.add(COLLECTOR, f"{proc}/{pid}", error if isinstance(error, OSError) else str(error))
            continue
        finally:
            os.close(process)
        processes.append(record)
    if hidden:
        gaps.add(COLLECTOR, f"{hidden} processes", "Permission denied (hidepid)", PERMISSION)
    if refused:
        # Some pid 1 is out of reach of root too, when that may do more than we; then the answer stands without it.
        of_container = any(container_cgroup(path) for cgroups in refused for path in cgroups)
        subject = f"namespaces of {len(refused)} processes"
        gaps.add(COLLECTOR, subject, "Permission denied", PERMISSION, minor=not of_container)
    for pid, cgroups, unanswered in silent:  # a daemon in a container is that container's affair
        gaps.add("engines", f"{proc}/{pid}/cmdline", unanswered, minor=any(map(container_cgroup, cgroups)))
    return tuple(processes)


def _process(
    process: int,
    paths: dict[bytes, tuple[str, ...]],
    refused: list[tuple[str, ...]],
    silent: list[tuple[int, tuple[str, ...], NoAnswerError]],
) -> Process:
    stat = procfs.stat(process)
    if stat.flags & procfs.PF_KTHREAD:
        return Process(pid=stat.pid, ppid=stat.ppid, comm=text(stat.comm), state=stat.state, starttime=stat.starttime)
    raw = procfs.read("cgroup", process)
    cgroups = paths.get(raw)
    if cgroups is None:
        # A cgroup is usually the same in all hierarchies; dict keeps their order.
        cgroups = paths[raw] = tuple(dict.fromkeys(entry.path for entry in procfs.parse_cgroup(raw)))
    netns = mntns = None
    try:
        netns = procfs.namespace(process, "net")
        mntns = procfs.namespace(process, "mnt")
    except PermissionError:
        refused.append(cgroups)
    except procfs.GONE:
        pass  # a zombie, or it became one
    cmdline = None
    if stat.comm in ENGINE_COMMS:
        try:
            cmdline = procfs.cmdline(process)
        except NoAnswerError as error:
            silent.append((stat.pid, cgroups, error))
    return Process(
        pid=stat.pid,
        ppid=stat.ppid,
        comm=text(stat.comm),
        state=stat.state,
        starttime=stat.starttime,
        netns=netns,
        mntns=mntns,
        cgroups=cgroups,
        cmdline=cmdline,
    )
