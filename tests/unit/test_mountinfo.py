"""The mountinfo parser on lines of real hosts, and the mounts collector over a /proc made of files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts
from hostinspect.facts import MountPoint, Process
from hostinspect.kernel.mountinfo import parse_mountinfo

ID = "3c1f6f0be8e6a9ed7b4b1f0a54ffe3ba64ddd51be6b5b2b3a3de5d0f3c7e9a11"


def one(line: bytes) -> MountPoint:
    (mount,) = parse_mountinfo(line)
    return mount


def test_every_field() -> None:
    """The manual's own example, proc_pid_mountinfo(5)."""
    line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
    assert parse_mountinfo(line, 4026531841) == [
        MountPoint(
            mntns=4026531841,
            mount_id=36,
            parent_id=35,
            device="98:0",
            root="/mnt1",
            mount_point="/mnt2",
            options=("rw", "noatime"),
            propagation=("master:1",),
            fstype="ext3",
            source="/dev/root",
            super_options=("rw", "errors=continue"),
        )
    ]


@pytest.mark.parametrize(
    ("optional", "propagation"),
    [
        (b"", ()),
        (b"shared:7 ", ("shared:7",)),
        (b"shared:7 master:2 ", ("shared:7", "master:2")),
        (b"master:2 propagate_from:1 ", ("master:2", "propagate_from:1")),
        (b"unbindable ", ("unbindable",)),
    ],
)
def test_optional_fields(optional: bytes, propagation: tuple[str, ...]) -> None:
    mount = one(b"25 1 8:1 / / rw,relatime " + optional + b"- ext4 /dev/sda1 rw\n")
    assert mount.propagation == propagation
    assert (mount.fstype, mount.source, mount.super_options) == ("ext4", "/dev/sda1", ("rw",))


def test_network_namespaces() -> None:
    mount = one(b"602 27 0:4 net:[4026532201] /run/docker/netns/c5a2d66b7b2c rw shared:331 - nsfs nsfs rw\n")
    assert (mount.root, mount.mount_point, mount.fstype) == (
        "net:[4026532201]",
        "/run/docker/netns/c5a2d66b7b2c",
        "nsfs",
    )


def test_escapes() -> None:
    mount = one(rb"9 1 8:1 /a\040b\134c\011\012 /m\303\244/\054\043\377 rw - ext4 /dev/my\040disk rw" + b"\n")
    assert mount.root == "/a b\\c\t\n"
    assert mount.mount_point == "/mä/,#\\xff"
    assert mount.source == "/dev/my disk"


def test_bytes_that_are_no_utf8() -> None:
    mounts = parse_mountinfo(
        b"9 1 8:1 / /\xff\xc3\xa4 rw - ext4 /dev/sda rw\n"
        b"10 1 8:1 / /\xc3\xb6 rw - overlay o rw,lowerdir=/\xfe:/b,upperdir=/\xfd\n"
    )
    assert [mount.mount_point for mount in mounts] == ["/\\xffä", "/ö"]
    assert mounts[1].lowerdir == ("/\\xfe", "/b")
    assert mounts[1].upperdir == "/\\xfd"


def test_removed_directories_keep_the_kernels_mark() -> None:
    mount = one(rb"9 1 8:1 /var/lib/docker/volumes/v/_data//deleted /data rw - ext4 /dev/sda1 rw" + b"\n")
    assert mount.root == "/var/lib/docker/volumes/v/_data//deleted"


def test_an_empty_source() -> None:
    assert one(b"9 1 0:5 / /m rw -  tmpfs rw\n").source == "tmpfs"


