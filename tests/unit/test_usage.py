"""What directories hold on disk, against du(1); and what is not walked, followed or waited for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostinspect.collectors import mounts as collector_of_mounts
from hostinspect.collectors import usage as collector
from hostinspect.collectors.usage import collect_usage
from hostinspect.facts import DirectoryUsage, Gap, MountPoint
from hostinspect.kernel import usage as kernel
from hostinspect.kernel.filesystems import is_remote
from hostinspect.kernel.remote import mount_of
from hostinspect.kernel.usage import Usage, Walk


def walk(path: Path, mounts: Sequence[str] = ()) -> tuple[Usage, list[tuple[str, OSError | str]]]:
    found = Walk(str(path), frozenset(mounts), lambda names: None)
    return found.usage(os.open(path, os.O_RDONLY | os.O_DIRECTORY)), found.problems


def du(path: Path, *options: str) -> int:
    said = subprocess.run(["du", "-sx", "--block-size=1", *options, path], check=True, capture_output=True, text=True)
    return int(said.stdout.split()[0])


def inodes(path: Path) -> int:
    return du(path, "--inodes")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """All sorts of things: files of several names, holes, links that lead out, names that are no text."""
    top = tmp_path / "tree"
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/file").write_bytes(b"x" * 10_000)
    for name in ("same", "a/b/same", "a/b/c/again"):
        os.link(top / "a/file", top / name)
    with (top / "holes").open("wb") as file:
        file.truncate(1 << 30)
    (top / "out").symlink_to("/usr")
    (top / "loop").symlink_to(".")
    os.mkfifo(top / "fifo")
    Path(os.fsdecode(os.fsencode(top / "a") + b"/\xff")).mkdir()
    for number in range(100):
        (top / "a/b" / str(number)).write_bytes(b"y" * number)
    return top


def test_as_du(tree: Path) -> None:
    found, problems = walk(tree)
    assert problems == []
    assert (found.allocated, found.inodes) == (du(tree), inodes(tree))
    assert found.apparent == 10_000 + (1 << 30) + len("/usr") + len(".") + sum(range(100))


def test_an_empty_directory(tmp_path: Path) -> None:
    assert walk(tmp_path) == (Usage(du(tmp_path), 0, 1), [])


def test_nothing_is_changed(tree: Path) -> None:
    def times() -> list[tuple[str, int, int, int]]:
        return sorted(
            (path.name, path.lstat().st_atime_ns, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
            for path in (tree, *tree.rglob("*"))
        )

    for path in (tree, *tree.rglob("*")):
        os.utime(path, (1, 1), follow_symlinks=False)  # older than ctime: relatime would move it
    before = times()
    walk(tree)
    assert times() == before


def test_mount_points_are_left_alone(tree: Path) -> None:
    """By name, before stat(2): the root of a mount whose server is gone is not to be touched."""
    found, problems = walk(tree, [f"{tree}/a/b"])
    assert problems == []
    assert found.inodes == inodes(tree) - inodes(tree / "a/b") + 1  # `again` is the same inode as `file`


def test_deeper_than_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "MAX_DEPTH", 20)
    top = tmp_path / "top"
    (top / "/".join("d" * 30)).mkdir(parents=True)
    (top / "z").write_text("counted")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    found, problems = walk(top)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert found.inodes == 1 + 20 + 1
    [(path, why)] = problems
    assert path.count("/d") >= 20
    assert "20 directories" in str(why)


def test_what_goes_away_meanwhile(tree: Path) -> None:
    def remove(names: int) -> None:
        subprocess.run(["rm", "-rf", tree / "a"], check=True)

    found = Walk(str(tree), frozenset(), remove)
    counted = found.usage(os.open(tree, os.O_RDONLY | os.O_DIRECTORY))
    assert found.problems == []
    assert counted.inodes < 10


def test_a_directory_that_becomes_a_link_is_not_followed(tree: Path) -> None:
    def exchange(names: int) -> None:
        if not (tree / "a").is_symlink():
            (tree / "a").rename(tree.parent / "moved")
            (tree / "a").symlink_to("/usr")

    found = Walk(str(tree), frozenset(), exchange)
    counted = found.usage(os.open(tree, os.O_RDONLY | os.O_DIRECTORY))
    assert counted.inodes < 10
    [(path, why)] = found.problems
    assert (path, "link" in str(why)) == (f"{tree}/a", True)


# --- the collector --------------------------------------------------------------------------------------------------


def measure(root: Path, *names: str) -> tuple[tuple[DirectoryUsage, ...], tuple[Gap, ...]]:
    return collect_usage([f"{root}/{name}" for name in names], [str(root)])


def test_several_directories(tree: Path) -> None:
    seen: list[tuple[str, int]] = []
    root = tree.parent
    (root / "other/deep").mkdir(parents=True)
    paths = [f"{root}/tree", f"{root}/other/deep", f"{root}/missing"]
    found, gaps = collect_usage(paths, [str(root)], lambda path, names: seen.append((path, names)))
    assert gaps == ()
    assert [usage.path for usage in found] == paths[:2]
    assert found[0].allocated == du(tree)
    assert [path for path, names in seen if not names and path in paths][-1] == paths[2]


def test_beneath_no_data_root(tree: Path) -> None:
    found, [gap] = collect_usage(["/usr"], [str(tree)])
    assert found == ()
    assert "data root" in gap.why


def test_through_no_link(tree: Path) -> None:
    for name in ("out", "loop/a"):
        found, [gap] = measure(tree, name)
        assert found == ()
        assert "symbolic link" in gap.why


def test_a_part_that_could_not_be_counted(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "MAX_DEPTH", 1)
    [found], [gap] = measure(tree.parent, "tree")
    assert not found.complete
    assert gap.subject == f"{tree}/a"


def mount(mount_point: str, fstype: str) -> MountPoint:
    return MountPoint(
        mntns=1, mount_id=1, parent_id=0, device="0:1", root="/", mount_point=mount_point, options=("rw",),
        fstype=fstype, source="server:/export",
    )  # fmt: skip


@pytest.mark.parametrize("fstype", ["nfs", "nfs4", "cifs", "fuse.sshfs", "fuse", "fuseblk", "9p", "ceph", "autofs"])
def test_remote_file_systems_are_not_touched(tree: Path, monkeypatch: pytest.MonkeyPatch, fstype: str) -> None:
    monkeypatch.setattr(collector_of_mounts, "own_mounts", lambda: [mount("/", "ext4"), mount(f"{tree}/a", fstype)])
    opened: list[str] = []
    monkeypatch.setattr(collector, "_open", lambda files, relative: opened.append(relative))
    found, [gap] = measure(tree, "a/b")
    assert (found, opened) == ((), [])
    assert f"{fstype} from server:/export" in gap.why


def test_without_a_table_of_mounts_nothing_is_walked(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[MountPoint]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(collector_of_mounts, "own_mounts", refuse)
    found, [gap] = measure(tree, "a")
    assert found == ()
    assert gap.subject == "/proc/self/mountinfo"


def test_the_mount_of_a_path() -> None:
    mounts = [mount("/", "ext4"), mount("/var", "xfs"), mount("/var/lib", "nfs"), mount("/var/lib", "tmpfs")]
    found = [mount_of(path, mounts) for path in ("/var/lib/docker", "/variant", "/var", "/")]
    assert [of.fstype if of else None for of in found] == ["tmpfs", "ext4", "xfs", "ext4"]
    assert mount_of("/", []) is None


def test_file_systems_of_this_host_are_not_remote() -> None:
    assert not any(map(is_remote, ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs")))
