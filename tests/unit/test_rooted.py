"""Paths of a mounted disk: the walk against openat2(2) with RESOLVE_IN_ROOT, on trees of hostile links."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from random import Random

import pytest

from hostinspect.kernel.files import RefusedError
from hostinspect.kernel.rooted import directory_in, mode_in, read_in, resolve_in

_SYS_OPENAT2 = 437  # on every architecture
_RESOLVE_IN_ROOT, _RESOLVE_NO_MAGICLINKS = 0x10, 0x02

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def kernels(root: Path, path: str) -> str | int:
    """Where the kernel says that `path` leads beneath `root`, as a path of that host; the errno where it refuses."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY)
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    try:
        while True:
            fd = _libc.syscall(_SYS_OPENAT2, top, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
            if fd >= 0:
                break
            if ctypes.get_errno() != errno.EAGAIN:  # somebody renamed or mounted something meanwhile, anywhere
                return ctypes.get_errno()
        try:
            return "/" + os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), os.path.realpath(root)).removeprefix(
                "."
            )
        finally:
            os.close(fd)
    finally:
        os.close(top)


def walked(root: Path, path: str) -> str | int:
    """The same by the walk."""
    try:
        resolved = resolve_in(str(root), path)
        return resolved if mode_in(str(root), path) else errno.ENOENT
    except OSError as error:
        return error.errno or 0


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    root = tmp_path / "disk"
    for directory in ("var/lib", "mnt/disk/docker/containers", "etc", "home/a"):
        (root / directory).mkdir(parents=True)
    (root / "etc/hostname").write_text("dead-01\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/hostname").write_text("the living\n")
    for name, target in {
        "var/lib/docker": "/mnt/disk/docker",
        "out": "/../../../../../../etc",
        "up": "../../../../../..",
        "loop": "loop2",
        "loop2": "/loop",
        "outside": str(tmp_path / "secret"),
        "etc/os-release": "../usr/lib/os-release",
        "home/a/etc": "../../etc",
        "home/a/name": "/home/a/etc/hostname",
        "dangling": "/nowhere/../etc",
        "self": "/proc/self/root/etc",
        "under": "etc/hostname/x",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/var/lib/docker", "/mnt/disk/docker"),
        ("/var/lib/docker/containers", "/mnt/disk/docker/containers"),
        ("var/lib/../../var/./lib/docker/", "/mnt/disk/docker"),
        ("/../../..", "/"),
        ("/out/hostname", "/etc/hostname"),
        ("/up/etc", "/etc"),
        ("/home/a/name", "/etc/hostname"),
        ("/etc/os-release", errno.ENOENT),
        ("/outside/hostname", errno.ENOENT),  # its target is a path of that host, which has no such one
        ("/loop/x", errno.ELOOP),
        ("/self/hostname", errno.ENOENT),
    ],
)
def test_where_a_path_leads(disk: Path, path: str, leads_to: str | int) -> None:
    assert walked(disk, path) == leads_to == kernels(disk, path)


def test_nothing_outside_is_read(disk: Path) -> None:
    root = str(disk)
    assert read_in(root, "/out/hostname", 100) == b"dead-01\n"
    for path in ("/outside/hostname", "/up/secret/hostname", "/../secret/hostname"):
        with pytest.raises(FileNotFoundError):
            read_in(root, path, 100)
    with directory_in(root, "/var/lib/docker") as directory:
        assert directory.listdir() == ["containers"]
        with pytest.raises(RefusedError):
            directory.read("../../../etc/hostname")
    with pytest.raises(NotADirectoryError):
        directory_in(root, "/etc/hostname")
    with pytest.raises(FileNotFoundError):
        directory_in(root, "/outside")


@pytest.mark.parametrize("path", ["/etc/\0", "/etc/\udcff\ud800", "/" + "x" * 300])
def test_what_is_no_path_is_an_error_in_words(disk: Path, path: str) -> None:
    with pytest.raises(OSError) as raised:
        directory_in(str(disk), path)
    assert str(raised.value)


def test_a_link_exchanged_under_way_leads_nowhere_else(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was resolved has become a link out: it is not followed."""
    resolve = resolve_in

    def exchange(root: str, path: str) -> str:
        found = resolve(root, path)
        (disk / "etc/hostname").unlink()
        (disk / "etc/hostname").symlink_to(disk.parent / "secret/hostname")
        return found

    monkeypatch.setattr("hostinspect.kernel.rooted.resolve_in", exchange)
    with pytest.raises(RefusedError):
        read_in(str(disk), "/etc/hostname", 100)


@pytest.mark.parametrize("seed", range(20))
def test_random_trees_as_the_kernel_resolves_them(tmp_path: Path, seed: int) -> None:
    """Of what is there; where it is not, the two may differ in what is wrong with it."""
    random = Random(seed)
    root = tmp_path / "disk"
    root.mkdir()
    places = [""]
    for name in "abcdefgh":
        where = random.choice(places)
        here = root / where / name
        if random.random() < 0.5:
            here.mkdir()
            places.append(f"{where}/{name}".lstrip("/"))
        else:
            here.symlink_to(_target(random))
    tried = 0
    for _ in range(200):
        path = _target(random)
        expected = kernels(root, path)
        if isinstance(expected, str):
            tried += 1
            assert walked(root, path) == expected, path
        else:
            assert not isinstance(walked(root, path), str) or expected in (errno.ENOENT, errno.ENOTDIR), path
    assert tried


def _target(random: Random) -> str:
    parts = random.choices(["a", "b", "c", "d", "e", "f", "g", "h", "..", "."], k=random.randrange(1, 5))
    return random.choice(["/", ""]) + "/".join(parts)


def test_no_descriptor_is_left_open(disk: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for path in ("/var/lib/docker", "/loop", "/outside", "/etc/hostname", "/a/b/../c", "/\0"):
        walked(disk, path)
    read_in(str(disk), "/etc/hostname", 10)
    directory_in(str(disk), "/var/lib/docker").close()
    assert len([*Path("/proc/self/fd").iterdir()]) == before
