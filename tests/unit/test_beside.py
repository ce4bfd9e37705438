"""A task in a process beside ours: its result is that of the task done here, whatever becomes of the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from hostinspect.collectors.beside import Beside


class Said(Struct):
    pid: int
    heard: tuple[str, ...] = ()


Hear = Callable[[], Iterable[str]]
HERE = os.getpid()


def listen(hear: Hear) -> Said:
    return Said(os.getpid(), tuple(hear()))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = descriptors_and_children()
    yield
    assert descriptors_and_children() == before


def descriptors_and_children() -> tuple[list[str], str]:
    descriptors = sorted(fd.name for fd in Path("/proc/self/fd").iterdir())
    return descriptors, Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.parametrize("words", [(), ("one", "two"), ("much " * 100_000,)])
def test_what_is_told_and_returned(forked: bool, words: tuple[str, ...]) -> None:
    with Beside(listen, Said, str, forked=forked) as beside:
        beside.tell(words)
        said = beside.result()
    assert said.heard == words
    assert (said.pid != HERE) == forked


def test_without_a_fork_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with Beside(listen, Said, str, forked=True) as beside:
        beside.tell(["a"])
        assert beside.result() == Said(HERE, ("a",))


@pytest.mark.parametrize("end", [signal.SIGKILL, None])
def test_where_the_other_dies_it_is_done_here(end: int | None, capfd: pytest.CaptureFixture[str]) -> None:
    def task(hear: Hear) -> Said:
        heard = tuple(hear())
        if os.getpid() != HERE:
            if end is None:
                raise MemoryError
            os.kill(os.getpid(), end)
        return Said(os.getpid(), heard)

    with Beside(task, Said, str, forked=True) as beside:
        beside.tell(["a"])
        assert beside.result() == Said(HERE, ("a",))
    assert capfd.readouterr() == ("", "")


def test_what_the_task_raises_is_raised() -> None:
    def task(hear: Hear) -> Said:
        raise LookupError(*hear())

    with pytest.raises(LookupError, match="word"), Beside(task, Said, str, forked=True) as beside:
        beside.tell(["word"])
        beside.result()


@pytest.mark.parametrize("forked", [False, True])
def test_an_error_here_ends_the_other(forked: bool) -> None:
    with pytest.raises(KeyboardInterrupt), Beside(listen, Said, str, forked=forked):
        raise KeyboardInterrupt


def test_one_that_ends_before_it_is_told() -> None:
    with Beside(lambda hear: Said(os.getpid()), Said, str, forked=True) as beside:
        os.waitid(os.P_PID, beside._pid, os.WEXITED | os.WNOWAIT)
        beside.tell(["a"])
        assert beside.result().pid != HERE
