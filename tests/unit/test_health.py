"""What doctor alone asks for: paths without following or waiting, files without a name, settings, groups, sysctls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from hostinspect.collectors import health
from hostinspect.collectors.gaps import GapLog
from hostinspect.facts import (
    Engine,
    Facts,
    FrozenCgroup,
    Health,
    Host,
    MountPoint,
    Process,
    RecordedMount,
    VolumeRecord,
)
from hostinspect.kernel import procfs
from hostinspect.kernel.mountinfo import mountinfo
from tests.unit.factory import record

BIND = RecordedMount(type="bind", source="/srv/site", destination="/www")


def mount(point: str, fstype: str = "ext4") -> MountPoint:
    return MountPoint(
        mntns=1, mount_id=1, parent_id=0, device="0:1", root="/", mount_point=point, options=("rw",), fstype=fstype,
        source="server:/x",
    )  # fmt: skip


@contextmanager
def own_process() -> Iterator[int]:
    proc = procfs.open_proc()
    try:
        process = procfs.open_process(proc, os.getpid())
        yield process
        os.close(process)
    finally:
        os.close(proc)


def this_host(*, data_root: str = "/", **changes: object) -> Facts:
    """This process's own namespaces as a host; `data_root` is where an engine is."""
    with own_process() as process:
        mntns = procfs.namespace(process, "mnt")
        mounts = tuple(mountinfo(process, mntns))
        stat = procfs.stat(process)
    own = Process(pid=os.getpid(), ppid=1, comm="python", state="S", starttime=stat.starttime, mntns=mntns)
    fields: dict[str, object] = {
        "host": Host(hostname="h", kernel="k", collected_at="2026-01-01T00:00:00Z", mntns=mntns),
        "engines": (Engine(name="docker", data_root=data_root),),
        "processes": (own,),
        "mounts": mounts,
    }
    return Facts(**{**fields, **changes})  # type: ignore[arg-type]


def collected(facts: Facts) -> tuple[Health, GapLog]:
    gaps = GapLog()
    return health.collect_health(facts, gaps), gaps


# --- paths ---


