"""What is mounted on the host and in each container."""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Iterable, Iterator

from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.collectors.proc import opened
from hostinspect.collectors.processes import container_cgroup
from hostinspect.collectors.wanted import EVERYTHING
from hostinspect.facts import MountPoint, Process
from hostinspect.kernel import procfs
from hostinspect.kernel.filesystems import is_remote
from hostinspect.kernel.mountinfo import mountinfo

COLLECTOR = "mounts"
NSFS = "nsfs"


def collect_host_mounts(gaps: GapLog, proc: str = "/proc") -> tuple[MountPoint, ...]:
    """The mounts of the host's mount namespace: those that pid 1 sees, else those that we see."""
    with opened(proc, COLLECTOR, gaps) as fd:
        return () if fd is None else _host(fd, proc, gaps)


def collect_mounts(
    processes: Iterable[Process],
    host: tuple[MountPoint, ...],
    gaps: GapLog,
    proc: str = "/proc",
    pids: Iterable[int] = (),
    *,
    whole: Container[object] = EVERYTHING,
) -> tuple[MountPoint, ...]:
    """`host`, then the mounts of each mount namespace that a container's process is in, by its lowest pid.

    A container's process is one with a 64-hex id in its cgroup path, or of `pids`: those that an engine recorded, for
    engines that make no cgroups (rootless). Services with mounts of their own are no containers, and left out. A
    namespace whose processes all ended meanwhile has none. Of one that is not in `whole`, only those are kept that
    lead to namespaces.
    """
    with opened(proc, COLLECTOR, gaps) as fd:
        if fd is None:
            return ()
        return (*host, *_of_containers(fd, proc, processes, host, frozenset(pids), gaps, whole))


def leads_to_namespaces(mount: MountPoint) -> bool:
    """Whether it is one of a namespace, or may be on the way to one and not answer."""
    return mount.fstype == NSFS or is_remote(mount.fstype)


def candidates(
    processes: Iterable[Process], host: int | None, recorded: frozenset[int] = frozenset()
) -> dict[int, list[int]]:
    """The mount namespaces of containers, and the pids in each that they can be read through, ascending."""
    members: dict[int, list[int]] = {}
    theirs: dict[tuple[str, ...], bool] = {}  # there are fewer cgroups than processes
    for process in sorted(processes, key=lambda process: process.pid):
        if process.mntns is None or process.mntns == host:
            continue
        of_container = theirs.get(process.cgroups)
        if of_container is None:
            of_container = theirs[process.cgroups] = any(map(container_cgroup, process.cgroups))
        if of_container or process.pid in recorded:
            members.setdefault(process.mntns, []).append(process.pid)
    return members


def _of_containers(
    fd: int,
    proc: str,
    processes: Iterable[Process],
    host: tuple[MountPoint, ...],
    recorded: frozenset[int],
    gaps: GapLog,
    whole: Container[object],
) -> Iterator[MountPoint]:
    refused = 0
    processes = [*processes]
    starttimes = {process.pid: process.starttime for process in processes}
    for mntns, pids in candidates(processes, host[0].mntns if host else None, recorded).items():
        for pid in pids:
            try:
                mounts = _mounts(fd, pid, starttimes[pid], mntns, None if mntns in whole else NSFS)
                if mntns not in whole:
                    mounts = [mount for mount in mounts if leads_to_namespaces(mount)]
            except PermissionError:
                refused += 1
                break
            except (OSError, ValueError) as error:
                gaps.add(COLLECTOR, f"{proc}/{pid}/mountinfo", error if isinstance(error, OSError) else str(error))
                break
            if mounts:
                yield from mounts
                break
    if refused:
        gaps.add(COLLECTOR, f"mountinfo of {refused} mount namespaces", "Permission denied", PERMISSION)


def _host(fd: int, proc: str, gaps: GapLog) -> tuple[MountPoint, ...]:
    for pid in ("1", "self"):
        try:
            process = os.open(pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        except OSError:
            continue  # hidden, or no pid of ours here
        try:
            mntns = procfs.namespace(process, "mnt")
            return tuple(mountinfo(process, mntns))
        except PermissionError:
            continue
        except (OSError, ValueError) as error:
            gaps.add(COLLECTOR, f"{proc}/{pid}/mountinfo", error if isinstance(error, OSError) else str(error))
            continue
        finally:
            os.close(process)
    gaps.add(COLLECTOR, f"{proc}/1/mountinfo", "neither this nor our own can be read", PERMISSION)
    return ()


def _mounts(fd: int, pid: int, starttime: int, mntns: int, fstype: str | None) -> list[MountPoint]:
    """The mounts that `pid` sees, or those of a type; none when it has ended or is not in that namespace any more.

    Both its number and the namespace's may have been given to others since; its start time tells.
    """
    try:
        process = procfs.open_process(fd, pid)
    except procfs.GONE:
        return []
    try:
        if procfs.namespace(process, "mnt") != mntns or procfs.stat(process).starttime != starttime:
            return []
        return mountinfo(process, mntns, fstype)
    except procfs.GONE:
        return []
    except OSError as error:
        if error.errno == errno.EINVAL:  # it ended between the two, and is a zombie
            return []
        raise
    finally:
        os.close(process)
