"""A limit to how long the host may let us wait: what asks it is a process of its own, which can be given up.

A system call that does not return holds the process that made it, and often not even SIGKILL ends that. So nothing is
asked by the process that a person started; its fork asks, and notes each question on a page that both have
(`hostinspect.kernel.waiting`). Where neither the note nor the fork's processor time (clock_gettime(2)) moves any more,
the fork is killed, or left behind where it cannot be, and another one asks all but that question again.

What is left behind has nothing open that somebody waits for: no pipe but our own.

Next to nothing is loaded here: the fork of a small process is cheap, and so is the process that watches.
"""

from __future__ import annotations

import os
import select
import stat
import time
from mmap import mmap

from hostinspect.kernel import waiting
from hostinspect.kernel.fork import answer, close
from hostinspect.kernel.waiting import MEMORY, PAGES, Note, Page, Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import NoReturn, TypeVar

    from typing_extensions import Self

    T = TypeVar("T")

SECONDS = 5.0
_OF_A_KIND = 3  # questions that were not answered: then no other of their kind is asked
_IN_ALL = 3  # each time that so many were not answered, the next get less time
_TICK = 0.1  # seconds between two looks at the page
_AGAIN = 60.0  # seconds after which a question is asked again, by whoever looks at a host more than once
_SLOW = 0.5  # of the limit, from which on an answer is slow: that of a disk whose arm has to move is not
_LONGEST = 6  # times the limit, that those of one kind may take beyond that together
_DYING = 0.2  # seconds
_PART = 1 << 16  # bytes: as much as a pipe holds
_SIGINT, _SIGKILL = 2, 9


class NothingAnswersError(Exception):
    """The host does not answer, and leaving out what was asked is of no help."""


