"""Sizes of a directory of 100,000 files, beside du: `python -m tests.bench.bench_usage [RUNS]`.

Everything is in the kernel's cache: what is compared is the walk, not the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hostinspect.kernel.usage import Walk

DIRECTORIES, FILES = 1_000, 100


def fill(top: Path) -> None:
    for directory in range(DIRECTORIES):
        path = top / str(directory // 100) / str(directory)
        path.mkdir(parents=True)
        for name in range(FILES):
            (path / str(name)).touch()


def best(runs: int, work: Callable[[], object]) -> float:
    """The shortest time of `runs`, in milliseconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory))

        def walk() -> object:
            found = Walk(directory, frozenset(), lambda names: None)
            return found.usage(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))

        def du() -> object:
            return subprocess.run(["du", "-sx", directory], check=True, capture_output=True)

        print(f"{walk()} {best(runs, walk):7.0f} ms")
        print(f"du -sx, started as a process {best(runs, du):7.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
