"""What is read for a question: where to look closely."""

from __future__ import annotations

import pytest

from hostinspect.collectors.wanted import EVERYTHING, depth_of
from hostinspect.facts import Process
from tests.unit.factory import record

A, B, STRANGE = "a" * 64, "b" * 64, "c" * 64
HOST_NETNS, HOST_MNTNS = 1, 2


def process(pid: int, netns: int, mntns: int, *cgroups: str) -> Process:
    return Process(
        pid=pid, ppid=1, comm="x", state="S", starttime=pid, netns=netns, mntns=mntns, cgroups=cgroups or ("/",)
    )


HOSTS = process(1, HOST_NETNS, HOST_MNTNS)
IN_A = process(10, 11, 12, f"/docker/{A}")
IN_B = process(20, 21, 22, f"/docker/{B}/docker/{STRANGE}")  # a nested runtime's
RECORDS = (record(id=A, name="web", pid=10), record(id=B, name="db", pid=20))


def test_all_of_the_host() -> None:
    processes = (HOSTS, IN_A, IN_B)
    whole = depth_of(processes, RECORDS, EVERYTHING, (), HOST_NETNS)
    assert (whole.netns, whole.mntns, whole.processes) == (EVERYTHING, EVERYTHING, processes)
    without_mounts = depth_of(processes, RECORDS, ("links",), (), HOST_NETNS)
    assert (without_mounts.netns, without_mounts.mntns) == (EVERYTHING, set())


@pytest.mark.parametrize("name", ["web", "/web", A, "aa"])
def test_one_container(name: str) -> None:
    found = depth_of((HOSTS, IN_A, IN_B), RECORDS, EVERYTHING, (name,), HOST_NETNS)
    assert (found.netns, found.mntns, found.processes) == ({HOST_NETNS, 11}, {12}, (IN_A,))
    assert depth_of((HOSTS, IN_A, IN_B), RECORDS, ("links",), (name,), HOST_NETNS).mntns == set()


def test_a_name_that_several_may_mean_is_all_of_them() -> None:
    records = (RECORDS[0], record(id=B, name="aa", pid=20))
    found = depth_of((HOSTS, IN_A, IN_B), records, EVERYTHING, ("aa",), HOST_NETNS)
    assert found.netns == {HOST_NETNS, 11, 21}
    assert depth_of((HOSTS, IN_A, IN_B), records, EVERYTHING, ("nobody",), HOST_NETNS).netns == {HOST_NETNS}


@pytest.mark.parametrize(
    "stranger",
    [
        process(30, 31, 32, f"/docker/{STRANGE}"),  # no engine has a record of it
        process(20, 31, 32, "/user.slice"),  # an engine that makes no cgroups: its record has the pid
    ],
)
def test_whose_processes_are_is_found_by_their_mounts(stranger: Process) -> None:
    for only, names in ((("links",), ()), (("links",), ("web",)), (EVERYTHING, ("web",))):
        found = depth_of((HOSTS, IN_A, stranger), RECORDS, only, names, HOST_NETNS)
        assert found.strangers and 32 in found.mntns and 31 in found.netns and stranger in found.processes