class KilledError(Exception):
    """Our fork was ended by a signal, which `number` is."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"signal {number}")


class OutputError(OSError):
    """What our fork said could not be passed on."""


class Limit:
    """Has a fork ask the host, with `seconds` for each question; 0: no fork, and no limit.

    What did not answer one is not asked by the next, for a while.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._unanswered: dict[Question, float] = {}  # and when
        self._slow: dict[str, float] = {}  # kinds of questions, each answered, that took too long together; and when
        self._left_behind: list[int] = []

    def run(self, task: Callable[[], T], kind: object) -> T:
        """What `task` returns, of the type `kind` as msgspec knows it.

        Where a fork cannot be had, or raises something, the task is done here, and raises what it raises. Raises
        NothingAnswersError, also where the task raises something for want of what did not answer.
        """
        import msgspec

        self._forget()
        while self.seconds:
            try:
                worker = _Worker(task, self)
            except OSError:  # no more processes, descriptors or memory
                break
            if self._is_done(worker):
                encoded = worker.result()
                if encoded is None:
                    self._check()
                    break
                found: T = msgspec.msgpack.decode(encoded, type=kind)
                return found
        return task()

    def supervise(self, command: Callable[[], NoReturn]) -> int:
        """The exit code of `command`, which ends its process, a fork; here, where none is to be had.

        It prints where we would, but never to a pipe that somebody else reads: what it says there is passed on. It may
        change the limit (`waiting.limit`), of what is asked again too. Raises NothingAnswersError, KilledError,
        OutputError.
        """
        while True:
            try:
                worker = _Command(command, self)
            except OSError:
                command()
            if self._is_done(worker):
                return worker.code()

    def page(self, memory: mmap) -> Page:
        """The page for the fork that we are."""
        kinds: dict[str, int] = {}
        for question in self._unanswered:
            kinds[question.kind] = kinds.get(question.kind, 0) + 1
        refused = {kind for kind, count in kinds.items() if count >= _OF_A_KIND} | self._slow.keys()
        above = waiting.page.above if waiting.page else 0
        return Page(memory, 0, self._unanswered, refused, above + 1)

    def patience(self, seconds: float) -> float:
        """How long to wait where an answer may take so many."""
        return seconds / (1 + (len(self._unanswered) + len(self._slow)) // _IN_ALL)

    def _is_done(self, worker: _Worker) -> bool:
        """Whether it came to an end; else what it did not do so for is known."""
        with worker:
            stuck = worker.wait()
            if stuck is not None:
                self.seconds = worker.seconds
                self._note(stuck)
        if worker.pid:
            self._left_behind.append(worker.pid)
        return stuck is None

    def _note(self, stuck: _Stuck) -> None:
        """Remember what is not to be asked again."""
        question = stuck.note.question
        if question in self._unanswered or question.kind in self._slow:
            waited = f"nothing came for {self.patience(self.seconds):g} s"
            raise NothingAnswersError(f"{question} was asked, and {waited}")
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


class _Stuck:
    """What a process waits for in vain; or `is_slow`, for one slow answer of a kind after the other, for too long."""

    def __init__(self, note: Note, *, is_slow: bool) -> None:
        self.note, self.is_slow = note, is_slow


class _Watch:
    """One page, looked at again and again."""

    def __init__(self, memory: mmap, number: int) -> None:
        self._memory, self._number = memory, number
        self._last: Note | None = None
        self._used = 0.0  # processor time of who wrote it
        self._waited = 0.0
        self._by_kind: dict[str, int] = {}  # ticks of waiting for what is slow

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
        ticks = self._by_kind[note.kind] = self._by_kind.get(note.kind, 0) + 1
        if ticks * tick >= longest:
            return _Stuck(note, is_slow=True)
        return _Stuck(note, is_slow=False) if self._waited >= patience else None


class _Worker:
    """A fork of this process that does a task and says what came of it, and a page for it.

    A context manager: at its end it is gone, or `pid` is not 0. Raises OSError where there is none to be had.
    """

    def __init__(self, task: Callable[[], object], limit: Limit) -> None:
        self._task, self._limit = task, limit
        self._memory = mmap(-1, MEMORY)
        waiting.set_limit(self._memory, limit.seconds)
        self._said = bytearray()
        self._status = 0
        self.pid = 0
        self._from: dict[int, int] = {}  # our end of each pipe, and what it is the fork's instead of
        theirs: dict[int, int] = {}
        try:
            for place in self._places():
                ours, end = os.pipe()
                self._from[ours], theirs[place] = place, end
            self.pid = os.fork()
        except BaseException:
            close(self._from)
            raise
        else:
            if not self.pid:
                close(self._from)
                self._do(theirs)
        finally:
            close(theirs.values())

    def _places(self) -> tuple[int, ...]:
        """The files that are pipes to us in the fork; _ANSWER for that with what comes of the task."""
        return (_ANSWER,)

    def _do(self, pipes: dict[int, int]) -> NoReturn:
        """The task, in the fork."""
        import msgspec

        _let_go_of_the_standard_files()
        close(_ends)
        _ends.clear()
        waiting.page = self._limit.page(self._memory)
        waiting.page.write("start", "what hostinspect itself is made of")
        answer(lambda: msgspec.msgpack.encode(self._task()), pipes[_ANSWER])

    def _take(self, place: int, part: bytes) -> None:
        """What the fork said."""
        self._said += part

    @property
    def seconds(self) -> float:
        """How long an answer may take, as was said last."""
        return waiting.limit_of(self._memory)

    def wait(self) -> _Stuck | None:
        """Until it is done, or stuck."""
        poll = select.poll()
        for ours in self._from:
            poll.register(ours, select.POLLIN)
        pages = [_Watch(self._memory, number) for number in range(PAGES)]
        while self._from:
            patience = self._limit.patience(self.seconds)
            tick = min(_TICK, patience / 4) or _TICK
            ready = self._ready(poll, tick)
            for ours, _ in ready:
                if part := os.read(ours, _PART):
                    self._take(self._from[ours], part)
                else:
                    poll.unregister(ours)
                    os.close(ours)
                    del self._from[ours]
            if ready or not patience:
                continue
            for page in pages:
                stuck = page.look(tick, patience, self.seconds * _LONGEST)
                if stuck is not None:
                    return stuck
        self._status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        return None

    def _ready(self, poll: select.poll, tick: float) -> list[tuple[int, int]]:
        return poll.poll(tick * 1000)

    def result(self) -> bytearray | None:
        """What it said; None where it came to no end."""
        return None if self._status else self._said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close(self._from)
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


class _Command(_Worker):
    """A fork that is a whole command, with an end of its own: what it prints is passed on."""

    def __init__(self, command: Callable[[], NoReturn], limit: Limit) -> None:
        self._command = command
        self._is_interrupted = False
        super().__init__(command, limit)

    def _places(self) -> tuple[int, ...]:
        return (_ANSWER, *filter(_is_waited_for, (1, 2)))

    def _do(self, pipes: dict[int, int]) -> NoReturn:
        for place, end in pipes.items():
            if place == _ANSWER:  # which only tells when it is over
                _ends.append(end)
            else:
                os.dup2(end, place)
                os.close(end)
        waiting.page = self._limit.page(self._memory)
        self._command()

    def _take(self, place: int, part: bytes) -> None:
        rest = memoryview(part)
        try:
            while rest:
                rest = rest[os.write(place, rest) :]
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None

    def _ready(self, poll: select.poll, tick: float) -> list[tuple[int, int]]:
        """An interrupt is the fork's too, which may have a pager to wait for, or something to say. If it is still
        there a moment later it is told, since it may not have been (kill(1)), or not waited for, where it waits for
        the host."""
        try:
            ready = super()._ready(poll, tick)
        except KeyboardInterrupt:
            self._is_interrupted = True
            return []
        if self._is_interrupted and not ready:
            if any(waiting.read(self._memory, page) for page in range(PAGES)):
                raise KeyboardInterrupt
            self._is_interrupted = False
            os.kill(self.pid, _SIGINT)
        return ready

    def code(self) -> int:
        """Its exit code."""
        code = os.waitstatus_to_exitcode(self._status)
        if code < 0:
            raise KilledError(-code)
        return code


_ANSWER = -1
_ends: list[int] = []  # of pipes that tell those who watch us that we are gone: no fork of ours may keep them


def _is_waited_for(fd: int) -> bool:
    """Whether somebody may wait until nobody has it open any more, as of a pipe."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _let_go_of_the_standard_files() -> None:
    """Neither stdin nor stdout, and stderr only where it is a terminal, on which a bar may show how far it is."""
    nothing, end = os.pipe()
    for fd in (0, 1) if os.isatty(2) else (0, 1, 2):
        os.dup2(nothing, fd)
    close((nothing, end))


def _processor_time(pid: int) -> float:
    """Seconds that a process has used; 0 of one that is gone. clock_getcpuclockid(3), spelled out."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _is_waiting(pid: int) -> bool:
    """Whether it sleeps, and not for a processor: those are scarce on a host where much is wrong."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read(1024).rpartition(b")")[2][1:2]  # proc_pid_stat(5)
    except OSError:
        return True
    return state in (b"D", b"S", b"")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, _SIGKILL)
    except OSError:
        return  # it is gone


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
