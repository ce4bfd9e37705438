"""Which processes hold a listening socket open."""

from __future__ import annotations

import os
from array import array
from collections.abc import Container, Iterable

from hostinspect.collectors.gaps import PERMISSION, GapLog
from hostinspect.collectors.proc import opened
from hostinspect.facts import RESOLVER, ListeningSocket, Process, SocketHolder
from hostinspect.kernel import procfs, waiting

COLLECTOR = "sockets"


class OpenSockets:
    """Which of `processes` has which sockets open (/proc/PID/fd).

    A socket may have several holders, and they may be in other namespaces than it. Processes whose namespaces may not
    be seen are not looked at. One that ends meanwhile is left out; refused ones are one gap.
    """

    def __init__(self, processes: Iterable[Process], gaps: GapLog, proc: str = "/proc") -> None:
        # Pairs, in arrays: a proxy may have a million of them.
        self._inodes, self._pids = array("Q"), array("i")
        self._proc, self._gaps = proc, gaps
        self._starttimes: dict[int, int] = {}  # another's files may have been listed as theirs
        self._refused = 0
        self._look(processes)

    def _look(self, processes: Iterable[Process]) -> None:
        """Look at those that were not yet."""
        with opened(self._proc, COLLECTOR, self._gaps) as fd:
            if fd is not None:
                self._read_all(fd, processes)

    def _read_all(self, fd: int, processes: Iterable[Process]) -> None:
        for process in processes:
            if process.netns is None or process.pid in self._starttimes:
                continue
            self._starttimes[process.pid] = process.starttime
            try:
                self._read(fd, process.pid)
            except procfs.GONE:
                continue
            except PermissionError:
                self._refused += 1
            except OSError as error:
                self._gaps.add(COLLECTOR, f"{self._proc}/{process.pid}/fd", error)

    def _read(self, proc: int, pid: int) -> None:
        waiting.on("fd", f"/proc/{pid}/fd")
        directory = os.open(f"{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        try:
            for name in os.listdir(directory):
                try:
                    target = os.readlink(name, dir_fd=directory)
                except FileNotFoundError:
                    continue  # closed meanwhile
                if target.startswith("socket:["):
                    self._inodes.append(int(target[8:-1]))
                    self._pids.append(pid)
        finally:
            os.close(directory)

    def holders_of(
        self, sockets: Iterable[ListeningSocket], host: int | None = None, others: Iterable[Process] = ()
    ) -> tuple[SocketHolder, ...]:
        """A record for each process and each of `sockets` that it holds, by pid and inode.

        Where one outside of the namespace `host` is held by none of them, `others` are looked at too; but not for name
        servers: dockerd, which holds these, has more files open than all others. A process that has ended meanwhile is
        left out: its number may have been another's when its files were listed.
        """
        sockets = [socket for socket in sockets if socket.inode]
        wanted = {socket.inode for socket in sockets}
        pairs = self._pairs(wanted)
        held = {inode for _, inode in pairs}
        if any(s.inode not in held for s in sockets if s.netns != host and s.address != RESOLVER):
            self._look(others)
            pairs = self._pairs(wanted)
        if self._refused:
            self._gaps.add(COLLECTOR, f"open files of {self._refused} processes", "Permission denied", PERMISSION)
        same = {pid for pid in {pid for pid, _ in pairs} if self._is_same(pid)}
        return tuple(SocketHolder(inode=inode, pid=pid) for pid, inode in sorted(pairs) if pid in same)

    def _pairs(self, wanted: Container[int]) -> set[tuple[int, int]]:
        return {(pid, inode) for inode, pid in zip(self._inodes, self._pids, strict=True) if inode in wanted}

    def _is_same(self, pid: int) -> bool:
        try:
            return procfs.stat_of(pid, self._proc).starttime == self._starttimes[pid]
        except (OSError, ValueError):
            return False