def test_overlay_of_docker() -> None:
    """Docker 26 on Linux 6.1."""
    mount = one(
        b"1034 980 0:95 / / rw,relatime master:310 - overlay overlay rw,"
        b"lowerdir=/var/lib/docker/overlay2/l/YVM2LVZPXQCGZG2DX2VN4Q4VYO:/var/lib/docker/overlay2/l/ZQ4XN3UEKQ2S2FOEYTAVTLHT5H,"
        b"upperdir=/var/lib/docker/overlay2/5b2e/diff,workdir=/var/lib/docker/overlay2/5b2e/work,nouserxattr\n"
    )
    assert mount.lowerdir == (
        "/var/lib/docker/overlay2/l/YVM2LVZPXQCGZG2DX2VN4Q4VYO",
        "/var/lib/docker/overlay2/l/ZQ4XN3UEKQ2S2FOEYTAVTLHT5H",
    )
    assert mount.upperdir == "/var/lib/docker/overlay2/5b2e/diff"
    assert mount.workdir == "/var/lib/docker/overlay2/5b2e/work"
    assert mount.super_options == ("rw", "nouserxattr")


def test_overlay_read_only() -> None:
    mount = one(b"9 1 0:5 / /m ro - overlay overlay ro,lowerdir=/a:/b::/data1::/data2\n")
    assert mount.lowerdir == ("/a", "/b", "/data1", "/data2")
    assert mount.upperdir is None and mount.workdir is None


def test_lowerdir_of_one_option_for_each() -> None:
    """Linux 6.18, mounted by fsconfig(2): nothing is escaped for overlay, only for mountinfo."""
    mount = one(
        rb"1783 1578 0:482 / /m1 rw,relatime - overlay none rw,lowerdir+=/b/lo:w,lowerdir+=/b/l\054w,"
        rb"lowerdir+=/b/l\040w,lowerdir+=/b/l\134w,lowerdir+=/b/l\012w,lowerdir+=/b/pl,datadir+=/b/ab#c,"
        rb"upperdir=/b/up:\054p,workdir=/b/wo\040rk,uuid=on" + b"\n"
    )
    assert mount.lowerdir == ("/b/lo:w", "/b/l,w", "/b/l w", "/b/l\\w", "/b/l\nw", "/b/pl", "/b/ab#c")
    assert (mount.upperdir, mount.workdir) == ("/b/up:,p", "/b/wo rk")
    assert mount.super_options == ("rw", "uuid=on")


def test_lowerdir_with_overlays_own_escapes() -> None:
    r"""Linux 6.18, mounted by mount(2) with `\:`, `\,` and `\\` in lowerdir, and relative directories."""
    mount = one(
        rb"1791 1578 0:516 / /m2 rw,relatime - overlay overlay rw,lowerdir=/b/lo\134:w:/b/l\134\054w:/b/l\040w:"
        rb"/b/l\134\134w:/b/l\012w:pl,upperdir=up2,workdir=wk2,uuid=on" + b"\n"
    )
    assert mount.lowerdir == ("/b/lo:w", "/b/l,w", "/b/l w", "/b/l\\w", "/b/l\nw", "pl")
    assert (mount.upperdir, mount.workdir) == ("up2", "wk2")


def test_lowerdir_of_linux_6_5() -> None:
    assert one(rb"9 1 0:5 / /m ro - overlay o ro,lowerdir=/a\072b:/c" + b"\n").lowerdir == ("/a:b", "/c")


def test_upperdir_as_it_was_given() -> None:
    """Linux 6.18: shown with its own escapes, by mount(2) and fsconfig(2) alike."""
    mount = one(rb"9 1 0:5 / /m rw - overlay o rw,lowerdir=/a,upperdir=/u\134\054p\134\134,workdir=/w\134k" + b"\n")
    assert (mount.upperdir, mount.workdir) == ("/u,p\\", "/wk")


def test_a_backslash_before_the_colon_that_parts() -> None:
    assert one(rb"9 1 0:5 / /m ro - overlay o ro,lowerdir=/a\134\134:/b" + b"\n").lowerdir == ("/a\\", "/b")


def test_500_layers() -> None:
    layers = [f"/var/lib/docker/overlay2/l/{number:026}" for number in range(500)]
    mount = one(f"9 1 0:5 / / rw - overlay overlay rw,lowerdir={':'.join(layers)},upperdir=/u,workdir=/w\n".encode())
    assert mount.lowerdir == tuple(layers)


