"""What is mounted on the host and in each container."""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from hostinspect.collectors.gaps import PERMISSION, GapLog, remedy_of_own
from hostinspect.collectors.proc import opened
from hostinspect.collectors.processes import container_cgroup
from hostinspect.collectors.wanted import EVERYTHING
from hostinspect.facts import MountPoint, Process
from hostinspect.kernel import procfs
from hostinspect.kernel.filesystems import is_remote
from hostinspect.kernel.mountinfo import mounted_types, mountinfo, parse_mountinfo, parse_types
from hostinspect.kernel.remote import own_mounts

if TYPE_CHECKING:
    from hostinspect.kernel.process_table import Ahead

COLLECTOR = "mounts"
NSFS = "nsfs"


def collect_host_mounts(gaps: GapLog, proc: str = "/proc", ahead: Ahead | None = None) -> tuple[MountPoint, ...]:
    """The mounts of the host's mount namespace: those that pid 1 sees, else those that we see.

    What was read `ahead` is not read again.
    """
    for mntns, (pid, name, raw) in (ahead or {}).items():
        if pid == 1 and name == "mountinfo" and raw:
            with suppress(ValueError):  # which is told where it is read again
                return tuple(parse_mountinfo(raw, mntns))
    with opened(proc, COLLECTOR, gaps) as fd:
        return () if fd is None else _host(fd, proc, gaps)


def collect_own_mounts(collector: str, gaps: GapLog) -> Sequence[MountPoint] | None:
    """The mounts on our own way to a path, for `collector` to know what may not answer; None and a gap without them."""
    try:
        return own_mounts()
    except (OSError, ValueError) as error:
        why = error if isinstance(error, OSError) else str(error)
        gaps.add(collector, "/proc/self/mountinfo", why, remedy_of_own(error))
        return None


def collect_mounts(
    processes: Iterable[Process],
    host: tuple[MountPoint, ...],
    gaps: GapLog,
    proc: str = "/proc",
    pids: Iterable[int] = (),
    *,
    whole: Container[object] = EVERYTHING,
    others: bool = True,
    ahead: Ahead | None = None,
) -> tuple[MountPoint, ...]:
    """`host`, then the mounts of each mount namespace that a container's process is in, by its lowest pid.

    A container's process is one with a 64-hex id in its cgroup path, or of `pids`: those that an engine recorded, for
    engines that make no cgroups (rootless). Services with mounts of their own are no containers, and left out. A
    namespace whose processes all ended meanwhile has none. Of one that is not in `whole`, only those are kept that
    lead to namespaces; none without `others`. What was read `ahead` is not read again.
    """
    with opened(proc, COLLECTOR, gaps) as fd:
        if fd is None:
            return ()
        processes = [*processes]
        members = candidates(processes, host[0].mntns if host else None, frozenset(pids))
        if not others:
            members = {mntns: pids for mntns, pids in members.items() if mntns in whole}
        return (*host, *_of_containers(fd, proc, processes, members, gaps, whole, ahead or {}))


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
    members: dict[int, list[int]],
    gaps: GapLog,
    whole: Container[object],
    ahead: Ahead,
) -> Iterator[MountPoint]:
    refused = 0
    starttimes = {process.pid: process.starttime for process in processes}
    for mntns, pids in members.items():
        mounts = _read_ahead(ahead, mntns, pids, whole=mntns in whole)
        if mounts is not None:
            yield from mounts
            continue
        for pid in pids:
            try:
                mounts = _mounts(fd, pid, starttimes[pid], mntns, whole=mntns in whole)
            except PermissionError:
                refused += 1
                break
            except (OSError, ValueError) as error:
                gaps.add(COLLECTOR, f"{proc}/{pid}/mountinfo", error if isinstance(error, OSError) else str(error))
                break
            if mounts is not None:
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


def _read_ahead(ahead: Ahead, mntns: int, pids: Iterable[int], *, whole: bool) -> list[MountPoint] | None:
    """The same as `_mounts`, of what was read before; None where that does not do."""
    pid, name, raw = ahead.get(mntns, (0, "", b""))
    if not raw or pid not in pids:
        return None
    if name == "mountinfo" and whole:
        with suppress(ValueError):
            return parse_mountinfo(raw, mntns)
    if name == "mountstats" and not whole and NSFS not in parse_types(raw):
        return []
    return None


def _mounts(fd: int, pid: int, starttime: int, mntns: int, *, whole: bool) -> list[MountPoint] | None:
    """The mounts that `pid` sees, or those that lead to namespaces. None when it sees none, has ended, or is elsewhere.

    Both its number and the namespace's may have been given to others since; its start time tells. It is not asked for
    where there is nothing that leads to one: a namespace that was another's before is gone, with its mounts.
    """
    try:
        process = procfs.open_process(fd, pid)
    except procfs.GONE:
        return None
    try:
        if procfs.namespace(process, "mnt") != mntns:
            return None
        if not whole and NSFS not in (types := mounted_types(process)):
            return [] if types else None
        if procfs.stat(process).starttime != starttime:
            return None
        mounts = mountinfo(process, mntns)
        if whole:
            return mounts or None
        return [mount for mount in mounts if leads_to_namespaces(mount)]
    except procfs.GONE:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # it ended between the two, and is a zombie
            return None
        raise
    finally:
        os.close(process)
