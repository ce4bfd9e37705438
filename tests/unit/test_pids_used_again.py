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
from hostinspect.collectors.processes import collect_processes
from hostinspect.collectors.sockets import OpenSockets
from hostinspect.facts import ListeningSocket, Process, SocketHolder


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
