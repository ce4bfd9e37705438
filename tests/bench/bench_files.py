"""Safe file access beside open() and openat2(2): `python -m tests.bench.bench_files [RUNS]`.

Reads what an engine reader reads of 200 containers: two files in each of 200 directories, three in each of 200 others.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hostinspect.kernel.files import Directory

start = time.perf_counter()
import ctypes  # noqa: E402 - its loading is measured
import os  # noqa: E402

LOADING = time.perf_counter() - start

RESOLVE = 0x02 | 0x04 | 0x08  # RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH: openat2(2)
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOATIME


class OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def tree(path: Path) -> list[str]:
    relatives = []
    for number in range(200):
        container = f"{number:064x}"
        for name in ("config.v2.json", "hostconfig.json"):
            relatives.append(f"containers/{container}/{name}")
        for name in ("init-id", "mount-id", "parent"):
            relatives.append(f"image/overlay2/layerdb/mounts/{container}/{name}")
    for relative in relatives:
        (path / relative).parent.mkdir(parents=True, exist_ok=True)
        (path / relative).write_bytes(b"x" * (6000 if relative.endswith("config.v2.json") else 64))
    return relatives


def with_open(path: str, relatives: list[str]) -> list[bytes]:
    contents = []
    for relative in relatives:
        with open(f"{path}/{relative}", "rb") as file:  # noqa: PTH123
            contents.append(file.read())
    return contents


def with_directory(path: str, relatives: list[str]) -> list[bytes]:
    with Directory(path) as directory:
        return [directory.read(relative) for relative in relatives]


def with_openat2(path: str, relatives: list[str]) -> list[bytes]:
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    how = OpenHow(FLAGS, 0, RESOLVE)
    root = os.open(path, os.O_PATH | os.O_DIRECTORY)
    contents = []
    for relative in relatives:
        fd = syscall(437, root, os.fsencode(relative), ctypes.byref(how), ctypes.sizeof(how))
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), relative)
        contents.append(os.read(fd, os.fstat(fd).st_size + 1))
        os.close(fd)
    os.close(root)
    return contents


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    ways: tuple[tuple[str, Callable[[str, list[str]], list[bytes]]], ...] = (
        ("Directory", with_directory),
        ("open()", with_open),
        ("openat2 by ctypes", with_openat2),
    )
    with tempfile.TemporaryDirectory() as path:
        relatives = tree(Path(path))
        contents = with_open(path, relatives)
        print(f"{len(relatives)} files; loading ctypes {LOADING * 1e3:.1f} ms")
        for name, way in ways:
            fastest = float("inf")
            for _ in range(runs):
                begun = time.perf_counter()
                assert way(path, relatives) == contents
                fastest = min(fastest, time.perf_counter() - begun)
            print(f"{name:18s} {fastest * 1e3:7.2f} ms  {fastest / len(relatives) * 1e6:5.1f} µs each")


if __name__ == "__main__":
    main()
