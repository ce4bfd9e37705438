"""A pid is given to another process as soon as one has ended: only the start time tells them apart."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.mounts import collect_mounts
from hostinspect.collectors.processes import collect_processes, still_there
from hostinspect.collectors.sockets import OpenSockets
from hostinspect.facts import Host, ListeningSocket, Process, SocketHolder
from hostinspect.kernel import procfs


@pytest.fixture
def ours() -> Process:
    return next(process for process in collect_processes(GapLog()) if process.pid == os.getpid())


@pytest.fixture
def inode() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Path(f"/proc/self/fd/{listening.fileno()}").stat().st_ino


def test_sockets_are_of_the_process_that_was_listed(ours: Process, inode: int) -> None:
    sockets = [
        ListeningSocket(netns=ours.netns or 0, family="ipv4", proto="tcp", address="127.0.0.1", port=1, inode=inode)
    ]
    assert OpenSockets([ours], GapLog()).holders_of(sockets) == (SocketHolder(inode=inode, pid=ours.pid),)
    another = replace(ours, starttime=ours.starttime - 1)
    assert OpenSockets([another], GapLog()).holders_of(sockets) == ()


def test_mounts_are_of_the_process_that_was_listed(ours: Process) -> None:
    assert collect_mounts([ours], (), GapLog(), pids=[ours.pid])
    another = replace(ours, starttime=ours.starttime - 1)
    assert collect_mounts([another], (), GapLog(), pids=[ours.pid]) == ()


def test_of_two_processes_whose_namespaces_have_one_number_the_one_that_ended_is_left_out(ours: Process) -> None:
    host = Host(hostname="h", kernel="6.1", collected_at="2026-01-01T00:00:00Z", netns=1, mntns=2)
    of_container = replace(ours, netns=77, mntns=78, cgroups=(f"/docker/{'ab' * 32}",))
    ended = replace(of_container, pid=2**22 - 1)
    others = replace(of_container, cgroups=("/",))
    given_anew = replace(others, starttime=ours.starttime - 1)
    assert still_there([ended, others], host) == (others,)
    assert still_there([ended, replace(others, netns=79)], host) == (replace(others, netns=79),)
    assert still_there([ended, replace(others, netns=79, mntns=80)], host)[0] == ended, "nothing is in doubt"
    assert still_there([replace(ended, pid=1), given_anew], host) == (), "neither is the process that was listed"


def test_namespaces_of_the_host_and_of_one_container_are_not_in_doubt(ours: Process) -> None:
    host = Host(hostname="h", kernel="6.1", collected_at="2026-01-01T00:00:00Z", netns=1, mntns=2)
    gone = [2**22 - 1, 2**22 - 2]
    services = [replace(ours, pid=pid, netns=1, mntns=2, cgroups=("/",)) for pid in gone]
    members = [replace(ours, pid=pid, netns=77, mntns=78, cgroups=(f"/docker/{'ab' * 32}/{pid}",)) for pid in gone]
    unread = [replace(ours, pid=pid, netns=None, mntns=None) for pid in gone]
    for processes in (services, members, unread):
        assert still_there(processes, host) == tuple(processes)


def test_a_zombie_is_in_no_namespace(ours: Process) -> None:
    host = Host(hostname="h", kernel="6.1", collected_at="2026-01-01T00:00:00Z", netns=1, mntns=2)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    zombie = replace(ours, pid=pid, starttime=procfs.stat_of(pid).starttime)
    assert still_there([zombie, ours], host) == (ours,)
    os.waitpid(pid, 0)
