"""Parsers of /proc/PID files, on bytes of real hosts, and the processes collector over a /proc made of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.processes import collect_processes, container_cgroup
from hostinspect.facts import Process
from hostinspect.kernel import procfs

ID = "3c1f6f0be8e6a9ed7b4b1f0a54ffe3ba64ddd51be6b5b2b3a3de5d0f3c7e9a11"

# Linux 6.1, dockerd of Debian 12
DOCKERD = (
    b"817 (dockerd) S 1 817 817 0 -1 1077936384 24813 118903 187 93 411 277 402 341 20 0 12 0 1137 1937358848 19917 "
    b"18446744073709551615 1 1 0 0 0 0 1006254592 0 2143420159 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
KTHREADD = (
    b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 1 0 0 20 0 1 0 3 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 "
    b"0 0 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)


def stat_line(pid: int, comm: bytes, state: bytes = b"S", ppid: int = 1, flags: int = 4194560, start: int = 9) -> bytes:
    return b"%d (%s) %s %d 7 7 0 -1 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0 1 0\n" % (pid, comm, state, ppid, flags, start)


def fields(stat: procfs.Stat) -> tuple[int, bytes, str, int, int, int]:
    return stat.pid, stat.comm, stat.state, stat.ppid, stat.flags, stat.starttime


def test_the_start_time_alone(tmp_path: Path) -> None:
    process = os.open("/proc/self", os.O_PATH)
    assert procfs.stat_of(os.getpid()).starttime == procfs.stat(process).starttime
    os.close(process)
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_bytes(b"7 (a) R (b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 431 0 0 ")
    assert procfs.stat_of(7, str(tmp_path)).starttime == 431
    (tmp_path / "7/stat").write_bytes(b"7 (a) S 1")
    with pytest.raises(ValueError, match="not the form"):
        procfs.stat_of(7, str(tmp_path))


def test_stat() -> None:
    assert fields(procfs.parse_stat(DOCKERD)) == (817, b"dockerd", "S", 1, 1077936384, 1137)
    kthreadd = procfs.parse_stat(KTHREADD)
    assert (kthreadd.ppid, kthreadd.starttime) == (0, 3)
    assert kthreadd.flags & procfs.PF_KTHREAD
    assert not procfs.parse_stat(DOCKERD).flags & procfs.PF_KTHREAD


@pytest.mark.parametrize("comm", [b") R (", b"a) Z 1 (", b"(sd-pam)", b"x\ny", b"", b" ", b"\xff\xfe", b")" * 15])
def test_stat_of_any_name(comm: bytes) -> None:
    assert fields(procfs.parse_stat(stat_line(7, comm, b"D", 5, 64, 431))) == (7, comm, "D", 5, 64, 431)


@given(st.binary(max_size=15))
def test_stat_of_arbitrary_names(comm: bytes) -> None:
    assert procfs.parse_stat(stat_line(7, comm)).comm == comm


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", [f"/system.slice/docker-{ID}.scope"]),
        ("0::/\n", ["/"]),
        ("0::/../../user.slice\n", ["/../../user.slice"]),
        (
            f"12:memory:/docker/{ID}\n4:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/c.service\n",
            [f"/docker/{ID}"] * 3 + ["/system.slice/c.service"],
        ),
        (
            f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope\n",
            [f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"],
        ),
        (
            f"0::/kubepods.slice/kubepods-pod5f.slice/cri-containerd-{ID}.scope\n",
            [f"/kubepods.slice/kubepods-pod5f.slice/cri-containerd-{ID}.scope"],
        ),
        (f"0::/k8s.io/a:b/{ID} (deleted)\n", [f"/k8s.io/a:b/{ID} (deleted)"]),
        ("", []),
    ],
)
def test_cgroup(raw: str, paths: list[str]) -> None:
    assert [*procfs.parse_cgroup(raw.encode())] == paths


def test_cgroup_of_any_bytes() -> None:
    assert procfs.parse_cgroup(b"4:cpu,cpuacct:/docker/\xff\n0::/a\n") == ("/docker/\\xff", "/a")


def test_namespace_links() -> None:
    assert procfs.parse_namespace("net:[4026531840]") == 4026531840
    assert procfs.parse_namespace("mnt:[1]") == 1


def test_cmdline() -> None:
    assert procfs.parse_cmdline(b"/usr/bin/docker-proxy\0-proto\0tcp\0-host-ip\0::\0") == (
        "/usr/bin/docker-proxy",
        "-proto",
        "tcp",
        "-host-ip",
        "::",
    )
    assert procfs.parse_cmdline(b"") == ()
    assert procfs.parse_cmdline(b"a\0\0b\0") == ("a", "", "b")
    assert procfs.parse_cmdline(b"nginx: worker process") == ("nginx: worker process",)
    assert procfs.parse_cmdline(b"\xff\0") == ("\\xff",)


def test_btime() -> None:
    assert procfs.parse_btime(b"cpu  1 2 3\nintr 5 0 0\nctxt 7\nbtime 1735689600\nprocesses 9\n") == 1735689600
    assert procfs.parse_btime(b"cpu  1 2 3\n") is None


def parse_namespace(raw: bytes) -> int:
    return procfs.parse_namespace(raw.decode("latin-1"))


@pytest.mark.parametrize(
    "parse", [procfs.parse_stat, procfs.parse_cgroup, procfs.parse_cmdline, procfs.parse_btime, parse_namespace]
)
@given(raw=st.binary() | st.from_regex(rb"[0-9]+ ?[(\[:]net*[)\]:]( [0-9SRn-]*){0,25}\n?", fullmatch=True))
def test_parsers_raise_nothing_but_valueerror(parse: Callable[[bytes], object], raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse(raw)


def test_container_cgroup() -> None:
    assert container_cgroup(f"/docker/{ID}") == f"/docker/{ID}"
    assert container_cgroup(f"/system.slice/docker-{ID}.scope/init.scope") == f"/system.slice/docker-{ID}.scope"
    inner = ID[::-1]
    assert container_cgroup(f"/docker/{ID}/docker/{inner}/x") == f"/docker/{ID}/docker/{inner}"
    assert container_cgroup(f"/process/{ID}ab") is None
    assert container_cgroup(f"/process/{ID[:32]}") is None
    assert container_cgroup("/") is None


class FakeProc:
    """A directory like /proc, of regular files and links."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "self").symlink_to("4711")
        (path / "sys").mkdir()

    def process(self, pid: int, stat: bytes, cgroup: bytes = b"0::/\n", net: int = 40, mnt: int = 41) -> Path:
        process = self.path / str(pid)
        (process / "ns").mkdir(parents=True)
        (process / "stat").write_bytes(stat)
        (process / "cgroup").write_bytes(cgroup)
        (process / "ns/net").symlink_to(f"net:[{net}]")
        (process / "ns/mnt").symlink_to(f"mnt:[{mnt}]")
        return process


