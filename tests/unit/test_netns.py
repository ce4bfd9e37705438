"""Network namespaces found in records of processes and mounts; what is at a path is not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.network import collect_network
from hostinspect.facts import MountPoint, Process
from hostinspect.kernel import netns, procfs
from hostinspect.kernel.netns import Found, LostError, VanishedError, Visitor, find

HOST = 4026531841  # a mount namespace, not our own
OURS = Path("/proc/thread-self/ns/mnt").stat().st_ino


def process(pid: int, netns: int | None, mntns: int | None = HOST) -> Process:
    return Process(pid=pid, ppid=1, comm="x", state="S", starttime=1, netns=netns, mntns=mntns)


def nsfs(path: str, root: str, mntns: int | None = HOST, fstype: str = "nsfs") -> MountPoint:
    return MountPoint(
        mntns=mntns,
        mount_id=2,
        parent_id=1,
        device="0:4",
        root=root,
        mount_point=path,
        options=("rw",),
        fstype=fstype,
        source="nsfs",
    )


def test_processes() -> None:
    found = find([process(9, 100), process(3, 100), process(4, 200), process(5, None)], (), directories=())
    assert found == {
        100: Found(100, pids=[3, 9], starttimes={3: 1, 9: 1}),
        200: Found(200, pids=[4], starttimes={4: 1}),
    }


def test_mounts_of_the_host() -> None:
    mounts = [
        nsfs("/run/docker/netns/1-abc", "net:[300]"),
        nsfs("/run/docker/netns/1-abc", "net:[300]"),
        nsfs("/run/x", "mnt:[301]"),
        nsfs("/run/y", "net:[302]", fstype="ext4"),
    ]
    found = find([process(1, 100)], mounts, HOST, directories=())
    assert found[300] == Found(300, paths=["/run/docker/netns/1-abc"], ways=["/proc/1/root/run/docker/netns/1-abc"])
    assert found.keys() == {100, 300}


def test_mounts_of_our_own_are_reached_directly() -> None:
    found = find([process(1, 100, OURS)], [nsfs("/run/netns/a", "net:[300]", OURS)], OURS, directories=())
    assert found[300].ways == ["/run/netns/a"]


def test_paths_elsewhere_count_where_the_host_has_none() -> None:
    processes = [process(1, 100), process(7, 100, 55)]
    mounts = [
        nsfs("/run/netns/a", "net:[300]"),
        nsfs("/host/run/netns/a", "net:[300]", 55),
        nsfs("/run/docker/netns/b", "net:[400]", 55),
    ]
    found = find(processes, mounts, HOST, directories=())
    assert found[300].paths == ["/run/netns/a"]
    assert found[300].ways == ["/proc/1/root/run/netns/a", "/proc/7/root/host/run/netns/a"]
    assert found[400].paths == ["/run/docker/netns/b"]


def test_a_file_in_a_directory_is_no_namespace_unless_it_is_of_nsfs(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/proc/self/ns/net")
    (tmp_path / "other").symlink_to("/proc/self/ns/mnt")
    assert find((), (), directories=(str(tmp_path), str(tmp_path / "missing"))) == {}


def test_what_is_at_a_path_now_is_not_what_was_found_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    inode = (tmp_path / "fifo").stat().st_ino
    with Visitor() as visitor:
        for namespace in (
            Found(inode, ways=[str(tmp_path / "fifo")]),  # of another file system: its inode says nothing
            Found(4711, ways=["/proc/self/ns/net", str(tmp_path / "missing"), "/proc/self/ns/net/x"]),
            Found(4711, pids=[os.getpid(), 2**22 - 1]),
        ):
            with pytest.raises(VanishedError):
                visitor.open(namespace)


def test_an_inode_is_the_same_namespace_where_a_process_that_was_in_it_still_is() -> None:
    pid, now = os.getpid(), os.open("/proc/self", os.O_PATH)
    starttime = procfs.stat(now).starttime
    os.close(now)
    with Visitor() as visitor:
        here, visitor.home = visitor.home, 0  # as if we had come from elsewhere
        for found, same in (
            (Found(here, pids=[2**22 - 1, pid], starttimes={pid: starttime}), True),
            (Found(here, pids=[pid], starttimes={pid: starttime - 1}, ways=["/proc/self/ns/net"]), False),
            (Found(here, ways=["/proc/self/ns/net"]), True),
        ):
            fd, answer = visitor.reach(found)
            os.close(fd)
            assert answer == same
        with pytest.raises(VanishedError):
            visitor.reach(Found(here, pids=[pid], starttimes={pid: starttime - 1}))
        visitor.home = here


def test_paths_that_lead_elsewhere_now_are_left_out() -> None:
    with Visitor() as visitor:
        ours, others = "/proc/self/ns/net", "/proc/self/ns/mnt"
        assert visitor.paths_now(Found(visitor.home, paths=[others, ours], ways=[others, ours])) == [ours]
        gone = "/run/netns/that-is-gone"
        assert visitor.paths_now(Found(visitor.home, paths=[gone, ours], ways=[gone, ours])) == [ours]
        assert visitor.paths_now(Found(visitor.home, paths=[gone, others], ways=[gone, others])) == []
        hidden = Found(visitor.home, paths=["/in/another/mount/namespace"])
        assert visitor.paths_now(hidden) == hidden.paths


def test_of_a_namespace_that_vanished_the_processes_have_ended() -> None:
    gone = process(2**22 - 1, 4711)
    found = collect_network([gone], (), GapLog())
    assert found.ended == (gone.pid,)
    assert 4711 not in {namespace.inode for namespace in found.network_namespaces}


def test_our_own_needs_no_permission() -> None:
    with Visitor() as visitor:
        fd = visitor.open(Found(visitor.home))
        visitor.enter(fd, visitor.home)
        os.close(fd)
        assert visitor.here == visitor.home == Path("/proc/self/ns/net").stat().st_ino


def test_the_way_back_is_barred(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, nstype: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(LostError, match=r"no way back from net:\[5\]"), Visitor() as visitor:
        monkeypatch.setattr(netns, "setns", lambda fd, nstype: None)
        visitor.enter(0, 5)
        monkeypatch.setattr(netns, "setns", refuse)


def test_a_path_of_mountinfo_that_leads_elsewhere_by_now_is_none_of_the_namespace() -> None:
    pid = os.getpid()
    here = Path("/proc/self/ns/net").stat().st_ino
    ours = replace(process(pid, here), starttime=procfs.stat_of(pid).starttime)
    true, gone = nsfs("/proc/self/ns/net", f"net:[{here}]"), nsfs("/run/netns/that-is-gone", f"net:[{here}]")

    def paths(mounts: list[MountPoint], later: list[MountPoint]) -> tuple[str, ...]:
        found = collect_network([ours], mounts, GapLog(), later=lambda: later).network_namespaces
        return next(namespace.paths for namespace in found if namespace.inode == here)

    assert paths([true], []) == (true.mount_point,)
    assert paths([gone], []) == ()
    assert paths([gone, true], []) == (true.mount_point,)
    assert paths([], [gone, true]) == (true.mount_point,)
    assert paths([true], [gone]) == (true.mount_point,)
