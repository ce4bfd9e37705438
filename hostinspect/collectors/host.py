"""The machine itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from hostinspect.collectors.gaps import GapLog
from hostinspect.facts import Host
from hostinspect.kernel import host, procfs

COLLECTOR = "host"

T = TypeVar("T")


def collect_host(gaps: GapLog, proc: str = "/proc", root: str = "") -> Host:
    """Name, kernel, system, boot and namespaces of the host; `root` is where its file system begins.

    Its namespaces are those of pid 1; ours where pid 1's may not be seen, which a minor gap says.
    """
    system = os.uname()
    fd = _or_gap(gaps, proc, lambda: procfs.open_proc(proc))
    try:
        netns, mntns = _namespaces(fd, proc, gaps)
        return Host(
            hostname=system.nodename,
            kernel=system.release,
            os=_or_gap(gaps, "/etc/os-release", lambda: host.os_release(root).get("PRETTY_NAME")),
            boot_id=_or_gap(gaps, f"{proc}/sys/kernel/random/boot_id", lambda: host.boot_id(proc)),
            collected_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            boot_time=_or_gap(gaps, f"{proc}/stat", lambda: procfs.btime(fd)) if fd is not None else None,
            clock_ticks=os.sysconf("SC_CLK_TCK"),
            netns=netns,
            mntns=mntns,
        )
    finally:
        if fd is not None:
            os.close(fd)


def _namespaces(fd: int | None, proc: str, gaps: GapLog) -> tuple[int | None, int | None]:
    if fd is None:
        return None, None
    for pid in ("1", "self"):
        try:
            process = os.open(pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        except OSError:
            continue
        try:
            return procfs.namespace(process, "net"), procfs.namespace(process, "mnt")
        except OSError as error:
            gaps.add(COLLECTOR, f"{proc}/{pid}/ns", error, minor=True)  # ours stand in for those of pid 1
        finally:
            os.close(process)
    return None, None


def _or_gap(gaps: GapLog, subject: str, ask: Callable[[], T]) -> T | None:
    """What `ask` answers; None, and a gap, when the host refuses."""
    try:
        return ask()
    except OSError as error:
        gaps.add(COLLECTOR, subject, error)
    except ValueError as error:
        gaps.add(COLLECTOR, subject, str(error))
    return None
