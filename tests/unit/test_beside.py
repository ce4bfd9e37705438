"""A task in a process beside ours, and a line that two do from its two ends."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from hostinspect.kernel.beside import Beside, Line


class Said(Struct):
    pid: int
    words: tuple[str, ...] = ()


HERE = os.getpid()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = descriptors_and_children()
    yield
    assert descriptors_and_children() == before


def descriptors_and_children() -> tuple[list[str], str]:
    descriptors = sorted(fd.name for fd in Path("/proc/self/fd").iterdir())
    return descriptors, Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.mark.parametrize("words", [(), ("one", "two"), ("much " * 100_000,)])
def test_what_is_returned(words: tuple[str, ...]) -> None:
    with closing(Beside(lambda: (os.getpid(), words))) as beside:
        pid, said = beside.result()  # type: ignore[misc]
    assert said == words
    assert pid != HERE


def test_records_are_said_by_msgspec() -> None:
    decode = msgspec.msgpack.Decoder(Said).decode
    with closing(Beside(lambda: Said(os.getpid(), ("a",)), msgspec.msgpack.encode, decode)) as beside:
        said = beside.result()
    assert isinstance(said, Said)
    assert said.words == ("a",)
    assert said.pid != HERE


def test_without_a_fork_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(BlockingIOError):
        Beside(os.getpid)


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_where_the_other_dies_there_is_nothing(end: int | None, capfd: pytest.CaptureFixture[str]) -> None:
    def task() -> int:
        if end is None:
            raise MemoryError
        os.kill(os.getpid(), end)
        return 0

    with closing(Beside(task)) as beside:
        assert beside.result() is None
        assert beside.result() is None
    assert capfd.readouterr() == ("", "")


def test_an_error_here_ends_the_other() -> None:
    with pytest.raises(KeyboardInterrupt), closing(Beside(lambda: time.sleep(1000))):
        raise KeyboardInterrupt


def test_a_line_is_done_by_two_and_nothing_is_left_out() -> None:
    chance = random.Random(6)

    def pause() -> None:
        time.sleep(chance.choice((0, 0, 0.0001)))

    for length in (0, 1, 2, 3, 50, 50, 50, 50):
        line = Line()

        def from_start(line: Line = line, length: int = length) -> list[int]:
            done = []
            for position in range(length):
                if not line.from_start(position):
                    break
                done.append(position)
                pause()
            return done

        with closing(Beside(from_start)) as beside:
            ours = []
            for position in reversed(range(length)):
                if not line.from_end(position):
                    break
                ours.append(position)
                pause()
            theirs = beside.result()
        assert {*theirs, *ours} == {*range(length)}  # type: ignore[misc]
        assert len({*theirs} & {*ours}) <= 1  # type: ignore[misc]
