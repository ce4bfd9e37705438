"""What `hostinspect watch` takes of a host on which containers come and go for as long as one likes.

A *sample* is taken from outside, by /proc: what the watching process has used and holds. Bounded is what it holds when
that no longer grows: the last third of the time is held against the one before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.turnover import turnover

_COMMAND = (sys.executable, "-m", "hostinspect", "watch", "-o", "json", "-v")
_PAUSE = 5  # seconds between two samples
_GROWTH = 1.2  # from one third to the next, within which it counts as none: containers come and go
_TICK = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    at: float  # seconds since the first
    processor: float  # seconds used until now
    memory: int  # resident, bytes
    descriptors: int


class Watched(NamedTuple):
    """What became of it."""

    samples: list[Sample]
    events: Counter[str]  # lines of its output, by what each is of
    looks: int
    containers: int  # that came and went
    status: int

    @property
    def processor(self) -> float:
        """The part of one processor that it took."""
        first, last = self.samples[0], self.samples[-1]
        return (last.processor - first.processor) / (last.at - first.at)

    def thirds(self) -> tuple[Sequence[Sample], Sequence[Sample]]:
        """The second third of the samples, and the last."""
        third = len(self.samples) // 3
        return self.samples[third : 2 * third], self.samples[2 * third :]

    @property
    def is_bounded(self) -> bool:
        before, after = self.thirds()
        return not (
            max(s.memory for s in after) > _GROWTH * max(s.memory for s in before)
            or max(s.descriptors for s in after) > _GROWTH * max(s.descriptors for s in before)
        )


def watch(host: LabHost, seconds: float, rate: int) -> Watched:
    """Watch a host that has no containers yet, on which `rate` a second come and go. Raises LabError."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with turnover(host, rate) as comings:
            command = host.command_in_cgroup([*_COMMAND, "--for", str(seconds)])
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err) as process:
                samples = [*_samples(process)]
        status = process.returncode
        said = _lines(err)
        if len(samples) < 3 or status not in (0, 3):
            raise LabError(f"lab host {host.name}: watch ended with {status}: {' '.join(said[-3:])}")
        events = Counter(json.loads(line)["event"] for line in _lines(out))
        return Watched(samples, events, sum("looked because" in line for line in said), len(comings.log), status)


def _samples(process: subprocess.Popen[bytes]) -> Iterator[Sample]:
    begun = time.monotonic()
    while process.poll() is None:
        pid = _watching(process.pid)
        if pid:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            except OSError:
                continue
            used = sum(map(int, fields[11:15])) / _TICK  # its forks' too
            yield Sample(time.monotonic() - begun, used, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), descriptors)
        time.sleep(_PAUSE)


def _watching(pid: int) -> int | None:
    """The process that watches: this one, or what it started to be in the host."""
    try:
        if b"watch" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:5]:
            return pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return next(filter(None, (_watching(int(child)) for child in children)), None)


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").splitlines()
