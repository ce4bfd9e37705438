"""That something changed, as the kernel says it by itself: netlink groups, poll(2) of mountinfo, pidfd_open(2).

An event says that it is time to look again, never what there is to be seen: messages are counted and thrown away, so
that it costs little to take them and nothing to lose them. Where the kernel has lost some, it says so (ENOBUFS).

    >>> with Events() as events:
    ...     events.follow([os.getpid()])
    ...     events.take()
    Taken(causes=(), messages=0, overrun=False)
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from hostinspect.kernel.modules import is_present
from hostinspect.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE

# include/uapi/linux/rtnetlink.h, nfnetlink.h: numbers of groups, for netlink(7)'s NETLINK_ADD_MEMBERSHIP
RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 1, 5, 7, 9, 11
RTNLGRP_NSID = 28
NFNLGRP_NFTABLES = 7
_ROUTE_GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NSID,
)
_SOL_NETLINK, _ADD_MEMBERSHIP, _LISTEN_ALL_NSID = 270, 1, 8

_AT_ONCE = 512  # messages that are taken of a socket at a time: a flood is left to overrun
_DESCRIPTORS_LEFT = 64  # for the look at the host, which needs few

NETWORK, RULES, MOUNTS, PROCESSES = "network", "rules", "mounts", "processes"


class Taken(NamedTuple):
    """What the kernel has said since it was last asked."""

    causes: tuple[str, ...]  # NETWORK, RULES, MOUNTS, PROCESSES: of what there was something
    messages: int  # of netlink
    overrun: bool  # some were lost


class Events:
    """Everything that is listened to, in the network namespace that the thread is in. A context manager.

    `receive_buffer` is in bytes, of each netlink socket; the kernel's own default where it is None. Nothing is loaded
    for it: nftables are listened to from when they are there. Raises OSError where there is no route netlink.
    """

    def __init__(self, proc: str = "/proc", receive_buffer: int | None = None) -> None:
        self._receive_buffer = receive_buffer
        self._poll = select.poll()
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._pidfds: dict[int, int] = {}  # by pid
        self._mountinfo: int | None = None
        self._mounts_changed = False
        self.everywhere = True  # events of all namespaces that have an id here, not of this one alone
        try:
            self._listen(NETWORK, NETLINK_ROUTE, _ROUTE_GROUPS)
            self.listen_to_rules()
            self._open_mountinfo(proc)
        except BaseException:
            self.close()
            raise

    def listen_to_rules(self) -> bool:
        """Listen to nftables where they are loaded; whether they are. To be asked again now and then."""
        if any(cause == RULES for cause, _ in self._sockets.values()):
            return True
        if not (is_present("nfnetlink") and is_present("nf_tables")):
            return False
        try:
            self._listen(RULES, NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))
        except OSError:  # without CAP_NET_ADMIN, since Linux 5.15
            return False
        return True

    def _listen(self, cause: str, protocol: int, groups: Iterable[int]) -> None:
        listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            listening.setblocking(False)
            if self._receive_buffer is not None:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            try:
                listening.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
            except OSError:  # without CAP_NET_BROADCAST
                self.everywhere &= cause != NETWORK
            listening.bind((0, 0))  # one without an address is told nothing
            for group in groups:
                try:
                    listening.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # a group that this kernel does not have yet
                        raise
        except BaseException:
            listening.close()
            raise
        self._sockets[listening.fileno()] = (cause, listening)
        self._poll.register(listening.fileno(), select.POLLIN)

    def _open_mountinfo(self, proc: str) -> None:
        """proc_pid_mountinfo(5): poll(2) tells POLLPRI and POLLERR once for each change of the mount table."""
        for path in (f"{proc}/1/mountinfo", f"{proc}/self/mountinfo"):
            with suppress(OSError):
                self._mountinfo = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._poll.register(self._mountinfo, select.POLLPRI)
                return

    def follow(self, pids: Iterable[int]) -> None:
        """Be told when these processes end, and no others; as many as there are descriptors for (getrlimit(2))."""
        wanted = {*pids}
        for pid in [pid for pid in self._pidfds if pid not in wanted]:
            self._forget(pid)
        for pid in sorted(wanted - self._pidfds.keys()):
            if len(self._pidfds) >= _descriptors() - _DESCRIPTORS_LEFT:
                return
            with suppress(OSError):  # it has ended, or an old kernel: the next look will tell
                pidfd = os.pidfd_open(pid)
                self._pidfds[pid] = pidfd
                self._poll.register(pidfd, select.POLLIN)

    def _forget(self, pid: int) -> None:
        pidfd = self._pidfds.pop(pid)
        self._poll.unregister(pidfd)
        os.close(pidfd)

    def wait(self, seconds: float) -> bool:
        """Wait until something is there to be taken, for so long at most; whether there is."""
        return bool(self._ready(seconds)) or self._mounts_changed

    def take(self) -> Taken:
        """All that is there by now, without waiting."""
        causes: dict[str, None] = {}
        messages, overrun = 0, False
        by_descriptor = {pidfd: pid for pid, pidfd in self._pidfds.items()}
        for descriptor in self._ready(0):
            if descriptor in by_descriptor:
                self._forget(by_descriptor[descriptor])
                causes[PROCESSES] = None
                continue
            cause, listening = self._sockets[descriptor]
            taken, lost = _drain(listening)
            messages += taken
            overrun |= lost
            causes[cause] = None
        if self._mounts_changed:
            causes[MOUNTS] = None
            self._mounts_changed = False
        return Taken(tuple(causes), messages, overrun)

    def _ready(self, seconds: float) -> list[int]:
        """The descriptors with something to be taken. The mount table tells poll(2) once only, so that is noted."""
        ready = [descriptor for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000)]
        if self._mountinfo in ready:
            ready.remove(self._mountinfo)
            self._mounts_changed = True
        return ready

    def close(self) -> None:
        """Listen no more."""
        for pid in [*self._pidfds]:
            self._forget(pid)
        for _, listening in self._sockets.values():
            listening.close()
        self._sockets.clear()
        if self._mountinfo is not None:
            os.close(self._mountinfo)
            self._mountinfo = None

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drain(listening: socket.socket) -> tuple[int, bool]:
    """Throw away what a socket has: how many messages that were, and whether others were lost before."""
    taken, lost = 0, False
    while taken < _AT_ONCE:
        try:
            listening.recv(1)  # the rest of a datagram goes with its beginning
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            lost = True
            continue
        taken += 1
    return taken, lost


def _descriptors() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
