"""Processes and mounts: hostinspect's readers beside the plain ways. `python -m tests.bench.bench_processes [RUNS]`.

Prints the best of RUNS for each and the ratios; and what two files that tell of our own mounts take to read. psutil is
what one would take for processes; it reads neither namespaces nor cgroups, so the reader does more in its time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from hostinspect.collectors.gaps import GapLog
from hostinspect.collectors.mounts import collect_host_mounts, collect_mounts
from hostinspect.collectors.processes import collect_processes


def with_psutil() -> int:
    return len([process.info for process in psutil.process_iter(["pid", "ppid", "name", "status", "create_time"])])


def with_psutil_afresh() -> int:
    """The same as a program does that asks once: process_iter keeps its Process objects for the next call."""
    psutil.process_iter.cache_clear()
    return with_psutil()


def with_pathlib() -> int:
    """The files that the collector reads, by pathlib, not parsed."""
    count = 0
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                (process / "stat").read_bytes()
                (process / "cgroup").read_bytes()
                (process / "ns/net").readlink()
                (process / "ns/mnt").readlink()
            except OSError:
                continue
            count += 1
    return count


def best(run: Callable[[], int], runs: int) -> tuple[float, int]:
    """Milliseconds of the fastest run, and its answer."""
    fastest, count = float("inf"), 0
    for _ in range(runs):
        start = time.perf_counter()
        count = run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest * 1e3, count


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    ours, count = best(lambda: len(collect_processes(GapLog())), runs)
    print(f"collect_processes   {ours:8.2f} ms  {count} processes, {ours / count * 1e3:.1f} µs each")
    for name, run in (
        ("psutil", with_psutil),
        ("psutil, afresh", with_psutil_afresh),
        ("pathlib, unparsed", with_pathlib),
    ):
        other, count = best(run, runs)
        print(f"{name:19s} {other:8.2f} ms  {count} processes, {other / ours:.1f} × ours")
    processes = collect_processes(GapLog())
    ours, count = best(lambda: len(collect_mounts(processes, collect_host_mounts(GapLog()), GapLog())), runs)
    print(f"collect_mounts      {ours:8.2f} ms  {count} lines, {ours / max(count, 1) * 1e3:.1f} µs each")
    for name in ("mountinfo", "mountstats"):
        took, count = best(lambda name=name: len(Path("/proc/self", name).read_bytes()), runs)  # type: ignore[misc]
        print(f"{name + ', unparsed':19s} {took * 1e3:8.1f} µs  {count} bytes")


if __name__ == "__main__":
    main()
