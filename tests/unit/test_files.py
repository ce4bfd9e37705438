"""Safe file access: what somebody hostile may have prepared is refused, in words, and nothing left open."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostinspect.kernel import files
from hostinspect.kernel.files import Directory, FileTooLargeError, RefusedError


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A tree to read, and the check that no descriptor outlives the test's Directory objects."""
    tree = tmp_path / "root"
    (tree / "containers/ab").mkdir(parents=True)
    (tree / "containers/cd").mkdir()
    (tree / "containers/ab/config.v2.json").write_bytes(b"{}")
    (tree / "containers/ab/empty").write_bytes(b"")
    (tree / "containers/cd/config.v2.json").write_bytes(b'{"ID": "cd"}')
    (tmp_path / "secret").write_bytes(b"not yours")
    before = descriptors()
    yield tree
    assert descriptors() == before


def test_reads_files_of_several_directories_in_turn(root: Path) -> None:
    with Directory(root) as directory:
        assert directory.read("containers/ab/config.v2.json") == b"{}"
        assert directory.read("containers/cd/config.v2.json") == b'{"ID": "cd"}'
        assert directory.read("containers/ab/empty") == b""
        assert directory.listdir() == ["containers"]
        assert directory.listdir("containers") == ["ab", "cd"]
        assert directory.listdir("containers/ab") == ["config.v2.json", "empty"]


def test_kinds(root: Path) -> None:
    (root / "link").symlink_to("containers")
    (root / "dangling").symlink_to("nowhere")
    with Directory(root) as directory:
        assert directory.exists() and directory.is_dir()
        assert directory.is_dir("containers/ab") and not directory.is_file("containers/ab")
        assert directory.is_file("containers/ab/empty") and not directory.is_dir("containers/ab/empty")
        assert directory.exists("link") and not directory.is_dir("link")
        assert directory.exists("dangling")
        assert not directory.exists("nothing/at/all")
        assert not directory.exists("containers/ab/empty/beneath-a-file")
        assert directory.readlink("link") == "containers"
        assert stat.S_ISLNK(directory.lstat("link").st_mode)
        with pytest.raises(OSError) as caught:
            directory.readlink("containers")
        assert caught.value.errno == errno.EINVAL


def test_directory_beneath(root: Path) -> None:
    with Directory(root) as directory, directory.directory("containers/ab") as beneath:
        assert beneath.read("config.v2.json") == b"{}"
        assert beneath.path == f"{root}/containers/ab"
        (root / "link").symlink_to("containers/ab")
        with pytest.raises(RefusedError, match="link is a symbolic link"):
            directory.directory("link")


def test_open_gives_a_descriptor_that_programs_do_not_inherit(root: Path) -> None:
    with Directory(root) as directory:
        fd = directory.open("containers/ab/config.v2.json")
    assert os.read(fd, 10) == b"{}"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_the_directory_itself_may_be_reached_through_a_link(root: Path) -> None:
    (root.parent / "var-lib-docker").symlink_to(root)
    with Directory(root.parent / "var-lib-docker") as directory:
        assert directory.read("containers/ab/config.v2.json") == b"{}"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "containers/ab/config.v2.json", "/proc/self/root"])
def test_no_link_is_followed(root: Path, target: str) -> None:
    (root / "containers/evil").symlink_to(target)
    with Directory(root) as directory:
        with pytest.raises(RefusedError, match="containers/evil is a symbolic link"):
            directory.read("containers/evil")
        with pytest.raises(RefusedError, match="evil is a symbolic link"):
            directory.listdir("containers/evil")
        for look in (directory.read, directory.open, directory.listdir, directory.exists, directory.readlink):
            with pytest.raises(RefusedError, match="evil is a symbolic link"):
                look("containers/evil/config.v2.json")


@pytest.mark.parametrize(
    "relative",
    ["..", "../secret", "containers/../../secret", "/etc/passwd", "a//b", "./a", "a/", "a\0b", "\ud800", "\ud800/a"],
)
def test_only_plain_names(root: Path, relative: str) -> None:
    with Directory(root) as directory:
        for look in (directory.read, directory.listdir, directory.exists, directory.lstat, directory.directory):
            with pytest.raises(RefusedError):
                look(relative)


