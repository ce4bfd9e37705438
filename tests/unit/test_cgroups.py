"""Frozen cgroups, version 1 and 2, over hierarchies made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostinspect.collectors.cgroups import collect_frozen_cgroups
from hostinspect.collectors.gaps import GapLog
from hostinspect.facts import MountPoint, Process
from hostinspect.kernel.cgroups import Hierarchy, freezer_hierarchies, parse_cgroup_events, parse_freezer_state
from hostinspect.kernel.mountinfo import parse_mountinfo

A, B, C = "a1" * 32, "b2" * 32, "c3" * 32

# Debian 12 (unified), and a host with both versions (hybrid)
UNIFIED = b"31 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    b"30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    b"31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    b"32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    b"40 30 0:36 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
)


def test_states() -> None:
    assert parse_freezer_state(b"FROZEN\n") and parse_freezer_state(b"FREEZING\n")
    assert not parse_freezer_state(b"THAWED\n")
    assert parse_cgroup_events(b"populated 1\nfrozen 1\n")
    assert not parse_cgroup_events(b"populated 1\nfrozen 0\n")
    assert not parse_cgroup_events(b"populated 1\n")
    assert not parse_cgroup_events(b"")


def test_hierarchies() -> None:
    (unified,) = freezer_hierarchies(parse_mountinfo(UNIFIED))
    assert unified == Hierarchy(version=2, mount_point="/sys/fs/cgroup", root="/")
    assert [
        (hierarchy.version, hierarchy.mount_point) for hierarchy in freezer_hierarchies(parse_mountinfo(HYBRID))
    ] == [
        (1, "/sys/fs/cgroup/freezer"),
        (2, "/sys/fs/cgroup/unified"),
    ]
    partly = parse_mountinfo(b"9 1 0:27 /docker/x /mnt rw - cgroup2 cgroup2 rw\n" + UNIFIED)
    assert freezer_hierarchies(partly) == (unified,)


@pytest.mark.parametrize(
    ("root", "path", "relative"),
    [
        ("/", "/a/b", "a/b"),
        ("/", "/", ""),
        ("/a", "/a", ""),
        ("/a", "/a/b", "b"),
        ("/a", "/ab", None),
        ("/a", "/", None),
        ("/", "/../b", None),
        ("/..", "/../b", "b"),
    ],
)
def test_beneath(root: str, path: str, relative: str | None) -> None:
    assert Hierarchy(version=2, mount_point="/m", root=root).beneath(path) == relative


def process(*cgroups: str) -> Process:
    return Process(pid=1, ppid=1, comm="sh", state="S", starttime=1, cgroups=cgroups)


def mount(path: Path, version: int, root: str = "/") -> MountPoint:
    kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,freezer"
    (record,) = parse_mountinfo(f"9 1 0:9 {root} {path} rw - {kind}\n".encode())
    return record


def state(hierarchy: Path, path: str, version: int, frozen: bool) -> None:
    (hierarchy / path).mkdir(parents=True)
    if version == 2:
        (hierarchy / path / "cgroup.events").write_text(f"populated 1\nfrozen {frozen:d}\n")
    else:
        (hierarchy / path / "freezer.state").write_text("FROZEN\n" if frozen else "THAWED\n")


def collect(mounts: list[MountPoint], *processes: Process) -> tuple[list[str], GapLog]:
    gaps = GapLog()
    return [cgroup.path for cgroup in collect_frozen_cgroups(processes, mounts, gaps)], gaps


@pytest.mark.parametrize("version", [1, 2])
def test_which_are_frozen(tmp_path: Path, version: int) -> None:
    state(tmp_path, f"docker/{A}", version, True)
    state(tmp_path, f"docker/{B}", version, False)
    state(tmp_path, f"docker/{B}/init", version, True)
    state(tmp_path, f"system.slice/docker-{C}.scope", version, True)
    state(tmp_path, "user.slice", version, True)
    paths, gaps = collect(
        [mount(tmp_path, version)],
        process(f"/docker/{A}/sub", "/"),
        process(f"/docker/{A}"),
        process(f"/docker/{B}/init"),  # what the container itself froze inside is no pause
        process(f"/system.slice/docker-{C}.scope"),
        process("/user.slice"),
        process(f"/docker/{'d4' * 32}"),  # removed
    )
    assert paths == [f"/docker/{A}", f"/docker/{A}/sub", f"/system.slice/docker-{C}.scope"]
    assert gaps.as_tuple() == ()


def test_both_versions(tmp_path: Path) -> None:
    state(tmp_path / "freezer", f"docker/{A}", 1, True)
    state(tmp_path / "unified", f"docker/{B}", 2, True)
    mounts = [mount(tmp_path / "freezer", 1), mount(tmp_path / "unified", 2)]
    paths, gaps = collect(mounts, process(f"/docker/{A}", "/"), process(f"/docker/{B}"))
    assert paths == [f"/docker/{A}", f"/docker/{B}"]
    assert gaps.as_tuple() == ()


def test_a_part_of_the_hierarchy_only(tmp_path: Path) -> None:
    state(tmp_path, A, 2, True)
    paths, gaps = collect([mount(tmp_path, 2, "/docker")], process(f"/docker/{A}"), process(f"/../elsewhere/{B}"))
    assert paths == [f"/docker/{A}"]
    (gap,) = gaps.as_tuple()
    assert gap.subject == "1 containers' cgroups"


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "docker" / A).mkdir(parents=True)
    (tmp_path / "docker" / A / "cgroup.events").symlink_to("/dev/zero")
    paths, gaps = collect([mount(tmp_path, 2)], process(f"/docker/{A}"))
    assert paths == []
    (gap,) = gaps.as_tuple()
    assert "symbolic link" in gap.why


def test_nothing_to_ask(tmp_path: Path) -> None:
    paths, gaps = collect([], process("/user.slice"))
    assert (paths, gaps.as_tuple()) == ([], ())
    paths, gaps = collect([], process(f"/docker/{A}"))
    assert [gap.why for gap in gaps.as_tuple()] == ["no hierarchy with a freezer is mounted"]
    paths, gaps = collect([mount(tmp_path / "nothing", 2)], process(f"/docker/{A}"))
    assert gaps.as_tuple()[0].subject == str(tmp_path / "nothing")