@pytest.mark.parametrize(
    "line", [b"x", b"1 2 8:1 / / rw", b"a b 8:1 / / rw - ext4 x rw", b"1 2 8:1 / / rw - ext4", b"- " * 9]
)
def test_other_forms(line: bytes) -> None:
    with pytest.raises(ValueError, match="not the form of a mountinfo line"):
        parse_mountinfo(line)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(str.encode)


def mangled(name: bytes) -> bytes:
    """As the kernel's mangle_path and seq_escape do it."""
    for byte in b"\\ \t\n,":
        name = name.replace(bytes((byte,)), b"\\%03o" % byte)
    return name


@given(names, names, st.lists(names, min_size=1))
def test_any_name_comes_back(root: bytes, point: bytes, layers: list[bytes]) -> None:
    escaped = [layer.replace(b"\\", b"\\\\").replace(b":", b"\\:") for layer in layers]
    line = b"9 1 0:5 /%s /%s rw - overlay o rw,lowerdir=%s" % (
        mangled(root),
        mangled(point),
        mangled(b":".join(escaped)),
    )
    mount = one(line)
    assert (mount.root, mount.mount_point) == ("/" + root.decode(), "/" + point.decode())
    assert mount.lowerdir == tuple(layer.decode() for layer in layers)


@given(st.binary() | st.from_regex(rb"[0-9]{1,4} [0-9] 0:[0-9] (/[\\0-7 a]* ){2}rw (- |shared:1 ){0,3}overlay o lowerdir\+?=[\\0-7:,+ =\xff]*", fullmatch=True))  # fmt: skip # noqa: E501
def test_nothing_but_valueerror(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        for mount in parse_mountinfo(raw):
            repr(mount).encode()  # all of it is valid UTF-8


def process(pid: int, mntns: int | None, cgroup: str = f"/docker/{ID}") -> Process:
    return Process(pid=pid, ppid=1, comm="sh", state="S", starttime=1, netns=1, mntns=mntns, cgroups=(cgroup,))


def fake_process(proc: Path, pid: str, mntns: int, mountinfo: bytes | None) -> None:
    (proc / pid / "ns").mkdir(parents=True)
    (proc / pid / "ns/mnt").symlink_to(f"mnt:[{mntns}]")
    (proc / pid / "stat").write_bytes(b"50 (sh) S 1 1 1" + b" 0" * 15 + b" 1 0 0\n")  # started at 1, as `process` says
    if mountinfo is not None:
        (proc / pid / "mountinfo").write_bytes(mountinfo)


def line(point: str) -> bytes:
    return f"9 1 0:5 / {point} rw - tmpfs tmpfs rw\n".encode()


def collect(
    proc: Path, *processes: Process, pids: tuple[int, ...] = (), **more: Any
) -> tuple[list[tuple[int | None, str]], GapLog]:
    gaps = GapLog()
    mounts = collect_mounts(processes, collect_host_mounts(gaps, str(proc)), gaps, str(proc), pids, **more)
    return [(mount.mntns, mount.mount_point) for mount in mounts], gaps


def test_the_host_and_each_container_once(tmp_path: Path) -> None:
    fake_process(tmp_path, "1", 100, line("/host"))
    fake_process(tmp_path, "50", 101, line("/by-50"))
    fake_process(tmp_path, "51", 101, line("/by-51"))
    fake_process(tmp_path, "60", 102, line("/service"))
    fake_process(tmp_path, "70", 103, line("/rootless"))
    processes = [
        process(70, 103, "/user.slice"),
        process(60, 102, "/system.slice/systemd-udevd.service"),
        process(51, 101),
        process(50, 101),
        process(49, 100),  # a container's process in the host's mount namespace
        process(48, None),
        process(1, 100, "/init.scope"),
    ]
    mounts, gaps = collect(tmp_path, *processes, pids=(70, 9999))
    assert mounts == [(100, "/host"), (101, "/by-50"), (103, "/rootless")]
    assert gaps.as_tuple() == ()


def test_of_the_others_what_leads_to_namespaces(tmp_path: Path) -> None:
    """By the types of their mounts, which take less to read; not at all where nothing follows them."""
    nsfs = b"9 1 0:4 net:[5] /run/netns/a rw - nsfs nsfs rw\n"
    here = b"device tmpfs mounted on /x with fstype tmpfs\n"
    for pid, mntns, types in (
        ("1", 100, b""),
        ("50", 101, here),
        ("60", 102, here + b"no device mounted on /run/netns/a with fstype nsfs\n"),
    ):
        fake_process(tmp_path, pid, mntns, line("/x") + nsfs)
        (tmp_path / pid / "mountstats").write_bytes(types)
    fake_process(tmp_path, "70", 103, line("/x"))
    processes = [process(50, 101), process(60, 102), process(70, 103)]
    assert collect(tmp_path, *processes, whole=(103,))[0][2:] == [(102, "/run/netns/a"), (103, "/x")]
    assert collect(tmp_path, *processes, whole=(103,), others=False)[0][2:] == [(103, "/x")]


def test_what_was_read_ahead_is_not_read_again(tmp_path: Path) -> None:
    for pid, mntns in (("1", 100), ("50", 101), ("60", 102), ("70", 103), ("80", 104)):
        fake_process(tmp_path, pid, mntns, line(f"/now-{pid}"))
    ahead = {
        100: (1, "mountinfo", line("/ahead")),
        101: (50, "mountinfo", line("/ahead")),
        102: (60, "mountinfo", b""),  # it could not be read
        103: (7, "mountinfo", line("/ahead")),  # by whoever is not among these
        104: (80, "mountinfo", b"not a line"),
    }
    processes = [process(50, 101), process(60, 102), process(70, 103), process(80, 104)]
    host = collect_host_mounts(GapLog(), str(tmp_path), ahead)
    mounts = collect_mounts(processes, host, GapLog(), str(tmp_path), ahead=ahead)
    assert [mount.mount_point for mount in mounts] == ["/ahead", "/ahead", "/now-60", "/now-70", "/now-80"]


def test_the_next_pid_when_one_has_ended(tmp_path: Path) -> None:
    fake_process(tmp_path, "1", 100, line("/host"))
    fake_process(tmp_path, "51", 101, None)  # ended while it was read
    fake_process(tmp_path, "52", 999, line("/another"))  # the number is another's now
    fake_process(tmp_path, "53", 101, line("/another"))  # and so is this, and the inode of the namespace too
    (tmp_path / "53/stat").write_text(f"53 (sh) S 1 {'0 ' * 17}2 0")
    fake_process(tmp_path, "54", 101, line("/by-54"))
    mounts, gaps = collect(tmp_path, *(process(pid, 101) for pid in (50, 51, 52, 53, 54)))
    assert mounts == [(100, "/host"), (101, "/by-54")]
    assert gaps.as_tuple() == ()


def test_all_ended(tmp_path: Path) -> None:
    fake_process(tmp_path, "1", 100, line("/host"))
    mounts, gaps = collect(tmp_path, process(50, 101))
    assert mounts == [(100, "/host")]
    assert gaps.as_tuple() == ()


def test_pid_1_out_of_reach(tmp_path: Path) -> None:
    fake_process(tmp_path, "self", 100, line("/ours"))
    mounts, gaps = collect(tmp_path, process(50, 101))
    assert mounts == [(100, "/ours")]
    mounts, gaps = collect(tmp_path / "nothing")
    assert mounts == []
    assert [gap.subject for gap in gaps.as_tuple()] == [str(tmp_path / "nothing")]


def test_neither_to_be_read(tmp_path: Path) -> None:
    mounts, gaps = collect(tmp_path)
    assert mounts == []
    assert [gap.subject for gap in gaps.as_tuple()] == [f"{tmp_path}/1/mountinfo"]


def test_another_form_is_a_gap(tmp_path: Path) -> None:
    fake_process(tmp_path, "1", 100, line("/host"))
    fake_process(tmp_path, "50", 101, b"who knows\n")
    mounts, gaps = collect(tmp_path, process(50, 101))
    assert mounts == [(100, "/host")]
    (gap,) = gaps.as_tuple()
    assert gap.why == "not the form of a mountinfo line: who knows"
