"""Paths are walked only so far as what may never answer is not asked."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.facts import MountPoint
from hostinspect.kernel.mountinfo import parse_mountinfo
from hostinspect.kernel.remote import RemoteError, refuse_remote, walk


def mounts(*lines: str) -> list[MountPoint]:
    return parse_mountinfo("".join(f"{i} 1 0:{i} / {line}\n" for i, line in enumerate(lines, 1)).encode())


ROOT = "/ rw - ext4 /dev/sda1 rw"


def test_a_path_is_what_realpath_makes_of_it(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/up").symlink_to("../a/b")
    (tmp_path / "file").touch()
    for path in ("a/b", "a/up", "a/up/../..", "a/./up//x/y", "file", "file/x", "nothing/../a"):
        found, _ = walk(f"{tmp_path}/{path}", mounts(ROOT))
        assert found == os.path.realpath(f"{tmp_path}/{path}")
    assert walk(f"{tmp_path}/a/up", ())[1] == (tmp_path / "a/b").stat().st_mode
    assert stat.S_ISREG(walk(f"{tmp_path}/file", ())[1])
    assert [walk(f"{tmp_path}/{path}", ())[1] for path in ("no", "file/x", "no/../a")] == [0, 0, 0]


def test_a_link_leads_to_what_may_not_answer(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nfs")
    table = mounts(ROOT, f"{tmp_path}/nfs rw - nfs4 server:/x rw")
    assert walk(f"{tmp_path}/link2/nfs", table)[1] == 0
    for path in ("nfs", "nfs/x", "link/x", "link"):
        with pytest.raises(RemoteError, match="nfs4 from server:/x, which may not answer") as refused:
            walk(f"{tmp_path}/{path}", table)
        assert refused.value.path == f"{tmp_path}/{path.replace('link', 'nfs')}"


def test_an_overlay_is_asked_of_no_more_than_what_it_is_made_of() -> None:
    table = mounts(
        ROOT,
        "/layers rw - fuse.stargz stargz rw",
        "/m rw - overlay overlay rw,lowerdir=/l1:/layers/2/fs,upperdir=/u,workdir=/w",
        "/n rw - overlay overlay rw,lowerdir=/l1,upperdir=/u,workdir=/w",
    )
    refuse_remote("/n/x", table)
    with pytest.raises(RemoteError, match=r"fuse\.stargz"):
        refuse_remote("/m/x", table)


def test_what_the_machine_is_started_from_is_asked() -> None:
    refuse_remote("/var/lib/docker", mounts("/ rw - virtiofs root rw"))


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match="symbolic links"):
        walk(f"{tmp_path}/a", ())


@given(st.text())
def test_any_path(path: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        walk(path, ())
