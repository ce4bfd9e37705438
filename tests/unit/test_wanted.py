"""What is read for a question: where to look closely."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hostinspect.collectors.found import NetworkFacts
from hostinspect.collectors.wanted import EVERYTHING, depth_of, is_enough
from hostinspect.facts import Link, NetworkNamespace, Process, RecordedEndpoint
from hostinspect.questions.inspection import called
from tests.unit import factory
from tests.unit.factory import BRIDGE_ADDRESS, WEB_ADDRESS, WEB_NETNS, host_with_web, record

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
    whole = depth_of(processes, RECORDS, EVERYTHING, None, HOST_NETNS)
    assert (whole.netns, whole.mntns, whole.processes) == (EVERYTHING, EVERYTHING, processes)
    without_mounts = depth_of(processes, RECORDS, ("links",), None, HOST_NETNS)
    assert (without_mounts.netns, without_mounts.mntns) == (EVERYTHING, set())


@pytest.mark.parametrize("name", ["web", "/web", A, "aa"])
def test_one_container(name: str) -> None:
    found = depth_of((HOSTS, IN_A, IN_B), RECORDS, EVERYTHING, called([name]), HOST_NETNS)
    assert (found.netns, found.mntns, found.processes) == ({HOST_NETNS, 11}, {12}, (IN_A,))
    assert depth_of((HOSTS, IN_A, IN_B), RECORDS, ("links",), called([name]), HOST_NETNS).mntns == set()


def test_a_name_that_several_may_mean_is_all_of_them() -> None:
    records = (RECORDS[0], record(id=B, name="aa", pid=20))
    found = depth_of((HOSTS, IN_A, IN_B), records, EVERYTHING, called(["aa"]), HOST_NETNS)
    assert found.netns == {HOST_NETNS, 11, 21}
    assert depth_of((HOSTS, IN_A, IN_B), records, EVERYTHING, called(["nobody"]), HOST_NETNS).netns == {HOST_NETNS}


@pytest.mark.parametrize(
    "stranger",
    [
        process(30, 31, 32, f"/docker/{STRANGE}"),  # no engine has a record of it
        process(20, 31, 32, "/user.slice"),  # an engine that makes no cgroups: its record has the pid
    ],
)
def test_whose_processes_are_is_found_by_their_mounts(stranger: Process) -> None:
    for families, only in ((("links",), None), (("links",), called(["web"])), (EVERYTHING, called(["web"]))):
        found = depth_of((HOSTS, IN_A, stranger), RECORDS, families, only, HOST_NETNS)
        assert found.strangers and 32 in found.mntns and 31 in found.netns and stranger in found.processes


# --- whether what was read of some containers is enough -------------------------------------------------------------

HOST = host_with_web()
OTHER = record(id=B, name="db", pid=20, endpoints=(RecordedEndpoint(network="bridge", ip="172.17.0.3"),))
PINNED = NetworkNamespace(inode=WEB_NETNS, paths=("/run/docker/netns/a",), pids=(500,), entered=True)
LEADS_TO_ANOTHER = Link(netns=factory.HOST_NETNS, ifindex=15, ifname="veth2", kind="veth", link=14, link_netnsid=7)
FOUND = NetworkFacts(
    network_namespaces=(HOST.network_namespaces[0], PINNED),
    links=(*HOST.links, LEADS_TO_ANOTHER),
    nsids=HOST.nsids,
    addresses=(*HOST.addresses, replace(BRIDGE_ADDRESS, address="172.17.0.3")),
)


def enough(found: NetworkFacts, *names: str) -> bool:
    records = (*HOST.containers, OTHER)
    depth = depth_of(HOST.processes, records, EVERYTHING, called(names) if names else None, factory.HOST_NETNS)
    return is_enough(found, depth, records, factory.HOST_NETNS)


def test_what_a_container_has_is_enough() -> None:
    assert enough(FOUND, "web")


@pytest.mark.parametrize(
    "less",
    [
        replace(FOUND, nsids=HOST.nsids[:1]),  # its link leads to another container's namespace
        replace(FOUND, network_namespaces=HOST.network_namespaces),  # mounts of another's may tell what pins it
        replace(FOUND, addresses=(replace(WEB_ADDRESS, address="172.17.0.3"),)),  # which was given to another
    ],
)
def test_where_more_is_to_be_read(less: NetworkFacts) -> None:
    assert not enough(less, "web")
    assert enough(less)  # which is everything