@pytest.fixture
def fake(tmp_path: Path) -> FakeProc:
    proc = FakeProc(tmp_path)
    proc.process(1, stat_line(1, b"systemd", ppid=0))
    return proc


def collect(fake: FakeProc) -> tuple[tuple[Process, ...], tuple[tuple[str, str, bool], ...]]:
    gaps = GapLog()
    processes = collect_processes(gaps, str(fake.path))
    return processes, tuple((gap.subject, gap.why, gap.minor) for gap in gaps.as_tuple())


def test_collects_by_pid(fake: FakeProc) -> None:
    fake.process(
        10, stat_line(10, b"init"), f"2:cpu:/docker/{ID}\n1:memory:/docker/{ID}\n0::/\n".encode(), net=50, mnt=51
    )
    fake.process(9, DOCKERD.replace(b"817", b"9", 1)).joinpath("cmdline").write_bytes(b"dockerd\0-H\0fd://\0")
    processes, gaps = collect(fake)
    assert gaps == ()
    assert [process.pid for process in processes] == [1, 9, 10]
    assert processes[1].cmdline == ("dockerd", "-H", "fd://")
    assert processes[2] == Process(
        pid=10, ppid=1, comm="init", state="S", starttime=9, netns=50, mntns=51, cgroups=(f"/docker/{ID}", "/")
    )


def test_kernel_threads_are_read_no_further(fake: FakeProc) -> None:
    kthread = fake.process(2, KTHREADD)
    (kthread / "cgroup").unlink()
    processes, gaps = collect(fake)
    assert gaps == ()
    assert processes[1] == Process(pid=2, ppid=0, comm="kthreadd", state="S", starttime=3)


def test_ended_meanwhile_is_no_gap(fake: FakeProc) -> None:
    (fake.process(8, stat_line(8, b"gone")) / "stat").unlink()
    (fake.process(9, stat_line(9, b"gone")) / "cgroup").unlink()
    zombie = fake.process(10, stat_line(10, b"zombie", b"Z"))
    (zombie / "ns/net").unlink()
    processes, gaps = collect(fake)
    assert gaps == ()
    assert [(process.pid, process.netns) for process in processes] == [(1, 40), (10, None)]


def refuse(monkeypatch: pytest.MonkeyPatch, function: str, *names: str) -> None:
    """Let os.FUNCTION answer EACCES to NAMES."""
    really = getattr(os, function)

    def refusing(path: str, *args: object, **kwargs: object) -> object:
        if path in names:
            raise PermissionError(13, "Permission denied")
        return really(path, *args, **kwargs)

    monkeypatch.setattr(os, function, refusing)


def test_refused_namespaces_are_one_gap(fake: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "readlink", "ns/net")
    processes, gaps = collect(fake)
    assert gaps == (("namespaces of 1 processes", "Permission denied", True),)
    fake.process(7, stat_line(7, b"httpd"), f"0::/docker/{ID}\n".encode())
    processes, gaps = collect(fake)
    assert gaps == (("namespaces of 2 processes", "Permission denied", False),)
    assert [process.netns for process in processes] == [None, None]
    assert processes[1].cgroups == (f"/docker/{ID}",)


def test_hidepid_noaccess(fake: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "open", "stat")
    processes, gaps = collect(fake)
    assert processes == ()
    assert gaps == (("1 processes", "Permission denied (hidepid)", False),)


def test_hidepid_invisible(tmp_path: Path) -> None:
    fake = FakeProc(tmp_path)
    fake.process(4711, stat_line(4711, b"sh"))
    processes, gaps = collect(fake)
    assert len(processes) == 1
    (gap,) = gaps
    assert "hidepid" in gap[1]


def test_no_procfs(tmp_path: Path) -> None:
    gaps = GapLog()
    assert collect_processes(gaps, str(tmp_path)) == ()
    assert collect_processes(gaps, str(tmp_path / "nothing")) == ()
    first, second = gaps.as_tuple()
    assert "no proc file system" in first.why
    assert second.why == "No such file or directory"


def test_a_stat_of_another_form_is_a_gap(fake: FakeProc) -> None:
    fake.process(7, b"7 (sh) S")
    processes, gaps = collect(fake)
    assert len(processes) == 1
    assert gaps == ((f"{fake.path}/7", "not the form of /proc/PID/stat: 7 (sh) S", False),)
