"""A limit to how long the host may let us wait: what asks it is a process of its own, which can be given up.

A system call that does not return holds the process that made it, and often not even SIGKILL ends that. So nothing is
asked by the process that has to answer a person; its fork asks, and notes each question on a page that both have
(`hostinspect.kernel.waiting`). Where neither the note nor the fork's processor time (clock_gettime(2)) moves any more,
the fork is killed, or left behind where it cannot be, and another one asks all but that question again.

What is left behind has nothing open that somebody waits for: no stdout, no stderr.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from mmap import mmap
from types import TracebackType
from typing import TypeVar

import msgspec

from hostinspect.kernel import procfs, waiting
from hostinspect.kernel.fork import answer, close
from hostinspect.kernel.waiting import PAGES, SIZE, Note, Page, Question

T = TypeVar("T")

SECONDS = 5.0
_OF_A_KIND = 3  # questions that were not answered: then no other of their kind is asked
_IN_ALL = 3  # each time that so many were not answered, the next get less time
_TICK = 0.1  # seconds between two looks at the page
_AGAIN = 60.0  # seconds after which a question is asked again, by whoever looks at a host more than once
_SLOW = 0.5  # of the limit, from which on an answer is slow: that of a disk whose arm has to move is not
_LONGEST = 6  # times the limit, that those of one kind may take beyond that together
_DYING = 0.2  # seconds


class NothingAnswersError(Exception):
    """The host does not answer, and leaving out what was asked is of no help."""


class Limit:
    """Runs tasks that ask the host, with `seconds` for each question; 0: here, without a limit.

    Several tasks, one after the other: what did not answer one is not asked by the next, for a while.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._unanswered: dict[Question, float] = {}  # and when
        self._slow: dict[str, float] = {}  # kinds of questions, each answered, that took too long together; and when
        self._left_behind: list[int] = []

    def run(self, task: Callable[[], T], kind: object, meanwhile: Callable[[], object] | None = None) -> T:
        """What `task` returns, of the type `kind` as msgspec knows it; `meanwhile` is called here while it is done.

        Where a fork cannot be had, or raises something, the task is done here, and raises what it raises. Raises
        NothingAnswersError, also where the task raises something for want of what did not answer.
        """
        self._forget()
        encoded: bytearray | None = None
        while self.seconds and encoded is None:
            try:
                worker = _Worker(task, self._page)
            except OSError:  # no more processes, descriptors or memory
                break
            with worker:
                if meanwhile:
                    meanwhile()
                    meanwhile = None
                stuck = worker.wait(self._patience, self.seconds * _LONGEST)
                if stuck is not None:
                    self._note(stuck)
                else:
                    encoded = worker.result()
                    if encoded is None:
                        self._check()
                        break
            if worker.pid:
                self._left_behind.append(worker.pid)
        if encoded is not None:
            found: T = msgspec.msgpack.decode(encoded, type=kind)
            return found
        if meanwhile:
            meanwhile()
        return task()

    @property
    def _patience(self) -> float:
        return self.seconds / (1 + (len(self._unanswered) + len(self._slow)) // _IN_ALL)

    def _page(self, memory: mmap) -> Page:
        kinds = Counter(question.kind for question in self._unanswered)
        refused = {kind for kind, count in kinds.items() if count >= _OF_A_KIND} | self._slow.keys()
        return Page(memory, 0, self._unanswered, refused, self.seconds)

    def _note(self, stuck: _Stuck) -> None:
        """Remember what is not to be asked again."""
        question = stuck.note.question
        if question in self._unanswered or question.kind in self._slow:
            raise NothingAnswersError(f"{question} was asked, and nothing came for {self._patience:g} s")
        if stuck.is_slow:
            self._slow[question.kind] = time.monotonic()
        else:
            self._unanswered[question] = time.monotonic()

    def _check(self) -> None:
        """Whether a task that raised something may be done again, here, where nothing ends a wait."""
        for what in (*self._unanswered, *self._slow):
            raise NothingAnswersError(f"{what} was asked, and without an answer nothing can be told")

    def _forget(self) -> None:
        """What is to be asked again: nothing while somebody still waits for an answer."""
        self._left_behind = [pid for pid in self._left_behind if not _is_reaped(pid)]
        if not self._left_behind:
            before = time.monotonic() - _AGAIN
            self._unanswered = {question: at for question, at in self._unanswered.items() if at > before}
            self._slow = {kind: at for kind, at in self._slow.items() if at > before}


class _Stuck(msgspec.Struct, frozen=True):
    """What a process waits for in vain; or `is_slow`, for one slow answer of a kind after the other, for too long."""

    note: Note
    is_slow: bool


class _Watch:
    """One page, looked at again and again."""

    def __init__(self, memory: mmap, number: int) -> None:
        self._memory, self._number = memory, number
        self._last: Note | None = None
        self._used = 0.0  # processor time of who wrote it
        self._waited = 0.0
        self._by_kind: Counter[str] = Counter()  # ticks of waiting for what is slow

    def look(self, tick: float, patience: float, longest: float) -> _Stuck | None:
        """After another `tick` seconds: what is waited for for longer than `patience`, or `longest` for all of a kind.

        Ticks are counted, not the time that passed: who was stopped (SIGSTOP), or asleep with the machine, waits for
        nothing meanwhile.
        """
        note, last = waiting.read(self._memory, self._number), self._last
        self._last = note
        if note is None:
            return None
        used, before = _processor_time(note.pid), self._used
        self._used = used
        if last is None or last.pid != note.pid:
            return None
        if note.turn != last.turn or used != before or not _is_waiting(note.pid):
            self._waited = 0.0
            return None
        self._waited += tick
        if self._waited < patience * _SLOW:
            return None
        self._by_kind[note.kind] += 1
        if self._by_kind[note.kind] * tick >= longest:
            return _Stuck(note, is_slow=True)
        return _Stuck(note, is_slow=False) if self._waited >= patience else None


class _Worker:
    """A fork of this process with a task, and a page for it. A context manager: at its end it is gone, or `pid` is not.

    Raises OSError where there is none to be had.
    """

    def __init__(self, task: Callable[[], object], page: Callable[[mmap], Page]) -> None:
        self._memory = mmap(-1, PAGES * SIZE)
        self._said = bytearray()
        self.pid = 0
        self._from, said = os.pipe()
        try:
            self.pid = os.fork()
        except BaseException:
            os.close(self._from)
            raise
        else:
            if not self.pid:
                answer(lambda: self._asked(task, page), said)
        finally:
            os.close(said)

    def _asked(self, task: Callable[[], T], page: Callable[[mmap], Page]) -> T:
        """The task, in the fork."""
        os.close(self._from)
        _let_go_of_the_standard_files()
        waiting.page = page(self._memory)
        waiting.page.write("start", "what hostinspect itself is made of")
        return task()

    def wait(self, patience: float, longest: float) -> _Stuck | None:
        """Until it is done, or stuck."""
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        pages = [_Watch(self._memory, number) for number in range(PAGES)]
        tick = min(_TICK, patience / 4)
        while True:
            if poll.poll(tick * 1000):
                part = os.read(self._from, 1 << 16)  # as much as a pipe holds
                if not part:
                    return None
                self._said += part
                continue
            for page in pages:
                stuck = page.look(tick, patience, longest)
                if stuck is not None:
                    return stuck

    def result(self) -> bytearray | None:
        """What it said; None where it came to no end."""
        pid, self.pid = self.pid, 0
        return self._said if os.waitpid(pid, 0)[1] == 0 else None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._from)
        if not self.pid:
            return
        fork = waiting.read(self._memory, 1)
        if fork is not None:
            _kill(fork.pid)  # first: its number is its own while its parent is there
        _kill(self.pid)
        end = time.monotonic() + _DYING
        while not _is_reaped(self.pid):
            if time.monotonic() > end:
                return
            time.sleep(_DYING / 20)
        self.pid = 0


def _let_go_of_the_standard_files() -> None:
    """Neither stdin nor stdout, and stderr only where it is a terminal, on which a bar may show how far it is."""
    nothing, end = os.pipe()
    for fd in (0, 1) if os.isatty(2) else (0, 1, 2):
        os.dup2(nothing, fd)
    close((nothing, end))


def _processor_time(pid: int) -> float:
    """Seconds that a process has used; 0 of one that is gone. clock_getcpuclockid(3), spelled out."""
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)
    return 0.0


def _is_waiting(pid: int) -> bool:
    """Whether it sleeps, and not for a processor: those are scarce on a host where much is wrong."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
        return procfs.parse_stat(file.read(1024)).state in ("D", "S")
    return True


def _kill(pid: int) -> None:
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