def test_a_path_is_walked_name_by_name(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").touch()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "absolute").symlink_to(tmp_path / "link")
    (tmp_path / "up").symlink_to("d/../link/file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
    kinds = {
        "d": "directory", "link": "directory", "absolute/file": "file", "up": "file", "d/.": "directory",
        "sock": "socket", "d//file": "file", "dangling": "missing", "d/nothing": "missing",
        "d/file/below": "missing", "": "directory",
    }  # fmt: skip
    binds = tuple(replace(BIND, source=f"{tmp_path}/{name}") for name in (*kinds, "loop", "a\0b"))
    found, gaps = collected(this_host(containers=(record(mounts=binds),)))
    assert {state.path.removeprefix(f"{tmp_path}/"): state.kind for state in found.paths} == kinds
    told = {gap.subject: gap.why for gap in gaps.as_tuple() if gap.collector == "paths"}
    assert "symbolic links" in told[f"{tmp_path}/loop"] and "NUL" in told[f"{tmp_path}/a\0b"]


def test_nothing_is_asked_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "way").symlink_to(tmp_path / "nfs/data")
    asked: list[str] = []
    lstat = os.lstat

    def watched(path: str) -> os.stat_result:
        asked.append(path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", watched)
    facts = this_host(containers=(record(mounts=(replace(BIND, source=f"{tmp_path}/way"),)),))
    remote = replace(mount(f"{tmp_path}/nfs", "nfs4"), mntns=facts.host.mntns)
    found, gaps = collected(replace(facts, mounts=(*facts.mounts, remote)))
    assert found.paths == ()
    (gap,) = (gap for gap in gaps.as_tuple() if gap.collector == "paths")
    assert gap.minor and "nfs4 from server:/x" in gap.why
    assert not [path for path in asked if path.startswith(f"{tmp_path}/nfs")]


def test_which_paths_are_looked_at() -> None:
    local = VolumeRecord(engine="docker", data_root="/d", name="v", mountpoint="/d/volumes/v/_data")
    bound = replace(local, mountpoint=None, options=(("device", "/srv/x"), ("o", "rw,bind"), ("type", "none")))
    nfs = replace(local, mountpoint=None, options=(("device", ":/export"), ("o", "addr=1.2.3.4"), ("type", "nfs")))
    tmpfs = replace(local, mountpoint=None, options=(("device", "/dev/shm"), ("type", "tmpfs")))
    named = health._named_paths([record(mounts=(BIND, replace(BIND, type="volume")))], [local, bound, nfs, tmpfs])
    assert [*named] == ["/srv/site", "/d/volumes/v/_data", "/srv/x"]


# --- the disk ---


def test_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    found, gaps = collected(this_host(data_root=str(tmp_path)))
    (space,) = found.file_systems
    real = os.statvfs(tmp_path)
    assert (space.size, space.inodes) == (real.f_blocks * real.f_frsize, real.f_files)
    assert not [gap for gap in gaps.as_tuple() if gap.collector == "space"]
    facts = this_host(data_root=str(tmp_path))
    remote = replace(mount(str(tmp_path), "fuse.sshfs"), mntns=facts.host.mntns)
    found, gaps = collected(replace(facts, mounts=(*facts.mounts, remote)))
    assert found.file_systems == ()
    assert ["sshfs" in gap.why for gap in gaps.as_tuple() if gap.collector == "space"] == [True]


def test_directories_without_a_record(tmp_path: Path) -> None:
    names = {letter: letter * 64 for letter in "abc"}
    for name in names.values():
        (tmp_path / "containers" / name).mkdir(parents=True)
    (tmp_path / "containers/not-an-id").mkdir()
    (tmp_path / "containers" / names["b"] / "config.v2.json").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "containers" / ("d" * 64)).symlink_to(tmp_path / "elsewhere")
    os.utime(tmp_path / "containers" / names["a"], (1000, 1000))
    found, _ = collected(this_host(data_root=str(tmp_path), containers=(record(id=names["c"]),)))
    paths = {bare.path: bare.modified for bare in found.bare_directories}
    assert paths.pop(f"{tmp_path}/containers/{names['a']}") == 1000
    assert {*paths} <= {f"{tmp_path}/containers/{'d' * 64}"}  # the link itself, which is not followed


def test_files_without_a_name(tmp_path: Path) -> None:
    facts = this_host(data_root=str(tmp_path))
    kept, gone = tmp_path / "kept", tmp_path / "gone (deleted)"
    with kept.open("wb") as first, gone.open("wb") as second, gone.open("rb"):
        second.write(b"x" * 100_000)
        second.flush()
        os.fsync(second.fileno())
        gone.unlink()
        found, gaps = collected(facts)
        assert first.fileno() and not [gap for gap in gaps.as_tuple() if gap.collector == "open files"]
    (held,) = (held for held in found.held_files if held.path.startswith(str(tmp_path)))  # once, though open twice
    assert (held.pid, held.path) == (os.getpid(), str(gone))
    assert held.allocated >= 100_000


def test_files_elsewhere_are_nobodys_affair(tmp_path: Path) -> None:
    """On a file system that no data root is on: here, one that a data root is said to be on is another."""
    facts = this_host(data_root="/proc")
    with (tmp_path / "gone").open("wb"):
        (tmp_path / "gone").unlink()
        found, _ = collected(facts)
    assert not [held for held in found.held_files if held.path.startswith(str(tmp_path))]


# --- processes ---


def test_who_is_in_state_d_for_a_moment_is_not_stuck() -> None:
    """Of a process that the record calls D and that has run since; one that the freezer stopped is not looked at."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        process = Process(pid=child.pid, ppid=1, comm="x", state="D", starttime=1, cgroups=("/docker/a",))
        facts = this_host(processes=(process,), containers=(record(pid=child.pid),))
        assert collected(facts)[0].stuck == ()
        frozen = replace(facts, frozen_cgroups=(FrozenCgroup(path="/docker/a"),))
        assert collected(frozen)[0].stuck == ()
    finally:
        child.kill()
        child.wait()


def test_who_waits_in_the_kernel_is_stuck() -> None:
    """A parent in vfork(2) is in state D until its child calls execve(2) or ends."""
    wait = "import ctypes, time\nlibc = ctypes.CDLL(None)\nif not libc.vfork(): libc.pause()"
    parent = subprocess.Popen([sys.executable, "-c", wait], start_new_session=True)
    try:
        for _ in range(500):
            with open(f"/proc/{parent.pid}/stat", encoding="ascii") as file:  # noqa: PTH123
                state = file.read().rpartition(")")[2].split()[0]
            if state == "D":
                break
            time_passes()
        process = Process(pid=parent.pid, ppid=1, comm="x", state="D", starttime=1)
        facts = this_host(processes=(process,), containers=(record(pid=parent.pid),))
        assert [found.pid for found in collected(facts)[0].stuck] == [parent.pid]
    finally:
        os.killpg(parent.pid, 9)
        parent.wait()


def time_passes() -> None:
    import time

    time.sleep(0.02)


# --- who may command the engine ---


@pytest.mark.parametrize(
    ("cmdline", "file", "hosts", "tlsverify", "iptables"),
    [
        (("dockerd",), None, (), False, True),
        (("dockerd", "-H", "fd://", "--host=tcp://0.0.0.0:2375"), None, ("fd://", "tcp://0.0.0.0:2375"), False, True),
        (("dockerd", "-Htcp://:1", "--tlsverify"), None, ("tcp://:1",), True, True),
        (("dockerd", "-H=unix://"), '{"hosts": ["tcp://x"], "tlsverify": true}', ("unix://", "tcp://x"), True, True),
        (("dockerd", "--iptables=false"), None, (), False, False),
        (("dockerd",), '{"iptables": false, "other": [1]}', (), False, False),
        (("dockerd", "--tlsverify=false", "--iptables"), None, (), False, True),
    ],
)  # fmt: skip
def test_settings(
    cmdline: tuple[str, ...],
    file: str | None,
    hosts: tuple[str, ...],
    tlsverify: bool,
    iptables: bool,
    tmp_path: Path,
) -> None:
    config = tmp_path / "daemon.json"
    if file is not None:
        config.write_text(file)
    engine = Engine(name="docker", data_root="/d", pid=7)
    gaps = GapLog()
    found = health._settings_of(engine, (*cmdline, "--config-file", str(config)), gaps)
    assert (found.hosts, found.tlsverify, found.iptables) == (hosts, tlsverify, iptables)
    assert gaps.as_tuple() == ()


@pytest.mark.parametrize("content", ["{", '{"hosts": 5}', "[]", "\xff"])
def test_settings_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text(content, encoding="latin-1")
    gaps = GapLog()
    health._settings_of(Engine(name="docker", data_root="/d", pid=7), ("dockerd", f"--config-file={config}"), gaps)
    assert [gap.collector for gap in gaps.as_tuple()] == ["settings"]


def test_the_group_of_root() -> None:
    """group(5) and passwd(5) of this machine, as the libraries read them."""
    import grp
    import pwd

    name, members = health._group(0)
    group = grp.getgrgid(0)
    assert name == group.gr_name
    assert {*members} == {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == 0)}


# --- sysctls ---


def test_sysctls_of_each_interface() -> None:
    gaps = GapLog()
    reader = health.InterfaceSysctls(7, gaps)
    reader(8)
    assert reader.sysctls == []
    reader(7)
    found = {sysctl.name: sysctl.value for sysctl in reader.sysctls}
    assert found["net.ipv4.conf.lo.forwarding"] == Path("/proc/sys/net/ipv4/conf/lo/forwarding").read_text().strip()
    assert "net.ipv4.conf.all.forwarding" not in found and gaps.as_tuple() == ()


def test_a_dot_in_an_interfaces_name(tmp_path: Path) -> None:
    for name in ("all", "eth0.100"):
        (tmp_path / "sys/net/ipv4/conf" / name).mkdir(parents=True)
    (tmp_path / "sys/net/ipv4/conf/eth0.100/rp_filter").write_text("1\n")
    reader = health.InterfaceSysctls(7, GapLog(), str(tmp_path))
    reader(7)
    assert [(sysctl.name, sysctl.value) for sysctl in reader.sysctls] == [("net.ipv4.conf.eth0/100.rp_filter", "1")]


def test_without_proc() -> None:
    gaps = GapLog()
    found = health.collect_health(this_host(), gaps, "/nowhere")
    assert found.file_systems == () and found.held_files == ()
    assert {gap.collector for gap in gaps.as_tuple()} >= {"space", "paths", "open files", "other mounts"}


def test_a_container_record_is_needed_for_nothing() -> None:
    found, _ = collected(this_host(containers=(), engines=()))
    assert isinstance(found, Health) and found.paths == () and found.file_systems == ()


def test_in_another_mount_namespace_no_path_is_the_hosts(tmp_path: Path) -> None:
    facts = this_host(data_root=str(tmp_path), containers=(record(mounts=(BIND,)),))
    found, gaps = collected(replace(facts, host=replace(facts.host, mntns=1)))
    assert (found.file_systems, found.paths) == ((), ())
    assert {gap.collector for gap in gaps.as_tuple()} >= {"space", "paths"}
