"""Which processes hold a listening socket open."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.facts import ListeningSocket, Process, SocketHolder
from hostinspect.kernel import procfs

COLLECTOR = "sockets"


def collect_socket_holders(
    processes: Iterable[Process], sockets: Iterable[ListeningSocket], gaps: GapLog, proc: str = "/proc"
) -> tuple[SocketHolder, ...]:
    """A record for each process and each of `sockets` that it holds (/proc/PID/fd), by pid and inode.

    All processes are looked at that are in a namespace with one of `sockets`, and for the sockets of every namespace:
    dockerd, in the host's, holds those of its name servers in the containers' own. A socket may have several holders,
    so none of these processes can be passed over. One that ends meanwhile is left out; refused ones are one gap.
    """
    wanted = {f"socket:[{socket.inode}]": socket.inode for socket in sockets if socket.inode}
    namespaces = {socket.netns for socket in sockets if socket.inode}
    if not wanted:
        return ()
    try:
        fd = procfs.open_proc(proc)
    except OSError as error:
        gaps.add(COLLECTOR, proc, error)
        return ()
    found: list[SocketHolder] = []
    refused = 0
    try:
        for process in processes:
            if process.netns not in namespaces:
                continue
            try:
                held = _held(fd, process.pid, wanted)
            except procfs.GONE:
                continue
            except PermissionError:
                refused += 1
                continue
            except OSError as error:
                gaps.add(COLLECTOR, f"{proc}/{process.pid}/fd", error)
                continue
            found += [SocketHolder(inode=inode, pid=process.pid) for inode in sorted(held)]
    finally:
        os.close(fd)
    if refused:
        gaps.add(COLLECTOR, f"open files of {refused} processes", "Permission denied", PERMISSION)
    return tuple(found)


def _held(proc: int, pid: int, wanted: dict[str, int]) -> set[int]:
    """The inodes of those of `wanted`, named as /proc has them, that a process has open. Raises OSError."""
    directory = os.open(f"{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    held = set()
    try:
        for name in os.listdir(directory):  # noqa: PTH208 - a descriptor
            try:
                inode = wanted.get(os.readlink(name, dir_fd=directory))
            except FileNotFoundError:
                continue  # closed meanwhile
            if inode is not None:
                held.add(inode)
    finally:
        os.close(directory)
    return held