def test_a_path_that_is_none() -> None:
    for path in ("a\0b", "\ud800"):
        with pytest.raises(RefusedError):
            Directory(path)
    with pytest.raises(NotADirectoryError):
        Directory("/etc/passwd")


def test_a_fifo_neither_hangs_nor_is_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with Directory(root) as directory, pytest.raises(RefusedError, match="fifo is a FIFO, not a regular file"):
        directory.read("fifo")
    with pytest.raises(OSError) as caught:  # a writer would find a reader if we had it open
        os.open(root / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    assert caught.value.errno == errno.ENXIO


def test_sockets_devices_and_directories_are_not_read(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, Directory(root) as directory:
        listener.bind(str(root / "socket"))
        with pytest.raises(RefusedError, match="is a socket"):
            directory.read("socket")
        with pytest.raises(RefusedError, match="is a directory"):
            directory.read("containers")
    with Directory("/dev") as devices, pytest.raises(RefusedError, match="zero is a device"):
        devices.read("zero")


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_exchanged_between_looking_and_opening(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("../secret")
    regular = os.stat(root / "containers/ab/empty")  # noqa: PTH116
    really = os.stat

    def stat_once(name: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        monkeypatch.setattr(os, "stat", really)
        return regular

    with Directory(root) as directory:
        monkeypatch.setattr(os, "stat", stat_once)
        with pytest.raises(RefusedError):
            directory.read(kind)


def test_sparse_giants_are_not_read(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with Directory(root) as directory:
        with pytest.raises(FileTooLargeError, match=f"sparse has more than {files.DEFAULT_LIMIT} bytes"):
            directory.read("sparse")
        assert directory.read("containers/cd/config.v2.json", limit=12) == b'{"ID": "cd"}'
        with pytest.raises(FileTooLargeError):
            directory.read("containers/cd/config.v2.json", limit=11)


def test_files_that_tell_no_size() -> None:
    """/proc and cgroup files have size 0 and content."""
    with Directory("/proc/sys/kernel") as directory:
        assert directory.read("ostype") == b"Linux\n"
        with pytest.raises(FileTooLargeError):
            directory.read("ostype", limit=5)


def test_a_file_that_grows_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "containers/ab/config.v2.json"
    really = os.read

    def grow(fd: int, size: int) -> bytes:
        if path.stat().st_size < 8:
            with path.open("ab") as file:
                file.write(b"more")
        return really(fd, size)

    with Directory(root) as directory:
        monkeypatch.setattr(os, "read", grow)
        assert directory.read("containers/ab/config.v2.json").startswith(b"{}more")


def test_access_times_stay(root: Path) -> None:
    paths = [root, root / "containers", root / "containers/ab", root / "containers/ab/config.v2.json"]
    for path in paths:
        os.utime(path, (1_000_000_000, 1_100_000_000))  # so old that relatime would set it at any read
    with Directory(root) as directory:
        directory.listdir()
        directory.listdir("containers/ab")
        directory.read("containers/ab/config.v2.json")
    assert [path.stat().st_atime for path in paths] == [1_000_000_000] * 4


def test_files_of_others_are_read_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O_NOATIME is refused (EPERM) to all but owner and root: open(2)."""
    really = os.open

    def refuse(name: str, flags: int, *, dir_fd: int | None = None) -> int:
        if flags & os.O_NOATIME and not flags & os.O_PATH:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return really(name, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with Directory(root) as directory:
        assert directory.read("containers/ab/config.v2.json") == b"{}"
        assert directory.listdir() == ["containers"]


def test_names_that_are_no_utf8(root: Path) -> None:
    (root / os.fsdecode(b"\xff\n")).write_bytes(b"x")
    with Directory(root) as directory:
        name = directory.listdir()[-1]
        assert directory.read(name) == b"x"


def test_closing_twice(root: Path) -> None:
    directory = Directory(root)
    directory.read("containers/ab/empty")
    directory.close()
    directory.close()
    with pytest.raises(OSError):
        directory.read("containers/ab/empty")


TREE = Directory("/proc/self/task")


@given(st.text() | st.from_regex(r"(\.|\.\.|/|a|\0|self|[0-9]+){1,6}", fullmatch=True))
def test_no_path_raises_anything_but_oserror(relative: str) -> None:
    for look in (TREE.read, TREE.listdir, TREE.exists, TREE.readlink):
        with contextlib.suppress(OSError):
            look(relative)
