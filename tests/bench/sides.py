"""Sides of a comparison, taking turns: a busy moment of the machine hits all of them."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.lab.host import LabHost

# Byte code is kept, as for an installed program, whatever the environment says.
HOSTINSPECT = str(Path(sys.executable).parent / "hostinspect")

_IDLE = 4  # percent of all processors

# Runs shell commands on the host, so that the way into it is not measured; what each takes of time, CPU and memory.
_TAKE_TURNS = r"""
import json, os, sys, time
commands, runs = json.load(sys.stdin), int(sys.argv[1])
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
taken = {name: [] for name in commands}
for turn in range(runs + 1):
    for name, command in commands.items():
        start = time.perf_counter()
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"{{ {command}; }} >/dev/null 2>&1"], os.environ)
        _, status, usage = os.wait4(pid, 0)
        if turn:  # the first is a warm-up
            cpu = usage.ru_utime + usage.ru_stime
            taken[name].append((time.perf_counter() - start, cpu, usage.ru_maxrss, os.waitstatus_to_exitcode(status)))
json.dump(taken, sys.stdout)
"""


class Side(NamedTuple):
    """What a command took, whole processes with start-up: medians."""

    name: str
    seconds: float
    fastest: float
    slowest: float
    cpu: float  # seconds of user and system, of all its processes
    memory: int  # KiB, the largest process
    code: int  # its worst exit code


def take_turns(host: LabHost, commands: Mapping[str, str], runs: int) -> dict[str, Side]:
    """Run each of these shell commands `runs` times on the host, and once before."""
    script = [sys.executable, "-c", _TAKE_TURNS, str(runs)]
    taken = json.loads(host.run(script, input=json.dumps(dict(commands)), timeout=3600).stdout)
    sides = {}
    for name, every in taken.items():
        seconds, cpu, memory, codes = zip(*every, strict=True)
        middle = statistics.median(seconds)
        sides[name] = Side(
            name, middle, min(seconds), max(seconds), statistics.median(cpu), max(memory), max(codes, key=abs)
        )
    return sides


def wait_until_idle(seconds: float = 120) -> float:
    """Until the machine has nothing to do, or so long: what was made or removed before keeps the kernel busy, which
    takes a second for some hundred network namespaces. Returns what part of all processors is in use at the end.
    """
    import psutil

    end = time.monotonic() + seconds
    while (busy := psutil.cpu_percent(interval=1)) > _IDLE and time.monotonic() < end:
        pass
    return busy / 100


def show(sides: Mapping[str, Side], base: str) -> None:
    """A line each, with its ratio to `base`."""
    print(f"{'':24} {'median':>9} {'fastest-slowest':>17} {'CPU':>9} {'memory':>8}   x {base}")
    for side in sides.values():
        spread = f"{side.fastest * 1e3:.0f}-{side.slowest * 1e3:.0f}"
        failed = f"  exit code {side.code}" if side.code else ""
        print(
            f"{side.name:24} {side.seconds * 1e3:6.0f} ms {spread:>14} ms {side.cpu * 1e3:6.0f} ms"
            f" {side.memory / 1024:5.0f} MB {side.seconds / sides[base].seconds:7.2f}{failed}",
            flush=True,
        )
